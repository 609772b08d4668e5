"""aiohttp sessions whose requests are authorized: a new one, or one that wraps an existing session."""

from __future__ import annotations

import asyncio
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from asyncauth._core.sessions import own_session
from asyncauth._http.aiohttp_compat import middlewares_of, settings_of
from asyncauth.errors import ConfigurationError
from asyncauth.manager import TokenManager, engine_of
from asyncauth.middleware import BearerAuth
from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from asyncauth._core.sessions import Http
    from asyncauth._http.answer_rules import Refused, Repeat
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["client_session", "wrap_session"]

_WAY = frozenset({"trust_env", "proxy", "proxy_auth"})
"""Arguments of ``aiohttp.ClientSession`` that decide which way its requests go."""
_MANAGERS_OWN = ("policy", "clock", "random")
"""Arguments of `TokenManager` alone: no session or client has an argument with one of these names."""


with warnings.catch_warnings():
    # aiohttp warns about subclasses, whose attributes might clash with its own. This one adds a single attribute.
    warnings.simplefilter("ignore", DeprecationWarning)

    class _OwningSession(aiohttp.ClientSession):
        """A session that closes the managers that were made for it."""

        ATTRS = aiohttp.ClientSession.ATTRS | {"asyncauth_managers"}

        asyncauth_managers: tuple[TokenManager, ...] = ()

        async def close(self) -> None:
            managers, self.asyncauth_managers = self.asyncauth_managers, ()
            try:
                await close_managers(managers)
            finally:
                await super().close()


async def close_managers(managers: Collection[TokenManager]) -> None:
    """Close managers together. If the caller is cancelled, all are still closed, and the grace ends."""
    if not managers:
        return
    closings = [asyncio.ensure_future(each.close()) for each in managers]
    try:
        # Unlike gather(), it cancels none of them, so that each has begun when the caller's cancellation arrives here.
        await asyncio.wait(closings)
    finally:
        for closing in closings:
            closing.cancel()
        ends = await asyncio.gather(*closings, return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


def check_rest(arguments: Mapping[str, object]) -> None:
    """Raise if an argument is one that a session or client does not have.

    Args:
        arguments: The arguments for the session or client.

    Raises:
        ConfigurationError: One of them is `TokenManager`'s.
    """
    for name in _MANAGERS_OWN:
        if name in arguments:
            raise ConfigurationError(
                f"{name}= is an argument of TokenManager",
                advice=f"make TokenManager(…, {name}=…), and pass that instead of the provider",
            )


def managers_of(
    managers_or_providers: Iterable[TokenManager | Provider],
    *,
    store: TokenStore | None,
    http: Http | None,
    way: Callable[[], Http | None],
) -> tuple[list[TokenManager], list[TokenManager]]:
    """Return the managers of a session or client, and those of them that are made here: one per provider.

    Args:
        managers_or_providers: Managers, and providers that need one.
        store: The store of the managers that are made here; ``None``: no store.
        http: The sessions that send their token requests, see `TokenManager`; ``None``: the result of ``way``.
        way: Returns a default for ``http``.

    Raises:
        ConfigurationError: ``store`` or ``http`` is given, and no provider; or see `TokenManager`.
    """
    made: list[TokenManager] = []
    managers: list[TokenManager] = []
    for each in managers_or_providers:
        manager = each if isinstance(each, TokenManager) else TokenManager(each, store=store, http=http or way())
        managers.append(manager)
        if manager is not each:
            made.append(manager)
    for name, given in (("store", store), ("http", http)):
        if given is not None and not made:
            raise ConfigurationError(
                f"{name}= is for providers only", advice=f"for a manager, write TokenManager(…, {name}=…)"
            )
    return managers, made


def client_session(
    *managers_or_providers: TokenManager | Provider,
    store: TokenStore | None = None,
    http: Http | None = None,
    refused: Refused | None = None,
    repeat: Repeat = "all",
    **aiohttp_kwargs: Any,
) -> aiohttp.ClientSession:
    """Return a new ``aiohttp.ClientSession`` that authorizes its requests.

    ::

        async with client_session(Peakly(username=..., password=...)) as http: ...

    Call it where you would make the session: in a running event loop.

    Args:
        managers_or_providers: One for each system that the session calls. A provider gets a new manager that is kept
            fresh, and closed, with the session. A manager stays the caller's to close.
        store: Where the managers made here share their tokens with other processes; ``None`` (default): nowhere. The
            session neither opens nor closes it.
        http: What the managers made here send token requests with, see `TokenManager`. ``None`` (default): sessions of
            their own, with the new session's ``trust_env``, ``proxy`` and ``proxy_auth``. These do not use the new
            session's ``connector``: for its certificates and other settings, pass a function.
        refused: Decides which answers mean that the API does not accept the token, see `BearerAuth`.
        repeat: Which requests may be sent again, see `BearerAuth`.
        **aiohttp_kwargs: For ``aiohttp.ClientSession``. ``middlewares`` run outside of the authorization.

    Raises:
        ConfigurationError: See `BearerAuth` and `TokenManager`; ``store`` or ``http`` is given, and no provider; or an
            argument is only `TokenManager`'s, such as ``policy``.
        InsecureTransport: See `BearerAuth`.
    """
    check_rest(aiohttp_kwargs)
    middlewares: Any = aiohttp_kwargs.pop("middlewares", ())
    if not hasattr(middlewares, "__iter__"):
        kind = type(middlewares).__name__
        raise ConfigurationError(
            f"middlewares= takes a sequence of middlewares, not {kind}", advice="leave it out if there are none"
        )
    managers, made = managers_of(managers_or_providers, store=store, http=http, way=partial(_way_of, aiohttp_kwargs))
    auth = BearerAuth(*managers, refused=refused, repeat=repeat)
    session = _OwningSession(middlewares=(*middlewares, auth), **aiohttp_kwargs)
    for manager in made:
        engine_of(manager).open()
    session.asyncauth_managers = tuple(made)
    return session


def _way_of(aiohttp_kwargs: dict[str, Any]) -> Http | None:
    """Return a maker of sessions that use the API session's proxy settings; ``None``: it has none."""
    way = {name: value for name, value in aiohttp_kwargs.items() if name in _WAY and value}
    return session_maker(**way) if way else None


def session_maker(**options: Any) -> Http:
    """Return a function that makes sessions for token requests, with further ``aiohttp.ClientSession`` arguments."""
    return partial(own_session, RefreshPolicy().deadline / 2, **options)


def wrap_session(
    session: aiohttp.ClientSession, *managers: TokenManager, refused: Refused | None = None, repeat: Repeat = "all"
) -> aiohttp.ClientSession:
    """Return a session that uses the given one's connections and cookies, and authorizes its requests.

    The given session is not changed. Closing the returned session closes neither the given one's connections nor the
    managers. The returned session works as long as the given one is open.

    Args:
        session: The session. Its headers, base URL, timeouts, cookie jar, tracing and middlewares also apply to the
            returned one; the authorization runs innermost.
        managers: One for each system that the session calls.
        refused: Decides which answers mean that the API does not accept the token, see `BearerAuth`.
        repeat: Which requests may be sent again, see `BearerAuth`.

    Raises:
        ConfigurationError: The session is closed; its class is derived from ``aiohttp.ClientSession``, so that the
            returned session would behave differently; or see `BearerAuth`.
        InsecureTransport: See `BearerAuth`.
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"wrap_session takes an aiohttp.ClientSession, not {type(session).__name__}")
    if type(session) not in {aiohttp.ClientSession, _OwningSession}:
        raise ConfigurationError(
            f"wrap_session would lose what {type(session).__name__} does beyond aiohttp.ClientSession",
            advice="make it with middlewares=(BearerAuth(manager),), or pass that to each request",
        )
    auth = BearerAuth(*managers, refused=refused, repeat=repeat)
    if session.closed:
        raise ConfigurationError("wrap_session takes a session that is open")
    with warnings.catch_warnings():
        # aiohttp may have deprecated some of the arguments since the session was made with them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return aiohttp.ClientSession(
            **settings_of(session), connector_owner=False, middlewares=(*middlewares_of(session), auth)
        )
