"""Make before break: no request fails that the old token could have served, and no token is requested for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncauth import RefreshPolicy, Token
from asyncauth._core.cache import TokenState
from asyncauth._core.snapshot import snapshot
from asyncauth._core.trial import Trial, Use

POLICY = RefreshPolicy(jitter=0.0)
LIFE = 3600.0

steps = st.lists(
    st.tuples(
        st.floats(min_value=0.0, max_value=3.0),
        st.sampled_from([Use.BY_HAND, Use.REPEATABLE, Use.REPEATABLE, Use.ONCE]),
    ),
    max_size=60,
)
lags = st.floats(min_value=0.0, max_value=9.9)


def obtained(state: TokenState, value: str, now: float) -> None:
    cached = state.cached_from(
        Token(value, issued_at=0, expires_at=LIFE),
        before=state.cached,
        sent_at=now,
        now=now,
        wall=now,
        unit_random=0.0,
    )
    state.install(cached, wall=now)


@given(lags, steps)
def test_a_renewal_fails_no_request_where_the_api_learns_late(lag: float, requests: list[tuple[float, Use]]) -> None:
    """Each request succeeds within two sendings, one that can be sent once with its first; nothing is ever dropped.

    For any lag under 10 s, and whenever the requests come.
    """
    state = TokenState(POLICY)
    obtained(state, "old", 0.0)
    state.accept(state.cached.token, repeat=False)
    now = since = 2880.0
    obtained(state, "new", now)
    probes = 0
    for pause, use in requests:
        now += pause
        sent = state.hand_out(use, now)
        if use is Use.BY_HAND:
            continue
        if sent.token.value == "old" or now >= since + lag:
            state.accept(sent.token, repeat=False)
            continue
        assert use is Use.REPEATABLE
        probes += 1
        noted = state.note_api_401(sent, repeat=False, foreign=False, again=True, now=now)
        assert (noted.cooldown, noted.pause) == (None, None)
        assert state.hand_out(Use.BY_HAND, now).token.value == "old"
    assert probes <= 6
    assert snapshot(state, "p", now=now, refreshing=False, waiting=0).rejections == 0
    assert now < state.due()


@given(st.floats(min_value=0.0, max_value=1e6), st.lists(st.floats(min_value=0.0, max_value=100.0), max_size=30))
def test_a_trials_next_probe_lies_ahead(since: float, pauses: list[float]) -> None:
    """Whenever one is made: the next one is later, and no later than 6 s."""
    trial, now = Trial.begun(since), since
    for pause in pauses:
        now = max(now + pause, trial.probe_at)
        trial = trial.probed(now)
        assert trial.since == since
        assert now <= trial.probe_at <= now + 6.001
        assert trial.last == (now - since >= 10.0)


@given(
    st.lists(st.tuples(st.floats(min_value=0.0, max_value=5.0), st.sampled_from(["old", "new", "none"])), max_size=60)
)
def test_what_is_handed_out_was_not_dropped(answers: list[tuple[float, str]]) -> None:
    """An API that takes now this one and now that one: a dropped token is never handed out again, and drops are rare.

    Two at most, one of each, without a token request.
    """
    state = TokenState(POLICY)
    obtained(state, "old", 0.0)
    obtained(state, "new", 100.0)
    now, dropped = 100.0, set[str]()
    for pause, good in answers:
        now += pause
        if state.phase(now) == "spent":
            break
        sent = state.hand_out(Use.REPEATABLE, now)
        assert sent.token.value not in dropped
        assert now < sent.usable_until
        if sent.token.value == good:
            state.accept(sent.token, repeat=False)
        elif state.note_api_401(sent, repeat=False, foreign=False, again=False, now=now).cooldown == 0.0:
            dropped.add(sent.token.value)
    assert snapshot(state, "p", now=now, refreshing=False, waiting=0).rejections == len(dropped)
