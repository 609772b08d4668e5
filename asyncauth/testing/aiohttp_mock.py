"""Answers aiohttp's requests without a server, with client middlewares: an adapted aioresponses.

aioresponses (extra ``testing``) replaces the whole of ``ClientSession._request``, so no middleware runs, and aiohttp
follows no redirect. This mock answers where aiohttp would connect, as the innermost middleware of each request.
"""

from __future__ import annotations

import inspect
import json
from re import Pattern
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypedDict

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from asyncauth._http.aiohttp_compat import middlewares_of, offer_cookies
from asyncauth.testing.aioresponses_compat import (
    Aioresponses,
    answer_for,
    close_at_end,
    is_passed_through,
    normalized,
    patch_of,
    record_of,
    response_of,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import TypeVar, Unpack

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    _R = TypeVar("_R")

__all__ = ["Answer", "mock_aiohttp"]

_Url: TypeAlias = str | URL | Pattern[str]

_WANTS_STREAM_WRITER = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters
"""True for aiohttp 3.14 and later; aioresponses 0.7.9 does not support that parameter."""


class Answer(TypedDict, total=False):
    """The answer to a request; for each field, see aioresponses."""

    status: int
    body: str | bytes
    payload: Any
    headers: Mapping[str, str] | None
    content_type: str
    reason: str | None
    exception: BaseException | type[BaseException] | None
    timeout: bool
    repeat: bool | int
    callback: Callable[..., Any] | None
    response_class: type[aiohttp.ClientResponse] | None


class mock_aiohttp(Aioresponses):  # type: ignore[misc]  # noqa: N801 (named like the function that it replaces)
    """Answers the requests of every ``aiohttp.ClientSession`` without a server: an aioresponses with middlewares.

    ::

        with mock_aiohttp() as mock:
            mock.get("https://api.example.com/me", status=401)
            mock.get("https://api.example.com/me", payload={"name": "Ada"})
            ...
            sent = mock.requests["GET", URL("https://api.example.com/me")]
            assert sent[1].kwargs["headers"]["Authorization"] == "Bearer token-2"

    Differences from aioresponses: all middlewares run, those of the session or of the request. aiohttp itself follows
    redirects, keeps cookies, and honours timeouts and ``raise_for_status``. It works with aiohttp 3.14.

    ``requests`` contains every request that was sent, with each repeat and each hop of a redirect. Its ``headers`` are
    those of the session, of the call and of middlewares, as the request would have been sent; headers that aiohttp adds
    itself are left out. An exception as the answer reaches the middlewares and the caller at once: aiohttp does not
    repeat the request, as it would after a lost connection.

    It is also a decorator, ``@mock_aiohttp()``, like aioresponses. WebSockets are not supported, unless they pass
    through.

    Args:
        passthrough: The beginnings of URLs that are really requested, such as ``["http://127.0.0.1"]`` (default: none).
        passthrough_unmatched: Whether requests without an answer are really sent; ``False`` (default): they fail with
            ``aiohttp.ClientConnectionError``, as if no server listened.
        param: As a decorator: the argument that receives the mock; ``None`` (default): the last positional one.

    Raises:
        TypeError: ``passthrough`` is a single text.
    """

    requests: dict[tuple[str, URL], list[Any]]

    def __init__(
        self, *, passthrough: Iterable[str] = (), passthrough_unmatched: bool = False, param: str | None = None
    ) -> None:
        if isinstance(passthrough, str):  # each of its letters would count as the beginning of a URL
            raise TypeError("passthrough= takes several beginnings of URLs, such as ['http://127.0.0.1']")
        Aioresponses.__init__(
            self,
            passthrough=[str(each) for each in passthrough],
            passthrough_unmatched=passthrough_unmatched,
            param=param,
        )

        async def request(session: aiohttp.ClientSession, *args: Any, **options: Any) -> ClientResponse:
            return await self._request_mock(session, *args, **options)

        self.patcher = patch_of(request)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __call__(self, f: Callable[..., _R]) -> Callable[..., _R]:
        """Return a function, plain or ``async``, that runs with a mock during each call."""
        decorated: Callable[..., _R] = Aioresponses.__call__(self, f)
        return decorated

    def add(self, url: _Url, method: str = hdrs.METH_GET, **answer: Unpack[Answer]) -> None:
        """Add the answer to one request to a URL, or to a URL that matches a pattern. The first added is used first."""
        Aioresponses.add(self, url, method=method, **answer)

    def get(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a GET."""
        self.add(url, hdrs.METH_GET, **answer)

    def post(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a POST."""
        self.add(url, hdrs.METH_POST, **answer)

    def put(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a PUT."""
        self.add(url, hdrs.METH_PUT, **answer)

    def patch(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a PATCH."""
        self.add(url, hdrs.METH_PATCH, **answer)

    def delete(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a DELETE."""
        self.add(url, hdrs.METH_DELETE, **answer)

    def head(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to a HEAD."""
        self.add(url, hdrs.METH_HEAD, **answer)

    def options(self, url: _Url, **answer: Unpack[Answer]) -> None:
        """Add the answer to an OPTIONS."""
        self.add(url, hdrs.METH_OPTIONS, **answer)

    async def _request_mock(
        self, orig_self: aiohttp.ClientSession, method: str, url: str | URL, *args: Any, **options: Any
    ) -> ClientResponse:
        """Run aiohttp's own code with two more middlewares. Called instead of ``ClientSession._request``."""
        own = options.get("middlewares")
        own = middlewares_of(orig_self) if own is None else own
        exchange = _Exchange(self, orig_self, options)
        between = {**options, "middlewares": (exchange.begin, *own, exchange.answer)}
        try:
            response: ClientResponse = await self.patcher.temp_original(orig_self, method, url, *args, **between)
        except _Carrier as carrier:
            error = carrier.error
        else:
            return response
        raise error


class _Carrier(Exception):
    """Carries an exception through aiohttp, which would otherwise send the request again."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Exchange:
    """One call of a session: the request, its redirects, and repeats by middlewares.

    Args:
        mock: The mock with the answers.
        session: The session.
        options: The call's keyword arguments.
    """

    def __init__(self, mock: mock_aiohttp, session: aiohttp.ClientSession, options: dict[str, Any]) -> None:
        self._mock = mock
        self._session = session
        self._options = options
        self._named = CIMultiDict([*session.headers.items(), *CIMultiDict(options.get("headers") or {}).items()])
        self._before: CIMultiDict[str] = CIMultiDict()
        self._hops = -1
        self._raised: BaseException | None = None

    async def begin(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Record the headers before any middleware. The outermost middleware; runs once per hop."""
        self._hops += 1
        self._before = request.headers.copy()
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if error is not self._raised:
                raise
            carrier = _Carrier(error)
        raise carrier

    async def answer(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Answer in place of the server. The innermost middleware; runs once per hop and per repeat."""
        mock, method = self._mock, request.method
        url = normalized(request.url)
        if is_passed_through(mock, url):
            return await handler(request)
        match = answer_for(mock, method, url)
        passes = match is None and mock.passthrough_unmatched
        sent = _Sent()
        if not passes and not isinstance(request.body, bytes):
            await request.body.write(sent)
        call = self._call(request, None if passes else bytes(sent.body))
        mock.requests.setdefault((method, url), []).append(self._record(method, **call))
        if passes:
            return await handler(request)
        try:
            if match is None:
                raise aiohttp.ClientConnectionError(f"Connection refused: {method} {url}")  # noqa: TRY301
            response = await self._made(match, request, url, sent, call)
        except BaseException as error:
            self._raised = error
            raise
        close_at_end(mock, response)
        return response

    def _call(self, request: ClientRequest, sent: bytes | None) -> dict[str, Any]:
        """Return a request's arguments for `requests` and callbacks: those of the call, with this request's headers."""
        call = {"allow_redirects": True, **self._options}
        if self._hops:
            call.pop("params", None)  # a redirect's URL has its own
            if not request.body:
                call.pop("data", None)
                call.pop("json", None)
        if sent is not None and hasattr(call.get("data"), "__aiter__"):
            call["data"] = sent
        headers: CIMultiDict[str] = CIMultiDict()
        for name in dict.fromkeys(request.headers):
            values = request.headers.getall(name)
            if name in self._named or values != self._before.getall(name, []):
                headers.extend((name, value) for value in values)
        if headers or "headers" in call:
            call["headers"] = headers
        return call

    def _record(self, method: str, *, middlewares: Any = None, **call: Any) -> Any:
        """Return what `requests` keeps of a call: a copy, except for the middlewares, which contain managers."""
        record = record_of(self._mock, method, **call)
        if middlewares is not None:
            record.kwargs["middlewares"] = middlewares
        return record

    async def _made(
        self, match: Any, request: ClientRequest, url: URL, sent: _Sent, call: dict[str, Any]
    ) -> ClientResponse:
        """Return the response, or raise the exception that was given as the answer."""
        given = match.callback(url, **call) if callable(match.callback) else None
        if inspect.isawaitable(given):
            given = await given
        if match.exception is not None:
            raise match.exception
        answer: Any = match if given is None else given
        kind: Any = answer.response_class or request.response_class
        extra = {"stream_writer": sent} if _WANTS_STREAM_WRITER else {}

        def response_class(method: str, url: URL, **options: Any) -> ClientResponse:
            options.update(request_info=request.request_info, session=self._session, loop=request.loop, **extra)
            response: ClientResponse = kind(method, url, **options)
            return response

        response = response_of(
            match,
            url=normalized(request.original_url),  # as in aiohttp: without a middleware's additions
            method=request.method,
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
            response_class=response_class,
            reason=answer.reason,
        )
        response.content = _content(_body(answer), request.loop)
        offer_cookies(response)
        return response


def _body(answer: Any) -> bytes:
    """Return the bytes of an answer, as aioresponses makes them."""
    body = answer.body if answer.payload is None else json.dumps(answer.payload)
    return body if isinstance(body, bytes) else str.encode(body)


def _content(body: bytes, loop: asyncio.AbstractEventLoop) -> aiohttp.StreamReader:
    """Return a reader with the whole body; with aiohttp 3.14, aioresponses' own reader stops within a large one."""
    content = aiohttp.StreamReader(ResponseHandler(loop), limit=max(2**16, len(body)), loop=loop)
    content.feed_data(body)
    content.feed_eof()
    return content


class _Sent(AbstractStreamWriter):
    """A writer that keeps a request's body in memory."""

    def __init__(self) -> None:
        self.body = bytearray()

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.body += chunk
        self.output_size = len(self.body)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Do nothing: the request itself ends the body."""

    async def drain(self) -> None:
        """Do nothing: memory needs no waiting."""

    def enable_compression(self, *args: Any, **options: Any) -> None:
        """Do nothing: the recorded body stays readable."""

    def enable_chunking(self) -> None:
        """Do nothing: the recorded body stays readable."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Do nothing: the headers are read from the request."""
