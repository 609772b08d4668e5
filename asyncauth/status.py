"""Snapshots of managers and pools, and the outcome of a revocation, for people and health checks."""

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
        provider: The provider's name, safe for a log: printable, at most 200 characters.
        state: ``empty`` (no token yet), ``fresh``, ``stale`` (usable; renewal is due) or ``spent`` (unusable).
        refreshing: Whether a refresh is in progress.
        cooling_down: Whether the manager waits out a rejected credential, a ``Retry-After``, or an API that answers new
            tokens with 401, too.
        seconds_left: Seconds for which the token is still usable; ``None``: no token, or lifetime unknown.
        next_refresh_in: Seconds until the next refresh is due; ``None``: none is planned.
        last_success_at: When a token was last obtained, in Unix epoch seconds; ``None``: never.
        last_error: Class and text of the last failure since then; ``None``: nothing failed.
        refreshes: How many tokens were fetched.
        adoptions: How many tokens were adopted from other processes, through the store.
        store: ``"ok"``, or the shared store's trouble; ``None``: no store.
        failures: How many tries to obtain a token failed.
        rejections: How many tokens were dropped for an API 401.
        waits: How many callers had to wait for a token.
        waiting: How many callers wait now.
        waiting_for: Seconds that the first of them has waited; ``None``: no caller waits.
        fingerprint: `Token.fingerprint` of the cached token, the same in every process; ``None``: no token.
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
        """Whether a token is usable, or nothing failed yet. A token that was not requested yet counts as healthy."""
        return self.state in _USABLE or self.last_error is None

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values, for JSON."""
        return {**attrs.asdict(self), "healthy": self.healthy}


@attrs.frozen(kw_only=True)
class PoolStatus:
    """A snapshot of a `ManagerPool`, without secrets. A tenant's key does not count as a secret.

    Attributes:
        managers: How many managers are open.
        max_size: How many may be open; ``None``: no limit.
        states: How many of them are ``empty``, ``fresh``, ``stale`` and ``spent``: see `Status`.
        limit: How many token requests may be in progress at the same time, per event loop.
        requesting: How many token requests are in progress.
        queued: How many refreshes wait for a slot.
        waiting: How many callers wait for a token.
        waiting_for: Seconds that the first of them has waited; ``None``: no caller waits.
        made: How many managers were made.
        closed: How many managers were closed because they were idle, or to make room; some may be open again.
        failing: Class and text of the last error, by key, of at most 10 tenants whose last refresh failed.
        failures: How many tenants' last refresh failed.
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
        """Whether a tenant has a usable token, or none failed: one wrong password does not make a pool unhealthy."""
        return not self.failures or any(self.states.get(state, 0) for state in _USABLE)

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values, for JSON; tenants' keys become printable text."""
        failing = {name_of(key): error for key, error in self.failing.items()}
        states = dict(self.states)
        return {**attrs.asdict(self, recurse=False), "states": states, "failing": failing, "healthy": self.healthy}


@attrs.frozen(kw_only=True)
class TokenRevocation:
    """The outcome of revoking one token. Holds no secret.

    Attributes:
        kind: ``"refresh_token"`` or ``"access_token"``.
        provider: The name of the token's provider, safe for a log.
        fingerprint: `Token.fingerprint` of an access token; ``None``: it is a refresh token.
        expires_at: When it expires without revocation, in Unix epoch seconds; ``None``: unknown.
        error: Class and text of why it could not be revoked; ``None`` (default): it was.
    """

    kind: TokenKind
    provider: str
    fingerprint: str | None
    expires_at: float | None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Revocation:
    """The outcome of `TokenManager.revoke`. Holds no secret.

    Attributes:
        tokens: Each token that was to be revoked, in the order of the tries; a chain's later steps come first.
        store: Why the entry may still be in the shared store; ``None`` (default): it was deleted, or no store is used.
    """

    tokens: tuple[TokenRevocation, ...] = ()
    store: str | None = None

    @property
    def revoked(self) -> tuple[TokenRevocation, ...]:
        """The tokens that the server has revoked."""
        return tuple(each for each in self.tokens if each.error is None)

    @property
    def remaining(self) -> tuple[TokenRevocation, ...]:
        """The tokens that may still be used, until their ``expires_at``."""
        return tuple(each for each in self.tokens if each.error is not None)

    @property
    def complete(self) -> bool:
        """Whether nothing remains: no token, and no entry in the store."""
        return not self.remaining and self.store is None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values, for JSON."""
        return {**attrs.asdict(self), "complete": self.complete}
