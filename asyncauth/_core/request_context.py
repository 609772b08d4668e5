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

__all__ = ["Attempt", "current_attempt", "set_attempt"]


@attrs.define(eq=False)
class Attempt:
    """One try of a refresh.

    Attributes:
        clock: The manager's.
        sent_at: When the last token request was sent, in seconds of ``clock.monotonic()``; ``None`` = none was.
        refusal: A remembered refusal: if the same credential would be sent again, this is raised instead.
        server_now: The server's clock when it answered last, by the ``Date`` header, in Unix epoch seconds.
        name: Adds to an error what it does not say yet of the endpoint that is asked; ``None`` = none was.
        unanswered: Whether the last token request may have reached the server and no answer came that can be read.
        spends_refresh_token: Whether that request sent the previous token's refresh token, and there is another way
            to a token: unanswered, it must not be sent again.
        refresh_token_refused: Whether the server refused that refresh token: it is of no more use.
        dpop_nonce: The ``DPoP-Nonce`` header of the server's last answer (RFC 9449 §8), if it had one.
        mark_of: Makes of a credential what a shared store may know it by; ``None``: there is no store.
        rejected: A mark: another process had this credential rejected, and it is not sent either.
        mark: The mark of the credential that was rejected last, here or elsewhere.
        release: Gives a shared store's lock back before the end, if one is held: a provider calls it before it waits
            for a person. ``None`` = no lock is held.
    """

    clock: Clock = SYSTEM_CLOCK
    sent_at: float | None = None
    refusal: CredentialsRejected | None = None
    server_now: float | None = None
    name: Callable[[AuthError], AuthError] | None = None
    unanswered: bool = False
    spends_refresh_token: bool = False
    refresh_token_refused: bool = False
    dpop_nonce: str | None = None
    mark_of: Callable[[str], str] | None = None
    rejected: str | None = None
    mark: str | None = None
    release: Callable[[], Awaitable[None]] | None = None


_attempt: ContextVar[Attempt] = ContextVar("asyncauth_attempt")


def set_attempt(attempt: Attempt) -> None:
    """Make this the current attempt of the running task. It travels beside ``Provider.fetch``."""
    _attempt.set(attempt)


def current_attempt() -> Attempt:
    """Return the running task's attempt; a new one where a provider is asked without a manager."""
    attempt = _attempt.get(None)
    if attempt is None:
        attempt = Attempt()
        _attempt.set(attempt)
    return attempt
