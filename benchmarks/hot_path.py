"""What a cached token costs, against an async function with one look at the clock, in one run, interleaved.

Run: python benchmarks/hot_path.py
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from time import monotonic

from asyncauth import TokenManager
from asyncauth.testing import FakeProvider

ROUNDS, CALLS = 41, 20_000


class Floor:
    """The least that a cached value with an end can cost."""

    __slots__ = ("until", "value")

    def __init__(self) -> None:
        self.until = monotonic() + 1e6
        self.value = "token"

    async def token(self) -> str | None:
        """Return the value, unless its time is up."""
        if monotonic() < self.until:
            return self.value
        return None


async def nanoseconds(function: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU time of one call."""
    before = time.process_time_ns()
    for _ in range(CALLS):
        await function()
    return (time.process_time_ns() - before) / CALLS


async def main() -> None:
    """Measure in interleaved rounds; print medians and their ratio. The floor twice: the difference is noise."""
    manager, floor = TokenManager(FakeProvider()), Floor()
    for _ in range(2):  # the second use makes it hot
        await manager.token()
    variants = {"floor": floor.token, "floor again": floor.token, "manager.token()": manager.token}
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, function in variants.items():
            figures[name].append(await nanoseconds(function))
    base = statistics.median(figures["floor"])
    for name, values in figures.items():
        print(f"{name:<16} {statistics.median(values):7.1f} ns  {statistics.median(values) / base:5.2f} x")


if __name__ == "__main__":
    asyncio.run(main())
