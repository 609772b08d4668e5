"""The httpx transports, which put a manager's token on the requests that may carry it, hop by hop.

httpx calls an ``httpx.Auth`` once per call, and would send its header along with a redirect. It calls a transport for
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

    `async_client` makes a client with it, and covers proxies, too. For each request, and each hop of a redirect, the
    transport chooses the manager by the origin. It keeps all promises of `asyncauth.BearerAuth`. In short: no other
    origin receives a token, and a header that the caller set is never overridden. After a 401 because of the token, the
    request is sent again with a new one. Without a token, no request is sent.

    The token is added to a copy of the request. Event hooks, ``response.request``, errors and logs show no token.

    Bodies that can be sent again: none, bytes, text, JSON, forms, and files of a multipart form that can be rewound.

    An ``AuthError`` of a request is also an ``httpx.RequestError``; if a retry can help (`AuthError.transient`), it is
    also an ``httpx.TransportError``.

    Args:
        managers: One for each system that the client calls. They stay the caller's to close.
        transport: The transport that sends the requests; closed with this one. ``None`` (default): a new
            ``httpx.AsyncHTTPTransport``.
        refused: A function, plain or ``async``, that is called with each answer (an ``httpx.Response``) and returns
            whether the API did not accept the token. ``True`` and ``False`` decide; ``None``: the rule for 401s
            decides. It may read the body, which the caller can read again. If it raises, the caller receives the error,
            without the token in it. ``None`` (default): only the rule for 401s.
        repeat: Which requests may be sent again: ``"all"`` (default), ``"safe"`` or ``"none"``, see `BearerAuth`.

    Raises:
        ConfigurationError: No manager; two for one origin; one without origins; or another argument is wrong.
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
        """Send a request, with a token if it may carry one. Called by httpx, once per hop.

        Raises:
            AuthError: No token is available; the request was not sent.
            InsecureTransport: The request is plain http to a host that is served by https, or goes through such a proxy
                on another machine.
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

    `client` makes a client with it, and covers proxies, too. It works like `AsyncBearerTransport`, and takes the same
    arguments. It obtains tokens like `TokenManager.blocking`: while the token is fresh, a request runs no event loop.
    The first request that finds the token stale waits for its renewal.

    Concurrency: any number of threads, as with httpx's own transports; together they make one token request.

    Args:
        managers: One for each system that the client calls. They need not be entered.
        transport: The transport that sends the requests; closed with this one. ``None`` (default): a new
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
        """Send a request, with a token if it may carry one. Called by httpx, once per hop.

        Raises:
            AuthError: No token is available; the request was not sent.
            ConfigurationError: A token must be obtained, but an event loop is running in this thread.
            InsecureTransport: The request is plain http to a host that is served by https, or goes through such a proxy
                on another machine.
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
