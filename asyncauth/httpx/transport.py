"""The httpx transports: they put a manager's token on the requests that may carry it, hop by hop.

An ``httpx.Auth`` would be asked once per call, and its header would go along with a redirect. A transport is called for
each hop.

One coroutine, `_handled`, serves both clients. What differs is a `_Side`: the one without an event loop has coroutines
that never wait, so that `_run` gets their results at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, TypeVar, cast

import attrs
import httpx
from yarl import URL

from asyncauth._core.blocking import obtain
from asyncauth._core.frames import forget_frames
from asyncauth._core.trial import Use
from asyncauth._http.address import without_parameter
from asyncauth._http.answer_rules import AnswerRules, Says
from asyncauth._http.origin import check_proxy
from asyncauth.auth_flow import DPOP_NONCE, AuthFlow, ServedOrigins, Step
from asyncauth.clock import boottime
from asyncauth.errors import AuthError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from types import TracebackType

    from asyncauth._core.cache import CachedToken
    from asyncauth._core.engine import TokenEngine
    from asyncauth._http.answer_rules import Repeat
    from asyncauth.manager import TokenManager

__all__ = ["AsyncBearerTransport", "BearerTransport", "Refused", "require_asyncio"]

_T = TypeVar("_T")

Refused: TypeAlias = Callable[[httpx.Response], Says]
"""Says whether an answer of httpx's refuses the token."""

_HOLD_WHAT_IS_SENT: Final = frozenset({"anyio", "asyncio", "h11", "h2", "hpack", "httpcore", "httpx", "ssl"})
"""Packages whose functions hold a request's headers in local variables."""
_MULTIPART: Final = ("httpx._multipart", "MultipartStream")
_SHORT: Final = 65_536
"""Bytes of an answer's body that are read for the sake of its connection, before the request is sent again."""


class _Side(Protocol):
    """How requests are sent and tokens obtained: by coroutines, or by functions that block."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        """Send a request as it is."""
        ...

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        """Return a usable token."""
        ...

    async def pause(self, engine: TokenEngine, seconds: float) -> None:
        """Wait."""
        ...

    async def read(self, response: httpx.Response) -> None:
        """Read an answer's body to its end, and drop it."""
        ...

    async def close(self, response: httpx.Response) -> None:
        """Close an answer."""
        ...


@attrs.frozen
class _Settings:
    """What a transport was made with. Immutable."""

    served: ServedOrigins
    rules: AnswerRules
    transport: Any
    proxy: URL | None


def _settings(transport: Any, managers: tuple[TokenManager, ...], refused: Refused | None, repeat: Repeat) -> _Settings:
    if not managers:
        raise ConfigurationError("a transport takes at least one TokenManager")
    return _Settings(ServedOrigins(managers), AnswerRules.of(refused, repeat), transport, _proxy_of(transport))


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
        self._settings = _settings(transport, managers, refused, repeat)
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, authorized if it may be. Called by httpx, once per hop.

        Raises:
            AuthError: No token could be had; the request was not sent.
            InsecureTransport: It goes by plain http to a host that is served by https, or to a proxy elsewhere.
        """
        return await _handled(_ASYNC, self._settings, request)

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
        self._settings = _settings(transport, managers, refused, repeat)
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, authorized if it may be. Called by httpx, once per hop.

        Raises:
            AuthError: No token could be had; the request was not sent.
            ConfigurationError: A token must be obtained, and an event loop is running in this thread.
            InsecureTransport: It goes by plain http to a host that is served by https, or to a proxy elsewhere.
        """
        return _run(_handled(_BLOCKING, self._settings, request))

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


class _Async:
    """With an event loop."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await transport.handle_async_request(request)
        return response

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        require_asyncio()
        return await engine.obtain(use)

    async def pause(self, engine: TokenEngine, seconds: float) -> None:
        # By the manager's clock, or the event loop's: a test's clock may stand still meanwhile.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await engine.runtime.clock.sleep(seconds)

    async def read(self, response: httpx.Response) -> None:
        async for _ in cast("httpx.AsyncByteStream", response.stream):
            pass

    async def close(self, response: httpx.Response) -> None:
        await response.aclose()


_ASYNC: Final = _Async()


def require_asyncio() -> None:
    """Raise `ConfigurationError` where no event loop of asyncio is running: httpx's clients run on trio as well."""
    if not _is_asyncio_here():
        raise ConfigurationError("asyncauth runs on asyncio: no event loop of asyncio is running here")


class _Blocking:
    """Without an event loop: these coroutines never wait, they block."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = transport.handle_request(request)
        return response

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        if _is_asyncio_here():
            raise ConfigurationError(
                "an httpx.Client would stop the event loop that is running in this thread: use async_client;"
                " or call it in another thread, as asyncio.to_thread() does"
            )
        return obtain(engine, use)

    async def pause(self, engine: TokenEngine, seconds: float) -> None:  # noqa: ARG002 (no clock of it sleeps here)
        time.sleep(seconds)  # noqa: ASYNC251 (no event loop is running)

    async def read(self, response: httpx.Response) -> None:
        for _ in cast("httpx.SyncByteStream", response.stream):
            pass

    async def close(self, response: httpx.Response) -> None:
        response.close()


_BLOCKING: Final = _Blocking()


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return what a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: _T = result.value
        return value
    coroutine.close()
    raise ConfigurationError("refused= takes a plain function here: an httpx.Client has no event loop to wait on")


def _is_asyncio_here() -> bool:
    """Return whether an event loop of asyncio is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# What both have in common


async def _handled(side: _Side, settings: _Settings, request: httpx.Request) -> httpx.Response:
    """Send one hop of a request. Its errors are httpx's."""
    try:
        return await _authorized(side, settings, request)
    except AuthError as error:
        caught = error
    raise _as_httpx(caught)  # outside of the clause, or it would have a context


async def _authorized(side: _Side, settings: _Settings, request: httpx.Request) -> httpx.Response:
    url = _url_of(request)
    engine = settings.served.engine_for(url)
    if engine is None:
        response = await side.send(settings.transport, request)
        if "Authorization" not in request.headers:
            settings.served.note_unserved(url, response.status_code)
        return response
    if engine.options.carrier.is_taken(request.headers, url):
        return await side.send(settings.transport, request)
    if settings.proxy is not None:
        check_proxy(url, settings.proxy, engine.options.insecure_hosts)
    may_repeat = functools.partial(_may_repeat, settings.rules, request)
    cached = engine.state.cached
    if not cached.accepted or boottime() >= cached.fast_until:
        cached = await side.obtain(engine, Use.REPEATABLE if may_repeat() else Use.ONCE)
    flow = AuthFlow(engine, cached, method=request.method, url=url, is_repeatable=may_repeat)
    while True:
        response = await _sent(side, settings.transport, flow, request)
        try:
            step = flow.answered(
                response.status_code,
                challenges=response.headers.get_list("WWW-Authenticate"),
                dpop_nonce=response.headers.get(DPOP_NONCE),
                refused=await _verdict(settings.rules, flow, request, response),
            )
            if step is Step.RENEW:
                step = await _renewed(side, engine, flow)
        except BaseException:
            await side.close(response)
            raise
        if step is Step.RETURN:
            return response
        await _let_go(side, response)


async def _renewed(side: _Side, engine: TokenEngine, flow: AuthFlow) -> Step:
    """Obtain another token after a refusal; return whether the request is sent again with it."""
    try:
        if flow.pause > 0:
            await side.pause(engine, flow.pause)
        return flow.renewed(await side.obtain(engine, Use.BY_HAND))
    except AuthError:
        return Step.RETURN


async def _verdict(rules: AnswerRules, flow: AuthFlow, request: httpx.Request, response: httpx.Response) -> bool | None:
    """Ask the user's function, which may read the body, whether an answer refuses the token."""
    if rules.refused is None:
        return None
    kept = _Kept(response.stream)
    shown = httpx.Response(
        response.status_code, headers=response.headers, stream=kept, request=request, extensions=response.extensions
    )
    try:
        return await rules.verdict(shown, response.status_code)
    except BaseException as error:
        flow.forget_token(error)
        raise
    finally:
        response.stream = kept.rest()


async def _let_go(side: _Side, response: httpx.Response) -> None:
    """Close an answer before its request is sent again: a short body is read, so that the connection can be used."""
    try:
        if int(response.headers.get("Content-Length", _SHORT + 1)) <= _SHORT:
            await side.read(response)
    except (httpx.HTTPError, ValueError):
        pass  # the server has ended it early: there is nothing more to want of it
    finally:
        await side.close(response)


async def _sent(side: _Side, transport: Any, flow: AuthFlow, request: httpx.Request) -> httpx.Response:
    """Send a copy of a request with the token and the proof that it must have.

    The copy has them for as long as it is being sent: what other transports keep of it, and errors, show none.
    """
    in_url = flow.url_ending != ""
    copy = httpx.Request(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    if type(request.stream) is httpx.ByteStream:
        copy.read()  # which has it at hand, as the request has
    try:
        flow.authorize(copy.headers)
        if in_url:
            copy.url = request.url.copy_with(raw_path=request.url.raw_path + flow.url_ending.encode())
        response = await side.send(transport, copy)
    except BaseException as error:
        forget_frames(error, _HOLD_WHAT_IS_SENT)
        if in_url:
            flow.forget_url(error)
        if isinstance(error, httpx.RequestError):
            error.request = request
        raise
    finally:
        copy.headers, copy.url = request.headers, request.url
    _forget_what_comes_back(response, flow.url_ending, flow.cookie)
    return response


def _forget_what_comes_back(response: httpx.Response, ending: str, cookie: str) -> None:
    """Take the token out of what httpx makes something of: where an answer redirects to, and cookies to keep."""
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


class _Kept(httpx.AsyncByteStream, httpx.SyncByteStream):
    """An answer's body as the user's function reads it, once: it is kept for the caller, and so is its connection."""

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
    """A body that was read in part: that part again, and what is left of it."""

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


def _may_repeat(rules: AnswerRules, request: httpx.Request) -> bool:
    """Return whether a request may be sent again: its method allows it, and its body is known to be whole."""
    return rules.allows(request.method) and _is_whole(request.stream)


def _is_whole(stream: object) -> bool:
    """Return whether a body can be sent any number of times: bytes, or a multipart form of bytes and seekable files.

    httpx rewinds the files of a multipart form each time. What is private of one is read here.
    """
    kind = type(stream)
    if kind is httpx.ByteStream:
        return True
    return (kind.__module__, kind.__name__) == _MULTIPART and all(map(_is_whole_field, cast("Any", stream).fields))


def _is_whole_field(field: Any) -> bool:
    file = getattr(field, "file", b"")  # only a file's field has one
    if isinstance(file, (str, bytes)):
        return True
    try:
        return not file.closed and bool(file.seekable())
    except (AttributeError, ValueError):
        return False


def _url_of(request: httpx.Request) -> URL:
    """Return a request's URL, of the parts that httpx connects and sends by: no text is read a second time."""
    url = request.url
    path, _, query = url.raw_path.decode("ascii").partition("?")
    return URL.build(
        scheme=url.scheme, authority=url.netloc.decode("ascii"), path=path, query_string=query, encoded=True
    )


def _proxy_of(transport: Any) -> URL | None:
    """Return the proxy that a transport sends by, which only its connection pool's private attribute says."""
    proxy = getattr(getattr(transport, "_pool", None), "_proxy_url", None)
    if proxy is None:
        return None
    return URL.build(scheme=proxy.scheme.decode("ascii"), host=proxy.host.decode("ascii"), port=proxy.port)


def _as_httpx(error: AuthError) -> AuthError:
    """Return an error that code which handles httpx's errors handles, too."""
    if isinstance(error, httpx.RequestError):  # of a transport of this kind further inside
        return error
    kind = type(error)
    ours = _KINDS.get(kind)
    if ours is None:
        base = httpx.TransportError if kind.transient else httpx.RequestError
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_request": None, "__reduce__": _reduced}
        ours = _KINDS[kind] = type(kind.__name__, (kind, base), names)
    twin = ours.__new__(ours, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def _reduced(error: AuthError) -> tuple[Any, ...]:
    """Return what a pickle keeps of such an error: queues of tasks and pools of processes carry errors so."""
    kind: type[AuthError] = type(error).__bases__[0]
    plain = kind.__new__(kind, *error.args)
    plain.args = error.args
    # Not the request, whose headers may hold the caller's secrets.
    plain.__dict__.update({name: value for name, value in error.__dict__.items() if name != "_request"})
    return _as_httpx, (plain,)


_KINDS: Final[dict[type[AuthError], type[AuthError]]] = {}
"""By class: the class of its errors that are httpx's as well."""
