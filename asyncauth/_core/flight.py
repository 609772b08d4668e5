"""Single flight: one task and many waiters, on any event loop.

Each waiter has its own future. If a waiter is cancelled or times out, the others and the task are not affected. Waiters
and the task may be on different loops, in different threads. If the task's loop ends, the waiters are told that the
flight was lost, and one of them starts another.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from asyncauth._base.forks import at_fork, leave_to_parent, new_guard
from asyncauth._base.loops import GLANCE, LoopRef, call_soon
from asyncauth._core.frames import bare
from asyncauth._core.short_loop import note_unfinished
from asyncauth.clock import SYSTEM_CLOCK
from asyncauth.errors import AuthError, ConfigurationError, ManagerClosed, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from asyncauth.clock import Clock

__all__ = ["Flight", "FlightOrphaned", "Work"]

_T = TypeVar("_T")

_PATIENCE = 5.0
"""Seconds after its deadline at which work that has not ended is abandoned; the next caller starts another."""

_LONGEST_WATCH = 3600.0
"""The most seconds between two checks whether work is overdue: some loops do not accept infinity."""

_MOST_CALLERS = 128
"""The most contexts that are kept: as many as a span may have links."""


_running: contextvars.ContextVar[list[Flight[Any]]] = contextvars.ContextVar("asyncauth_flight")
"""The flight whose work is running, in a list that is emptied when it ends, since tasks that it started may go on."""


class FlightOrphaned(Exception):
    """The flight's event loop ended before the flight did, or an interruption ended its task."""


class Work(Protocol):
    """Work that may rest for a while."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way at the moment."""
        ...

    @property
    def due(self) -> float:
        """When it should have ended, in seconds of the clock's ``monotonic()``. Any thread."""
        ...

    def retry_now(self) -> None:
        """Let it go on at once, if it rests. Any thread."""
        ...

    def nudge(self) -> None:
        """Have it look again for how long it rests, since callers wait for it now. Any thread."""
        ...

    def leave(self) -> None:
        """Have it end as soon as nothing is under way: its loop is about to end. Any thread."""
        ...

    def abandon(self) -> None:
        """Keep what has come of it, if anything has, and send nothing more. Any thread."""
        ...


class _Waiter:
    """A caller that waits for a flight.

    Args:
        released: Done when the wait is over: with ``None`` when the flight has an outcome, or with the error of a
            wait that ends without one.
        since: When the wait began, in seconds of the flight's clock.
        flight: The flight whose work waits, in a chain; ``None``: a caller does.
    """

    __slots__ = ("flight", "released", "since")

    def __init__(self, released: asyncio.Future[AuthError | None], since: float, flight: Flight[Any] | None) -> None:
        self.released = released
        self.since = since
        self.flight = flight

    @property
    def pending(self) -> bool:
        """Whether the wait goes on."""
        return not self.released.done()

    def release(self, error: AuthError | None) -> None:
        """End the wait. Any thread."""
        release_all((self,), error)

    def release_here(self, error: AuthError | None) -> None:
        """End the wait, on the caller's own loop."""
        if not self.released.done():
            self.released.set_result(error)


def release_all(waiters: Iterable[_Waiter], error: AuthError | None) -> None:
    """End waits, see `_Waiter.release`. Any thread."""
    here = _running_loop()
    for waiter in waiters:
        loop = waiter.released.get_loop()
        if loop is here:
            if not waiter.released.done():  # as `release_here` does, without a call per waiter
                waiter.released.set_result(error)
        else:
            call_soon(loop, waiter.release_here, error)  # or that loop was closed, and its waiters with it


class Flight(Generic[_T]):
    """A piece of work that runs once, however many wait for it.

    Safe to use from any thread. The work runs in a task on the loop that called `start`, in an empty
    ``contextvars.Context``: it belongs to nobody's request.

    An interruption (``KeyboardInterrupt``, or an exception from a signal handler) may come between any two steps. A
    single assignment therefore starts the flight: that of its task. A task that was never assigned does nothing.

    Args:
        clock: What `Work.due` and the seconds are counted by.

    Attributes:
        done: Whether it has an outcome.
        hurried: Whether somebody has asked for a try at once.
        leaving: Whether its loop is about to end.
        loop: The loop on which it runs; ``None``: it was not started.
        waits_for: The flights that its own work waits for now.
        callers: The contexts of the first callers that noted theirs.
        work: The work, for callers that want it to try at once; ``None``: work that can't be hurried.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_due",
        "_error",
        "_guard",
        "_result",
        "callers",
        "done",
        "hurried",
        "leaving",
        "loop",
        "task",
        "waiters",
        "waits_for",
        "watch",
        "work",
    )

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.done = self.hurried = self.leaving = False
        self.callers: list[contextvars.Context] = []
        self.waits_for: list[Flight[Any]] = []
        self.work: Work | None = None
        self.loop: LoopRef | None = None
        self._clock = clock
        self._due = math.inf
        self._guard = new_guard()
        self.waiters: list[_Waiter] = []
        self.task: asyncio.Task[None] | None = None
        self.watch: asyncio.TimerHandle | None = None
        self._result: _T | None = None
        self._error: AuthError | FlightOrphaned | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, _T]], seconds: float = math.inf) -> None:
        """Start the work on the running loop. It begins after this has returned.

        Call it under the lock under which others find the flight. Then nobody finds a flight that was not started,
        except one whose start was interrupted, which is `finished`.

        Args:
            work: Makes the coroutine. What it returns, or the ``AuthError`` it raises, is the flight's outcome.
            seconds: How long it may take, for as long as nothing else is known (`Work.due`).
        """
        if self.done:  # ended before it began
            return
        loop = asyncio.get_running_loop()
        self.loop = LoopRef(loop)
        self._due = self._clock.monotonic() + seconds
        run = self._run(work)
        try:
            task = loop.create_task(run, context=contextvars.Context())
        except Exception as error:  # noqa: BLE001 (a task factory may be anybody's)
            run.close()
            self.settle(error=AuthError(f"no task could be made for the refresh ({type(error).__name__})"))
            return
        # A task that is cancelled before its first step runs nothing of its coroutine, not even a `finally`.
        task.add_done_callback(self.task_ended)
        self.watch = loop.call_later(min(seconds, _LONGEST_WATCH), self.look)
        self.task = task
        at_fork(self, _leave_to_parent)
        note_unfinished(self, loop)

    def take_up(self, work: Work) -> None:
        """Set the work that is about to begin, and pass on what was asked of the flight before."""
        self.work = work
        if self.hurried:
            work.retry_now()
        if self.leaving:
            work.leave()
        if self.done:
            work.abandon()

    def after_fork(self) -> None:
        """Leave the task and the callers that wait for it to the parent process."""
        if not self.done:
            leave_to_parent(self.task, self.waiters)
        self.waiters = []

    @property
    def finished(self) -> bool:
        """Whether there is no use in joining it any more."""
        task, loop = self.task, self.loop
        return self.done or task is None or loop is None or task.done() or loop.lost

    @property
    def here(self) -> bool:
        """Whether it runs on the running loop."""
        return self.loop is not None and self.loop.here

    @property
    def orphaned(self) -> bool:
        """Whether the flight can't end any more: its loop was closed, or stands still in a stopped thread."""
        task, loop = self.task, self.loop
        return not self.done and task is not None and loop is not None and (task.done() or not loop.alive)

    @property
    def _seconds_left(self) -> float:
        """The seconds until it should have ended."""
        work = self.work
        return (self._due if work is None else work.due) - self._clock.monotonic()

    @property
    def waiting(self) -> int:
        """How many callers wait, without those that were cancelled."""
        return sum(waiter.pending for waiter in self.waiters)

    @property
    def waiting_for(self) -> float | None:
        """Seconds for which the first of them has waited; ``None``: nobody waits."""
        since = next((waiter.since for waiter in self.waiters if waiter.pending), None)
        return None if since is None else max(0.0, self._clock.monotonic() - since)

    @property
    def callers_wait(self) -> bool:
        """Whether a caller waits for it, or for a flight that waits for it, and so on down a chain."""
        unseen: list[Flight[Any]] = [self]  # a chain has an end: none waits for itself
        while unseen:
            for waiter in unseen.pop().waiters:
                if waiter.pending:
                    if waiter.flight is None or waiter.flight.done:
                        return True
                    unseen.append(waiter.flight)
        return False

    def note_caller(self) -> None:
        """Keep the caller's context, for tracing."""
        if len(self.callers) < _MOST_CALLERS:
            self.callers.append(contextvars.copy_context())

    def wait(self) -> Coroutine[Any, Any, _T]:
        """Return the flight's result, when it is awaited.

        Any number of callers may wait, each on its own loop; a cancelled one affects no other and not the flight.
        None waits for longer than the work may take.

        Raises:
            AuthError: The flight failed, or did not end in time. Each caller gets an exception of its own, without
                cause or traceback.
            ConfigurationError: The caller is part of the flight's own work, which would wait for itself.
            FlightOrphaned: The flight's loop ended.
        """
        running = _running.get(None)
        return self._wait_within(running[0]) if running else self._outcome(None)

    async def _wait_within(self, caller: Flight[Any]) -> _T:
        """Return the flight's result to the work of another one; see `wait`."""
        caller.waits_for.append(self)
        try:
            if self._leads_to(caller):
                raise ConfigurationError(
                    "this waits for itself: what obtains the token (fetch, a credential's callable, a pool's factory)"
                    " asks for that same token; let it send its requests with a session that has no BearerAuth"
                )
            return await self._outcome(caller)
        finally:
            caller.waits_for.remove(self)

    def _leads_to(self, flight: Flight[Any]) -> bool:
        """Return whether this is the given flight, or waits for it directly or through other flights."""
        unseen: list[Flight[Any]] = [self]
        seen = set[Flight[Any]]()
        while unseen:
            each = unseen.pop()
            if each is flight:
                return True
            if each not in seen:
                seen.add(each)
                unseen += each.waits_for
        return False

    async def _outcome(self, flight: Flight[Any] | None) -> _T:
        """Return the result to a caller, or to the work of another flight; see `wait`."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), self._clock.monotonic(), flight)
        with self._guard:
            if self.done:
                waiter.release_here(None)
            else:
                self.waiters.append(waiter)
        work = self.work
        if self.waits_for:
            self._nudge()
        elif work is not None:
            work.nudge()
        own = self.loop
        here = own is not None and own.get() is loop
        error = await (waiter.released if here else self._wait_from_afar(waiter))
        if error is not None:
            raise error.again()
        if self._error is None:
            return self._result  # type: ignore[return-value]  # set by whoever set `done`
        if isinstance(self._error, FlightOrphaned):
            raise FlightOrphaned
        raise self._error.again()

    def _nudge(self) -> None:
        """Tell the work, and the flights that it waits for, that a caller waits now."""
        unseen: list[Flight[Any]] = [self]
        while unseen:
            flight = unseen.pop()
            work = flight.work
            if work is not None:
                work.nudge()
            if flight.waits_for:
                unseen += list(flight.waits_for)

    async def _wait_from_afar(self, waiter: _Waiter) -> AuthError | None:
        """Wait on a loop that is not the flight's, and check whether the flight's loop still runs.

        A check counts only if the next one confirms it: a loop between two ``run_until_complete()`` calls is not lost
        yet, and a loop that was blocked until now may be about to end the flight.
        """
        lost, asked = False, None
        try:
            while True:
                await asyncio.wait((waiter.released,), timeout=GLANCE)
                if not waiter.pending:
                    return waiter.released.result()
                if self.done:  # the task was interrupted before it released this waiter
                    return None
                lost_before, lost = lost, self.orphaned
                if lost and lost_before:
                    self.abandon(FlightOrphaned())
                elif self._seconds_left > 0:
                    asked = None
                elif asked is None:
                    asked = self._ask_loop()
                elif not asked.is_set():
                    self.abandon(_blocked())
        finally:
            waiter.released.cancel()  # if the caller was: wait() leaves it pending

    def _ask_loop(self) -> threading.Event:
        """Return an event that is set as soon as the flight's loop runs anything."""
        runs = threading.Event()
        cast("LoopRef", self.loop).call_soon(runs.set)  # it was started, or nobody would wait
        return runs

    def look(self, doubted: bool = False) -> None:  # noqa: FBT001, FBT002 (a callback's argument)
        """Release the waiters at the deadline, and end the flight soon after. On its own loop, with one timer."""
        left, task = self._seconds_left, self.task
        if self.done or task is None:
            return
        if left <= 0 and doubted:
            if left <= -_PATIENCE:
                self.abandon(_overdue())
                return
            for waiter in list(self.waiters):
                waiter.release(_overdue())  # each an error of its own
        pause = GLANCE if left <= 0 else min(max(left, GLANCE), _LONGEST_WATCH)
        self.watch = task.get_loop().call_later(pause, self.look, left <= 0)

    def retry_now(self) -> None:
        """Let the work go on at once, if it rests, or as soon as it begins. Any thread."""
        self.hurried = True
        work = self.work
        if work is not None and not self.finished:  # else it may be the parent process's, and so is what would wake it
            work.retry_now()

    async def leave(self, patience: float | None) -> None:
        """Return when nothing is in progress any more, since the loop is about to end. On its own loop only.

        Callers that wait for a later try start another flight, each on its own loop.

        Args:
            patience: Seconds for the work in progress; ``None``: as many as it may take.
        """
        task = self.task
        if task is None or task.done():
            return
        self.leaving = True
        if self.work is not None:
            self.work.leave()
        await asyncio.wait((task,), timeout=max(0.0, self._seconds_left + _PATIENCE) if patience is None else patience)
        if not task.done():
            self.abandon(FlightOrphaned())
            await asyncio.wait((task,), timeout=_PATIENCE)

    async def finish(self) -> None:
        """Tell the waiters that the manager was closed, and return when nothing is under way any more.

        May be called from any loop.
        """
        for waiter in self.waiters:
            waiter.release(_closed())
        under_way = self._under_way()
        if under_way is not None:
            _, loop = under_way
            await loop.run(partial(self.leave, None))

    async def drain(self, grace: float) -> None:
        """Return when the flight has ended, or after ``grace`` seconds. On its own loop only."""
        if self.task is not None and not self.done:
            await asyncio.wait((self.task,), timeout=grace)

    async def end(self, grace: float) -> None:
        """Let the flight run for ``grace`` more seconds, then cancel it; return when it has ended.

        May be called from any loop, and by several at once. The waiters of a flight that had to be cancelled get
        ``ManagerClosed``. One whose loop stands still is ended as soon as that runs again.
        """
        under_way = self._under_way()
        while True:
            if under_way is not None:
                task, loop = under_way
                await loop.run(partial(self._end_here, task, grace))
            self.abandon(_closed())
            under_way, grace = self._under_way(), 0.0
            if under_way is None:  # else its loop stood still, and goes on just now
                return

    def _under_way(self) -> tuple[asyncio.Task[None], LoopRef] | None:
        """Return the task and its loop, unless it has ended, or can't be reached any more."""
        task, loop = self.task, self.loop
        return None if task is None or loop is None or task.done() or not loop.alive else (task, loop)

    async def _end_here(self, task: asyncio.Task[None], grace: float) -> None:
        try:
            if grace > 0:
                await self.drain(grace)
        finally:  # also when the caller is cancelled during the grace
            self.settle(error=_closed())
            cancelled = task.cancelling() > 0  # by another closing: what is being cleared up is not cut short at once
            while not task.done():
                if not cancelled:
                    task.cancel()
                cancelled = False
                await asyncio.wait((task,), timeout=_PATIENCE)

    def abandon(self, error: AuthError | FlightOrphaned) -> None:
        """Land it, unless it has an outcome, and let nothing more come of it. Any thread.

        Its loop may stand still, or be blocked: it is told to cancel the task first of all when it goes on.
        """
        self.settle(error=error)
        task, loop, work = self.task, self.loop, self.work
        if work is not None:
            work.abandon()
        if task is not None and loop is not None and not task.done():
            loop.call_soon(task.cancel)

    def ended(self) -> concurrent.futures.Future[None]:
        """Return what is done as soon as nothing of the flight runs any more, or can be reached. Any thread.

        That is later than its outcome where it was cancelled, and clears something up.
        """
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()

        def end(_: object = None) -> None:
            ended.set_result(None)

        under_way = self._under_way()
        if under_way is None:
            end()
        else:
            task, loop = under_way
            if not loop.call_soon(task.add_done_callback, end):  # closed just now
                end()
        return ended

    async def _run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        if self.task is None:  # an eager task, which runs while it is made; or `start` was interrupted just then
            await asyncio.sleep(0)
        if self.done or self.task is not asyncio.current_task():
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
            self.settle(error=AuthError(f"the refresh raised {type(error).__name__}"))
        finally:
            running.clear()
            # Cancelled by the end of its loop, or by somebody who cancels all tasks.
            self.settle(error=FlightOrphaned())

    def task_ended(self, task: asyncio.Task[None]) -> None:
        """Take note that the task has ended, in whatever way: `_run` itself may have been interrupted."""
        if self.watch is not None:
            self.watch.cancel()
        if not task.cancelled():
            task.exception()  # KeyboardInterrupt or SystemExit: the loop has raised it already
        self.settle(error=FlightOrphaned())

    def settle(self, *, result: _T | None = None, error: AuthError | FlightOrphaned | None = None) -> None:
        """Set the outcome, unless there is one, and wake everybody who has not been woken yet."""
        with self._guard:
            if not self.done:
                self._result, self._error = result, error
                self.done = True  # from here on nobody is added
        release_all(self.waiters, None)
        self.waiters = []  # last: if this is interrupted, the next call releases them


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running loop; ``None``: there is none, as in a task that is closed as garbage after its loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _leave_to_parent(flight: Flight[Any]) -> None:
    flight.after_fork()


def _closed() -> ManagerClosed:
    return ManagerClosed("the manager was closed while a token was being obtained")


def _overdue() -> TokenEndpointUnavailable:
    return TokenEndpointUnavailable("no token by the deadline: the provider ignores that its request was cancelled")


def _blocked() -> TokenEndpointUnavailable:
    return TokenEndpointUnavailable(
        "no token by the deadline: the event loop of the refresh, in another thread, is blocked"
    )
