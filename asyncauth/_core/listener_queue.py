"""One listener's pending events, and the thread or task that delivers them.

A plain function is called in a thread, so it may block. A coroutine function runs in a task, on the event loop where it
was added. The thread or task ends when all events are delivered.
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
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from asyncauth._base.forks import new_guard
from asyncauth._base.loops import LoopRef, generation
from asyncauth._base.printable import name_of
from asyncauth._core.user_code import place_of
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth.events import Event

__all__ = ["Listener", "ListenerQueue"]

Listener: TypeAlias = "Callable[[Event], Awaitable[None] | None]"
"""A function, plain or ``async``, that is called with each event."""

_MOST = 10_000
"""The most pending events of one listener; it misses further ones."""

_PATIENCE = 1.0
"""Seconds within which a cancelled ``async`` listener must end."""

_log = logging.getLogger("asyncauth.listeners")


class ListenerQueue:
    """Delivers events to one listener, in order, one at a time. Safe to use from any thread.

    If the listener raises an error, the log shows the error's class and place, once.

    Args:
        listener: A function of one event.

    Raises:
        ConfigurationError: It is a coroutine function, and no event loop is running.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._loop = _running_loop() if _is_async(listener) else None  # None: told in a thread
        self._complained = False
        self._start_over()

    def _start_over(self) -> None:
        self._guard = new_guard()
        self._events: deque[Event] = deque()
        self._telling = False
        self._teller: threading.Thread | asyncio.Task[None] | None = None  # the last one, ended or not
        self._told: concurrent.futures.Future[None] | None = None  # made when somebody waits for it
        self._generation = generation()

    @property
    def gone(self) -> bool:
        """Whether no event can be delivered any more: the listener's loop is closed, or a parent process'."""
        return self._loop is not None and self._loop.lost

    def put(self, event: Event) -> None:
        """Add an event, and start a thread or task to deliver it if there is none. Returns at once."""
        if self.gone:
            return
        if self._generation != generation():  # the thread that delivers, or holds the lock, is in the parent process
            self._start_over()
        with self._guard:
            full = len(self._events) >= _MOST
            if not full:
                self._events.append(event)
            begins, self._telling = not self._telling, True
        if full:
            self._complain("is too slow: it misses events")
        if begins:
            try:
                self._begin()
            except RuntimeError:  # no thread can be started
                self._stop()
            except BaseException:  # an interruption: else later events would wait for a thread that was never started
                self._stop()
                raise

    def clear(self) -> None:
        """Drop the pending events."""
        if self._generation != generation():
            return
        with self._guard:
            # Released after the lock: an event's tenant is a user's object, whose end may run any code.
            forgotten, self._events = self._events, deque()
        del forgotten

    def told(self) -> concurrent.futures.Future[None] | None:
        """Return a future that is done when all events are delivered. On an event loop only.

        ``None``: all are delivered already, or the listener itself calls this.
        """
        if self._generation != generation() or self.gone or self._is_teller():
            return None
        with self._guard:
            if self._telling and self._told is None:
                self._told = concurrent.futures.Future()
                self._told.set_running_or_notify_cancel()  # a waiting task that is cancelled does not cancel it
            return self._told

    async def end(self) -> None:
        """End the task that delivers, if it is on the running loop, and drop the pending events."""
        if self._loop is None or self.gone or not self._loop.here or self._is_teller():
            return
        self.clear()
        task = self._teller
        if not isinstance(task, asyncio.Task) or task.done():
            self._stop()  # if it was about to begin
            return
        task.cancel()
        if (await asyncio.wait((task,), timeout=_PATIENCE))[1]:
            self._complain("does not end when it is cancelled")

    def _begin(self) -> None:
        if self._loop is None:
            threading.Thread(target=self._tell_in_thread, name="asyncauth-listener", daemon=True).start()
        elif not self._loop.call_soon(self._begin_task):  # closed just now
            self._stop()

    def _begin_task(self) -> None:
        if not self._events or (isinstance(self._teller, asyncio.Task) and not self._teller.done()):
            return  # it was ended meanwhile, and may have begun again
        telling = self._tell_in_task()
        try:
            self._teller = asyncio.get_running_loop().create_task(telling, context=contextvars.Context())
        except Exception as error:  # noqa: BLE001 (a task factory may be anybody's)
            telling.close()
            self._complain(f"can't be told ({type(error).__name__})")
            self._stop()
        else:
            # A task that is cancelled before its first step runs nothing of its coroutine, not even a `finally`.
            self._teller.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._stop()

    def _tell_in_thread(self) -> None:
        self._teller = threading.current_thread()
        while (event := self._next()) is not None:
            try:
                answer: object = self.listener(event)
                if inspect.iscoroutine(answer):
                    answer.close()
                    self._complain("returns a coroutine: write 'async def'")
            except BaseException as error:  # noqa: BLE001 (a listener may be anybody's)
                self._complain_of(error)

    async def _tell_in_task(self) -> None:
        self._teller = asyncio.current_task()  # an eager task runs this before create_task() returns it
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

    def _is_teller(self) -> bool:
        """Return whether the listener itself calls this."""
        return self._teller is not None and self._teller in {threading.current_thread(), asyncio.current_task()}

    def _next(self) -> Event | None:
        """Return the next event to deliver; ``None``: that was all. The next `put` starts a new thread or task."""
        with self._guard:
            if self._events:
                return self._events.popleft()
            self._stop()
        return None

    def _stop(self) -> None:
        """Note that no thread or task delivers any more, and drop the pending events."""
        with self._guard:
            forgotten, self._events = self._events, deque()
            told, self._told, self._telling = self._told, None, False
        if told is not None:
            told.set_result(None)
        del forgotten

    def _complain_of(self, error: BaseException) -> None:
        self._complain(f"raised {type(error).__name__}{place_of(error)}")

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            with contextlib.suppress(Exception):  # a log filter may be anybody's, and so is the listener's name
                name = name_of(getattr(self.listener, "__qualname__", type(self.listener).__qualname__))
                _log.error("listener %s %s: fix it; this is said once", name, what)


def _is_async(listener: object) -> bool:
    while isinstance(listener, functools.partial):
        listener = listener.func
    return any(map(inspect.iscoroutinefunction, (listener, getattr(listener, "__call__", None))))  # noqa: B004


def _running_loop() -> LoopRef:
    try:
        return LoopRef()
    except RuntimeError:
        raise ConfigurationError(
            "an async listener runs on the event loop where it is added", advice="add it inside a coroutine"
        ) from None
