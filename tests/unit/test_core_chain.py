"""Flights that wait for each other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import attrs
import pytest

from asyncauth._core import chain
from asyncauth._core.waiters import Waiter, Waiters


class Work:
    """Work that counts how often it is nudged."""

    idle, due = True, math.inf

    def __init__(self) -> None:
        self.nudges = 0

    def expire(self) -> None: ...

    def retry_now(self) -> None: ...

    def leave(self) -> None: ...

    def abandon(self) -> None: ...

    def nudge(self) -> None:
        self.nudges += 1


@attrs.define(eq=False)
class Link:
    """One flight of a chain."""

    waiters: Waiters
    waits_for: list[Link] = attrs.field(factory=list["Link"])
    work: Work | None = attrs.field(factory=Work)
    done: bool = False

    @property
    def pending(self) -> Iterator[Waiter]:
        return self.waiters.pending

    def wait_for(self, other: Link) -> None:
        """Wait for another one, as a flight's work does."""
        self.waits_for.append(other)
        other.add(self)

    def add(self, flight: Link | None = None) -> asyncio.Future[object]:
        """Add a caller, or another flight's work."""
        future = self.waiters.loop.create_future()
        self.waiters.entries.append((future, 0.0, flight))
        return future


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never runs."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def links(loop: asyncio.AbstractEventLoop) -> list[Link]:
    """Four flights of which none waits."""
    return [Link(Waiters(loop)) for _ in range(4)]


def test_a_flight_leads_to_itself_and_to_all_that_it_waits_for(links: list[Link]) -> None:
    """However long the chain is, and only in that direction."""
    first, second, third, other = links
    first.wait_for(second)
    second.wait_for(third)
    assert [chain.leads_to(first, each) for each in links] == [True, True, True, False]
    assert [chain.leads_to(each, first) for each in links] == [True, False, False, False]
    assert not chain.leads_to(first, other)


def test_two_ways_to_the_same_flight_are_no_circle(links: list[Link]) -> None:
    """What was seen is not followed again, nor does it end the search."""
    top, left, right, bottom = links
    top.wait_for(left)
    top.wait_for(right)
    left.wait_for(bottom)
    right.wait_for(bottom)
    assert chain.leads_to(top, bottom)
    assert not chain.leads_to(bottom, top)


def test_a_circle_ends_the_search(links: list[Link]) -> None:
    """Two that wait for each other, and the question is about a third."""
    first, second, other, _ = links
    first.wait_for(second)
    second.wait_for(first)
    assert not chain.leads_to(first, other)


def test_a_nudge_goes_all_the_way_up(links: list[Link]) -> None:
    """One whose work has yet to begin is passed through."""
    first, second, third, other = links
    first.wait_for(second)
    second.wait_for(third)
    second.work = None
    chain.nudge(first)
    assert [None if each.work is None else each.work.nudges for each in links] == [1, None, 1, 0]
    assert other.work is not None


def test_a_caller_waits_for_all_that_its_flight_waits_for(links: list[Link]) -> None:
    """And for nothing below it; once it is cancelled, nobody waits."""
    below, first, second, third = links
    below.wait_for(first)
    first.wait_for(second)
    second.wait_for(third)
    assert not any(chain.callers_wait(each) for each in links)
    caller = first.add()
    assert [chain.callers_wait(each) for each in links] == [False, True, True, True]
    caller.cancel()
    assert not any(chain.callers_wait(each) for each in links)


def test_one_that_waits_on_behalf_of_a_flight_that_has_ended_is_a_caller(links: list[Link]) -> None:
    """What a refresh left running waits for itself."""
    first, second, *_ = links
    first.wait_for(second)
    first.done = True
    assert chain.callers_wait(second)
