"""What one try of a refresh is, from the manager that makes it to the endpoint that sends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from asyncauth.clock import SYSTEM_CLOCK, Clock
from asyncauth.errors import CredentialsRejected

if TYPE_CHECKING:
    from asyncauth.errors import AuthError

__all__ = ["RequestContext", "current_request_context", "set_request_context"]


@attrs.define(eq=False)
class RequestContext:
    """One try of a refresh.

    Attributes:
        clock: The manager's.
        sent_at: When the last token request was sent, in seconds of ``clock.monotonic()``; ``None`` = none was.
        credential_rejected: A remembered rejection: if the same credential would be sent again, this is raised instead.
        server_now: The server's clock when it answered last, by the ``Date`` header, in Unix epoch seconds.
        annotate: Adds to an error what it does not say yet of the endpoint that is asked; ``None`` = none was.
        unanswered: Whether the last token request may have reached the server and no answer came that can be read.
        spends_refresh_token: Whether that request sent the previous token's refresh token, and there is another way
            to a token: unanswered, it must not be sent again.
        refresh_token_rejected: Whether the server rejected that refresh token: it is of no more use.
        dpop_nonce: The ``DPoP-Nonce`` header of the server's last answer (RFC 9449 §8), if it had one.
        mark_of: Makes of a credential what a shared store may know it by; ``None``: there is no store.
        rejected: A mark: another process had this credential rejected, and it is not sent either.
        mark: The mark of the credential that was rejected last, here or elsewhere.
        release: Gives a shared store's lock back before the end, if one is held: a provider calls it before it waits
            for a person. ``None`` = no lock is held.
    """

    clock: Clock = SYSTEM_CLOCK
    sent_at: float | None = None
    credential_rejected: CredentialsRejected | None = None
    server_now: float | None = None
    annotate: Callable[[AuthError], AuthError] | None = None
    unanswered: bool = False
    spends_refresh_token: bool = False
    refresh_token_rejected: bool = False
    dpop_nonce: str | None = None
    mark_of: Callable[[str], str] | None = None
    rejected: str | None = None
    mark: str | None = None
    release: Callable[[], Awaitable[None]] | None = None


_context: ContextVar[RequestContext] = ContextVar("asyncauth_request_context")


def set_request_context(context: RequestContext) -> None:
    """Make this the running task's context. It travels beside ``Provider.fetch``."""
    _context.set(context)


def current_request_context() -> RequestContext:
    """Return the running task's context; a new one where a provider is asked without a manager."""
    context = _context.get(None)
    if context is None:
        context = RequestContext()
        _context.set(context)
    return context
