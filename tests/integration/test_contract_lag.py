"""An API that knows a token a moment after its issuer does: no request fails, and no token request is made for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from loopback import until

from asyncauth import BearerAuth, ClientCredentials, TokenManager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

LAG = 0.4
"""Seconds after which the API knows a token: two probes find it unknown."""


@attrs.define(eq=False)
class Laggard:
    """A token endpoint and an API, which takes a token only some time after it was issued.

    Attributes:
        lag: For how long it does not, in seconds.
        issued: When each token was issued.
        sent: Each request's token, and whether it was good.
        crowd: How many requests it refuses at least, whenever they come.
        held: What keeps its answers back, once they are decided.
        url: Its origin.
    """

    lag: float = LAG
    crowd: int = 0
    issued: dict[str, float] = attrs.field(factory=dict[str, float])
    sent: list[tuple[str, bool]] = attrs.field(factory=list[tuple[str, bool]])
    held: asyncio.Event | None = None
    url: str = ""

    async def token(self, request: web.Request) -> web.Response:
        value = f"at-{len(self.issued)}"
        self.issued[value] = time.monotonic()
        return web.json_response({"access_token": value, "token_type": "Bearer", "expires_in": 3600})

    async def call(self, request: web.Request) -> web.Response:
        value = request.headers["Authorization"].removeprefix("Bearer ")
        aged = time.monotonic() - self.issued[value] >= self.lag
        body = await request.read()
        good = aged and len(self.sent) >= self.crowd
        self.sent.append((value, good))
        if self.held is not None:
            await self.held.wait()
        return web.Response(status=200 if good else 401, body=body)


@pytest.fixture
async def api() -> AsyncIterator[Laggard]:
    api = Laggard()
    app = web.Application()
    app.router.add_post("/token", api.token)
    app.router.add_route("*", "/call", api.call)
    async with TestServer(app) as server:
        api.url = str(server.make_url("/").origin())
        yield api


@contextlib.asynccontextmanager
async def client(api: Laggard) -> AsyncGenerator[tuple[TokenManager, aiohttp.ClientSession], None]:
    grant = ClientCredentials(
        token_url=f"{api.url}/token", client_id="me", client_secret="a-client-secret", origins=api.url
    )
    async with TokenManager(grant) as manager, aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        yield manager, http


async def chunks() -> AsyncIterator[bytes]:
    yield b"body"


async def call(http: aiohttp.ClientSession, api: Laggard, kind: str) -> int:
    data: Any = {"plain": None, "bytes": b"body", "stream": chunks()}[kind]
    async with http.request("GET" if data is None else "POST", f"{api.url}/call", data=data) as response:
        assert await response.read() == (b"" if data is None else b"body")
        return response.status


async def test_no_request_fails_at_a_renewal(api: Laggard) -> None:
    """Three renewals, and requests of every kind all the time: each is answered 200, for one token request each."""
    statuses: Counter[int] = Counter()
    async with client(api) as (manager, http):
        statuses[await call(http, api, "plain")] += 1
        for least in (110, 220, 330):
            await manager.refresh()
            new = list(api.issued)[-1]
            while (new, True) not in api.sent or statuses.total() < least:
                answers = (call(http, api, kind) for kind in ("plain", "bytes", "stream", "plain", "stream"))
                statuses.update(await asyncio.gather(*answers))
                await asyncio.sleep(0.01)
            assert manager.current is not None
            assert manager.current.value == new
        assert manager.status().rejections == 0
        assert not manager.status().cooling_down
    assert set(statuses) == {200}
    assert statuses.total() >= 330
    assert len(api.issued) == 4
    unknown = sum(not good for _, good in api.sent)
    assert 4 <= unknown <= 4 * 10, "the requests that were under way when the first 401 came, and the probes"


async def test_a_cold_start_waits_for_the_api(api: Laggard) -> None:
    """The first token is sent once more after a second: all of a crowd are answered 200."""
    api.lag, api.crowd = 0.0, 20
    async with client(api) as (_, http):
        assert set(await asyncio.gather(*(call(http, api, "bytes") for _ in range(20)))) == {200}
    assert len(api.issued) == 1
    assert len(api.sent) == 40


async def test_a_stream_is_sent_with_a_token_that_the_api_knows(api: Laggard) -> None:
    """It can be sent only once, so it carries the old one until another request has proven the new one."""
    async with client(api) as (manager, http):
        await call(http, api, "plain")
        api.lag = 0.0
        await manager.refresh()
        for kind in ("stream", "plain", "stream"):
            assert await call(http, api, kind) == 200
    assert [token for token, _ in api.sent[-3:]] == ["at-0", "at-1", "at-1"]


async def test_a_slow_401_of_before_costs_nothing(api: Laggard) -> None:
    """A request that was judged before the API knew the token, and answered after others were served, is repeated."""
    api.lag = 0.0
    async with client(api) as (manager, http):
        await call(http, api, "plain")
        api.lag, api.held = 3600.0, asyncio.Event()
        manager.invalidate(await manager.token())
        late = asyncio.ensure_future(call(http, api, "bytes"))
        await until(lambda: api.sent[-1] == ("at-1", False))
        held, api.lag, api.held = api.held, 0.0, None
        assert await call(http, api, "plain") == 200
        held.set()
        assert await late == 200
        assert manager.status().rejections == 1, "the one by hand"
    assert len(api.issued) == 2
