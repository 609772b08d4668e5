"""The clock and the provider that tests of code with asyncauth use."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from asyncauth import Clock, Provider, Token, TokenEndpointUnavailable, TokenManager
from asyncauth.testing import FakeClock, FakeProvider


async def test_clocks_move_together(clock: FakeClock) -> None:
    """advance() moves both clocks by the same seconds, and only it does."""
    held: Clock = clock
    await clock.advance(10)
    assert (held.wall(), held.monotonic()) == (1_700_000_010, 1_010)
    clock.set_wall(5)
    assert (clock.wall(), clock.monotonic()) == (5, 1_010)
    await clock.advance(0)
    assert (clock.wall(), clock.monotonic()) == (5, 1_010)


async def test_clock_is_not_moved_backwards(clock: FakeClock) -> None:
    """A negative step is refused, and says what to use instead."""
    with pytest.raises(ValueError, match="set_wall"):
        await clock.advance(-1)


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


async def test_provider_takes_its_time_on_the_given_clock(clock: FakeClock) -> None:
    """``latency`` passes on ``clock``; ``running`` says how many calls are under way."""
    provider = FakeProvider(clock=clock, latency=5)
    waiting = asyncio.ensure_future(TokenManager(provider, clock=clock).token())
    await clock.advance(4.999)
    assert provider.running == 1
    await clock.advance(0.001)
    assert (await waiting).lifetime == 3600
    assert provider.running == 0
