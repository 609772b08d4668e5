"""The aiohttp client middleware: puts a manager's token on the requests that may carry it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

from aiohttp.hdrs import AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, WWW_AUTHENTICATE
from yarl import URL

from asyncauth._core.frames import forget_frames
from asyncauth._http import challenge
from asyncauth._http.aiohttp_compat import is_whole, own_files
from asyncauth._http.origin import is_loopback, origins_of
from asyncauth.clock import boottime
from asyncauth.errors import AuthError, ConfigurationError, InsecureTransport
from asyncauth.manager import TokenManager

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    from asyncauth._core.cache import CachedToken
    from asyncauth.providers.oauth2.dpop import Prover
    from asyncauth.token import Token

__all__ = ["BearerAuth"]

_MOST_REPEATS = 2
"""One; and one more if the first one's token had been asked for before the refusal, as its predecessor was."""

_UNAUTHORIZED = 401


class BearerAuth:
    """An aiohttp client middleware that authorizes requests with bearer tokens.

    ::

        async with aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http: ...

    For each request, and each hop of a redirect, the manager is chosen by the origin. A request to any other origin
    passes untouched, as does one that has an ``Authorization`` header already. A request whose token can't be had is
    not sent: the ``AuthError`` reaches the caller.

    When the API refuses the token (a 401 that the token explains), it is dropped, a new one obtained, and the request
    sent once more, if its body is known to be whole still: none, bytes, text, JSON, a form, seekable files. Otherwise,
    and if no other token can be had, the caller gets the 401.

    Args:
        managers: One for each of the systems that the session calls. They stay the caller's to close.

    Raises:
        ConfigurationError: No manager; two for one origin; or one without origins.
        InsecureTransport: A manager's origin is plain http to another machine.
    """

    __slots__ = ("_by_place", "_host", "_in_the_clear", "_manager", "_scheme")

    def __init__(self, *managers: TokenManager) -> None:
        if not managers:
            raise ConfigurationError("BearerAuth takes at least one TokenManager")
        self._by_place: dict[_Place, TokenManager] = {}
        self._in_the_clear: set[_Place] = set()
        for manager in managers:
            if not isinstance(manager, TokenManager):
                kind = type(manager).__name__
                what = (
                    "pass each by itself" if isinstance(manager, (list, tuple)) else "write TokenManager(…) around it"
                )
                raise ConfigurationError(f"this takes TokenManagers, not {kind}: {what}")
            self._serve(manager)
        (self._scheme, self._host), self._manager = next(iter(self._by_place.items()))

    def _serve(self, manager: TokenManager) -> None:
        served, in_the_clear = _places(manager.origins)
        if not served:
            raise ConfigurationError(
                f"{manager!r} has no origins, so its token can go nowhere:"
                " give its provider origins=('https://api.example.com',)"
            )
        for place in served:
            if place in self._by_place:
                origin = "{}://{}".format(*place)
                raise ConfigurationError(f"two managers for {origin}: a request there could carry only one token")
        self._by_place.update(dict.fromkeys(served, manager))
        self._in_the_clear |= in_the_clear

    async def __call__(  # noqa: C901, PLR0912 (one coroutine: another one costs on every request)
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        """Send a request, authorized if it may be. Called by aiohttp, once a hop.

        Raises:
            AuthError: No token could be had; the request was not sent.
            InsecureTransport: It goes by plain http to a host that is served by https, or to a proxy elsewhere.
        """
        url, headers = request.url, request.headers
        # The first origin, and most have one, by two texts that the URL has at hand, since aiohttp has asked for them:
        # a tuple of them and its look-up cost half as much again, hashing and comparing URLs a multiple.
        if url.host_port_subcomponent == self._host and url.scheme == self._scheme:
            manager: TokenManager | None = self._manager
        else:
            manager = self._serving(url)
        if manager is None or AUTHORIZATION in headers:
            return await handler(request)
        if request.proxy is not None:
            _check_proxy(url, request.proxy)
        if CONTENT_LENGTH in headers or TRANSFER_ENCODING in headers:  # there is a body: aiohttp has set one of them
            await own_files(request.body)
        cached = manager._state.cached
        if boottime() >= cached.fast_until:
            cached = await manager._obtain()
        if manager._prover is None:
            # `_send`, but for a coroutine: each costs again whenever the request waits.
            headers[AUTHORIZATION] = cached.authorization
            try:
                response = await handler(request)
            except BaseException as error:
                forget_frames(error)
                raise
            finally:
                try:  # noqa: SIM105 (suppress() costs as much as all of this)
                    del headers[AUTHORIZATION]
                except KeyError:
                    pass
        else:
            response = await _send(request, handler, cached, manager._prover)
        if response.status == _UNAUTHORIZED and _explained(response):
            return await self._again(manager, cached.token, request, response, handler)
        if not cached.accepted:
            manager.accepted(cached.token)
        return response

    def _serving(self, url: URL) -> TokenManager | None:
        """Return whose token goes there; ``None`` = nobody's.

        Raises:
            InsecureTransport: It is plain http to a host that is served by https.
        """
        place = _place(url)
        manager = self._by_place.get(place)
        if manager is None and place in self._in_the_clear:
            raise InsecureTransport(f"plain http to {url.host}: write https, or what you send can be read")
        return manager

    async def _again(
        self,
        manager: TokenManager,
        got_401: Token,
        request: ClientRequest,
        response: ClientResponse,
        handler: ClientHandlerType,
    ) -> ClientResponse:
        """Send a refused request again with another token, if there is one and the request can be repeated."""
        manager.invalidate(got_401)
        for _ in range(_MOST_REPEATS if is_whole(request) else 0):
            try:
                cached = await manager._obtain()
            except AuthError:
                return response
            except BaseException:
                response.close()
                raise
            if cached.token.value == got_401.value:
                return response
            # Before the next one is sent: it may need this one's connection.
            response.release()
            await own_files(request.body)
            got_401 = cached.token
            response = await _send(request, handler, cached, manager._prover)
            if response.status != _UNAUTHORIZED or not _explained(response):
                manager.accepted(got_401, repeat=True)
                return response
            manager.invalidate(got_401, repeat=True)
        return response


_Place: TypeAlias = tuple[str, str | None]
"""An origin as its parts: scheme, and host with any port but the scheme's own, as the ``Host`` header has them.

Without a user's name, a default port or the dot at a name's end, however the request's URL writes them.
"""


def _place(url: URL) -> _Place:
    host = url.host_port_subcomponent
    return url.scheme, None if host is None else host.lower()  # as it came, if the URL was made with encoded=True


def _check_proxy(url: URL, proxy: URL) -> None:
    """Refuse to send a token by plain http to a proxy on another machine, also if it is meant for this one."""
    if url.scheme in {"http", "ws"} and not is_loopback(proxy.host):
        raise InsecureTransport(
            f"plain http by way of the proxy {proxy.host}, which can read what you send: write https, or keep"
            f" {url.host} from the proxy (no_proxy)"
        )


@functools.lru_cache(maxsize=256)  # a pool makes a BearerAuth a request, mostly for the same few origins
def _places(origins: tuple[str, ...]) -> tuple[tuple[_Place, ...], frozenset[_Place]]:
    """Return which origins a token may go to, and which must not be asked in the clear, also by WebSocket."""
    served: dict[_Place, None] = {}
    in_the_clear: set[_Place] = set()
    for origin in map(URL, origins_of(origins)):
        socket = "wss" if origin.scheme == "https" else "ws"  # a WebSocket's URL keeps its scheme
        served.update(dict.fromkeys((_place(origin), _place(origin.with_scheme(socket)))))
        if origin.is_default_port() and not is_loopback(origin.host):
            _, host = _place(origin)
            in_the_clear.update((("http", host), ("ws", host)))
    return tuple(served), frozenset(in_the_clear)


async def _send(
    request: ClientRequest, handler: ClientHandlerType, cached: CachedToken, prover: Prover | None
) -> ClientResponse:
    """Send a request with this token, and a proof if it is bound to a key.

    The token is taken off it again once there is an answer, or none: otherwise
    ``response.request_info`` would show it, and with it the repr of every ``ClientResponseError``. An exception loses
    aiohttp's frames, which hold the serialised headers.
    """
    request.headers[AUTHORIZATION] = cached.authorization
    try:
        return await (handler(request) if prover is None else prover.send(request, handler))
    except BaseException as error:
        forget_frames(error)
        raise
    finally:
        request.headers.popall(AUTHORIZATION, None)


def _explained(response: ClientResponse) -> bool:
    """Return whether a 401 is explained by the token."""
    return challenge.blames_token(response.headers.getall(WWW_AUTHENTICATE, ()))
