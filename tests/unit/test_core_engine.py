"""What an engine does at the edges: several callers at once, refreshes that can't start or rest, chains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from chain_kit import Chain
from core_kit import engine_of, work_of

from asyncauth import (
    CredentialsRejected,
    ManagerClosed,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    events,
)
from asyncauth._core import flight_endings
from asyncauth._core.flight import Flight
from asyncauth._core.trial import Use
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]


async def test_who_comes_to_a_refresh_by_hand_waits_for_it(make: Make, provider: FakeProvider) -> None:
    """A rejected credential is tried again by hand: callers get that try's token, not the rejection of before."""
    provider.answers = [CredentialsRejected("no")]
    manager = make(provider)
    with pytest.raises(CredentialsRejected):
        await manager.token()
    with pytest.raises(CredentialsRejected):
        await manager.token()
    tokens = await asyncio.gather(manager.refresh(), manager.token())
    assert [token.value for token in tokens] == ["token-1", "token-1"]


async def test_a_usable_token_serves_though_no_renewal_can_start(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """The event loop makes no task for it: the token in hand is usable for longer."""
    manager = make(provider, idle_timeout=0.0)
    await manager.token()
    await clock.advance(3_000.0)
    loop = asyncio.get_running_loop()
    old_fashioned: Any = lambda loop, work: asyncio.Task(work, loop=loop)  # noqa: E731
    loop.set_task_factory(old_fashioned)
    try:
        assert (await manager.token()).value == "token-1"
    finally:
        loop.set_task_factory(None)
    assert provider.calls == 1


async def test_a_caller_gets_what_serves_when_its_turn_comes(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A further renewal between a refresh and its waiters: a request that can be sent once carries the older token."""
    manager = make(provider)
    engine = engine_of(manager)
    waiting = asyncio.ensure_future(engine.obtain(Use.ONCE))
    while manager.current is None:  # noqa: ASYNC110 (the very step in which the flight lands)
        await asyncio.sleep(0)
    assert not waiting.done()
    now, wall = clock.monotonic(), clock.wall()
    token = Token("newer", issued_at=wall, expires_at=wall + 3_600.0)
    newer = engine.state.cached_from(
        token, before=engine.state.cached, sent_at=now, now=now, wall=wall, unit_random=0.0
    )
    engine.state.install(newer, wall=wall)
    assert (await waiting).token.value == "token-1"
    assert manager.current == newer.token


async def test_listeners_hear_of_a_dropped_token_alone(
    make: Make, provider: FakeProvider, settled: Callable[[], Any]
) -> None:
    """A 401 to a token that was replaced meanwhile changes nothing."""
    manager, heard = make(provider), list[events.Event]()

    async def listen(event: events.Event) -> None:
        heard.append(event)

    engine = engine_of(manager)
    first = await engine.obtain()
    engine.accepted(first.token)
    await manager.refresh()
    current = engine.state.cached
    engine.accepted(current.token)
    manager.add_listener(listen)
    engine.note_api_401(first, repeat=False, foreign=False, again=False)
    await settled()
    assert heard == []
    engine.note_api_401(engine.state.cached, repeat=False, foreign=False, again=False)
    await settled()
    (rejected,) = heard
    assert isinstance(rejected, events.TokenRejected)
    assert rejected.fingerprint == current.token.fingerprint


async def test_a_rejected_credential_is_tried_again_while_a_token_is_usable(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """In the background. Once nothing is usable any more, the next caller decides."""
    async with make(provider, idle_timeout=None) as manager:
        await manager.token()
        provider.answers = CredentialsRejected("no")
        await clock.advance(3_400.0)
        while_usable = provider.calls
        assert while_usable > 2
        await clock.advance(100_000.0)
        assert provider.calls <= while_usable + 1
        assert engine_of(manager).timer_handle is None


async def test_flights_are_those_of_all_steps(make: Make, clock: FakeClock, settled: Callable[[], Any]) -> None:
    """A chain's engine tells of those further upstream, too."""
    first = FakeProvider(clock=clock, latency=1.0)
    manager = make(Chain(first, clock=clock))
    waiting = asyncio.ensure_future(manager.token())
    await settled()
    engine = engine_of(manager)
    assert list(engine.flights()) == [engine.flight, engine.upstreams[0].flight]
    await clock.advance(1.0)
    assert (await waiting).value == "token-1"
    assert list(engine.flights()) == []


async def test_closing_does_not_wait_for_a_refresh_that_rests(
    make: Make, provider: FakeProvider, settled: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is in progress: it needs no grace."""
    graces = list[float]()
    end = flight_endings.end

    async def noted(flight: Flight[Any], grace: float) -> None:
        graces.append(grace)
        await end(flight, grace)

    monkeypatch.setattr("asyncauth._core.engine.end", noted)
    provider.answers = TokenEndpointUnavailable("down")
    manager = make(provider, close_grace=2.0)
    waiting = asyncio.ensure_future(manager.token())
    await settled()
    work = work_of(manager)
    assert work is not None
    assert work.idle
    await manager.close()
    assert graces == [0.0]
    with pytest.raises(ManagerClosed):
        await waiting


async def test_a_flight_whose_start_was_interrupted_in_another_thread_is_replaced(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A caller that found it starts another."""
    manager = make(provider)
    engine_of(manager).flight = Flight(clock)
    assert (await manager.token()).value == "token-1"
    assert provider.calls == 1


async def test_an_upstream_engine_hands_out_its_token_without_a_lock() -> None:
    """By the system's clock, as long as the token is fresh."""
    provider = FakeProvider()
    engine = engine_of(TokenManager(provider))
    first, _ = await engine.token(), await engine.token()  # the second call finds it fresh
    engine.closed = True  # the slow path would raise an error
    assert await engine.token() is first
    assert provider.calls == 1


def test_each_loop_has_its_own_timer(make: Make, provider: FakeProvider) -> None:
    """A manager that is entered on two loops is renewed by the timer of the last: no other thread may use the first."""
    manager, here = make(provider), list[bool]()

    async def enter() -> None:
        await manager.__aenter__()
        await manager.token()
        timer = engine_of(manager).timer
        here.append(timer is not None and timer.is_here)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        for loop in (first, second):
            loop.run(enter())
        for loop in (first, second):
            loop.run(manager.__aexit__(None, None, None))
    assert here == [True, True]
