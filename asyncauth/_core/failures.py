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

__all__ = ["FailureMemory", "RejectedCredential", "WhileBlocked", "remember_failure"]

_LONGEST_RETRY_AFTER = 3600.0
"""Seconds: a server that asks for more is asked again after this long."""


class WhileBlocked(enum.Enum):
    """What a caller who needs a new token meets until the next try is due."""

    WAIT = "wait"
    """A refresh that rests until then, and goes on."""
    FAIL = "fail"
    """The same error, at once."""
    ASK = "ask"
    """A refresh, at once: the failure is that of an upstream manager, which does its own holding back."""


@attrs.frozen
class RejectedCredential:
    """The memory of a rejected credential, whatever else fails until the next success.

    Attributes:
        error: What the server said last.
        credential: The credential's digest; ``None`` = it is unknown.
        times: How often it was rejected.
        until: Before this it is not sent again, in seconds of the manager's monotonic clock.
        ask_at: When one that may change may be looked at again.
    """

    error: CredentialsRejected
    credential: str | None
    times: int
    until: float
    ask_at: float


@attrs.frozen
class FailureMemory:
    """The memory of failures in a row; a success forgets it.

    Attributes:
        error: The last failure.
        retry_at: When the next try is due, in seconds of the manager's monotonic clock.
        while_blocked: What callers without a usable token meet until then.
        failures: How many failures there were in a row.
        rejected: The credential that was rejected last among them; ``None``: none was.
    """

    error: AuthError
    retry_at: float
    while_blocked: WhileBlocked
    failures: int
    rejected: RejectedCredential | None = None

    @property
    def blocking_rejection(self) -> RejectedCredential | None:
        """The rejected credential, if that is what is being waited out."""
        return self.rejected if self.rejected is not None and self.rejected.error is self.error else None

    def may_ask(self, now: float) -> bool:
        """Return whether it is time to see if a callable now gives another credential than the rejected one."""
        rejected = self.blocking_rejection
        return rejected is not None and rejected.error.may_change and now >= rejected.ask_at

    def withheld(self, now: float) -> CredentialsRejected | None:
        """Return the rejection of the credential that must not be sent now; ``None``: any may be."""
        return self.rejected.error if self.rejected is not None and now < self.rejected.until else None

    def asked(self, ask_at: float) -> FailureMemory:
        """Return it as the rejection that is waited out, with the time of the next look at the credential."""
        if self.rejected is None:
            return self
        rejected = attrs.evolve(self.rejected, ask_at=ask_at)
        return FailureMemory(rejected.error, rejected.until, WhileBlocked.FAIL, self.failures, rejected)

    def without_backoff(self, now: float) -> FailureMemory:
        """Return it with nothing to be waited out. What was remembered still counts after the next failure."""
        rejected = self.rejected
        if rejected is not None:
            rejected = attrs.evolve(rejected, until=min(rejected.until, now))
        return attrs.evolve(self, retry_at=min(self.retry_at, now), rejected=rejected)

    def seen(self, now: float) -> AuthError:
        """Return the error for a caller who is blocked by this failure now."""
        again = self.error.again()
        if again.retry_after is not None:
            again.retry_after = max(0.0, self.retry_at - now)
        return again


def remember_failure(
    error: AuthError,
    before: FailureMemory | None,
    policy: RefreshPolicy,
    *,
    now: float,
    deadline: float,
    unit_random: float,
    rejected: tuple[int, float] | None = None,
) -> FailureMemory:
    """Return what is remembered of a failure.

    Args:
        error: The failure.
        before: What was remembered before it.
        policy: The manager's.
        now: Seconds on the manager's monotonic clock.
        deadline: When the refresh that failed must end, on the same clock.
        unit_random: A random number from 0 to 1, for the backoff.
        rejected: Of a rejected credential that other processes know as well: how often it was rejected in a row, and
            for how many seconds none of them sends it. ``None``: as this one counts.
    """
    failures, credential_rejected = (1, None) if before is None else (before.failures + 1, before.rejected)
    if isinstance(error, CredentialsRejected) and not error.upstream:
        known, times = (
            (None, 0) if credential_rejected is None else (credential_rejected.credential, credential_rejected.times)
        )
        credential = known if error.credential is None else error.credential
        times = times + 1 if credential == known else 1
        hold = policy.credential_rejected_cooldown(times)
        if rejected is not None:
            times, hold = rejected
        until = now + hold
        credential_rejected = RejectedCredential(error, credential, times, until, now + policy.rejection_cooldown)
        return FailureMemory(error, until, WhileBlocked.FAIL, failures, credential_rejected)
    retry_at, while_blocked = now + policy.backoff_after(failures, unit_random), WhileBlocked.WAIT
    if error.upstream:
        while_blocked = WhileBlocked.ASK
    elif not error.transient:
        while_blocked = WhileBlocked.FAIL
    elif error.retry_after is not None:
        retry_at = max(retry_at, now + min(error.retry_after, _LONGEST_RETRY_AFTER))
        while_blocked = WhileBlocked.WAIT if retry_at <= deadline else WhileBlocked.FAIL
    return FailureMemory(error, retry_at, while_blocked, failures, credential_rejected)
