"""What follows a failed refresh, a rejected credential, and an API's 401."""

from __future__ import annotations

import math

import attrs
import pytest

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    LockTimeout,
    RefreshPolicy,
    StoreError,
    TokenEndpointUnavailable,
)
from asyncauth._core.api_401s import NO_API_401, Api401Memory, api_401_cooldown, remember_api_401
from asyncauth._core.failures import (
    FailedTry,
    FailureMemory,
    SharedHold,
    WhileBlocked,
    is_outage,
    kind_of_failed_try,
    rejections_in_force,
    remember_failure,
    remember_rejection,
)
from asyncauth._core.waits import backoff_after, credential_rejected_cooldown, paced_wait, pause_for_callers
from asyncauth.entry import MOST
from asyncauth.stores import Rejection

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


# How long


@pytest.mark.parametrize(("failures", "seconds"), [(1, 0.25), (2, 0.5), (6, 8.0), (7, 15.0), (8, 15.0), (10_000, 15.0)])
def test_backoff_doubles_to_its_limit(failures: int, seconds: float) -> None:
    """The longest wait doubles with each failure, up to 15 s; the random number takes a part of it, never nothing."""
    assert backoff_after(POLICY, failures, 1.0) == seconds
    assert backoff_after(POLICY, failures, 0.5) == seconds / 2
    assert backoff_after(POLICY, failures, 0.0) == pytest.approx(seconds / 10)


@pytest.mark.parametrize(
    ("outage", "seconds"),
    [(0, 0.5), (2, 0.5), (4, 1), (10, 2.5), (12, 3), (59.999, 3), (60, math.inf), (1e9, math.inf)],
)
def test_pause_for_callers_is_a_quarter_of_the_outage(outage: float, seconds: float) -> None:
    """Half a second at least and 3 s at most, shortened by up to 25 %; after a minute there is no limit of its own."""
    assert pause_for_callers(outage, 1.0) == seconds
    assert pause_for_callers(outage, 0.0) == seconds * 0.75


@pytest.mark.parametrize(("answers", "seconds"), [(1, 0.25), (2, 0.5), (11, 256), (12, 480), (10_000, 480)])
def test_paced_wait_doubles_to_eight_minutes(answers: int, seconds: float) -> None:
    """Shortened by up to 25 %."""
    assert paced_wait(POLICY, answers, 1.0) == seconds
    assert paced_wait(POLICY, answers, 0.0) == seconds * 0.75


@pytest.mark.parametrize(("times", "seconds"), [(1, 60), (2, 120), (6, 1920), (7, 3600), (10_000, 3600)])
def test_cooldown_of_a_rejected_credential_doubles_to_an_hour(times: int, seconds: float) -> None:
    """A rejected credential is held back for a minute, then two, up to an hour."""
    assert credential_rejected_cooldown(POLICY, times) == seconds


@pytest.mark.parametrize(("times", "seconds"), [(1, 5), (2, 10), (4, 40), (5, 60), (10_000, 60)])
def test_cooldown_of_api_401s_doubles_to_a_minute(times: int, seconds: float) -> None:
    """The API's 401s change nothing for 5 s, then 10 s, up to a minute."""
    assert api_401_cooldown(POLICY, times) == seconds


# A failed refresh


def test_transient_failure_is_waited_out() -> None:
    """Network trouble: callers wait for the next try, later each time."""
    first = after(TokenEndpointUnavailable("down"))
    assert (first.retry_at, first.while_blocked, first.failures) == (100.25, WhileBlocked.WAIT, 1)
    second = after(TokenEndpointUnavailable("down"), first)
    assert (second.retry_at, second.while_blocked, second.failures) == (100.5, WhileBlocked.WAIT, 2)


def test_while_callers_wait_the_next_try_is_due_sooner() -> None:
    """By how long the outage has lasted, which counts from its first failure."""
    failure, now = None, 100.0
    due: list[float] = []
    for _ in range(8):
        failure = after(TokenEndpointUnavailable("down"), failure, now=now)
        assert failure.due(callers_wait=False) == failure.retry_at >= failure.retry_for_callers_at
        now = failure.due(callers_wait=True)
        due.append(now - 100)
    assert due == [0.25, 0.75, 1.25, 1.75, 2.25, 2.8125, 3.515625, 4.39453125]


@pytest.mark.parametrize(
    "error", [InvalidTokenResponse("no"), refused("a"), TokenEndpointUnavailable("busy", retry_after=20.0)]
)
def test_callers_shorten_no_pause_that_has_another_reason(error: AuthError) -> None:
    """An unreadable answer, a rejection, and a server that said when it wants to be asked again."""
    failure = after(error)
    assert failure.due(callers_wait=True) == failure.due(callers_wait=False)


def test_an_answer_ends_an_outage() -> None:
    """A server that answers is not down: the next outage begins with its own first failure."""
    down = TokenEndpointUnavailable("down")
    failure = after(down, after(InvalidTokenResponse("no"), after(down, now=100.0), now=150.0), now=160.0)
    assert failure.outage_since == 160


def unreadable(before: FailureMemory | None = None, *, now: float = 100.0, credential: str = "a") -> FailureMemory:
    return remember_failure(
        InvalidTokenResponse("no"),
        before,
        POLICY,
        now=now,
        deadline=now + 30,
        unit_random=1.0,
        answered=[credential],
    )


def test_unreadable_answers_are_waited_out_for_longer_each_time() -> None:
    """Whatever else failed in between; what was never sent is waited out as a busy server is."""
    first = unreadable()
    second = unreadable(after(TokenEndpointUnavailable("down"), first))
    assert (first.retry_at, second.retry_at) == (100.25, 100.5)
    never_sent = after(InvalidTokenResponse("no"), second)
    assert (never_sent.retry_at, never_sent.unreadable) == (102.0, 2)


def test_a_credential_goes_out_twenty_times_an_hour_and_no_more() -> None:
    """The twentieth answer without a token holds it back until the first one is an hour old, whatever fails next."""
    failure: FailureMemory | None = None
    for number in range(19):
        failure = unreadable(failure, now=100.0 + number)
    assert failure is not None
    assert failure.retry_at < 1_000
    other = unreadable(failure, now=119.0, credential="b")
    assert other.retry_at < 1_000
    failure = unreadable(failure, now=119.0)
    assert (failure.retry_at, failure.retry_for_callers_at) == (3_700, 3_700)
    assert failure.while_blocked is WhileBlocked.FAIL
    busy = after(TokenEndpointUnavailable("down"), failure, now=130.0)
    assert (busy.retry_at, busy.while_blocked) == (3_700, WhileBlocked.FAIL)
    later = unreadable(failure, now=3_700.5)
    assert len(later.answers) == 20
    assert later.retry_at == 3_700.5 + 480
    upstream = TokenEndpointUnavailable("down")
    upstream.upstream = True
    assert after(upstream, failure, now=130.0).while_blocked is WhileBlocked.ASK


def test_only_the_credential_that_was_sent_last_is_counted() -> None:
    """Another one was answered earlier in the hour: it neither hides nor shortens the row."""
    failure = unreadable(now=90.0, credential="b")
    for number in range(20):
        failure = unreadable(failure, now=100.0 + number)
    assert failure.retry_at == 3_700


def test_of_more_than_twenty_answers_in_an_hour_the_last_twenty_count() -> None:
    """Somebody asked for a try at once meanwhile: the answers before those twenty hold back for no longer."""
    failure = None
    for number in range(22):
        failure = unreadable(failure, now=100.0 + number)
    assert failure is not None
    assert failure.retry_at == 3_702


def test_a_busy_answer_is_waited_out_as_long_as_a_busy_server() -> None:
    """The credential went out, and nothing else was asked for: no longer than after no answer at all."""
    busy = TokenEndpointUnavailable("busy")
    failure = remember_failure(busy, None, POLICY, now=100.0, deadline=130.0, unit_random=1.0, answered=["a"])
    assert (failure.retry_at, failure.while_blocked) == (100.25, WhileBlocked.WAIT)


@pytest.mark.parametrize(
    ("status", "retry_after", "outage"),
    [
        (None, None, True),
        (500, None, True),
        (503, None, True),
        (503, 5.0, False),
        (None, 5.0, False),
        (408, None, False),
        (425, None, False),
        (429, None, False),
        (429, 5.0, False),
    ],
)
def test_what_is_an_outage(status: int | None, retry_after: float | None, *, outage: bool) -> None:
    """No answer, or a server's error; not what concerns one client alone, and nothing of another endpoint."""
    error = TokenEndpointUnavailable("down", status=status, retry_after=retry_after)
    assert is_outage(error) is outage
    error.upstream = True
    assert not is_outage(error)
    assert not is_outage(InvalidTokenResponse("no", status=status))


def test_a_refusal_that_asks_for_patience_is_paced() -> None:
    """A 401 with ``Retry-After: 1`` is waited out as long as it asks, and longer each time: the password went out."""
    failure, now, due = None, 100.0, list[float]()
    for _ in range(20):
        busy = TokenEndpointUnavailable("busy", retry_after=1.0)
        failure = remember_failure(busy, failure, POLICY, now=now, deadline=now + 30, unit_random=1.0, answered=["a"])
        due.append(failure.due(callers_wait=True) - now)
        now += due[-1]
    assert due[:6] == [1, 1, 1, 2, 4, 8]
    assert due[11] == 480
    assert now - 100.0 >= 3600
    assert failure is not None
    assert failure.while_blocked is WhileBlocked.FAIL


@pytest.mark.parametrize("kind", [AuthError, InvalidTokenResponse, ConfigurationError])
def test_permanent_failure_is_the_callers_at_once(kind: type[AuthError]) -> None:
    """A failure that a retry cannot fix: everybody gets the same error until the backoff is over."""
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
    """A caller that meets the failure later gets the time that is left, and never less than zero."""
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
    assert times(after(refused(None))) == 1
    assert times(after(refused("a"), after(refused(None)))) == 1


def test_upstreams_failures_are_not_held_back_here() -> None:
    """The upstream manager does its own holding back, whatever the failure."""
    for error in (refused("a", upstream=True), TokenEndpointUnavailable("busy", retry_after=300.0)):
        error.upstream = True
        assert after(error).while_blocked is WhileBlocked.ASK


@pytest.mark.parametrize(("now", "may"), [(100.0, True), (159.999, True), (160.0, True)])
def test_credential_that_may_change_is_asked_once_more_at_once(now: float, *, may: bool) -> None:
    """A callable may be looked at again from the rejection on; a plain string never."""
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
    failure = after(TokenEndpointUnavailable("down"), after(refused("a", may_change=True)), now=120.0)
    failure = failure.asked(POLICY, 120.0)
    assert (failure.retry_at, failure.while_blocked, failure.failures) == (160, WhileBlocked.FAIL, 2)
    assert isinstance(failure.error, CredentialsRejected)
    assert [failure.may_ask(now) for now in (179.999, 180.0)] == [False, True]
    nothing = after(TokenEndpointUnavailable("down"))
    assert nothing.asked(POLICY, 120.0) is nothing


def test_hastening_brings_nothing_forward_that_is_due_already() -> None:
    """And forgets no refusal: the next one counts on."""
    one = after(refused("a"))
    assert one.without_backoff(200.0) == one
    hastened = one.without_backoff(130.0)
    assert hastened.retry_at == 130
    assert after(refused("a"), hastened, now=130.0).retry_at == 250


@pytest.mark.parametrize(
    ("error", "meets"),
    [
        (TokenEndpointUnavailable("down"), (False, False)),
        (InvalidTokenResponse("no"), (True, False)),
        (TokenEndpointUnavailable("busy", retry_after=300.0), (True, False)),
    ],
)
def test_callers_get_the_error_where_it_is_not_waited_out(error: AuthError, meets: tuple[bool, bool]) -> None:
    """Until the next try is due, and not from that instant on."""
    failure = after(error)
    edges = [math.nextafter(failure.retry_at, 0.0), failure.retry_at]
    assert tuple(map(failure.fails_callers, edges)) == meets
    assert [failure.may_try(now) for now in edges] == [False, True]


@pytest.mark.parametrize(("now", "may"), [(159.999, False), (160.0, True)])
def test_after_a_look_the_next_one_is_a_cooldown_later(now: float, *, may: bool) -> None:
    """Also where the look brought another credential, which was rejected as well, or one that is not to be sent."""
    looked = after(refused("a", may_change=True)).asked(POLICY, 100.0)
    unsent = refused("a", may_change=True)
    unsent.unsent = True
    for failure in (looked, after(refused("b", may_change=True), looked), after(unsent)):
        assert failure.may_ask(now) == may


def test_rejected_credential_that_may_change_may_be_tried_before_its_time() -> None:
    """Callers get the error until the cool-down is over; a look at the credential may come sooner."""
    failure = after(refused("a", may_change=True), after(refused("a"))).asked(POLICY, 100.0)
    assert [failure.may_try(now) for now in (159.999, 160.0)] == [False, True]
    assert [failure.fails_callers(now) for now in (160.0, 219.999, 220.0)] == [True, True, False]


@pytest.mark.parametrize(("deadline", "goes_on"), [(100.249, False), (100.25, False), (100.251, True)])
def test_refresh_goes_on_if_the_next_try_is_due_before_its_deadline(deadline: float, *, goes_on: bool) -> None:
    """If the next try is past the deadline, or waiting cannot help, the refresh ends."""
    for callers_wait in (False, True):
        failure = after(TokenEndpointUnavailable("down"))
        assert failure.goes_on(100.0, deadline, callers_wait=callers_wait) == goes_on
        assert not after(InvalidTokenResponse("no")).goes_on(100.0, deadline, callers_wait=callers_wait)


def test_refresh_goes_on_at_once_with_a_credential_that_may_have_changed() -> None:
    """Whatever the deadline, and with a string never."""
    assert after(refused("a", may_change=True)).goes_on(100.0, 100.0, callers_wait=True)
    assert not after(refused("a")).goes_on(100.0, 1_000.0, callers_wait=True)


def test_rejections_are_counted_by_credential() -> None:
    """Only of the credential that was rejected last."""
    failure = after(refused("a"), after(refused("a")))
    assert [failure.times_rejected(each) for each in ("a", "b")] == [2, 0]
    assert after(TokenEndpointUnavailable("down")).times_rejected("a") == 0


# What a failed try means


STORED = Rejection(digest="mark", until=1_000.0, times=3)


def unsent(*, upstream: bool = False) -> CredentialsRejected:
    error = refused("a", upstream=upstream)
    error.unsent = True
    return error


@pytest.mark.parametrize("rejection", [None, STORED])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("error", [refused("a"), refused("a", upstream=True), unsent(upstream=True)])
def test_a_rejection_is_a_failure_to_be_remembered(
    error: CredentialsRejected, rejection: Rejection | None, *, sent: bool, at_once: bool
) -> None:
    """A credential that was sent and rejected, and whatever an upstream manager says of its own."""
    assert kind_of_failed_try(error, rejection=rejection, sent=sent, at_once=at_once) is FailedTry.NEW


@pytest.mark.parametrize(
    ("rejection", "at_once", "kind"),
    [
        (None, False, FailedTry.UNCHANGED),
        (None, True, FailedTry.UNCHANGED),
        (STORED, False, FailedTry.NEW),
        (STORED, True, FailedTry.AGAIN),
    ],
)
@pytest.mark.parametrize("sent", [False, True])
def test_a_credential_that_was_not_sent_is_the_one_that_was_rejected(
    rejection: Rejection | None, kind: FailedTry, *, sent: bool, at_once: bool
) -> None:
    """This process knew it, or learns of it from another one, unless somebody wants it sent all the same."""
    assert kind_of_failed_try(unsent(), rejection=rejection, sent=sent, at_once=at_once) is kind


@pytest.mark.parametrize(
    ("sent", "upstream", "kind"),
    [(False, False, FailedTry.UNSEEN), (True, False, FailedTry.NEW), (False, True, FailedTry.NEW)],
)
def test_a_credential_that_could_not_be_obtained_may_be_the_rejected_one(
    kind: FailedTry, *, sent: bool, upstream: bool
) -> None:
    """Where nothing was sent, the failure says nothing of the server."""
    error = TokenEndpointUnavailable("down")
    error.upstream = upstream
    assert kind_of_failed_try(error, rejection=None, sent=sent, at_once=False) is kind


# A rejected credential, for all processes with one store


@pytest.mark.parametrize(
    ("known", "times_here", "times"),
    [
        (None, 0, 1),
        (None, 2, 3),
        (STORED, 0, 4),
        (STORED, 5, 6),
    ],
)
def test_rejections_count_on_from_whoever_counted_furthest(
    known: Rejection | None, times_here: int, times: int
) -> None:
    """This process or another one, of the same credential."""
    after = remember_rejection(known, POLICY, mark="mark", times_here=times_here, wall=500.0)
    assert after == Rejection(digest="mark", times=times, until=500.0 + 60 * 2 ** (times - 1))


def test_a_count_that_an_entry_claims_can_be_counted_on() -> None:
    """The largest number in a store does not end the memory of rejections: the next one is remembered as well."""
    known = attrs.evolve(STORED, times=MOST)
    after = remember_rejection(known, POLICY, mark=known.digest, times_here=0, wall=500.0)
    assert after == Rejection(digest=known.digest, times=MOST, until=500.0 + 3600.0)


def test_a_stored_rejection_holds_until_it_ends() -> None:
    """Each by itself."""
    later = attrs.evolve(STORED, digest="later", until=1_001.0)
    assert rejections_in_force((later, STORED), 999.9) == (later, STORED)
    assert rejections_in_force((later, STORED), 1_000.0) == (later,)
    assert rejections_in_force((), 999.9) == ()


@pytest.mark.parametrize("error", [StoreError("down"), LockTimeout("held")])
def test_a_store_is_looked_at_again_within_a_second(error: StoreError) -> None:
    """Callers who need it wait meanwhile, however often it has failed."""
    before = None
    for now in range(30):
        before = remember_failure(error, before, POLICY, now=now, deadline=now + 30.0, unit_random=1.0)
        assert before.while_blocked is WhileBlocked.WAIT
        assert before.goes_on(now, now + 30.0, callers_wait=True)
        assert now < before.retry_at <= now + 1.0


@pytest.mark.parametrize(("wall", "seconds"), [(900.0, 100.0), (1_100.0, -100.0), (-9_000.0, 3_600.0)])
def test_what_is_stored_of_a_rejection_counts_here(wall: float, seconds: float) -> None:
    """In this process' seconds, from now on, and never for more than an hour."""
    assert SharedHold.of(STORED, wall) == SharedHold(3, seconds)
    assert SharedHold.of(None, wall) is None
    failure = remember_failure(
        refused("a"), None, POLICY, now=100.0, deadline=130.0, unit_random=1.0, shared=SharedHold(3, seconds)
    )
    assert (failure.retry_at, times(failure)) == (100.0 + seconds, 3)


# An API's 401


def after_401(
    before: Api401Memory = NO_API_401,
    *,
    now: float = 100.0,
    since: float = 100.0,
    replacement: bool = True,
    accepted: bool = False,
    repeat: bool = False,
    foreign: bool = False,
) -> Api401Memory:
    return remember_api_401(
        before,
        POLICY,
        token="t",
        since=since,
        replacement=replacement,
        accepted=accepted,
        repeat=repeat,
        now=now,
        foreign=foreign,
    )


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("accepted", [False, True])
def test_a_token_that_replaced_none_is_dropped(*, accepted: bool, repeat: bool) -> None:
    """Whatever it was before: it may have been revoked."""
    memory = after_401(replacement=False, accepted=accepted, repeat=repeat)
    assert memory == Api401Memory(drops=1, last_dropped="t")
    assert not memory.cooling_down(100.0)


@pytest.mark.parametrize(
    ("accepted", "since", "repeat", "stays"),
    [
        (False, 100.0, False, True),
        (False, 95.001, False, True),
        (False, 95.0, False, False),
        (True, 100.0, False, False),
        (True, 0.0, True, True),
    ],
)
def test_a_replacement_stays_if_it_was_never_accepted_or_fails_in_the_repeat(
    since: float, *, accepted: bool, repeat: bool, stays: bool
) -> None:
    """It counts as accepted after 5 s."""
    memory = after_401(since=since, accepted=accepted, repeat=repeat)
    assert memory.cooling_down(100.0) == stays
    assert (memory.drops == 0) == stays


def test_401s_change_nothing_during_a_cool_down() -> None:
    """Which ends to the instant, and is longer the next time until a repeat succeeds."""
    first = after_401()
    assert (first.cooldown, first.until) == (5, 105)
    assert after_401(first, now=104.999) is first
    second = after_401(first, now=105.0, since=105.0)
    assert (second.cooldown, second.until) == (10, 115)
    assert after_401(second.after_repeat(), now=115.0, since=115.0).cooldown == 5


@pytest.mark.parametrize(
    ("times", "seconds"), [(1, 5), (2, 10), (5, 80), (10, 2560), (11, 3600), (12, 3600), (5000, 3600)]
)
def test_cooldown_of_foreign_401s_doubles_to_an_hour(times: int, seconds: float) -> None:
    """A resource behind another scheme costs a token request per hour at most, in the long run."""
    assert api_401_cooldown(POLICY, times, foreign=True) == seconds
    generous = RefreshPolicy(refusal_cooldown_limit=7200.0)
    assert api_401_cooldown(generous, 5000, foreign=True) == 7200


def test_a_long_cool_down_is_for_foreign_401s_alone() -> None:
    """What a challenge of the token's own scheme says counts again after a minute."""
    before = Api401Memory(cooldowns=6)
    memory = after_401(before, foreign=True)
    assert (memory.cooldown, memory.until, memory.foreign_until) == (320, 160, 420)
    assert memory.cooling_down(419.999)  # is what a status tells, of 401s of any kind
    assert after_401(memory, now=159.999) is memory
    assert after_401(memory, now=419.999, foreign=True) is memory
    assert after_401(memory, now=160.0, replacement=False).drops == 1
    # A shorter cool-down that begins meanwhile does not end the long one.
    assert after_401(memory, now=160.0, since=160.0).foreign_until == 420
    assert after_401(memory, now=420.0, since=420.0, foreign=True).cooldown == 640


def test_a_drop_ends_no_row_of_cool_downs() -> None:
    """Only a repeat that succeeds does."""
    assert after_401(after_401(after_401(), now=105.0, replacement=False), now=106.0, since=106.0).cooldown == 10


def test_the_token_that_was_dropped_is_not_shown() -> None:
    """The memory keeps its value, to know it again in a store."""
    assert "last_dropped" not in repr(after_401(replacement=False))
