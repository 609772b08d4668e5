"""Closings that overlap, are cancelled, or are in progress when somebody enters: one fetch at a time, none left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from core_kit import cache_of, closings_of, engine_of, life_of
from harness.canary import MARK, secret
from harness.loops import close_under_its_tasks

from asyncauth import ManagerClosed, ManagerPool, RefreshPolicy, Token, TokenManager
from asyncauth._base.loops import LoopRef
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import when_ended
from asyncauth._core.lifecycle import all_ended
from asyncauth._core.listeners import Listeners
from asyncauth._core.sessions import LoopEntry
from asyncauth.testing import FakeProvider

Settled = Callable[[], Awaitable[None]]

AT_ONCE = RefreshPolicy(close_grace=0.0)


class Tidy(FakeProvider):
    """A provider whose first fetch never ends, and takes its time to clear up when it is cancelled.

    Attributes:
        may_end: Whether what is being cleared up may come to its end.
        cut_off: How many fetches were not allowed to clear up.
        at_once: How many fetches ran at the same time, at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()
        self.began = asyncio.Event()
        self.cut_off = 0
        self.at_once = 0
        self._running = 0

    async def fetch(self, http: Any, previous: Token | None) -> Token:
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        self.began.set()
        try:
            if self.calls:
                return await super().fetch(http, previous)
            self.calls += 1
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cut_off += 1
                raise
            finally:
                self._running -= 1


@pytest.fixture
def tidy() -> Tidy:
    return Tidy()


async def fetching(tidy: Tidy, manager: TokenManager) -> asyncio.Task[Token]:
    """Return a caller whose fetch has begun."""
    caller = asyncio.create_task(manager.token())
    await tidy.began.wait()
    return caller


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Return when they have ended, in whatever way."""
    async with asyncio.timeout(10):
        await asyncio.wait(tasks)


async def cut_short(closing: Coroutine[Any, Any, None], settled: Settled) -> None:
    """Cancel a closing in the middle."""
    task = asyncio.create_task(closing)
    await settled()
    task.cancel()
    await ended(task)


async def enters_after(tidy: Tidy, manager: TokenManager, settled: Settled, *tasks: asyncio.Task[Any]) -> None:
    """Enter a manager, which must wait until the fetch has cleared up, and with it these end."""
    entering = asyncio.create_task(manager.__aenter__())
    await settled()
    assert not entering.done()
    tidy.may_end.set()
    await ended(entering, *tasks)


Opened = TokenManager | ManagerPool[str]
BOTH = pytest.mark.parametrize("what", ["manager", "pool"])


def either(what: str, provider: FakeProvider, policy: RefreshPolicy | None = None) -> Opened:
    settings: dict[str, Any] = {} if policy is None else {"policy": policy}
    return TokenManager(provider, **settings) if what == "manager" else ManagerPool(lambda _: provider, **settings)


async def manager_of(opened: Opened) -> TokenManager:
    return opened if isinstance(opened, TokenManager) else await opened.get("a")


async def test_a_second_closing_leaves_nothing_behind_either(tidy: Tidy, settled: Settled) -> None:
    """close() beside another close() returns when the fetch has ended, and does not cut short what it clears up."""
    manager = TokenManager(tidy, policy=AT_ONCE)
    caller = await fetching(tidy, manager)
    closings = [asyncio.create_task(manager.close()) for _ in range(3)]
    await settled()
    assert [closing.done() for closing in closings] == [False] * 3
    tidy.may_end.set()
    await ended(caller, *closings)
    assert tidy.cut_off == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ManagerClosed):
        await caller


async def test_entering_waits_for_each_of_several_closings(tidy: Tidy, settled: Settled) -> None:
    """Who enters after the second of two closings, and before the end of the first, begins no second fetch."""
    manager = TokenManager(tidy, policy=AT_ONCE)
    caller = await fetching(tidy, manager)
    first = asyncio.create_task(manager.close())
    await settled()
    await cut_short(manager.close(), settled)
    await enters_after(tidy, manager, settled, caller, first)
    assert (await manager.token()).value == "token-1"
    assert tidy.at_once == 1
    await manager.close()


async def test_entering_waits_for_a_closing_that_begins_meanwhile(settled: Settled) -> None:
    """A closing that begins while somebody waits to enter takes nothing from him once he is in: he is kept fresh."""
    manager = TokenManager(FakeProvider())
    await manager.close()
    first = closings_of(manager).begin()
    entering = asyncio.create_task(manager.__aenter__())
    await settled()
    second = closings_of(manager).begin()
    first.set_result(None)
    await settled()
    assert not entering.done()
    second.set_result(None)
    await ended(entering)
    await manager.close()


async def test_entering_after_a_closing_that_was_cancelled_waits_for_the_fetch(tidy: Tidy, settled: Settled) -> None:
    """A closing that is cancelled while the fetch clears up is over for its caller, and not for who enters again."""
    manager = TokenManager(tidy, policy=AT_ONCE)
    caller = await fetching(tidy, manager)
    await cut_short(manager.close(), settled)
    await enters_after(tidy, manager, settled, caller)
    assert (await manager.token()).value == "token-1"
    assert (tidy.at_once, tidy.cut_off) == (1, 0)
    await manager.close()


async def test_entering_waits_for_a_fetch_that_never_ends_once(
    tidy: Tidy, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that does not end delays no caller forever, and none twice."""
    monkeypatch.setattr("asyncauth._core.lifecycle._PATIENCE", 0.05)
    manager = TokenManager(tidy, policy=AT_ONCE)
    caller = await fetching(tidy, manager)
    await cut_short(manager.close(), settled)
    async with asyncio.timeout(10):
        await manager.__aenter__()
    monkeypatch.setattr("asyncauth._core.lifecycle._PATIENCE", 600.0)
    async with asyncio.timeout(10):
        await manager.__aenter__()
    tidy.may_end.set()
    await ended(caller)
    await manager.close()


async def test_a_closing_that_nobody_waits_for_any_more_closes_nothing_that_is_new(
    tidy: Tidy, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager was entered again before a fetch had ended that took too long: it stays open, and so does its chain."""
    monkeypatch.setattr("asyncauth._core.lifecycle._PATIENCE", 0.05)
    manager, upstream = TokenManager(tidy, policy=AT_ONCE), TokenManager(FakeProvider())
    engine_of(manager).upstreams = (engine_of(upstream),)
    caller = await fetching(tidy, manager)
    closing = asyncio.create_task(manager.close())
    await settled()
    async with manager:
        tidy.may_end.set()
        await ended(caller, closing)
        assert (await manager.token()).value == "token-1"
        assert (await upstream.token()).value == "token-1"


@BOTH
async def test_what_a_closing_does_late_leaves_the_new_appointment(what: str) -> None:
    """Another loop's closing, cancelled meanwhile, does its last step here after somebody has entered again."""
    opened = either(what, FakeProvider())
    async with opened:
        await (await manager_of(opened)).token()
        ticket = life_of(opened).timer_handle
        assert ticket is not None
        await life_of(opened).leave_loop(LoopEntry())
        assert life_of(opened).timer_handle is ticket


def test_a_closing_whose_loop_stands_still_holds_nobody_up(tidy: Tidy) -> None:
    """A thread stopped its loop in the middle of close(): who enters on another does not wait for what never comes."""
    manager = TokenManager(tidy, policy=RefreshPolicy(close_grace=600.0))
    stopped = asyncio.new_event_loop()

    async def begin() -> list[asyncio.Task[Any]]:
        tasks: list[asyncio.Task[Any]] = [await fetching(tidy, manager), asyncio.create_task(manager.close())]
        await asyncio.sleep(0)
        return tasks

    tasks = stopped.run_until_complete(begin())

    async def enter() -> None:
        async with asyncio.timeout(10), manager:
            pass

    asyncio.run(enter())
    tidy.may_end.set()
    tasks[1].cancel()
    stopped.run_until_complete(asyncio.wait(tasks))
    stopped.close()


async def test_a_closing_of_the_parent_process_holds_nobody_up(
    settled: Settled, forked: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    """In a process that was forked in the middle of it nothing of a closing goes on."""
    manager = TokenManager(FakeProvider())
    await manager.close()
    closings_of(manager).begin()
    entering = asyncio.create_task(manager.__aenter__())
    await settled()
    assert not entering.done()
    with forked():
        await ended(entering)
    await manager.close()


@pytest.mark.parametrize("itself", [False, True])
async def test_entering_a_chain_waits_for_what_is_further_upstream(
    tidy: Tidy, settled: Settled, *, itself: bool
) -> None:
    """The upstream manager's closing was cut short, alone or with its owner's: nobody enters before it has ended."""
    manager = TokenManager(FakeProvider(), policy=AT_ONCE)
    upstream = TokenManager(tidy, policy=AT_ONCE)
    engine_of(manager).upstreams = (engine_of(upstream),)
    caller = await fetching(tidy, upstream)
    await cut_short((upstream if itself else manager).close(), settled)
    await enters_after(tidy, manager, settled, caller)
    await manager.close()


@pytest.mark.parametrize("by", ["pool", "manager"])
async def test_a_tenant_waits_for_a_closing(tidy: Tidy, settled: Settled, by: str) -> None:
    """Whether the pool was closed and entered again, or the tenant's manager alone was closed: one fetch at a time."""
    pool = ManagerPool[str](lambda _: tidy, policy=AT_ONCE)
    await pool.__aenter__()
    manager = await pool.get("a")
    caller = await fetching(tidy, manager)
    closing = asyncio.create_task(pool.close() if by == "pool" else manager.close())
    await settled()
    if by == "pool":
        with pytest.raises(ManagerClosed):
            await asyncio.wait_for(manager.token(), 5)
    closing.cancel()

    async def later() -> list[Token]:
        if by == "pool":
            await pool.__aenter__()
        same = await pool.get("a")
        assert same is manager
        return [await same.token(), await same.refresh()]

    again = asyncio.create_task(later())
    await settled()
    assert tidy.at_once == 1
    tidy.may_end.set()
    await ended(caller, closing, again)
    assert [token.value for token in await again] == ["token-1", "token-2"]
    assert (tidy.at_once, tidy.cut_off) == (1, 0)
    await pool.close()


async def test_entering_a_pool_waits_for_a_closing_of_it(settled: Settled) -> None:
    """Who enters a pool while it is being closed keeps its timer, and is not closed with the others."""
    provider = FakeProvider(latency=0.1)
    pool = ManagerPool[str](lambda _: provider, policy=RefreshPolicy(close_grace=5.0))
    await pool.__aenter__()
    manager = await pool.get("a")
    caller = asyncio.create_task(manager.token())
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(pool.close())
    await settled()
    async with pool:
        assert closing.done()
        assert cache_of(pool).timer is not None
        assert (await manager.token()).value == "token-1"
    assert (await caller).value == "token-1"


async def test_leaving_a_pool_waits_for_a_closing_that_is_under_way_elsewhere(settled: Settled) -> None:
    """What was closed on another loop may have something left to do on this one: it must not end before that."""
    pool = ManagerPool[str](lambda _: FakeProvider())
    await pool.__aenter__()
    await pool.close()
    elsewhere = closings_of(pool).begin()
    leaving = asyncio.create_task(pool.__aexit__(None, None, None))
    await settled()
    assert not leaving.done()
    elsewhere.set_result(None)
    await ended(leaving)


@pytest.mark.parametrize("just_now", [False, True])
def test_a_flight_whose_loop_is_closed_has_ended(monkeypatch: pytest.MonkeyPatch, *, just_now: bool) -> None:
    """Nobody waits for it to clear anything up, not even if its loop is closed at this very moment."""
    loop, flight = asyncio.new_event_loop(), Flight[None]()

    async def begin() -> None:
        flight.start(partial(asyncio.sleep, 60))

    loop.run_until_complete(begin())
    close_under_its_tasks(loop)
    if just_now:
        monkeypatch.setattr(LoopRef, "alive", True)
    assert when_ended(flight).done()


@BOTH
async def test_who_was_inside_when_all_was_closed_closes_nothing_of_others(what: str) -> None:
    """A block that is left after a close() leaves the block that another task has entered since as it is."""
    opened, leaves = either(what, FakeProvider()), asyncio.Event()

    async def inside() -> None:
        async with opened, opened:
            await leaves.wait()

    old = asyncio.create_task(inside())
    await asyncio.sleep(0)
    await opened.close()
    async with opened:
        manager = await manager_of(opened)
        await manager.token()
        leaves.set()
        await ended(old)
        await old
        assert (await manager.token()).value == "token-1"
        assert life_of(opened).runtime.sessions.entered()
    assert not life_of(opened).runtime.sessions.entered()
    with pytest.raises(ManagerClosed):
        await manager.token()


@BOTH
async def test_one_task_may_enter_again_what_it_has_closed(what: str) -> None:
    """Its inner block is its own, and so is the outer: the first is left first, and closes."""
    opened = either(what, FakeProvider())
    async with opened:
        await opened.close()
        async with opened:
            assert (await (await manager_of(opened)).token()).value == "token-1"
        assert not life_of(opened).runtime.sessions.entered()
        assert life_of(opened).closed
    assert life_of(opened).closed


async def test_what_was_entered_by_tasks_that_have_ended_is_closed_by_whoever_leaves() -> None:
    """As fixtures do it, and start-up code: one task enters, another leaves."""
    manager = TokenManager(FakeProvider())
    await manager.__aenter__()
    await manager.close()
    await asyncio.create_task(manager.__aenter__())
    await manager.__aexit__(None, None, None)
    assert not engine_of(manager).runtime.sessions.entered()
    await asyncio.create_task(manager.__aenter__())
    await asyncio.create_task(manager.__aexit__(None, None, None))
    assert not engine_of(manager).runtime.sessions.entered()


@BOTH
async def test_who_leaves_while_it_is_closed_closes_nothing_of_who_waits_to_enter(what: str, settled: Settled) -> None:
    """Both wait for the closing. Whichever wakes first, the one that enters gets an open manager."""
    provider, leaves = FakeProvider(latency=0.05), asyncio.Event()
    opened = either(what, provider)

    async def inside() -> None:
        async with opened:
            await leaves.wait()

    async def enters() -> str:
        async with opened:
            await asyncio.sleep(0.02)
            return (await (await manager_of(opened)).token()).value

    old = asyncio.create_task(inside())
    await settled()
    caller = asyncio.create_task((await manager_of(opened)).token())
    await settled()
    closing = asyncio.create_task(opened.close())
    await settled()
    new = asyncio.create_task(enters())
    await settled()
    leaves.set()
    await ended(old, caller, closing, new)
    assert (await new).startswith("token-")


@BOTH
async def test_a_closing_that_begins_at_the_last_moment_is_waited_for(
    what: str, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread's, between the last look at what is in progress and the entering."""
    opened, begun = either(what, FakeProvider()), list[concurrent.futures.Future[None]]()
    await opened.close()

    async def and_another(closings: Any, grace: float) -> None:
        await all_ended(closings, grace)
        if not begun:
            begun.append(closings_of(opened).begin())

    monkeypatch.setattr("asyncauth._core.lifecycle.all_ended", and_another)
    entering = asyncio.create_task(opened.__aenter__())
    await settled()
    assert not entering.done()
    begun[0].set_result(None)
    await ended(entering)
    await opened.close()


class Chain(FakeProvider):
    """A provider whose credential is another's token, as `PagoFacil` is."""

    def __init__(self, upstream: FakeProvider) -> None:
        super().__init__()
        self.upstream = upstream
        self.may_end = asyncio.Event()

    def chained(self, manage: Any) -> Chain:
        self.manager = manage(self.upstream)
        return self

    async def fetch(self, http: Any, previous: Token | None) -> Token:
        try:
            await self.manager.token()
        except asyncio.CancelledError:
            await self.may_end.wait()
            raise
        return await super().fetch(http, previous)


async def test_a_chain_is_entered_whole_and_again() -> None:
    """What is further upstream is open as long as the chain is, also the second time."""
    chain = Chain(FakeProvider())
    manager = TokenManager(chain, policy=AT_ONCE)
    for times in (1, 2):
        async with manager:
            await manager.refresh()
            upstream = chain.manager
            assert (upstream.closed, upstream.runtime.sessions.entered_here()) == (False, True)
        assert (upstream.closed, upstream.runtime.sessions.entered_here()) == (True, False)
        assert chain.calls == times


async def test_a_chain_is_left_whole_on_each_loop() -> None:
    """What is further upstream keeps nothing on a loop that was left, while the chain stays open on another one."""
    chain = Chain(FakeProvider())
    manager = TokenManager(chain, policy=AT_ONCE)

    async def enter_and_leave() -> None:
        async with manager:
            await manager.token()

    async with manager:
        await asyncio.to_thread(asyncio.run, enter_and_leave())
        assert [entry.loop.here for entry in chain.manager.runtime.sessions.entries] == [True]


@pytest.mark.parametrize("by", ["manager", "pool", "tenant"])
async def test_a_closing_that_is_cancelled_further_upstream_is_waited_for(
    tidy: Tidy, settled: Settled, by: str
) -> None:
    """The upstream manager's fetch clears up when everything else of the chain has ended: no second one is begun."""
    chain = Chain(tidy)
    chain.may_end.set()
    opened = either("manager" if by == "manager" else "pool", chain, AT_ONCE)
    async with opened:
        manager = await manager_of(opened)
        caller = await fetching(tidy, manager)
        await cut_short(manager.close() if by == "tenant" else opened.close(), settled)

        async def later() -> Token:
            if by == "tenant":
                return await (await manager_of(opened)).token()
            async with opened:
                return await (await manager_of(opened)).token()

        again = asyncio.create_task(later())
        await settled()
        assert (tidy.at_once, again.done()) == (1, False)
        tidy.may_end.set()
        await ended(caller, again)
        assert (await again).value == "token-1"
        assert tidy.at_once == 1


async def test_a_closing_that_goes_on_upstream_meanwhile_is_waited_for(tidy: Tidy, settled: Settled) -> None:
    """A caller that enters while the chain's own fetch cleans up also waits for the upstream one."""
    chain = Chain(tidy)
    manager = TokenManager(chain, policy=AT_ONCE)
    async with manager:
        caller = await fetching(tidy, manager)
        closing = asyncio.create_task(manager.close())
        await settled()
        entering = asyncio.create_task(manager.__aenter__())
        await settled()
        chain.may_end.set()
        await settled()
        closing.cancel()
        await ended(closing, caller)
        await settled()
        assert not entering.done()
        tidy.may_end.set()
        await ended(entering)
        assert (await manager.token()).value == "token-1"
        assert tidy.at_once == 1
    await manager.close()


async def test_a_fetch_that_swallows_its_cancellation_is_cancelled_again(
    settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """close() does not wait for its end, which may never come."""
    monkeypatch.setattr("asyncauth._core.flight_endings.PATIENCE", 0.05)
    swallowed: list[int] = []

    class Stubborn(FakeProvider):
        async def fetch(self, http: Any, previous: Token | None) -> Token:
            while len(swallowed) < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed.append(1)
            return await asyncio.Future()

    manager = TokenManager(Stubborn(), policy=AT_ONCE)
    caller = asyncio.create_task(manager.token())
    await settled()
    async with asyncio.timeout(10):
        await manager.close()
    await ended(caller)
    assert len(swallowed) == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_what_a_fetch_raises_at_the_end_of_its_loop_is_told_without_its_text() -> None:
    """asyncio logs what tasks raise that the end of a loop cancels; a provider's text may hold anything."""
    told: list[str] = []

    class Careless(FakeProvider):
        async def fetch(self, http: Any, previous: Token | None) -> Token:
            try:
                return await asyncio.Future()
            finally:
                raise ValueError(secret("in what is cleared up"))

    def tell(_: object, context: dict[str, Any]) -> None:
        told.append(str(context["message"]) + "".join(traceback.format_exception(context["exception"])))

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(tell)
        caller = asyncio.create_task(TokenManager(Careless()).token())
        await asyncio.sleep(0.01)
        assert not caller.done()

    asyncio.run(main())
    assert MARK not in "".join(told)


@pytest.mark.not_eager(reason="it is about what comes before a task's first step")
def test_a_flight_that_was_landed_before_it_began_fetches_nothing(provider: FakeProvider, *, on_uvloop: bool) -> None:
    """Another thread's close() comes between the start of a flight and the first step of its task."""
    if on_uvloop:
        pytest.skip("a uvloop that is stopped takes the flight's first step before it stands still")
    manager = TokenManager(provider)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[Token]:
        return asyncio.create_task(manager.token())

    caller = loop.run_until_complete(begin())
    assert engine_of(manager).flight is not None
    asyncio.run(manager.close())
    with pytest.raises(ManagerClosed):
        loop.run_until_complete(caller)
    loop.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(loop) == set()
    loop.close()
    assert provider.calls == 0


@pytest.mark.parametrize(("cancelled", "patience"), [(True, 0.0), (False, 3.0)])
async def test_listeners_get_the_grace_of_a_closing_unless_it_was_cancelled(
    tidy: Tidy, settled: Settled, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool, patience: float
) -> None:
    """Who cancels a closing waits for no listener."""
    waited = list[float]()

    async def settle(_: Listeners, patience: float) -> None:
        waited.append(patience)

    monkeypatch.setattr(Listeners, "settle", settle)
    manager = TokenManager(tidy, policy=RefreshPolicy(close_grace=3.0))
    if cancelled:
        caller = await fetching(tidy, manager)
        closing = asyncio.create_task(manager.close())
        await settled()
        closing.cancel()
        tidy.may_end.set()
        await ended(caller, closing)
    else:
        await manager.close()
    assert waited == [patience]
