"""Timers that release a flight's callers at the deadline, and give up a flight that can't end any more.

A flight's own loop has one timer (`Watchdog`). Each other loop from which callers wait has one timer for all of them
(`RemoteWatchdog`), since the flight's loop may have ended or be blocked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from asyncauth._base.loops import GLANCE
from asyncauth.errors import TokenEndpointUnavailable

if TYPE_CHECKING:
    import asyncio

    from asyncauth._base.loops import LoopRef
    from asyncauth._core.waiters import Failure, Waiters
    from asyncauth.errors import AuthError

__all__ = ["PATIENCE", "RemoteWatchdog", "Watchdog", "Watched"]

PATIENCE = 5.0
"""Seconds after its deadline at which work that has not ended is abandoned; the next caller starts another."""

_LONGEST_WATCH = 3600.0
"""The most seconds between two checks whether work is overdue: some loops do not accept infinity."""


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

    def release(self, failure: Failure | None = None) -> None:
        """Give all who wait an error, or the outcome. Any thread."""
        ...

    def forget_waiters(self, waiters: Waiters) -> None:
        """Let go of a loop's waiters, none of whom waits any more. On that loop only."""
        ...

    def abandon(self, error: AuthError) -> None:
        """End it with an error, and let nothing more come of it. Any thread."""
        ...

    def lose(self) -> None:
        """End it as lost with its loop. Any thread."""
        ...


class Watchdog:
    """Releases the callers at the deadline, and ends the flight soon after. On the flight's own loop.

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
        if left <= 0 and doubted:
            if left <= -PATIENCE:
                flight.abandon(_overdue())
                return
            flight.release(_overdue())
        pause = GLANCE if left <= 0 else min(max(left, GLANCE), _LONGEST_WATCH)
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
            flight.lose()
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
