"""Event loops: running something on another thread's, and telling a loop of this process from a parent's.

After a fork the parent's event loops look alive in the child, and nothing will ever run on them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["generation", "run_on"]


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


_GLANCE = 0.25
"""Seconds between looks at whether the other loop still runs: nothing tells when it stops."""


async def run_on(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run some work on an event loop, and return when it has ended or the loop has stopped.

    On the running loop it is awaited like anything else. On another, what it raises is left to that loop's exception
    handler, and cancelling the caller does not cancel it. A loop that stands still does the work when it runs again;
    a closed one never does.

    Args:
        loop: Any thread's, of this process.
        work: Makes the coroutine, on that loop.
    """
    if loop is asyncio.get_running_loop():
        await work()
        return
    done: concurrent.futures.Future[None] = concurrent.futures.Future()
    with contextlib.suppress(RuntimeError):  # closed
        # The coroutine is made there: one that is made here, and never runs, warns that nobody awaited it.
        loop.call_soon_threadsafe(_begin, loop, work, done)
    while not done.done() and loop.is_running():
        await asyncio.wait((asyncio.wrap_future(done),), timeout=_GLANCE)


def _begin(
    loop: asyncio.AbstractEventLoop,
    work: Callable[[], Coroutine[Any, Any, None]],
    done: concurrent.futures.Future[None],
) -> None:
    loop.create_task(work()).add_done_callback(lambda _: done.set_result(None))
