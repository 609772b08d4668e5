"""The clock and the provider that tests of code with asyncauth use."""

from __future__ import annotations

import asyncio
import math
import traceback

import aiohttp
import pytest

from asyncauth import (
    Clock,
    InvalidTokenResponse,
    Provider,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    client_session,
    testing,
)
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp, static_manager


async def test_clocks_move_together(clock: FakeClock) -> None:
    """advance() moves both clocks by the same seconds, and only it does."""
    held: Clock = clock
    await clock.advance(10)
    assert (held.wall(), held.monotonic()) == (1_700_000_010, 1_010)
    clock.set_wall(5)
    assert (clock.wall(), clock.monotonic()) == (5, 1_010)
    await clock.advance(0)
    assert (clock.wall(), clock.monotonic()) == (5, 1_010)


async def test_sleep_that_is_cancelled_as_it_falls_due(clock: FakeClock) -> None:
    """A sleeper that is cancelled in the moment of its waking is cancelled, and disturbs nobody."""
    nap, other = (asyncio.ensure_future(clock.sleep(5)) for _ in range(2))
    await asyncio.sleep(0)
    moving = asyncio.ensure_future(clock.advance(5))
    while clock.monotonic() < 1005:  # noqa: ASYNC110 (not a round later)
        await asyncio.sleep(0)
    nap.cancel()
    await moving
    assert nap.cancelled()
    assert other.done()
    await other


def test_names_that_come_late_are_there() -> None:
    """What is imported when it is first named is listed, and what is not there is an AttributeError."""
    assert "mock_aiohttp" in dir(testing)
    with pytest.raises(AttributeError, match="no attribute 'mock_aiohtp'"):
        _ = testing.mock_aiohtp


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan, math.inf])
async def test_clock_is_moved_forwards_and_not_for_ever(clock: FakeClock, seconds: float) -> None:
    """Anything but a step forwards is refused and changes nothing; the error says what to use instead."""
    before = clock.monotonic()
    with pytest.raises(ValueError, match="set_wall"):
        await clock.advance(seconds)
    with pytest.raises(ValueError, match="set_wall"):
        clock.suspend(seconds)
    assert clock.monotonic() == before


async def test_sleeps_stand_still_during_suspend(clock: FakeClock) -> None:
    """suspend() moves both clocks, and a sleep has as much left after it as before."""
    nap = asyncio.ensure_future(clock.sleep(60))
    await clock.advance(50)
    clock.suspend(3600)
    assert (clock.wall(), clock.monotonic()) == (1_700_003_650, 4_650)
    await clock.advance(9)
    assert not nap.done()
    await clock.advance(1)
    assert nap.done()


async def test_what_becomes_due_has_run_at_its_time(clock: FakeClock) -> None:
    """Sleepers wake in order, each when the clock stands at its time, and what they start is included."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.monotonic() - 1000))

    tasks = [asyncio.ensure_future(sleeper("a", 3, 3)), asyncio.ensure_future(sleeper("b", 5, 0, -1))]
    await clock.advance(5.999)
    assert woken == [("a", 3), ("b", 5), ("b", 5), ("b", 5)]
    await clock.advance(0.001)
    assert woken[-1] == ("a", 6)
    await asyncio.gather(*tasks)


async def test_cancelled_sleepers_are_passed_over(clock: FakeClock) -> None:
    """A sleep that was cancelled bothers nobody."""
    nap = asyncio.ensure_future(clock.sleep(5))
    await clock.advance(1)
    nap.cancel()
    await clock.advance(10)
    assert nap.cancelled()


async def test_provider_gives_its_answers_in_turn_and_then_tokens(clock: FakeClock) -> None:
    """Answers are tokens, exceptions, functions and async functions; after them come new tokens."""

    async def later() -> Token:
        await asyncio.sleep(0)
        return Token("later")

    provider = FakeProvider(
        clock=clock, lifetime=60, answers=[Token("t"), TokenEndpointUnavailable("no"), lambda: Token("f"), later]
    )
    held: Provider = provider
    async with aiohttp.ClientSession() as http:
        assert (await held.fetch(http, None)).value == "t"
        with pytest.raises(TokenEndpointUnavailable):
            await held.fetch(http, None)
        values = [(await held.fetch(http, Token("p"))).value for _ in range(4)]
    assert values == ["f", "later", "token-1", "token-2"]
    assert provider.calls == 6
    assert [None if each is None else each.value for each in provider.previous] == [None, None, "p", "p", "p", "p"]


async def test_provider_gives_a_single_answer_to_every_call(clock: FakeClock) -> None:
    """An answer that is not in a list is given every time, as by an endpoint that is down."""
    provider = FakeProvider(clock=clock, answers=TokenEndpointUnavailable("down"))
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            with pytest.raises(TokenEndpointUnavailable):
                await provider.fetch(http, None)
        provider.answers = []
        assert (await provider.fetch(http, None)).value == "token-1"


async def test_an_error_that_every_call_gets_keeps_the_frames_of_the_last_alone(clock: FakeClock) -> None:
    """Otherwise an error that many tests share would keep all that was alive when it was raised."""
    down = TokenEndpointUnavailable("down")
    provider = FakeProvider(clock=clock, answers=down)
    depths = []
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            with pytest.raises(TokenEndpointUnavailable):
                await provider.fetch(http, None)
            depths.append(len(list(traceback.walk_tb(down.__traceback__))))
    assert depths == [2, 2, 2]


async def test_provider_takes_its_time_on_the_given_clock(clock: FakeClock) -> None:
    """``latency`` passes on ``clock``; ``running`` says how many calls are in progress."""
    provider = FakeProvider(clock=clock, latency=5)
    waiting = asyncio.ensure_future(TokenManager(provider, clock=clock).token())
    await clock.advance(4.999)
    assert provider.running == 1
    await clock.advance(0.001)
    assert (await waiting).lifetime == 3600
    assert provider.running == 0


async def test_a_static_manager_has_its_token_from_the_start() -> None:
    """No request is made for it, and no time ends it."""
    manager = static_manager("s3cret", origins="https://api.example.com")
    assert manager.current is not None
    assert manager.current.value == "s3cret"
    assert manager.origins == ("https://api.example.com",)
    async with manager:
        assert await manager.headers() == {"Authorization": "Bearer s3cret"}
        assert (await manager.refresh()).value == "s3cret"
    assert (manager.status().state, manager.status().seconds_left) == ("fresh", None)


async def test_a_static_manager_needs_nothing_closed() -> None:
    """It can be used in one ``asyncio.run()`` after another, and be forgotten."""
    manager = static_manager()
    for _ in range(2):
        assert (await asyncio.to_thread(asyncio.run, manager.token())).value == "test-token"


async def test_a_static_token_stays_when_it_is_refused() -> None:
    """After a 401 the caller gets the 401, once, and the token is still there."""
    manager = static_manager(origins=("https://api.example.com", "https://www.example.com"))
    with mock_aiohttp() as mock:
        mock.get("https://www.example.com/", status=401)
        async with client_session(manager) as http, http.get("https://www.example.com/") as response:
            assert response.status == 401
    manager.invalidate(await manager.token())
    assert manager.current == await manager.token()


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "ñ"])
def test_a_static_token_can_travel(value: str) -> None:
    """A value that no header can hold is refused at once."""
    with pytest.raises(InvalidTokenResponse, match="header"):
        static_manager(value)
