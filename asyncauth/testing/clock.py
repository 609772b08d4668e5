"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math

__all__ = ["FakeClock"]

_ROUNDS = 64
"""Turns of the event loop that are given to what became due, after each moment at which something did."""


class FakeClock:
    """A ``Clock`` that a test moves.

    ::

        clock = FakeClock(wall=1_700_000_000)
        manager = TokenManager(provider, clock=clock)
        await clock.advance(3600)

    Its two clocks move together; the wall can be set besides. Belongs to one event loop at a time.

    Args:
        wall: What the wall clock says first, in Unix epoch seconds.
        monotonic: What the monotonic clock says first, in seconds.
    """

    def __init__(self, wall: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall_ahead = wall - monotonic
        self._now = monotonic
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def wall(self) -> float:
        """Return the wall clock's Unix epoch seconds."""
        return self._now + self._wall_ahead

    def monotonic(self) -> float:
        """Return the monotonic clock's seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when a test has moved the clock by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), sleeper))
        await sleeper

    def set_wall(self, epoch: float) -> None:
        """Set the wall clock, as a user or NTP would. The monotonic clock takes no notice."""
        self._wall_ahead = epoch - self._now

    async def advance(self, seconds: float) -> None:
        """Move both clocks. Whatever becomes due on the way runs, at its time, before this returns.

        What that starts runs on until it waits for the clock or for I/O; real I/O is not waited for.

        Args:
            seconds: How far; not negative, and finite.

        Raises:
            ValueError: They are not.
        """
        _check(seconds)
        target = self._now + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, sleeper = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not sleeper.done():
                sleeper.get_loop().call_soon_threadsafe(_wake, sleeper)
                await self._settle()
        self._now = target
        await self._settle()

    def suspend(self, seconds: float) -> None:
        """Move both clocks as those of a machine that sleeps: no task's sleep ends, each has as much left as before.

        Args:
            seconds: How long; not negative, and finite.

        Raises:
            ValueError: They are not.
        """
        _check(seconds)
        self._now += seconds
        self._sleepers = [(due + seconds, order, sleeper) for due, order, sleeper in self._sleepers]

    @staticmethod
    async def _settle() -> None:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _check(seconds: float) -> None:
    """Refuse what would move a clock backwards, for ever, or nowhere."""
    if not 0 <= seconds < math.inf:  # NaN too
        raise ValueError(
            "a clock is moved by a finite number of seconds, and not backwards: set_wall() sets the wall clock"
        )
