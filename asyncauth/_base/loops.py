"""Event loops as seen by other threads and forked processes: whether one is alive, and how to call it.

In a forked child, the parent's event loops look alive, but nothing will ever run on them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["GLANCE", "LoopRef", "call_soon", "generation"]

GLANCE = 0.25
"""Seconds between checks whether another thread's loop still runs: asyncio has no callback for when a loop stops."""

_numbers = itertools.count()
_current = next(_numbers)


def generation() -> int:
    """Return a number that differs in each process of a family of forks."""
    return _current


def _in_child() -> None:
    global _current  # noqa: PLW0603 (a fork changes the process, which a module variable stands for)
    _current = next(_numbers)


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_in_child)


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> bool:
    """Schedule a call on a loop, before its other callbacks when it continues. Usable in any thread.

    Returns:
        Whether it was scheduled: ``False`` for a closed loop.
    """
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:  # closed
        return False
    return True


class LoopRef:
    """A weak reference to an event loop, with which any thread can check the loop and schedule calls on it.

    Args:
        loop: A loop of this process; ``None`` (default): the running one.

    Raises:
        RuntimeError: No loop was given, and none is running.
    """

    __slots__ = ("_generation", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = weakref.ref(asyncio.get_running_loop() if loop is None else loop)
        self._generation = _current

    def get(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop; ``None``: it no longer exists."""
        return self._loop()

    @property
    def here(self) -> bool:
        """Whether it is the running loop. Raises ``RuntimeError`` if no loop is running."""
        return self._loop() is asyncio.get_running_loop()

    @property
    def of_parent_process(self) -> bool:
        """Whether the loop belongs to a process that this one was forked from."""
        return self._generation != generation()

    @property
    def closed(self) -> bool:
        """Whether the loop was closed, or no longer exists. A parent process' loop may be open."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    @property
    def lost(self) -> bool:
        """Whether nothing will ever run on the loop again in this process."""
        loop = self._loop()  # inlined, since each caller that needs a new token reads this
        return self._generation != _current or loop is None or loop.is_closed()

    @property
    def alive(self) -> bool:
        """Whether the loop runs now. A loop that does not run, and is not lost, may run again."""
        loop = self._loop()
        return loop is not None and not self.of_parent_process and loop.is_running()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> bool:
        """Schedule a call on the loop, before its other callbacks when it continues. Usable in any thread.

        Returns:
            Whether it was scheduled. ``False`` for a lost loop: the pipe that wakes a parent process' loop belongs to
                the parent, too.
        """
        loop = self._loop()
        return loop is not None and not self.of_parent_process and call_soon(loop, call, *arguments)

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the loop, and return when it has ended or the loop has stopped.

        On the running loop, it is simply awaited. On another loop, its errors go to that loop's exception handler, and
        cancelling the caller does not cancel it. A stopped loop does the work when it runs again, a lost one never.

        Args:
            work: Makes the coroutine, on that loop.
        """
        if self.here:
            await work()
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        # The coroutine is made there: one that is made here and never runs would warn that it was never awaited.
        self.call_soon(_begin, work, done)
        while not done.done() and self.alive:
            await asyncio.wait((asyncio.wrap_future(done),), timeout=GLANCE)


def _begin(work: Callable[[], Coroutine[Any, Any, None]], done: concurrent.futures.Future[None]) -> None:
    asyncio.get_running_loop().create_task(work()).add_done_callback(lambda _: done.set_result(None))
