"""All access to aiohttp's private attributes: a session's settings, a request's URL, header and body.

Whether a body can be sent again depends on its kind, never on ``body.consumed``. In some versions of aiohttp that
attribute is missing, or ``False`` for a generator that is exhausted. Such a body would be sent again empty, and the
server would answer 200.

aiohttp reads a file in threads. If a server answers before aiohttp has read the whole file, the read in progress
continues unattended. It would take bytes away from the second sending, and the server would wait for ever, or store a
damaged file. `own_files` prevents that.

With ``trust_env=True``, aiohttp writes an ``Authorization`` header from the user's ``.netrc`` file before any
middleware sees the request, and does not record that. `is_from_netrc` recognises it by its value.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import MultipartWriter, payload
from aiohttp.hdrs import AUTHORIZATION, EXPECT, LOCATION, SET_COOKIE, URI
from aiohttp.helpers import basicauth_from_netrc, netrc_from_env
from yarl import URL

from asyncauth._base.forks import new_guard
from asyncauth._http.address import without_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import aiohttp
    from aiohttp import ClientMiddlewareType, ClientRequest, ClientResponse

__all__ = ["add_to_url", "forget_cookie", "forget_parameter", "is_from_netrc", "is_whole", "loop_of", "middlewares_of",
           "offer_cookies", "own_files", "reset_url", "settings_of"]  # fmt: skip


def loop_of(session: aiohttp.ClientSession) -> asyncio.AbstractEventLoop:
    """Return the event loop that a session belongs to (its public ``loop`` is deprecated)."""
    return session._loop


def middlewares_of(session: aiohttp.ClientSession) -> Sequence[ClientMiddlewareType]:
    """Return a session's own middlewares."""
    return session._middlewares


# Constructor argument: the attribute that keeps it. Attributes that a version of aiohttp lacks are left out.
KEPT_AS = {
    "base_url": "_base_url",
    "connector": "_connector",
    "headers": "_default_headers",
    "skip_auto_headers": "_skip_auto_headers",
    "auth": "_default_auth",
    "proxy": "_default_proxy",
    "proxy_auth": "_default_proxy_auth",
    "json_serialize": "_json_serialize",
    "json_serialize_bytes": "_json_serialize_bytes",
    "request_class": "_request_class",
    "response_class": "_response_class",
    "ws_response_class": "_ws_response_class",
    "version": "_version",
    "cookie_jar": "_cookie_jar",
    "raise_for_status": "_raise_for_status",
    "timeout": "_timeout",
    "auto_decompress": "_auto_decompress",
    "trust_env": "_trust_env",
    "requote_redirect_url": "_requote_redirect_url",
    "trace_configs": "_trace_configs",
    "read_bufsize": "_read_bufsize",
    "max_line_size": "_max_line_size",
    "max_field_size": "_max_field_size",
    "max_headers": "_max_headers",
    "fallback_charset_resolver": "_resolve_charset",
}


def settings_of(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the constructor arguments for a session like this one, on the same connector and cookie jar.

    They do not include its middlewares.
    """
    settings: dict[str, Any] = {
        argument: getattr(session, attribute) for argument, attribute in KEPT_AS.items() if hasattr(session, attribute)
    }
    return {argument: value for argument, value in settings.items() if value is not None}


async def is_from_netrc(request: ClientRequest) -> bool:
    """Return whether aiohttp took a request's ``Authorization`` header from the user's ``.netrc`` file.

    Reads the file again, in a thread, for each such request.

    Args:
        request: A request with that header.
    """
    session = getattr(request, "session", None)  # requests in users' tests have none
    if session is None or not session.trust_env or not request.headers[AUTHORIZATION].startswith("Basic "):
        return False
    loop, host = asyncio.get_running_loop(), request.url.host or ""
    return request.headers[AUTHORIZATION] == await loop.run_in_executor(None, _netrc_authorization, host)


def _netrc_authorization(host: str) -> str | None:
    """Return the header that aiohttp makes from a host's entry; ``None``: there is no entry. Blocks."""
    try:
        return basicauth_from_netrc(netrc_from_env(), host).encode()
    except LookupError:
        return None


def add_to_url(request: ClientRequest, ending: str) -> None:
    """Append something, such as a query parameter, to the URL that a request is sent to.

    ``response.url`` stays unchanged. Call `reset_url` afterwards in any case.

    Args:
        request: The request. Changed in place.
        ending: The text to append. It begins with ``?`` or ``&``. The rest of the URL is not re-encoded.
    """
    request.url = URL(f"{request.url}{ending}", encoded=True)


def reset_url(request: ClientRequest, response: ClientResponse | None, url: URL) -> None:
    """Undo `add_to_url` in a request, and in its response's record of the request.

    Args:
        request: The request. Changed in place.
        response: Its answer; ``None``: there is none. Changed in place.
        url: The request's URL before.
    """
    request.url = url
    if response is not None:
        response._request_info = response._request_info._replace(url=url)  # a ClientResponseError shows it
        response._cache.pop("request_info", None)  # cached on first access


def forget_cookie(response: ClientResponse, cookie: str) -> None:
    """Keep a cookie that the server only echoed out of the session's cookie jar, where it would outlive the token.

    Args:
        response: The answer, before aiohttp updates the cookie jar. Changed in place; its headers stay.
        cookie: ``name=value``. A cookie with another value is the server's own, and stays.
    """
    name, _, value = cookie.partition("=")
    sent_back = response.cookies.get(name)
    if sent_back is not None and sent_back.value == value:
        del response.cookies[name]
        lines: tuple[str, ...] = getattr(response, "_raw_cookie_headers", None) or ()  # new in 3.13
        response._raw_cookie_headers = tuple(line for line in lines if line.partition(";")[0].strip() != cookie)


def offer_cookies(response: ClientResponse) -> None:
    """Let aiohttp put the cookies of an answer that came from no server into the session's cookie jar.

    Args:
        response: The answer, with its headers. Changed in place. Since 3.13, aiohttp reads no cookies from the headers.
    """
    response._raw_cookie_headers = tuple(response.headers.getall(SET_COOKIE, ())) or None


def forget_parameter(response: ClientResponse, ending: str) -> None:
    """Remove a query parameter from the target of a redirect: many servers repeat the query there.

    Otherwise the next hop would have it in ``response.url``, and might send it to another origin. The value is removed
    wherever the address contains it: under another name, in the path, in the fragment, or in a nested address such as a
    login page's ``return_to``.

    Args:
        response: The answer, before aiohttp follows the redirect. Its headers are changed in place.
        ending: The argument of `add_to_url`. The server may have encoded it differently.
    """
    for header in (LOCATION, URI):  # aiohttp follows both
        location = response._headers.get(header, "")
        clean = without_parameter(location, ending) if location else location
        if clean != location:
            headers = response._headers.copy()
            headers[header] = clean
            response._headers = type(response._headers)(headers)
            response._cache.pop("headers", None)


_READS = "_asyncauth_reads"


def is_whole(request: ClientRequest) -> bool:
    """Return whether the body can be sent again unchanged, however much of it has been sent.

    That is the case for no body, bytes, text, JSON, forms, seekable files, and multipart of such parts. It is not with
    ``Expect``: aiohttp waits for ``100 Continue`` only once, and a second sending would wait for ever.
    """
    return EXPECT not in request.headers and _whole(request.body)


def _whole(body: object) -> bool:
    if body is None or isinstance(body, (bytes, bytearray)):
        return True
    if isinstance(body, payload.IOBasePayload):
        file = body._value
        try:
            return not file.closed and bool(file.seekable())
        except (AttributeError, ValueError):
            return False
    if isinstance(body, MultipartWriter):
        return all(_whole(part) for part, _, _ in body._parts)
    return isinstance(body, payload.BytesPayload)  # bytes, text, JSON and url-encoded forms


async def own_files(body: object) -> None:
    """Prepare a body's files for a sending, before each one: from now on, only the next sending reads them.

    Waits for a read that the previous sending left in progress.
    """
    if isinstance(body, (payload.IOBasePayload, MultipartWriter)):
        for file in _files(body):
            known = vars(file)
            former: _Reads | None = known.get(_READS)
            if former is not None:
                await asyncio.get_running_loop().run_in_executor(None, former.end)
            reads = known[_READS] = _Reads()
            for name in ("_read", "_read_and_available_len"):
                known[name] = reads.guarded(getattr(type(file), name).__get__(file))


def _files(body: object) -> Iterator[payload.IOBasePayload]:
    if isinstance(body, payload.IOBasePayload):
        yield body
    elif isinstance(body, MultipartWriter):
        for part, _, _ in body._parts:
            yield from _files(part)


class _Reads:
    """The reads of one sending of a file. They run in threads; one may outlive a sending that was cut short."""

    __slots__ = ("_lock", "_over")

    def __init__(self) -> None:
        self._lock = new_guard()
        self._over = False

    def guarded(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, but one that does nothing once the sending is over."""

        def guarded(*args: Any) -> Any:
            with self._lock:
                return None if self._over else read(*args)

        return guarded

    def end(self) -> None:
        """Wait for a read in progress, and let no other begin. Blocks."""
        with self._lock:
            self._over = True
