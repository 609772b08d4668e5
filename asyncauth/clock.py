"""Clocks: the time of day, and a monotonic clock for durations, which setting the time of day does not change.

Lifetimes are counted on a monotonic clock that also runs while the machine is suspended. When a laptop or a paused
virtual machine wakes up after an hour, its token is an hour older. Linux has ``CLOCK_BOOTTIME`` for that. On macOS,
``CLOCK_MONOTONIC`` runs during suspend, although ``time.monotonic`` does not.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "boottime", "call_later", "within"]

_T = TypeVar("_T")


class Clock(Protocol):
    """The clock that a ``TokenManager`` reads. ``asyncauth.testing.FakeClock`` is one that a test advances."""

    def wall(self) -> float:
        """Return the time of day as Unix epoch seconds. It may be set, forwards or backwards."""
        ...

    def monotonic(self) -> float:
        """Return seconds since a fixed instant. They never go back, and continue through suspend."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock. Many tasks may sleep at once, on any event loop."""
        ...


def suspend_proof() -> Callable[[], float]:
    """Return the platform's cheapest clock that runs through suspend."""
    # A partial over the C function: a Python function would double the cost of handing out a cached token.
    if sys.platform == "linux":
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return time.monotonic


boottime: Callable[[], float] = suspend_proof()
"""Return the seconds of the real suspend-proof clock. Bound once, so that the fast path calls it without a look-up."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall(self) -> float:
        """Return ``time.time()``, also where a test has replaced that function."""
        return time.time()

    # A method that calls it would double what it costs; a refresh asks for it ten times.
    monotonic = staticmethod(boottime)
    """Return `boottime`: seconds that also count while the machine is suspended."""

    async def sleep(self, seconds: float) -> None:
        """Sleep by the event loop's clock, which may stand still while the machine is suspended."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


def call_later(clock: Clock, seconds: float, call: Callable[[], object]) -> asyncio.TimerHandle | asyncio.Future[None]:
    """Call something on the running loop after some seconds of a clock, unless the result is cancelled before.

    Args:
        clock: The clock.
        seconds: The seconds; negative: 0.
        call: What is called.
    """
    if isinstance(clock, SystemClock) and type(clock).sleep is SystemClock.sleep:
        return asyncio.get_running_loop().call_later(seconds, call)  # a task that sleeps by the loop would cost more

    def ended(sleeping: asyncio.Future[None]) -> None:
        if not sleeping.cancelled():
            call()

    sleeping = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    sleeping.add_done_callback(ended)
    return sleeping


async def within(clock: Clock, seconds: float, work: Awaitable[_T]) -> _T:
    """Return the result of ``work`` if it finishes within ``seconds`` of ``clock``.

    This is ``asyncio.timeout`` for a clock that can be injected. Cancelling the caller cancels the work, too. When this
    returns or raises, no task of it is running any more.

    Args:
        clock: The clock.
        seconds: The most seconds.
        work: The work.

    Raises:
        TimeoutError: The time ran out. The work was cancelled and has ended.
        InterruptedError: Other code cancelled the work, or ``KeyboardInterrupt`` or ``SystemExit`` ended it.
    """
    task, is_over = asyncio.ensure_future(work), False
    loop = task.get_loop()
    ended = loop.create_future()
    end = partial(_end_wait, ended)
    task.add_done_callback(end)
    timer = call_later(clock, seconds, end)
    try:
        await ended
        is_over = task.done() and isinstance(timer, asyncio.TimerHandle)
        if not task.done():
            raise TimeoutError
        if task.cancelled() or isinstance(task.exception(), (KeyboardInterrupt, SystemExit)):
            # A CancelledError raised here would look like a cancellation of the caller. The event loop has already
            # raised the other two to its runner.
            raise InterruptedError
        return task.result()
    finally:
        # On a closed loop, the garbage collector runs this, and the tasks no longer exist.
        if is_over:
            timer.cancel()
        elif not loop.is_closed():
            timer.cancel()
            task.cancel()
            parts: list[asyncio.Future[Any]] = [task]
            if isinstance(timer, asyncio.Future):
                parts.append(timer)
            await asyncio.gather(*parts, return_exceptions=True)


def _end_wait(ended: asyncio.Future[None], _: object = None) -> None:
    """Complete the future that `within` waits for, unless it is complete or its loop was closed."""
    if not ended.done() and not ended.get_loop().is_closed():
        ended.set_result(None)
