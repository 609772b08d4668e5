"""The demo's crew as several processes, which share their tokens through Redis."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import attrs

from asyncauth.cli.demo.crew import Row, Where, rows_of, tallies_at
from asyncauth.cli.demo.wire import FIRST, LONGEST_LINE, RUN, STOP, News, Orders
from asyncauth.cli.outcome import ExitCode, Problem

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from types import TracebackType

    from asyncauth.cli.demo.load import Tally
    from asyncauth.status import Status

__all__ = ["Fleet"]

_PATIENCE = 15.0
"""Seconds that a member may take to end."""
_LEAST_USABLE_FIRST = ("spent", "empty", "stale", "fresh")


class Fleet:
    """Several processes, each with managers of its own.

    Args:
        where: The systems.
        rate: Requests a second, of all processes together.
        workers: How many processes.
        redis_url: Where they share their tokens.
        seconds: How long they are to send requests.
        verbose: Whether they log to stderr.
    """

    def __init__(
        self, where: Where, rate: float, *, workers: int, redis_url: str, seconds: float, verbose: bool
    ) -> None:
        self.workers = workers
        self.tallies: tuple[Tally, ...] = tallies_at(where)
        self._orders = Orders(where=where, redis_url=redis_url, rate=rate / workers, seconds=seconds, verbose=verbose)
        self._members: list[_Member] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for number in range(self.workers):
                # In a session of its own: Ctrl-C is for the commander, who tells the members.
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "asyncauth.cli.demo.member"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=LONGEST_LINE,
                    start_new_session=True,
                )
                member = _Member(number + 1, process, self.tallies)
                self._stack.push_async_callback(member.end)
                self._members.append(member)
                member.say(self._orders.line())
            await self._all("ready")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def first(self) -> list[float]:
        """Have all processes send each system a first request, at the same time; return the longest latencies."""
        self._say(FIRST)
        await self._all("first")
        return [max(each) for each in zip(*(member.news.first for member in self._members), strict=True)]

    async def run(self, seconds: float, stop: asyncio.Event) -> None:  # noqa: ARG002 (they have been told)
        """Have all processes send requests, and wait for their answers; an event ends it early."""
        self._say(RUN)
        stopping = asyncio.ensure_future(self._stop(stop))
        try:
            await self._all("run")
        finally:
            stopping.cancel()

    def statuses(self) -> list[Status]:
        """Return how the fleet's managers are, a system's taken together."""
        now = asyncio.get_running_loop().time()
        return [_together(each) for each in zip(*(member.statuses(now) for member in self._members), strict=True)]

    def rows(self) -> list[Row]:
        """Return a line for each kind of manager."""
        chain = [_together(each) for each in zip(*(member.news.chain for member in self._members), strict=True)]
        return rows_of(self.tallies, self.statuses(), chain)

    def _say(self, words: bytes) -> None:
        for member in self._members:
            member.say(words)

    async def _stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._say(STOP)

    async def _all(self, done: str) -> None:
        """Hear the members until each has done something."""
        async with asyncio.TaskGroup() as group:
            for member in self._members:
                group.create_task(member.hear(done))


class _Member:
    """A process of the fleet, as its commander sees it.

    Args:
        number: From 1 on.
        process: The process.
        tallies: The fleet's, to which its news are added.
    """

    def __init__(self, number: int, process: Process, tallies: Sequence[Tally]) -> None:
        assert process.stdin is not None  # noqa: S101 (both are pipes)
        assert process.stdout is not None  # noqa: S101
        self._number = number
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._tallies = tallies
        self._news: News | None = None

    @property
    def news(self) -> News:
        """The last news: there are some from its beginning on."""
        assert self._news is not None  # noqa: S101
        return self._news

    def say(self, words: bytes) -> None:
        """Tell it something; one that has ended hears nothing, which is noticed elsewhere."""
        self._stdin.write(words)

    def statuses(self, now: float) -> list[Status]:
        """Return its managers' status, what is left of time reckoned from now."""
        age = now - self.news.at
        return [
            attrs.evolve(
                status,
                seconds_left=None if status.seconds_left is None else max(0.0, status.seconds_left - age),
                next_refresh_in=None if status.next_refresh_in is None else max(0.0, status.next_refresh_in - age),
            )
            for status in self.news.statuses
        ]

    async def hear(self, done: str) -> None:
        """Take in its news until something is done.

        Raises:
            Problem: It ended before.
        """
        while self._news is None or self._news.done != done:
            line = await self._stdout.readline()
            if not line:
                code = await self._process.wait()
                raise Problem(f"worker {self._number} ended with code {code} before its time", ExitCode.FAILED)
            self._take(News.read(line))

    def _take(self, news: News) -> None:
        for number, (tally, told) in enumerate(zip(self._tallies, news.tallies, strict=True)):
            before = None if self._news is None else self._news.tallies[number]
            tally.requests += told.requests - (before.requests if before else 0)
            tally.failed += told.failed - (before.failed if before else 0)
            tally.abandoned += told.abandoned - (before.abandoned if before else 0)
            tally.reasons += Counter(told.reasons) - Counter(before.reasons if before else {})
            tally.due.extend(told.due)
            tally.latencies.extend(told.latencies)
        self._news = news

    async def end(self) -> None:
        """End it: its pipe ends, so it ends; in good time, or else by force."""
        self._stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE):
                while await self._stdout.read(1 << 16):
                    pass
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _together(statuses: Sequence[Status]) -> Status:
    """Return the status of several managers of one system as one: the worst state, and the sums."""
    worst = min(statuses, key=lambda status: _LEAST_USABLE_FIRST.index(status.state))
    return attrs.evolve(
        worst,
        refreshing=any(status.refreshing for status in statuses),
        seconds_left=min((status.seconds_left for status in statuses if status.seconds_left is not None), default=None),
        next_refresh_in=min(
            (status.next_refresh_in for status in statuses if status.next_refresh_in is not None), default=None
        ),
        waiting_for=max((status.waiting_for for status in statuses if status.waiting_for is not None), default=None),
        **{
            name: sum(getattr(status, name) for status in statuses)
            for name in ("refreshes", "adoptions", "failures", "rejections", "waits", "waiting")
        },
    )
