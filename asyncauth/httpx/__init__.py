"""httpx clients whose requests are authorized: `async_client` for asyncio, `client` for blocking code.

Needs the extra ``httpx``: ``pip install 'asyncauth[httpx]'``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from yarl import URL

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("asyncauth.httpx needs httpx: pip install 'asyncauth[httpx]'", name=error.name) from None

from asyncauth.errors import ConfigurationError
from asyncauth.httpx.httpx_compat import wrap_transports
from asyncauth.httpx.sides import require_asyncio
from asyncauth.httpx.transport import AsyncBearerTransport, BearerTransport
from asyncauth.manager import engine_of
from asyncauth.session import check_rest, close_managers, managers_of, session_maker

if TYPE_CHECKING:
    from types import TracebackType

    from asyncauth._core.sessions import Http
    from asyncauth._http.answer_rules import Repeat
    from asyncauth.httpx.hop import Refused
    from asyncauth.manager import TokenManager
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["AsyncBearerTransport", "BearerTransport", "async_client", "client"]


def async_client(
    *managers_or_providers: TokenManager | Provider,
    store: TokenStore | None = None,
    http: Http | None = None,
    refused: Refused | None = None,
    repeat: Repeat = "all",
    **httpx_arguments: Any,
) -> httpx.AsyncClient:
    """Return a new ``httpx.AsyncClient`` that authorizes its requests, on asyncio.

    ::

        async with async_client(Peakly(username=..., password=...)) as http: ...

    Wraps each of the client's transports, also those for proxies and ``mounts``, in an `AsyncBearerTransport`.

    Args:
        managers_or_providers: One for each system that the client calls. A provider gets a new manager that is kept
            fresh from the client's first use on, and closed with the client. A manager stays the caller's to close.
        store: Where the managers made here share their tokens with other processes; ``None`` (default): nowhere.
        http: The sessions that the managers made here send token requests with, see `TokenManager`. ``None`` (default):
            aiohttp sessions of their own, with the new client's ``trust_env`` and ``proxy``. ``verify`` and ``cert``
            apply only to the new client: for token requests, pass a function.
        refused: Decides which answers mean that the API does not accept the token, see `AsyncBearerTransport`.
        repeat: Which requests may be sent again, see `AsyncBearerTransport`.
        **httpx_arguments: For ``httpx.AsyncClient``.

    Raises:
        ConfigurationError: See `AsyncBearerTransport` and `TokenManager`; ``store`` or ``http`` is given, and no
            provider; an argument is only `TokenManager`'s, such as ``policy``; or a provider is given with a SOCKS
            proxy, which token requests cannot use.
        InsecureTransport: See `AsyncBearerTransport`.
    """
    check_rest(httpx_arguments)
    managers, made = managers_of(managers_or_providers, store=store, http=http, way=partial(_way_of, httpx_arguments))
    owned = _Owned(made)

    def wrapped(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _OwningTransport(*managers, transport=transport, refused=refused, repeat=repeat, owned=owned)

    client = httpx.AsyncClient(**httpx_arguments)
    wrap_transports(client, wrapped)
    return client


def client(
    *managers_or_providers: TokenManager | Provider,
    store: TokenStore | None = None,
    http: Http | None = None,
    refused: Refused | None = None,
    repeat: Repeat = "all",
    **httpx_arguments: Any,
) -> httpx.Client:
    """Return a new ``httpx.Client`` that authorizes its requests, for code without an event loop.

    ::

        with client(Peakly(username=..., password=...)) as http: ...

    Wraps each of the client's transports, also those for proxies and ``mounts``, in a `BearerTransport`.

    Args:
        managers_or_providers: One for each system that the client calls. A provider gets a new manager, which needs no
            closing.
        store: See `async_client`.
        http: See `async_client`; it must be a function, since each token request runs its own event loop.
        refused: Decides which answers mean that the API does not accept the token, see `BearerTransport`.
        repeat: Which requests may be sent again, see `AsyncBearerTransport`.
        **httpx_arguments: For ``httpx.Client``.

    Raises:
        ConfigurationError: See `async_client`.
        InsecureTransport: See `async_client`.
    """
    check_rest(httpx_arguments)
    managers, _ = managers_of(managers_or_providers, store=store, http=http, way=partial(_way_of, httpx_arguments))
    made = httpx.Client(**httpx_arguments)
    wrap_transports(
        made, lambda transport: BearerTransport(*managers, transport=transport, refused=refused, repeat=repeat)
    )
    return made


class _Owned:
    """The managers that were made for a client: entered on its first use, and closed with it."""

    def __init__(self, managers: list[TokenManager]) -> None:
        self._managers = managers
        self._entered = False

    def enter(self) -> None:
        if not self._entered:
            require_asyncio()
            self._entered = True
            for each in self._managers:
                engine_of(each).open()

    async def close(self) -> None:
        managers, self._managers = self._managers, []
        await close_managers(managers)


class _OwningTransport(AsyncBearerTransport):
    """One of a client's transports. The first used enters the client's managers, the first closed closes them."""

    def __init__(self, *managers: TokenManager, owned: _Owned, **options: Any) -> None:
        super().__init__(*managers, **options)
        self._owned = owned

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._owned.enter()
        return await super().handle_async_request(request)

    async def aclose(self) -> None:
        try:
            await self._owned.close()
        finally:
            await super().aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            await self._owned.close()
        finally:
            await super().__aexit__(exc_type, exc_value, traceback)


def _way_of(httpx_arguments: dict[str, Any]) -> Http | None:
    """Return a maker of aiohttp sessions with the client's proxy settings; ``None``: token requests need no proxy."""
    way: dict[str, Any] = {}
    if httpx_arguments.get("trust_env", True):
        way["trust_env"] = True
    given = httpx_arguments.get("proxy")
    if given is not None:
        proxy = given if isinstance(given, httpx.Proxy) else httpx.Proxy(given)
        if proxy.url.scheme not in {"http", "https"}:
            raise ConfigurationError(
                "token requests can't go through a SOCKS proxy", advice="give http= a function, or pass a TokenManager"
            )
        user, password = proxy.auth or (None, None)
        way["proxy"] = URL(str(proxy.url)).with_user(user).with_password(password)
    return session_maker(**way) if way else None
