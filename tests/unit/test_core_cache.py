"""What a manager knows of its token: transitions told the time."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
)
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import NOTHING, CachedToken, Fallback, checked_lifetime
from asyncauth._core.snapshot import snapshot
from asyncauth._core.trial import Trial
from asyncauth._http.carrier import PLAIN, Carrier

POLICY = RefreshPolicy(jitter=0.0)


def obtained(state: TokenState, value: str = "t", *, now: float = 0.0, lifetime: float | None = 100.0) -> CachedToken:
    token = Token(value, issued_at=0, expires_at=lifetime, refresh_token="r")
    held = state.cached_from(token, before=state.cached, sent_at=now, now=now, wall=1e9 + now, unit_random=0.0)
    state.install(held, wall=1e9 + now)
    return held


@pytest.mark.parametrize(
    ("carried_as", "scheme", "text"),
    [
        ("header:Authorization", None, "Bearer t"),
        ("header:Authorization", "Token", "Token t"),
        ("header:X-Api-Token", None, "t"),
        ("cookie:SESSION", None, "SESSION=t"),
    ],
)
def test_a_token_is_cached_as_requests_carry_it(carried_as: str, scheme: str | None, text: str) -> None:
    """The text is made once per token, not once per request."""
    carrier = Carrier.of(carried_as, scheme)
    state, token = TokenState(POLICY), Token("t", issued_at=0, expires_at=100.0)
    given: dict[str, Any] = {"now": 0.0, "wall": 0.0, "unit_random": 0.0, "carrier": carrier}
    assert state.cached_from(token, before=NOTHING, sent_at=0.0, **given).authorization == text
    adopted = state.adoptable(token, before=NOTHING, **given)
    assert adopted is not None
    assert adopted.authorization == text


@pytest.mark.parametrize("lifetime", [0.5, 2.0])
def test_without_a_store_no_time_is_set_aside_for_one(lifetime: float) -> None:
    """Nor for token requests, of which there have been none, or only some that took no time."""
    state, token = TokenState(POLICY), Token("t", issued_at=0, expires_at=lifetime)
    given: dict[str, Any] = {"now": 0.0, "wall": 0.0, "unit_random": 0.0}
    adopted = state.adoptable(token, before=NOTHING, **given)
    assert adopted is not None
    assert adopted.fresh_until == POLICY.windows(lifetime, slowest=0.0).fresh
    fetched = state.cached_from(token, before=NOTHING, sent_at=0.0, **given)
    assert fetched.fresh_until == POLICY.windows(lifetime, slowest=0.0).fresh


def test_nothing_is_due_before_there_is_a_token() -> None:
    """A new state may try, holds nothing off, and is empty."""
    state = TokenState(POLICY)
    assert state.cached is NOTHING
    assert state.may_try(0.0)
    assert state.blocking_failure(0.0) is None
    assert snapshot(state, "p", now=0.0, refreshing=False, waiting=0).state == "empty"


def test_next_refresh_waits_for_windows_and_setback() -> None:
    """due() is when the token turns stale, or later when a failure is being waited out."""
    state = TokenState(POLICY)
    obtained(state)
    assert state.due() == 80
    state.fail(TokenEndpointUnavailable("busy", retry_after=300.0), now=80.0, deadline=110.0, unit_random=1.0)
    assert state.due() == 380
    assert not state.may_try(379.999)
    assert state.may_try(380.0)


def test_callers_meet_a_hold_and_not_a_backoff() -> None:
    """A failure that the flight waits out is not raised; one that it does not is, until it is over."""
    state = TokenState(POLICY)
    state.fail(TokenEndpointUnavailable("down"), now=0.0, deadline=30.0, unit_random=1.0)
    assert state.blocking_failure(0.1) is None
    state.fail(CredentialsRejected("no"), now=1.0, deadline=30.0, unit_random=1.0)
    assert isinstance(state.blocking_failure(60.999), CredentialsRejected)
    assert state.blocking_failure(61.0) is None
    assert state.failures.failures == 2


def test_success_forgets_failures() -> None:
    """After a success nothing is waited out."""
    state = TokenState(POLICY)
    state.fail(AuthError("no"), now=0.0, deadline=30.0, unit_random=1.0)
    obtained(state, now=1.0)
    assert state.failure is None
    assert snapshot(state, "p", now=1.0, refreshing=False, waiting=0).last_error is None


def test_lost_refresh_token_is_forgotten_only_with_its_token() -> None:
    """A refresh token is forgotten if the token that it came with is still the one held."""
    state = TokenState(POLICY)
    before = obtained(state, "one")
    state.lose_refresh_token(before)
    assert state.cached.token.refresh_token is None
    assert state.cached.token.value == "one"
    obtained(state, "two")
    state.lose_refresh_token(before)
    assert state.cached.token.refresh_token == "r"


def test_look_at_a_refused_credential_is_noted() -> None:
    """The next one is due a cool-down later; where nothing was refused there is nothing to note."""
    state = TokenState(POLICY)
    assert state.ask(0.0) is None
    error = CredentialsRejected("no")
    error.may_change = True
    state.fail(error, now=0.0, deadline=30.0, unit_random=1.0)
    asked = state.ask(60.0)
    assert asked is not None
    assert asked is state.failure
    assert [asked.may_ask(now) for now in (119.999, 120.0)] == [False, True]


@pytest.mark.parametrize(("now", "fine"), [(89.999, True), (90.0, False), (91.0, False)])
def test_token_must_be_usable_when_it_arrives(now: float, *, fine: bool) -> None:
    """An answer that took until the end of its token's use is none, at the edge too: it may be faster next time."""
    state = TokenState(POLICY)
    token = Token("t", issued_at=0, expires_at=100)
    if fine:
        held = state.cached_from(token, before=NOTHING, sent_at=0.0, now=now, wall=0.0, unit_random=0.0)
        assert held.usable_until == 90
    else:
        with pytest.raises(TokenEndpointUnavailable, match="the answer came too late"):
            state.cached_from(token, before=NOTHING, sent_at=0.0, now=now, wall=0.0, unit_random=0.0)
    assert state.cached is NOTHING


def test_nothing_stays_nothing() -> None:
    """What is shared by all managers before their first token can't be changed through one of them."""
    state = TokenState(POLICY)
    for _ in range(2):
        assert state.invalidate(Token(""), repeat=False, now=0.0) is None
        state.accept(Token(""), repeat=True)
    assert (NOTHING.accepted, NOTHING.api_401, NOTHING.last, NOTHING.fast_until) == (False, False, None, -math.inf)


def test_refusals_from_many_threads_drop_a_token_once() -> None:
    """Of a hundred threads that report the same token one drops it."""
    state = TokenState(POLICY)
    held = obtained(state)
    found: list[float | None] = []
    start = threading.Barrier(8)

    def refuse() -> None:
        start.wait()
        found.append(state.invalidate(held.token, repeat=False, now=1.0))

    threads = [threading.Thread(target=refuse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [0.0] + [None] * 7
    assert state.failures.api_401s.drops == 1


def test_before_the_first_token_nothing_is_known() -> None:
    """No token has been current at any time, nor does the server seem to cache its tokens."""
    assert (NOTHING.since, NOTHING.fresh_until, NOTHING.usable_until) == (-math.inf, -math.inf, -math.inf)
    assert (NOTHING.replacement, NOTHING.accepted, NOTHING.again) == (False, False, False)


@pytest.mark.parametrize(("successors", "kept"), [("refresh-1", "refresh-1"), ("refresh-2", None), (None, None)])
def test_a_predecessor_keeps_a_refresh_token_that_is_still_the_one(successors: str | None, kept: str | None) -> None:
    """One that was replaced, or that the new token has not, is spent."""
    before = CachedToken(Token("access-1", refresh_token="refresh-1"))
    predecessor = before.as_predecessor(Token("access-2", refresh_token=successors))
    assert predecessor.token.value == "access-1"
    assert predecessor.token.refresh_token == kept


@pytest.mark.parametrize(("now", "served"), [(49.9, "old"), (50.0, "new")])
def test_a_predecessor_serves_up_to_its_end(now: float, served: str) -> None:
    """Not at it: it is spent from then on."""
    old = CachedToken(Token("old"), usable_until=50.0)
    new = CachedToken(Token("new"), usable_until=100.0, fallback=Fallback(old, Trial.begun(1.0)))
    assert new.serving(now).token.value == served


@pytest.mark.parametrize(
    ("value", "kind"),
    [("", "Bearer"), ("a b", "Bearer"), ("a\nb", "Bearer"), ("ñ", "Bearer"), ("a", "a b"), ("a", "ñ"), ("a", "")],
)
def test_what_cannot_travel_in_a_header_is_no_token(value: str, kind: str) -> None:
    """Visible ASCII in the token; letters, digits and hyphens in its type."""
    with pytest.raises(InvalidTokenResponse) as caught:
        checked_lifetime(Token(value, token_type=kind), PLAIN)
    assert caught.value.message.endswith("can't travel in a header")


def test_a_token_that_its_place_cannot_hold_is_useless() -> None:
    """A semicolon would end a cookie; a header may contain one."""
    token = Token("a;b", issued_at=100.0, expires_at=200.0)
    with pytest.raises(InvalidTokenResponse, match="a cookie cannot contain"):
        checked_lifetime(token, Carrier.of("cookie:SESSION", None))
    assert checked_lifetime(token, PLAIN) == 100.0


@pytest.mark.parametrize(
    ("expires_at", "lifetime"), [(None, None), (math.inf, None), (100.25, 0.25), (101.0, 1.0), (3700.0, 3600.0)]
)
def test_how_long_a_token_lives(expires_at: float | None, lifetime: float | None) -> None:
    """However short that is; one without an end lives for an unknown time."""
    assert checked_lifetime(Token("a", issued_at=100.0, expires_at=expires_at), PLAIN) == lifetime


@pytest.mark.parametrize("expires_at", [100.0, 99.0, math.nan])
def test_a_token_that_does_not_live(expires_at: float) -> None:
    """It was expired on arrival."""
    with pytest.raises(InvalidTokenResponse) as caught:
        checked_lifetime(Token("a", issued_at=100.0, expires_at=expires_at), PLAIN)
    assert caught.value.message == "the token was expired on arrival"
    assert caught.value.expired
