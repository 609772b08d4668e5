"""Points 11 and 12 of the refresh contract: connections of its own, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from chain_kit import Chain
from core_kit import engine_of, steps_of
from inside_kit import sleeping_until

from asyncauth import (
    ManagerClosed,
    ManagerPool,
    PagoFacilJWT,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]
Settled = Callable[[], Awaitable[None]]


class Sessions(FakeProvider):
    """Notes which sessions it was given."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.given: list[aiohttp.ClientSession] = []

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        assert not http.closed
        self.given.append(http)
        return await super().fetch(http, previous)


def alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


# --- 11: own connections


async def test_session_for_token_requests_keeps_no_cookies(make: Make, clock: FakeClock) -> None:
    """One tenant's login carries no cookie of another's: the sessions have a jar that keeps none."""
    provider = Sessions(clock=clock)
    async with make(provider) as manager:
        await manager.token()
        assert isinstance(provider.given[0].cookie_jar, aiohttp.DummyCookieJar)
    assert provider.given[0].closed


async def test_entered_manager_keeps_one_session(make: Make, clock: FakeClock) -> None:
    """Inside ``async with`` all refreshes share a session, which is closed at the end."""
    provider = Sessions(clock=clock)
    async with make(provider) as manager:
        for _ in range(3):
            await manager.refresh()
        assert len(set(map(id, provider.given))) == 1
        assert not provider.given[0].closed
    assert provider.given[0].closed


async def test_manager_that_is_not_entered_has_a_session_a_flight(make: Make, clock: FakeClock) -> None:
    """Outside ``async with`` each flight opens a session and closes it."""
    provider = Sessions(clock=clock)
    manager = make(provider)
    for _ in range(3):
        await manager.refresh()
    assert len(set(map(id, provider.given))) == 3
    assert all(session.closed for session in provider.given)
    assert all(isinstance(session.cookie_jar, aiohttp.DummyCookieJar) for session in provider.given)


async def test_session_given_as_http_is_used_and_not_closed(clock: FakeClock) -> None:
    """``http=`` is used for token requests, inside and outside ``async with``, and stays the caller's to close."""
    provider = Sessions(clock=clock)
    async with aiohttp.ClientSession() as session:
        manager = TokenManager(provider, http=session, clock=clock)
        await manager.refresh()
        async with manager:
            await manager.refresh()
        assert provider.given == [session, session]
        assert not session.closed


async def test_session_given_as_http_serves_its_own_loop_only(clock: FakeClock) -> None:
    """The session that ``http=`` gives is used only on its own event loop."""
    provider = Sessions()
    async with aiohttp.ClientSession() as session:
        manager = TokenManager(provider, http=session)
        await asyncio.to_thread(lambda: asyncio.run(manager.token()))
        assert provider.given[0] is not session
        assert provider.given[0].closed


# --- 12: ending


async def test_close_is_idempotent(make: Make, provider: FakeProvider) -> None:
    """Closing again does nothing, and callers get ManagerClosed; status() and current still work."""
    manager = make(provider)
    async with manager:
        token = await manager.token()
        await manager.close()
        await manager.close()
        for call in (manager.token, manager.headers, manager.refresh):
            with pytest.raises(ManagerClosed, match="async with"):
                await call()
    await manager.close()
    assert manager.current is token
    assert manager.status().state == "fresh"
    assert provider.calls == 1


async def test_closed_manager_hands_out_nothing_on_the_machines_clock() -> None:
    """The fast path is closed as well."""
    manager = TokenManager(FakeProvider())
    await manager.token()
    await manager.token()
    await manager.close()
    with pytest.raises(ManagerClosed):
        await manager.token()
    with pytest.raises(ManagerClosed):
        await manager.headers()


async def test_entering_again_reopens(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """A manager that was closed is open again inside another ``async with``, with the token it had."""
    manager = make(provider)
    async with manager:
        token = await manager.token()
    async with manager:
        assert await manager.token() is token
        await clock.advance(2880)
        assert provider.calls == 2
    assert alone()


async def test_nested_entering_closes_with_the_outermost(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """Entered twice on a loop, a manager is open until it was left twice."""
    manager = make(provider)
    async with manager:
        async with manager:
            await manager.token()
        await clock.advance(2880)
        assert provider.calls == 2
        assert (await manager.token()).value == "token-2"
    with pytest.raises(ManagerClosed):
        await manager.token()
    assert alone()


async def test_nothing_is_left_after_close(make: Make, provider: FakeProvider, gate: Any, clock: FakeClock) -> None:
    """After ``async with`` no task is left: no timer, no flight, no rest between tries."""
    async with make(provider) as manager:
        await manager.token()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 2
    assert alone()
    provider.answers = [gate()]
    async with make(provider) as manager:
        leader = asyncio.ensure_future(manager.token())
        await clock.advance(0)
    assert asyncio.all_tasks() <= {asyncio.current_task(), leader}
    with pytest.raises(ManagerClosed):
        await leader
    provider.answers = [TokenEndpointUnavailable("down")]
    async with make(provider, backoff=20.0) as manager:
        leader = asyncio.ensure_future(manager.token())
        await clock.advance(0.1)
    assert asyncio.all_tasks() <= {asyncio.current_task(), leader}
    with pytest.raises(ManagerClosed):
        await leader
    assert sleeping_until(clock) == []
    gc.collect()


async def test_waiters_get_manager_closed_when_the_grace_is_over(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """close() ends a flight that does not end by itself: each waiter gets a ManagerClosed of its own."""
    manager = make(provider, close_grace=0.01)
    provider.answers = [gate()]
    waiting = [asyncio.ensure_future(manager.token()) for _ in range(3)]
    await settled()
    await manager.close()
    raised = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in raised] == [ManagerClosed] * 3
    assert len(set(map(id, raised))) == 3
    assert provider.running == 0
    assert alone()


async def test_flight_that_ends_within_the_grace_serves_its_waiters(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """close() lets a request that is in progress finish: its waiters get the token, and it is kept for a reopening."""
    manager = make(provider, close_grace=30.0)
    held = gate()
    provider.answers = [held]
    waiting = asyncio.ensure_future(manager.token())
    await settled()
    closing = asyncio.ensure_future(manager.close())
    await settled()
    assert not closing.done()
    with pytest.raises(ManagerClosed):
        await manager.token()
    held.open()
    await closing
    assert (await waiting).value == "from-the-gate"
    async with manager:
        assert (await manager.token()).value == "from-the-gate"
    assert provider.calls == 1


async def test_resting_flight_gets_no_grace(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """close() does not wait for a flight that rests between tries: nothing of it is in progress."""
    manager = make(provider, close_grace=3600.0)
    provider.answers = [TokenEndpointUnavailable("down", retry_after=20.0)]
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    async with asyncio.timeout(5):
        await manager.close()
    with pytest.raises(ManagerClosed):
        await waiting


async def test_cancelled_close_leaves_nothing_either(make: Make, clock: FakeClock, gate: Any, settled: Settled) -> None:
    """close() that is cancelled during its grace ends the flight, the timer and the session all the same."""
    provider = Sessions(clock=clock)
    manager = make(provider, close_grace=3600.0)
    await manager.__aenter__()
    await manager.token()
    provider.answers = [gate()]
    waiting = asyncio.ensure_future(manager.refresh())
    await settled()
    closing = asyncio.ensure_future(manager.close())
    await settled()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(ManagerClosed):
        await waiting
    assert provider.given[0].closed
    assert provider.running == 0
    assert alone()


async def test_leaving_by_an_exception_closes(make: Make, provider: FakeProvider) -> None:
    """An exception inside ``async with`` passes through, and the manager is closed."""
    manager = make(provider)
    with pytest.raises(KeyError):  # noqa: PT012
        async with manager:
            await manager.token()
            raise KeyError
    assert alone()
    with pytest.raises(ManagerClosed):
        await manager.token()


async def test_manager_that_was_never_closed_warns(make: Make, provider: FakeProvider) -> None:
    """An entered manager that is dropped without close() warns, as aiohttp does."""
    manager = make(provider)
    await manager.__aenter__()
    ref = weakref.ref(manager)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del manager
        gc.collect()
    texts = [str(each.message) for each in warned]
    warned.clear()  # a warning holds its source
    assert [text for text in texts if text.startswith("Unclosed <TokenManager")]
    assert ref() is None


async def test_work_that_outlives_close_cannot_reopen_it(make: Make, provider: FakeProvider, settled: Settled) -> None:
    """A provider that ignores its cancellation for a while brings nothing back to life."""

    async def stubborn() -> Token:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return provider.token()
        raise AssertionError

    provider.answers = [stubborn]
    async with make(provider) as manager:
        waiting = asyncio.ensure_future(manager.token())
        await settled()
    with pytest.raises(ManagerClosed):
        await waiting
    with pytest.raises(ManagerClosed):
        await manager.token()
    assert alone()


# --- chains: managers of a manager's own


async def test_chains_managers_live_and_end_with_it(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """A provider in place of a credential gets a manager, entered, left and closed with the one it belongs to."""
    chain = Chain(provider, clock=clock)
    manager = make(chain)
    (upstream,) = engine_of(manager).upstreams
    async with manager:
        async with manager:
            await manager.token()
            assert upstream.runtime.sessions.entered()
        assert upstream.runtime.sessions.entered()
        await manager.refresh()
        assert provider.calls == 1
    assert not upstream.runtime.sessions.entered()
    with pytest.raises(ManagerClosed):
        await upstream.token()
    async with manager:
        await manager.refresh()
    assert alone()


async def test_closing_a_chain_that_was_never_entered_closes_its_managers(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """As it does its own."""
    manager = make(Chain(provider, clock=clock))
    await manager.token()
    await manager.close()
    with pytest.raises(ManagerClosed):
        await engine_of(manager).upstreams[0].token()


async def test_last_link_of_a_chain_is_renewed_only_on_demand(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A chain's upstream tokens are not kept fresh by themselves: they are wanted only when the next link is."""
    manager = make(Chain(provider, clock=clock), idle_timeout=None)
    async with manager:
        await manager.token()
        assert engine_of(manager).upstreams[0].runtime.policy.idle_timeout == 0.0
        assert engine_of(manager).upstreams[0].timer_handle is None


def test_pago_facils_chain_is_two_managers_deep() -> None:
    """PagoFacilJWT.from_password brings a manager for each step before its own."""
    manager = TokenManager(PagoFacilJWT.from_password(username="me", password="secret"))
    (access,) = engine_of(manager).upstreams
    (login,) = access.upstreams
    assert login.upstreams == ()
    assert manager.identity is not None


# --- policy, seen through the session


@pytest.mark.parametrize(("deadline", "total"), [(30.0, 15.0), (float("inf"), None)])
async def test_request_may_take_half_the_deadline(clock: FakeClock, deadline: float, total: float | None) -> None:
    """One token request may take half of the flight's deadline; without a deadline there is no limit."""
    provider = Sessions(clock=clock)
    await TokenManager(provider, policy=RefreshPolicy(deadline=deadline), clock=clock).token()
    assert provider.given[0].timeout.total == total


async def test_an_upstream_that_hangs_is_named(make: Make, clock: FakeClock) -> None:
    """An upstream manager's deadline ends before the one it is asked in, which could not tell which step it was."""
    login = FakeProvider(name="login", clock=clock, latency=1000.0)
    manager = make(Chain(login, name="outer", clock=clock))
    caller = asyncio.create_task(manager.token())
    await clock.advance(31)
    with pytest.raises(TokenEndpointUnavailable) as caught:
        await caller
    assert caught.value.provider == "login"


@pytest.mark.parametrize("deep", [1, 2])
async def test_refresh_by_hand_waits_for_nothing_further_upstream(
    make: Make, provider: FakeProvider, clock: FakeClock, deep: int
) -> None:
    """What an upstream manager is waiting out is tried at once, for the caller who waits for it already as well."""
    provider.answers = [TokenEndpointUnavailable("down", retry_after=20)]
    chain = Chain(provider, clock=clock)
    manager = make(chain if deep == 1 else Chain(chain, clock=clock))
    caller = asyncio.create_task(manager.token())
    await clock.advance(1)
    assert provider.calls == 1
    by_hand = asyncio.create_task(manager.refresh())
    await clock.advance(0)
    assert (await by_hand).value == (await caller).value
    assert provider.calls == 2


async def test_a_closing_that_is_cancelled_waits_for_no_listener(
    make: Make, provider: FakeProvider, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """close() waits for listeners as long as the grace; a caller that is cancelled meanwhile waits for none."""
    graces: list[float] = []

    async def settle(_: object, grace: float) -> None:
        graces.append(grace)

    monkeypatch.setattr("asyncauth._core.listeners.Listeners.settle", settle)
    manager = make(provider, close_grace=3.0)
    await manager.token()
    await manager.close()
    provider.latency = 1000.0
    async with manager:
        caller = asyncio.create_task(manager.refresh())
        await settled()
        closing = asyncio.create_task(manager.close())
        await settled()
        closing.cancel()
        await asyncio.wait((closing, caller))
    assert closing.cancelled()
    assert isinstance(caller.exception(), ManagerClosed)
    assert graces[:2] == [3.0, 0.0]


async def test_a_chain_tells_of_an_upstream_cool_down(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """Its own tokens are accepted, and one further upstream is refused again and again: status() says so."""
    manager = make(Chain(provider, clock=clock))
    await manager.token()
    (upstream,) = engine_of(manager).upstreams
    assert not manager.status().cooling_down
    for _ in range(2):
        upstream.invalidate(await upstream.token())
    assert manager.status().cooling_down


async def test_the_engines_of_a_chain_have_one_tenant_to_the_last() -> None:
    """A pool's key reaches the furthest step of a chain."""
    pool = ManagerPool[str](lambda _: PagoFacilJWT.from_password(username="ana", password="x"))
    assert [step.tenant for step in steps_of(await pool.get("ana"))] == 3 * ["ana"]


# --- endings that are cut short


async def ended(ending: Coroutine[Any, Any, object], steps: int) -> None:
    """Cancel an ending after so many turns of the loop, and wait for what is left of it."""
    task = asyncio.create_task(ending)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    for _ in range(20):  # what it started ends by itself
        await asyncio.sleep(0)


@pytest.mark.parametrize("steps", range(1, 10))
@pytest.mark.parametrize("way", ["close", "exit", "exit during a refresh"])
async def test_an_ending_that_is_cancelled_leaves_no_session(
    make: Make, clock: FakeClock, way: str, steps: int
) -> None:
    """At whichever step: the session is closed, and so is the manager, and what a chain has of its own."""
    manager = make(Chain(FakeProvider(clock=clock), clock=clock))
    await manager.__aenter__()
    await manager.token()
    entries = [entry for each in steps_of(manager) for entry in each.runtime.sessions.entries]
    sessions = [entry.session for entry in entries if entry.session is not None]
    assert len(sessions) == 2
    if way == "exit during a refresh":
        engine_of(manager).provider.latency = 1000.0  # type: ignore[attr-defined]
        refreshing = asyncio.create_task(manager.refresh())
        await asyncio.sleep(0)
        refreshing.cancel()
    await ended(manager.close() if way == "close" else manager.__aexit__(None, None, None), steps)
    assert [each.closed for each in sessions] == [True, True]
    with pytest.raises(ManagerClosed):
        await manager.token()
