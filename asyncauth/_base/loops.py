"""Event loops, as other threads and forked processes see them: whether one is alive, and how to have it do something.

After a fork the parent's event loops look alive in the child, and nothing will ever run on them.
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
"""Seconds between looks at whether another thread's loop still runs: no callback tells when it stops."""

_numbers = itertools.count()
_current = next(_numbers)


def generation() -> int:
    """Return a number that is another one in each process of a family of forks."""
    return _current


def _in_child() -> None:
    global _current  # noqa: PLW0603 (what a fork changes is the process)
    _current = next(_numbers)


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_in_child)


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> bool:
    """Have a loop call something first of all when it goes on. Any thread.

    Returns:
        Whether it was told: a closed loop cannot be.
    """
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:  # closed
        return False
    return True


class LoopRef:
    """An event loop that any thread may ask about and hand something to. It does not keep the loop in memory.

    Args:
        loop: Of this process; ``None`` (default): the running one.

    Raises:
        RuntimeError: No loop was given, and none is running.
    """

    __slots__ = ("_generation", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = weakref.ref(asyncio.get_running_loop() if loop is None else loop)
        self._generation = generation()

    def get(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop; ``None``: it is gone."""
        return self._loop()

    @property
    def here(self) -> bool:
        """Whether it is the running loop. Ask on a running loop only."""
        return self._loop() is asyncio.get_running_loop()

    @property
    def of_parent_process(self) -> bool:
        """Whether it runs, if at all, in a process that this one was forked from."""
        return self._generation != generation()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is gone. A parent process's may be open."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    @property
    def lost(self) -> bool:
        """Whether nothing will ever run on it again in this process."""
        loop = self._loop()  # each caller that needs a new token asks this: no further call
        return self._generation != _current or loop is None or loop.is_closed()

    @property
    def alive(self) -> bool:
        """Whether it runs now. One that does not, and is not lost, stands still: it may run again."""
        loop = self._loop()
        return loop is not None and not self.of_parent_process and loop.is_running()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> bool:
        """Have the loop call something first of all when it goes on. Any thread.

        Returns:
            Whether it was told. A lost loop is not: the pipe that would wake a parent process's loop is the parent's
            as well.
        """
        loop = self._loop()
        return loop is not None and not self.of_parent_process and call_soon(loop, call, *arguments)

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run some work on the loop, and return when it has ended or the loop has stopped.

        On the running loop it is awaited like anything else. On another, what it raises is left to that loop's
        exception handler, and cancelling the caller does not cancel it. A loop that stands still does the work when
        it runs again; a lost one never does.

        Args:
            work: Makes the coroutine, on that loop.
        """
        if self.here:
            await work()
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        # The coroutine is made there: one that is made here, and never runs, warns that nobody awaited it.
        self.call_soon(_begin, work, done)
        while not done.done() and self.alive:
            await asyncio.wait((asyncio.wrap_future(done),), timeout=GLANCE)


def _begin(work: Callable[[], Coroutine[Any, Any, None]], done: concurrent.futures.Future[None]) -> None:
    asyncio.get_running_loop().create_task(work()).add_done_callback(lambda _: done.set_result(None))
