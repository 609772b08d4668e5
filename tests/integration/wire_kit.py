"""A TCP proxy in front of a real server. It passes whole requests and answers, and damages them as tests say.

The sandbox's faults begin where HTTP does. Here a connection breaks before a byte of a request is read, in the
middle of the headers, or after the last byte of the answer. The connection may be encrypted, rightly or wrongly.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

Moment: TypeAlias = Literal["accept", "request", "headers", "body", "end"]
"""Before the request is read; after it, before the headers; in the middle of the headers; of the body; after it."""

MOMENTS: tuple[Moment, ...] = ("accept", "request", "headers", "body", "end")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TO_ARRIVE = 0.01
"""Seconds for the client to read what was sent before a reset, which would throw it away."""
_GARBAGE = b"\0\xff garbage \x80\r\n" * 40


@attrs.frozen
class Spoil:
    """What is done to one connection, and when. A framing is done to the whole answer."""

    by: str
    at: Moment = "request"

    def __str__(self) -> str:
        return self.by if self.by in FRAMINGS else f"{self.by} at {self.at}"


def _length(answer: bytes, change: int) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % (len(body) + change), b"", body])


def _chunked(answer: bytes, size: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", size, body])


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "length too long": lambda answer: _length(answer, 10),
    "cut, and so its length": lambda answer: _length(answer[:-10], 0),
    "chunk cut short": lambda answer: _chunked(answer, b"fff"),
    "chunk of no size": lambda answer: _chunked(answer, b"zz"),
}


class Wire:
    """A listener on a free port of loopback that carries requests to a server, whatever its port.

    Attributes:
        port: Where it listens; it keeps it for as long as it lives.
        spoils: The damage to the next requests, one each; ``None``: none. After the last one, there is none.
        spoiled: How many requests were damaged.
        held: How many connections it holds open without a word, or nearly.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self.port = 0
        self.spoils: Iterator[Spoil | None] = iter(())
        self.spoiled = 0
        self.held = 0

    def spoil(self, *spoils: Spoil | None, for_ever: bool = False) -> None:
        """Do these to the next requests; none: let all of them pass."""
        self.spoils = itertools.cycle(spoils) if for_ever else iter(spoils)

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen anew, on the same port, and end what was in progress."""
        await self.shut()
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(writer)
        self._carrying.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._exchanges(reader, writer)
        finally:
            self._open.discard(writer)
            self._carrying.discard(task)
            writer.transport.abort()

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoil = next(self.spoils, None)
        if spoil is not None and spoil.at == "accept":
            await self._spoil(spoil, b"", reader, writer)
            return
        request = await _message(reader)
        while True:
            answer = await self._answered(request)
            if spoil is not None:
                await self._spoil(spoil, answer, reader, writer)
                return
            writer.write(answer)
            await writer.drain()
            request = await _message(reader)
            spoil = next(self.spoils, None)  # on a connection that is kept, told when the next request has come

    async def _answered(self, request: bytes) -> bytes:
        """Return the server's answer to a request, whole."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.transport.abort()

    async def _spoil(
        self, spoil: Spoil, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.spoiled += 1
        if spoil.by in FRAMINGS:
            writer.write(FRAMINGS[spoil.by](answer))
            await writer.drain()
            return
        head = answer.find(b"\r\n\r\n") + 4
        cut = {"headers": head // 2, "body": (head + len(answer)) // 2, "end": len(answer)}.get(spoil.at, 0)
        writer.write(answer[:cut])
        await writer.drain()
        await asyncio.sleep(_TO_ARRIVE)
        match spoil.by:
            case "reset":
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            case "close":
                writer.close()
                await writer.wait_closed()
            case "half-close":
                writer.write_eof()
                await self._hold(reader)
            case "hang":
                await self._hold(reader)
            case "drip":
                self.held += 1
                for byte in answer[cut:] or _GARBAGE:
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(_TO_ARRIVE)
            case "garbage":
                writer.write(_GARBAGE)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            case _:
                raise ValueError(spoil.by)

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        self.held += 1
        while await reader.read(65_536):
            pass


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read a whole request or answer, which has a length or no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)


@contextlib.asynccontextmanager
async def wire_to(port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Lay a wire to a port of loopback."""
    wire = Wire(port)
    await wire.listen(tls)
    try:
        yield wire
    finally:
        await wire.shut()


def every(moments: Iterable[Moment], ways: Iterable[str]) -> list[Spoil]:
    """Return each way at each moment."""
    return [Spoil(by, at) for at in moments for by in ways]
