"""Reads and changes httpx's requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from yarl import URL

from asyncauth._http.address import without_parameter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["KeptBody", "forget_what_comes_back", "url_of"]


def url_of(request: httpx.Request) -> URL:
    """Return a request's URL, from the parts that httpx connects to and sends: no text is parsed again."""
    url = request.url
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return URL.build(
        scheme=url.scheme, authority=url.netloc.decode("ascii"), path=path, query_string=query, encoded=True
    )


def forget_what_comes_back(response: httpx.Response, ending: str, cookie: str) -> None:
    """Remove the token from the headers that httpx uses itself: the target of a redirect, and cookies."""
    headers = response.headers
    if ending and "Location" in headers:
        headers["Location"] = without_parameter(headers["Location"], ending)
    if cookie:
        lines = headers.get_list("Set-Cookie")
        kept = [line for line in lines if line.partition(";")[0].strip() != cookie]
        if kept != lines:
            response.headers = httpx.Headers(
                [(name, value) for name, value in headers.multi_items() if name != "set-cookie"]
                + [("set-cookie", line) for line in kept]
            )


class KeptBody(httpx.AsyncByteStream, httpx.SyncByteStream):
    """An answer's body as the user's function reads it: its bytes, and its connection, are kept for the caller."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._chunks: list[bytes] = []
        self._under_way: Any = None

    def rest(self) -> Any:
        """Return the whole body, for the caller."""
        return self._stream if self._under_way is None else _Whole(self._stream, self._chunks, self._under_way)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._under_way = aiter(self._stream)
        async for chunk in self._under_way:
            self._chunks.append(chunk)
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        self._under_way = iter(self._stream)
        for chunk in self._under_way:
            self._chunks.append(chunk)
            yield chunk


class _Whole(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A partly read body: the part that was read, followed by the rest."""

    def __init__(self, stream: Any, chunks: list[bytes], under_way: Any) -> None:
        self._stream = stream
        self._chunks = chunks
        self._under_way = under_way

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        async for chunk in self._under_way:
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        yield from self._under_way

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        self._stream.close()
