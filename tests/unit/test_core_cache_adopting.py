"""Which tokens of other processes are taken over, and how long renewals are expected to take."""

from __future__ import annotations

import pytest

from asyncauth import RefreshPolicy, Token, TokenEndpointUnavailable
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import CachedToken

POLICY = RefreshPolicy(jitter=0.0)
WALL = 1e9
"""The wall clock when the monotonic clock is at 0 s."""


def obtained(
    state: TokenState, value: str = "t", *, now: float = 0.0, took: float = 0.0, store_time: float = 0.0
) -> CachedToken:
    """Obtain a token of 100 s, which is fresh for 80 s and usable for 90 s."""
    cached = state.cached_from(
        Token(value, issued_at=0, expires_at=100.0),
        before=state.cached,
        sent_at=now,
        started=now - took,
        now=now,
        wall=WALL + now,
        unit_random=0.0,
        store_time=store_time,
    )
    state.install(cached, wall=WALL + now)
    return cached


def adopted(
    state: TokenState,
    *,
    now: float,
    age: float | None = 0.0,
    value: str = "theirs",
    store_time: float = 0.0,
) -> CachedToken | None:
    """Take over a stored token of 100 s and some age; ``None``: one whose lifetime is unknown."""
    wall = WALL + now
    issued_at = wall - (age or 0.0)
    return state.adoptable(
        Token(value, issued_at=issued_at, expires_at=None if age is None else issued_at + 100.0),
        before=state.cached,
        now=now,
        wall=wall,
        unit_random=0.0,
        store_time=store_time,
    )


def test_nothing_is_counted_before_the_first_token() -> None:
    """Neither refreshes nor callers that waited."""
    state = TokenState(POLICY)
    assert (state.refreshes, state.waits) == (0, 0)


@pytest.mark.parametrize(
    ("age", "now", "taken"),
    [
        (0.0, 50.0, True),
        (79.9, 50.0, True),
        (80.0, 50.0, False),
        (85.0, 89.9, False),
        (85.0, 90.0, True),
        (89.9, 95.0, True),
        (90.0, 95.0, False),
    ],
)
def test_a_stored_token_must_be_better_than_the_current_one(*, age: float, now: float, taken: bool) -> None:
    """It must be fresh while the current token is usable; after that it need only be usable."""
    state = TokenState(POLICY)
    obtained(state)
    cached = adopted(state, now=now, age=age)
    assert (cached is not None) is taken
    if cached is not None:
        assert cached.since == now
        assert cached.fresh_until == pytest.approx(now - age + 80.0)
        assert cached.usable_until == pytest.approx(now - age + 90.0)
        assert cached.token.issued_at == pytest.approx(WALL + now - age)


def test_a_stored_token_of_unknown_lifetime_counts_as_new() -> None:
    """Nobody knows its age."""
    state = TokenState(POLICY)
    cached = adopted(state, now=50.0, age=None)
    assert cached is not None
    assert cached.token.issued_at == WALL + 50.0


def test_a_clock_that_is_ahead_makes_no_token_live_longer() -> None:
    """It counts as obtained just now."""
    cached = adopted(TokenState(POLICY), now=50.0, age=-30.0)
    assert cached is not None
    assert cached.usable_until == 140.0


@pytest.mark.parametrize("value", ["t", "kept-out"])
def test_known_tokens_are_not_adopted(value: str) -> None:
    """Neither the current one, nor the last that a 401 dropped."""
    state = TokenState(POLICY)
    state.invalidate(obtained(state, "kept-out").token, repeat=False, now=0.0)
    obtained(state)
    assert adopted(state, now=95.0, value=value) is None
    assert adopted(state, now=95.0) is not None


def test_a_stored_token_that_cannot_be_sent_is_not_adopted() -> None:
    """Such as one that was marked for an API's 401."""
    assert adopted(TokenState(POLICY), now=0.0, value="") is None
    assert adopted(TokenState(POLICY), now=0.0, value="not one\nline") is None


@pytest.mark.parametrize(("age", "taken", "replacement"), [(49.0, True, False), (9.0, True, True)])
def test_after_a_401_only_a_newer_token_is_adopted(*, age: float, taken: bool, replacement: bool) -> None:
    """Only one that was requested after the 401 counts as the replacement of the token that got it."""
    state = TokenState(POLICY)
    state.invalidate(obtained(state).token, repeat=False, now=40.0)
    cached = adopted(state, now=50.0, age=age)
    assert (cached is not None) is taken
    assert cached is not None
    assert cached.replacement is replacement


def test_after_a_401_no_older_token_is_adopted() -> None:
    """Requested before the token that got it, or at the same moment, it would most likely get one, too."""
    state = TokenState(POLICY)
    state.invalidate(obtained(state).token, repeat=False, now=40.0)
    assert adopted(state, now=50.0, age=50.0) is None
    assert adopted(state, now=50.0, age=60.0) is None


def test_a_token_of_the_moment_of_the_401_is_no_replacement() -> None:
    """Its request may have been sent before."""
    state = TokenState(POLICY)
    state.invalidate(obtained(state).token, repeat=False, now=40.0)
    cached = adopted(state, now=50.0, age=10.0)
    assert cached is not None
    assert not cached.replacement


def test_without_a_401_no_token_is_a_replacement() -> None:
    """However old the current one is."""
    state = TokenState(POLICY)
    obtained(state)
    cached = adopted(state, now=50.0)
    assert cached is not None
    assert not cached.replacement


def test_renewal_begins_earlier_by_what_the_store_takes() -> None:
    """On top of the slowest of the last eight requests, for fetched tokens and adopted ones."""
    state = TokenState(POLICY)
    assert obtained(state, took=10.0).fresh_until == POLICY.windows(100.0, slowest=10.0).fresh
    assert obtained(state, "u", store_time=12.0).fresh_until == POLICY.windows(100.0, slowest=22.0).fresh
    cached = adopted(state, now=0.0, store_time=12.0)
    assert cached is not None
    assert cached.fresh_until == POLICY.windows(100.0, slowest=22.0).fresh
    assert POLICY.windows(100.0, slowest=22.0).fresh < POLICY.windows(100.0, slowest=10.0).fresh


def test_the_slowest_of_the_last_eight_requests_counts() -> None:
    """The ninth does not."""
    state = TokenState(POLICY)
    slow = POLICY.windows(100.0, slowest=15.0).fresh
    assert obtained(state, "0", took=15.0).fresh_until == slow
    fresh = [obtained(state, str(number)).fresh_until for number in range(1, 10)]
    assert fresh == [slow] * 7 + [80.0, 80.0]


@pytest.mark.parametrize(("now", "ends"), [(147.9, False), (148.0, True), (152.0, True), (152.1, False)])
def test_when_a_cached_token_ends(now: float, *, ends: bool) -> None:
    """A server that caches its tokens gives the same one with 0 s to live around its end, which it rounds off."""
    state = TokenState(POLICY)
    obtained(state)
    assert not state.ends_about(100.0)
    obtained(state, now=50.0)
    assert state.ends_about(now) is ends


def test_an_answer_that_comes_too_late_says_how_late() -> None:
    """Its token was spent when it came."""
    state = TokenState(POLICY)
    token = Token("t", issued_at=0, expires_at=100.0)
    with pytest.raises(TokenEndpointUnavailable, match=r"its token lives 100 s, and the answer took 95 s"):
        state.cached_from(token, before=state.cached, sent_at=5.0, now=100.0, wall=WALL, unit_random=0.0)


def test_fetched_and_adopted_tokens_are_counted_apart() -> None:
    """Each token counts once."""
    state = TokenState(POLICY)
    obtained(state)
    obtained(state, "u")
    cached = adopted(state, now=0.0)
    assert cached is not None
    state.install(cached, wall=WALL, adopted=True)
    assert (state.refreshes, state.failures.adoptions) == (2, 1)


def test_a_credential_was_rejected_as_often_as_it_is_known() -> None:
    """Without a failure, never."""
    assert TokenState(POLICY).times_rejected("digest") == 0


def test_a_token_is_stale_from_the_moment_of_its_renewal_on() -> None:
    """And spent from its end on."""
    state = TokenState(POLICY)
    obtained(state)
    assert [state.phase(now) for now in (79.9, 80.0, 89.9, 90.0)] == ["fresh", "stale", "stale", "spent"]


def test_after_a_logout_only_the_tokens_of_before_are_forgotten() -> None:
    """One that came meanwhile stays."""
    state = TokenState(POLICY)
    obtained(state)
    held = state.held()
    newer = obtained(state, "u")
    state.forget(held)
    assert state.cached is newer
    state.forget(state.held())
    assert state.held() == ()
