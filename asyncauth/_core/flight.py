"""Single flight: one task and many waiters, on any event loop.

Each waiter has its own future (`Waiters`). If a waiter is cancelled or times out, the others and the task are not
affected. Waiters and the task may be on different loops, in different threads. At the deadline a timer ends the request
in progress; if that does not help, it releases the waiters (`Watchdog`). If the task's loop ends, the flight is
orphaned, and one of the waiters starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import weakref
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from asyncauth._base.forks import at_fork, leave_to_parent
from asyncauth._base.loops import LoopRef
from asyncauth._core import chain
from asyncauth._core.frames import bare
from asyncauth._core.waiters import FlightOrphaned, RemoteWatchdog, Waiters, Watchdog
from asyncauth.clock import SYSTEM_CLOCK
from asyncauth.errors import AuthError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from asyncauth._core.waiters import Failure, Waiter
    from asyncauth._core.work import Work
    from asyncauth.clock import Clock
    from asyncauth.provider import Provider

__all__ = ["Flight", "flights_on", "leave_flights_to_parent"]

_T = TypeVar("_T")
_Failed = TypeVar("_Failed", bound="Failure | None")

_running: contextvars.ContextVar[list[Flight[Any]]] = contextvars.ContextVar("asyncauth_flight")
"""The flight whose work is running, in a list that is emptied when it ends, since tasks that it started may go on."""


class Flight(Generic[_T]):
    """A piece of work that runs once, however many wait for it.

    Safe to use from any thread. The work runs in a task on the loop that called `start`, in an empty
    ``contextvars.Context``: it belongs to nobody's request.

    An interruption (``KeyboardInterrupt``, or an exception from a signal handler) may come between any two steps. A
    single assignment therefore starts the flight: that of its task. A task that was never assigned does nothing.

    Args:
        clock: What `Work.due` and the seconds are counted by.
        provider: The provider whose name the flight's own errors show; ``None`` (default): it is for none.

    Attributes:
        done: Whether it has an outcome.
        hurried: Whether somebody has asked for a try at once.
        leaving: Whether its loop is about to end.
        loop: The loop on which it runs; ``None``: it was not started.
        waits_for: The flights that its own work waits for now.
        callers: The contexts of its first callers, for tracing. Callers add theirs.
        work: The work, for callers that want it to try at once; ``None``: work that can't be hurried.
        task: The task that does the work; ``None``: it was not started.
        own_waiters: The callers that wait on its own loop; ``None``: it was not started.
        remote_waiters: The callers that wait on other loops, by loop.
        watchdog: Ends the request at the deadline, or releases the callers; ``None``: nothing is under way.
    """

    __slots__ = (
        "__weakref__",
        "_due",
        "_monotonic",
        "_outcomes",
        "_provider",
        "callers",
        "done",
        "hurried",
        "leaving",
        "loop",
        "own_waiters",
        "remote_waiters",
        "task",
        "waits_for",
        "watchdog",
        "work",
    )

    def __init__(self, clock: Clock = SYSTEM_CLOCK, provider: Provider | None = None) -> None:
        self.done = self.hurried = self.leaving = False
        self.callers: list[contextvars.Context] = []
        self.waits_for: list[Flight[Any]] = []
        self.work: Work | None = None
        self.loop: LoopRef | None = None
        self._monotonic = clock.monotonic
        self._due = math.inf
        self.own_waiters: Waiters | None = None
        self.remote_waiters: dict[asyncio.AbstractEventLoop, Waiters] = {}
        self.task: asyncio.Task[None] | None = None
        self.watchdog: Watchdog | None = None
        self._outcomes: list[tuple[_T | None, Failure | None]] = []  # the first one counts
        self._provider = provider

    def start(self, work: Callable[[], Awaitable[_T]], seconds: float = math.inf) -> None:
        """Start the work on the running loop. It begins after this has returned.

        Call it under the lock under which others find the flight. Then nobody finds a flight that was not started,
        except one whose start was interrupted, which is `finished`.

        Args:
            work: Makes what is awaited. What it returns, or the ``AuthError`` it raises, is the flight's outcome.
            seconds: How long it may take, for as long as nothing else is known (`Work.due`).
        """
        if self.done:  # ended before it began
            return
        loop = asyncio.get_running_loop()
        self.loop = LoopRef(loop)
        self._due = self._monotonic() + seconds
        run = self._run(work)
        try:
            task = loop.create_task(run, context=contextvars.Context())
        except Exception as error:  # noqa: BLE001 (a task factory may be anybody's)
            run.close()
            self.settle(
                error=AuthError(
                    f"no task could be made for the refresh ({type(error).__name__})",
                    advice="is the event loop closing, or its task factory at fault?",
                )
            )
            return
        # A task that is cancelled before its first step runs nothing of its coroutine, not even a `finally`.
        task.add_done_callback(self.task_ended)
        self.watchdog = Watchdog(self, loop, seconds)
        self.own_waiters = Waiters(loop)
        self.task = task
        _flights.add(weakref.ref(self, _flights.discard))

    def take_up(self, work: Work) -> None:
        """Set the work that is about to begin, and pass on what was asked of the flight before."""
        self.work = work
        if self.hurried:
            work.retry_now()
        if self.leaving:
            work.leave()
        if self.done:
            work.abandon()

    @property
    def waiters(self) -> list[Waiters]:
        """The callers that wait for it, on each loop."""
        own = self.own_waiters
        return [*(() if own is None else (own,)), *self.remote_waiters.values()]

    @property
    def finished(self) -> bool:
        """Whether there is no use in joining it any more."""
        task, loop = self.task, self.loop
        return self.done or task is None or loop is None or task.done() or loop.lost

    @property
    def orphaned(self) -> bool:
        """Whether the flight can't end any more: its loop was closed, or stands still in a stopped thread."""
        task, loop = self.task, self.loop
        return not self.done and task is not None and loop is not None and (task.done() or not loop.alive)

    @property
    def seconds_left(self) -> float:
        """The seconds until it should have ended."""
        work = self.work
        return (self._due if work is None else work.due) - self._monotonic()

    @property
    def pending(self) -> Iterator[Waiter]:
        """The callers that still wait, on each loop in the order in which they came."""
        for waiters in self.waiters:
            yield from waiters.pending

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return sum(waiters.waiting for waiters in self.waiters)

    @property
    def waiting_for(self) -> float | None:
        """Seconds for which the first of them has waited; ``None``: nobody waits."""
        since = min((since for _, since, _ in self.pending), default=None)
        return None if since is None else max(0.0, self._monotonic() - since)

    @property
    def callers_wait(self) -> bool:
        """Whether a caller waits for it, or for a flight that waits for it, and so on down a chain."""
        return chain.callers_wait(self)

    def wait(self, since: float | None = None) -> Awaitable[_T]:
        """Return what a caller on the running loop awaits for the flight's result.

        Any number of callers may wait, each on its own loop; a cancelled one affects no other and not the flight.
        None waits for longer than the work may take.

        Args:
            since: When the wait began, in seconds of the flight's clock; ``None`` (default): now.

        Raises:
            AuthError: The flight failed, or did not end in time. Each caller gets an exception of its own, without
                cause or traceback.
            ConfigurationError: The caller is part of the flight's own work, which would wait for itself.
            FlightOrphaned: The flight's loop ended, or its start was interrupted. The call itself may raise this.
        """
        running = _running.get(None)
        return _wait_within(running[0], self) if running else self.join(since)

    def join(self, since: float | None = None, caller: Flight[Any] | None = None) -> asyncio.Future[_T]:
        """Return a future for a caller; or for another flight's work, which is ``caller``. See `wait`."""
        loop = asyncio.get_running_loop()
        waiters = self.own_waiters
        if waiters is None or waiters.loop is not loop:
            waiters = self._remote_waiters(loop)
        future = loop.create_future()
        waiters.entries.append((future, self._monotonic() if since is None else since, caller))
        if self.done:  # looked at after it was added, and set before all are released: no lock is needed
            waiters.release_here(*self._outcomes[0])
        elif (self.work is not None or self.waits_for) and not waiters.told:
            chain.nudge(self)
        return future

    def _remote_waiters(self, loop: asyncio.AbstractEventLoop) -> Waiters:
        """Return the callers on the running loop, for a flight that runs on another loop or in the parent process."""
        if self.finished and not self.done:
            raise FlightOrphaned
        waiters = self.remote_waiters.get(loop)
        if waiters is None:
            waiters = Waiters(loop)
            RemoteWatchdog(self, waiters)  # first: if this is interrupted, the next caller is watched over all the same
            self.remote_waiters[loop] = waiters
        return waiters

    def forget_waiters(self, waiters: Waiters) -> None:
        """Let go of a loop's waiters, none of whom waits any more. On that loop only."""
        if self.remote_waiters.get(waiters.loop) is waiters:
            del self.remote_waiters[waiters.loop]

    def retry_now(self) -> None:
        """Let the work go on at once, if it rests, or as soon as it begins. Any thread."""
        self.hurried = True
        work = self.work
        if work is not None and not self.finished:  # else it may be the parent process's, and so is what would wake it
            work.retry_now()

    @property
    def reachable(self) -> tuple[asyncio.Task[None], LoopRef] | None:
        """The task and its loop; ``None``: it has ended, or its loop does not run."""
        task, loop = self.task, self.loop
        return None if task is None or loop is None or task.done() or not loop.alive else (task, loop)

    def expire(self) -> None:
        """Have the work end the request in progress: its time is over. On its own loop only."""
        if self.work is not None:
            self.work.expire()

    def abandon(self, error: AuthError | FlightOrphaned) -> None:
        """End it with an error, unless it has an outcome, and let nothing more come of it. Any thread.

        Its loop may stand still, or be blocked: it is told to cancel the task first of all when it goes on.
        """
        self.settle(error=error)
        task, loop, work = self.task, self.loop, self.work
        if work is not None:
            work.abandon()
        if task is not None and loop is not None and not task.done():
            loop.call_soon(task.cancel)

    async def _run(self, work: Callable[[], Awaitable[_T]]) -> None:
        if self.task is None:  # an eager task, which runs while it is made; or `start` was interrupted just then
            await asyncio.sleep(0)
        task = self.task
        if self.done or task is None:
            return
        running: list[Flight[Any]] = [self]
        _running.set(running)  # in the flight's own context, which what it starts inherits
        try:
            self.settle(result=await work())
        except AuthError as error:
            # Without its traceback, whose frames hold the credentials, and without what it came from.
            self.settle(error=error.again())
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            raise bare(error)  # noqa: B904 (it is the same one)
        except BaseException as error:  # noqa: BLE001
            # A loss would make each waiter start another flight, without end. By its class alone: see above.
            self.settle(error=AuthError(f"the refresh raised {type(error).__name__}", advice="report this bug"))
        finally:
            running.clear()
            if not self.done:  # cancelled by the end of its loop, or by somebody who cancels all tasks
                self.settle(error=FlightOrphaned())
        self._stop_watchdog()
        task.remove_done_callback(self.task_ended)  # which has nothing left to do

    def _stop_watchdog(self) -> None:
        if self.watchdog is not None:
            self.watchdog.stop()
            self.watchdog = None

    def task_ended(self, task: asyncio.Task[None]) -> None:
        """Take note that the task has ended, in whatever way: `_run` itself may have been interrupted."""
        self._stop_watchdog()
        if not task.cancelled():
            task.exception()  # KeyboardInterrupt or SystemExit: the loop has raised it already
        self.settle(error=None if self.done else FlightOrphaned())

    def settle(self, *, result: _T | None = None, error: AuthError | FlightOrphaned | None = None) -> None:
        """Set the outcome, unless there is one, and wake everybody who has not been woken yet. Any thread."""
        if not self.done:
            # Without a lock: whatever another thread appends meanwhile, all use the first one.
            self._outcomes.append((result, None if error is None else self._named(error)))
            self.done = True
        self.release()

    def release(self, failure: Failure | None = None) -> None:
        """Give all who wait an error, or the outcome. Any thread.

        Args:
            failure: The error; each gets its own copy. ``None`` (default): they get the outcome.
        """
        outcome = self._outcomes[0] if failure is None else (None, self._named(failure))
        if self.own_waiters is not None:
            self.own_waiters.release(*outcome)
        for waiters in list(self.remote_waiters.values()):
            waiters.release(*outcome)

    def _named(self, failure: _Failed) -> _Failed:
        """Return a failure, which names the provider from now on."""
        if isinstance(failure, AuthError) and failure.provider is None and self._provider is not None:
            with contextlib.suppress(Exception):  # a provider may be anybody's: callers must be released all the same
                failure.provider = self._provider.name
        return failure


async def _wait_within(caller: Flight[Any], flight: Flight[_T]) -> _T:
    """Return a flight's result to the work of another one; see `Flight.wait`."""
    caller.waits_for.append(flight)
    try:
        if chain.leads_to(flight, caller):
            raise ConfigurationError(
                "this waits for itself: what obtains the token (fetch, a credential's callable, a pool's factory)"
                " asks for that same token",
                advice="let it send its requests with a session that has no BearerAuth",
            )
        return await flight.join(caller=caller)
    finally:
        caller.waits_for.remove(flight)


_flights: Final[set[weakref.ref[Flight[Any]]]] = set()
"""Every flight that was started, for as long as somebody holds it."""


def flights_on(loop: asyncio.AbstractEventLoop) -> set[Flight[Any]]:
    """Return the flights whose tasks run on a loop."""
    tasks = ((flight, flight.task) for flight in _started())
    return {flight for flight, task in tasks if task is not None and task.get_loop() is loop and not task.done()}


def _started() -> list[Flight[Any]]:
    return [flight for flight in (each() for each in list(_flights)) if flight is not None]


def leave_flights_to_parent(_: object = None) -> None:
    """Leave all tasks, and the callers that wait for them, to the parent process. In a forked child."""
    for flight in _started():
        if not flight.done:
            leave_to_parent(flight.task, *flight.waiters)
        flight.own_waiters, flight.remote_waiters = None, {}


at_fork(Flight, leave_flights_to_parent)
