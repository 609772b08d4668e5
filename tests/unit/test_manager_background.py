"""Points 5, 6 and 9 of the refresh contract: windows, the manager that is kept fresh, and clocks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from core_kit import engine_of
from harness.canary import MARK
from inside_kit import sleeping_until

from asyncauth import AuthError, CredentialsRejected, RefreshPolicy, Token, TokenEndpointUnavailable, TokenManager
from asyncauth._core.timer import Timer
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]
Settled = Callable[[], Awaitable[None]]

DOWN = TokenEndpointUnavailable("down")


# --- 5: windows, seen through a manager


@pytest.mark.parametrize("lifetime", [0.5, 2.0, 240.0, 3600.0, 14 * 86_400.0])
async def test_at_most_two_fetches_a_lifetime(make: Make, clock: FakeClock, lifetime: float) -> None:
    """However short the lifetime, however many callers, and with full jitter: at most two fetches per lifetime."""
    provider = FakeProvider(clock=clock, lifetime=lifetime)
    manager = make(provider, jitter=0.05, renew_at=0.5)
    async with manager if lifetime < 1000 else contextlib.nullcontext():  # a timer over years takes long to fake
        for _ in range(100):
            token = await manager.token()
            assert token.expires_at is not None
            assert token.expires_at > clock.wall()
            await clock.advance(lifetime / 10)
        assert 10 <= provider.calls <= 21


@pytest.mark.parametrize("lifetime", [0.5, 2.0, 240.0])
async def test_slow_endpoint_is_asked_no_more_than_twice_a_lifetime(
    make: Make, clock: FakeClock, lifetime: float
) -> None:
    """An endpoint that takes most of a lifetime is not asked in a row without a pause."""
    provider = FakeProvider(clock=clock, lifetime=lifetime, latency=lifetime * 0.4)
    async with make(provider, deadline=300.0) as manager:
        first = asyncio.ensure_future(manager.token())
        await clock.advance(lifetime * 0.4)
        await first
        for _ in range(100):
            assert (await manager.token()).expires_at
            await clock.advance(lifetime / 10)
        assert provider.calls <= 22


async def test_renewal_is_early_enough_for_the_slowest_of_the_last_eight(make: Make, clock: FakeClock) -> None:
    """After one slow answer renewals start earlier; eight quick ones later they start at their usual time."""
    provider = FakeProvider(clock=clock, lifetime=1000.0)
    manager = make(provider)
    await manager.token()
    assert manager.status().next_refresh_in == 800
    provider.latency = 200.0
    slow = asyncio.ensure_future(manager.refresh())
    await clock.advance(29)
    provider.latency = 0.0
    with pytest.raises(TokenEndpointUnavailable):  # beyond the deadline: it says nothing about durations
        await asyncio.gather(slow, clock.advance(1))
    await manager.refresh()
    assert manager.status().next_refresh_in == 800
    manager = make(provider, deadline=300.0)
    provider.latency = 200.0
    slow = asyncio.ensure_future(manager.token())
    await clock.advance(200)
    await slow
    assert manager.status().next_refresh_in == pytest.approx(990 - 1.2 * 200 - 200)
    provider.latency = 0.0
    for _ in range(7):
        await manager.refresh()
        assert manager.status().next_refresh_in == pytest.approx(990 - 1.2 * 200)
    await manager.refresh()
    assert manager.status().next_refresh_in == 800


async def test_backoff_does_not_count_as_slowness(make: Make, clock: FakeClock) -> None:
    """What a flight waits between its tries is not how slow the endpoint is."""
    provider = FakeProvider(clock=clock, lifetime=100.0, answers=[DOWN] * 15)
    manager = make(provider)
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(20)
    await waiting
    await clock.advance(0)
    status = manager.status()
    assert status.seconds_left is not None
    assert status.next_refresh_in == pytest.approx(status.seconds_left - 10)


# --- 6: kept fresh


async def test_entered_manager_renews_when_nobody_asks(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """Inside ``async with`` the token is renewed when it is due, so the call after an idle while does not wait."""
    async with make(provider) as manager:
        await manager.token()
        await clock.advance(2879.999)
        assert provider.calls == 1
        await clock.advance(0.001)
        assert provider.calls == 2
        assert manager.status().state == "fresh"
        assert (await manager.token()).value == "token-2"
        assert manager.status().waits == 1


async def test_manager_that_is_not_entered_renews_only_when_asked(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """Outside ``async with`` there is no timer, and nothing to forget."""
    manager = make(provider)
    await manager.token()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await clock.advance(100_000)
    assert provider.calls == 1
    assert sleeping_until(clock) == []


async def test_entering_asks_for_nothing(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """Entering a manager makes no token request and starts no timer: the first caller does."""
    async with make(provider):
        await clock.advance(100_000)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert provider.calls == 0


async def test_entering_with_a_token_in_hand_keeps_it_fresh(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A token obtained before ``async with`` is kept fresh inside it."""
    manager = make(provider)
    await manager.token()
    async with manager:
        await clock.advance(2880)
        assert provider.calls == 2


@pytest.mark.parametrize(("used_at", "calls"), [(0, 1), (8200, 1), (8200.001, 2), (9000, 2)])
async def test_idle_timeout_is_exact(make: Make, clock: FakeClock, used_at: float, calls: int) -> None:
    """A manager is renewed if somebody used it less than an hour before the renewal was due, and else not."""
    provider = FakeProvider(clock=clock, lifetime=14_750.0)  # due after 11 800 s
    async with make(provider) as manager:
        await manager.token()
        await clock.advance(used_at)
        await manager.token()
        await clock.advance(11_800 - used_at)
        assert provider.calls == calls


async def test_idle_manager_is_kept_fresh_again_once_it_is_used(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """After an idle while the next caller obtains a token, and renewals go on."""
    async with make(provider) as manager:
        await manager.token()
        await clock.advance(20_000)
        assert provider.calls == 2  # at 2880 s; at 5760 s nobody had asked for an hour
        assert manager.status().state == "spent"
        assert (await manager.token()).value == "token-3"
        await clock.advance(2880)
        assert provider.calls == 4


async def test_idle_timeout_none_keeps_fresh_for_ever(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """``idle_timeout=None``: the manager is kept fresh whether or not anybody asks."""
    async with make(provider, idle_timeout=None) as manager:
        await manager.token()
        await clock.advance(2880 * 30)
        assert provider.calls == 31


async def test_idle_timeout_zero_never_keeps_fresh(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """``idle_timeout=0``: renewed only when somebody asks."""
    async with make(provider, idle_timeout=0) as manager:
        await manager.token()
        await clock.advance(100_000)
        assert provider.calls == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_use_is_noted_on_the_machines_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One idle timeout before the renewal the fast path is closed, so that the next use is noted."""
    manager = TokenManager(FakeProvider(lifetime=100_000.0), policy=RefreshPolicy(jitter=0.0))
    async with manager:
        await manager.token()
        token = await manager.token()
        held = engine_of(manager).state.cached
        assert held.fast_until == held.fresh_until
        engine_of(manager).on_time()
        assert held.fast_until == -math.inf
        assert await manager.token() is token
        assert held.fast_until == held.fresh_until


async def test_use_on_the_fast_path_keeps_a_manager_fresh(
    make: Make, provider: FakeProvider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses that note nothing count all the same: those in the last idle timeout before a renewal are noted."""
    monkeypatch.setattr("asyncauth.manager.SYSTEM_CLOCK", clock)
    monkeypatch.setattr("asyncauth.manager.boottime", clock.monotonic)
    async with make(provider, idle_timeout=60.0) as manager:
        await manager.token()
        await clock.advance(1)
        for _ in range(575):
            await manager.token()
            await clock.advance(5)
        assert provider.calls == 1
        await clock.advance(5)
        assert provider.calls == 2


async def test_a_shorter_token_brings_the_renewal_forward(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """The appointment that was made for an hour's token is not kept for one of 100 s."""
    async with make(provider) as manager:
        await manager.token()
        provider.lifetime = 100.0
        await manager.refresh()
        await clock.advance(81)
        assert provider.calls == 3


async def test_a_token_that_ran_out_in_an_outage_is_renewed_by_itself(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """The endpoint is back after the token's end: it is asked though nobody waits, and the next caller does not."""
    async with make(provider, idle_timeout=None) as manager:
        await manager.token()
        provider.answers = [DOWN] * 100_000
        await clock.advance(4000)
        assert manager.current is None
        provider.answers = []
        await clock.advance(61)
        assert manager.current is not None
        assert manager.status().waits == 1


async def test_failed_renewal_is_tried_again_in_the_background(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A renewal that fails is tried again until it succeeds, without any caller."""
    async with make(provider) as manager:
        await manager.token()
        provider.answers = [DOWN] * 40
        await clock.advance(3599)
        assert provider.calls == 42
        assert manager.status().state == "fresh"
        assert manager.status().failures == 40


async def test_failing_renewals_end_with_the_idle_timeout(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """An endpoint that stays down is not asked for ever on behalf of a manager that nobody uses."""
    async with make(provider) as manager:
        await manager.token()
        provider.answers = [DOWN] * 100_000
        await clock.advance(4000)
        calls = provider.calls
        await clock.advance(100_000)
        assert provider.calls == calls
        assert sleeping_until(clock) == []


async def test_spent_token_that_only_a_caller_can_mend_is_left_to_callers(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """When a credential was refused and the token has run out, the background asks no more; a caller does."""
    async with make(provider, idle_timeout=None) as manager:
        await manager.token()
        provider.answers = [CredentialsRejected("no") for _ in range(1_000)]
        await clock.advance(3600)
        calls = provider.calls
        assert calls <= 6
        await clock.advance(100_000)
        assert provider.calls <= calls + 1
        provider.answers = []
        assert await manager.token()


async def test_renewal_during_a_flight_by_hand_is_not_doubled(
    make: Make, provider: FakeProvider, clock: FakeClock, gate: Any
) -> None:
    """The timer joins the flight that is in progress rather than start another."""
    async with make(provider) as manager:
        await manager.token()
        held = gate()
        provider.answers = [held]
        await clock.advance(2870)
        by_hand = asyncio.ensure_future(manager.refresh())
        await clock.advance(20)
        assert provider.calls == 2
        held.open()
        assert (await by_hand).value == "from-the-gate"
        await clock.advance(2859)
        assert provider.calls == 2
        await clock.advance(1)
        assert provider.calls == 3


async def test_managers_on_one_loop_share_one_timer(make: Make, clock: FakeClock) -> None:
    """Fifty managers that are kept fresh cost one task."""
    managers = [make(FakeProvider(clock=clock)) for _ in range(50)]
    for manager in managers:
        await manager.__aenter__()
        await manager.token()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 2
    for manager in managers:
        await manager.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_timer_holds_its_managers_weakly(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """An entered manager that is dropped is collected, with a warning, and the timer ends."""
    manager = make(provider)
    await manager.token()
    await manager.__aenter__()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 2
    ref = weakref.ref(manager)
    with pytest.warns(ResourceWarning, match="Unclosed"):  # noqa: PT031
        del manager
        gc.collect()
    assert ref() is None
    await clock.advance(3600)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()


async def test_manager_that_is_not_entered_is_collected_without_a_word(make: Make, provider: FakeProvider) -> None:
    """An unentered manager needs no close(), and is freed as soon as nobody has it."""
    manager = make(provider)
    await manager.token()
    ref = weakref.ref(manager)
    await asyncio.sleep(0)
    del manager
    gc.collect()
    assert ref() is None


async def test_fault_in_one_renewal_does_not_end_the_timer(
    make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One manager's fault is logged, by its class, and the others are kept fresh."""
    broken, good = make(FakeProvider(clock=clock)), make(FakeProvider(clock=clock))
    async with broken, good:
        await broken.token()
        await good.token()

        def fault(self: object, now: float) -> bool:
            raise LookupError(MARK)

        with monkeypatch.context() as patch:
            patch.setattr(type(engine_of(broken).state), "may_try", fault)
            await clock.advance(2880)
        assert "LookupError" in caplog.text
        assert MARK not in caplog.text
        await clock.advance(0)
    assert Timer.here(clock).heap == []


# --- 9: clocks


class Suspendable(FakeClock):
    """Its monotonic and wall clocks run through suspend; what sleeps by the loop's clock does not notice."""

    suspended = 0.0

    def suspend(self, seconds: float) -> None:
        self.suspended += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self.suspended

    def wall(self) -> float:
        return super().wall() + self.suspended


async def test_token_ages_during_suspend() -> None:
    """A token that ran out while the machine slept is not handed out."""
    clock = Suspendable()
    manager = TokenManager(FakeProvider(clock=clock), clock=clock)
    await manager.token()
    clock.suspend(7200)
    assert manager.current is None
    assert (await manager.token()).value == "token-2"


async def test_timer_notices_suspend_within_a_minute() -> None:
    """An entered manager renews within 60 s of waking up, though its loop's clock stood still."""
    clock = Suspendable()
    provider = FakeProvider(clock=clock)
    async with TokenManager(provider, clock=clock, policy=RefreshPolicy(jitter=0, idle_timeout=None)) as manager:
        await manager.token()
        clock.suspend(3000)
        await clock.advance(59.999)
        assert provider.calls == 1
        await clock.advance(0.001)
        assert provider.calls == 2
        assert manager.status().state == "fresh"


@pytest.mark.parametrize("hours", [-1, 1, -24 * 365, 24 * 365])
async def test_setting_the_wall_clock_changes_nothing(
    make: Make, provider: FakeProvider, clock: FakeClock, hours: float
) -> None:
    """The wall clock set an hour or a year off, either way: freshness, renewal and end stay where they were."""
    async with make(provider) as manager:
        token = await manager.token()
        clock.set_wall(clock.wall() + hours * 3600)
        assert await manager.token() is token
        assert manager.status().state == "fresh"
        assert manager.status().next_refresh_in == 2880
        provider.answers = [CredentialsRejected("no") for _ in range(100)]
        await clock.advance(2880)
        clock.set_wall(clock.wall() - 2 * hours * 3600)
        assert provider.calls == 2
        await clock.advance(709.999)
        assert manager.current is token
        await clock.advance(0.001)
        assert manager.current is None
        with pytest.raises(AuthError):
            await manager.token()


async def test_only_the_lifetime_of_a_fetched_token_counts(make: Make, clock: FakeClock) -> None:
    """A provider's times may be of any epoch: the manager rewrites both by its own clock."""
    provider = FakeProvider(clock=clock, answers=[Token("x", issued_at=-5e9, expires_at=-5e9 + 100, scope="s")])
    manager = make(provider)
    token = await manager.token()
    assert (token.issued_at, token.expires_at) == (clock.wall(), clock.wall() + 100)
    assert token.scope == "s"
    assert manager.status().seconds_left == 90


async def test_lifetime_counts_from_when_the_request_was_sent(make: Make, clock: FakeClock) -> None:
    """A slow answer does not lengthen a lifetime."""
    provider = FakeProvider(clock=clock, lifetime=100.0, latency=20.0)
    manager = make(provider)
    sent = clock.wall()
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(20)
    token = await waiting
    assert (token.issued_at, token.expires_at) == (sent, sent + 100)
    assert manager.status().seconds_left == 70


async def test_wall_clock_set_during_a_request_does_not_shift_the_lifetime(make: Make, clock: FakeClock) -> None:
    """Setting the wall clock while a request is in progress changes what is written down, not how long it lasts."""
    provider = FakeProvider(clock=clock, lifetime=100.0, latency=20.0)
    manager = make(provider)
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(10)
    clock.set_wall(5_000.0)
    await clock.advance(10)
    token = await waiting
    assert token.lifetime == 100
    assert manager.status().seconds_left == 70


async def test_clock_may_be_one_that_compares_by_value(provider: FakeProvider) -> None:
    """A clock that is a plain data class, equal to others and without a hash, works."""

    @attrs.define
    class Plain:
        now: float = 0.0

        def wall(self) -> float:
            return self.now

        def monotonic(self) -> float:
            return self.now

        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async with TokenManager(provider, clock=Plain()) as manager:
        assert (await manager.token()).value == "token-1"


# --- status


async def test_status_in_each_state(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """status() tells empty, fresh, stale and spent apart, with what is left and what comes next."""
    manager = make(provider)
    empty = manager.status()
    assert (empty.state, empty.seconds_left, empty.next_refresh_in) == ("empty", None, None)
    assert (empty.refreshes, empty.last_success_at, empty.fingerprint, empty.healthy) == (0, None, None, True)
    token = await manager.token()
    fresh = manager.status()
    assert (fresh.state, fresh.seconds_left, fresh.next_refresh_in) == ("fresh", 3590, 2880)
    assert (fresh.refreshes, fresh.last_success_at, fresh.fingerprint) == (1, clock.wall(), token.fingerprint)
    await clock.advance(2880)
    stale = manager.status()
    assert (stale.state, stale.seconds_left, stale.next_refresh_in, stale.healthy) == ("stale", 710, 0, True)
    await clock.advance(710)
    spent = manager.status()
    assert (spent.state, spent.seconds_left, spent.fingerprint, spent.healthy) == ("spent", None, None, True)
    assert spent.as_dict()["healthy"] is True
    assert spent.as_dict()["provider"] == "fake"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spent.state = "fresh"  # type: ignore[misc]
    assert empty.state == "empty"
