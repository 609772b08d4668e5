"""The machine's clocks, and a time limit by any clock."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import time
from functools import partial

import pytest
from harness.loops import close_under_its_tasks

from asyncauth import clock as clocks
from asyncauth.clock import SYSTEM_CLOCK, Clock, SystemClock, call_later, within
from asyncauth.testing import FakeClock


def test_system_clock_tells_the_machines_time() -> None:
    """wall() is Unix epoch seconds, and monotonic() the suspend-proof clock."""
    clock: Clock = SYSTEM_CLOCK
    assert abs(clock.wall() - time.time()) < 60
    before = clock.monotonic()
    assert before <= clocks.boottime() <= clock.monotonic()


def test_what_a_closed_loop_left_in_the_middle_awaits_nothing() -> None:
    """Closed as garbage, after its loop, it ends at once: there is nothing to wait for, and nothing to complain of."""
    loop = asyncio.new_event_loop()
    limited = within(SYSTEM_CLOCK, 60, asyncio.Event().wait())
    loop.create_task(limited)  # noqa: RUF006 (the loop's end is its end)
    loop.run_until_complete(asyncio.sleep(0.01))
    close_under_its_tasks(loop)
    limited.close()
    assert inspect.getcoroutinestate(limited) == inspect.CORO_CLOSED


async def test_system_clock_sleeps_by_the_loop() -> None:
    """A sleep of nothing returns."""
    await SYSTEM_CLOCK.sleep(0)


@pytest.mark.parametrize(("platform", "name"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC")])
def test_monotonic_clock_runs_through_suspend(monkeypatch: pytest.MonkeyPatch, platform: str, name: str) -> None:
    """Linux' and macOS' clocks that also count while the machine sleeps are the ones that are asked."""
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, name, 77, raising=False)
    monkeypatch.setattr(time, "clock_gettime", asked.append, raising=False)
    clocks.suspend_proof()()
    assert asked == [77]


def test_other_platforms_have_the_plain_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing better time.monotonic serves."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert clocks.suspend_proof() is time.monotonic


both_clocks = pytest.mark.parametrize("kind", [FakeClock, SystemClock])


@both_clocks
async def test_within_returns_what_the_work_returns(kind: type[Clock]) -> None:
    """Work that ends in time gives its result, and no timer is left."""
    assert await within(kind(), 5, asyncio.sleep(0, "done")) == "done"
    assert asyncio.all_tasks() == {asyncio.current_task()}


@both_clocks
async def test_within_raises_what_the_work_raises(kind: type[Clock]) -> None:
    """An exception of the work comes out as it is."""

    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await within(kind(), 5, work())


@pytest.mark.parametrize("seconds", [5.0, 0.0, -1.0])
async def test_within_ends_the_work_when_the_time_is_up(clock: FakeClock, seconds: float) -> None:
    """When the time is up the work is cancelled, and has ended."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    limited = asyncio.ensure_future(within(clock, seconds, work()))
    await clock.advance(max(0.0, seconds - 0.001))
    assert limited.done() == (seconds <= 0)
    await clock.advance(0.001)
    with pytest.raises(TimeoutError):
        await limited
    assert ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("seconds", [0.001, 0.0, -1.0])
async def test_within_ends_the_work_when_the_loops_timer_is_up(seconds: float) -> None:
    """The machine's own clock needs no task that sleeps."""
    ended = asyncio.Event()

    async def work() -> None:
        assert len(asyncio.all_tasks()) == 2  # this one, and the test
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    with pytest.raises(TimeoutError):
        await within(SYSTEM_CLOCK, seconds, work())
    assert ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_clock_of_ones_own_sleeps_itself() -> None:
    """Also if the rest of it is the machine's."""

    class Hasty(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds / 1e6)

    with pytest.raises(TimeoutError):
        await within(Hasty(), 3600, asyncio.Event().wait())


async def test_a_cancelled_caller_asks_for_what_the_work_raised() -> None:
    """Or the event loop would complain of it later, when the work ended in the same moment."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def work() -> None:
        await asyncio.sleep(0)
        limited.cancel()
        raise KeyError("x")

    limited = asyncio.ensure_future(within(SYSTEM_CLOCK, 5, work()))
    with pytest.raises(asyncio.CancelledError):
        await limited
    gc.collect()
    assert complaints == []


async def test_within_passes_a_cancellation_on(clock: FakeClock) -> None:
    """Cancelling the caller cancels the work and the timer."""
    limited = asyncio.ensure_future(within(clock, 5, asyncio.Event().wait()))
    await clock.advance(1)
    limited.cancel()
    with pytest.raises(asyncio.CancelledError):
        await limited
    assert asyncio.all_tasks() == {asyncio.current_task()}


@both_clocks
async def test_cancellation_of_the_work_alone_is_not_the_callers(kind: type[Clock]) -> None:
    """Work that was cancelled by somebody else does not look like a cancellation of the caller."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(InterruptedError):
        await within(kind(), 5, work())


@both_clocks
async def test_a_call_that_is_cancelled_is_not_made(kind: type[Clock]) -> None:
    """Nothing is left of it."""
    called = list[int]()
    call_later(kind(), 0.0, partial(called.append, 1)).cancel()
    await asyncio.sleep(0.01)
    assert not called
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("seconds", [5.0, 0.0, -1.0])
async def test_a_call_is_made_by_the_given_clock(clock: FakeClock, seconds: float) -> None:
    """Not before the time is over."""
    called = list[int]()
    call_later(clock, seconds, partial(called.append, 1))
    await clock.advance(max(0.0, seconds - 0.001))
    assert called == [1] * (seconds <= 0)
    await clock.advance(0.001)
    assert called == [1]


async def test_a_clock_is_asked_for_no_sleep_below_zero() -> None:
    """A clock of the caller's own may reject it."""
    slept = list[float]()

    class Noting(FakeClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    sleeping = call_later(Noting(), -1.0, int)
    assert isinstance(sleeping, asyncio.Future)
    await sleeping
    assert slept == [0.0]


async def test_a_call_is_made_by_the_loops_timer() -> None:
    """For the machine's own clock, without a task that sleeps."""
    called = asyncio.Event()
    call_later(SYSTEM_CLOCK, 0.001, called.set)
    assert len(asyncio.all_tasks()) == 1
    await asyncio.wait_for(called.wait(), 5)
