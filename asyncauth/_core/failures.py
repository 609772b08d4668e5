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

__all__ = ["Meanwhile", "Refusal", "Setback", "setback_after"]

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
class Refusal:
    """The memory of a refused credential, whatever else fails until the next success.

    Attributes:
        error: What the server said last.
        credential: The credential's digest; ``None`` = it is unknown.
        times: How often it was refused.
        until: Before this it is not sent again, in seconds of the manager's monotonic clock.
        ask_at: When one that may change may be looked at again.
    """

    error: CredentialsRejected
    credential: str | None
    times: int
    until: float
    ask_at: float


@attrs.frozen
class Setback:
    """The memory of failures in a row; a success forgets it.

    Attributes:
        error: The last failure.
        retry_at: When the next try is due, in seconds of the manager's monotonic clock.
        meanwhile: What callers without a usable token meet until then.
        failures: How many failures there were in a row.
        refusal: The last refusal among them; ``None`` = there was none.
    """

    error: AuthError
    retry_at: float
    meanwhile: Meanwhile
    failures: int
    refusal: Refusal | None = None

    @property
    def refused(self) -> Refusal | None:
        """The refusal, if that is what is being waited out."""
        return self.refusal if self.refusal is not None and self.refusal.error is self.error else None

    def may_ask(self, now: float) -> bool:
        """Return whether it is time to see if a callable now gives another credential than the refused one."""
        refused = self.refused
        return refused is not None and refused.error.may_change and now >= refused.ask_at

    def withheld(self, now: float) -> CredentialsRejected | None:
        """Return the refusal of the credential that must not be sent now; ``None`` = any may be."""
        return self.refusal.error if self.refusal is not None and now < self.refusal.until else None

    def asked(self, ask_at: float) -> Setback:
        """Return it as the refusal that is waited out, with the time of the next look at the credential."""
        if self.refusal is None:
            return self
        refusal = attrs.evolve(self.refusal, ask_at=ask_at)
        return Setback(refusal.error, refusal.until, Meanwhile.FAIL, self.failures, refusal)

    def hastened(self, now: float) -> Setback:
        """Return it with nothing to be waited out. What was remembered still counts after the next failure."""
        refusal = self.refusal
        if refusal is not None:
            refusal = attrs.evolve(refusal, until=min(refusal.until, now))
        return attrs.evolve(self, retry_at=min(self.retry_at, now), refusal=refusal)

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
    rejected: tuple[int, float] | None = None,
) -> Setback:
    """Return what is remembered of a failure.

    Args:
        error: The failure.
        before: What was remembered before it.
        policy: The manager's.
        now: Seconds on the manager's monotonic clock.
        deadline: When the refresh that failed must end, on the same clock.
        draw: A random number from 0 to 1, for the backoff.
        rejected: Of a rejected credential that other processes know as well: how often it was rejected in a row, and
            for how many seconds none of them sends it. ``None``: as this one counts.
    """
    failures, refusal = (1, None) if before is None else (before.failures + 1, before.refusal)
    if isinstance(error, CredentialsRejected) and not error.upstream:
        known, times = (None, 0) if refusal is None else (refusal.credential, refusal.times)
        credential = known if error.credential is None else error.credential
        times = times + 1 if credential == known else 1
        hold = policy.rejection_hold(times)
        if rejected is not None:
            times, hold = rejected
        until = now + hold
        refusal = Refusal(error, credential, times, until, now + policy.rejection_cooldown)
        return Setback(error, until, Meanwhile.FAIL, failures, refusal)
    retry_at, meanwhile = now + policy.backoff_after(failures, draw), Meanwhile.WAIT
    if error.upstream:
        meanwhile = Meanwhile.ASK
    elif not error.transient:
        meanwhile = Meanwhile.FAIL
    elif error.retry_after is not None:
        retry_at = max(retry_at, now + min(error.retry_after, _LONGEST_RETRY_AFTER))
        meanwhile = Meanwhile.WAIT if retry_at <= deadline else Meanwhile.FAIL
    return Setback(error, retry_at, meanwhile, failures, refusal)
