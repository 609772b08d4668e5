"""When a new token that the API does not know yet is sent again, and when its predecessor is sent in its place."""

from __future__ import annotations

import math

import attrs
import pytest

from asyncauth import RefreshPolicy, Token
from asyncauth._core.api_401s import Api401Memory, after_401_by_hand
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import CachedToken
from asyncauth._core.snapshot import snapshot
from asyncauth._core.trial import Trial, Use, pause_before_repeat, waits_for_proof

POLICY = RefreshPolicy(jitter=0.0)
RULE = {"repeat": False, "foreign": False, "again": False}


def obtained(
    state: TokenState, value: str, *, now: float, lifetime: float = 3600.0, refresh_token: str | None = None
) -> CachedToken:
    token = Token(value, issued_at=0, expires_at=lifetime, refresh_token=refresh_token)
    cached = state.cached_from(token, before=state.cached, sent_at=now, now=now, wall=1e9 + now, unit_random=0.0)
    state.install(cached, wall=1e9 + now)
    return state.cached


@pytest.fixture
def state() -> TokenState:
    """The old token was accepted; the new one came at 1,000 s, and is unproven."""
    state = TokenState(POLICY)
    state.accept(obtained(state, "old", now=100.0).token, repeat=False)
    obtained(state, "new", now=1000.0, refresh_token="refresh-2")
    return state


def value(state: TokenState, use: Use, now: float) -> str:
    return state.hand_out(use, now).token.value


def refused(state: TokenState, now: float, **rule: bool) -> tuple[float | None, float | None]:
    """Have a request carry what it gets, and be answered with 401."""
    sent = state.hand_out(Use.REPEATABLE, now)
    noted = state.note_api_401(sent, **{**RULE, **rule}, now=now)
    return noted.cooldown, noted.pause


# The schedule


def test_probes_are_made_after_a_quarter_of_a_second_and_so_on() -> None:
    """0.25, 0.5, 1, 2, 4 and 10 s after the first 401, if there is a request each time."""
    trial = Trial.begun(100.0)
    probes: list[float] = []
    while len(probes) < 8:
        probes.append(trial.probe_at - trial.since)
        trial = trial.probed(trial.probe_at)
    assert probes == [0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 14.0, 18.0]


@pytest.mark.parametrize(("at", "probe_at"), [(0.49, 0.5), (0.5, 1.0), (3.0, 4.0), (4.0, 10.0), (9.9, 10.0), (60, 64)])
def test_probes_that_nobody_made_are_passed_over(at: float, probe_at: float) -> None:
    """After a time without requests one probe makes up for all that were due."""
    assert Trial.begun(0.0).probed(at).probe_at == probe_at


@pytest.mark.parametrize(("at", "last"), [(9.999, False), (10.0, True), (60.0, True)])
def test_a_last_probe_is_one_after_ten_seconds(at: float, *, last: bool) -> None:
    """From then on a 401 counts as it does for any token. A trial does not begin with its last probe."""
    assert not Trial.begun(at).last
    assert Trial.begun(0.0).probed(at).last is last


@pytest.mark.parametrize(
    ("use", "probes"),
    [(Use.BY_HAND, [False, False, False]), (Use.REPEATABLE, [False, True, True]), (Use.ONCE, [False, False, True])],
)
def test_who_probes(use: Use, probes: list[bool]) -> None:
    """Requests that can be sent again, once a probe is due; others after 10 s; nobody who asks by hand."""
    assert [Trial.begun(0.0).probes(use, now) for now in (0.249, 0.25, 10.0)] == probes


def test_a_request_that_can_be_sent_once_waits_for_ten_seconds() -> None:
    """It carries the predecessor of a new token for so long, unless that is accepted."""
    assert [waits_for_proof(Use.ONCE, 100.0, now) for now in (100.0, 109.999, 110.0)] == [True, True, False]
    assert not waits_for_proof(Use.REPEATABLE, 100.0, 100.0)
    assert not waits_for_proof(Use.BY_HAND, 100.0, 100.0)


@pytest.mark.parametrize(("age", "pause"), [(0.0, 1.0), (0.4, 0.6), (0.75, 0.25), (0.9, 0.25), (4.9, 0.25)])
def test_a_young_token_is_sent_again_when_it_is_a_second_old(age: float, pause: float) -> None:
    """But not at once, and after 1 s at most."""
    assert pause_before_repeat(100.0, 100.0 + age) == pytest.approx(pause)


# The pair


def test_a_new_token_is_handed_out_at_once(state: TokenState) -> None:
    """Its predecessor goes to requests that can be sent once, until it is accepted or 10 s old."""
    assert value(state, Use.BY_HAND, 1000.0) == value(state, Use.REPEATABLE, 1000.0) == "new"
    assert value(state, Use.ONCE, 1009.999) == "old"
    assert value(state, Use.ONCE, 1010.0) == "new"
    state.accept(state.cached.token, repeat=False)
    assert value(state, Use.ONCE, 1000.0) == "new"
    assert state.cached.predecessor is None


def test_a_401_to_an_unproven_token_brings_its_predecessor_back(state: TokenState) -> None:
    """For everybody, but for the probe that is due; no cool-down begins, and nothing is dropped."""
    assert refused(state, 1000.0) == (None, None)
    assert [value(state, use, 1000.1) for use in Use] == ["old"] * 3
    assert value(state, Use.BY_HAND, 1000.25) == "old"
    assert value(state, Use.REPEATABLE, 1000.25) == "new"
    assert value(state, Use.REPEATABLE, 1000.25) == "old"
    assert state.cached.fast_until == -math.inf
    status = snapshot(state, "p", now=1000.25, refreshing=False, waiting=0)
    assert (status.state, status.rejections, status.cooling_down) == ("fresh", 0, False)
    assert status.seconds_left == pytest.approx(100.0 + 3590.0 - 1000.25)


def test_a_probe_that_is_accepted_ends_the_trial(state: TokenState) -> None:
    """Everybody gets the new token from then on."""
    refused(state, 1000.0)
    state.accept(state.hand_out(Use.REPEATABLE, 1000.25).token, repeat=False)
    assert [value(state, use, 1000.3) for use in Use] == ["new"] * 3
    assert state.cached.trial is None


def test_401s_of_a_trial_change_nothing(state: TokenState) -> None:
    """Neither those of probes before the last, nor late ones of requests that were sent before the trial."""
    early = state.hand_out(Use.REPEATABLE, 1000.0)
    assert refused(state, 1000.0) == (None, None)
    for now in (1000.25, 1000.5, 1001.0, 1002.0, 1004.0):
        assert refused(state, now) == (None, None)
        assert state.cached.token.value == "new"
    assert state.note_api_401(early, **RULE, now=1050.0).cooldown is None
    assert not state.cached.api_401


def test_after_ten_seconds_it_is_dropped_and_its_predecessor_serves_on(state: TokenState) -> None:
    """Renewal is due then, and nobody waits for it."""
    refused(state, 1000.0)
    assert refused(state, 1010.0) == (0.0, None)
    assert state.cached.api_401
    assert [value(state, use, 1010.0) for use in Use] == ["old"] * 3
    assert state.due() <= 1010.0
    assert state.phase(1010.0) == "stale"
    assert state.cached.last is not None
    assert state.cached.last.refresh_token == "refresh-2"  # the old token's was used up for it
    obtained(state, "third", now=1011.0)
    assert state.cached.replacement
    assert state.cached.predecessor is not None
    assert state.cached.predecessor.token.value == "old"


def test_a_replacement_is_damped_before_it_is_dropped(state: TokenState) -> None:
    """An API that takes no new token at all costs a token request per cool-down."""
    refused(state, 1000.0)
    refused(state, 1010.0)
    obtained(state, "third", now=1010.0)
    assert refused(state, 1010.0) == (None, None)
    assert refused(state, 1020.0) == (5.0, None)
    assert refused(state, 1024.0) == (None, None)
    assert not state.cached.api_401
    assert refused(state, 1028.0) == (0.0, None)
    obtained(state, "fourth", now=1028.0)
    refused(state, 1028.0)
    assert refused(state, 1038.0) == (10.0, None)


def test_a_401_to_both_begins_a_cool_down(state: TokenState) -> None:
    """Both stay: the caller gets it, and the new token is probed on."""
    refused(state, 1000.0)
    assert refused(state, 1000.1) == (5.0, None)  # the old one's
    assert refused(state, 1000.2) == (None, None)
    assert value(state, Use.BY_HAND, 1000.2) == "old"
    assert value(state, Use.REPEATABLE, 1000.25) == "new"


def test_a_predecessor_that_gets_a_401_later_is_dropped(state: TokenState) -> None:
    """When the trial is over, its 401 counts: there is nothing left that could serve. Not during a cool-down."""
    refused(state, 1000.0)
    refused(state, 1010.0)
    damped = attrs.evolve(state.failures.api_401s, until=1011.0, foreign_until=1011.0)
    state.own_failures().api_401s = damped
    assert refused(state, 1010.5) == (None, None)
    assert value(state, Use.BY_HAND, 1011.0) == "old"
    assert refused(state, 1011.0) == (0.0, None)
    assert state.phase(1011.0) == "spent"


def test_a_late_401_to_the_predecessor_costs_nothing(state: TokenState) -> None:
    """It is no more of use, and the new token stays the current one."""
    late = attrs.evolve(state.cached.predecessor or state.cached)
    assert state.note_api_401(late, **RULE, now=1000.0).cooldown is None
    assert state.cached.predecessor is None
    assert value(state, Use.ONCE, 1000.0) == "new"
    assert state.note_api_401(late, **RULE, now=1000.0).cooldown is None


def test_a_predecessor_serves_until_its_end(state: TokenState) -> None:
    """Then the new one is handed out again, known or not."""
    refused(state, 1000.0)
    ends = 100.0 + 3590.0
    assert value(state, Use.BY_HAND, ends - 0.001) == "old"
    assert [value(state, use, ends) for use in Use] == ["new"] * 3


def test_a_predecessor_serves_where_the_new_token_ends_first(state: TokenState) -> None:
    """A new token that lives shorter than the one before it leaves nobody without a token."""
    obtained(state, "short", now=1000.0, lifetime=10.0)
    assert value(state, Use.BY_HAND, 1009.0) == "new"
    assert state.phase(1009.0) == "stale"


def test_a_spent_token_is_no_predecessor(state: TokenState) -> None:
    """Neither is one that got a 401, nor one with the same value."""
    obtained(state, "third", now=9000.0)
    assert state.cached.predecessor is None
    obtained(state, "third", now=9001.0)
    assert state.cached.predecessor is None
    state.accept(state.cached.token, repeat=False)
    assert state.note_api_401(state.cached, **RULE, now=9002.0).cooldown == 0.0
    obtained(state, "fourth", now=9003.0)
    assert state.cached.predecessor is None


def test_there_is_one_predecessor_at_most(state: TokenState) -> None:
    """However often an unproven token is renewed: no row of tokens grows."""
    for number in range(3):
        obtained(state, f"n-{number}", now=1001.0 + number)
    predecessor = state.cached.predecessor
    assert predecessor is not None
    assert predecessor.token.value == "n-1"
    assert predecessor.predecessor is None
    # The one that serves in a trial stays, whatever is fetched meanwhile.
    refused(state, 1004.0)
    obtained(state, "next", now=1005.0)
    assert state.cached.predecessor is not None
    assert state.cached.predecessor.token.value == "n-1"


def test_no_refresh_token_is_kept_twice(state: TokenState) -> None:
    """A predecessor has none: the new token's counts."""
    obtained(state, "third", now=1001.0, refresh_token="refresh-3")
    assert state.cached.predecessor is not None
    assert state.cached.predecessor.token.refresh_token is None
    assert state.cached.predecessor.token.value == "new"


# By hand


def test_a_drop_by_hand_leaves_no_predecessor(state: TokenState) -> None:
    """Nobody would tell what becomes of it."""
    assert state.invalidate(state.cached.token, repeat=False, now=1000.0) == 0.0
    assert state.phase(1000.0) == "spent"


def test_a_drop_by_hand_is_of_what_callers_get(state: TokenState) -> None:
    """In a trial that is the predecessor; the new token, which they don't get, stays on trial."""
    old = (state.cached.predecessor or state.cached).token
    refused(state, 1000.0)
    assert state.invalidate(state.cached.token, repeat=False, now=1000.1) is None
    assert value(state, Use.BY_HAND, 1000.1) == "old"
    assert state.invalidate(old, repeat=False, now=1000.2) == 0.0
    assert value(state, Use.BY_HAND, 1000.2) == "new"
    assert snapshot(state, "p", now=1000.2, refreshing=False, waiting=0).rejections == 1


# Without a predecessor


@pytest.fixture
def cold() -> TokenState:
    """A first token, unproven, that came at 1,000 s."""
    state = TokenState(POLICY)
    obtained(state, "first", now=1000.0)
    return state


def test_a_young_token_is_sent_once_more(cold: TokenState) -> None:
    """It may not be known yet; so it is not dropped before."""
    assert refused(cold, 1000.0, again=True) == (None, 1.0)
    assert not cold.cached.api_401
    assert refused(cold, 1001.0) == (0.0, None)


@pytest.mark.parametrize(("at", "young"), [(1004.999, True), (1005.0, False)])
def test_a_token_is_young_for_five_seconds(cold: TokenState, at: float, *, young: bool) -> None:
    """Then a 401 drops it at once."""
    assert refused(cold, at, again=True) == ((None, 0.25) if young else (0.0, None))


def test_an_accepted_token_is_dropped_at_once(cold: TokenState) -> None:
    """The API knew it, and knows it no more. One that was sent before it was accepted is sent once more first."""
    early = cold.cached
    cold.accept(early.token, repeat=False)
    assert cold.note_api_401(early, **{**RULE, "again": True}, now=1000.5).pause == 0.0
    assert cold.note_api_401(early, **RULE, now=1000.5).pause is None
    assert not cold.cached.api_401
    assert refused(cold, 1000.5, again=True) == (0.0, None)


def test_a_token_that_was_refused_before_is_not_young(cold: TokenState) -> None:
    """A server that hands the same one out again brings no new one."""
    refused(cold, 1000.0)
    obtained(cold, "first", now=1000.1)
    assert refused(cold, 1000.1, again=True) == (5.0, None)


def test_no_young_token_is_waited_for_in_a_cool_down(cold: TokenState) -> None:
    """An API that refuses everything keeps nobody waiting a second per request."""
    refused(cold, 1000.0)
    obtained(cold, "second", now=1000.0)
    assert refused(cold, 1000.0, again=True) == (None, 1.0)
    assert refused(cold, 1000.0, repeat=True) == (5.0, None)
    assert refused(cold, 1001.0, again=True) == (None, None)


def test_a_token_that_was_requested_before_the_401_is_not_waited_for(cold: TokenState) -> None:
    """What the repeat of a request carries was revoked together with its predecessor, most likely."""
    assert refused(cold, 1000.0, again=True, repeat=True) == (0.0, None)
    obtained(cold, "replacement", now=1000.0)
    assert refused(cold, 1000.0, again=True, repeat=True) == (None, 1.0)


@pytest.mark.parametrize(("until", "drops"), [(1000.0, 1), (2000.0, 0)])
def test_a_predecessor_is_dropped_by_hand_during_a_foreign_cool_down(
    state: TokenState, until: float, drops: int
) -> None:
    """That concerns 401s with foreign challenges alone; a caller tells of no challenges."""
    cached = state.cached.on_trial(Trial.begun(1001.0))
    assert cached.predecessor is not None
    memory = Api401Memory(until=until, foreign_until=2000.0)
    after = after_401_by_hand(cached, memory, POLICY, cached.predecessor.token, repeat=False, now=1001.1)
    assert after.memory.drops == drops
