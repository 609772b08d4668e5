"""A fleet of processes, a token server that rotates refresh tokens, a Redis, and what goes wrong between them.

``python rotation_kit.py [NAME …]`` prints a table of all outages for each grant. ``ASYNCAUTH_PATH`` is another
version of the package for the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import attrs
from aiohttp import web
from late_kit import watch
from redis_kit import RedisServer, aside, redis_server
from redis_proxy_kit import value

WORKER = Path(__file__).parent / "fleet" / "rotating.py"
PACKAGE = os.environ.get("ASYNCAUTH_PATH", str(Path(__file__).parent.parent.parent))

Grant = Literal["refresh", "password", "client"]
GRANTS: tuple[Grant, ...] = ("refresh", "password", "client")


@attrs.define(eq=False)
class Authority:
    """A token server that replaces each refresh token, and revokes all that came of one which is sent again.

    Attributes:
        lifetime: Seconds that its access tokens live.
        latency: Seconds that its answers take.
        requests: The worker and the grant of each token request.
        reused: How many spent refresh tokens came.
        on_request: Called with the worker when a token request comes, after which it waits for what that returns.
        ends: Set when it ends.
    """

    lifetime: float = 4.0
    latency: float = 0.02
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    reused: int = 0
    on_request: Callable[[str], Awaitable[None]] | None = None
    url: str = ""
    ends: asyncio.Event = attrs.field(factory=asyncio.Event)
    _family: dict[str, int] = attrs.field(factory=lambda: {"rt-0": 0})
    _spent: set[str] = attrs.field(factory=set)
    _revoked: set[int] = attrs.field(factory=set)
    _alive: dict[str, tuple[float, int]] = attrs.field(factory=dict)
    _number: int = 0

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        worker, grant = request.headers.get("X-Worker", ""), str(form["grant_type"])
        self.requests.append((worker, grant))
        if self.on_request is not None:
            await self.on_request(worker)
        await asyncio.sleep(self.latency)
        self._number += 1
        family = self._number
        if grant == "refresh_token":
            sent = str(form["refresh_token"])
            family = self._family.get(sent, -1)
            if sent in self._spent:
                self.reused += 1
                self._revoked.add(family)
            if family in self._revoked or family < 0:
                return web.json_response({"error": "invalid_grant"}, status=400)
            self._spent.add(sent)
        elif grant == "password" and form["password"] != "right":
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._alive[f"at-{self._number}"] = (time.monotonic() + self.lifetime, family)
        answer: dict[str, Any] = {
            "access_token": f"at-{self._number}",
            "expires_in": self.lifetime,
            "token_type": "Bearer",
        }
        if grant != "client_credentials":
            answer["refresh_token"] = f"rt-{self._number}"
            self._family[f"rt-{self._number}"] = family
        return web.json_response(answer)

    async def _api(self, request: web.Request) -> web.Response:
        until, family = self._alive.get(request.headers["Authorization"].removeprefix("Bearer "), (0.0, -1))
        dead = time.monotonic() > until or family in self._revoked
        return web.Response(status=401 if dead else 200, headers={"WWW-Authenticate": "Bearer"} if dead else {})

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Authority]:
        application = web.Application()
        application.add_routes([web.post("/token", self._token), web.get("/api", self._api)])
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            self.ends.set()
            await runner.cleanup()


@attrs.define(eq=False)
class Gate:
    """One process' way to Redis.

    Attributes:
        state: ``open``; ``shut``: connections are reset; ``dark``: nothing passes, and nobody is told;
            ``loading``: each command is answered as Redis does while it reads its file.
    """

    server: RedisServer
    state: Literal["open", "shut", "dark", "loading"] = "open"
    port: int = 0
    delay: float = 0.0
    _connections: set[asyncio.Task[None]] = attrs.field(factory=set)

    @property
    def url(self) -> str:
        return self.server.url.replace(f":{self.server.port}/", f":{self.port}/")

    def shut(self) -> None:
        """Reset what is connected, and whatever comes."""
        self.state = "shut"
        for task in self._connections:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self.state != "shut":
                await self._pass(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server: Any = None
        try:
            while True:
                command = await value(reader)
                while self.state == "dark":  # noqa: ASYNC110 (as long as the test says)
                    await asyncio.sleep(0.02)
                if self.state == "loading":
                    writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
                    continue
                await asyncio.sleep(self.delay)
                if to_server is None:
                    to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
                to_server[1].write(command)
                writer.write(await value(to_server[0]))
        finally:
            if to_server is not None:
                to_server[1].transport.abort()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Gate]:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)


@attrs.frozen
class Outcome:
    """What became of a fleet.

    Attributes:
        requests: How many API requests were made.
        failed: What those that failed got.
        reused: How many spent refresh tokens were sent.
        asked: How many token requests were made.
        back_after: Seconds from the end of the outage until each process had an answer again, and none failed.
        late: Seconds by which the event loops of the processes, and that of the servers, came late meanwhile: what a
            machine with more to do took from them.
        log: What the processes logged.
    """

    requests: int
    failed: list[str]
    reused: int
    asked: int
    back_after: float
    late: float
    log: str


@attrs.define(eq=False)
class World:
    """A fleet at work."""

    authority: Authority
    redis: RedisServer
    gates: list[Gate]
    processes: list[asyncio.subprocess.Process]
    late: list[tuple[float, float]] = attrs.field(factory=list)
    _over: float = 0.0

    async def rotated(self, times: int = 1) -> None:
        """Return when the fleet has made so many more token requests."""
        wanted = len(self.authority.requests) + times
        while len(self.authority.requests) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)

    def entry(self) -> dict[bytes, tuple[bytes, int]]:
        """Return what Redis holds."""
        with self.redis.client() as client:
            keys = self.redis.token_keys()
            return {key: (client.get(key) or b"", client.pttl(key)) for key in keys}

    def put_back(self, entries: dict[bytes, tuple[bytes, int]]) -> None:
        with self.redis.client() as client:
            for key, (content, milliseconds) in entries.items():
                client.set(key, content, px=milliseconds)

    def command(self, *words: str) -> None:
        with self.redis.client() as client:
            client.execute_command(*words)

    def over(self) -> None:
        """Note that the outage ends now."""
        self._over = time.time()

    async def end(self) -> Outcome:
        reports: list[list[tuple[float, float, str]]] = []
        late = self.late
        log = ""
        for process in self.processes:
            out, err = await process.communicate(b"\n") if process.returncode is None else (b"", b"")
            log += err.decode()
            if out:
                report = json.loads(out)
                reports.append(report["made"])
                late += report["late"]
        made = [each for report in reports for each in report]
        back = 0.0
        for report in reports:
            back = max(
                [
                    back,
                    min((end for _, end, became in report if end > self._over and became == "ok"), default=1e9)
                    - self._over,
                ]
            )
        back = max([back, *(end - self._over for _, end, became in made if became != "ok")])
        failed = [became for _, _, became in made if became != "ok"]
        lost = sum(by for when, by in late if self._over < when and when - by < self._over + back)
        return Outcome(len(made), failed, self.authority.reused, len(self.authority.requests), back, lost, log)


@contextlib.asynccontextmanager
async def fleet(grant: Grant, *, processes: int = 3, **settings: Any) -> AsyncIterator[World]:
    """Run a fleet until its end is asked for."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        authority = await stack.enter_async_context(Authority(lifetime=settings.pop("lifetime", 4.0)).serve())
        gates = [await stack.enter_async_context(Gate(redis).serve()) for _ in range(processes)]
        world = World(authority, redis, gates, [])
        watching = asyncio.create_task(watch(world.late))
        stack.callback(watching.cancel)
        stack.callback(_kill, world.processes)
        ahead = settings.pop("ahead", [0.0] * processes)
        each = settings.pop("each", [{}] * processes)
        for number, gate in enumerate(gates):
            given = {
                "grant": grant,
                "url": authority.url,
                "redis": gate.url,
                "callers": 2,
                "number": number,
                **settings,
            }
            given |= {**settings, **each[number], "ahead": ahead[number]}
            world.processes.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, str(WORKER), json.dumps(given)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join([PACKAGE, str(Path(__file__).parent)])},
                )
            )
        yield world


def _kill(processes: list[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.kill()


# What goes wrong


async def snapshot(world: World) -> None:
    """Redis restarts from a snapshot that is two rotations old, when all processes have seen the last one."""
    await world.rotated(2)
    await aside(world.command, "SAVE")
    await world.rotated(2)
    await asyncio.sleep(0.4 * world.authority.lifetime)
    await aside(world.redis.kill)
    await aside(world.redis.start)
    world.over()


async def lost_write(world: World) -> None:
    """A failover loses the last write, and the locks: the token was rotated, and the entry says that it is in use."""
    await world.rotated(2)
    before: dict[bytes, tuple[bytes, int]] = {}

    async def look(_: str) -> None:
        if not before:
            before.update(await aside(world.entry))

    world.authority.on_request = look
    await world.rotated()
    await aside(world.put_back, before)
    world.over()


async def partition(world: World) -> None:
    """The process that is rotating the refresh token is cut off from Redis for 12 s meanwhile."""
    await world.rotated(2)
    began = asyncio.Event()

    async def cut(worker: str) -> None:
        if not began.is_set():
            world.gates[int(worker)].state = "dark"
            began.set()
            await asyncio.sleep(0.3)

    world.authority.on_request = cut
    await began.wait()
    await asyncio.sleep(12.0)
    for gate in world.gates:
        gate.state = "open"
    world.over()


def away(seconds: float) -> Callable[[World], Awaitable[None]]:
    async def disturb(world: World) -> None:
        await world.rotated(2)
        for gate in world.gates:
            gate.shut()
        await asyncio.sleep(seconds)
        for gate in world.gates:
            gate.state = "open"
        world.over()

    disturb.__doc__ = f"Nobody can connect to Redis for {seconds:g} s."
    return disturb


async def paused(world: World) -> None:
    """Redis answers nothing for 6 s."""
    await world.rotated(2)
    world.redis.pause()
    await asyncio.sleep(6.0)
    world.redis.resume()
    world.over()


async def full(world: World) -> None:
    """Redis is full for 6 s (OOM)."""
    await world.rotated(2)
    await aside(world.command, "CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(6.0)
    await aside(world.command, "CONFIG", "SET", "maxmemory", "0")
    world.over()


async def full_disk(world: World) -> None:
    """Redis refuses writes for 6 s because its disk is full (MISCONF)."""
    await world.rotated(2)
    await aside(world.command, "CONFIG", "SET", "save", "1 1")
    (world.redis.folder / "dump.rdb").mkdir()  # where the file would be written
    await asyncio.sleep(6.0)
    await aside(world.command, "CONFIG", "SET", "save", "")
    await aside(world.command, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    world.over()


async def read_only(world: World) -> None:
    """Redis is a replica for 6 s (READONLY)."""
    await world.rotated(2)
    await aside(world.command, "REPLICAOF", "127.0.0.1", "1")
    await asyncio.sleep(6.0)
    await aside(world.command, "REPLICAOF", "NO", "ONE")
    world.over()


async def loading(world: World) -> None:
    """Redis loads its data for 6 s (LOADING)."""
    await world.rotated(2)
    for gate in world.gates:
        gate.state = "loading"
    await asyncio.sleep(6.0)
    for gate in world.gates:
        gate.state = "open"
    world.over()


async def killed(world: World) -> None:
    """A process is killed while it is rotating the refresh token."""
    await world.rotated(2)
    began = asyncio.Event()

    async def kill(worker: str) -> None:
        if not began.is_set():
            began.set()
            world.processes[int(worker)].kill()
            await world.authority.ends.wait()  # the server never gets to it

    world.authority.on_request = kill
    await began.wait()
    world.over()


Outage = Callable[[World], Awaitable[None]]
OUTAGES: dict[str, Outage] = {
    "snapshot": snapshot,
    "lost write": lost_write,
    "partition 12 s": partition,
    "away 3 s": away(3.0),
    "away 6 s": away(6.0),
    "away 20 s": away(20.0),
    "paused 6 s": paused,
    "OOM 6 s": full,
    "MISCONF 6 s": full_disk,
    "READONLY 6 s": read_only,
    "LOADING 6 s": loading,
    "killed": killed,
}


async def met(outage: Outage, grant: Grant, *, calm: float = 6.0, **settings: Any) -> Outcome:
    """Return what became of a fleet that met an outage, and had some calm seconds after it."""
    async with fleet(grant, **settings) as world:
        await outage(world)
        await asyncio.sleep(calm)
        return await world.end()


async def _table(names: list[str]) -> None:
    sys.stdout.write("| outage | grant | requests | failed | reused | token requests | back after |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    slots = asyncio.Semaphore(3)

    async def row(name: str, grant: Grant) -> tuple[str, Outcome]:
        async with slots:
            found = await met(OUTAGES[name], grant, calm=25.0 if name == "killed" else 6.0)
        kinds = sorted({each[:90] for each in found.failed})
        line = f"| {name} | {grant} | {found.requests} | {len(found.failed)} | {found.reused} | {found.asked} |"
        sys.stdout.write(f"{line} {found.back_after:.1f} s | {kinds[:3] or ''}\n")
        sys.stdout.flush()
        return name, found

    await asyncio.gather(*(row(name, grant) for name in names or OUTAGES for grant in GRANTS))


if __name__ == "__main__":
    asyncio.run(_table(sys.argv[1:]))
