"""Point 7 of the refresh contract: what failures cost, and whom."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import math
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from core_kit import engine_of
from harness.canary import MARK
from harness.loops import close_under_its_tasks
from random_kit import largest

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    ManagerClosed,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.try_state import current_try
from asyncauth.testing import FakeClock, FakeProvider
from asyncauth.token import digest

Make = Callable[..., TokenManager]
Settled = Callable[[], Awaitable[None]]

DOWN = TokenEndpointUnavailable("down")


def refused(credential: str | None = "wrong", *, may_change: bool = False) -> CredentialsRejected:
    error = CredentialsRejected("no", status=401)
    error.credential = None if credential is None else digest(credential)
    error.may_change = may_change
    return error


async def outcome(manager: TokenManager) -> str | AuthError:
    try:
        return (await manager.token()).value
    except AuthError as error:
        return error


class Timed(FakeProvider):
    """Notes when it was asked."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked_at: list[float] = []

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        assert self.clock is not None
        self.asked_at.append(self.clock.monotonic() - 1_000)
        return await super().fetch(http, previous)


class Callable_(FakeProvider):  # noqa: N801
    """Has a callable for its password, as `Peakly` may have, and a server that knows one password."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.password = "wrong"
        self.right = "right"
        self.looked = self.tried = 0

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        password, refusal = self.password, current_try().credential_rejected
        self.looked += 1
        if refusal is not None and refusal.credential == digest(password):
            known = refusal.again()
            known.unsent = True
            raise known
        self.tried += 1
        if password != self.right:
            raise refused(password, may_change=True)
        return await super().fetch(http, previous)


# --- transient


async def test_backoff_doubles_at_most_while_nobody_waits(make: Make, clock: FakeClock) -> None:
    """A renewal that fails is tried again after 0.25 s, 0.5 s and so on up to 15 s apart, flight after flight."""
    provider = Timed(clock=clock)
    async with make(provider) as manager:
        await manager.token()
        provider.answers = [DOWN] * 100
        await clock.advance(2880 + 40)
        assert [at - 2880 for at in provider.asked_at[1:]] == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 30.75]


async def test_while_callers_wait_a_failing_endpoint_is_tried_sooner(make: Make, clock: FakeClock) -> None:
    """A pause takes half a second at most, or a quarter of the outage so far, or 3 s; until the deadline."""
    provider = Timed(clock=clock, answers=[DOWN] * 100)
    waiting = asyncio.ensure_future(outcome(make(provider)))
    await clock.advance(40)
    assert isinstance(await waiting, TokenEndpointUnavailable)
    pauses = [later - at for at, later in itertools.pairwise(provider.asked_at)]
    assert pauses[:5] == [0.25, 0.5, 0.5, 0.5, 0.5]
    assert all(
        pause == pytest.approx(min(at / 4, 3.0)) for at, pause in zip(provider.asked_at[5:], pauses[5:], strict=False)
    )
    assert provider.asked_at[-1] <= 30 < provider.asked_at[-1] + 3


async def test_a_caller_shortens_a_pause_that_began_without_it(make: Make, clock: FakeClock) -> None:
    """A renewal rests for seconds when the token runs out: a caller who comes then has the next try made at once."""
    provider = Timed(clock=clock, lifetime=100.0)
    async with make(provider) as manager:
        await manager.token()
        provider.answers = [DOWN] * 8
        await clock.advance(99)  # renewal began at 80; its last try was at 95.75, and the next is due at 110.75
        assert provider.asked_at[-1] == 95.75
        waiting = asyncio.ensure_future(outcome(manager))
        await clock.advance(0)
        assert provider.asked_at[-1] == 99
        provider.answers.clear()
        await clock.advance(3)
        assert await waiting == "token-2"
        assert provider.asked_at[-1] == 102


async def test_a_caller_who_comes_as_a_rest_begins_is_noticed() -> None:
    """Another thread's caller may come between the look at who waits and the sleep."""

    class Interrupted(FakeClock):
        manager: TokenManager | None = None

        def sleep(self, seconds: float) -> Any:
            flight = None if self.manager is None else engine_of(self.manager).flight
            if seconds == 0.25 and flight is not None and flight.work is not None:
                self.manager = None
                flight.work.nudge()
                flight.retry_now()
            return super().sleep(seconds)

    clock = Interrupted()
    manager = TokenManager(FakeProvider(clock=clock, answers=[DOWN]), clock=clock, random=largest)
    clock.manager = manager
    assert (await asyncio.wait_for(manager.token(), 5)).value == "token-1"


async def test_a_credential_that_does_not_come_is_no_silent_endpoint(clock: FakeClock) -> None:
    """The error of a callable that hangs says that nothing was sent."""

    async def password() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    manager = TokenManager(Peakly(username="ana", password=password), clock=clock)
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(30.0)
    error = await waiting
    assert isinstance(error, TokenEndpointUnavailable)
    assert error.message == "the credential could not be obtained in time: nothing was sent"
    assert (error.provider, error.step) == ("peakly", "token")


async def test_callers_who_leave_shorten_nothing_any_more(make: Make, clock: FakeClock) -> None:
    """When all who waited are gone, the pauses are the background's again; the next caller shortens them again."""
    provider = Timed(clock=clock, answers=[DOWN] * 100)
    manager = make(provider)
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(10)
    waiting.cancel()
    await clock.advance(3)  # the try that was due is made
    tries = provider.calls
    await clock.advance(8)
    assert provider.calls == tries
    assert manager.status().waiting_for is None
    again = asyncio.ensure_future(outcome(manager))
    await clock.advance(1)
    assert provider.calls == tries + 1
    assert manager.status().waiting_for == 1
    await manager.close()
    assert isinstance(await again, ManagerClosed)


async def test_after_a_minute_of_outage_the_pauses_are_long_again(make: Make, clock: FakeClock) -> None:
    """Callers then wait for up to `backoff_limit`: an outage so long is asked after less often."""
    provider = Timed(clock=clock, answers=[DOWN] * 1000)
    manager = make(provider)
    for _ in range(3):
        waiting = asyncio.ensure_future(outcome(manager))
        await clock.advance(30)
        await waiting
    pauses = [later - at for at, later in itertools.pairwise(provider.asked_at)]
    first_minute = [pause for at, pause in zip(provider.asked_at, pauses, strict=False) if at < 60]
    after = [pause for at, pause in zip(provider.asked_at, pauses, strict=False) if at >= 60]
    assert max(first_minute) <= 3
    assert after
    assert min(after) == 15


async def test_flight_has_a_deadline_for_all_its_tries(make: Make, clock: FakeClock) -> None:
    """A flight ends within the deadline when the endpoint hangs, whatever the number of tries."""
    manager = make(FakeProvider(clock=clock, latency=math.inf))
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(29.999)
    assert not waiting.done()
    await clock.advance(0.001)
    error = await waiting
    assert isinstance(error, TokenEndpointUnavailable)
    assert str(error).startswith("no answer in time [fake]: is the server overloaded, or")
    assert not manager.status().refreshing


async def test_backoff_outlives_the_flight(make: Make, clock: FakeClock) -> None:
    """The next flight waits out what is left of the pause before it asks."""
    provider = Timed(clock=clock, answers=[DOWN] * 100)
    manager = make(provider)
    failing = asyncio.ensure_future(outcome(manager))
    await clock.advance(30)
    assert isinstance(await failing, AuthError)
    due, provider.answers = provider.asked_at[-1] + 3, []
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(due - 30 - 0.001)
    assert not waiting.done()
    await clock.advance(0.001)
    assert await waiting == "token-1"
    assert provider.asked_at[-1] == due


async def test_fifty_callers_of_an_endpoint_that_is_down_are_one_flight(make: Make, clock: FakeClock) -> None:
    """Callers of an endpoint that is down fail together, not one after another."""
    provider = Timed(clock=clock, answers=[DOWN] * 1_000)
    manager = make(provider)
    waiting = [asyncio.ensure_future(outcome(manager)) for _ in range(50)]
    await clock.advance(30)
    assert all(isinstance(each, TokenEndpointUnavailable) for each in await asyncio.gather(*waiting))
    assert provider.calls == 19


async def test_success_forgets_the_backoff(make: Make, clock: FakeClock) -> None:
    """After a success the first wait is a short one again."""
    provider = Timed(clock=clock, answers=[DOWN, DOWN])
    manager = make(provider)
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(1)
    assert await waiting == "token-1"
    assert manager.status().last_error is None
    provider.answers = [DOWN]
    again = asyncio.ensure_future(manager.refresh())
    await clock.advance(0.25)
    assert (await again).value == "token-2"


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
async def test_failure_is_seen_in_status_and_log(
    make: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """status() and the log show a failing renewal, even while callers do not notice it."""
    caplog.set_level(logging.DEBUG, "asyncauth")
    provider = FakeProvider(clock=clock)
    manager = make(provider)
    await manager.token()
    provider.answers = [DOWN] * 100
    await clock.advance(2900)
    assert await outcome(manager) == "token-1"
    await clock.advance(0.1)
    status = manager.status()
    assert status.state == "stale"
    assert status.refreshing
    assert status.healthy
    assert not status.cooling_down
    assert status.last_error == "TokenEndpointUnavailable: down [fake]"
    assert status.next_refresh_in == pytest.approx(0.15)
    assert "(the current token is usable for 11.5 min; next try in 0.2 s; no action needed)" in caplog.text


# --- Retry-After


async def test_retry_after_within_the_deadline_is_waited_out(make: Make, clock: FakeClock) -> None:
    """A Retry-After that ends before the deadline is honoured within the flight."""
    provider = Timed(clock=clock, answers=[TokenEndpointUnavailable("busy", retry_after=20)])
    waiting = asyncio.ensure_future(outcome(make(provider)))
    await clock.advance(19.999)
    assert not waiting.done()
    await clock.advance(0.001)
    assert await waiting == "token-1"
    assert provider.asked_at == [0, 20]


async def test_retry_after_beyond_the_deadline_fails_at_once_and_holds(make: Make, clock: FakeClock) -> None:
    """A Retry-After beyond the deadline fails the flight at once, and is held against everybody until it is over."""
    provider = Timed(clock=clock, answers=[TokenEndpointUnavailable("busy", status=429, retry_after=300)])
    manager = make(provider)
    first = await outcome(manager)
    assert isinstance(first, TokenEndpointUnavailable)
    assert first.retry_after == 300
    await clock.advance(299)
    later = await outcome(manager)
    assert isinstance(later, TokenEndpointUnavailable)
    assert later is not first
    assert later.retry_after == pytest.approx(1)
    assert manager.status().cooling_down
    assert provider.calls == 1
    await clock.advance(1)
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, 300]


async def test_refresh_by_hand_does_not_wait_for_retry_after(make: Make, clock: FakeClock) -> None:
    """refresh() asks at once, whatever Retry-After said."""
    provider = Timed(clock=clock, answers=[TokenEndpointUnavailable("busy", retry_after=300)])
    manager = make(provider)
    await outcome(manager)
    await clock.advance(1)
    assert (await manager.refresh()).value == "token-1"
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, 1]


async def test_retry_after_never_withholds_a_usable_token(make: Make, clock: FakeClock) -> None:
    """While the token is usable a Retry-After concerns the renewal alone."""
    provider = Timed(clock=clock)
    manager = make(provider)
    await manager.token()
    provider.answers = [TokenEndpointUnavailable("busy", retry_after=300)]
    await clock.advance(2880)
    for _ in range(29):
        assert await outcome(manager) == "token-1"
        await clock.advance(10)
    assert provider.asked_at == [0, 2880]
    await clock.advance(10)
    await outcome(manager)
    await clock.advance(0)
    assert provider.asked_at == [0, 2880, 3180]


@pytest.mark.parametrize(
    ("asked_for", "waited"), [(7200, 3600), (math.inf, 3600), (0, 0.25), (-5, 0.25), (math.nan, 0.25)]
)
async def test_absurd_retry_after_is_bounded(make: Make, clock: FakeClock, asked_for: float, waited: float) -> None:
    """Retry-After holds for an hour at most, and never less than the backoff."""
    provider = Timed(clock=clock, answers=[TokenEndpointUnavailable("busy", retry_after=asked_for)])
    manager = make(provider)
    first = asyncio.ensure_future(outcome(manager))
    await clock.advance(waited)
    await first
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, waited]


# --- refresh() by hand


async def test_refresh_by_hand_ends_the_rest_of_a_flight(make: Make, clock: FakeClock) -> None:
    """refresh() while a flight rests makes its next try at once, for all who wait."""
    provider = Timed(clock=clock, answers=[DOWN] * 12)
    manager = make(provider)
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(10)  # the next try would be at 10.7
    assert (await manager.refresh()).value == "token-1"
    assert await waiting == "token-1"
    assert provider.asked_at[-1] == 10


async def test_refresh_by_hand_joins_the_request_under_way(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """refresh() shares the flight that is in progress."""
    manager = make(provider)
    held = gate()
    provider.answers = [held]
    waiting = [asyncio.ensure_future(manager.token()), asyncio.ensure_future(manager.refresh())]
    await settled()
    held.open()
    one, other = await asyncio.gather(*waiting)
    assert one is other
    assert provider.calls == 1


async def test_refresh_by_hand_raises_and_leaves_the_usable_token(make: Make, provider: FakeProvider) -> None:
    """A failed refresh() raises although a token is usable; that token stays."""
    manager = make(provider)
    token = await manager.token()
    provider.answers = [refused()]
    with pytest.raises(CredentialsRejected):
        await manager.refresh()
    assert manager.current is token
    assert await manager.token() is token


# --- InvalidTokenResponse


async def test_unreadable_answer_is_raised_at_once_and_not_retried(make: Make, clock: FakeClock) -> None:
    """An unreadable answer fails its flight at once; until the backoff is over everybody gets the same error."""
    provider = Timed(clock=clock, answers=[InvalidTokenResponse("no JSON"), InvalidTokenResponse("no JSON")])
    manager = make(provider)
    first, second = await outcome(manager), await outcome(manager)
    assert isinstance(first, InvalidTokenResponse)
    assert isinstance(second, InvalidTokenResponse)
    assert first is not second
    assert str(first) == str(second)
    assert provider.calls == 1
    await clock.advance(0.249)
    assert isinstance(await outcome(manager), InvalidTokenResponse)
    assert provider.calls == 1
    await clock.advance(0.001)
    assert isinstance(await outcome(manager), InvalidTokenResponse)
    assert provider.calls == 2
    await clock.advance(0.499)
    assert isinstance(await outcome(manager), InvalidTokenResponse)
    await clock.advance(0.001)
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, 0.25, 0.75]


# --- permanent


async def test_wrong_password_is_tried_once_not_once_a_request(make: Make, clock: FakeClock) -> None:
    """A rejected credential is tried again after 60 s, 120 s and so on up to an hour, however many callers ask."""
    provider = Timed(clock=clock, answers=[refused() for _ in range(1_000)])
    manager = make(provider)
    for _ in range(20):
        assert isinstance(await outcome(manager), CredentialsRejected)
    assert provider.asked_at == [0]
    assert manager.status().cooling_down
    assert not manager.status().healthy
    for _ in range(4 * 3600):
        await outcome(manager)
        clock.suspend(1)  # nothing sleeps
    assert provider.asked_at == [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980]


async def test_refresh_by_hand_tries_a_refused_credential_at_once(make: Make, clock: FakeClock) -> None:
    """refresh() tries a rejected credential at once, so it works as soon as the server has been corrected."""
    provider = Timed(clock=clock, answers=[refused(), refused()])
    manager = make(provider)
    await outcome(manager)
    with pytest.raises(CredentialsRejected):
        await manager.refresh()
    await clock.advance(119)
    assert isinstance(await outcome(manager), CredentialsRejected)
    assert (await manager.refresh()).value == "token-1"
    assert await outcome(manager) == "token-1"
    assert not manager.status().cooling_down


async def test_refused_credential_starts_over_when_it_is_another(make: Make, clock: FakeClock) -> None:
    """The hold doubles only while the refused credential stays the same."""
    provider = Timed(clock=clock, answers=[refused("one"), refused("one"), refused("two")])
    manager = make(provider)
    await outcome(manager)
    await clock.advance(60)
    await outcome(manager)
    await clock.advance(120)
    await outcome(manager)
    await clock.advance(59.999)
    assert isinstance(await outcome(manager), CredentialsRejected)
    await clock.advance(0.001)
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, 60, 180, 240]


async def test_refusal_never_withholds_a_usable_token(make: Make, clock: FakeClock) -> None:
    """While the token is usable, a refused renewal costs nobody anything."""
    provider = Timed(clock=clock)
    manager = make(provider)
    await manager.token()
    provider.answers = [refused() for _ in range(100)]
    await clock.advance(2880)
    for _ in range(70):
        assert await outcome(manager) == "token-1"
        await clock.advance(10)
    assert provider.asked_at == [0, 2880, 2940, 3060, 3300]
    await clock.advance(10)
    assert isinstance(await outcome(manager), CredentialsRejected)


async def test_callable_credential_is_asked_again_once_a_cooldown(make: Make, clock: FakeClock) -> None:
    """After a rejection a callable is looked at once more at once, then once in 60 s.

    What it gives is not sent while it is the same.
    """
    provider = Callable_(clock=clock)
    manager = make(provider)
    for _ in range(3):
        error = await outcome(manager)
        assert isinstance(error, CredentialsRejected)
        assert not error.unsent
    assert (provider.looked, provider.tried) == (2, 1)
    await clock.advance(60)
    await outcome(manager)  # the hold of 60 s is over: tried, and now held for 120 s
    assert (provider.looked, provider.tried) == (3, 2)
    await clock.advance(59)
    await outcome(manager)
    assert provider.looked == 3
    await clock.advance(1)
    for _ in range(3):
        error = await outcome(manager)
        assert isinstance(error, CredentialsRejected)
    assert (provider.looked, provider.tried) == (4, 2)
    await clock.advance(60)
    await outcome(manager)
    assert (provider.looked, provider.tried) == (5, 3)


async def test_a_credential_that_was_replaced_a_moment_ago_is_sent_at_once(make: Make, clock: FakeClock) -> None:
    """A file that is rotated while its old content is rejected costs no caller an error."""

    class Rotated(Callable_):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            try:
                return await super().fetch(http, previous)
            finally:
                self.password = self.right

    provider = Rotated(clock=clock)
    assert await outcome(make(provider)) == "token-1"
    assert (provider.looked, provider.tried) == (2, 2)


async def test_a_callable_that_always_brings_another_credential_is_asked_once_a_cooldown(
    make: Make, clock: FakeClock
) -> None:
    """The second look comes once: what it brings is sent, and rejected, and not followed by a third."""

    class Changing(Callable_):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            self.password = f"wrong-{self.looked}"
            return await super().fetch(http, previous)

    provider = Changing(clock=clock)
    manager = make(provider)
    await outcome(manager)
    assert (provider.looked, provider.tried) == (2, 2)
    for _ in range(60):
        await clock.advance(1)
        await outcome(manager)
    assert (provider.looked, provider.tried) == (3, 3)


async def test_an_assertion_that_is_made_anew_each_time_is_paced(make: Make, clock: FakeClock) -> None:
    """A callable whose value differs each time, since it signs a time or a nonce, is sent 20 times an hour at most."""

    class Signing(Callable_):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            self.password = f"wrong-{self.looked}"
            return await super().fetch(http, previous)

    provider = Signing(clock=clock)
    manager = make(provider)
    for _ in range(2):
        tried = provider.tried
        for _ in range(180):
            await outcome(manager)
            await clock.advance(20)
        assert 15 <= provider.tried - tried <= 20


async def test_a_second_look_that_fails_leaves_the_rejection(make: Make, clock: FakeClock) -> None:
    """Callers get the server's answer, not the failure of a vault a moment later."""

    class Vault(Callable_):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            if self.looked:
                self.looked += 1
                raise TokenEndpointUnavailable("the vault is down")
            return await super().fetch(http, previous)

    provider = Vault(clock=clock)
    manager = make(provider)
    for _ in range(3):
        assert isinstance(await outcome(manager), CredentialsRejected)
    assert (provider.looked, provider.tried) == (2, 1)


async def test_a_second_look_that_fails_upstream_is_the_last(make: Make, clock: FakeClock) -> None:
    """An upstream failure holds nobody back. The refresh ends all the same: callers get the server's answer at once."""

    class Chained(Callable_):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            if self.looked == 1:
                self.looked += 1
                self.password = self.right  # for a third look
                error = TokenEndpointUnavailable("the upstream system is down")
                error.upstream = True
                raise error
            return await super().fetch(http, previous)

    provider = Chained(clock=clock)
    manager = make(provider)
    assert isinstance(await outcome(manager), CredentialsRejected)
    assert (provider.looked, provider.tried) == (2, 1)
    assert await outcome(manager) == "token-1"


async def test_changed_credential_is_tried_at_once_when_it_is_seen(make: Make, clock: FakeClock) -> None:
    """A callable that gives another password is believed at its next look, in the middle of a long hold."""
    provider = Callable_(clock=clock)
    manager = make(provider)
    for step in (0, 60, 120, 240):  # the hold is 480 s now
        await clock.advance(step)
        await outcome(manager)
    assert provider.tried == 4
    provider.password = "right"
    await clock.advance(59)
    assert isinstance(await outcome(manager), CredentialsRejected)
    await clock.advance(1)
    assert await outcome(manager) == "token-1"
    assert provider.tried == 5
    assert manager.status().last_error is None


async def test_changed_but_wrong_credential_is_held_anew(make: Make, clock: FakeClock) -> None:
    """Another password that is wrong as well is tried once, and its hold starts at 60 s."""
    provider = Callable_(clock=clock)
    manager = make(provider)
    for step in (0, 60, 120):
        await clock.advance(step)
        await outcome(manager)
    provider.password = "other"
    await clock.advance(60)
    await outcome(manager)
    assert provider.tried == 4
    provider.right = "other"
    await clock.advance(60)
    assert await outcome(manager) == "token-1"


async def test_callers_of_a_changed_credential_share_one_flight(make: Make, clock: FakeClock) -> None:
    """When the cool-down is over fifty callers look at a callable once."""
    provider = Callable_(clock=clock)
    manager = make(provider)
    for step in (0, 60):
        await clock.advance(step)
        await outcome(manager)
    await clock.advance(60)
    looked = provider.looked
    await asyncio.gather(*(outcome(manager) for _ in range(50)))
    assert provider.looked == looked + 1


async def test_upstreams_refusal_is_not_remembered_here(make: Make, clock: FakeClock) -> None:
    """What an upstream manager could not supply is asked for again at once: that manager does the holding back."""
    error = refused()
    error.upstream = True
    provider = Timed(clock=clock, answers=[error, error])
    manager = make(provider)
    for _ in range(2):
        assert isinstance(await outcome(manager), CredentialsRejected)
    assert await outcome(manager) == "token-1"
    assert provider.asked_at == [0, 0, 0]


# --- what providers come up with


@pytest.mark.parametrize(
    "lifetime", [0, -1, -3600, math.nan, -math.inf], ids=["zero", "minus one", "minus an hour", "nan", "minus inf"]
)
async def test_token_that_was_expired_on_arrival_is_never_handed_out(
    make: Make, clock: FakeClock, lifetime: float
) -> None:
    """A lifetime that is not positive is an InvalidTokenResponse, and not "for ever"."""
    manager = make(FakeProvider(clock=clock, lifetime=lifetime))
    assert isinstance(await outcome(manager), InvalidTokenResponse)
    assert manager.current is None


@pytest.mark.parametrize("lifetime", [None, math.inf])
async def test_unknown_lifetime_is_used_until_it_is_refused(
    make: Make, clock: FakeClock, lifetime: float | None
) -> None:
    """A token of unknown lifetime stays the current one until the API refuses it."""
    provider = FakeProvider(clock=clock, lifetime=lifetime)
    async with make(provider) as manager:
        token = await manager.token()
        assert token.expires_at is None
        await clock.advance(10 * 365 * 86_400)
        assert await manager.token() is token
        status = manager.status()
        assert (status.state, status.seconds_left, status.next_refresh_in) == ("fresh", None, None)
        manager.invalidate(token)
        assert await outcome(manager) == "token-2"


async def test_an_answer_that_came_too_late_is_asked_for_again(make: Make, clock: FakeClock) -> None:
    """A token whose life was over when it came is never handed out; the same flight makes another try."""
    provider = FakeProvider(clock=clock, lifetime=2.0, latency=1.8)
    manager = make(provider)
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(1.8)
    assert not waiting.done()
    assert "the answer came too late: its token lives 2 s, and the answer took 1.8 s" in str(
        manager.status().last_error
    )
    provider.latency = 0.1
    await clock.advance(0.35)
    assert await waiting == "token-2"


async def test_an_endpoint_that_is_always_too_late_is_unavailable(make: Make, clock: FakeClock) -> None:
    """The caller gets that error by the deadline."""
    manager = make(FakeProvider(clock=clock, lifetime=2.0, latency=1.8))
    waiting = asyncio.ensure_future(outcome(manager))
    await clock.advance(30)
    error = await waiting
    assert isinstance(error, TokenEndpointUnavailable)


@pytest.mark.parametrize(
    "value", ["", "two words", "new\nline", "carriage\rreturn", "tab\t", "nul\0", "ümlaut", "del\x7f", " x", "x "]
)
async def test_token_that_cannot_travel_is_never_handed_out(make: Make, provider: FakeProvider, value: str) -> None:
    """A token with anything but visible ASCII in it would forge headers: it is an InvalidTokenResponse."""
    provider.answers = [Token(value, issued_at=0, expires_at=60)]
    error = await outcome(make(provider))
    assert isinstance(error, InvalidTokenResponse)
    assert not value.strip() or value not in str(error)


@pytest.mark.parametrize("kind", ["", "Bea rer", "Bearer\n", "Bearer:", "Béarer"])
async def test_token_type_that_cannot_travel_is_refused(make: Make, provider: FakeProvider, kind: str) -> None:
    """A token type that would break the header is an InvalidTokenResponse."""
    provider.answers = [Token("x", issued_at=0, expires_at=60, token_type=kind)]
    assert isinstance(await outcome(make(provider)), InvalidTokenResponse)


@pytest.mark.parametrize("answer", [None, "token", b"token", 1, {"access_token": "x"}, Token])
async def test_what_is_no_token_is_a_configuration_error(make: Make, clock: FakeClock, answer: Any) -> None:
    """If a provider returns something other than a Token, the error names its type. Later calls do not ask again."""

    class Odd(FakeProvider):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Any:
            self.calls += 1
            return answer

    provider = Odd(clock=clock)
    manager = make(provider)
    for _ in range(3):
        error = await outcome(manager)
        assert isinstance(error, ConfigurationError)
        assert f"not {type(answer).__name__}" in str(error)
    assert provider.calls == 1


@pytest.mark.parametrize(
    "token",
    [
        Token(5, issued_at=0, expires_at=60),  # type: ignore[arg-type]
        Token(b"x", issued_at=0, expires_at=60),  # type: ignore[arg-type]
        Token("x", issued_at=0, expires_at="60"),  # type: ignore[arg-type]
        Token("x", issued_at=0, expires_at=60, token_type=None),  # type: ignore[arg-type]
    ],
    ids=["int", "bytes", "text time", "no type"],
)
async def test_token_of_wrong_types_is_an_auth_error(make: Make, provider: FakeProvider, token: Token) -> None:
    """A Token whose parts have wrong types fails as an AuthError, not with anything else."""
    provider.answers = [token]
    assert isinstance(await outcome(make(provider)), AuthError)


@pytest.mark.parametrize("error", [KeyError(MARK), ValueError(MARK), RuntimeError(MARK), ZeroDivisionError(MARK)])
async def test_providers_own_exception_is_an_auth_error_by_class_and_place(
    make: Make, provider: FakeProvider, error: Exception
) -> None:
    """Whatever a provider raises reaches callers as an AuthError that names class and place, not the text."""
    provider.answers = [error]
    manager = make(provider)
    raised = await outcome(manager)
    assert type(raised) is AuthError
    assert type(error).__name__ in str(raised)
    assert "provider.py" in str(raised)
    assert MARK not in str(raised)
    assert provider.calls == 1


@pytest.mark.parametrize(
    "error", [TimeoutError(MARK), OSError(MARK), aiohttp.ClientPayloadError(MARK), asyncio.CancelledError()]
)
async def test_providers_network_trouble_is_transient(
    make: Make, provider: FakeProvider, clock: FakeClock, error: BaseException
) -> None:
    """Network trouble, a timeout of the provider's own or a cancellation within it, is tried again in the flight."""
    provider.answers = [error]
    waiting = asyncio.ensure_future(outcome(make(provider)))
    await clock.advance(0.25)
    assert await waiting == "token-1"


class Strange(BaseException):
    """Such as pytest's own outcomes, or another framework's cancellation."""


async def test_providers_base_exception_reaches_callers_as_an_auth_error(make: Make, provider: FakeProvider) -> None:
    """Not even a BaseException in fetch() makes callers spin: it is an AuthError, and asked once."""
    provider.answers = [Strange(MARK) for _ in range(50)]
    manager = make(provider)
    async with asyncio.timeout(5):
        raised = await outcome(manager)
    assert type(raised) is AuthError
    assert "Strange" in str(raised)
    assert MARK not in str(raised)
    assert provider.calls == 1


async def test_fetch_that_is_no_coroutine_is_an_auth_error(make: Make, clock: FakeClock) -> None:
    """If fetch() is a plain function, an AuthError says so."""

    class Plain(FakeProvider):
        def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Any:
            return self.token()

    assert isinstance(await outcome(make(Plain(clock=clock))), AuthError)


async def test_odd_retry_after_is_ignored(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """A provider's ``retry_after`` that is not a number counts as none."""
    provider.answers = [TokenEndpointUnavailable("busy", retry_after="30")]  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(outcome(make(provider)))
    await clock.advance(0.25)
    assert await waiting == "token-1"


async def test_closed_http_session_is_a_configuration_error(provider: FakeProvider, clock: FakeClock) -> None:
    """A session given as ``http=`` that was closed is named as the fault."""
    async with aiohttp.ClientSession() as session:
        manager = TokenManager(provider, http=session, clock=clock)
        assert await outcome(manager) == "token-1"
    with pytest.raises(ConfigurationError, match="http="):
        await manager.refresh()


# --- a refresh token whose request got no answer


class Rotating(FakeProvider):
    """Sends the previous token's refresh token, and has a password besides."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.sent: list[str | None] = []
        self.hangs = asyncio.Event()

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        attempt = current_try()
        mine = None if previous is None else previous.refresh_token
        self.sent.append(mine)
        attempt.spends_refresh_token, attempt.unanswered = mine is not None, True
        if len(self.sent) > 1 and mine is not None:
            await self.hangs.wait()
        attempt.unanswered = False
        self.calls += 1
        return Token(f"t{self.calls}", issued_at=0, expires_at=3600, refresh_token=f"r{self.calls}")


async def test_refresh_token_without_an_answer_is_not_sent_again(make: Make, clock: FakeClock) -> None:
    """A refresh token whose request got no answer may be used up: the next try takes the password."""
    provider = Rotating(clock=clock)
    manager = make(provider)
    await manager.token()
    waiting = asyncio.ensure_future(manager.refresh())
    await clock.advance(30)
    with pytest.raises(TokenEndpointUnavailable):
        await waiting
    assert (await manager.refresh()).value == "t2"
    assert provider.sent == [None, "r1", None]


async def test_refresh_token_of_a_cancelled_flight_is_not_sent_again(make: Make, clock: FakeClock) -> None:
    """A flight that was cut short by close() may have used up its refresh token: the next try takes the password."""
    provider = Rotating(clock=clock)
    manager = make(provider)
    await manager.token()
    waiting = asyncio.ensure_future(manager.refresh())
    await clock.advance(0)
    await manager.close()
    with contextlib.suppress(AuthError):
        await waiting
    async with manager:
        assert (await manager.refresh()).value == "t2"
    assert provider.sent == [None, "r1", None]


def _cut_off(work: Awaitable[Token], *, until: Callable[[], bool]) -> bool:
    """Do some work on a loop that is closed in the middle of it, without a chance for its tasks; return if it ended."""
    loop = asyncio.new_event_loop()
    task = asyncio.ensure_future(work, loop=loop)
    while not until():
        loop.run_until_complete(asyncio.sleep(0))
    close_under_its_tasks(loop)
    return task.done()


def test_refresh_token_of_a_flight_whose_loop_was_closed_is_not_sent_again(make: Make, clock: FakeClock) -> None:
    """The loop was closed while the answer was waited for: the refresh token may be used up, the password is not."""
    provider = Rotating(clock=clock)
    manager = make(provider)
    asyncio.run(manager.token())
    assert not _cut_off(manager.refresh(), until=lambda: len(provider.sent) == 2)
    assert asyncio.run(manager.refresh()).value == "t2"
    assert provider.sent == [None, "r1", None]


def test_answer_of_a_flight_whose_loop_was_closed_is_kept(make: Make, clock: FakeClock) -> None:
    """The loop was closed just when the answer had come: its refresh token is the next."""
    provider = Rotating(clock=clock)
    provider.hangs.set()
    manager = make(provider)
    asyncio.run(manager.token())
    _cut_off(manager.refresh(), until=lambda: provider.calls == 2)
    assert asyncio.run(manager.refresh()).value == "t3"
    assert provider.sent == [None, "r1", "r2"]


async def test_who_comes_during_a_refresh_by_hand_is_not_held_off(
    make: Make, provider: FakeProvider, gate: Any, settled: Callable[[], Any]
) -> None:
    """After a refusal callers get it again, but those who find a refresh in progress wait for what it brings."""
    held = gate()
    provider.answers = [CredentialsRejected("no"), held]
    manager = make(provider)
    for _ in range(2):
        with pytest.raises(CredentialsRejected):
            await manager.token()
    by_hand = asyncio.create_task(manager.refresh())
    await settled()
    caller = asyncio.create_task(manager.token())
    await settled()
    held.open()
    assert (await caller).value == (await by_hand).value == "from-the-gate"


async def test_a_provider_that_can_no_more_say_who_it_is_gives_tokens_still(caplog: pytest.LogCaptureFixture) -> None:
    """Its name and identity are for events, which name its class instead, and for people."""

    class Forgetful:
        name = "forgetful"
        origins = ("https://api.example.com",)
        awake = True

        @property
        def identity(self) -> str | None:
            if not self.awake:
                raise ValueError
            return None

        async def fetch(self, http: object, previous: Token | None) -> Token:
            return Token("x")

    provider = Forgetful()
    manager = TokenManager(provider)
    provider.awake = False
    with caplog.at_level(logging.DEBUG, logger="asyncauth.refresh"):
        assert (await manager.token()).value == "x"
    assert "Forgetful: refresh started" in caplog.text


async def test_what_a_provider_raises_when_it_was_given_up_is_nobodys_failure(
    make: Make, clock: FakeClock, gate: Any
) -> None:
    """Waiting callers get the next flight's token."""
    late = gate(ZeroDivisionError())
    manager = make(FakeProvider(clock=clock, answers=[late]))
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    flight = engine_of(manager).flight
    assert flight is not None
    assert flight.work is not None
    flight.work.abandon()
    late.open()
    assert (await asyncio.wait_for(waiting, 5)).value == "token-1"


async def test_a_failed_refresh_leaves_nothing_but_the_memory_of_its_failure(settled: Settled) -> None:
    """What it held is released at its end, although its failure is remembered."""

    class Failing(FakeProvider):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            flights.append(weakref.ref(engine_of(manager).flight))
            raise ValueError

    flights: list[weakref.ref[object]] = []
    manager = TokenManager(Failing())
    gc.disable()
    try:
        for _ in range(2):
            with contextlib.suppress(AuthError):
                await manager.refresh()
        await settled()
        assert [flight() for flight in flights] == [None, None]
    finally:
        gc.enable()
