"""Flights that are interrupted while they start, last too long, or run on a loop that stands still or is blocked."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import pytest
from core_kit import cache_of, engine_of, work_of
from harness.loops import close_under_its_tasks

from asyncauth import ManagerClosed, ManagerPool, RefreshPolicy, Token, TokenEndpointUnavailable, TokenManager
from asyncauth._core.engine import TokenEngine
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import count_orphaned, end
from asyncauth._core.limiter import RequestLimiter
from asyncauth._core.sessions import Sessions
from asyncauth._core.waiters import FlightOrphaned
from asyncauth.testing import FakeClock, FakeProvider

Forked = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and wait only a moment beyond a deadline."""
    monkeypatch.setattr("asyncauth._core.waiters.GLANCE", 0.01)
    monkeypatch.setattr("asyncauth._core.waiters.PATIENCE", 0.05)
    monkeypatch.setattr("asyncauth._core.flight_endings.PATIENCE", 0.05)
    monkeypatch.setattr("asyncauth._base.loops.GLANCE", 0.01)


@pytest.fixture
def standing() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs only when the test lets it."""
    loop = asyncio.new_event_loop()
    yield loop
    close_under_its_tasks(loop)


class Thread:
    """A loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        close_under_its_tasks(self.loop)


@pytest.fixture
def elsewhere() -> Iterator[Thread]:
    thread = Thread()
    yield thread
    thread.end()


async def seven() -> int:
    return 7


async def never() -> int:
    return await asyncio.Event().wait()


class Work:
    """Work whose deadline the test sets."""

    idle = False

    def __init__(self, due: float) -> None:
        self.due = due
        self.given_up = 0

    def expire(self) -> None: ...

    def retry_now(self) -> None: ...

    def nudge(self) -> None: ...

    def leave(self) -> None: ...

    def abandon(self) -> None:
        self.given_up += 1


def interrupting(when: str) -> Any:
    """Return a task factory that is interrupted before or after it has made a task."""

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
        loop.set_task_factory(None)
        if when == "after":
            asyncio.Task(work, loop=loop, **settings)
        else:
            work.close()
        raise KeyboardInterrupt

    return factory


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_flight_whose_start_is_interrupted_never_begins(when: str) -> None:
    """Nobody joins it, and a task that was made for it all the same does nothing: another may be in progress."""
    flight, begun = Flight[int](), list[int]()

    async def work() -> int:
        begun.append(1)
        return 7

    asyncio.get_running_loop().set_task_factory(interrupting(when))
    with pytest.raises(KeyboardInterrupt):
        flight.start(work)
    assert flight.finished
    assert flight.reachable is None
    assert not flight.orphaned
    for _ in range(5):
        await asyncio.sleep(0)
    assert begun == []


async def test_a_manager_whose_flight_was_interrupted_while_it_started_begins_another() -> None:
    """The next caller gets a token, with one request."""
    provider = FakeProvider()
    manager = TokenManager(provider)
    asyncio.get_running_loop().set_task_factory(interrupting("after"))
    with pytest.raises(KeyboardInterrupt):
        await manager.token()
    assert not manager.status().refreshing
    assert (await asyncio.wait_for(manager.token(), 5)).value == "token-1"


async def test_a_pool_whose_making_was_interrupted_while_it_started_begins_another() -> None:
    """The next caller gets the tenant's manager."""
    pool = ManagerPool[str](lambda _: FakeProvider())
    asyncio.get_running_loop().set_task_factory(interrupting("after"))
    with pytest.raises(KeyboardInterrupt):
        await pool.get("a")
    assert await asyncio.wait_for(pool.get("a"), 5) is await pool.get("a")


def test_an_interrupted_task_is_a_lost_flight(standing: asyncio.AbstractEventLoop) -> None:
    """It is settled at once; its waiters learn of it when the loop runs again. The loop raises the exception once."""
    flight = Flight[int]()

    async def work() -> int:
        raise KeyboardInterrupt

    async def wait() -> None:
        flight.start(work)
        with pytest.raises(FlightOrphaned):
            await flight.wait()

    waiting = standing.create_task(wait())
    with pytest.raises(KeyboardInterrupt):
        standing.run_until_complete(waiting)
    assert flight.done
    standing.run_until_complete(asyncio.wait_for(waiting, 5))


def test_an_interrupted_fetch_is_raised_once(standing: asyncio.AbstractEventLoop) -> None:
    """The caller of the loop gets the exception once, not again when the refresh reads how its fetch ended."""
    provider = FakeProvider(answers=[KeyboardInterrupt()])
    manager = TokenManager(provider)
    caller = standing.create_task(manager.token())
    with pytest.raises(KeyboardInterrupt):
        standing.run_until_complete(caller)
    assert standing.run_until_complete(asyncio.wait_for(caller, 5)).value == "token-1"


async def test_an_interruption_in_a_fetch_holds_nobody_off() -> None:
    """What a signal handler raises there fails that refresh; the next caller is served at once."""

    class OutOfTime(BaseException):
        pass

    manager = TokenManager(FakeProvider(answers=[OutOfTime()]))
    with pytest.raises(Exception, match="OutOfTime"):
        await manager.token()
    assert (await manager.token()).value == "token-1"


async def stubborn() -> int:
    """Go on for a while, and ignore cancellations."""
    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.02)
    return 7


async def test_who_waits_for_work_that_does_not_end_is_released() -> None:
    """A provider that goes on when it is cancelled holds up no caller beyond the deadline.

    Nor those who come later; after some seconds the flight is given up, and the next caller starts another.
    """
    flight = Flight[int]()
    flight.start(stubborn, seconds=0.05)
    for _ in range(2):
        with pytest.raises(TokenEndpointUnavailable, match="by the deadline: the provider ignores"):
            await asyncio.wait_for(flight.wait(), 5)
    while not flight.finished:  # noqa: ASYNC110 (a timer's)
        await asyncio.sleep(0.01)
    assert flight.task is not None
    assert not flight.task.done()
    await asyncio.wait((flight.task,))


async def test_work_that_says_that_it_may_take_longer_is_left_alone() -> None:
    """The wait for a turn in a pool extends the deadline."""
    clock = FakeClock()
    flight = Flight[int](clock)
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    flight.start(work, seconds=0.01)
    flight.work = Work(due=clock.monotonic() + 100)
    waiting = asyncio.ensure_future(flight.wait())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    go.set()
    assert await waiting == 7


async def test_a_loop_that_was_blocked_ends_what_it_can() -> None:
    """A flight that is overdue because its loop was blocked until just now has a moment to end by itself."""
    flight = Flight[int]()

    async def work() -> int:
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 7

    flight.start(work, seconds=0.05)
    assert await flight.wait() == 7


async def test_a_watch_that_comes_too_late_does_nothing() -> None:
    """The flight has landed, and its task has yet to end."""
    flight = Flight[int]()
    flight.start(never, seconds=60)
    watchdog = flight.watchdog
    assert watchdog is not None
    await end(flight, 0)
    watchdog.look()
    with pytest.raises(ManagerClosed):
        await flight.wait()


async def test_who_waits_for_a_blocked_loop_is_released(elsewhere: Thread) -> None:
    """The refresh's loop is blocked by another's work: callers on other loops get an error by the deadline.

    The next one gets a token, by a refresh on its own loop; when the first loop goes on, its refresh is cancelled.
    """
    provider = FakeProvider(latency=60.0)
    manager = TokenManager(provider, policy=RefreshPolicy(deadline=0.2))
    first = elsewhere.run(manager.token())
    while not provider.calls:  # noqa: ASYNC110 (another thread's)
        await asyncio.sleep(0.001)
    unblocked = threading.Event()
    elsewhere.loop.call_soon_threadsafe(unblocked.wait, 20)
    with pytest.raises(TokenEndpointUnavailable, match="the event loop of the refresh, in another thread, is blocked"):
        await asyncio.wait_for(manager.token(), 10)
    provider.latency = 0.0
    assert (await asyncio.wait_for(manager.token(), 10)).value == "token-1"
    unblocked.set()
    with pytest.raises(TokenEndpointUnavailable):
        await first
    assert (await manager.token()).value == "token-1"
    assert provider.calls == 2


async def test_a_loop_that_runs_ends_its_flight_itself(elsewhere: Thread) -> None:
    """Callers on other loops leave a flight that is overdue alone while its own loop answers."""
    flight = Flight[int]()

    async def start() -> None:
        flight.start(never)
        assert flight.watchdog is not None
        flight.watchdog.stop()

    await elsewhere.run(start())
    flight.work = Work(due=-math.inf)
    waiting = asyncio.ensure_future(flight.wait())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    elsewhere.loop.call_soon_threadsafe(partial(flight.settle, result=7))
    assert await asyncio.wait_for(waiting, 5) == 7


async def test_callers_elsewhere_are_watched_over_although_the_first_was_interrupted(
    elsewhere: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption of the caller that begins the watch leaves no place that nobody watches."""
    flight: Flight[int] = Flight()
    watched = []

    async def start() -> None:
        flight.start(never)

    def begin(*arguments: Any) -> None:
        watched.append(arguments)
        if len(watched) == 1:
            raise KeyboardInterrupt

    await elsewhere.run(start())
    monkeypatch.setattr("asyncauth._core.flight.RemoteWatchdog", begin)
    with pytest.raises(KeyboardInterrupt):
        flight.wait()
    waiting = flight.wait()
    (_, abandoned), (_, waiters) = watched
    flight.forget_waiters(abandoned)  # its timer may go on
    assert flight.waiters == [flight.own_waiters, waiters]
    flight.settle(result=7)
    assert await waiting == 7


async def test_a_task_that_ends_before_it_is_watched_is_lost() -> None:
    """The start was interrupted between the two."""
    flight = Flight[int]()
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    flight.task_ended(task)
    with pytest.raises(FlightOrphaned):
        await flight.wait()


async def test_who_forgets_a_flight_leaves_the_next_one_as_it_is() -> None:
    """A pool's manager stays busy with the flight that was begun since."""
    pool = ManagerPool[str](lambda _: FakeProvider())
    await pool.get("a")
    (engine,) = cache_of(pool).engines.values()
    with cache_of(pool).runtime.guard:
        flight = engine.join()
    engine.forget(Flight())
    assert engine.flight is flight
    assert cache_of(pool).busy == {engine}
    await flight.wait()


async def test_a_waiter_elsewhere_needs_no_word(elsewhere: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption may swallow what would wake it: its own loop looks by itself."""
    flight, swallowed = Flight[int](), list[object]()

    async def start() -> None:
        flight.start(never)

    async def settle() -> None:
        flight.settle(result=7)

    await elsewhere.run(start())
    waiting = asyncio.ensure_future(flight.wait())
    monkeypatch.setattr("asyncauth._core.waiters.call_soon", lambda *call: swallowed.append(call))
    await elsewhere.run(settle())
    assert await asyncio.wait_for(waiting, 5) == 7
    assert swallowed


@pytest.mark.parametrize("turns", range(4))
def test_a_flight_on_a_standing_loop_is_cancelled_when_that_runs_again(
    standing: asyncio.AbstractEventLoop, turns: int
) -> None:
    """What was closed while its loop stood still asks for nothing any more, however far it had come."""
    provider = FakeProvider(latency=0.01)
    manager = TokenManager(provider, policy=RefreshPolicy(close_grace=0.0))

    async def begin() -> asyncio.Task[Token]:
        caller = asyncio.create_task(manager.token())
        for _ in range(turns):
            await asyncio.sleep(0)
        return caller

    caller = standing.run_until_complete(begin())

    async def again() -> str:
        await manager.close()
        async with manager:
            return (await manager.token()).value

    before = provider.calls
    assert asyncio.run(again()) == "token-1"
    with contextlib.suppress(ManagerClosed):
        standing.run_until_complete(asyncio.wait_for(caller, 5))
    standing.run_until_complete(asyncio.sleep(0.05))
    assert provider.calls == before + 1


def test_what_was_entered_on_a_standing_loop_is_ended_when_that_runs_again(standing: asyncio.AbstractEventLoop) -> None:
    """Its session is closed and its timer ends."""
    manager = TokenManager(FakeProvider())

    async def enter() -> None:
        await manager.__aenter__()
        await manager.token()

    standing.run_until_complete(enter())
    (entry,) = engine_of(manager).runtime.sessions.entries
    asyncio.run(manager.close())
    assert entry.session is not None
    assert not entry.session.closed
    standing.run_until_complete(asyncio.sleep(0.01))
    assert entry.session.closed
    assert not asyncio.all_tasks(standing)


async def test_a_flight_of_a_closed_loop_is_told_nothing(standing: asyncio.AbstractEventLoop) -> None:
    """There is nobody to tell."""
    flight = Flight[int]()

    async def start() -> None:
        flight.start(never)

    await asyncio.to_thread(standing.run_until_complete, start())
    close_under_its_tasks(standing)
    flight.abandon(FlightOrphaned())
    assert flight.done


@pytest.mark.parametrize("started", [False, True])
async def test_only_flights_of_its_own_loop_count_for_a_caller(
    standing: asyncio.AbstractEventLoop, *, started: bool
) -> None:
    """Work that cancels its own task does so on the caller's loop: any number of flights may be orphaned elsewhere."""
    flight = Flight[int]()

    async def start() -> None:
        flight.start(never)

    if started:
        await asyncio.to_thread(standing.run_until_complete, start())
    assert count_orphaned(flight, 100, FakeProvider()) == 100


async def test_a_parent_process_loop_is_told_nothing(forked: Forked) -> None:
    """The pipe that would wake it up is the parent's as well."""
    flight = Flight[int]()
    flight.start(seven)
    with forked():
        flight.abandon(FlightOrphaned())
    assert flight.task is not None
    await flight.task
    assert not flight.task.cancelled()


def test_a_loop_that_goes_on_just_when_it_was_given_up_is_waited_for(
    standing: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still at the first look, and runs at the second: the closing returns when the flight has ended."""
    flight = Flight[int]()

    async def start() -> None:
        flight.start(never)

    standing.run_until_complete(start())
    thread = threading.Thread(target=standing.run_forever)
    abandon = Flight.abandon

    def late(flight: Flight[Any], error: Any) -> None:
        if not thread.ident:
            thread.start()
            while not standing.is_running():
                time.sleep(0.001)
        abandon(flight, error)

    monkeypatch.setattr(Flight, "abandon", late)
    try:
        asyncio.run(end(flight, 0))
        assert flight.task is not None
        assert flight.task.done()
    finally:
        standing.call_soon_threadsafe(standing.stop)
        thread.join()


async def test_who_waits_for_a_turn_is_due_when_the_queue_stands_still(settled: Callable[[], Any]) -> None:
    """Each answer moves the queue: those in it have their patience anew, and then a turn as long as any."""
    clock = FakeClock(monotonic=1000.0)
    answers = {"a": asyncio.Event(), "b": asyncio.Event(), "c": asyncio.Event()}

    class Slow(FakeProvider):
        def __init__(self, key: str) -> None:
            super().__init__(clock=clock)
            self.key = key

        async def fetch(self, http: Any, previous: Token | None) -> Token:
            await answers[self.key].wait()
            return await super().fetch(http, previous)

    pool = ManagerPool[str](Slow, limit=1, clock=clock, policy=RefreshPolicy(deadline=30.0))
    callers, works = [], []
    for key in answers:
        manager = await pool.get(key)
        callers.append(asyncio.create_task(manager.token()))
        await settled()
        works.append(work_of(manager))

    def dues() -> list[float]:
        return [work.due for work in works if work is not None]

    assert dues() == [1030.0, 1060.0, 1060.0]
    await clock.advance(20)
    answers["a"].set()
    await settled()
    assert dues()[1:] == [1050.0, 1080.0]
    for answer in answers.values():
        answer.set()
    for caller in callers:
        await caller
    await pool.close()


async def test_a_refresh_that_was_hurried_before_it_began_tries_at_once() -> None:
    """refresh() joins a flight that has yet to take its first step."""
    provider = FakeProvider(answers=[TokenEndpointUnavailable("down", retry_after=600.0)])
    manager = TokenManager(provider, policy=RefreshPolicy(deadline=1.0))
    with pytest.raises(TokenEndpointUnavailable):
        await manager.token()
    with engine_of(manager).runtime.guard:
        flight = engine_of(manager).join()
    assert (await manager.refresh()).value == "token-1"
    assert flight.hurried


async def test_a_refresh_that_was_given_up_before_it_began_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread abandons the flight between its first step and its work; the caller starts another."""
    provider, abandoned = FakeProvider(), list[Flight[Any]]()
    manager = TokenManager(provider)
    report = TokenEngine.emitter

    def meanwhile(engine: TokenEngine) -> Any:
        flight = engine.flight
        if not abandoned and flight is not None:
            abandoned.append(flight)
            flight.settle(error=FlightOrphaned())
        return report(engine)

    monkeypatch.setattr(TokenEngine, "emitter", meanwhile)
    assert (await asyncio.wait_for(manager.token(), 5)).value == "token-1"
    assert len(abandoned) == 1
    assert provider.calls == 1


class Flickering(Sessions):
    """Connections whose entries another thread takes away after each look."""

    __slots__ = ("looks",)
    looks: list[Any]

    @property
    def _entries(self) -> Any:
        return self.looks.pop(0) if self.looks else None

    @_entries.setter
    def _entries(self, entries: Any) -> None: ...


async def test_what_another_thread_closes_between_two_looks_is_looked_at_once() -> None:
    """Who enters beside a closing in another thread gets no TypeError."""
    connections = Flickering(None, 1.0)
    connections.looks = [{}]
    assert not connections.entered_here()
    connections.looks = [{}]
    assert connections.leave() is None
    connections.looks = [{}]
    async with connections.session():
        pass


def test_turns_are_counted_while_a_loop_is_added() -> None:
    """status() in one thread, and the first request on a loop of another."""
    gate, loops = RequestLimiter(1), [asyncio.new_event_loop() for _ in range(3)]

    async def lane() -> None:
        gate.slots_here()

    for loop in loops:
        loop.run_until_complete(lane())
    loops[0].close()
    assert (gate.taken, gate.queued) == (0, 0)
    for loop in loops:
        loop.close()
