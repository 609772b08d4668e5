"""Who listens to events, and how they are told: never in a refresh's way.

A plain function is called in a thread of its own, so it may block; a coroutine function is run on the event loop where
it was added. Each is told one event after another, in their order. What it raises is logged, once, by class and place.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import logging
import threading
import types
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from asyncauth._base.forks import new_guard
from asyncauth._base.loops import LoopRef, generation
from asyncauth._base.printable import name_of
from asyncauth._core.user_code import place_of
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncauth.events import Event

__all__ = ["Listener", "Listeners", "SharedListeners"]

Listener: TypeAlias = "Callable[[Event], Awaitable[None] | None]"
"""A function, or an ``async`` one, that is told of each event."""

_LONGEST_BACKLOG = 10_000
"""Events that a listener may be behind; what comes then is not told to it."""

_PATIENCE = 1.0
"""Seconds that an async listener has to end when it is cancelled."""

_log = logging.getLogger("asyncauth.listeners")


class Listeners:
    """Those who are told of the events of a manager, or of all managers in a pool. Safe to use from any thread."""

    __slots__ = ("_backlogs", "_guard")

    def __init__(self) -> None:
        self._backlogs: tuple[_Backlog, ...] = ()  # replaced as a whole: read without a lock
        self._guard = new_guard()

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
        backlog = _Tasks(listener) if _is_async(listener) else _Threads(listener)
        with self._guard:
            # One that was added on a loop that has ended may be added again, on another.
            known = tuple(known for known in self._backlogs if not known.gone)
            if not any(_same(each.listener, listener) for each in known):
                known = (*known, backlog)
            self._backlogs = known

    def remove(self, listener: Listener) -> None:
        """Tell a listener nothing more, not even what it is behind with."""
        with self._guard:
            removed = [backlog for backlog in self._backlogs if _same(backlog.listener, listener)]
            self._backlogs = tuple(backlog for backlog in self._backlogs if backlog not in removed)
        for backlog in removed:
            backlog.clear()

    def tell(self, event: Event) -> None:
        """Have everybody told. Returns at once."""
        for backlog in self._backlogs:
            backlog.put(event)

    async def settle(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds, which end what tells them on this loop.

        Called by a listener, it does not wait for that one.
        """
        try:
            await self.catch_up(grace)
        finally:
            for backlog in self._backlogs:
                await backlog.end()

    async def catch_up(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds. Called by a listener: the others have."""
        telling = [asyncio.wrap_future(each) for each in (backlog.told() for backlog in self._backlogs) if each]
        try:
            if telling:
                await asyncio.wait(telling, timeout=grace)
        finally:
            for told in telling:
                told.cancel()


class SharedListeners(Listeners):
    """A chain's or a pool's, as its managers see them: letting them catch up is the owner's business alone."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Listeners) -> None:
        self._owner = owner

    def __bool__(self) -> bool:
        """Return whether anybody listens."""
        return bool(self._owner)

    def add(self, listener: Listener) -> None:
        """Add a listener to the owner's."""
        self._owner.add(listener)

    def remove(self, listener: Listener) -> None:
        """Remove a listener of the owner's."""
        self._owner.remove(listener)

    def tell(self, event: Event) -> None:
        """Have everybody told. Returns at once."""
        self._owner.tell(event)

    async def settle(self, grace: float) -> None:
        """Do nothing."""

    async def catch_up(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds."""
        await self._owner.catch_up(grace)


class _Backlog:
    """What one listener is still to be told.

    While something tells it (`_telling`), what comes is added for that to tell.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._complained = False
        self._start_over()

    def _start_over(self) -> None:
        self._guard = new_guard()
        self._events: deque[Event] = deque()
        self._telling = False
        self._told: concurrent.futures.Future[None] | None = None  # made for who waits
        self._generation = generation()

    @property
    def gone(self) -> bool:
        """Whether nothing can ever be told again."""
        return False

    def put(self, event: Event) -> None:
        """Add an event, and see to it that somebody tells it."""
        if self._generation != generation():  # who would tell it, or held the lock, is in the parent process
            self._start_over()
        with self._guard:
            late = len(self._events) >= _LONGEST_BACKLOG
            if not late:
                self._events.append(event)
            begins, self._telling = not self._telling, True
        if late:
            self._complain("is too slow: it misses events")
        if begins:
            try:
                self._begin()
            except RuntimeError:  # no thread can be started
                self._stop()
            except BaseException:  # an interruption: or what comes next would wait for somebody to tell it
                self._stop()
                raise

    def _begin(self) -> None:
        """Begin to tell, elsewhere.

        Raises:
            RuntimeError: There is no elsewhere any more.
        """
        raise NotImplementedError

    def clear(self) -> None:
        """Forget what is still to be told."""
        if self._generation != generation():
            return
        with self._guard:
            # Dropped after the lock is released: an event's tenant is anybody's object, and so is how it ends.
            forgotten, self._events = self._events, deque()
        del forgotten

    def _next(self) -> Event | None:
        """Return the next event to tell; ``None`` = that was all, and the next one begins anew."""
        with self._guard:
            if self._events:
                return self._events.popleft()
            self._stop()
        return None

    def _stop(self) -> None:
        """Take note that nothing tells the listener any more, and forget what it was behind with."""
        with self._guard:
            forgotten, self._events = self._events, deque()
            told, self._told, self._telling = self._told, None, False
        if told is not None:
            told.set_result(None)
        del forgotten

    def told(self) -> concurrent.futures.Future[None] | None:
        """Return what is done when everything has been told; ``None`` = it has been, or the listener itself asks."""
        if self._generation != generation() or self.gone or self._asks():
            return None
        with self._guard:
            if self._telling and self._told is None:
                self._told = concurrent.futures.Future()
                self._told.set_running_or_notify_cancel()  # nobody who waits for it can cancel it
            return self._told

    def _asks(self) -> bool:
        """Return whether this is called by the listener."""
        raise NotImplementedError

    async def end(self) -> None:
        """End what tells the listener, if that is a task on the running loop."""

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            with contextlib.suppress(Exception):  # a log filter may be anybody's, and so is the listener's name
                name = name_of(getattr(self.listener, "__qualname__", type(self.listener).__qualname__))
                _log.error("listener %s %s; this is said once", name, what)

    def _complain_of(self, error: BaseException) -> None:
        self._complain(f"raised {type(error).__name__}{place_of(error)}")


class _Threads(_Backlog):
    """Tells a plain function, in a thread that lasts as long as there is something to tell."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._here = threading.local()

    def _begin(self) -> None:
        threading.Thread(target=self._tell, name="asyncauth-listener", daemon=True).start()

    def _tell(self) -> None:
        self._here.tells = True
        while (event := self._next()) is not None:
            try:
                answer: object = self.listener(event)
                if inspect.iscoroutine(answer):
                    answer.close()
                    self._complain("returns a coroutine: write 'async def'")
            except BaseException as error:  # noqa: BLE001 (a listener may be anybody's)
                self._complain_of(error)

    def _asks(self) -> bool:
        return getattr(self._here, "tells", False)


class _Tasks(_Backlog):
    """Tells a coroutine function, in a task that lasts as long as there is something to tell."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._task: asyncio.Task[None] | None = None
        try:
            self._loop = LoopRef()
        except RuntimeError:
            raise ConfigurationError(
                "an async listener runs on the event loop where it is added: add it inside a coroutine"
            ) from None

    @property
    def gone(self) -> bool:
        """Whether its loop was closed, or is the parent process'."""
        return self._loop.lost

    def put(self, event: Event) -> None:
        """Add an event, and see to it that somebody tells it, if anybody can."""
        if not self.gone:
            super().put(event)

    def _begin(self) -> None:
        if not self._loop.call_soon(self._begin_here):  # closed just now
            self._stop()

    def _begin_here(self) -> None:
        if not self._events or (self._task is not None and not self._task.done()):
            return  # it was ended meanwhile, and may have begun again
        telling = self._tell()
        try:
            self._task = asyncio.get_running_loop().create_task(telling, context=contextvars.Context())
        except Exception as error:  # noqa: BLE001 (a task factory may be anybody's)
            telling.close()
            self._complain(f"can't be told ({type(error).__name__})")
            self._stop()
        else:
            # A task that is cancelled before its first step runs nothing of its coroutine, not even a `finally`.
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._stop()

    async def _tell(self) -> None:
        self._task = asyncio.current_task()  # an eager task runs this before create_task() returns it
        while (event := self._next()) is not None:
            try:
                answer: Any = self.listener(event)
                await answer
            except (GeneratorExit, KeyboardInterrupt):
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._complain_of(error)  # nobody cancelled it: the listener raised that itself
            except BaseException as error:  # noqa: BLE001 (a listener may be anybody's)
                self._complain_of(error)

    def _asks(self) -> bool:
        return self._task is not None and asyncio.current_task() is self._task

    async def end(self) -> None:
        if self.gone or not self._loop.here or self._asks():
            return
        self.clear()
        if self._task is None or self._task.done():
            self._stop()  # if it was about to begin
            return
        self._task.cancel()
        if (await asyncio.wait((self._task,), timeout=_PATIENCE))[1]:
            self._complain("does not end when it is cancelled")


def _is_async(listener: object) -> bool:
    while isinstance(listener, functools.partial):
        listener = listener.func
    return any(map(inspect.iscoroutinefunction, (listener, getattr(listener, "__call__", None))))  # noqa: B004


def _same(one: object, other: object) -> bool:
    """Return whether two listeners are one: a bound method is another object each time it is looked up."""
    if isinstance(one, types.MethodType | types.BuiltinMethodType):
        return type(one) is type(other) and one == other
    return one is other  # objects that compare equal, as empty collectors do, are still two
