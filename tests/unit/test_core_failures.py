"""What a failed refresh asks of the next one."""

from __future__ import annotations

import pytest

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    RefreshPolicy,
    TokenEndpointUnavailable,
)
from asyncauth._core.failures import FailureMemory, WhileBlocked, remember_failure

POLICY = RefreshPolicy()


def after(
    error: AuthError, before: FailureMemory | None = None, *, now: float = 100.0, deadline: float = 130.0
) -> FailureMemory:
    return remember_failure(error, before, POLICY, now=now, deadline=deadline, unit_random=1.0)


def refused(credential: str | None, *, may_change: bool = False, upstream: bool = False) -> CredentialsRejected:
    error = CredentialsRejected("no")
    error.credential, error.may_change, error.upstream = credential, may_change, upstream
    return error


def times(failure: FailureMemory) -> int:
    assert failure.rejected is not None
    return failure.rejected.times


def test_transient_failure_is_waited_out() -> None:
    """Network trouble: callers wait for the next try, later each time."""
    first = after(TokenEndpointUnavailable("down"))
    assert (first.retry_at, first.while_blocked, first.failures) == (100.25, WhileBlocked.WAIT, 1)
    second = after(TokenEndpointUnavailable("down"), first)
    assert (second.retry_at, second.while_blocked, second.failures) == (100.5, WhileBlocked.WAIT, 2)


@pytest.mark.parametrize("kind", [AuthError, InvalidTokenResponse, ConfigurationError])
def test_permanent_failure_is_the_callers_at_once(kind: type[AuthError]) -> None:
    """What a retry does not mend: the same error for everybody until the backoff is over."""
    failure = after(kind("no"))
    assert (failure.retry_at, failure.while_blocked) == (100.25, WhileBlocked.FAIL)


@pytest.mark.parametrize(
    ("retry_after", "retry_at", "meanwhile"),
    [
        (0.1, 100.25, WhileBlocked.WAIT),
        (29.999, 129.999, WhileBlocked.WAIT),
        (30.0, 130.0, WhileBlocked.WAIT),
        (30.001, 130.001, WhileBlocked.FAIL),
        (99_999.0, 3700.0, WhileBlocked.FAIL),
    ],
)
def test_retry_after_at_the_edge_of_the_deadline(retry_after: float, retry_at: float, meanwhile: WhileBlocked) -> None:
    """Retry-After is waited out up to the deadline; beyond it callers fail."""
    failure = after(TokenEndpointUnavailable("busy", retry_after=retry_after))
    assert failure.retry_at == pytest.approx(retry_at)
    assert failure.while_blocked is meanwhile


def test_what_is_left_of_retry_after_is_told() -> None:
    """A caller who meets the setback later is told what is left, and never less than nothing."""
    failure = after(TokenEndpointUnavailable("busy", retry_after=300.0))
    assert failure.seen(150.0).retry_after == 250
    assert failure.seen(500.0).retry_after == 0
    assert failure.error.retry_after == 300
    assert after(TokenEndpointUnavailable("down")).seen(100.0).retry_after is None


def test_refusals_of_the_same_credential_double_the_hold() -> None:
    """Known by its digest; one that is unknown counts as the same."""
    one = after(refused("a"))
    assert (one.retry_at, times(one), one.failures) == (160, 1, 1)
    assert after(refused("a"), one).retry_at == 220
    assert times(after(refused(None), one)) == 2
    other = after(refused("b"), one)
    assert (other.retry_at, times(other), other.failures) == (160, 1, 2)


@pytest.mark.parametrize(
    "other", [TokenEndpointUnavailable("down"), InvalidTokenResponse("no"), refused("a", upstream=True)]
)
def test_other_failures_between_two_refusals_change_nothing(other: AuthError) -> None:
    """The hold doubles for as long as the credential stays the same, however badly its server works meanwhile."""
    between = after(other, after(refused("a")))
    assert (times(between), between.failures, between.blocking_rejection) == (1, 2, None)
    assert between.retry_at < 101
    assert after(refused("a"), between).retry_at == 220
    assert after(refused("b"), between).retry_at == 160


def test_a_refusal_that_names_no_credential_is_of_the_one_that_is_known() -> None:
    """What one answer left out is still known from the one before."""
    assert times(after(refused("a"), after(refused(None), after(refused("a"))))) == 3
    assert times(after(refused("a"), after(refused(None)))) == 1


def test_upstreams_failures_are_not_held_back_here() -> None:
    """The upstream manager does its own holding back, whatever the failure."""
    for error in (refused("a", upstream=True), TokenEndpointUnavailable("busy", retry_after=300.0)):
        error.upstream = True
        assert after(error).while_blocked is WhileBlocked.ASK


@pytest.mark.parametrize(("now", "may"), [(159.999, False), (160.0, True)])
def test_credential_that_may_change_is_asked_after_a_cooldown(now: float, *, may: bool) -> None:
    """A callable may be looked at again 60 s after the refusal; a plain string never."""
    assert after(refused("a", may_change=True)).may_ask(now) == may
    assert not after(refused("a")).may_ask(now)
    assert not after(InvalidTokenResponse("no")).may_ask(now)
    assert after(InvalidTokenResponse("no")).blocking_rejection is None


@pytest.mark.parametrize(("now", "withheld"), [(100.0, True), (159.999, True), (160.0, False)])
def test_a_refused_credential_is_withheld_until_its_hold_is_over(now: float, *, withheld: bool) -> None:
    """That is so whatever failed after it, and not any more once the next try was hastened."""
    refusal = refused("a")
    for failure in (after(refusal), after(TokenEndpointUnavailable("down"), after(refusal))):
        assert (failure.withheld(now) is refusal) == withheld
        assert failure.without_backoff(now).withheld(now) is None
    assert after(TokenEndpointUnavailable("down")).withheld(now) is None


def test_a_look_at_the_credential_that_brings_nothing_is_the_refusal_again() -> None:
    """What failed meanwhile is forgotten: callers get the refusal until its hold is over, or the next look."""
    failure = after(TokenEndpointUnavailable("down"), after(refused("a", may_change=True)), now=120.0).asked(180.0)
    assert (failure.retry_at, failure.while_blocked, failure.failures) == (160, WhileBlocked.FAIL, 2)
    assert isinstance(failure.error, CredentialsRejected)
    assert [failure.may_ask(now) for now in (179.999, 180.0)] == [False, True]
    nothing = after(TokenEndpointUnavailable("down"))
    assert nothing.asked(180.0) is nothing


def test_hastening_brings_nothing_forward_that_is_due_already() -> None:
    """And forgets no refusal: the next one counts on."""
    one = after(refused("a"))
    assert one.without_backoff(200.0) == one
    hastened = one.without_backoff(130.0)
    assert hastened.retry_at == 130
    assert after(refused("a"), hastened, now=130.0).retry_at == 250
