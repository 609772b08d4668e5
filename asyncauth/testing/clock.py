"""A clock that stands still until a test advances it, or until nothing else can happen."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import math
import weakref
from functools import partial

from asyncauth._base.loops import call_soon
from asyncauth.testing.activity import Activity, activity

__all__ = ["FakeClock"]

ROUNDS = 64
"""Turns of the event loop that are left to tasks whose sleeps ended, each time the clock stops."""

_IDLE_ROUNDS = 4
"""Consecutive turns of the event loop without work after which no further turn is left: sockets show within one."""

QUIET_ROUNDS = 16
"""Turns of the event loop before its tasks are inspected: a callback's effect on them shows one or two turns later."""

_POLL = 0.005
"""Seconds of the machine's time between inspections, while a task waits for something outside of the event loop."""


class FakeClock:
    """A ``Clock`` that a test advances.

    ::

        clock = FakeClock(wall=1_700_000_000)
        manager = TokenManager(provider, clock=clock)
        await clock.advance(3600)

    The wall clock and the monotonic clock advance together; the wall clock can also be set. Use it on one event loop at
    a time.

    With ``auto``, it advances itself to the end of the next sleep when every task of its event loop waits, and one of
    them for the clock. It does not while a task waits for aiohttp's client, for asyncio's sockets, streams and
    subprocesses, for a thread or process of an executor, or in ``asyncio.sleep()``. It cannot see when another library
    waits for its own sockets, so it advances during that, too.

    Args:
        wall: The wall clock's first time, in Unix epoch seconds (default 1,700,000,000).
        monotonic: The monotonic clock's first time, in seconds (default 1,000).
        auto: Whether it advances itself. Default ``False``: only `advance` and `suspend` advance it.
    """

    def __init__(self, wall: float = 1_700_000_000.0, monotonic: float = 1_000.0, *, auto: bool = False) -> None:
        self._wall_ahead = wall - monotonic
        self._now = monotonic
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._auto = auto
        self._watched: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def wall(self) -> float:
        """Return the wall clock's Unix epoch seconds."""
        return self._now + self._wall_ahead

    def monotonic(self) -> float:
        """Return the monotonic clock's seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when a test, or the clock itself, has advanced it by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), sleeper))
        if self._auto and loop not in self._watched:
            self._watched.add(loop)
            loop.call_soon(self._watch, loop, context=contextvars.Context())
        await sleeper

    def set_wall(self, epoch: float) -> None:
        """Set the wall clock, as a user or NTP would. The monotonic clock does not change."""
        self._wall_ahead = epoch - self._now

    async def advance(self, seconds: float) -> None:
        """Advance both clocks. Each sleep that ends on the way ends at its time, before this returns.

        Code that runs because of that continues until it waits for the clock or for I/O. Real I/O is not waited for.

        Args:
            seconds: How far; finite, and at least 0.

        Raises:
            ValueError: ``seconds`` is negative or not finite.
        """
        _check(seconds)
        target = self._now + seconds
        await self._settle()
        while self._is_awaited() and self._sleepers[0][0] <= target:
            self._wake_next()
            await self._settle()
        self._now = target
        await self._settle()

    def suspend(self, seconds: float) -> None:
        """Advance both clocks like a suspended machine: no sleep ends, and each has as much time left as before.

        Args:
            seconds: How long; finite, and at least 0.

        Raises:
            ValueError: ``seconds`` is negative or not finite.
        """
        _check(seconds)
        self._now += seconds
        self._sleepers = [(due + seconds, order, sleeper) for due, order, sleeper in self._sleepers]

    def _is_awaited(self) -> bool:
        """Return whether a task sleeps. Drops sleeps that were cancelled, or whose loop is closed."""
        while self._sleepers and _is_over(self._sleepers[0][2]):
            heapq.heappop(self._sleepers)
        return bool(self._sleepers)

    def _wake_next(self) -> None:
        """Advance to the end of the next sleep."""
        due, _, sleeper = heapq.heappop(self._sleepers)
        self._now = max(self._now, due)
        call_soon(sleeper.get_loop(), _wake, sleeper)

    def _watch(self, loop: asyncio.AbstractEventLoop, rounds: int = QUIET_ROUNDS, *, doubted: bool = True) -> None:
        """Advance when every task of the loop waits. Runs in callbacks of the loop while a task sleeps.

        Args:
            loop: The loop.
            rounds: Turns of the loop before the next inspection.
            doubted: Whether that inspection must be confirmed by another one: after a task's wait for several things,
                one or two turns pass before the task shows that one of them has happened.
        """
        if rounds > 0:
            loop.call_soon(partial(self._watch, loop, rounds - 1, doubted=doubted))
            return
        if not self._is_awaited():
            self._watched.discard(loop)
            return
        found = activity(loop)
        if found is Activity.OUTSIDE:
            loop.call_later(_POLL, self._watch, loop)
            return
        waits = found is Activity.WAITS
        if waits and not doubted:
            self._wake_next()
        loop.call_soon(partial(self._watch, loop, doubted=not waits or not doubted))

    @staticmethod
    async def _settle() -> None:
        """Return when the event loop has nothing more to do at this instant, or after `ROUNDS` turns of it.

        Reads a private attribute of asyncio's loops to see what they will do next. Other loops get every turn.
        """
        ready = getattr(asyncio.get_running_loop(), "_ready", None)
        idle = 0
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            idle = 0 if ready is None or ready else idle + 1
            if idle == _IDLE_ROUNDS:
                return


def _is_over(sleeper: asyncio.Future[None]) -> bool:
    return sleeper.done() or sleeper.get_loop().is_closed()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _check(seconds: float) -> None:
    """Raise if a clock would go backwards, or to no finite time."""
    if not 0 <= seconds < math.inf:  # also False for NaN
        raise ValueError(
            "a clock advances by a finite number of seconds, at least 0; to set the wall clock, use set_wall()"
        )
