"""What holds for the waits and cool-downs after anything that went wrong, whatever the policy."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from asyncauth import AuthError, CredentialsRejected, InvalidTokenResponse, RefreshPolicy, TokenEndpointUnavailable
from asyncauth._core.api_401s import NO_API_401, api_401_cooldown, remember_api_401
from asyncauth._core.failures import (
    FailureMemory,
    SharedHold,
    WhileBlocked,
    remember_failure,
    remember_rejection,
)
from asyncauth._core.waits import backoff_after, credential_rejected_cooldown
from asyncauth.stores import Rejection

numbers = st.floats(min_value=0.0, max_value=1.0)
counts = st.integers(min_value=1, max_value=10**6)
walls = st.floats(min_value=0.0, max_value=1e10)
policies = st.builds(
    RefreshPolicy,
    backoff=st.floats(min_value=0.001, max_value=1e6),
    backoff_limit=st.floats(min_value=0.001, max_value=1e6),
    rejection_cooldown=st.floats(min_value=0.1, max_value=1e6),
    refusal_cooldown=st.floats(min_value=0.1, max_value=1e6),
    refusal_cooldown_limit=st.floats(min_value=0.1, max_value=1e6),
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


@given(policies, counts, counts, numbers, numbers)
def test_waits_are_bounded_and_grow(
    policy: RefreshPolicy, count: int, further: int, number: float, larger: float
) -> None:
    """More failures, or a larger random number, never make a wait shorter; none is nothing, or beyond its limit."""
    number, larger = sorted((number, larger))
    more = count + further
    wait = backoff_after(policy, count, number)
    assert (
        0 < wait <= backoff_after(policy, more, number) <= backoff_after(policy, more, larger) <= policy.backoff_limit
    )
    assert 0 < credential_rejected_cooldown(policy, count) <= credential_rejected_cooldown(policy, more) <= 3600
    assert 0 < api_401_cooldown(policy, count) <= api_401_cooldown(policy, more) <= policy.refusal_cooldown_limit
    foreign = api_401_cooldown(policy, count, foreign=True)
    assert api_401_cooldown(policy, count) <= foreign <= max(3600.0, policy.refusal_cooldown_limit)


@given(st.lists(st.tuples(errors, numbers), min_size=1, max_size=20), st.floats(min_value=0, max_value=1e6))
def test_a_failure_is_waited_out_for_an_hour_at_most(failures: list[tuple[AuthError, float]], now: float) -> None:
    """After any failures in a row the next try is due: not at once, and within the hour."""
    policy, before = RefreshPolicy(), None
    for count, (error, number) in enumerate(failures, 1):
        failure = remember_failure(error, before, policy, now=now, deadline=now + 30, unit_random=number)
        assert now < failure.retry_for_callers_at <= failure.retry_at <= now + 3600
        assert failure.failures == count
        assert failure.error is error
        if error.upstream:
            assert failure.while_blocked is WhileBlocked.ASK
        elif not error.transient:
            assert failure.while_blocked is WhileBlocked.FAIL
        else:
            assert (failure.while_blocked is WhileBlocked.FAIL) == (failure.retry_for_callers_at > now + 30)
        seen = failure.seen(now)
        assert seen is not error
        assert seen.retry_after is None or 0 <= seen.retry_after <= 3600.001  # the clock has rounded
        before, now = failure, failure.retry_at


@given(
    st.floats(min_value=0.01, max_value=59.0),
    st.floats(min_value=0.0, max_value=0.02),
    st.lists(numbers, min_size=1, max_size=64),
    st.floats(min_value=0.0, max_value=1e6),
)
def test_callers_are_served_soon_after_an_outage(outage: float, answer: float, luck: list[float], began: float) -> None:
    """At most half a second, or a quarter of the outage, or 3 s after its end; with 15 requests in any 5 s at most."""
    sent, failure, now = list[float](), None, began
    while now < began + outage:
        sent.append(now)
        now += answer
        number = luck[len(sent) % len(luck)]
        failure = remember_failure(
            TokenEndpointUnavailable("down"), failure, RefreshPolicy(), now=now, deadline=now + 30, unit_random=number
        )
        assert failure.while_blocked is WhileBlocked.WAIT
        now = failure.due(callers_wait=True)
    assert now - (began + outage) <= min(max(0.5, outage / 4), 3.0) + answer + 1e-6
    for first in sent:
        assert sum(first <= each <= first + 5 for each in sent) <= 15


@given(
    policies,
    st.lists(st.tuples(st.sampled_from("aab"), numbers, st.booleans(), st.booleans()), min_size=1, max_size=200),
)
def test_no_credential_goes_out_more_than_twenty_times_an_hour(
    policy: RefreshPolicy, tries: list[tuple[str, float, bool, bool]]
) -> None:
    """Whatever the policy and the luck: each try is made as soon as it may be, and may send the credential twice."""
    sent: dict[str, list[float]] = {"a": [], "b": []}
    failure: FailureMemory | None = None
    now = 0.0
    for credential, number, twice, busy in tries:
        answered = [credential] * (1 + twice)
        sent[credential] += [now] * len(answered)
        failure = remember_failure(
            TokenEndpointUnavailable("busy", retry_after=1.0) if busy else InvalidTokenResponse("no"),
            failure,
            policy,
            now=now,
            deadline=now + 30,
            unit_random=number,
            answered=answered,
        )
        now = max(failure.due(callers_wait=True), math.nextafter(now, math.inf))
        if twice:
            continue
        for times in sent.values():
            lately = [each for each in times if each > now - 3600]
            assert len(lately) <= 21, "a try that sends it twice may make it one more"


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=12))
def test_a_cooldown_counts_rejections_of_the_same_credential(credentials: list[str]) -> None:
    """It lasts 60 s, and twice as long for each further rejection of the same credential in a row."""
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


@given(policies, st.lists(st.tuples(st.sampled_from(["drop", "repeat", "unproven", "served"]), numbers), max_size=20))
def test_api_401s_are_damped_for_no_longer_than_the_limit(policy: RefreshPolicy, met: list[tuple[str, float]]) -> None:
    """Each 401 drops the token, begins a cool-down within the limit, or changes nothing because one has begun.

    The next cool-down is never shorter, unless a repeat succeeded in between.
    """
    memory, now, last = NO_API_401, 0.0, 0.0
    for number, (what, step) in enumerate(met):
        now += step * policy.refusal_cooldown_limit
        if what == "served":
            memory, last = memory.after_repeat(), 0.0
            continue
        before, damped = memory, memory.cooling_down(now)
        memory = remember_api_401(
            before,
            policy,
            token=str(number),
            since=now,
            replacement=what != "drop",
            accepted=what == "repeat",
            repeat=what == "repeat",
            now=now,
        )
        if damped:
            assert memory is before
        elif what == "drop":
            assert (memory.drops, memory.last_dropped) == (before.drops + 1, str(number))
            assert not memory.cooling_down(now)
        else:
            assert memory.drops == before.drops
            assert last <= memory.cooldown <= policy.refusal_cooldown_limit
            assert memory.until == now + memory.cooldown
            last = memory.cooldown


@given(policies, walls, st.none() | st.builds(Rejection, digest=st.just("a"), until=walls, times=counts), counts)
def test_what_all_processes_know_of_a_rejection_is_bounded(
    policy: RefreshPolicy, wall: float, known: Rejection | None, times: int
) -> None:
    """It continues the highest count of any process, and makes nobody wait longer than an hour, whatever is stored."""
    after = remember_rejection(known, policy, mark="a", times_here=times, wall=wall)
    assert after.times == 1 + max(times, 0 if known is None else known.times)
    for rejection in (after, known):
        hold = SharedHold.of(rejection, wall)
        assert hold is None or hold.seconds <= 3600
        assert (hold is None) == (rejection is None)
    assert math.isclose(after.until, wall + credential_rejected_cooldown(policy, after.times))
