"""What it costs: a call, a request, a waiter, an import, a manager's memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
from typing import Any

from benchmarks.hot_path import Floor
from benchmarks.kit import (
    ROOT,
    Call,
    cpu_of_calls,
    cpu_of_requests,
    error_of,
    interleaved,
    median,
    no_garbage_collection,
    over,
)
from benchmarks.peers import (
    BASES,
    PEERS,
    AiohttpOAuth2Client,
    Bare,
    Cookbook,
    CookbookRefusal,
    Empty,
    Example,
    HttpxBare,
    NotEntered,
    Ours,
    OursAgain,
    Peer,
    Static,
    StaticAgain,
    opened,
)
from benchmarks.run import Run

SLICE = 0.004
"""Seconds of calls that are measured at a time."""
CORE: list[type[Peer]] = [Bare, Static, StaticAgain, Empty, Ours, OursAgain]
CORE += [Cookbook, CookbookRefusal, Example, AiohttpOAuth2Client]
"""What shares a base, and is near enough to each other for noise to decide: measured in as many rounds."""
CHUNKS = {1: (40, 600, 60), 50: (100, 240, 24), 200: (400, 150, 6)}
"""By concurrency: requests at a time, rounds, rounds of the peers. Many short ones: what else runs hits all alike."""
IMPORTS = 15
THROUGH = "asyncauth: its middleware, without the request"
MEMORY_OF = 40


async def hot_path(run: Run) -> None:
    """The header, or the token, from the cache."""
    await run.server.reset()
    ours, floor = await run.ours(), Floor()
    peers = [peer for peer in await run.peers() if peer.asks]
    calls: dict[str, Call] = {
        "floor": floor.token,
        "floor, again": floor.token,
        "asyncauth: token()": ours.tokens.token,
        "asyncauth: token(), again": ours.tokens.token,
        "asyncauth: headers()": ours.tokens.headers,
        **{peer.name: peer.call for peer in peers},
        **{
            f"{peer.name}: its middleware, without the request": peer.through
            for peer in (ours, *peers)
            if peer.through is not None and peer.through is not peer.call
        },
    }
    numbers: dict[str, int] = {}
    for name, call in calls.items():
        for _ in range(3):
            await call()
        numbers[name] = max(5, int(SLICE / await cpu_of_calls(call, 20)))

    def measure(name: str) -> Any:
        return lambda: cpu_of_calls(calls[name], numbers[name])

    with no_garbage_collection():
        given = await interleaved({name: measure(name) for name in calls}, 5 if run.quick else 61, run.tick)
    run.figures["hot path"] = {name: median(values) * 1e9 for name, values in given.items()}
    if not run.quick:
        ratios = [ours / base for ours, base in zip(given["asyncauth: token()"], given["floor"], strict=True)]
        noise = [again / base for again, base in zip(given["floor, again"], given["floor"], strict=True)]
        run.goal(
            "`await manager.token()`, fresh, against an async function with one look at the clock",
            1.25,
            median(ratios),
            note=f"A/A {median(noise):.2f}",
        )
        own = run.figures["hot path"]["asyncauth: token()"]
        packages = {peer.name: run.figures["hot path"][peer.name] for peer in peers if "aiohttp's" not in peer.name}
        taught = {peer.name: run.figures["hot path"][peer.name] for peer in peers if "aiohttp's" in peer.name}
        fastest, lean = min(packages, key=packages.__getitem__), min(taught, key=taught.__getitem__)
        run.goal(
            "… and faster than any other package's own call",
            5.0,
            packages[fastest] / own,
            at_least=True,
            note=f"next: {fastest}",
        )
        run.goal(
            "… than a middleware of thirty lines that a service has in its own code",
            5.0,
            taught[lean] / own,
            at_least=True,
            note=f"{lean}, all of it: it has no call for the token alone, and looks at no origin and at no clock but"
            f" the wall's; all of `BearerAuth` takes {run.figures['hot path'][THROUGH]:.0f} ns",
        )
    for peer in [ours, *peers]:
        await peer.close()


async def requests(run: Run) -> None:
    """A whole request, in the client's CPU time: each loop in a process of its own."""
    found: dict[str, Any] = {}
    run.figures["request"] = found
    for loop in ("asyncio", "uvloop"):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.cost", loop, run.server.url]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 24
        )
        assert process.stdout is not None  # noqa: S101
        async for line in process.stdout:
            if line.startswith(b"{"):
                told = json.loads(line)
                run.missing |= told.pop("missing")
                found |= told
            else:
                run.tick()
        if await process.wait():
            raise RuntimeError(f"the requests under {loop} failed")
    for setting, figures in found.items():
        added, error = figures["added µs"], figures["error µs"]
        run.goal(
            f"what `BearerAuth` adds to a request against a static header: {setting}",
            1.15,
            added["asyncauth"] / added["static header"],
            note=f"{added['asyncauth']:.2f} µs of {added['static header']:.2f} ± {error['static header']:.2f};"
            f" an empty middleware {added['an empty middleware']:.2f};"
            f" A/A {added['static header, again'] / added['static header']:.2f}",
        )
        # What is negative is lost in the noise of a base that takes milliseconds itself.
        own = ("asyncauth", "static", "an empty")
        peers = {name: value for name, value in added.items() if not name.startswith(own) and value > 0}
        least = min(peers, key=peers.__getitem__)
        run.goal(
            f"… less than any peer adds: {setting}", 1.0, added["asyncauth"] / peers[least],
            note=f"least: {least} {added[least]:.2f} ± {error[least]:.2f}",
        )  # fmt: skip


async def _requests(loop: str, url: str) -> None:
    """Measure and print; the child's part of `requests`."""
    import aiohttp  # noqa: PLC0415

    from benchmarks.kit import Server, pin  # noqa: PLC0415

    pin(0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        server = Server(url, session)
        await server.reset()
        core, missing = await opened(CORE, server, session)
        others, more = await opened(
            [*BASES[1:], *(kind for kind in PEERS if kind.get is not Peer.get and kind not in CORE)], server, session
        )
        missing |= more
        for concurrency in CHUNKS:
            with no_garbage_collection():
                told = await _setting(core, others, server.api, concurrency)
            print(json.dumps({f"{loop}, {concurrency} at a time": told, "missing": missing}), flush=True)
        for peer in [*core, *others]:
            with contextlib.suppress(Exception):
                await peer.close()


async def _setting(core: list[Peer], others: list[Peer], api: str, concurrency: int) -> dict[str, Any]:
    number, rounds, peer_rounds = CHUNKS[concurrency]
    turn = ticks = 0

    def measure(peer: Peer) -> Any:
        url = f"{api}/open" if not peer.asks and "static" not in peer.name else f"{api}/data"

        async def get() -> None:
            nonlocal turn
            turn += 1
            # No two in a row for the same URL, as it is in life: nothing that is cached by URL helps.
            if await peer.get(f"{url}?page={turn % 4000}") != 200:  # noqa: PLR2004
                raise RuntimeError(f"{peer.name}: refused")

        return lambda: cpu_of_requests(get, number, concurrency)

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks % (rounds // 10) == 0:
            print("tick", flush=True)

    measures = {peer.name: measure(peer) for peer in core}
    await interleaved(measures, 3, lambda: None)
    given = await interleaved(measures, rounds, tick)
    bare = next(peer for peer in core if peer.name == "bare")
    if concurrency > 100:  # noqa: PLR2004
        # httpx's pool takes milliseconds a request then; what a token adds is lost in that.
        others = [peer for peer in others if not isinstance(peer, HttpxBare)]
    rest = {peer.name: measure(peer) for peer in [bare, *others]}
    await interleaved(rest, 2, lambda: None)
    theirs = await interleaved(rest, peer_rounds, lambda: None)
    pairs = {name: (values, given["bare"]) for name, values in given.items() if name != "bare"}
    pairs |= {peer.name: (theirs[peer.name], theirs[peer.base]) for peer in others if peer.asks}
    whole = {name: median(values) for name, values in (theirs | given).items()}
    return {
        "added µs": {name: over(*pair) * 1e6 for name, pair in pairs.items()},
        "error µs": {name: error_of(*pair) * 1e6 for name, pair in pairs.items()},
        "whole µs": {name: value * 1e6 for name, value in whole.items()},
    }


async def waiters(run: Run) -> None:
    """What a caller costs that waits for the one flight."""
    number = 10_000
    found: dict[str, list[float]] = {"waiting": [], "at once": []}

    async def at_once() -> None:
        return None

    for _ in range(2 if run.quick else 9):
        await run.server.reset(token_latency=0.3)
        ours = await run.ours()
        with no_garbage_collection():
            before = time.process_time()
            await asyncio.gather(*(ours.tokens.token() for _ in range(number)))
            spent = time.process_time() - before
        await ours.close()
        ours = await run.ours()
        before = time.process_time()
        await ours.tokens.token()
        alone = time.process_time() - before
        await ours.close()
        with no_garbage_collection():
            before = time.process_time()
            await asyncio.gather(*(at_once() for _ in range(number)))
            found["at once"].append((time.process_time() - before) / number * 1e6)
        found["waiting"].append((spent - alone) / number * 1e6)
        run.tick()
    run.figures["waiter µs"] = {name: median(values) for name, values in found.items()}
    if not run.quick:
        net = over(found["waiting"], found["at once"])
        run.goal(
            "CPU a waiter, beyond a task that returns at once (10,000)", 4.0, net, "µs",
            note=f"with its task {median(found['waiting']):.1f} µs",
        )  # fmt: skip


IMPORT = """
import time; clock = time.process_time
a = clock(); import aiohttp; b = clock(); import asyncauth; c = clock(); asyncauth.Peakly; d = clock()
print(b - a, c - b, d - c)
"""


async def imports(run: Run) -> None:
    """What ``import asyncauth`` takes beyond ``import aiohttp``."""
    found = []
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(1 + (3 if run.quick else IMPORTS)):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", IMPORT],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        if number == 0:
            continue  # that one compiles
        found.append([float(each) for each in done.stdout.split()])
        run.tick()
    aiohttp, ours, provider = (median(each) for each in zip(*found, strict=True))
    run.figures["import ms"] = {"aiohttp": aiohttp * 1e3, "asyncauth": ours * 1e3, "and a provider": provider * 1e3}
    optional = "httpx redis filelock cryptography opentelemetry typer rich joserfc jwt keyring cattrs"
    code = f"import sys, asyncauth; print(sum(name in sys.modules for name in {optional.split()!r}))"
    loaded = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    run.goal("optional dependencies that `import asyncauth` loads", 0, int(loaded.stdout), "modules", counts=True)
    if not run.quick:
        run.goal(
            "`import asyncauth` beyond `import aiohttp`", 0.10, ours / aiohttp,
            note=f"{ours * 1e3:.1f} ms of {aiohttp * 1e3:.0f}; with a provider {(ours + provider) / aiohttp:.1%}",
        )  # fmt: skip


async def memory(run: Run) -> None:
    """What a manager takes, with its token; and what a tenant takes in a pool."""
    await run.server.reset()
    found: dict[str, float] = {}
    kinds: list[type[Peer]] = [
        Ours,
        NotEntered,
        *(kind for kind in PEERS if kind.__name__ not in {"Msal", "AzureIdentity"}),
    ]
    for kind in kinds:
        if kind.name in run.missing:
            continue
        first, _ = await opened([kind], run.server, run.session)  # what is imported is not a manager's
        for peer in first:
            await peer.prime()
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        many, _ = await opened([kind] * MEMORY_OF, run.server, run.session)
        for peer in many:
            await peer.prime()
        gc.collect()
        found[kind.name] = (tracemalloc.get_traced_memory()[0] - before) / MEMORY_OF
        tracemalloc.stop()
        for peer in [*first, *many]:
            await peer.close()
        run.tick()
    run.figures["memory B"] = found


async def pool(run: Run) -> None:
    """The figures of benchmarks/pool.py: 100,000 tenants."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "benchmarks/pool.py"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    run.tick()
    size = re.search(r"memory: ([\d,]+) bytes", done.stdout)
    ratio = re.search(r"renewal among +100,000: .*= +([\d.]+) x", done.stdout)
    again = re.search(r"the same again: +([\d.]+) x", done.stdout)
    run.figures["pool"] = done.stdout.splitlines()
    run.goal(
        "a manager at rest in a pool of 100,000, with its token and its place in the schedule", 1024,
        float(size[1].replace(",", "")) if size else None, "bytes",
    )  # fmt: skip
    run.goal(
        "a renewal among 100,000 managers against one among 100", 1.2, float(ratio[1]) if ratio else None,
        note=f"A/A {again[1]}" if again else "",
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "uvloop":
        import uvloop

        uvloop.run(_requests(*sys.argv[1:]))
    else:
        asyncio.run(_requests(*sys.argv[1:]))
