"""What holds for the windows of any lifetime, and for the setback after any row of failures."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from asyncauth import AuthError, CredentialsRejected, InvalidTokenResponse, RefreshPolicy, TokenEndpointUnavailable
from asyncauth._core.failures import FailureMemory, WhileBlocked, remember_failure

lifetimes = st.floats(min_value=1e-3, max_value=1e10)
draws = st.floats(min_value=0.0, max_value=1.0)
durations = st.floats(min_value=0.0, max_value=1e6)
policies = st.builds(
    RefreshPolicy,
    renew_at=st.floats(min_value=0.5, max_value=1.0),
    jitter=st.floats(min_value=0.0, max_value=0.05),
    expiry_margin=st.floats(min_value=0.0, max_value=1e6) | st.just(math.inf),
)
seconds = st.none() | st.floats()


def _error(kind: type[AuthError], retry_after: float | None, credential: str | None, *, upstream: bool) -> AuthError:
    error = kind("no", retry_after=retry_after)
    error.upstream = upstream
    if isinstance(error, CredentialsRejected):
        error.credential, error.may_change = credential, True
    return error


errors = st.builds(
    _error,
    st.sampled_from([AuthError, InvalidTokenResponse, CredentialsRejected, TokenEndpointUnavailable]),
    seconds,
    st.sampled_from(["a", "b", None]),
    upstream=st.booleans(),
)


@given(policies, lifetimes, durations, draws)
def test_windows_lie_between_half_the_lifetime_and_its_end(
    policy: RefreshPolicy, lifetime: float, slowest: float, draw: float
) -> None:
    """Half the lifetime ≤ renewal ≤ end of use ≤ end of the lifetime, and at most a tenth of it is given away."""
    windows = policy.windows(lifetime, slowest=slowest, unit_random=draw)
    assert 0.5 * lifetime <= windows.fresh <= windows.usable <= lifetime
    assert windows.usable >= 0.9 * lifetime * (1 - 1e-12)
    assert windows.usable >= lifetime - policy.expiry_margin - lifetime * 1e-12


@given(policies, lifetimes, durations, draws)
def test_jitter_and_slowness_only_make_it_earlier(
    policy: RefreshPolicy, lifetime: float, slowest: float, draw: float
) -> None:
    """Neither luck nor a slow endpoint delays a renewal, and luck takes 5 % of the lifetime at most."""
    usual = policy.windows(lifetime)
    slow = policy.windows(lifetime, slowest=slowest)
    both = policy.windows(lifetime, slowest=slowest, unit_random=draw)
    assert both.fresh <= slow.fresh <= usual.fresh <= policy.renew_at * lifetime
    assert slow.fresh - both.fresh <= 0.05 * lifetime * (1 + 1e-9)
    assert usual.usable == slow.usable == both.usable


@given(policies, lifetimes, durations)
def test_slow_refresh_ends_in_time_where_it_can(policy: RefreshPolicy, lifetime: float, slowest: float) -> None:
    """A refresh as slow as the slowest ends before the token does, unless it would have to start before half."""
    windows = policy.windows(lifetime, slowest=slowest)
    assert windows.fresh + slowest <= windows.usable * (1 + 1e-12) or windows.fresh == 0.5 * lifetime


@given(st.lists(st.tuples(errors, draws), min_size=1, max_size=20), st.floats(min_value=0, max_value=1e6))
def test_setback_is_always_a_pause_of_an_hour_at_most(failures: list[tuple[AuthError, float]], now: float) -> None:
    """After any row of failures there is a next try: not at once, and within the hour."""
    policy, before = RefreshPolicy(), None
    for count, (error, draw) in enumerate(failures, 1):
        failure = remember_failure(error, before, policy, now=now, deadline=now + 30, unit_random=draw)
        assert now < failure.retry_at <= now + 3600
        assert failure.failures == count
        assert failure.error is error
        if error.upstream:
            assert failure.while_blocked is WhileBlocked.ASK
        elif not error.transient:
            assert failure.while_blocked is WhileBlocked.FAIL
        else:
            assert (failure.while_blocked is WhileBlocked.FAIL) == (failure.retry_at > now + 30)
        seen = failure.seen(now)
        assert seen is not error
        assert seen.retry_after is None or 0 <= seen.retry_after <= 3600.001  # the clock has rounded
        before, now = failure, failure.retry_at


@given(st.integers(min_value=1, max_value=10**6), draws)
def test_backoff_is_bounded_and_never_nothing(failures: int, draw: float) -> None:
    """However many failures: more than nothing, 15 s at most."""
    policy = RefreshPolicy()
    assert 0.02 < policy.backoff_after(failures, draw) <= 15
    assert policy.credential_rejected_cooldown(failures) <= policy.credential_rejected_cooldown(failures + 1) <= 3600
    assert policy.api_401_cooldown(failures) <= policy.api_401_cooldown(failures + 1) <= 60


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=12))
def test_hold_follows_the_row_of_the_same_credential(credentials: list[str]) -> None:
    """The hold is 60 s doubled once for each refusal of the same credential in a row."""
    before: FailureMemory | None = None
    row, last = 0, ""
    for credential in credentials:
        row, last = (row + 1 if credential == last else 1), credential
        error = CredentialsRejected("no")
        error.credential = credential
        before = remember_failure(error, before, RefreshPolicy(), now=0.0, deadline=30.0, unit_random=0.5)
        assert before.retry_at == min(3600.0, 60.0 * 2 ** (row - 1))
        assert before.blocking_rejection is not None
        assert before.blocking_rejection.credential == credential
