"""How a flight is brought to its end from outside: its loop ends, or its manager is closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncauth._core.flight import flights_on
from asyncauth._core.waiters import PATIENCE, FlightOrphaned
from asyncauth.errors import AuthError, ManagerClosed

if TYPE_CHECKING:
    from asyncauth._core.flight import Flight
    from asyncauth.provider import Provider

__all__ = ["count_orphaned", "drain", "end", "finish", "leave", "leave_all", "when_ended"]

_MOST_CANCELLATIONS = 4
"""How often work that ignores its cancellation is cancelled, `PATIENCE` seconds apart."""
_MOST_ORPHANED = 10
"""The most orphaned flights that one caller waits for in turn on its own, running loop."""


async def leave(flight: Flight[Any], patience: float | None) -> None:
    """Return when nothing of a flight is in progress any more, since its loop is about to end. On that loop only.

    Callers that wait for a later try start another flight, each on its own loop.

    Args:
        flight: The flight.
        patience: Seconds for the work in progress; ``None``: as many as it may take.
    """
    task = flight.task
    if task is None or task.done():
        return
    flight.leaving = True
    if flight.work is not None:
        flight.work.leave()
    seconds = max(0.0, flight.seconds_left + PATIENCE) if patience is None else patience
    await asyncio.wait((task,), timeout=seconds)
    if not task.done():
        flight.abandon(FlightOrphaned())
        await asyncio.wait((task,), timeout=PATIENCE)


async def leave_all(patience: float | None) -> None:
    """Do as `leave` does, for every flight on the running loop, and for those that begin meanwhile."""
    left: set[Flight[Any]] = set()
    while flights := flights_on(asyncio.get_running_loop()) - left:
        left |= flights
        for flight in flights:
            await leave(flight, patience)


async def finish(flight: Flight[Any]) -> None:
    """Tell a flight's callers that the manager was closed, and return when nothing of it is in progress any more.

    May be called from any loop.
    """
    flight.release(_closed())
    reachable = flight.reachable
    if reachable is not None:
        _, loop = reachable
        await loop.run(partial(leave, flight, None))


async def drain(flight: Flight[Any], grace: float) -> None:
    """Return when a flight has ended, or after ``grace`` seconds. On its own loop only."""
    if flight.task is not None and not flight.done:
        await asyncio.wait((flight.task,), timeout=grace)


async def end(flight: Flight[Any], grace: float) -> None:
    """Let a flight run for ``grace`` more seconds, then cancel it; return when it has ended.

    May be called from any loop, and by several at once. The callers of a flight that had to be cancelled get
    ``ManagerClosed``. One whose loop stands still is ended as soon as that runs again. One that ignores several
    cancellations, some seconds apart, is left alone.
    """
    done = list[bool]()
    reachable = flight.reachable
    while True:
        if reachable is not None:
            task, loop = reachable
            await loop.run(partial(_end_here, flight, task, grace, done))
        flight.abandon(_closed())
        reachable, grace = flight.reachable, 0.0
        if done or reachable is None:  # else its loop stood still, and goes on just now
            return


async def _end_here(flight: Flight[Any], task: asyncio.Task[None], grace: float, done: list[bool]) -> None:
    """Do as `end` does, on the flight's own loop. Appends ``True`` to ``done`` at the end."""
    try:
        if grace > 0:
            await drain(flight, grace)
    finally:  # also when the caller is cancelled during the grace
        flight.settle(error=_closed())
        try:
            await asyncio.sleep(0)  # an answer that has come just now is taken
        finally:  # and again
            await _cancel(task)
        done.append(True)


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends, or has ignored that several times."""
    cancelled = task.cancelling() > 0  # by another closing: what is being cleared up is not cut short at once
    for _ in range(_MOST_CANCELLATIONS):
        if task.done():
            return
        if not cancelled:
            task.cancel()
        cancelled = False
        await asyncio.wait((task,), timeout=PATIENCE)


def when_ended(flight: Flight[Any]) -> concurrent.futures.Future[None]:
    """Return a future that is done as soon as nothing of a flight runs any more, or can be reached. Any thread.

    That is later than its outcome if it was cancelled and still clears something up.
    """
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def end(_: object = None) -> None:
        ended.set_result(None)

    reachable = flight.reachable
    if reachable is None:
        end()
    else:
        task, loop = reachable
        if not loop.call_soon(task.add_done_callback, end):  # closed just now
            end()
    return ended


def count_orphaned(flight: Flight[Any], before: int, provider: Provider) -> int:
    """Return how many flights of one caller were orphaned on its own running loop, with this one.

    Args:
        flight: The orphaned flight.
        before: How many were before.
        provider: The flight's.

    Raises:
        AuthError: Too many: their work cancels its own task, and would do so again.
    """
    if flight.loop is None or not flight.loop.here:
        return before
    if before + 1 >= _MOST_ORPHANED:
        raise AuthError(
            f"the refresh was cancelled {_MOST_ORPHANED} times in a row",
            advice="does the provider's fetch() cancel its own task?",
            provider=provider.name,
        ) from None
    return before + 1


def _closed() -> ManagerClosed:
    return ManagerClosed(
        "the manager was closed while a token was being obtained", advice="end its callers before it is closed"
    )
