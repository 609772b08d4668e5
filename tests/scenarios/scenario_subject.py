"""What the runner needs of a token manager, and how asyncauth's provides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import ClientMiddlewareType

from asyncauth import BearerAuth, Provider, RefreshPolicy, Token, TokenManager
from asyncauth.clock import Clock
from asyncauth.stores import TokenStore

__all__ = ["Maker", "Managed", "Subject", "kind_of"]

_KINDS = {
    "CredentialsRejected": "refused",
    "TokenEndpointUnavailable": "unavailable",
    "InvalidTokenResponse": "invalid answer",
    "StoreError": "store",
    "LockTimeout": "lock timeout",
    "ManagerClosed": "closed",
    "ConfigurationError": "configuration",
}


def kind_of(error: BaseException) -> str:
    """Return what the scenarios call an error."""
    return _KINDS.get(type(error).__name__, type(error).__name__)


class Subject(Protocol):
    """A token manager under test. Tokens are known by their values."""

    async def get(self) -> str:
        """Return a usable token."""
        ...

    async def refresh(self) -> str:
        """Return a new token, obtained now."""
        ...

    def refuse(self, token: str, *, repeat: bool) -> None:
        """Take note that the API refused this token."""
        ...

    def accept(self, token: str, *, repeat: bool) -> None:
        """Take note that the API accepted this token."""
        ...

    async def enter(self) -> None:
        """Begin to keep the token fresh in the background."""
        ...

    async def leave(self) -> None:
        """End that."""
        ...

    async def close(self) -> None:
        """End everything."""
        ...

    def status(self) -> Mapping[str, Any] | None:
        """Return what the scenarios' ``status`` is compared with; ``None`` = it tells nothing, nothing is compared."""
        ...

    def shown(self) -> str:
        """Return all that it shows of itself: no secret may be in it."""
        ...

    def middleware(self, refused: int | None = None) -> ClientMiddlewareType:
        """Return what puts its token on an aiohttp session's requests.

        Args:
            refused: The status, besides 401, by which the API refuses a token; ``None``: there is none.
        """
        ...


class Maker(Protocol):
    """Makes a manager under test."""

    def __call__(
        self,
        provider: Provider,
        *,
        store: TokenStore | None,
        policy: Mapping[str, Any],
        clock: Clock,
        random: Callable[[], float],
    ) -> Subject:
        """Return one for this provider, on this clock, that takes its random numbers from there."""
        ...


class Managed:
    """asyncauth's own manager, as a `Subject`."""

    def __init__(
        self,
        provider: Provider,
        *,
        store: TokenStore | None,
        policy: Mapping[str, Any],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._manager = TokenManager(
            provider,
            store=store,
            policy=RefreshPolicy(**{"jitter": 0.0, **policy}),
            clock=clock,
            random=random,
        )
        self._known: dict[str, Token] = {}

    def _noted(self, token: Token) -> str:
        self._known[token.value] = token
        return token.value

    async def get(self) -> str:
        return self._noted(await self._manager.token())

    async def refresh(self) -> str:
        return self._noted(await self._manager.refresh())

    def refuse(self, token: str, *, repeat: bool) -> None:
        self._manager.invalidate(self._known.get(token, Token(token)), repeat=repeat)

    def accept(self, token: str, *, repeat: bool) -> None:
        self._manager.accepted(self._known.get(token, Token(token)), repeat=repeat)

    async def enter(self) -> None:
        await self._manager.__aenter__()

    async def leave(self) -> None:
        await self._manager.__aexit__(None, None, None)

    async def close(self) -> None:
        await self._manager.close()

    def status(self) -> Mapping[str, Any]:
        status = self._manager.status()
        error = None if status.last_error is None else status.last_error.partition(":")[0]
        current = self._manager.current
        return {
            **status.as_dict(),
            "current": None if current is None else current.value,
            "last_error": None if error is None else _KINDS.get(error, error),
            "store": status.store if status.store in {None, "ok"} else "trouble",
        }

    def shown(self) -> str:
        return f"{self._manager!r} {self._manager.status()!r}"

    def middleware(self, refused: int | None = None) -> ClientMiddlewareType:
        if refused is None:
            return BearerAuth(self._manager)
        return BearerAuth(self._manager, refused=lambda response: response.status == refused or None)
