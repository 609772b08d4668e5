"""The httpx transports: they put a manager's token on the requests that may carry it, hop by hop.

An ``httpx.Auth`` would be asked once per call, and its header would go along with a redirect. A transport is called for
each hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpx

from asyncauth.httpx.hop import Refused, Settings, handled
from asyncauth.httpx.sides import ASYNC, BLOCKING, run

if TYPE_CHECKING:
    from types import TracebackType

    from asyncauth._http.answer_rules import Repeat
    from asyncauth.manager import TokenManager

__all__ = ["AsyncBearerTransport", "BearerTransport"]


class AsyncBearerTransport(httpx.AsyncBaseTransport):
    """An httpx transport that authorizes the requests of an ``httpx.AsyncClient``, on asyncio.

    ::

        async with httpx.AsyncClient(transport=AsyncBearerTransport(manager)) as http: ...

    `async_client` makes a client with it, with proxies and all. For each request, and each hop of a redirect, the
    manager is chosen by the origin. All that `asyncauth.BearerAuth` promises holds here. In short: any other origin
    gets nothing, what the caller set is never overridden, a 401 that the token explains is answered with a new token
    and a second sending, and without a token nothing is sent.

    The token is on a copy of the request. Event hooks, ``response.request``, errors and logs show none.

    Bodies that are known to be whole, and may be sent again: none, bytes, text, JSON, forms, and files of a multipart
    form that can be rewound.

    An ``AuthError`` that a request meets is an ``httpx.RequestError`` as well; where a retry can help
    (`AuthError.transient`), an ``httpx.TransportError``.

    Args:
        managers: One for each of the systems that the client calls. They stay the caller's to close.
        transport: What sends the requests; it is closed with this one. ``None`` (default): a new
            ``httpx.AsyncHTTPTransport``.
        refused: A function, plain or ``async``, that is called with each answer (an ``httpx.Response``) and says
            whether it refuses the token: ``True``, ``False``, or ``None``: the rule for 401s decides. It may read the
            body; the caller reads it again. What it raises reaches the caller, without the token.
        repeat: Which requests may be sent again: ``"all"`` (default), ``"safe"`` or ``"none"``, see `BearerAuth`.

    Raises:
        ConfigurationError: No manager; two for one origin; one without origins; or another argument can't work.
        InsecureTransport: A manager's origin is plain http to another machine.
    """

    def __init__(
        self,
        *managers: TokenManager,
        transport: httpx.AsyncBaseTransport | None = None,
        refused: Refused | None = None,
        repeat: Repeat = "all",
    ) -> None:
        transport = httpx.AsyncHTTPTransport() if transport is None else transport
        self._settings = Settings.of(transport, managers, refused, repeat)
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, authorized if it may be. Called by httpx, once per hop.

        Raises:
            AuthError: No token could be had; the request was not sent.
            InsecureTransport: It goes by plain http to a host that is served by https, or to a proxy elsewhere.
        """
        return await handled(ASYNC, self._settings, request)

    async def aclose(self) -> None:
        """Close the transport that sends the requests."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        return f"<AsyncBearerTransport {self._transport!r}>"


class BearerTransport(httpx.BaseTransport):
    """An httpx transport that authorizes the requests of an ``httpx.Client``, in code without an event loop.

    ::

        with httpx.Client(transport=BearerTransport(manager)) as http: ...

    `client` makes a client with it, with proxies and all. It does what `AsyncBearerTransport` does, and takes the same
    arguments. Tokens are obtained as by `TokenManager.blocking`: while the token is fresh a request makes no event
    loop, and the first request that finds it stale waits for its renewal.

    Concurrency: any number of threads, as with httpx's own; they make one token request together.

    Args:
        managers: One for each of the systems that the client calls. They need not be entered.
        transport: What sends the requests; it is closed with this one. ``None`` (default): a new
            ``httpx.HTTPTransport``.
        refused: See `AsyncBearerTransport`; a plain function.
        repeat: See `AsyncBearerTransport`.

    Raises:
        ConfigurationError: See `AsyncBearerTransport`.
        InsecureTransport: See `AsyncBearerTransport`.
    """

    def __init__(
        self,
        *managers: TokenManager,
        transport: httpx.BaseTransport | None = None,
        refused: Refused | None = None,
        repeat: Repeat = "all",
    ) -> None:
        transport = httpx.HTTPTransport() if transport is None else transport
        self._settings = Settings.of(transport, managers, refused, repeat)
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, authorized if it may be. Called by httpx, once per hop.

        Raises:
            AuthError: No token could be had; the request was not sent.
            ConfigurationError: A token must be obtained, and an event loop is running in this thread.
            InsecureTransport: It goes by plain http to a host that is served by https, or to a proxy elsewhere.
        """
        return run(handled(BLOCKING, self._settings, request))

    def close(self) -> None:
        """Close the transport that sends the requests."""
        self._transport.close()

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)

    def __repr__(self) -> str:
        return f"<BearerTransport {self._transport!r}>"
