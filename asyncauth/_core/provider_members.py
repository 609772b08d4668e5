"""Refuses a provider that can't work, and says what is missing or wrong in its class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asyncauth._http.origin import origin_url
from asyncauth.errors import ConfigurationError
from asyncauth.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FETCH", "REVOKE", "check_members", "check_origins", "origins_of", "shared_identity"]

FETCH = "async def fetch(self, http, previous)"
"""How a provider's method is written."""

REVOKE = "async def revoke(self, http, token, kind)"
"""How the method of a provider that revokes tokens is written."""

_MEMBERS = ("name", "origins", "identity", "fetch")


def check_members(provider: object) -> None:
    """Refuse what is not a provider.

    Raises:
        ConfigurationError: It lacks a member, or its ``fetch`` can't be called as a manager calls it.
    """
    if isinstance(provider, type):
        raise ConfigurationError("TokenManager takes a provider, not its class", advice=f"write {provider.__name__}(…)")
    kind = type(provider).__name__
    if not isinstance(provider, Provider):
        missing = [name for name in _MEMBERS if not hasattr(provider, name)]
        if len(missing) == len(_MEMBERS):
            raise ConfigurationError(f"TokenManager takes a provider, such as Peakly(…), not {kind}")
        if missing:
            names = " and no ".join(missing)
            raise ConfigurationError(
                f"{kind} has no {names}", advice="a provider has name, origins, identity and fetch"
            )
    fetch: Any = getattr(provider, "fetch", None)
    function = getattr(fetch, "__func__", None)
    if not (_takes(function, 3) if inspect.isfunction(function) else _takes_uncached(fetch, 2)):
        raise ConfigurationError(
            f"{kind}.fetch can't be called with a session and the previous token", advice=f"write '{FETCH}'"
        )
    revoke: Any = getattr(provider, "revoke", None)
    if revoke is not None and not _takes_uncached(revoke, 3):
        raise ConfigurationError(
            f"{kind}.revoke can't be called with a session, a token and its kind", advice=f"write '{REVOKE}'"
        )


def origins_of(provider: Provider) -> tuple[str, ...]:
    """Return a provider's ``origins``; a single one may be a str.

    Raises:
        ConfigurationError: They are neither a str nor a collection.
    """
    origins: object = provider.origins
    if isinstance(origins, str):
        return (origins,)
    if not isinstance(origins, Iterable):
        kind = type(origins).__name__
        advice = "write origins = ('https://api.example.com',)"
        raise ConfigurationError(f"the provider's origins are {kind}, not a tuple of str", advice=advice)
    return tuple(origins)


def check_origins(origins: Iterable[str]) -> None:
    """Refuse origins that are not absolute, or have a path: the token would go to the whole host.

    Raises:
        ConfigurationError: One of them is so; the message says how to write it.
    """
    for origin in origins:
        origin_url(origin, "origins")


def _is_of_the_library(provider: object) -> bool:
    """Return whether a provider's class is one of the library's, or derived from one."""
    return any(each.__module__.startswith("asyncauth.providers.") for each in type(provider).__mro__)


def shared_identity(provider: Provider, *, bound: bool) -> str:
    """Return the ``identity`` under which a provider's token is shared with other processes.

    Args:
        provider: The provider.
        bound: Whether its tokens are bound to a key (DPoP).

    Raises:
        ConfigurationError: It has none.
    """
    identity = provider.identity
    if identity is not None:
        return identity
    kind = type(provider).__name__
    if not _is_of_the_library(provider):
        raise ConfigurationError(
            f"a token of {kind} can't be shared: its identity is None",
            advice="set it to a str without secrets that differs wherever the token does",
        )
    whose = "dpop_key=" if bound else "account='…'"
    raise ConfigurationError(
        f"a token of {kind} can't be shared: nothing says whose it is", advice=f"write {kind}(…, {whose})"
    )


def _takes_uncached(function: Callable[..., object], count: int) -> bool:
    """Return whether a function can be called with so many positional arguments, as far as that can be told."""
    if not callable(function):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # nothing is known of it
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


_takes = functools.lru_cache(maxsize=64)(_takes_uncached)  # a pool makes a manager per tenant
