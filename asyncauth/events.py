"""What happens to a token, as frozen records for listeners: `TokenManager.add_listener`.

::

    RefreshStarted ──► TokenRequestFailed*  ──► RefreshSucceeded | TokenAdopted | RefreshFailed

Every refresh ends with exactly one of the three. No event holds a secret.
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
        provider: The provider's name, as a log may show it: printable, 200 characters at most.
        account: 8 hex digits of a digest of the provider's ``identity``: the same for the same account in every
            process, another for another one; ``None`` = the provider has no identity.
        tenant: The manager's key in its `ManagerPool`, as it is; ``None`` = it is in none. For a log or a trace take
            `tenant_name`.
        step: The provider's own name of its token request, such as ``"loginToken"``; ``None`` (default) = it has none.
        intermediate: Whether the token is only the credential of a later step of the same chain, so that no API request
            carries it: the manager of that step made this one. Default ``False``.
        at: When, in Unix epoch seconds.
    """

    provider: str
    account: str | None = None
    tenant: Hashable = attrs.field(default=None, repr=lambda key: name_of(repr(key)))
    step: str | None = None
    intermediate: bool = False
    at: float

    @property
    def tenant_name(self) -> str | None:
        """The tenant's key as text that a log may show: printable, 200 characters at most; ``None`` = no tenant."""
        return None if self.tenant is None else name_of(self.tenant)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain values, for JSON: its class as ``"event"``, the tenant as `tenant_name`."""
        values = attrs.asdict(self, filter=lambda field, _: field.name != "callers", recurse=False)
        values["tenant"] = self.tenant_name
        return {"event": type(self).__name__, **values}


@attrs.frozen(kw_only=True)
class RefreshStarted(Event):
    """A refresh got under way: the one that all callers share.

    Attributes:
        state: What the token was: ``empty``, ``fresh`` (somebody called `TokenManager.refresh`), ``stale`` or
            ``spent``.
    """

    state: State


@attrs.frozen(kw_only=True)
class TokenRequestFailed(Event):
    """One try to obtain a token failed. The same refresh may make another.

    Attributes:
        error: The class of the error, ``"TokenEndpointUnavailable"``.
        message: Its text.
        status: The HTTP status of the answer; ``None``: none came.
        upstream: Whether it was the failure of another manager, which supplies the credential and has told of it.
        retry_in: Seconds until the next try may be made.
        usable_for: Seconds for which the held token is still usable; 0.0 = there is no usable one, ``None`` = its
            lifetime is unknown.
        waiting: How many callers wait for a token.
        waiting_for: Seconds for which the first of them has waited; ``None``: no caller waits.
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
    """A refresh ended: what its three endings share.

    Attributes:
        seconds: How long it took, waits for a lock and between tries included.
        waiters: How many callers waited for it to the end.
        callers: The contexts (`contextvars.copy_context`) of callers that waited, the first 128: what they were
            doing, for tracing. Kept only where somebody listens.
    """

    seconds: float
    waiters: int
    callers: tuple[contextvars.Context, ...] = attrs.field(default=(), repr=False, eq=False)


@attrs.frozen(kw_only=True)
class RefreshSucceeded(RefreshEnded):
    """The provider gave a token.

    Attributes:
        fingerprint: The token's `Token.fingerprint`, the same in every process.
        expires_at: When it ends, in Unix epoch seconds; ``None`` = unknown.
        usable_for: Seconds for which it is usable; ``None`` = its lifetime is unknown.
    """

    fingerprint: str
    expires_at: float | None
    usable_for: float | None


@attrs.frozen(kw_only=True)
class TokenAdopted(RefreshEnded):
    """A token that another process had obtained was taken over from the store; nothing was asked of the provider.

    Attributes:
        fingerprint: As in `RefreshSucceeded`.
        expires_at: When it ends, in Unix epoch seconds; ``None`` = unknown.
        usable_for: Seconds for which it is usable; ``None`` = its lifetime is unknown.
    """

    fingerprint: str
    expires_at: float | None
    usable_for: float | None


@attrs.frozen(kw_only=True)
class RefreshFailed(RefreshEnded):
    """A refresh ended without a token. A token that is still usable stays in use.

    Attributes:
        error: The class of the error that callers got; ``"CancelledError"`` = the manager was closed, or the event
            loop ended.
        message: Its text.
    """

    error: str
    message: str


@attrs.frozen(kw_only=True)
class TokenRejected(Event):
    """The API refused the current token (401).

    Attributes:
        fingerprint: As in `RefreshSucceeded`.
        dropped: Whether the token was dropped. If not, fresh tokens are refused as well: this one stays in use.
    """

    fingerprint: str
    dropped: bool


@attrs.frozen(kw_only=True)
class CoolDown(Event):
    """Something is not tried again for a while.

    Attributes:
        cause: ``credentials`` (the server rejected them: it is not asked again), ``retry_after`` (it asked to be left
            alone for that long) or ``refusals`` (the API refuses fresh tokens as well: its refusals change nothing).
        seconds: For how long.
    """

    cause: Cause
    seconds: float


@attrs.frozen(kw_only=True)
class RequestWaited(Event):
    """A caller of `TokenManager.token`, or a request, had to wait for a token. Told only where somebody listens.

    Attributes:
        seconds: For how long.
        error: The class of the error that it got; ``None`` = it got a token.
    """

    seconds: float
    error: str | None


@attrs.frozen(kw_only=True)
class StoreFailed(Event):
    """The shared store can't be used; the manager goes on without it. Told once a minute while it lasts.

    Attributes:
        trouble: Which call failed, and how.
    """

    trouble: str


@attrs.frozen(kw_only=True)
class StoreRecovered(Event):
    """The shared store serves again."""


@attrs.frozen(kw_only=True)
class RefreshTokenUnsaved(Event):
    """A new refresh token could not be saved in the store.

    Attributes:
        trouble: Which call failed, and how.
        lost: Whether it is given up, since the manager was closed. If not, saving is tried again in the background.
    """

    trouble: str
    lost: bool
