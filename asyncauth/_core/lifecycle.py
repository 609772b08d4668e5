"""Entering, leaving and closing, for managers and pools alike."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from asyncauth._base.forks import new_guard
from asyncauth._base.loops import GLANCE, LoopRef
from asyncauth._core.flight_endings import drain, when_ended
from asyncauth._core.sessions import run_each
from asyncauth._core.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from asyncauth._core.flight import Flight
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.sessions import LoopEntry
    from asyncauth._core.timer import TimerHandle

__all__ = ["Closing", "Closings", "Lifecycle", "all_ended"]

_PATIENCE = 5.0
"""Seconds beyond its grace that a closing is waited for: what it ends may never end."""


class _Ending(NamedTuple):
    """Something that is coming to its end on a loop, and what is done when it has."""

    loop: LoopRef
    finished: concurrent.futures.Future[None]

    @property
    def under_way(self) -> bool:
        """Whether it will have ended some time: not if its loop stands still, or was another process'."""
        return self.loop.alive and not self.finished.done()


class Closings:
    """The closings of one manager or pool, on any loops: several may overlap, and each may be cancelled.

    Safe to use from any thread.
    """

    __slots__ = ("_endings", "_guard")

    def __init__(self) -> None:
        self._guard = new_guard()
        self._endings: tuple[_Ending, ...] = ()

    @property
    def pending(self) -> tuple[_Ending, ...]:
        """What is under way."""
        return tuple(each for each in self._endings if each.under_way)

    def begin(self, *flights: Flight[Any]) -> concurrent.futures.Future[None]:
        """Note that a closing begins on the running loop; return what to set to ``None`` when it ends.

        Args:
            flights: What it ends. What they clear up may outlast it: who closes may be cancelled.
        """
        closing = _Ending(LoopRef(), concurrent.futures.Future())
        ended = [_Ending(flight.loop, when_ended(flight)) for flight in flights if flight.loop is not None]
        with self._guard:
            self._endings = (*self.pending, closing, *ended)
        return closing.finished

    def abandon(self, endings: Sequence[_Ending]) -> None:
        """Let nobody wait for these any more."""
        with self._guard:
            self._endings = tuple(each for each in self._endings if each not in endings)


async def all_ended(closings: Sequence[Closings], grace: float) -> None:
    """Return when nothing is being closed any more; or when it should not be.

    Args:
        closings: Of everything that is to be opened together.
        grace: Seconds that a closing gives to what it ends.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace + _PATIENCE
    while pending := [each for one in closings for each in one.pending]:  # another may begin meanwhile
        left = deadline - loop.time()
        if left <= 0:
            for one in closings:
                one.abandon(pending)
            return
        await asyncio.wait([asyncio.wrap_future(each.finished) for each in pending], timeout=min(left, GLANCE))


class Closing(NamedTuple):
    """One closing.

    Attributes:
        finished: Done when it has ended.
        end_work: Ends what is under way.
        entries: The loops that are left.
    """

    finished: concurrent.futures.Future[None]
    end_work: Callable[[], Awaitable[None]]
    entries: list[LoopEntry]


class Lifecycle:
    """Something that is entered, left and closed, on any event loops, any number of times. Abstract.

    It is entered once per ``async with`` block. Leaving the last block closes it. Entering reopens it, after all that
    is being closed.

    A closing runs in the task of its caller, which may be cancelled: then it gives nothing more time, and still does
    all the rest. A caller that enters, or that leaves a block which was closed from elsewhere, waits for all closings.

    Safe to use from any thread; what is a coroutine needs a running event loop.

    Attributes:
        runtime: What it works with.
        upstreams: What is entered, left and closed with it.
        closed: Whether it was closed, and not entered since.
        closings: Its closings; ``None``: there has been none, as for most.
        timer: The timer that it is on; ``None``: none.
        timer_handle: When it is due there; ``None``: it is not.
    """

    __slots__ = ("__weakref__", "closed", "closings", "runtime", "timer", "timer_handle", "upstreams")

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.upstreams: tuple[Self, ...] = ()
        self.closed = False
        self.closings: Closings | None = None
        self.timer: Timer | None = None
        self.timer_handle: TimerHandle | None = None

    # What each kind does its own way

    def flights(self) -> Iterator[Flight[Any]]:
        """Yield what is under way, here and further upstream. Under the guard."""
        raise NotImplementedError

    def plan(self, *, anew: bool = False) -> None:
        """Set the timer for what is due next, on a loop where it is entered.

        Args:
            anew: Whether to do so although something is set.
        """
        raise NotImplementedError

    def stop(self) -> Callable[[], Awaitable[None]]:
        """Begin nothing any more; return what ends what is under way. Under the guard."""
        raise NotImplementedError

    def note_opened(self) -> None:
        """Do what is to be done when it is entered. Under the guard."""

    def leave_timer(self, timer: Timer) -> None:
        """Take off the running loop's timer what is not new there. Under the guard."""
        if self.timer is timer and not self.runtime.sessions.entered_here():
            self.timer = self.timer_handle = None

    # What they have in common

    async def enter(self) -> None:
        """Enter on the running loop, after all that is being closed."""
        while True:
            await self.wait_for_closings()
            with self.runtime.guard:  # in which no thread can begin another
                if not self.closing:
                    self.open()
                    return

    def open(self) -> None:
        """Enter on the running loop at once. Nothing must be being closed."""
        for upstream in self.upstreams:
            upstream.open()
        with self.runtime.guard:
            self.closed = False
            self.runtime.sessions.enter()
            self.note_opened()
        self.plan(anew=True)  # an earlier timer handle may be on a loop that ended

    async def leave(self) -> None:
        """Leave one block on the running loop: the last one anywhere closes, the last one here gives time to end."""
        sessions = self.runtime.sessions
        with self.runtime.guard:
            entry = sessions.leave()
            here = [each for each in self.flights() if each.loop is not None and each.loop.here]
            closing = None if entry is None or sessions.entered() else self.begin_closing()
        async with contextlib.AsyncExitStack() as rest:  # to the last, also when the caller is cancelled meanwhile
            for upstream in self.upstreams:
                rest.push_async_callback(upstream.leave)
            if entry is None:  # another task may have closed it, and may still be ending work on this loop
                await self.wait_for_closings()
            elif closing is not None:
                await self.finish_closing(closing, entry)
            else:
                rest.callback(self.plan)  # on another loop, if the timer was this one's
                rest.push_async_callback(entry.run, self.leave_loop)
                await asyncio.gather(*(drain(flight, self.runtime.policy.close_grace) for flight in here))

    async def close(self) -> None:
        """Close: nothing is left behind. Closing again does nothing."""
        with self.runtime.guard:
            closing = self.begin_closing()
        await self.finish_closing(closing)

    def begin_closing(self) -> Closing:
        """Let nobody in any more. Under the guard."""
        self.closed = True
        if self.closings is None:
            self.closings = Closings()
        finished = self.closings.begin(*self.flights())
        return Closing(finished, self.stop(), self.runtime.sessions.leave_all())

    async def finish_closing(self, closing: Closing, *entries: LoopEntry) -> None:
        """End what a closing ends.

        Args:
            closing: From `begin_closing`.
            entries: Loops that were left before.
        """
        patience = 0.0  # with listeners, of a caller who is cancelled
        try:
            await closing.end_work()
            patience = self.runtime.policy.close_grace
        finally:  # also when the caller is cancelled during the grace, and again
            try:
                async with contextlib.AsyncExitStack() as rest:
                    for upstream in self.upstreams if self.closed else ():  # not if it has been entered again, since
                        rest.push_async_callback(upstream.close)
                    await run_each([*entries, *closing.entries], self.leave_loop)
            except asyncio.CancelledError:
                patience = 0.0
                raise
            finally:
                try:
                    if self.runtime.owns_listeners:  # last: all of the above may have told of something
                        await self.runtime.listeners.settle(patience)
                finally:
                    closing.finished.set_result(None)

    async def leave_loop(self, entry: LoopEntry) -> None:
        """End what there is on the running loop: not what is new there, since it was entered again."""
        timer = Timer.here(self.runtime.clock)
        with self.runtime.guard:
            self.leave_timer(timer)
        try:
            await timer.sweep()
        finally:
            await entry.close()

    async def wait_for_closings(self) -> None:
        """Return when the closings that are under way, on any loop, have ended; or should have."""
        await all_ended(list(self.all_closings()), self.runtime.policy.close_grace)

    @property
    def closing(self) -> bool:
        """Whether a closing is under way, here or further upstream."""
        return any(closings.pending for closings in self.all_closings())

    def all_closings(self) -> Iterator[Closings]:
        """Yield these closings and those further upstream."""
        closings = self.closings
        if closings is not None:
            yield closings
        for upstream in self.upstreams:
            yield from upstream.all_closings()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        runtime: Runtime | None = getattr(self, "runtime", None)  # None: __init__ refused its arguments
        if runtime is not None and runtime.sessions.unclosed():
            _warn(f"Unclosed {self!r}", ResourceWarning, source=self)
