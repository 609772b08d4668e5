"""Who listens to events, and how they are told: never in a refresh's way.

A plain function is called in a thread of its own, so it may block; a coroutine function is run on the event loop where
it was added. Each is told one event after another, in their order. What it raises is logged, once, by class and place.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from asyncauth.errors import ConfigurationError
from asyncauth.foreign import place_of
from asyncauth.forks import generation

if TYPE_CHECKING:
    from asyncauth.events import Event

__all__ = ["Listener", "Listeners"]

Listener: TypeAlias = "Callable[[Event], Awaitable[None] | None]"
"""A function, or an ``async`` one, that is told of each event."""

_LONGEST_BACKLOG = 10_000
"""Events that a listener may be behind; what comes then is not told to it."""

_log = logging.getLogger("asyncauth.listeners")


class Listeners:
    """Those who are told of the events of a manager, or of all managers in a pool. Safe to use from any thread."""

    __slots__ = ("_backlogs",)

    def __init__(self) -> None:
        self._backlogs: tuple[_Backlog, ...] = ()  # replaced as a whole: read without a lock

    def __bool__(self) -> bool:
        """Return whether anybody listens."""
        return bool(self._backlogs)

    def add(self, listener: Listener) -> None:
        """Tell a listener of events from now on. One that is there already is not added again.

        Raises:
            ConfigurationError: It can't be called; or it is a coroutine function, and no event loop is running.
        """
        if not callable(listener):
            raise ConfigurationError(f"a listener is a function of one event, not {type(listener).__name__}")
        if any(backlog.listener == listener for backlog in self._backlogs):
            return
        self._backlogs = (*self._backlogs, _Tasks(listener) if _is_async(listener) else _Threads(listener))

    def remove(self, listener: Listener) -> None:
        """Tell a listener nothing more, not even what it is behind with."""
        for backlog in self._backlogs:
            if backlog.listener == listener:
                backlog.clear()
        self._backlogs = tuple(backlog for backlog in self._backlogs if backlog.listener != listener)

    def tell(self, event: Event) -> None:
        """Have everybody told. Returns at once."""
        for backlog in self._backlogs:
            backlog.put(event)

    async def settle(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds, which end what tells them on this loop."""
        telling = [asyncio.wrap_future(each) for each in (backlog.told() for backlog in self._backlogs) if each]
        try:
            if telling:
                await asyncio.wait(telling, timeout=grace)
        finally:
            for told in telling:
                told.cancel()
            for backlog in self._backlogs:
                await backlog.end()


class _Backlog:
    """What one listener is still to be told."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._complained = False
        self._start_over()

    def _start_over(self) -> None:
        self._generation = generation()
        self._guard = threading.Lock()
        self._events: deque[Event] = deque()
        self._told: concurrent.futures.Future[None] | None = None

    def put(self, event: Event) -> None:
        """Add an event, and see to it that somebody tells it."""
        if self._generation != generation():  # who would tell it, or held the lock, is in the parent process
            self._start_over()
        with self._guard:
            late = len(self._events) >= _LONGEST_BACKLOG
            begins = self._told is None
            if not late:
                self._events.append(event)
            if begins:
                self._told = concurrent.futures.Future()
                self._told.set_running_or_notify_cancel()  # nobody who waits for it can cancel it
        if late:
            self._complain("is too slow: it misses events")
        if begins:
            try:
                self._begin()
            except RuntimeError:  # the event loop was closed, or the interpreter is at its end
                self.clear()
                self._next()

    def _begin(self) -> None:
        """Begin to tell, elsewhere.

        Raises:
            RuntimeError: There is no elsewhere any more.
        """
        raise NotImplementedError

    def clear(self) -> None:
        """Forget what is still to be told."""
        with self._guard:
            self._events.clear()

    def _next(self) -> Event | None:
        """Return the next event to tell; ``None`` = that was all, and the next one begins anew."""
        with self._guard:
            if self._events:
                return self._events.popleft()
            told, self._told = self._told, None
        if told is not None:
            told.set_result(None)
        return None

    def told(self) -> concurrent.futures.Future[None] | None:
        """Return what is done when everything has been told; ``None`` = it has been."""
        return self._told if self._generation == generation() else None

    async def end(self) -> None:
        """End what tells the listener, if that is a task on the running loop."""

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            name = getattr(self.listener, "__qualname__", type(self.listener).__qualname__)
            _log.error("listener %s %s; this is said once", name, what)


class _Threads(_Backlog):
    """Tells a plain function, in a thread that lasts as long as there is something to tell."""

    def _begin(self) -> None:
        threading.Thread(target=self._tell, name="asyncauth-listener", daemon=True).start()

    def _tell(self) -> None:
        while (event := self._next()) is not None:
            try:
                answer: object = self.listener(event)
                if inspect.iscoroutine(answer):
                    answer.close()
                    self._complain("returns a coroutine: write 'async def'")
            except BaseException as error:  # noqa: BLE001 (a listener may be anybody's)
                self._complain(f"raised {type(error).__name__}{place_of(error)}")


class _Tasks(_Backlog):
    """Tells a coroutine function, in a task that lasts as long as there is something to tell."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._at_home = generation()
        self._task: asyncio.Task[None] | None = None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "an async listener runs on the event loop where it is added: add it inside a coroutine"
            ) from None

    def _begin(self) -> None:
        if self._at_home != generation():
            raise RuntimeError  # the loop is the parent process'
        self._loop.call_soon_threadsafe(self._begin_here)

    def _begin_here(self) -> None:
        self._task = self._loop.create_task(self._tell(), context=contextvars.Context())

    async def _tell(self) -> None:
        try:
            while (event := self._next()) is not None:
                try:
                    answer = self.listener(event)
                    if answer is not None:
                        await answer
                except Exception as error:  # noqa: BLE001 (a listener may be anybody's)
                    self._complain(f"raised {type(error).__name__}{place_of(error)}")
        finally:
            if self._told is not None:  # it was cancelled
                self.clear()
                self._next()

    async def end(self) -> None:
        task = self._task
        if task is not None and not task.done() and self._loop is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait((task,))


def _is_async(listener: object) -> bool:
    return any(map(inspect.iscoroutinefunction, (listener, getattr(listener, "__call__", None))))  # noqa: B004
