"""What `BearerAuth` tells its manager: what the API accepted, what it refused, and what it refused in a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest_asyncio
from aioresponses import CallbackResult
from core_kit import engine_of

from asyncauth import BearerAuth, TokenManager
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp

Make = Callable[..., TokenManager]

URL = "https://api.example.com/things"


class Api:
    """An API that refuses the tokens that a test names, and does what it is told before it answers."""

    def __init__(self, manager: TokenManager) -> None:
        self.manager = manager
        self.refuses: set[str] = set()
        self.before_answering: dict[str, Callable[[], None]] = {}
        self.seen: list[str] = []

    def answer(self, url: Any, **request: Any) -> CallbackResult:
        token = request["headers"]["Authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        self.before_answering.get(token, lambda: None)()
        return CallbackResult(status=401 if token in self.refuses else 200)

    async def get(self, **request: Any) -> int:
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(self.manager),)) as http,
            http.get(URL, **request) as response,
        ):
            return response.status


@pytest_asyncio.fixture
async def api(make: Make, provider: FakeProvider) -> AsyncIterator[Api]:
    api = Api(make(provider))
    with mock_aiohttp() as mock:
        mock.get(URL, callback=api.answer, repeat=True)
        yield api


async def test_a_token_that_served_is_accepted(api: Api, provider: FakeProvider) -> None:
    """A replacement that the API took and refuses a moment later was revoked: it is dropped, no cool-down begins."""
    api.manager.invalidate(await api.manager.token())
    assert await api.get() == 200
    api.refuses.add(api.seen[-1])
    assert await api.get() == 200
    assert provider.calls == 3
    assert not api.manager.status().cooling_down


async def test_a_refusal_in_a_repeat_counts_whatever_others_saw(api: Api) -> None:
    """A replacement that other requests are served with stays, if the repeat of a refused request is refused."""
    first = await api.manager.token()
    second = first.value.replace("1", "2")
    api.refuses |= {first.value, second}

    def others_are_served() -> None:
        assert api.manager.current is not None
        api.manager.accepted(api.manager.current)

    api.before_answering[second] = others_are_served
    api.manager.accepted(first)
    assert await api.get() == 401
    # Once more, because others were served with it after it was sent: perhaps only this request met a server that did
    # not know it yet.
    assert api.seen == [first.value, second, second]
    assert api.manager.status().cooling_down
    assert api.manager.current is not None
    assert api.manager.current.value == second


async def test_a_repeat_that_is_served_ends_the_cool_downs(api: Api, clock: FakeClock) -> None:
    """Cool-downs double until a repeat succeeds; then the first one's length counts again."""
    holds = []

    async def refused_twice() -> None:
        token = await api.manager.token()
        api.manager.invalidate(token)
        api.manager.invalidate(await api.manager.token())
        holds.append(engine_of(api.manager).state.failures.api_401s.until - clock.monotonic())
        await clock.advance(61.0)

    await refused_twice()
    await refused_twice()
    current = await api.manager.token()
    api.refuses.add(current.value)
    assert await api.get() == 200
    await clock.advance(6.0)
    await refused_twice()
    assert holds == [5.0, 10.0, 5.0]


async def test_a_renewal_that_crossed_a_revocation_costs_no_request(
    api: Api, provider: FakeProvider, settled: Callable[[], Any]
) -> None:
    """The repeat's token had been asked for before the refusal, and is refused as well: one more is sent."""
    first = await api.manager.token()
    api.manager.accepted(first)
    opened = asyncio.Event()

    async def second() -> Any:
        await opened.wait()
        return provider.token()

    provider.answers = [second]
    renewing = asyncio.create_task(api.manager.refresh())
    await settled()
    revoked = first.value.replace("1", "2")
    api.refuses |= {first.value, revoked}
    api.before_answering[first.value] = opened.set
    assert await api.get() == 200
    assert api.seen == [first.value, revoked, first.value.replace("1", "3")]
    await renewing


async def test_another_middleware_may_take_the_header_off(make: Make, provider: FakeProvider) -> None:
    """What is further inside may change the request: a header that is gone need not be taken off."""
    manager = make(provider)

    async def strip(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await handler(request)
        del request.headers["Authorization"]
        return response

    with mock_aiohttp() as mock:
        mock.get(URL)
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(manager), strip)) as http,
            http.get(URL) as response,
        ):
            assert response.status == 200


async def a_stream() -> AsyncIterator[bytes]:
    yield b"1"


async def test_a_body_that_can_be_sent_once_carries_a_proven_token(api: Api) -> None:
    """Whether its length is known or not; a whole body carries the new token."""
    await api.get()
    await api.manager.refresh()
    await api.get(data=a_stream(), headers={"Content-Length": "1"})
    await api.get(data=a_stream())
    await api.get(data=b"1")
    assert api.seen == ["token-1", "token-1", "token-1", "token-2"]


async def test_a_request_with_a_body_carries_no_expired_token(api: Api, clock: FakeClock) -> None:
    """However often the token was accepted before."""
    await api.get(data=b"1")
    await api.get(data=b"1")
    await clock.advance(4_000.0)
    await api.get(data=b"1")
    assert api.seen == ["token-1", "token-1", "token-2"]
