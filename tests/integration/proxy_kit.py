"""A forward proxy on loopback that notes what it was asked for: ``CONNECT`` for https, whole URLs for plain http."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import attrs
from yarl import URL

__all__ = ["ForwardProxy"]


@attrs.define(eq=False)
class ForwardProxy:
    """Forwards to wherever a name leads.

    Attributes:
        password: What it asks for by Basic authentication, with the name ``me``; ``None``: nothing.
        places: Where names lead to, by ``host:port``; other names are looked up.
        asked: The targets of the requests that it got, in their order.
        url: Where it is.
    """

    credentials: str | None = None
    places: dict[str, int] = attrs.field(factory=dict[str, int])
    asked: list[str] = attrs.field(factory=list[str])
    url: str = ""
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set[asyncio.Task[None]])

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[ForwardProxy]:
        """Listen on a free port."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._exchange(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        if self.credentials is not None and f"Proxy-Authorization: Basic {self.credentials}".encode() not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        url = URL(f"//{target}" if method == "CONNECT" else target)
        there = self.places.get(f"{url.host}:{url.port}")
        inner_reader, inner = await asyncio.open_connection(
            url.host if there is None else "127.0.0.1", url.port if there is None else there
        )
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            inner.write(head.replace(target.encode(), url.raw_path_qs.encode(), 1))
        try:
            await asyncio.gather(_pour(reader, inner), _pour(inner_reader, writer))
        finally:
            inner.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
