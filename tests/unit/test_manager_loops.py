"""Point 10 of the refresh contract: one manager, many event loops and threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from core_kit import engine_of, work_of
from harness.loops import close_under_its_tasks

from asyncauth import ManagerClosed, PagoFacilJWT, RefreshPolicy, Token, TokenEndpointUnavailable, TokenManager
from asyncauth._core.sessions import Sessions
from asyncauth.testing import FakeClock, FakeProvider

T = TypeVar("T")

PROMPT = RefreshPolicy(jitter=0.0, close_grace=0.0)


@pytest.fixture(autouse=True)
def _quick_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncauth._core.waiters.GLANCE", 0.005)


def rests(manager: TokenManager) -> bool:
    work = work_of(manager)
    return work is not None and work.idle


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Callable[[], T]:
        """Start some work there; return what waits for its result."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        return lambda: future.result(10)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work)()

    def stop(self) -> None:
        """Stop the loop without closing it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)

    def end(self) -> None:
        """End everything on the loop and close it, as ``asyncio.run`` does."""
        if self.loop.is_closed():
            return
        self.stop()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()


@pytest.fixture
def threads() -> Iterator[Callable[[], LoopThread]]:
    started: list[LoopThread] = []

    def start() -> LoopThread:
        started.append(LoopThread())
        return started[-1]

    yield start
    for thread in started:
        thread.end()


class Door:
    """An answer that waits, on whatever loop, until the test's thread opens the door."""

    def __init__(self, value: str = "through-the-door") -> None:
        self.value = value
        self.opened, self.reached = threading.Event(), threading.Event()

    async def __call__(self) -> Token:
        self.reached.set()
        while not self.opened.is_set():  # noqa: ASYNC110 (another thread sets it)
            await asyncio.sleep(0.001)
        return Token(self.value, issued_at=0, expires_at=3600)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (other threads make it true)
            await asyncio.sleep(0.001)


# --- one loop after another


@pytest.mark.parametrize("fake", [False, True])
def test_three_runs_in_a_row_share_one_token(fake: bool) -> None:  # noqa: FBT001
    """One asyncio.run() after another uses the same manager and its token; nothing is bound to a loop."""
    clock = FakeClock() if fake else None
    provider = FakeProvider(clock=clock)
    manager = TokenManager(provider, clock=clock)
    assert [asyncio.run(manager.token()).value for _ in range(3)] == ["token-1"] * 3
    assert [asyncio.run(manager.refresh()).value for _ in range(3)] == ["token-2", "token-3", "token-4"]


def test_three_runs_in_a_row_may_each_enter(make: Callable[..., TokenManager], clock: FakeClock) -> None:
    """A manager may be entered in one asyncio.run() after another, and is kept fresh in each."""
    provider = FakeProvider(clock=clock)
    manager = make(provider)

    async def use() -> None:
        async with manager:
            await manager.token()
            before = provider.calls
            await clock.advance(2880)
            assert provider.calls == before + 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for _ in range(3):
        asyncio.run(use())


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_run_that_ended_during_a_flight_does_no_harm() -> None:
    """asyncio.run() ends with a flight in progress: the next run obtains a token as if nothing had been."""
    door = Door()
    provider = FakeProvider(answers=[door])
    manager = TokenManager(provider)

    async def leave() -> None:
        waiting = asyncio.ensure_future(manager.token())
        await until(door.reached.is_set)
        del waiting

    asyncio.run(leave())
    assert not manager.status().refreshing
    assert asyncio.run(manager.token()).value == "token-1"
    assert provider.calls == 2


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_run_that_ended_during_a_backoff_does_no_harm() -> None:
    """A flight that rests when its loop ends leaves its setback, and the next run goes on from there."""
    provider = FakeProvider(answers=[TokenEndpointUnavailable("down")])
    manager = TokenManager(provider, policy=RefreshPolicy(backoff=10.0))

    async def leave() -> None:
        waiting = asyncio.ensure_future(manager.token())
        await until(lambda: manager.status().failures == 1)
        del waiting

    asyncio.run(leave())
    assert not manager.status().refreshing
    assert asyncio.run(manager.refresh()).value == "token-1"


# Tasks and sessions whose event loop was closed early may warn when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("entered", [False, True])
def test_loop_that_was_closed_with_a_flight_on_it_does_no_harm(entered: bool) -> None:  # noqa: FBT001
    """A loop that is closed without a chance for its tasks: the next caller starts another flight.

    The lost one may be collected at any moment, also while the manager's lock is held.
    """
    provider = FakeProvider(answers=[Door()])
    manager = TokenManager(provider, policy=PROMPT)
    loop = asyncio.new_event_loop()
    if entered:
        loop.run_until_complete(manager.__aenter__())
    task = loop.create_task(manager.token())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert manager.status().refreshing
    sessions = [entry.session for entry in engine_of(manager).runtime.sessions.entries]
    close_under_its_tasks(loop)
    assert not manager.status().refreshing
    assert asyncio.run(manager.token()).value == "token-1"
    del task
    with engine_of(manager).runtime.guard:
        gc.collect()
    assert manager.current is not None
    assert asyncio.run(manager.token()).value == "token-1"
    asyncio.run(manager.close())
    for session in sessions:
        if session is not None:
            asyncio.run(session.close())


def test_a_session_whose_loop_was_closed_under_it_is_let_go() -> None:
    """The garbage collector ends who holds it: nothing is closed then, which would wait for a loop that is gone."""
    connections = Sessions(None, 30.0)
    loop = asyncio.new_event_loop()

    async def use() -> None:
        async with connections.session():
            await loop.create_future()

    task = loop.create_task(use())
    loop.run_until_complete(asyncio.wait((task,), timeout=0.01))
    close_under_its_tasks(loop)
    task.get_coro().close()


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_loop_that_was_left_entered_does_not_stop_the_next_from_being_kept_fresh(
    make: Callable[..., TokenManager], clock: FakeClock
) -> None:
    """A manager that was entered and not left when its loop ended is kept fresh on the loop that enters it next."""
    provider = FakeProvider(clock=clock)
    manager = make(provider)

    async def obtain() -> None:
        await manager.token()

    async def leave() -> None:
        await manager.__aenter__()
        await asyncio.sleep(0)

    async def use() -> None:
        async with manager:
            await clock.advance(2880)
            assert provider.calls == 2

    asyncio.run(obtain())
    asyncio.run(leave())
    asyncio.run(use())


def test_one_loop_that_runs_in_pieces_keeps_its_flight() -> None:
    """A flight goes on over several run_until_complete() of one loop."""
    provider = FakeProvider(answers=[Door()])
    door = provider.answers[0]
    manager = TokenManager(provider)
    loop = asyncio.new_event_loop()
    try:
        waiting = loop.create_task(manager.token())
        loop.run_until_complete(asyncio.sleep(0.01))
        door.opened.set()
        assert loop.run_until_complete(waiting).value == "through-the-door"
        assert provider.calls == 1
    finally:
        loop.close()


# --- several loops at once


def test_threads_with_loops_of_their_own_share_one_flight(threads: Callable[[], LoopThread]) -> None:
    """Callers on six loops in six threads make one token request, and get one token."""
    door = Door()
    provider = FakeProvider(answers=[door])
    manager = TokenManager(provider)

    async def many() -> set[str]:
        return {token.value for token in await asyncio.gather(*(manager.token() for _ in range(20)))}

    waiting = [threads().start(many()) for _ in range(6)]
    asyncio.run(until(lambda: manager.status().waiting == 120))
    door.opened.set()
    assert [wait() for wait in waiting] == [{"through-the-door"}] * 6
    assert provider.calls == 1


def test_failure_reaches_waiters_on_every_loop(threads: Callable[[], LoopThread]) -> None:
    """A failed flight fails its waiters on other loops too, each with an exception of its own."""
    one, other = threads(), threads()
    error = TokenEndpointUnavailable("busy", retry_after=300.0)
    door = Door()

    async def refuse() -> Token:
        await door()
        raise error

    manager = TokenManager(FakeProvider(answers=[refuse]))
    waiting = [one.start(manager.token())]
    assert door.reached.wait(5)
    waiting.append(other.start(manager.token()))
    asyncio.run(until(lambda: manager.status().waiting == 2))
    door.opened.set()
    raised = []
    for wait in waiting:
        with pytest.raises(TokenEndpointUnavailable) as caught:
            wait()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert str(raised[0]) == str(raised[1])


def test_cancelled_foreign_waiter_takes_nobody_with_it(threads: Callable[[], LoopThread]) -> None:
    """A waiter on another loop that times out leaves the flight alone, and is not counted any more."""
    one, other = threads(), threads()
    door = Door()
    manager = TokenManager(FakeProvider(answers=[door]))
    waiting = one.start(manager.token())
    assert door.reached.wait(5)
    with pytest.raises(TimeoutError):
        other.run(asyncio.wait_for(manager.token(), 0.01))
    assert manager.status().waiting == 1
    door.opened.set()
    assert waiting().value == "through-the-door"


@pytest.mark.parametrize("closed", [True, False], ids=["loop closed", "loop stopped"])
def test_waiter_starts_another_flight_when_the_flights_loop_ends(
    threads: Callable[[], LoopThread],
    closed: bool,  # noqa: FBT001
) -> None:
    """If the flight's loop is closed, or stands still for good, a waiter on another loop starts another flight.

    A caller that waits for both flights counts as one.
    """
    one, other = threads(), threads()
    door = Door()
    provider = FakeProvider(answers=[door])
    manager = TokenManager(provider)
    one.start(manager.token())
    assert door.reached.wait(5)
    waiting = [other.start(manager.token()) for _ in range(5)]
    asyncio.run(until(lambda: manager.status().waiting == 6))
    if closed:
        one.end()
    else:
        one.stop()
    assert {wait().value for wait in waiting} == {"token-1"}
    assert provider.calls == 2
    assert manager.status().waits == 6


def test_refresh_by_hand_survives_the_end_of_the_flights_loop(threads: Callable[[], LoopThread]) -> None:
    """refresh() that waits for a flight on a loop that ends makes another one."""
    one, other = threads(), threads()
    door = Door()
    manager = TokenManager(FakeProvider(answers=[door]))
    one.start(manager.token())
    assert door.reached.wait(5)
    waiting = other.start(manager.refresh())
    asyncio.run(until(lambda: manager.status().waiting == 2))
    one.end()
    assert waiting().value == "token-1"


def test_refresh_by_hand_hurries_a_flight_on_another_loop(threads: Callable[[], LoopThread]) -> None:
    """refresh() ends the rest of a flight that rests on another loop."""
    one, other = threads(), threads()
    manager = TokenManager(
        FakeProvider(answers=[TokenEndpointUnavailable("down", retry_after=29.0)]), policy=RefreshPolicy()
    )
    waiting = one.start(manager.token())
    asyncio.run(until(lambda: rests(manager)))
    assert other.run(manager.refresh()).value == "token-1"
    assert waiting().value == "token-1"


def test_refusal_from_any_thread(threads: Callable[[], LoopThread]) -> None:
    """invalidate(), current and status() need no loop, and may be called from any thread."""
    manager = TokenManager(FakeProvider())
    token = threads().run(manager.token())
    assert manager.current is token
    manager.invalidate(token)
    assert manager.current is None
    assert manager.status().state == "spent"
    assert threads().run(manager.token()).value == "token-2"


# --- entered, with loops at once


async def enter(manager: TokenManager) -> None:
    await manager.__aenter__()


async def leave(manager: TokenManager) -> None:
    await manager.__aexit__(None, None, None)


def use(manager: TokenManager, entered: threading.Event, leave: threading.Event) -> Callable[[], Awaitable[None]]:
    async def use() -> None:
        async with manager:
            entered.set()
            await until(leave.is_set)

    return use


def test_leaving_one_loop_leaves_the_manager_open_on_another(threads: Callable[[], LoopThread]) -> None:
    """The manager is closed when it is left on the last of the loops where it was entered."""
    one, other = threads(), threads()
    manager = TokenManager(FakeProvider(), policy=PROMPT)

    one.run(enter(manager))
    other.run(enter(manager))
    one.run(leave(manager))
    assert other.run(manager.token()).value == "token-1"
    assert one.run(manager.token()).value == "token-1"
    other.run(leave(manager))
    with pytest.raises(ManagerClosed):
        other.run(manager.token())


def test_leaving_one_of_two_loops_leaves_a_chains_managers_there(threads: Callable[[], LoopThread]) -> None:
    """What a chain's own managers have on that loop ends with it, and goes on elsewhere."""
    one, other = threads(), threads()
    manager = TokenManager(PagoFacilJWT.from_password(username="ana", password="x"), policy=PROMPT)
    owned = [engine_of(manager).upstreams[0], *engine_of(manager).upstreams[0].upstreams]

    one.run(enter(manager))
    other.run(enter(manager))
    one.run(leave(manager))
    assert [[entry.loop.get() for entry in each.runtime.sessions.entries] for each in owned] == [[other.loop]] * 2
    other.run(leave(manager))
    assert not any(each.runtime.sessions.entered() for each in owned)


def test_waiters_elsewhere_are_woken_when_the_flight_lands(
    threads: Callable[[], LoopThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need not look again to see that it has ended."""
    monkeypatch.setattr("asyncauth._core.waiters.GLANCE", 60.0)
    one, other = threads(), threads()
    door = Door()
    manager = TokenManager(FakeProvider(answers=[door]), policy=PROMPT)
    here = one.start(manager.token())
    assert door.reached.wait(5)
    there = other.start(manager.token())
    asyncio.run(until(lambda: manager.status().waiting == 2))
    door.opened.set()
    assert here().value == there().value == "through-the-door"


def test_close_reaches_every_loop(threads: Callable[[], LoopThread]) -> None:
    """close() on one loop ends the timers and sessions of the others."""
    one, other = threads(), threads()
    manager = TokenManager(FakeProvider(), policy=PROMPT)

    async def enter() -> None:
        await manager.__aenter__()
        await manager.refresh()

    async def tasks() -> int:
        return len(asyncio.all_tasks()) - 1

    one.run(enter())
    other.run(enter())
    asyncio.run(manager.close())
    assert one.run(tasks()) == 0
    assert other.run(tasks()) == 0
    asyncio.run(manager.close())


def test_close_ends_a_flight_on_another_loop(threads: Callable[[], LoopThread]) -> None:
    """close() cancels the flight wherever it runs; its waiters get ManagerClosed."""
    one = threads()
    door = Door()
    manager = TokenManager(FakeProvider(answers=[door]), policy=PROMPT)
    waiting = one.start(manager.token())
    assert door.reached.wait(5)
    asyncio.run(manager.close())
    with pytest.raises(ManagerClosed):
        waiting()
    assert not manager.status().refreshing


def test_close_does_not_wait_for_a_loop_that_stands_still(threads: Callable[[], LoopThread]) -> None:
    """close() returns though the flight, and an entry, are on a loop that was stopped."""
    one = threads()
    door = Door()
    manager = TokenManager(FakeProvider(), policy=PROMPT)

    one.run(enter(manager))
    engine_of(manager).provider.answers = [door]  # type: ignore[attr-defined]
    one.start(manager.token())
    assert door.reached.wait(5)
    one.stop()
    entry = engine_of(manager).runtime.sessions.entries[0]

    async def close() -> None:
        async with asyncio.timeout(5):
            await manager.close()

    asyncio.run(close())
    assert not manager.status().refreshing
    one.end()
    session = entry.session
    if session is not None:  # its loop ended before it could be closed
        loop = asyncio.new_event_loop()
        loop.run_until_complete(session.close())
        loop.close()


class Quick:
    """A clock that runs a thousand times as fast as the machine's, so that timers can be waited for."""

    def wall(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        return time.monotonic() * 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


def test_manager_is_kept_fresh_where_it_is_entered_though_others_obtain(threads: Callable[[], LoopThread]) -> None:
    """A flight that a caller on another loop started, where nobody entered, is followed by renewals all the same."""
    one, other = threads(), threads()
    clock = Quick()
    provider = FakeProvider(clock=clock, lifetime=100.0)
    manager = TokenManager(provider, policy=PROMPT, clock=clock)

    one.run(enter(manager))
    other.run(manager.token())
    asyncio.run(until(lambda: provider.calls >= 3))
    one.run(manager.close())


def test_manager_is_kept_fresh_on_the_loop_that_remains(threads: Callable[[], LoopThread]) -> None:
    """When the loop whose timer had the appointment is left, the other loop where it is entered takes over."""
    one, other = threads(), threads()
    clock = Quick()
    provider = FakeProvider(clock=clock, lifetime=400.0)
    manager = TokenManager(provider, policy=PROMPT, clock=clock)

    one.run(enter(manager))
    other.run(enter(manager))
    other.run(manager.refresh())
    other.run(leave(manager))
    asyncio.run(until(lambda: provider.calls >= 3))
    one.run(leave(manager))


def test_leaving_a_loop_waits_for_the_flight_on_it(threads: Callable[[], LoopThread]) -> None:
    """Leaving one of several loops gives the flight that runs there its grace, and ends no other's wait."""
    one, other = threads(), threads()
    door = Door()
    manager = TokenManager(FakeProvider(answers=[door]), policy=RefreshPolicy(close_grace=30.0))

    one.run(enter(manager))
    other.run(enter(manager))
    there = one.start(manager.token())
    assert door.reached.wait(5)
    here = other.start(manager.token())
    asyncio.run(until(lambda: manager.status().waiting == 2))
    leaving = asyncio.run_coroutine_threadsafe(leave(manager), one.loop)
    time.sleep(0.1)
    assert not leaving.done()
    door.opened.set()
    leaving.result(10)
    assert there().value == here().value == "through-the-door"
    other.run(leave(manager))


def test_leaving_a_loop_does_not_wait_for_a_flight_on_another(
    threads: Callable[[], LoopThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task is another thread's."""
    one, other = threads(), threads()
    door, drained = Door(), list[object]()
    manager = TokenManager(FakeProvider(answers=[door]), policy=RefreshPolicy(close_grace=30.0))

    async def drain(flight: object, _: float) -> None:
        drained.append(flight)

    one.run(enter(manager))
    other.run(enter(manager))
    there = other.start(manager.token())
    assert door.reached.wait(5)
    monkeypatch.setattr("asyncauth._core.lifecycle.drain", drain)
    one.run(leave(manager))
    assert drained == []
    door.opened.set()
    assert there().value == "through-the-door"
    other.run(leave(manager))


# Tasks and sessions whose event loop was closed early may warn when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_lost_flight_that_is_collected_under_the_managers_lock_blocks_nobody() -> None:
    """The garbage collector may end a flight of a closed loop at any moment, also while the lock is held."""
    manager = TokenManager(FakeProvider(answers=[Door()]))
    loop = asyncio.new_event_loop()
    task = loop.create_task(manager.token())
    loop.run_until_complete(asyncio.sleep(0.01))
    close_under_its_tasks(loop)
    flight = weakref.ref(engine_of(manager).flight.task)  # type: ignore[union-attr]
    del task, loop
    with engine_of(manager).runtime.guard:
        engine_of(manager).flight = None
        gc.collect()
    gc.collect()
    assert flight() is None
