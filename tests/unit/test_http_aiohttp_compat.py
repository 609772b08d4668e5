"""Which bodies can be sent a second time: known by their kind."""

from __future__ import annotations

import asyncio
import io
import os
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import payload
from multidict import CIMultiDict

from asyncauth._http.aiohttp_compat import is_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


def whole(body: Any) -> bool:
    """Tell of a body as aiohttp holds it."""
    return is_whole(SimpleNamespace(body=body, headers={}))  # type: ignore[arg-type]


def made_of(value: Any) -> Any:
    """Make what aiohttp makes of ``data=value``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a large bytes body is advised against
        return payload.PAYLOAD_REGISTRY.get(value, disposition=None)


async def chunks() -> AsyncIterator[bytes]:
    yield b"chunk"


def form(**fields: Any) -> Any:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    return data()


def multipart(*parts: Any) -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("mixed")
    for part in parts:
        writer.append(part)
    return writer


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: b"",
        lambda: b"bytes",
        lambda: bytearray(b"bytes"),
        lambda: made_of(b"bytes"),
        lambda: made_of(bytearray(b"bytes")),
        lambda: made_of(memoryview(b"bytes")),
        lambda: made_of(b"x" * (2 << 20)),
        lambda: made_of("text"),
        lambda: payload.JsonPayload({"a": 1}),
        lambda: made_of(io.BytesIO(b"bytes")),
        lambda: made_of(io.StringIO("text")),
        lambda: form(a="1", b="2"),
        lambda: form(a="1", file=io.BytesIO(b"bytes")),
        lambda: form(a="é", file=io.BytesIO(b"bytes")),
        multipart,
        lambda: multipart("text", b"bytes"),
        lambda: multipart("text", io.BytesIO(b"bytes")),
        lambda: multipart("text", multipart("text", io.BytesIO(b"bytes"))),
        lambda: io.BytesIO(b"bytes") and made_of(io.BufferedReader(io.BytesIO(b"bytes"))),
    ],
)
async def test_whole(make: Callable[[], Any]) -> None:
    """No body, bytes, text, JSON, forms, seekable files, and multipart of such parts are whole."""
    assert whole(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda: made_of(chunks()),
        lambda: multipart("text", made_of(chunks())),
        lambda: multipart("text", multipart(made_of(chunks()))),
        lambda: payload.StreamReaderPayload(reader()),
        lambda: multipart(payload.StreamReaderPayload(reader())),
        lambda: Custom(b"bytes"),
        lambda: multipart(Custom(b"bytes")),
        lambda: closed(io.BytesIO(b"bytes")),
        lambda: multipart("text", closed(io.BytesIO(b"bytes"))),
        lambda: made_of(Unseekable(b"bytes")),
        lambda: made_of(Lying(b"bytes")),
        object,
        lambda: "not what aiohttp holds",
    ],
)
async def test_not_whole(make: Callable[[], Any]) -> None:
    """Generators, streams, closed or unseekable files and other people's payloads are not known to be whole."""
    assert not whole(make())


@pytest.mark.parametrize("name", ["Expect", "expect"])
def test_not_with_expect(name: str) -> None:
    """A request that waits for ``100 Continue`` can't be sent a second time, whatever its body."""
    headers = CIMultiDict({name: "100-continue"})
    assert not is_whole(SimpleNamespace(body=b"bytes", headers=headers))  # type: ignore[arg-type]


def reader() -> aiohttp.StreamReader:
    protocol = SimpleNamespace(_reading_paused=False)
    return aiohttp.StreamReader(protocol, limit=1, loop=asyncio.get_running_loop())  # type: ignore[arg-type]


def closed(file: io.IOBase) -> Any:
    body = made_of(file)
    file.close()
    return body


class Custom(payload.Payload):
    """A payload of somebody else's kind."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return ""

    async def write(self, writer: Any) -> None:
        await writer.write(self._value)


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


class Lying(io.BytesIO):
    """A file object whose ``seekable`` is broken."""

    def seekable(self) -> bool:
        raise ValueError("I/O operation on a closed thing")


@pytest.fixture
def pipe() -> Iterator[Any]:
    """Give the reading end of a pipe."""
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        yield file


def test_pipes(pipe: Any) -> None:
    """A pipe gives its content once."""
    assert not whole(made_of(pipe))


@pytest.mark.parametrize("mode", ["rb", "r", "r+b", "r+"])
def test_files(tmp_path: Path, mode: str) -> None:
    """An open file is whole, in any mode, wherever it stands; once closed it is not."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open(mode) as file:
        body = made_of(file)
        assert whole(body)
        file.read(3)
        assert whole(body)
    assert not whole(body)
