"""Whether an event loop is alive, as others see it, and how it is told to do something."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from asyncauth._base.loops import LoopRef, call_soon

Forked = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def other() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that stands still."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def running(other: asyncio.AbstractEventLoop) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    while not other.is_running():
        time.sleep(0.001)
    yield other
    other.call_soon_threadsafe(other.stop)
    thread.join()


def seen(ref: LoopRef) -> tuple[bool, bool, bool, bool]:
    return ref.alive, ref.lost, ref.closed, ref.of_parent_process


async def test_the_running_loop_is_alive_and_here() -> None:
    """It is the one that is meant where none is given."""
    ref = LoopRef()
    assert ref.get() is asyncio.get_running_loop()
    assert ref.here
    assert seen(ref) == (True, False, False, False)


def test_there_is_no_running_loop_to_mean() -> None:
    """Then one has to be given."""
    with pytest.raises(RuntimeError):
        LoopRef()


async def test_a_loop_of_another_thread_is_alive_and_elsewhere(running: asyncio.AbstractEventLoop) -> None:
    """As long as that thread runs it."""
    ref = LoopRef(running)
    assert not ref.here
    assert seen(ref) == (True, False, False, False)


def test_a_loop_that_stands_still_is_not_lost(other: asyncio.AbstractEventLoop) -> None:
    """It may run again, and then does the work."""
    told: list[int] = []
    ref = LoopRef(other)
    assert seen(ref) == (False, False, False, False)
    assert ref.call_soon(told.append, 1)
    assert told == []
    other.run_until_complete(asyncio.sleep(0))
    assert told == [1]


def test_a_closed_loop_is_lost(other: asyncio.AbstractEventLoop) -> None:
    """And is told nothing."""
    ref = LoopRef(other)
    other.close()
    assert seen(ref) == (False, True, True, False)
    assert not ref.call_soon(print)
    assert not call_soon(other, print)


def test_a_loop_that_is_gone_counts_as_closed() -> None:
    """A reference does not keep it."""
    loop = asyncio.new_event_loop()
    ref = LoopRef(loop)
    loop.close()
    del loop
    gc.collect()
    assert ref.get() is None
    assert seen(ref) == (False, True, True, False)
    assert not ref.call_soon(print)


async def test_a_parent_process_loop_is_lost_although_it_seems_to_run(forked: Forked) -> None:
    """It gets no work, and nobody waits for it: the pipe that would wake it up is also the parent's."""
    told: list[int] = []
    ref = LoopRef()
    with forked():
        assert seen(ref) == (False, True, False, True)
        assert not ref.call_soon(told.append, 1)
    await asyncio.sleep(0)
    assert told == []


async def test_work_is_done_on_its_loop(running: asyncio.AbstractEventLoop) -> None:
    """Here, it is awaited like anything else; elsewhere, until it has ended."""
    where = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        where.append(asyncio.get_running_loop())

    here = LoopRef()
    await here.run(work)
    await LoopRef(running).run(work)
    assert where == [here.get(), running]


async def test_another_threads_loop_is_looked_at_four_times_a_second(
    running: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To see whether it still runs: rarely enough to cost nothing, and often enough that nobody waits for long."""
    looks, looked, wait = list[float](), asyncio.Event(), asyncio.wait

    async def look(some: tuple[asyncio.Future[None]], *, timeout: float) -> None:  # noqa: ASYNC109 (as asyncio has it)
        looks.append(timeout)
        running.call_soon_threadsafe(looked.set)
        await wait(some, timeout=timeout)

    async def work() -> None:
        await looked.wait()

    monkeypatch.setattr(asyncio, "wait", look)
    await LoopRef(running).run(work)
    assert set(looks) == {0.25}


async def test_what_work_raises_here_is_the_callers() -> None:
    """On the running loop."""

    async def work() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await LoopRef().run(work)


def test_work_waits_for_a_loop_that_stands_still(other: asyncio.AbstractEventLoop) -> None:
    """The work is done when the loop runs again; the caller does not wait for that."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    asyncio.run(asyncio.wait_for(LoopRef(other).run(work), 5))
    assert done == []
    other.run_until_complete(asyncio.sleep(0.01))
    assert done == [1]


async def test_no_work_is_done_on_a_lost_loop(other: asyncio.AbstractEventLoop, forked: Forked) -> None:
    """It is not even made: a coroutine that never runs would warn."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    ref = LoopRef(other)
    with forked():
        await asyncio.wait_for(ref.run(work), 5)
    other.close()
    await asyncio.wait_for(ref.run(work), 5)
    assert done == []
