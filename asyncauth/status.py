"""A manager's state, and what became of its tokens when they were revoked: for people and health checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from asyncauth._base.printable import name_of, printable
from asyncauth.provider import TokenKind

__all__ = ["PoolStatus", "Revocation", "State", "Status", "TokenRevocation"]

State = Literal["empty", "fresh", "stale", "spent"]

_USABLE: tuple[State, ...] = ("fresh", "stale")


@attrs.frozen(kw_only=True)
class Status:
    """A snapshot of a `TokenManager`, without secrets.

    Attributes:
        provider: The provider's name, as a log may show it: printable, 200 characters at most.
        state: ``empty`` (no token yet), ``fresh``, ``stale`` (usable; renewal is due) or ``spent`` (unusable).
        refreshing: Whether a refresh is under way.
        cooling_down: Whether a refused credential, a ``Retry-After``, or an API that refuses fresh tokens as well
            is being waited out.
        seconds_left: Seconds for which the token is still usable; ``None`` = no token, or lifetime unknown.
        next_refresh_in: Seconds until the next refresh is due; ``None``: none is foreseen.
        last_success_at: When a token was last obtained, in Unix epoch seconds; ``None`` = never.
        last_error: Class and text of the failure since then; ``None``: none failed.
        refreshes: How many tokens were fetched.
        adoptions: How many were taken over from other processes, through the store.
        store: ``"ok"``, or what the shared store's trouble is; ``None`` = there is no store.
        failures: How many tries to obtain one failed.
        rejections: How many times the API refused a token and it was dropped.
        waits: How many callers had to wait for a token.
        waiting: How many are waiting now.
        waiting_for: Seconds for which the first of them has waited; ``None``: no caller waits.
        fingerprint: `Token.fingerprint` of the held token, the same in every process; ``None`` = no token.
    """

    provider: str
    state: State
    refreshing: bool
    cooling_down: bool
    seconds_left: float | None
    next_refresh_in: float | None
    last_success_at: float | None
    last_error: str | None
    refreshes: int
    adoptions: int
    store: str | None
    failures: int
    rejections: int
    waits: int
    waiting: int
    waiting_for: float | None = None
    fingerprint: str | None

    @property
    def healthy(self) -> bool:
        """Whether a request made now would have a token: one is usable, or nothing has failed yet."""
        return self.state in _USABLE or self.last_error is None

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values, for JSON."""
        return {**attrs.asdict(self), "healthy": self.healthy}


@attrs.frozen(kw_only=True)
class PoolStatus:
    """A snapshot of a `ManagerPool`, without secrets (a tenant's key is none).

    Attributes:
        managers: How many managers are open.
        max_size: How many may be; ``None`` = any number.
        states: How many of them are ``empty``, ``fresh``, ``stale`` and ``spent``: see `Status`.
        limit: How many token requests may be under way at the same time, on each event loop.
        requesting: How many are.
        queued: How many refreshes wait for their turn.
        waiting: How many callers wait for a token.
        waiting_for: Seconds for which the first of them has waited; ``None``: no caller waits.
        made: How many managers were made.
        closed: How many were closed, as idle ones or for others' sake; some may have been reopened.
        failing: The last error, class and text, of tenants whose last refresh failed, by key: at most 10 of them.
        failures: How many such tenants there are.
    """

    managers: int
    max_size: int | None
    states: Mapping[State, int]
    limit: int
    requesting: int
    queued: int
    waiting: int
    waiting_for: float | None = None
    made: int
    closed: int
    failing: Mapping[Any, str] = attrs.field(repr=lambda failing: printable(repr(failing)))
    failures: int

    @property
    def healthy(self) -> bool:
        """Whether a tenant has a usable token, or none has failed: a tenant's wrong password is its own."""
        return not self.failures or any(self.states.get(state, 0) for state in _USABLE)

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values, for JSON; keys of tenants as printable text."""
        failing = {name_of(key): error for key, error in self.failing.items()}
        states = dict(self.states)
        return {**attrs.asdict(self, recurse=False), "states": states, "failing": failing, "healthy": self.healthy}


@attrs.frozen(kw_only=True)
class TokenRevocation:
    """What became of one token when it was to be revoked. Holds no secret.

    Attributes:
        kind: ``"refresh_token"`` or ``"access_token"``.
        provider: Whose it is: the provider's name, as a log may show it.
        fingerprint: `Token.fingerprint` of an access token; ``None``: it is a refresh token.
        expires_at: When it ends by itself, in Unix epoch seconds; ``None``: unknown.
        error: Class and text of why it could not be revoked; ``None``: it was.
    """

    kind: TokenKind
    provider: str
    fingerprint: str | None
    expires_at: float | None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Revocation:
    """What `TokenManager.revoke` has done. Holds no secret.

    Attributes:
        tokens: Each token that was to be revoked, in the order in which that was tried; a chain's later steps first.
        store: Why the entry may still be in the shared store; ``None``: it is not, or there is no store.
    """

    tokens: tuple[TokenRevocation, ...] = ()
    store: str | None = None

    @property
    def revoked(self) -> tuple[TokenRevocation, ...]:
        """The tokens that the server has revoked."""
        return tuple(each for each in self.tokens if each.error is None)

    @property
    def remaining(self) -> tuple[TokenRevocation, ...]:
        """The tokens that anyone who has them may use, until their ``expires_at``."""
        return tuple(each for each in self.tokens if each.error is not None)

    @property
    def complete(self) -> bool:
        """Whether nothing remains: no token, and no entry in the store."""
        return not self.remaining and self.store is None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {**attrs.asdict(self), "complete": self.complete}
