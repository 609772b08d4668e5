"""A forked child uses its parent's manager: the parent's connections go on, and no refresh token is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from aiohttp import web
from redis_kit import needs_redis, redis_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")

HERE = Path(__file__).parent


@attrs.define(eq=False)
class Server:
    """A token server that replaces each refresh token, and the connections over which they came.

    Attributes:
        sent: The connection, by its port, and the refresh token of each request.
        holds: The number of the request that is answered after ``/go`` alone; 0 = none.
    """

    holds: int = 0
    url: str = ""
    sent: list[tuple[int, str]] = attrs.field(factory=list)
    _go: asyncio.Event = attrs.field(factory=asyncio.Event)
    _arrived: asyncio.Condition = attrs.field(factory=asyncio.Condition)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        peer = request.transport.get_extra_info("peername") if request.transport is not None else ("", 0)
        async with self._arrived:
            self.sent.append((peer[1], str(form["refresh_token"])))
            self._arrived.notify_all()
        number = len(self.sent)
        if number == self.holds:
            await self._go.wait()
        return web.json_response(
            {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": 3600}
        )

    async def _wait(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["number"])
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.sent) >= wanted)
        return web.Response()

    async def _release(self, _: web.Request) -> web.Response:
        self._go.set()
        return web.Response()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Server]:
        application = web.Application()
        application.add_routes(
            [
                web.post("/token", self._token),
                web.get("/arrived/{number}", self._wait),
                web.get("/go", self._release),
            ]
        )
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("moment", ["idle", "asking"])
@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=needs_redis)])
async def test_a_child_leaves_its_parents_connections_alone(tmp_path: Path, kind: str, moment: str) -> None:
    """The parent's next request goes over the connection that it had, with the refresh token that counts by then."""
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(redis_server()).url if kind == "redis" else str(tmp_path)
        async with Server(holds=2 if moment == "asking" else 0).serve() as server:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", str(HERE / "forking_process.py"), server.url, where, moment),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
            )
            out, err = await process.communicate()
    assert (process.returncode, out.decode(), err.decode()) == (0, "", "")
    refresh_tokens = [token for _, token in server.sent]
    assert refresh_tokens == [f"refresh-{number}" for number in range(len(server.sent))]
    parents = server.sent[0][0]
    assert [peer == parents for peer, _ in server.sent] == {
        "idle": [True, False, True],
        "asking": [True, True, True, True],  # the child takes over what the parent's refresh brought
    }[moment]


async def test_a_child_without_an_event_loop_loses_no_refresh_token(tmp_path: Path) -> None:
    """A prefork server forks in the middle of a thread's blocking call: each refresh token is sent once."""
    async with Server(holds=2).serve() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", str(HERE / "forking_blocking_process.py"), server.url, str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        )
        out, err = await process.communicate()
    assert (process.returncode, out.decode(), err.decode()) == (0, "", "")
    assert [token for _, token in server.sent] == ["refresh-0", "refresh-1", "refresh-2"]
