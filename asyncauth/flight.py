"""Single flight: one owned task, many waiters, on any event loop.

Each waiter has a future of its own, so one that is cancelled or times out takes nobody with it, and the task goes on.
A waiter may be on another loop, in another thread, than the task. If the task's loop ends, the waiters learn that
the flight was lost and one of them starts another.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from asyncauth.errors import AuthError, ManagerClosed
from asyncauth.forks import generation
from asyncauth.frames import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Flight", "FlightLost", "Work"]

_T = TypeVar("_T")

_GLANCE = 0.25
"""Seconds between a foreign waiter's looks at whether the flight's loop still runs: nobody else would tell it."""

_PATIENCE = 5.0
"""Seconds after which work that was cancelled, and goes on, is cancelled again."""

_MOST_CALLERS = 128
"""Contexts that are kept: as many as a span has links."""


class FlightLost(Exception):
    """The flight's event loop ended before the flight did."""


class Work(Protocol):
    """Work that may rest for a while."""

    @property
    def resting(self) -> bool:
        """Whether nothing is under way at the moment."""
        ...

    def hurry(self) -> None:
        """Let it go on at once, if it rests. Any thread."""
        ...

    def give_up(self) -> None:
        """Keep what has come of it, if anything has: nothing more will. Any thread."""
        ...


class Flight(Generic[_T]):
    """A piece of work that runs once, however many wait for it.

    Safe to use from any thread. The work runs in a task on the loop that called `start`, in an empty
    ``contextvars.Context``: it belongs to nobody's request.

    Attributes:
        done: Whether it has an outcome.
        loop: Where it runs; ``None`` = it was not started.
        callers: The contexts of the first of those who waited and noted theirs.
        work: What it does, for who wants to hurry it; ``None`` = nothing that can be hurried.
    """

    __slots__ = ("_error", "_generation", "_guard", "_result", "_task", "_waiters", "callers", "done", "loop", "work")

    def __init__(self) -> None:
        self.done = False
        self.callers: list[contextvars.Context] = []
        self.work: Work | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._generation = generation()
        self._guard = threading.Lock()
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._result: _T | None = None
        self._error: AuthError | FlightLost | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        """Start the work on the running loop.

        Args:
            work: Makes the coroutine. What it returns, or the ``AuthError`` it raises, is the flight's outcome.
        """
        if self.done:  # close() was faster, in another thread
            return
        self.loop = asyncio.get_running_loop()
        run = self._run(work)
        try:
            self._task = self.loop.create_task(run, context=contextvars.Context())
        except Exception as error:  # noqa: BLE001 (a task factory may be anybody's)
            run.close()
            self._land(error=AuthError(f"no task could be made for the refresh ({type(error).__name__})"))
        else:
            # A task that is cancelled before its first step runs nothing of its coroutine, not even a `finally`.
            self._task.add_done_callback(lambda _: self._land(error=FlightLost()))
            if self.done and not self._task.done():  # close() was faster, just now
                self._task.cancel()

    def fail(self, error: AuthError) -> None:
        """End a flight that can't be started."""
        self._land(error=error)

    @property
    def over(self) -> bool:
        """Whether there is no use in joining it any more."""
        return self.done or self._of_parent or (self.loop is not None and self.loop.is_closed())

    @property
    def _of_parent(self) -> bool:
        """Whether it was begun before this process was forked: its loop only looks alive."""
        return self._generation != generation()

    @property
    def lost(self) -> bool:
        """Whether the flight can't end any more: its loop was closed, or stands still in a stopped thread."""
        return not self.done and self.loop is not None and self._out_of_reach(self.loop)

    def _out_of_reach(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._of_parent or loop.is_closed() or not loop.is_running()

    @property
    def waiting(self) -> int:
        """How many callers wait, without those that were cancelled."""
        return sum(not waiter.done() for waiter in self._waiters)

    def note_caller(self) -> None:
        """Keep the caller's context, for who wants to tell what it was doing."""
        if len(self.callers) < _MOST_CALLERS:
            self.callers.append(contextvars.copy_context())

    async def wait(self) -> _T:
        """Return the flight's result.

        Any number of callers may wait, each on its own loop; a cancelled one affects no other and not the flight.

        Raises:
            AuthError: The flight failed. Each caller gets an exception of its own, without cause or traceback.
            FlightLost: The flight's loop ended.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._guard:
            if self.done:
                waiter.set_result(None)
            else:
                self._waiters.append(waiter)
        if loop is self.loop:
            await waiter
        else:
            await self._wait_from_afar(waiter)
        if self._error is None:
            return self._result  # type: ignore[return-value]  # set by whoever set `done`
        if isinstance(self._error, FlightLost):
            raise FlightLost
        raise self._error.again()

    async def _wait_from_afar(self, waiter: asyncio.Future[None]) -> None:
        try:
            while not waiter.done():
                await asyncio.wait((waiter,), timeout=_GLANCE)
                if self.lost and not waiter.done():
                    # Twice, a glance apart: a loop between two run_until_complete() calls is not lost yet.
                    await asyncio.wait((waiter,), timeout=_GLANCE)
                    if self.lost:
                        self._land(error=FlightLost())
        finally:
            waiter.cancel()  # if the caller was: wait() leaves it pending

    async def settle(self, grace: float) -> None:
        """Return when the flight has ended, or after ``grace`` seconds. On its own loop only."""
        if self._task is not None and not self.done:
            await asyncio.wait((self._task,), timeout=grace)

    async def end(self, grace: float) -> None:
        """Let the flight run for ``grace`` more seconds, then cancel it; return when it has ended.

        May be called from any loop, and by several at once. The waiters of a flight that had to be cancelled get
        ``ManagerClosed``.
        """
        task = self._under_way()
        if task is None:
            self._land(error=ManagerClosed("the manager was closed while a token was being obtained"))
            return
        loop = task.get_loop()
        if loop is asyncio.get_running_loop():
            await self._end_here(task, grace)
        else:
            ending = asyncio.run_coroutine_threadsafe(self._end_here(task, grace), loop)
            while not ending.done() and loop.is_running():  # it may stop as soon as the flight has landed
                await asyncio.wait((asyncio.wrap_future(ending),), timeout=_GLANCE)

    def _under_way(self) -> asyncio.Task[None] | None:
        """Return the task, unless it has ended, or can't be reached any more."""
        task = self._task
        return None if task is None or task.done() or self._out_of_reach(task.get_loop()) else task

    async def _end_here(self, task: asyncio.Task[None], grace: float) -> None:
        try:
            if grace > 0:
                await self.settle(grace)
        finally:  # also when the caller is cancelled during the grace
            self._land(error=ManagerClosed("the manager was closed while a token was being obtained"))
            cancelled = task.cancelling() > 0  # by another closing: what is being cleared up is not cut short at once
            while not task.done():
                if not cancelled:
                    task.cancel()
                cancelled = False
                await asyncio.wait((task,), timeout=_PATIENCE)

    def ended(self) -> concurrent.futures.Future[None]:
        """Return what is done as soon as nothing of the flight runs any more, or can be reached. Any thread.

        That is later than its outcome where it was cancelled, and clears something up.
        """
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()

        def end(_: object = None) -> None:
            ended.set_result(None)

        task = self._under_way()
        if task is None:
            end()
        else:
            try:
                task.get_loop().call_soon_threadsafe(task.add_done_callback, end)
            except RuntimeError:  # closed just now
                end()
        return ended

    async def _run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        try:
            self._land(result=await work())
        except AuthError as error:
            # Without its traceback, whose frames hold the credentials, and without what it came from.
            self._land(error=error.again())
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            raise bare(error)  # noqa: B904 (it is the same one)
        except BaseException as error:  # noqa: BLE001
            # A loss would make each waiter start another flight, without end. By its class alone: see above.
            self._land(error=AuthError(f"the refresh raised {type(error).__name__}"))
        finally:
            # Cancelled by the end of its loop, or by somebody who cancels all tasks.
            self._land(error=FlightLost())

    def _land(self, *, result: _T | None = None, error: AuthError | FlightLost | None = None) -> None:
        """Set the outcome, unless there is one, and wake everybody."""
        with self._guard:
            if self.done:
                return
            self._result, self._error = result, error
            self.done = True
            waiters, self._waiters = self._waiters, []
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:  # a task that is closed as garbage, after its loop
            here = None
        for waiter in waiters:
            there = waiter.get_loop()
            if there is here:
                _wake(waiter)
            else:
                try:
                    there.call_soon_threadsafe(_wake, waiter)
                except RuntimeError:  # that loop was closed, and its waiters with it
                    continue


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
