"""Timers that release callers at the deadline, and give up what can't end any more."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from asyncauth import AuthError
from asyncauth._base.loops import LoopRef
from asyncauth._core.waiters import Failure, FlightOrphaned, RemoteWatchdog, Waiters, Watchdog


class Loop:
    """A loop whose timers the test fires."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Any, tuple[Any, ...]]] = []
        self.stopped = 0

    def call_later(self, seconds: float, call: Any, *arguments: Any) -> Loop:
        self.timers.append((seconds, call, arguments))
        return self

    def cancel(self) -> None:
        self.stopped += 1

    def fire(self) -> float:
        """Call what is due next; return the seconds that it was to wait."""
        seconds, call, arguments = self.timers.pop(0)
        call(*arguments)
        return seconds


class Answering(LoopRef):
    """A flight's loop that answers when it is asked, or is blocked."""

    __slots__ = ("blocked",)

    def __init__(self, *, blocked: bool) -> None:
        self.blocked = blocked

    def call_soon(self, call: Any, *arguments: Any) -> bool:
        if not self.blocked:
            call(*arguments)
        return True


class Flight:
    """What a watchdog sees of a flight."""

    def __init__(self, loop: LoopRef | None = None, *left: float) -> None:
        self.done = False
        self.loop = loop
        self.left = list(left)
        self.orphans: list[bool] = []
        self.told: list[str] = []
        self.expired = 0

    @property
    def seconds_left(self) -> float:
        return self.left.pop(0)

    @property
    def orphaned(self) -> bool:
        return self.orphans.pop(0) if self.orphans else False

    def expire(self) -> None:
        self.expired += 1

    def release(self, failure: Failure | None = None) -> None:
        self.told.append(f"released: {'outcome' if failure is None else failure}")

    def forget_waiters(self, waiters: Waiters) -> None:
        self.told.append("forgotten")

    def abandon(self, error: AuthError | FlightOrphaned) -> None:
        self.done = True
        self.told.append("lost" if isinstance(error, FlightOrphaned) else f"abandoned: {error}")


IGNORED = (
    "no token by the deadline: the provider ignores that its request was cancelled: let its fetch() pass"
    " CancelledError on"
)
BLOCKED = (
    "no token by the deadline: the event loop of the refresh, in another thread, is blocked: look for the code that"
    " blocks it, such as a synchronous request"
)


def on_its_own_loop(flight: Flight, seconds: float) -> tuple[Watchdog, Loop]:
    loop: Any = Loop()
    return Watchdog(flight, loop, seconds), loop


def test_callers_are_released_by_the_second_check_after_the_deadline() -> None:
    """The first ends the request, and may come after its loop was blocked; 5 s later the flight is given up."""
    flight = Flight(None, 0.0, -0.25, -4.9, -5.0)
    _, loop = on_its_own_loop(flight, 30.0)
    assert loop.fire() == 30.0
    assert flight.told == []
    assert flight.expired == 1
    assert loop.fire() == 0.25
    assert flight.told == [f"released: {IGNORED}"]
    assert loop.fire() == 0.25
    assert loop.fire() == 0.25
    assert flight.told == [f"released: {IGNORED}"] * 2 + [f"abandoned: {IGNORED}"]
    assert loop.timers == []


def test_a_deadline_that_moves_is_followed() -> None:
    """Work may say that it may take longer, and an overdue flight may get more time."""
    flight = Flight(None, 12.0, -1.0, 0.5, 7.0, 0.1, -1.0)
    _, loop = on_its_own_loop(flight, 30.0)
    waits = [loop.fire() for _ in range(6)]
    assert waits == [30.0, 12.0, 0.25, 0.5, 7.0, 0.1]
    assert flight.told == []
    assert flight.expired == 2


def test_a_flight_without_deadline_is_looked_at_each_hour() -> None:
    """Some loops do not accept infinity."""
    flight = Flight(None, math.inf)
    _, loop = on_its_own_loop(flight, math.inf)
    assert loop.fire() == 3600.0
    assert loop.timers[0][0] == 3600.0


def test_a_flight_that_is_done_is_not_watched() -> None:
    """A check that comes too late does nothing; one that was stopped does not come."""
    flight = Flight()
    watchdog, loop = on_its_own_loop(flight, 30.0)
    flight.done = True
    loop.fire()
    assert loop.timers == []
    watchdog.stop()
    assert loop.stopped == 1


async def from_afar(flight: Flight) -> tuple[Loop, asyncio.Future[Any]]:
    loop: Any = Loop()
    waiters = Waiters(loop)
    future = asyncio.get_running_loop().create_future()
    waiters.entries.append((future, 0.0, None))
    RemoteWatchdog(flight, waiters)
    return loop, future


async def test_a_loop_that_is_lost_twice_in_a_row_is_lost() -> None:
    """It may stand still between two calls that run it."""
    flight = Flight(None, *[9.0] * 3)
    flight.orphans = [True, False, True, True]
    loop, _ = await from_afar(flight)
    assert [loop.fire() for _ in range(3)] == [0.25] * 3
    assert flight.told == []
    loop.fire()
    assert flight.told == ["lost"]
    assert loop.timers == []


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_loop_that_does_not_answer_by_the_next_check_is_blocked(*, blocked: bool) -> None:
    """One that answers ends its flight by itself."""
    flight = Flight(Answering(blocked=blocked), 0.1, 0.0, -0.25)
    loop, _ = await from_afar(flight)
    for _ in range(3):
        loop.fire()
    assert flight.told == ([f"abandoned: {BLOCKED}"] if blocked else [])
    assert len(loop.timers) == (0 if blocked else 1)


async def test_a_loop_that_is_blocked_after_its_answer_is_noticed() -> None:
    """It is asked at each check: it may have answered, and be blocked before it could end its flight."""
    flight_loop = Answering(blocked=False)
    flight = Flight(flight_loop, -0.1, -0.35, -0.6)
    loop, _ = await from_afar(flight)
    loop.fire()
    flight_loop.blocked = True
    loop.fire()
    assert flight.told == []
    loop.fire()
    assert flight.told == [f"abandoned: {BLOCKED}"]


async def test_a_deadline_that_moves_is_asked_for_anew() -> None:
    """What a blocked loop did not answer before does not count any more."""
    flight = Flight(Answering(blocked=True), -0.1, 3.0, -0.1, -0.35)
    loop, _ = await from_afar(flight)
    for _ in range(3):
        loop.fire()
    assert flight.told == []
    loop.fire()
    assert flight.told == [f"abandoned: {BLOCKED}"]


async def test_a_flight_that_was_never_started_has_no_loop_to_ask() -> None:
    """It counts as blocked once it is overdue."""
    flight = Flight(None, -1.0, -1.0)
    loop, _ = await from_afar(flight)
    loop.fire()
    loop.fire()
    assert flight.told == [f"abandoned: {BLOCKED}"]


async def test_callers_that_were_not_woken_get_the_outcome() -> None:
    """What was to wake them may have been interrupted."""
    flight = Flight()
    loop, _ = await from_afar(flight)
    flight.done = True
    loop.fire()
    assert flight.told == ["released: outcome"]
    assert loop.timers == []


async def test_nobody_is_watched_over_once_nobody_waits() -> None:
    """The loop's place is given up with its timer: the next caller begins anew."""
    flight = Flight()
    loop, future = await from_afar(flight)
    future.cancel()
    loop.fire()
    assert flight.told == ["forgotten"]
    assert loop.timers == []
