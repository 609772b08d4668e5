"""What a failed refresh asks of the next one: when it may be tried, and what callers get until then.

Pure: plain functions of their arguments, no clock and no state.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from asyncauth.errors import AuthError, CredentialsRejected

if TYPE_CHECKING:
    from asyncauth.policy import RefreshPolicy

__all__ = ["Meanwhile", "Setback", "setback_after"]

_LONGEST_RETRY_AFTER = 3600.0
"""Seconds: a server that asks for more is asked again after this long."""


class Meanwhile(enum.Enum):
    """What a caller who needs a new token meets until the next try is due."""

    WAIT = "wait"
    """A refresh that rests until then, and goes on."""
    FAIL = "fail"
    """The same error, at once."""
    ASK = "ask"
    """A refresh, at once: the failure is that of an upstream manager, which does its own holding back."""


@attrs.frozen
class Setback:
    """The memory of failures in a row; a success forgets it.

    Attributes:
        error: The last failure.
        retry_at: When the next try is due, in seconds of the manager's monotonic clock.
        meanwhile: What callers without a usable token meet until then.
        failures: How many failures there were in a row.
        refusals: How many of them were refusals of the same credential; other failures between them change nothing.
        refused_credential: Its digest; ``None`` = it is unknown, or none was refused.
        ask_at: When a credential that may change may be looked at again (`CredentialsRejected` only).
    """

    error: AuthError
    retry_at: float
    meanwhile: Meanwhile
    failures: int
    refusals: int = 0
    refused_credential: str | None = None
    ask_at: float = 0.0

    def may_ask(self, now: float) -> bool:
        """Return whether it is time to see if a callable now gives another credential than the refused one."""
        return isinstance(self.error, CredentialsRejected) and self.error.may_change and now >= self.ask_at

    def seen(self, now: float) -> AuthError:
        """Return the error for a caller who meets this setback now."""
        again = self.error.again()
        if again.retry_after is not None:
            again.retry_after = max(0.0, self.retry_at - now)
        return again


def setback_after(
    error: AuthError,
    before: Setback | None,
    policy: RefreshPolicy,
    *,
    now: float,
    deadline: float,
    draw: float,
) -> Setback:
    """Return what is remembered of a failure.

    Args:
        error: The failure.
        before: What was remembered before it.
        policy: The manager's.
        now: Seconds on the manager's monotonic clock.
        deadline: When the refresh that failed must end, on the same clock.
        draw: A random number from 0 to 1, for the backoff.
    """
    failures, refusals, refused = (
        (1, 0, None) if before is None else (before.failures + 1, before.refusals, before.refused_credential)
    )
    if isinstance(error, CredentialsRejected) and not error.upstream:
        refusals = refusals + 1 if error.credential in {None, refused} else 1
        return Setback(
            error,
            now + policy.rejection_hold(refusals),
            Meanwhile.FAIL,
            failures,
            refusals,
            refused if error.credential is None else error.credential,
            ask_at=now + policy.rejection_cooldown,
        )
    retry_at, meanwhile = now + policy.backoff_after(failures, draw), Meanwhile.WAIT
    if error.upstream:
        meanwhile = Meanwhile.ASK
    elif not error.transient:
        meanwhile = Meanwhile.FAIL
    elif error.retry_after is not None:
        retry_at = max(retry_at, now + min(error.retry_after, _LONGEST_RETRY_AFTER))
        meanwhile = Meanwhile.WAIT if retry_at <= deadline else Meanwhile.FAIL
    return Setback(error, retry_at, meanwhile, failures, refusals, refused)
