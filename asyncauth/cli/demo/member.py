"""``python -m asyncauth.cli.demo.member``: one process of a demo's fleet. It takes its orders from stdin."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from asyncauth.cli.demo.crew import Alone
from asyncauth.cli.demo.wire import FIRST, LONGEST_LINE, RUN, News, Orders, TallyNews
from asyncauth.cli.outcome import logged
from asyncauth.stores import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_TELL_EVERY = 0.1


class _Member:
    def __init__(self, orders: Orders, commands: asyncio.StreamReader) -> None:
        self._orders = orders
        self._commands = commands
        self._crew = Alone(orders.where, orders.rate, RedisStore(orders.redis_url))
        self._told = [0 for _ in self._crew.tallies]
        self._first: list[float] = []

    async def serve(self) -> None:
        """Do what the commander says, until it says nothing more."""
        async with self._crew:
            self._tell("ready")
            if await self._commands.readline() != FIRST:
                return
            self._first = await self._crew.first()
            self._tell("first")
            if await self._commands.readline() != RUN:
                return
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._listen(stop)), group.create_task(self._report())]
                await self._crew.run(self._orders.seconds, stop)
                for other in others:
                    other.cancel()
            self._tell("run")
            # The managers stay open: a renewal that begins as the others end belongs to no request.
            await self._commands.read()

    async def _listen(self, stop: asyncio.Event) -> None:
        await self._commands.readline()  # "stop", or the end
        stop.set()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            self._tell("")

    def _tell(self, done: str) -> None:
        tallies = [TallyNews.of(tally, since) for tally, since in zip(self._crew.tallies, self._told, strict=True)]
        self._told = [since + len(news.due) for since, news in zip(self._told, tallies, strict=True)]
        news = News(
            done=done,
            at=asyncio.get_running_loop().time(),
            first=self._first,
            tallies=tallies,
            statuses=self._crew.statuses(),
            chain=self._crew.chain(),
        )
        sys.stdout.buffer.write(news.line())
        sys.stdout.buffer.flush()


@contextlib.asynccontextmanager
async def _commands() -> AsyncGenerator[asyncio.StreamReader, None]:
    """Read stdin without blocking."""
    reader = asyncio.StreamReader(LONGEST_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        yield reader
    finally:
        transport.close()


async def _main() -> None:
    async with _commands() as commands:
        line = await commands.readline()
        if not line:
            return
        orders = Orders.read(line)
        with logged(orders.verbose):
            await _Member(orders, commands).serve()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the commander has gone
        asyncio.run(_main())
