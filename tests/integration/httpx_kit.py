"""One way to call both of httpx's clients, so that one list of tests runs against both.

The blocking client is called in a thread, where no event loop is running; the servers are on the test's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import httpx

from asyncauth import TokenManager
from asyncauth.httpx import AsyncBearerTransport, BearerTransport, async_client, client
from asyncauth.testing import FakeProvider

__all__ = ["KINDS", "Caller", "Kind", "closing", "fake_manager"]


@attrs.frozen
class Kind:
    """One of the two clients.

    Attributes:
        name: What it is called in a test's name.
        make: `async_client` or `client`.
        client: httpx's own class.
        transport: The transport that authorizes.
        network: httpx's own transport.
    """

    name: str
    make: Callable[..., Any]
    client: Callable[..., Any]
    transport: Callable[..., Any]
    network: Callable[..., Any]

    @property
    def blocking(self) -> bool:
        """Whether calls block."""
        return self.name == "blocking"

    def caller(self, *managers: Any, **options: Any) -> Caller:
        """Return a client that authorizes its requests."""
        options.setdefault("verify", _TLS)
        return Caller(self, self.make(*managers, **options))

    async def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call something of the client's: a coroutine function, or one that blocks."""
        if self.blocking:
            return await asyncio.to_thread(function, *args, **options)
        return await function(*args, **options)


_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, and is made once: httpx reads all of certifi's authorities for each client."""

KINDS = (
    Kind("async", async_client, httpx.AsyncClient, AsyncBearerTransport, httpx.AsyncHTTPTransport),
    Kind("blocking", client, httpx.Client, BearerTransport, httpx.HTTPTransport),
)


@attrs.frozen
class Caller:
    """A client of either kind.

    Attributes:
        kind: Which.
        http: The client itself.
    """

    kind: Kind
    http: Any

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Return the answer, read to its end."""
        response: httpx.Response = await self.kind.call(self.http.request, method, url, **options)
        return response

    async def get(self, url: str, **options: Any) -> httpx.Response:
        """Return the answer, read to its end."""
        return await self.request("GET", url, **options)

    async def status(self, url: str, **options: Any) -> int:
        """Return the answer's status."""
        return (await self.get(url, **options)).status_code

    async def chunks(self, url: str, read: Callable[[Any], Any], method: str = "GET", **options: Any) -> list[bytes]:
        """Return what is read of an answer's stream: ``read`` gives the iterator."""
        if self.kind.blocking:

            def work() -> list[bytes]:
                with self.http.stream(method, url, **options) as response:
                    return list(read(response))

            return await asyncio.to_thread(work)
        async with self.http.stream(method, url, **options) as response:
            return [chunk async for chunk in read(response)]

    async def close(self) -> None:
        """Close the client."""
        await self.kind.call(self.http.close if self.kind.blocking else self.http.aclose)


def fake_manager(*origins: str, **members: Any) -> TokenManager:
    """Return the manager of a fake provider, with members of `ProviderOptions`."""
    kind: type[FakeProvider] = type("Fake", (FakeProvider,), members)
    return TokenManager(kind(origins=origins))


@contextlib.asynccontextmanager
async def closing(caller: Caller) -> AsyncIterator[Caller]:
    """Close a client when its block ends."""
    try:
        yield caller
    finally:
        await caller.close()
