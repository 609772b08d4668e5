"""One owned task, many waiters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness.canary import MARK

from asyncauth import AuthError, ManagerClosed
from asyncauth.flight import Flight, FlightLost


async def test_outcome_is_there_for_who_comes_late() -> None:
    """Who waits for a flight that has ended gets its outcome."""
    flight: Flight[int] = Flight()

    async def work() -> int:
        return 7

    assert not flight.lost
    flight.start(work)
    assert await flight.wait() == 7
    assert await flight.wait() == 7
    assert flight.done
    assert flight.over
    await flight.end(0)
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


async def test_flight_that_was_never_started_can_be_ended() -> None:
    """A flight between its making and its start: its waiters get ManagerClosed."""
    flight: Flight[int] = Flight()
    waiting = asyncio.ensure_future(flight.wait())
    await asyncio.sleep(0)
    await flight.end(0)
    with pytest.raises(ManagerClosed):
        await waiting


async def test_flight_that_was_ended_does_not_start() -> None:
    """A start that comes after the end does nothing: close() was faster, in another thread."""
    flight: Flight[int] = Flight()
    started: list[Any] = []

    async def work() -> int:
        started.append(1)
        return 7

    await flight.end(0)
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
    assert flight._task is not None
    flight._task.cancel()
    with pytest.raises(FlightLost):
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
    go = asyncio.Event()

    async def work() -> int:
        await go.wait()
        return 7

    await flight.settle(60)
    flight.start(work)
    await flight.settle(0)
    assert not flight.done
    asyncio.get_running_loop().call_soon(go.set)
    await flight.settle(60)
    assert flight.done
    await flight.settle(60)


def test_waiter_of_a_closed_loop_is_passed_over() -> None:
    """A flight that lands after a waiter's loop was closed wakes the others."""
    flight: Flight[int] = Flight()
    loop = asyncio.new_event_loop()
    flight._waiters.append(loop.create_future())
    loop.close()

    async def use() -> int:
        async def work() -> int:
            return 7

        flight.start(work)
        return await flight.wait()

    assert asyncio.run(use()) == 7
