"""What every story uses: the server in its own process, interleaved rounds, statistics."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import attrs

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

Call = Callable[[], Awaitable[object]]


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""The cores that this process may use, as it starts; none where the system does not tell."""


def pin(core: int) -> None:
    """Keep this process on one core, if there are several: client and server do not take turns on one."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[core % len(CORES)]})


@attrs.define
class Server:
    """The server's address, and its controls."""

    url: str
    session: aiohttp.ClientSession

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    async def set(self, **changes: object) -> dict[str, Any]:
        """Change settings; return them and the counts."""
        async with self.session.post(f"{self.url}/control", json=changes) as answer:
            return dict(await answer.json())

    async def reset(self, **changes: object) -> None:
        """Back to the start, then these settings."""
        await self.set(reset=True, **changes)

    async def counts(self) -> dict[str, Any]:
        return await self.set()


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Server]:
    """Run the server for the block."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [
            sys.executable,
            "-c",
            "from benchmarks import kit, server; kit.pin(1); server.serve()",
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101
        port = await asyncio.to_thread(process.stdout.readline)
        async with aiohttp.ClientSession() as session:
            yield Server(f"http://127.0.0.1:{int(port)}", session)
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def no_garbage_collection() -> Any:
    """Collect now, and not during the block, but for what `interleaved` collects between its rounds."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def cpu_of_calls(call: Call, number: int) -> float:
    """Return the CPU seconds of one call."""
    before = time.process_time_ns()
    for _ in range(number):
        await call()
    return (time.process_time_ns() - before) / number / 1e9


async def cpu_of_requests(get: Call, number: int, concurrency: int) -> float:
    """Return the CPU seconds of this process for one request, so many at a time."""
    left = number

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await get()

    before = time.process_time_ns()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return (time.process_time_ns() - before) / number / 1e9


async def interleaved(
    measures: dict[str, Callable[[], Awaitable[float]]], rounds: int, tick: Callable[[], None]
) -> dict[str, list[float]]:
    """Take every measure once a round, in random order; return what each gave, round by round."""
    given: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name in random.sample(list(measures), len(measures)):
            given[name].append(await measures[name]())
        gc.collect(1)
        tick()
    return given


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def over(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of what values have over a base, round by round."""
    return median([value - below for value, below in zip(values, base, strict=True)])


def error_of(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the standard error of `over`, from the spread between the quartiles."""
    differences = sorted(value - below for value, below in zip(values, base, strict=True))
    if len(differences) < 4:  # noqa: PLR2004
        return 0.0
    first, _, third = statistics.quantiles(differences, n=4)
    return float(1.2533 * (third - first) / 1.349 / len(differences) ** 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
