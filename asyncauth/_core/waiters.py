"""The callers that wait for a flight on one event loop, and the timers that release them if it does not.

Each caller has its own future. A flight's own loop has one timer (`Watchdog`). Each other loop from which callers wait
has one timer for all of them (`RemoteWatchdog`), since the flight's loop may have ended or be blocked.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

import attrs

from asyncauth._base.loops import GLANCE, call_soon
from asyncauth.errors import TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncauth._base.loops import LoopRef
    from asyncauth.errors import AuthError

__all__ = ["PATIENCE", "Failure", "FlightOrphaned", "RemoteWatchdog", "Waiter", "Waiters", "Watchdog", "Watched"]

PATIENCE = 5.0
"""Seconds after its deadline at which work that has not ended is abandoned; the next caller starts another."""

_LONGEST_WATCH = 3600.0
"""The most seconds between two checks whether work is overdue: some loops do not accept infinity."""


class Failure(Protocol):
    """An exception that several callers get."""

    def again(self) -> Exception:
        """Return an exception of the same class that says the same, for one caller."""
        ...


Waiter = tuple[asyncio.Future[Any], float, Any]
"""The future that a caller awaits; when its wait began, in seconds of the manager's clock; and the flight for whose
work it waits, ``None`` for a caller of its own."""


@attrs.define(eq=False)
class Waiters:
    """The callers on one event loop that wait for the same outcome.

    A caller that is cancelled cancels its own future, and affects no other caller.

    Attributes:
        loop: Their event loop.
        entries: The callers since the last release, in the order in which they came, including cancelled ones. A caller
            is appended on its own loop only, and without a method, since ten thousand may come at once.
    """

    loop: asyncio.AbstractEventLoop
    entries: list[Waiter] = attrs.field(factory=list[Waiter], init=False)

    @property
    def pending(self) -> Iterator[Waiter]:
        """The callers that still wait, in the order in which they came. Any thread."""
        return (waiter for waiter in self.entries if not waiter[0].done())

    @property
    def waiting(self) -> int:
        """How many still wait. Any thread."""
        return len([None for future, _, _ in self.entries if not future.done()])  # quicker than a generator

    @property
    def told(self) -> bool:
        """Whether the work was told that callers wait: by the last but one, if that still waits and is not a flight."""
        entries = self.entries
        return len(entries) > 1 and entries[-2][2] is None and not entries[-2][0].done()

    def release(self, result: object, failure: Failure | None) -> None:
        """Give every caller that waits its outcome. Any thread.

        Callers on the running loop have it when this returns. On another loop they get it before anything else runs
        there, and all by one call. On a closed loop nobody is left.

        Args:
            result: What they get.
            failure: The error; each gets its own copy. ``None``: nothing failed.
        """
        try:
            is_here = asyncio.get_running_loop() is self.loop
        except RuntimeError:  # there is none, as in a task that is closed as garbage after its loop
            is_here = False
        if is_here:
            self.release_here(result, failure)
        else:
            call_soon(self.loop, self.release_here, result, failure)

    def release_here(self, result: object, failure: Failure | None) -> None:
        """Do as `release` does. On their own loop only."""
        for future, _, _ in self.entries:
            if future.done():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure.again())
                future.exception()  # marks it as retrieved: a caller's loop may end before the caller does
        self.entries.clear()  # last: if this is interrupted, the next call releases the others


class FlightOrphaned(Exception):
    """The flight has no outcome: its event loop ended before it did, or its task was cancelled or interrupted."""

    def again(self) -> Self:
        """Return a new one, for one caller."""
        return type(self)()


class Watched(Protocol):
    """A flight, as its watchdogs see it."""

    done: bool
    """Whether it has an outcome."""

    loop: LoopRef | None
    """Its loop; ``None``: it was not started."""

    @property
    def seconds_left(self) -> float:
        """The seconds until it should have ended."""
        ...

    @property
    def orphaned(self) -> bool:
        """Whether it can't end any more."""
        ...

    def expire(self) -> None:
        """Have the work end the request in progress: its time is over. On its own loop only."""
        ...

    def release(self, failure: Failure | None = None) -> None:
        """Give all who wait an error, or the outcome. Any thread."""
        ...

    def forget_waiters(self, waiters: Waiters) -> None:
        """Let go of a loop's waiters, none of whom waits any more. On that loop only."""
        ...

    def abandon(self, error: AuthError | FlightOrphaned) -> None:
        """End it with an error, and let nothing more come of it. Any thread."""
        ...


class Watchdog:
    """Ends the request at the deadline. If that does not help, releases the callers, and then ends the flight.

    On the flight's own loop.

    Args:
        flight: The flight. It holds the watchdog, and stops it at its end.
        loop: The flight's loop.
        seconds: When to check first.
    """

    __slots__ = ("_flight", "_loop", "_timer")

    def __init__(self, flight: Watched, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._flight = flight
        self._loop = loop
        self._timer = loop.call_later(min(seconds, _LONGEST_WATCH), self.look)

    def stop(self) -> None:
        """Check no more."""
        self._timer.cancel()

    def look(self, doubted: bool = False) -> None:  # noqa: FBT001, FBT002 (a callback's argument)
        """Check whether the flight is overdue. It is if two checks say so: its loop may have been blocked until now."""
        flight = self._flight
        if flight.done:
            return
        left = flight.seconds_left
        if left <= 0:
            flight.expire()
        if left <= 0 and doubted:
            if left <= -PATIENCE:
                flight.abandon(_overdue())
                return
            flight.release(_overdue())
        pause = GLANCE if left <= 0 else min(left, _LONGEST_WATCH)
        self._timer = self._loop.call_later(pause, self.look, left <= 0)


class RemoteWatchdog:
    """Releases the callers on a loop that is not the flight's if the flight's loop has ended or is blocked.

    It runs for as long as any of them waits.

    Args:
        flight: The flight.
        waiters: The callers on the running loop.
    """

    __slots__ = ("_asked", "_flight", "_lost", "_waiters")

    def __init__(self, flight: Watched, waiters: Waiters) -> None:
        self._flight = flight
        self._waiters = waiters
        self._lost = False
        self._asked: threading.Event | None = None
        self._watch()

    def _watch(self) -> None:
        self._waiters.loop.call_later(GLANCE, self.look)

    def look(self) -> None:
        """Check whether the flight's loop still runs.

        A check counts only if the next one confirms it: a loop between two ``run_until_complete()`` calls is not lost
        yet, and a loop that was blocked until now may be about to end the flight.
        """
        flight, waiters = self._flight, self._waiters
        if flight.done:
            flight.release()  # again: what was to release these callers may have been interrupted
            return
        if not waiters.waiting:
            flight.forget_waiters(waiters)
            return
        lost_before, self._lost = self._lost, flight.orphaned
        if lost_before and self._lost:
            flight.abandon(FlightOrphaned())
        elif flight.seconds_left > 0:
            self._asked = None
        elif self._asked is None or self._asked.is_set():
            self._asked = _ask(flight.loop)  # also after an answer: it may be blocked since
        else:
            flight.abandon(_blocked())
        if not flight.done:
            self._watch()


def _ask(loop: LoopRef | None) -> threading.Event:
    """Return an event that is set as soon as the flight's loop runs anything."""
    runs = threading.Event()
    if loop is not None:
        loop.call_soon(runs.set)
    return runs


def _overdue() -> TokenEndpointUnavailable:
    return TokenEndpointUnavailable(
        "no token by the deadline: the provider ignores that its request was cancelled",
        advice="let its fetch() pass CancelledError on",
    )


def _blocked() -> TokenEndpointUnavailable:
    return TokenEndpointUnavailable(
        "no token by the deadline: the event loop of the refresh, in another thread, is blocked",
        advice="look for the code that blocks it, such as a synchronous request",
    )
