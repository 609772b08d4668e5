"""A Redis that fails at one command: a proxy in front of a real one, which looks at each command that it passes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import attrs
from redis_kit import RedisServer

Fault = Literal["undelivered", "unanswered", "error", "hangs"]
"""What becomes of the command: cut before it is delivered, or delivered and cut before its answer; answered with an
error and not delivered; or not answered at all."""


@attrs.define(eq=False)
class RedisProxy:
    """Passes commands to a server, one at a time, and fails at one of them.

    Attributes:
        server: The real one.
        fault: What becomes of the command that fails.
        fails_at: The number of that command, from 1; ``None``: all commands succeed.
        commands: The names of the commands that came since `watch`.
    """

    server: RedisServer
    port: int = 0
    fault: Fault = "undelivered"
    fails_at: int | None = None
    commands: list[str] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return self.server.url.replace(f":{self.server.port}/", f":{self.port}/") + "?socket_timeout=0.3"

    def watch(self, fault: Fault = "undelivered", fails_at: int | None = None) -> None:
        """Count commands anew, and fail at one of them."""
        self.commands, self.fault, self.fails_at = [], fault, fails_at

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[RedisProxy]:
        """Listen on a free port."""
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._pass(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                connections.discard(task)
                writer.transport.abort()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            while True:
                command = await value(reader)
                self.commands.append(command.split(b"\r\n")[2].decode().upper())
                fault = self.fault if len(self.commands) == self.fails_at else None
                if fault == "undelivered":
                    return
                if fault == "hangs":
                    await reader.read()  # until the client has had enough
                    return
                if fault == "error":
                    writer.write(b"-ERR broken\r\n")
                    continue
                to_server[1].write(command)
                answer = await value(to_server[0])
                if fault == "unanswered":
                    return
                writer.write(answer)
        finally:
            to_server[1].transport.abort()


async def value(reader: asyncio.StreamReader) -> bytes:
    """Return one value of the protocol (RESP2 or RESP3) as it came."""
    line = await reader.readuntil(b"\r\n")
    kind, number = line[:1], line[1:-2]
    if kind in b"$=!" and number != b"-1":
        return line + await reader.readexactly(int(number) + 2)
    if kind in b"*~>%" and number != b"-1":
        parts = [line]
        for _ in range(int(number) * (2 if kind == b"%" else 1)):
            parts.append(await value(reader))  # noqa: PERF401 (each needs the one before it)
        return b"".join(parts)
    return line
