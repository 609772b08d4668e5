"""Events: frozen records of what happens to a token, for functions passed to `TokenManager.add_listener`.

::

    RefreshStarted ──► TokenRequestFailed*  ──► RefreshSucceeded | TokenAdopted | RefreshFailed

Every refresh ends with exactly one of the last three. No event holds a secret.
"""

from __future__ import annotations

import contextvars
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import attrs

from asyncauth._base.printable import name_of
from asyncauth.status import State

__all__ = [
    "CoolDown",
    "Event",
    "RefreshEnded",
    "RefreshFailed",
    "RefreshStarted",
    "RefreshSucceeded",
    "RefreshTokenUnsaved",
    "RequestWaited",
    "StoreFailed",
    "StoreRecovered",
    "TokenAdopted",
    "TokenRejected",
    "TokenRequestFailed",
]

Cause: TypeAlias = Literal["credentials", "retry_after", "refusals"]


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to one manager's token.

    Attributes:
        provider: The provider's name, safe for a log: printable, at most 200 characters.
        account: 8 hex digits of a digest of the provider's ``identity``: in every process the same for the same
            account, and different for another one; ``None``: the provider has no identity.
        tenant: The manager's key in its `ManagerPool`, unchanged; ``None``: it is in no pool. In logs and traces, use
            `tenant_name`.
        step: The provider's own name for its token request, such as ``"loginToken"``; ``None`` (default): it has none.
        intermediate: Whether the token is only the credential of a later step of the same chain, so that no API request
            carries it (default ``False``).
        at: When it happened, in Unix epoch seconds.
    """

    provider: str
    account: str | None = None
    tenant: Hashable = attrs.field(default=None, repr=lambda key: name_of(repr(key)))
    step: str | None = None
    intermediate: bool = False
    at: float

    @property
    def tenant_name(self) -> str | None:
        """The tenant's key as text that is safe for a log: printable, at most 200 characters; ``None``: no tenant."""
        return None if self.tenant is None else name_of(self.tenant)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain values, for JSON: its class as ``"event"``, and `tenant_name` as ``"tenant"``."""
        values = attrs.asdict(self, filter=lambda field, _: field.name != "callers", recurse=False)
        values["tenant"] = self.tenant_name
        return {"event": type(self).__name__, **values}


@attrs.frozen(kw_only=True)
class RefreshStarted(Event):
    """A refresh started. All callers that need a token share it.

    Attributes:
        state: The token's state: ``empty``, ``fresh`` (`TokenManager.refresh` was called), ``stale`` or ``spent``.
    """

    state: State


@attrs.frozen(kw_only=True)
class TokenRequestFailed(Event):
    """One try to obtain a token failed. The same refresh may make another.

    Attributes:
        error: The class of the error, such as ``"TokenEndpointUnavailable"``.
        message: The error's text.
        status: The HTTP status of the answer; ``None``: no answer arrived.
        upstream: Whether another manager failed, which supplies the credential and has reported the failure itself.
        retry_in: Seconds until the next try may be made.
        usable_for: Seconds for which the cached token is still usable; 0.0: no token is usable, ``None``: its lifetime
            is unknown.
        waiting: How many callers wait for a token (default 0).
        waiting_for: Seconds that the first of them has waited; ``None`` (default): no caller waits.
    """

    error: str
    message: str
    status: int | None
    upstream: bool
    retry_in: float
    usable_for: float | None
    waiting: int = 0
    waiting_for: float | None = None


@attrs.frozen(kw_only=True)
class RefreshEnded(Event):
    """A refresh ended: the fields that all three outcomes share.

    Attributes:
        seconds: How long it took, with waits for a lock and between tries.
        waiters: How many callers waited for it until the end.
        callers: The contexts (`contextvars.copy_context`) of the first 128 of these callers, for tracing. Empty
            (default) where no listener was added.
    """

    seconds: float
    waiters: int
    callers: tuple[contextvars.Context, ...] = attrs.field(default=(), repr=False, eq=False)


@attrs.frozen(kw_only=True)
class RefreshSucceeded(RefreshEnded):
    """The provider returned a token.

    Attributes:
        fingerprint: The token's `Token.fingerprint`, the same in every process.
        expires_at: When it expires, in Unix epoch seconds; ``None``: unknown.
        usable_for: Seconds for which it is usable; ``None``: its lifetime is unknown.
    """

    fingerprint: str
    expires_at: float | None
    usable_for: float | None


@attrs.frozen(kw_only=True)
class TokenAdopted(RefreshEnded):
    """The manager adopted another process' token from the store, without a request to the provider.

    Attributes:
        fingerprint: The token's `Token.fingerprint`, the same in every process.
        expires_at: When it expires, in Unix epoch seconds; ``None``: unknown.
        usable_for: Seconds for which it is usable; ``None``: its lifetime is unknown.
    """

    fingerprint: str
    expires_at: float | None
    usable_for: float | None


@attrs.frozen(kw_only=True)
class RefreshFailed(RefreshEnded):
    """A refresh ended without a token. A token that is still usable stays in use.

    Attributes:
        error: The class of the error that callers received; ``"CancelledError"``: the manager was closed, or the event
            loop ended.
        message: The error's text.
    """

    error: str
    message: str


@attrs.frozen(kw_only=True)
class TokenRejected(Event):
    """The API answered a request that carried the current token with a 401.

    Attributes:
        fingerprint: The token's `Token.fingerprint`, the same in every process.
        dropped: Whether the token was dropped. It stays in use if the API answers new tokens with 401, too.
    """

    fingerprint: str
    dropped: bool


@attrs.frozen(kw_only=True)
class CoolDown(Event):
    """The manager waits before it does something again.

    Attributes:
        cause: ``credentials``: the token endpoint rejected the credential, which is not sent until then.
            ``retry_after``: the server asked for a wait. ``refusals``: the API answers new tokens with 401, too, and
            its 401s drop no token until then.
        seconds: How long it waits.
    """

    cause: Cause
    seconds: float


@attrs.frozen(kw_only=True)
class RequestWaited(Event):
    """A caller of `TokenManager.token`, or a request, had to wait for a token. Sent only if a listener was added.

    Attributes:
        seconds: How long it waited.
        error: The class of the error that it received; ``None``: it received a token.
    """

    seconds: float
    error: str | None


@attrs.frozen(kw_only=True)
class StoreFailed(Event):
    """A call to the shared store failed; the manager continues without it. Sent once per minute while this lasts.

    Attributes:
        trouble: Which call failed, and how.
    """

    trouble: str


@attrs.frozen(kw_only=True)
class StoreRecovered(Event):
    """The shared store works again."""


@attrs.frozen(kw_only=True)
class RefreshTokenUnsaved(Event):
    """A new refresh token could not be saved in the store.

    Attributes:
        trouble: Which call failed, and how.
        lost: Whether the manager gave up because it was closed. If not, it tries again in the background.
    """

    trouble: str
    lost: bool
