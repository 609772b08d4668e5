"""aiohttp sessions whose requests are authorized: a new one, or one around a session that somebody else made."""

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
"""Arguments of ``aiohttp.ClientSession`` that say which way its requests go."""
_MANAGERS_OWN = ("policy", "clock", "random")
"""Arguments of `TokenManager` alone: no session or client takes one of these names."""


with warnings.catch_warnings():
    # aiohttp discourages subclasses, whose attributes might clash with its own: this one has a single new one.
    warnings.simplefilter("ignore", DeprecationWarning)

    class _OwningSession(aiohttp.ClientSession):
        """A session that closes the managers which were made for it."""

        ATTRS = aiohttp.ClientSession.ATTRS | {"asyncauth_managers"}

        asyncauth_managers: tuple[TokenManager, ...] = ()

        async def close(self) -> None:
            managers, self.asyncauth_managers = self.asyncauth_managers, ()
            try:
                await close_managers(managers)
            finally:
                await super().close()


async def close_managers(managers: Collection[TokenManager]) -> None:
    """Close managers, all together: who is cancelled during one's grace leaves no other open."""
    try:
        ends = await asyncio.gather(*(each.close() for each in managers), return_exceptions=True)
    finally:
        for each in managers:
            if not engine_of(each).closed:  # cancelled before it began
                await each.close()
    for end in ends:
        if end is not None:
            raise end


def check_rest(arguments: Mapping[str, object]) -> None:
    """Refuse arguments that a session or client would not know.

    Args:
        arguments: What is for the session or client.

    Raises:
        ConfigurationError: One is `TokenManager`'s.
    """
    for name in _MANAGERS_OWN:
        if name in arguments:
            raise ConfigurationError(
                f"{name}= is a manager's: make the manager, TokenManager(…, {name}=…), and give it in the provider's"
                " place"
            )


def managers_of(
    managers_or_providers: Iterable[TokenManager | Provider],
    *,
    store: TokenStore | None,
    http: Http | None,
    way: Callable[[], Http | None],
) -> tuple[list[TokenManager], list[TokenManager]]:
    """Return the managers of a session or client, and those of them that are made for it, one for each provider.

    Args:
        managers_or_providers: As given.
        store: For those that are made, as given.
        http: The same.
        way: Returns what takes the place of ``http``, where none is given.

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
            raise ConfigurationError(f"{name}= is for providers; a manager has its own: TokenManager(…, {name}=…)")
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
        managers_or_providers: One for each system that is called. A provider gets a manager that is kept fresh, and
            closed, with the session; a manager stays the caller's.
        store: Where the managers that are made here share their tokens with other processes; ``None`` (default) = with
            none. So one object that a worker opens when it starts, and closes when it ends, is all it needs.
        http: What the managers that are made here send token requests with, see `TokenManager`. ``None`` (default):
            sessions of their own, with the ``trust_env``, ``proxy`` and ``proxy_auth`` of the new session. Certificates
            and whatever else its ``connector`` has are the new session's alone: give ``http`` a function.
        refused: Which answers refuse the token, see `BearerAuth`.
        repeat: Which requests may be sent again, see `BearerAuth`.
        **aiohttp_kwargs: For ``aiohttp.ClientSession``. ``middlewares`` run outside of the authorization.

    Raises:
        ConfigurationError: See `BearerAuth` and `TokenManager`; ``store`` or ``http`` is given, and no provider; or an
            argument is `TokenManager`'s alone, such as ``policy``.
        InsecureTransport: See `BearerAuth`.
    """
    check_rest(aiohttp_kwargs)
    middlewares: Any = aiohttp_kwargs.pop("middlewares", ())
    if not hasattr(middlewares, "__iter__"):
        kind = type(middlewares).__name__
        raise ConfigurationError(f"middlewares= takes a sequence of middlewares, or is left out, not {kind}")
    managers, made = managers_of(managers_or_providers, store=store, http=http, way=partial(_way_of, aiohttp_kwargs))
    auth = BearerAuth(*managers, refused=refused, repeat=repeat)
    session = _OwningSession(middlewares=(*middlewares, auth), **aiohttp_kwargs)
    for manager in made:
        engine_of(manager).open()
    session.asyncauth_managers = tuple(made)
    return session


def _way_of(aiohttp_kwargs: dict[str, Any]) -> Http | None:
    """Return what makes sessions for token requests that go the way of the API's; ``None``: it has none of its own."""
    way = {name: value for name, value in aiohttp_kwargs.items() if name in _WAY and value}
    return session_maker(**way) if way else None


def session_maker(**options: Any) -> Http:
    """Return what makes sessions for token requests, with further arguments of ``aiohttp.ClientSession``."""
    return partial(own_session, RefreshPolicy().deadline / 2, **options)


def wrap_session(
    session: aiohttp.ClientSession, *managers: TokenManager, refused: Refused | None = None, repeat: Repeat = "all"
) -> aiohttp.ClientSession:
    """Return a session like the given one, on its connections and cookies, that authorizes its requests.

    The given session is left as it is, and so are both its connections and the managers when the returned one is
    closed. The returned one works as long as the given one is open.

    Args:
        session: The session: its headers, base URL, timeouts, cookie jar, tracing and middlewares are kept; ours
            runs innermost.
        managers: One for each system that is called.
        refused: Which answers refuse the token, see `BearerAuth`.
        repeat: Which requests may be sent again, see `BearerAuth`.

    Raises:
        ConfigurationError: The session is closed; it is an object of a class derived from ``aiohttp.ClientSession``,
            whose behaviour the returned one would not have; or see `BearerAuth`.
        InsecureTransport: See `BearerAuth`.
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigurationError(f"wrap_session takes an aiohttp.ClientSession, not {type(session).__name__}")
    if type(session) not in {aiohttp.ClientSession, _OwningSession}:
        raise ConfigurationError(
            f"wrap_session would lose what {type(session).__name__} does beyond aiohttp.ClientSession: make it with"
            " middlewares=(BearerAuth(manager),), or pass that to each request"
        )
    auth = BearerAuth(*managers, refused=refused, repeat=repeat)
    if session.closed:
        raise ConfigurationError("wrap_session takes a session that is open")
    with warnings.catch_warnings():
        # Arguments that aiohttp has come to deprecate since the session was made with them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return aiohttp.ClientSession(
            **settings_of(session), connector_owner=False, middlewares=(*middlewares_of(session), auth)
        )
