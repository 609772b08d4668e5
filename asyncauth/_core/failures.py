"""What is remembered of a failure or a rejected credential: when the next try is due, and what callers get until then.

Pure: told the time and a random number, without clock, lock or I/O. `TokenState` keeps what is remembered.
"""

from __future__ import annotations

import enum
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Self

from asyncauth._core.waits import backoff_after, credential_rejected_cooldown, paced_wait, pause_for_callers
from asyncauth.errors import AuthError, CredentialsRejected, StoreError, TokenEndpointUnavailable
from asyncauth.policy import LONGEST_HOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncauth.entry import Rejection
    from asyncauth.policy import RefreshPolicy

__all__ = [
    "Answered",
    "FailedTry",
    "FailureMemory",
    "RejectedCredential",
    "SharedHold",
    "WhileBlocked",
    "is_outage",
    "kind_of_failed_try",
    "rejections_in_force",
    "remember_failure",
    "remember_rejection",
]

STORE_GLANCE = 1.0
"""Seconds at most until a store that failed is looked at again, if nothing can be done without it."""

MOST_ANSWERS = 20
"""How many times in `PACING_WINDOW` a credential may be sent without bringing a token."""
PACING_WINDOW = 3600.0
"""Seconds."""
_MOST_REMEMBERED = 4 * MOST_ANSWERS
"""Of such answers, to any credential."""

_BUSY_WITH_ONE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


# A failed refresh


class WhileBlocked(enum.Enum):
    """What happens to a caller that needs a new token before the next try is due."""

    WAIT = "wait"
    """It waits for a refresh, which pauses until then."""
    FAIL = "fail"
    """It receives the same error at once."""
    ASK = "ask"
    """A refresh starts at once: an upstream manager failed, which has its own backoff and cool-downs."""


class RejectedCredential(NamedTuple):
    """The memory of a rejected credential, whatever else fails until the next success.

    Attributes:
        error: What the server said last.
        credential: The credential's digest; ``None``: it is unknown.
        times: How often it was rejected.
        until: Before this it is not sent again, in seconds of the manager's monotonic clock.
        ask_at: When one that may change may be looked at again.
    """

    error: CredentialsRejected
    credential: str | None
    times: int
    until: float
    ask_at: float


class Answered(NamedTuple):
    """An answer that brought no token: a 4xx other than 408, 425 and 429, or a success without a token.

    Attributes:
        credential: The digest of the credential that was sent; ``None``: it is unknown.
        at: When the answer came, in seconds of the manager's monotonic clock.
    """

    credential: str | None
    at: float


class FailureMemory(NamedTuple):
    """The memory of failures in a row; a success forgets it.

    Attributes:
        error: The last failure.
        retry_at: When the next try is due while nobody waits, in seconds of the manager's monotonic clock.
        retry_for_callers_at: When it is due while callers wait: no later.
        while_blocked: What callers without a usable token meet until then.
        failures: How many failures there were in a row.
        rejected: The credential that was rejected last among them; ``None``: none was.
        outage_since: When the server first could not answer, since it last could; ``None``: it could just now.
        unreadable: How many failures among them were answers that brought neither a token nor a rejection.
        answers: The answers among them that brought no token, of the last hour, the latest last.
    """

    error: AuthError
    retry_at: float
    retry_for_callers_at: float
    while_blocked: WhileBlocked
    failures: int
    rejected: RejectedCredential | None = None
    outage_since: float | None = None
    unreadable: int = 0
    answers: tuple[Answered, ...] = ()

    def due(self, *, callers_wait: bool) -> float:
        """Return when the next try is due."""
        return self.retry_for_callers_at if callers_wait else self.retry_at

    def may_try(self, now: float) -> bool:
        """Return whether another try may be made, or a rejected credential may be looked at again."""
        return now >= self.retry_at or self.may_ask(now)

    def fails_callers(self, now: float) -> bool:
        """Return whether callers without a usable token get the error, for as long as nothing may be tried."""
        return self.while_blocked is WhileBlocked.FAIL and now < self.retry_for_callers_at

    def goes_on(self, now: float, deadline: float, *, callers_wait: bool) -> bool:
        """Return whether the refresh that failed makes another try before its deadline.

        It does at once if a rejected credential may have changed meanwhile, and else if the next try is due in time.

        Args:
            now: Seconds on the manager's monotonic clock.
            deadline: When the refresh must end, on the same clock.
            callers_wait: Whether callers wait for it.
        """
        waits = self.while_blocked is WhileBlocked.WAIT and self.due(callers_wait=callers_wait) < deadline
        return waits or self.may_ask(now)

    @property
    def blocking_rejection(self) -> RejectedCredential | None:
        """The rejected credential, if its cool-down is the wait in force."""
        return self.rejected if self.rejected is not None and self.rejected.error is self.error else None

    def may_ask(self, now: float) -> bool:
        """Return whether a rejected credential's callable may be called again, to see if the credential has changed."""
        rejected = self.blocking_rejection
        return rejected is not None and rejected.error.may_change and now >= rejected.ask_at

    def withheld(self, now: float) -> CredentialsRejected | None:
        """Return the rejection of the credential that must not be sent now; ``None``: any may be."""
        return self.rejected.error if self.rejected is not None and now < self.rejected.until else None

    def times_rejected(self, credential: str) -> int:
        """Return how often in a row this credential was rejected, by its digest."""
        rejected = self.rejected
        return rejected.times if rejected is not None and rejected.credential == credential else 0

    def asked(self, policy: RefreshPolicy, now: float) -> FailureMemory:
        """Return it as the rejection that is waited out: the credential was looked at, and may be again later."""
        if self.rejected is None:
            return self
        rejected = self.rejected._replace(ask_at=now + policy.rejection_cooldown)
        until = rejected.until
        return self._replace(
            error=rejected.error,
            retry_at=until,
            retry_for_callers_at=until,
            while_blocked=WhileBlocked.FAIL,
            rejected=rejected,
            outage_since=None,
        )

    def without_backoff(self, now: float) -> FailureMemory:
        """Return it with nothing to be waited out. What was remembered still counts after the next failure."""
        rejected = self.rejected
        if rejected is not None:
            rejected = rejected._replace(until=min(rejected.until, now))
        at_once = min(self.retry_at, now)
        for_callers = min(self.retry_for_callers_at, now)
        return self._replace(retry_at=at_once, retry_for_callers_at=for_callers, rejected=rejected)

    def seen(self, now: float) -> AuthError:
        """Return the error for a caller who is blocked by this failure now."""
        again = self.error.again()
        if again.retry_after is not None:
            again.retry_after = max(0.0, self.retry_for_callers_at - now)
        return again


def remember_failure(
    error: AuthError,
    before: FailureMemory | None,
    policy: RefreshPolicy,
    *,
    now: float,
    deadline: float,
    unit_random: float,
    shared: SharedHold | None = None,
    answered: Sequence[str | None] = (),
) -> FailureMemory:
    """Return what is remembered of a failure.

    Args:
        error: The failure.
        before: What was remembered before it.
        policy: The manager's.
        now: Seconds on the manager's monotonic clock.
        deadline: When the refresh that failed must end, on the same clock.
        unit_random: A random number from 0 to 1, for the backoff.
        shared: Of a rejected credential, what all processes agree on. ``None``: as this process counts.
        answered: The digests of the credentials that were sent in the failed try and answered without a token, in
            turn. None: nothing was sent, or no answer came.
    """
    failures = 1 if before is None else before.failures + 1
    rejected = None if before is None else before.rejected
    unreadable = 0 if before is None else before.unreadable
    unreadable += bool(answered) and not isinstance(error, CredentialsRejected)
    outage_since = None
    answers = _answers(before, answered, now)
    retry_at = for_callers = now + backoff_after(policy, failures, unit_random)
    while_blocked = WhileBlocked.FAIL
    if error.upstream:
        while_blocked = WhileBlocked.ASK
    elif isinstance(error, CredentialsRejected):
        rejected = _rejected(error, rejected, policy, now, shared)
        if error.may_change:  # an assertion that is made anew each time is one credential, whatever its value
            paced_until = _paced_until([each._replace(credential=None) for each in answers])
            rejected = rejected._replace(
                until=max(rejected.until, paced_until), ask_at=max(rejected.ask_at, paced_until)
            )
        retry_at = for_callers = rejected.until
    elif isinstance(error, StoreError):
        while_blocked = WhileBlocked.WAIT
        retry_at = for_callers = min(retry_at, now + STORE_GLANCE)
    elif error.transient:
        while_blocked = WhileBlocked.WAIT
        outage_since = now if before is None or before.outage_since is None else before.outage_since
        for_callers = min(for_callers, now + pause_for_callers(now - outage_since, unit_random))
        asked_for = 0.0 if error.retry_after is None else min(error.retry_after, LONGEST_HOLD)
        if answered:  # a refusal that asks for patience: the credential has gone out all the same
            asked_for = max(asked_for, paced_wait(policy, unreadable, unit_random))
        if answered or error.retry_after is not None:
            retry_at, for_callers = max(retry_at, now + asked_for), max(for_callers, now + asked_for)
            while_blocked = WhileBlocked.WAIT if for_callers <= deadline else WhileBlocked.FAIL
    elif answered:
        retry_at = for_callers = now + paced_wait(policy, unreadable, unit_random)
    paced_until = -math.inf if error.upstream else _paced_until(answers)
    if paced_until > for_callers:
        for_callers = paced_until
        retry_at, while_blocked = max(retry_at, paced_until), WhileBlocked.FAIL
    return FailureMemory(
        error,
        retry_at,
        for_callers,
        while_blocked,
        failures,
        rejected,
        outage_since=outage_since,
        unreadable=unreadable,
        answers=answers,
    )


def _answers(before: FailureMemory | None, answered: Sequence[str | None], now: float) -> tuple[Answered, ...]:
    """Return the answers of the last hour that brought no token; see `remember_failure`."""
    earlier = () if before is None else before.answers
    lately = [each for each in earlier if each.at > now - PACING_WINDOW]
    return (*lately, *(Answered(credential, now) for credential in answered))[-_MOST_REMEMBERED:]


def _paced_until(answers: Sequence[Answered]) -> float:
    """Return until when the credential that was answered last is not sent again; ``-inf``: it may be now."""
    same = [each.at for each in answers if each.credential == answers[-1].credential]
    return same[-MOST_ANSWERS] + PACING_WINDOW if len(same) >= MOST_ANSWERS else -math.inf


def _rejected(
    error: CredentialsRejected,
    before: RejectedCredential | None,
    policy: RefreshPolicy,
    now: float,
    shared: SharedHold | None,
) -> RejectedCredential:
    """Return what is remembered of a rejected credential; see `remember_failure`."""
    known, times = (None, 0) if before is None else (before.credential, before.times)
    credential = known if error.credential is None else error.credential
    times = times + 1 if credential == known else 1
    hold = credential_rejected_cooldown(policy, times)
    if shared is not None:
        times, hold = shared.times, shared.seconds
    # A callable is asked once more at once: a file may have been replaced in that very moment. Once, since each look
    # may bring another credential, and not if it has just been asked.
    again = before is None and not error.unsent
    ask_at = now if again else now + policy.rejection_cooldown
    return RejectedCredential(error, credential, times, now + hold, ask_at)


def is_outage(error: AuthError) -> bool:
    """Return whether a failed token request means that the endpoint is down for everybody, most likely.

    What a server says of one client (429, a ``Retry-After``) concerns no other one.
    """
    busy_with_one = error.retry_after is not None or error.status in _BUSY_WITH_ONE
    return isinstance(error, TokenEndpointUnavailable) and not error.upstream and not busy_with_one


class FailedTry(enum.Enum):
    """What a failed try means for the next one."""

    NEW = "new"
    """A failure to be remembered: `remember_failure`."""
    AGAIN = "again"
    """Nothing: another try is made at once, because somebody has asked for one meanwhile."""
    UNCHANGED = "unchanged"
    """The credential is still the rejected one, and was not sent. The rejection is waited out as before."""
    UNSEEN = "unseen"
    """The credential could not be obtained, so it may still be the rejected one. If a rejection is remembered, it is
    waited out as before; else this is a failure to be remembered."""


def kind_of_failed_try(error: AuthError, *, rejection: Rejection | None, sent: bool, at_once: bool) -> FailedTry:
    """Return what a failed try means.

    Args:
        error: How it failed.
        rejection: What all processes know of the credential that was, or would have been, sent; ``None``: nothing.
        sent: Whether a request was sent, or any credential might have been.
        at_once: Whether somebody has asked for a try at once.
    """
    if isinstance(error, CredentialsRejected) and not error.upstream:
        if not error.unsent:
            return FailedTry.NEW
        if rejection is None:
            return FailedTry.UNCHANGED
        return FailedTry.AGAIN if at_once else FailedTry.NEW
    return FailedTry.NEW if sent or error.upstream else FailedTry.UNSEEN


# A rejected credential, for all processes with one store


class SharedHold(NamedTuple):
    """What all processes with one store agree on of a rejected credential.

    Attributes:
        times: How often it was rejected in a row.
        seconds: For how long from now none of them sends it.
    """

    times: int
    seconds: float

    @classmethod
    def of(cls, rejection: Rejection | None, wall: float) -> Self | None:
        """Return what a stored rejection says; ``None``: there is none.

        Args:
            rejection: The rejection.
            wall: The wall clock, in Unix epoch seconds.
        """
        return None if rejection is None else cls(rejection.times, min(rejection.until - wall, LONGEST_HOLD))


def rejections_in_force(known: tuple[Rejection, ...], wall: float) -> tuple[Rejection, ...]:
    """Return the stored rejections whose credentials must not be sent now.

    Args:
        known: The rejections in the store.
        wall: The wall clock, in Unix epoch seconds.
    """
    return tuple(each for each in known if each.until > wall)


def remember_rejection(
    known: Rejection | None, policy: RefreshPolicy, *, mark: str, times_here: int, wall: float
) -> Rejection:
    """Return what all processes are to know of a credential that was just rejected.

    Args:
        known: The rejection of this credential in the store; ``None``: there is none.
        policy: The manager's.
        mark: What the credential is known by in the store.
        times_here: How often in a row this process knew it to be rejected, before this time.
        wall: The wall clock, in Unix epoch seconds.
    """
    from asyncauth.entry import MOST, Rejection  # noqa: PLC0415 (imported with the first store)

    theirs = 0 if known is None else known.times
    times = min(max(theirs, times_here) + 1, MOST)  # an entry may claim any count that can be read
    return Rejection(digest=mark, until=wall + credential_rejected_cooldown(policy, times), times=times)
