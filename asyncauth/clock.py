"""Time: what the wall says, and how long something took whatever the wall says.

Lifetimes are counted on a monotonic clock that also runs while the machine is suspended: a laptop or a paused
virtual machine that wakes up after an hour holds a token that is an hour older. Linux offers ``CLOCK_BOOTTIME``
for that; macOS' ``CLOCK_MONOTONIC``, asked for by name, runs on too (``time.monotonic`` there does not).
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "boottime", "within"]

_T = TypeVar("_T")


class Clock(Protocol):
    """What a ``TokenManager`` asks of a clock. ``asyncauth.testing.FakeClock`` is one that a test moves."""

    def wall(self) -> float:
        """Return the time of day as Unix epoch seconds. It may be set, forwards or backwards."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment. It never goes back, and it runs through suspend."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock. Many tasks may sleep at once, on any loop."""
        ...


def suspend_proof() -> Callable[[], float]:
    """Return the platform's cheapest clock that runs through suspend."""
    # A partial over the C function: a Python function around it would double the cost of a cached token.
    if sys.platform == "linux":
        return functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return time.monotonic


boottime: Callable[[], float] = suspend_proof()
"""Seconds on the real suspend-proof clock. Bound once, so that the hot path reads it without a look-up."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall(self) -> float:
        """Return ``time.time()``."""
        return time.time()

    def monotonic(self) -> float:
        """Return `boottime`: seconds that also count while the machine is suspended."""
        return boottime()

    async def sleep(self, seconds: float) -> None:
        """Sleep by the event loop's clock, which may stand still while the machine is suspended."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


async def within(clock: Clock, seconds: float, work: Awaitable[_T]) -> _T:
    """Return what ``work`` returns, if it is done within ``seconds`` of ``clock``.

    ``asyncio.timeout`` with a clock that can be injected. A cancellation cancels the work too, and nothing of
    either is running when this returns or raises.

    Raises:
        TimeoutError: The time is up; the work was cancelled and has ended.
        InterruptedError: The work was cancelled by somebody else, or ended by ``KeyboardInterrupt`` or ``SystemExit``.
    """
    task, seconds = asyncio.ensure_future(work), max(0.0, seconds)
    parts: list[asyncio.Future[Any]] = [task]
    # The loop's own timer costs each token request a third less than a task that sleeps.
    by_loop = isinstance(clock, SystemClock) and type(clock).sleep is SystemClock.sleep
    if not by_loop:
        parts.append(asyncio.ensure_future(clock.sleep(seconds)))
    is_over = False
    try:
        await asyncio.wait(parts, timeout=seconds if by_loop else None, return_when=asyncio.FIRST_COMPLETED)
        is_over = by_loop and task.done()
        if not task.done():
            raise TimeoutError
        if task.cancelled() or isinstance(task.exception(), (KeyboardInterrupt, SystemExit)):
            # A CancelledError from here would look like a cancellation of the caller. The others have been raised by
            # the event loop already, to its owner: once is enough.
            raise InterruptedError
        return task.result()
    finally:
        if not is_over and not task.get_loop().is_closed():  # else this is the garbage collector, and they are gone too
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
