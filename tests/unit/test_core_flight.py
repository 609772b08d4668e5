"""One owned task, many waiters."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from harness.canary import MARK

from asyncauth import AuthError, ManagerClosed, Token
from asyncauth._core.flight import Flight, flights_on, leave_flights_to_parent
from asyncauth._core.flight_endings import drain, end, finish, leave, leave_all, when_ended
from asyncauth._core.waiters import FlightOrphaned, Waiters
from asyncauth.testing import FakeClock, FakeProvider


def gated() -> tuple[asyncio.Event, Callable[[], Coroutine[Any, Any, int]]]:
    """Return work that brings 7 when its gate is opened, after the gate."""
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    return go, work


async def test_outcome_is_there_for_who_comes_late() -> None:
    """A caller that waits for a flight that has ended gets its outcome."""
    flight: Flight[int] = Flight()

    async def work() -> int:
        return 7

    assert not flight.orphaned
    flight.start(work)
    assert await flight.wait() == 7
    assert await flight.wait() == 7
    assert flight.done
    assert flight.finished
    await end(flight, 0)
    assert await flight.wait() == 7


async def test_failure_is_there_for_who_comes_late() -> None:
    """Each gets an exception of its own, however late."""
    flight: Flight[int] = Flight()

    async def work() -> int:
        raise AuthError("no")

    flight.start(work)
    errors = []
    for _ in range(2):
        with pytest.raises(AuthError) as caught:
            await flight.wait()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


async def test_nobody_waits_for_a_flight_that_was_never_started() -> None:
    """Its start was interrupted: who would wait starts another, and it can be ended."""
    flight: Flight[int] = Flight()
    with pytest.raises(FlightOrphaned):
        await flight.wait()
    await end(flight, 0)
    with pytest.raises(ManagerClosed):
        await flight.wait()


async def test_flight_that_was_ended_does_not_start() -> None:
    """A start that comes after the end does nothing: close() was faster, in another thread."""
    flight: Flight[int] = Flight()
    started: list[Any] = []

    async def work() -> int:
        started.append(1)
        return 7

    await end(flight, 0)
    flight.start(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert started == []
    with pytest.raises(ManagerClosed):
        await flight.wait()


async def test_flight_whose_task_is_cancelled_is_lost() -> None:
    """Somebody cancels all tasks: the waiters learn that the flight was lost, and may start another."""
    flight: Flight[int] = Flight()

    async def work() -> int:
        await asyncio.Event().wait()
        return 7

    flight.start(work)
    waiting = asyncio.ensure_future(flight.wait())
    await asyncio.sleep(0)
    assert flight.task is not None
    flight.task.cancel()
    with pytest.raises(FlightOrphaned):
        await waiting


async def test_fault_in_the_work_is_an_auth_error() -> None:
    """Whatever else the work raises fails the waiters once, by its class; it is not a loss, which would be endless."""
    flight: Flight[int] = Flight()

    async def work() -> int:
        raise ZeroDivisionError(MARK)

    flight.start(work)
    with pytest.raises(AuthError, match="ZeroDivisionError") as caught:
        await flight.wait()
    assert MARK not in str(caught.value)


async def test_settle_waits_for_the_end_or_the_grace() -> None:
    """settle() returns when the flight has ended, or when the grace is over."""
    flight: Flight[int] = Flight()
    go, work = gated()
    await drain(flight, 60)
    flight.start(work)
    await drain(flight, 0)
    assert not flight.done
    asyncio.get_running_loop().call_soon(go.set)
    await drain(flight, 60)
    assert flight.done
    await drain(flight, 60)


@pytest.mark.parametrize("stops", [False, True])
def test_end_waits_for_a_flight_on_another_loop(*, stops: bool) -> None:
    """close() in another thread waits for the refresh, but not for its event loop, which stops after the refresh."""
    flight: Flight[int] = Flight()
    started, go, ended = threading.Event(), threading.Event(), threading.Event()
    results: list[int] = []

    async def work() -> int:
        started.set()
        await asyncio.to_thread(go.wait)
        return 7

    async def there() -> None:
        flight.start(work)
        results.append(await flight.wait())
        if not stops:
            await asyncio.to_thread(ended.wait)

    async def here() -> None:
        ending = asyncio.create_task(end(flight, 60))
        await asyncio.sleep(0.01)
        assert not ending.done()
        go.set()
        await asyncio.wait_for(ending, 10)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(there(),))
    thread.start()
    started.wait()
    asyncio.run(here())
    ended.set()
    thread.join()
    loop.run_until_complete(asyncio.sleep(0.01))  # to tidy up
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert results == [7]


def test_waiter_of_a_closed_loop_is_passed_over() -> None:
    """A flight that lands after a waiter's loop was closed wakes the others."""
    flight: Flight[int] = Flight()
    loop = asyncio.new_event_loop()
    flight.remote_waiters[loop] = waiters = Waiters(loop)
    waiters.entries.append((loop.create_future(), 0.0, None))
    loop.close()

    async def use() -> int:
        async def work() -> int:
            return 7

        flight.start(work)
        return await flight.wait()

    assert asyncio.run(use()) == 7


def test_waiters_that_wait_no_more_are_let_go_of() -> None:
    """But not those that have come to the same loop since."""
    flight: Flight[int] = Flight()
    loop = asyncio.new_event_loop()
    flight.remote_waiters[loop] = waiters = Waiters(loop)
    flight.forget_waiters(Waiters(loop))
    assert flight.remote_waiters == {loop: waiters}
    flight.forget_waiters(waiters)
    assert flight.remote_waiters == {}
    loop.close()


class Told:
    """Work that notes what it is told."""

    idle = False
    due = math.inf

    def __init__(self) -> None:
        self.told: list[str] = []

    def expire(self) -> None: ...

    def retry_now(self) -> None:
        self.told.append("retry_now")

    def nudge(self) -> None:
        self.told.append("nudge")

    def leave(self) -> None:
        self.told.append("leave")

    def abandon(self) -> None:
        self.told.append("abandon")


async def test_work_that_begins_while_its_loop_is_being_left_learns_of_it() -> None:
    """It makes no try that would outlast the loop."""
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)
    leaving = asyncio.ensure_future(leave(flight, None))
    await asyncio.sleep(0)
    flight.take_up(begun := Told())
    assert begun.told == ["leave"]
    go.set()
    await leaving
    assert await flight.wait() == 7
    flight.take_up(late := Told())
    assert late.told == ["leave", "abandon"]


def test_a_provider_is_asked_for_its_name_without_a_lock() -> None:
    """Its property may be anybody's, and wait for a thread that ends the same flight."""
    ended: list[bool] = []

    class Asking:
        origins = ()
        identity = None

        @property
        def name(self) -> str:
            thread = threading.Thread(target=flight.settle, kwargs={"result": 7}, daemon=True)
            thread.start()
            thread.join(1)
            ended.append(not thread.is_alive())
            return "asking"

        async def fetch(self, http: Any, previous: Token | None) -> Token:
            raise NotImplementedError

    flight: Flight[int] = Flight(provider=Asking())
    flight.settle(error=AuthError("no"))
    assert ended == [True]


def test_outcome_without_a_running_loop() -> None:
    """A task that is closed as garbage, after its loop, lands its flight all the same."""
    flight: Flight[int] = Flight()
    flight.settle(result=7)
    assert flight.done


async def test_a_parent_process_flight_is_lost(forked: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """After a fork the parent's loop looks alive: the flight is lost all the same, and nobody joins it."""
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)
    assert not flight.orphaned
    with forked():
        assert flight.orphaned
        assert flight.finished
    go.set()
    await flight.wait()


async def test_end_lets_the_work_finish_within_its_grace() -> None:
    """Work that ends within the grace is kept: its waiters get what it brought."""
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)
    waiting = asyncio.ensure_future(flight.wait())
    asyncio.get_running_loop().call_later(0.01, go.set)
    await end(flight, 0.9)
    assert await waiting == 7


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own, in debug mode, which forbids what is not thread-safe."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()


def _there(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def test_waiters_elsewhere_are_woken_by_their_own_loop(elsewhere: asyncio.AbstractEventLoop) -> None:
    """A waiter on another loop gets its result through that loop: nothing else is thread-safe."""
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)

    async def wait() -> int:
        return await flight.wait()

    waiting = _there(elsewhere, wait())
    while not flight.waiting:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0.001)
    go.set()
    assert await waiting == 7


async def test_end_from_another_loop_waits_for_the_end(elsewhere: asyncio.AbstractEventLoop) -> None:
    """end() of a flight elsewhere returns when its task has ended, which may take a while even if it is cancelled."""
    flight: Flight[int] = Flight()
    begun, ended = threading.Event(), threading.Event()

    async def work() -> int:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            ended.set()
        return 7

    async def start() -> None:
        flight.start(work)

    await _there(elsewhere, start())
    await asyncio.to_thread(begun.wait)
    await end(flight, 0.0)
    assert ended.is_set()
    with pytest.raises(ManagerClosed):
        await flight.wait()


async def test_end_of_a_flight_whose_loop_stands_still() -> None:
    """A stopped loop never ends its flight: the waiters get an error at once."""
    flight: Flight[int] = Flight()
    loop = asyncio.new_event_loop()

    async def work() -> int:
        return await asyncio.Event().wait()

    async def start() -> None:
        flight.start(work)
        await asyncio.sleep(0)

    await asyncio.to_thread(loop.run_until_complete, start())
    await end(flight, 5.0)
    with pytest.raises(ManagerClosed):
        await flight.wait()
    assert flight.task is not None
    flight.task.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.wait((flight.task,)))
    loop.close()


async def test_who_waits_for_two_that_wait_for_a_third_goes_round_no_circle() -> None:
    """Several flights that wait for the same one are not a circle: their waiters get the outcome."""
    last, left, right, first, outer = (Flight[int]() for _ in range(5))
    left.waits_for, right.waits_for, first.waits_for = [last], [last], [left, right]
    go, work = gated()
    first.start(work)
    outer.start(first.wait)
    await asyncio.sleep(0)
    go.set()
    assert await outer.wait() == 7


class Nudged:
    """Work that counts how often it is told that a caller waits."""

    idle, due = True, math.inf

    def __init__(self) -> None:
        self.nudges = 0

    def nudge(self) -> None:
        self.nudges += 1

    def expire(self) -> None: ...

    def retry_now(self) -> None: ...

    def leave(self) -> None: ...

    def abandon(self) -> None: ...


async def test_the_first_who_waits_tells_the_work() -> None:
    """Those who come while it waits need not; the next one after it was cancelled does."""
    flight, work = Flight[int](), Nudged()
    go, run = gated()
    flight.start(run)
    flight.work = work
    nudges = []
    for cancelled in (False, False, True, False):
        waiting = asyncio.ensure_future(flight.wait())
        nudges.append(work.nudges)
        if cancelled:
            waiting.cancel()
    assert nudges == [1, 1, 1, 2]
    go.set()
    assert await waiting == 7


async def test_a_caller_tells_work_that_another_flight_waits_for_in_the_background() -> None:
    """Nobody waited for either until now."""
    upstream, downstream, work = Flight[int](), Flight[int](), Nudged()
    go, run = gated()
    upstream.start(run)
    upstream.work = work

    async def ask() -> int:
        return await upstream.wait()

    downstream.start(ask)
    await asyncio.sleep(0)
    assert (work.nudges, upstream.waiting, upstream.callers_wait) == (1, 1, False)
    waiting = asyncio.ensure_future(upstream.wait())
    assert (work.nudges, upstream.waiting, upstream.callers_wait) == (2, 2, True)
    go.set()
    assert await waiting == await downstream.wait() == 7


async def test_the_longest_wait_is_told() -> None:
    """Of those who wait still, on whatever loop."""
    clock = FakeClock()
    flight = Flight[int](clock)
    go, run = gated()
    flight.start(run)

    def waits() -> tuple[int, float | None]:
        return flight.waiting, flight.waiting_for

    assert waits() == (0, None)
    first, second = flight.wait(clock.monotonic() - 9.0), flight.wait()
    await clock.advance(2)
    assert waits() == (2, 11.0)
    asyncio.ensure_future(first).cancel()
    assert waits() == (1, 2.0)
    go.set()
    assert await second == 7
    assert waits() == (0, None)


async def test_the_deadline_counts_from_the_start(clock: FakeClock) -> None:
    """As long as the work says nothing else."""
    flight: Flight[int] = Flight(clock)
    go, work = gated()
    flight.start(work, 30.0)
    await clock.advance(10.0)
    assert flight.seconds_left == 20.0
    go.set()
    await flight.wait()


async def test_what_a_parent_process_has_in_progress_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task and the callers stay as they are in a forked child; of a flight that has ended nothing is kept."""
    kept = list[object]()
    monkeypatch.setattr("asyncauth._core.flight.leave_to_parent", lambda *things: kept.extend(things))
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)
    waiting = asyncio.ensure_future(flight.wait())
    parents = flight.waiters
    leave_flights_to_parent()
    assert kept == [flight.task, *parents]
    assert flight.waiting == 0
    waiting.cancel()
    go.set()
    assert await flight.wait() == 7
    kept.clear()
    leave_flights_to_parent()
    assert kept == []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The seconds for which the flight's task is waited for, each time; it ends in none of them."""
    waits = list[float | None]()

    async def wait(_: object, *, timeout: float | None) -> None:  # noqa: ASYNC109 (asyncio's own name)
        waits.append(timeout)

    monkeypatch.setattr(asyncio, "wait", wait)
    return waits


@pytest.mark.parametrize(
    ("seconds", "patience", "waited"), [(10.0, None, 15.0), (-5.5, None, 0.0), (10.0, 2.0, 2.0), (10.0, 0.0, 0.0)]
)
async def test_work_that_outlasts_its_loop_is_given_up(
    clock: FakeClock, waits: list[float | None], seconds: float, patience: float | None, waited: float
) -> None:
    """It has until its deadline and 5 s more, or as long as the caller allows; then it is cancelled."""
    flight: Flight[int] = Flight(clock)
    _, work = gated()
    flight.start(work, seconds)
    waiting = flight.wait()
    await asyncio.sleep(0)
    await leave(flight, patience)
    assert waits == [waited, 5.0]
    with pytest.raises(FlightOrphaned):
        await waiting
    assert flight.task is not None
    with contextlib.suppress(asyncio.CancelledError):
        await flight.task
    assert flight.task.cancelled()


async def test_nothing_is_in_progress_before_the_start_and_after_the_end(waits: list[float | None]) -> None:
    """Leaving a loop and closing wait for no such flight."""
    flight: Flight[int] = Flight()
    await leave(flight, None)
    await finish(flight)
    assert flight.waiting == 0

    async def work() -> int:
        return 7

    flight.start(work)
    assert await flight.wait() == 7
    await asyncio.sleep(0)
    await leave(flight, None)
    await finish(flight)
    assert waits == []
    assert not flight.leaving


async def test_finish_waits_for_the_work_though_its_callers_do_not() -> None:
    """They get ManagerClosed at once; what the work brings is kept."""
    flight: Flight[int] = Flight()
    go, work = gated()
    flight.start(work)
    waiting = flight.wait()
    finishing = asyncio.ensure_future(finish(flight))
    with pytest.raises(ManagerClosed):
        await waiting
    assert not finishing.done()
    go.set()
    await finishing
    assert await flight.wait() == 7


async def test_a_second_closing_does_not_cut_short_what_is_cleared_up() -> None:
    """The first has cancelled the work already."""
    flight: Flight[int] = Flight()
    go, clear_up = gated()

    async def work() -> int:
        try:
            return await asyncio.Event().wait()
        finally:
            await clear_up()

    flight.start(work)
    await asyncio.sleep(0)
    closings = [asyncio.ensure_future(end(flight, 0)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert flight.task is not None
    assert flight.task.cancelling() == 1
    assert not when_ended(flight).done()
    go.set()
    await asyncio.gather(*closings)


async def test_work_that_ignores_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while each time, until it ends."""
    monkeypatch.setattr("asyncauth._core.flight_endings.PATIENCE", 0.001)
    flight: Flight[int] = Flight()
    cancellations = 0

    async def work() -> int:
        nonlocal cancellations
        while cancellations < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancellations += 1
        return 7

    flight.start(work)
    await asyncio.sleep(0)
    await asyncio.wait_for(end(flight, 0), 2)
    assert cancellations == 3


async def test_work_that_never_ends_is_left_alone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes is not held up for ever."""
    monkeypatch.setattr("asyncauth._core.flight_endings.PATIENCE", 0.001)
    flight: Flight[int] = Flight()
    go, cancellations = asyncio.Event(), 0

    async def work() -> int:
        nonlocal cancellations
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                cancellations += 1
        return 7

    flight.start(work)
    await asyncio.sleep(0)
    try:
        await end(flight, 0)
        with pytest.raises(ManagerClosed):
            await flight.wait()
    finally:
        go.set()
        assert flight.task is not None
        await asyncio.wait((flight.task,))
    assert 1 < cancellations <= 5  # the last one by `Flight.abandon`; on a busy machine two may come as one


async def test_an_answer_that_comes_with_the_end_of_the_grace_is_taken() -> None:
    """The task is about to go on with it, in the same turn of the event loop."""
    flight, kept = Flight[int](), list[int]()
    answer = asyncio.get_running_loop().create_future()

    async def work() -> int:
        kept.append(await answer)
        return 7

    flight.start(work)
    await asyncio.sleep(0)
    answer.set_result(7)
    await end(flight, 0.0)
    assert kept == [7]


async def test_a_flight_whose_start_was_interrupted_can_be_given_up() -> None:
    """It has a loop and no task."""
    flight: Flight[int] = Flight()
    loop = asyncio.get_running_loop()

    def interrupted(_: object, work: Any, **__: object) -> Any:
        work.close()
        raise KeyboardInterrupt

    loop.set_task_factory(interrupted)
    with pytest.raises(KeyboardInterrupt):
        flight.start(gated()[1])
    loop.set_task_factory(None)
    flight.abandon(FlightOrphaned())
    with pytest.raises(FlightOrphaned):
        await flight.wait()


async def test_the_end_of_a_flight_can_be_waited_for_in_any_thread() -> None:
    """It comes with the end of the task; a flight that is not under way has ended."""
    flight: Flight[int] = Flight()
    assert when_ended(flight).done()
    go, work = gated()
    flight.start(work)
    ended = when_ended(flight)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not ended.done()
    go.set()
    await asyncio.wrap_future(ended)
    assert flight.done
    assert when_ended(flight).done()


@pytest.mark.parametrize(
    ("provider", "named", "shown"), [("ours", None, "ours"), ("ours", "theirs", "theirs"), (None, None, None)]
)
async def test_an_error_names_the_provider(provider: str | None, named: str | None, shown: str | None) -> None:
    """Unless it names another one, further upstream."""
    flight: Flight[int] = Flight(provider=None if provider is None else FakeProvider(name=provider))

    async def work() -> int:
        raise AuthError("no", provider=named)

    flight.start(work)
    with pytest.raises(AuthError) as caught:
        await flight.wait()
    assert caught.value.provider == shown


async def test_nobody_joins_a_flight_whose_task_has_just_ended() -> None:
    """It was cancelled before its first step, and its outcome comes with the loop's next turn."""
    flight: Flight[int] = Flight()
    _, work = gated()
    flight.start(work)
    assert flight.task is not None
    flight.task.cancel()
    await asyncio.sleep(0)
    assert (flight.task.done(), flight.done) == (True, False)
    assert flight.finished
    assert flight.reachable is None


@pytest.mark.parametrize(("since", "seconds"), [(-5.0, 5.0), (0.0, 0.0), (0.5, 0.0)])
async def test_how_long_the_first_caller_has_waited(clock: FakeClock, since: float, seconds: float) -> None:
    """Never less than 0 s: another thread may have read the clock a little later."""
    flight: Flight[int] = Flight(clock)
    go, work = gated()
    flight.start(work)
    waiting = flight.wait(clock.monotonic() + since)
    assert flight.waiting_for == seconds
    go.set()
    assert await waiting == 7


async def test_the_first_outcome_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may settle the flight at the same time: callers get its outcome, before and after the second."""
    settled = list[bool]()

    class Provider:
        @property
        def name(self) -> str:
            with monkeypatch.context() as interrupted:  # before it has woken anybody
                interrupted.setattr(Waiters, "release", lambda *_: None)
                flight.settle(result=7)
            settled.append(flight.done)
            return "ours"

    provider: Any = Provider()
    flight: Flight[int] = Flight(provider=provider)
    go, work = gated()
    flight.start(work)
    waiting = flight.wait()
    flight.settle(error=AuthError("no"))
    assert settled == [True]
    assert await waiting == 7
    assert await flight.wait() == 7
    go.set()


async def test_all_flights_of_a_loop_are_left_and_those_that_begin_meanwhile() -> None:
    """A flight may start another one: nothing is in progress on the loop afterwards."""
    later = Flight[int]()

    async def seven() -> int:
        await asyncio.sleep(0)
        return 7

    async def begin() -> int:
        await asyncio.sleep(0)
        later.start(seven)
        return 7

    first, idle = Flight[int](), Flight[int]()
    first.start(begin)
    assert flights_on(asyncio.get_running_loop()) == {first}
    await leave_all(None)
    assert first.done
    assert later.done
    assert not idle.done
    assert not flights_on(asyncio.get_running_loop())
