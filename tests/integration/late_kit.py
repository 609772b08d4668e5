"""By how much an event loop comes late: what a machine with more to do adds to whatever a test measures in seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

__all__ = ["takes_less_than", "watch"]

_TICK = 0.05


async def watch(late: list[tuple[float, float]]) -> None:
    """Note, until it is cancelled, when the loop came late, by the time of day, and by how many seconds."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(_TICK)
        late.append((time.time(), time.monotonic() - began - _TICK))


@contextlib.asynccontextmanager
async def takes_less_than(seconds: float) -> AsyncIterator[None]:
    """Fail if the block takes longer, apart from the time that the machine took from the loop meanwhile."""
    late: list[tuple[float, float]] = []
    watching = asyncio.create_task(watch(late))
    began = time.monotonic()
    try:
        yield
    finally:
        watching.cancel()
    taken, lost = time.monotonic() - began, sum(by for _, by in late)
    assert taken - lost < seconds, f"{taken:.1f} s, of which the machine took {lost:.1f} s"
