"""Requests on schedule: sent when they are due, whether or not the ones before them were answered."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Load", "Tally", "quantile"]

_GLANCE = 0.1
"""Seconds between looks at whether to stop."""
_MOST_UNDER_WAY = 10_000
"""Requests at a time; more wait for room, and their latency counts from when they were due all the same."""
_OK = 200


@attrs.define
class Tally:
    """What became of one API's requests.

    Attributes:
        name: The system's name.
        url: What is asked for.
        requests: How many were sent.
        failed: How many were not answered 200 with the echo of what was sent.
        abandoned: How many were still under way when the run was ended by hand.
        reasons: Why the failed ones failed.
        due: When each that was answered was due, in seconds of the loop's clock.
        latencies: Seconds from then until its answer had been read.
    """

    name: str
    url: str
    requests: int = 0
    failed: int = 0
    abandoned: int = 0
    reasons: Counter[str] = attrs.field(factory=Counter[str])
    due: array[float] = attrs.field(factory=lambda: array("d"))
    latencies: array[float] = attrs.field(factory=lambda: array("d"))
    _seen: int = 0

    def fail(self, reason: str) -> None:
        """Count a failure."""
        self.failed += 1
        self.reasons[reason] += 1

    def recent(self) -> list[float]:
        """Return the latencies since the last call, sorted."""
        latencies = sorted(self.latencies[self._seen :])
        self._seen = len(self.latencies)
        return latencies


class Load:
    """Sends requests to several APIs in turn, through one session.

    Args:
        http: The session, which authorizes them.
        tallies: One for each API.
        rate: Requests a second, all APIs together.
    """

    def __init__(self, http: aiohttp.ClientSession, tallies: Sequence[Tally], rate: float) -> None:
        self._http = http
        self._tallies = tallies
        self._rate = rate
        self._under_way: set[asyncio.Task[None]] = set()

    async def first(self) -> list[float]:
        """Send each API its first request, one after the other; return their latencies in seconds."""
        loop = asyncio.get_running_loop()
        latencies: list[float] = []
        for tally in self._tallies:
            started = loop.time()
            await self._send(tally, 0, None)
            latencies.append(loop.time() - started)
        return latencies

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Send requests for so many seconds, and wait for their answers.

        Args:
            seconds: For how long requests are due.
            stop: Ends it early; what is under way is abandoned then.
        """
        loop = asyncio.get_running_loop()
        started, number, total = loop.time(), 0, round(seconds * self._rate)
        while number < total and not stop.is_set():
            due = started + number / self._rate
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(min(wait, _GLANCE))
            elif len(self._under_way) >= _MOST_UNDER_WAY:
                await asyncio.sleep(1 / self._rate)
            else:
                self._start(number, due)
                number += 1
        while self._under_way and not stop.is_set():
            await asyncio.wait(self._under_way, timeout=_GLANCE)
        await self._abandon()

    def _start(self, number: int, due: float) -> None:
        tally = self._tallies[number % len(self._tallies)]
        task = asyncio.create_task(self._send(tally, number // len(self._tallies), due))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _abandon(self) -> None:
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _send(self, tally: Tally, number: int, due: float | None) -> None:
        """Send one request: every other one with a body, whose echo must come back whole."""
        text = json.dumps({"number": number}) if number % 2 else None
        tally.requests += 1
        try:
            async with self._http.request(
                "GET" if text is None else "POST",
                tally.url,
                data=None if text is None else text.encode(),
                headers={"Content-Type": "application/json"} if text else None,
            ) as response:
                answer = await response.read()
        except asyncio.CancelledError:
            tally.abandoned += 1
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            tally.fail(type(error).__name__)
            return
        if due is not None:
            tally.due.append(due)
            tally.latencies.append(asyncio.get_running_loop().time() - due)
        if response.status != _OK:
            tally.fail(f"status {response.status}")
        elif not _echoes(answer, text or ""):
            tally.fail("the body did not arrive whole")


def _echoes(answer: bytes, text: str) -> bool:
    try:
        return bool(json.loads(answer)["text"] == text)
    except (ValueError, KeyError, TypeError):
        return False


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that this share of the values does not exceed (nearest rank); ``None`` if there are none.

    Args:
        ordered: The values, sorted.
        share: From 0 to 1.
    """
    if not ordered:
        return None
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]
