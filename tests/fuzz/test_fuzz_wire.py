"""Bytes on real sockets: whatever a server sends, a provider gives a usable token or an AuthError, and is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import aiohttp
import attrs
import fuzz_checks as check
import hostile
import pytest
from hypothesis import given

from asyncauth import AuthError, Peakly

_IN_TIME = 10.0
"""Seconds after which an answer that came at once is taken to be waited for in vain."""


@attrs.define
class Server:
    """A server that reads a request, sends what it is told to, and closes; and a client of it."""

    runner: asyncio.Runner
    sends: bytes = b""
    provider: Peakly | None = None

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.provider = Peakly(username="ana", password=hostile.SECRET, base_url=f"http://127.0.0.1:{port}")
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
            writer.write(self.sends)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def check(self, raw: bytes) -> None:
        """Ask for a token, and check what comes of it."""
        assert self.provider is not None
        self.sends = raw
        timeout = aiohttp.ClientTimeout(total=_IN_TIME)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            try:
                token = await self.provider.fetch(http, None)
            except AuthError as error:
                said = str(error)
                check.honest(error)
            else:
                said = ""
                check.usable(token)
        assert "no answer in time" not in said
        assert len(asyncio.all_tasks()) <= 2  # this one, and the server's for the connection


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with asyncio.Runner() as runner:
        server = Server(runner)
        listening = runner.run(server.start())
        yield server
        listening.close()
        runner.run(listening.wait_closed())


@check.examples(150)
@given(raw=hostile.all_wires)
def test_whatever_is_sent_there_is_an_end_to_it(server: Server, raw: bytes) -> None:
    """Framed wrongly, packed, cut short, no HTTP at all: a usable token or an AuthError, and nothing is waited for."""
    server.runner.run(server.check(raw))


@pytest.mark.parametrize("raw", hostile.HOSTILE_WIRES, ids=lambda raw: f"{raw[:40]!r} of {len(raw)}")
def test_whatever_is_sent_on_purpose_there_is_an_end_to_it(server: Server, raw: bytes) -> None:
    """Endless headers, cookies, interim answers and chunks, bombs, other protocols: likewise."""
    server.runner.run(server.check(raw))
