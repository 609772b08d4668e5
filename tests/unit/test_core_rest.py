"""The pause between two tries, which any thread may end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncauth._core.rest import Rest
from asyncauth.testing import FakeClock


@pytest.fixture
def rest(clock: FakeClock) -> Rest:
    return Rest(clock)


async def test_it_ends_when_its_time_is_up(rest: Rest, clock: FakeClock) -> None:
    """Not before."""
    taking = asyncio.create_task(rest.take(5.0, rest.wakes))
    await clock.advance(4.9)
    assert not taking.done()
    await clock.advance(0.1)
    await taking
    assert rest.resting is None


async def test_it_ends_when_somebody_wakes_it(rest: Rest, settled: Callable[[], Awaitable[None]]) -> None:
    """At once, and it can be taken again."""
    for _ in range(2):
        taking = asyncio.create_task(rest.take(5.0, rest.wakes))
        await settled()
        assert not taking.done()
        rest.wake()
        await taking


async def test_it_does_not_begin_where_somebody_has_woken_it_meanwhile(rest: Rest) -> None:
    """Between the decision to rest and the rest there was nothing to end."""
    wakes = rest.wakes
    rest.wake()
    await rest.take(5.0, wakes)


async def test_who_leaves_rests_no_more(rest: Rest, settled: Callable[[], Awaitable[None]]) -> None:
    """The rest that is taken ends, and there is no other: the event loop is about to end."""
    taking = asyncio.create_task(rest.take(5.0, rest.wakes))
    await settled()
    rest.leave()
    await taking
    with pytest.raises(asyncio.CancelledError):
        await rest.take(5.0, rest.wakes)
