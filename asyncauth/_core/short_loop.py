"""Event loops that last for one call, and what has to come to its end before they do.

A caller without an event loop gets one for each call that needs I/O (`Blocking`). What that call begins and
nobody awaits, such as the renewal of a token that is still usable, would be lost with the loop.
"""

from __future__ import annotations

import asyncio
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Unfinished", "collect_unfinished", "finish", "note_unfinished", "short_loop"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Unfinished(Protocol):
    """Something that is under way on an event loop, whoever waits for it."""

    async def leave(self, patience: float | None) -> None:
        """Return when nothing of it needs the loop any more. On its own loop only.

        Args:
            patience: Seconds for what is under way; ``None``: as many as it takes.
        """
        ...


class _Threads(ThreadPoolExecutor):
    """A short loop's threads: those that are done end with it, and no other holds it up.

    Nothing interrupts a thread that looks up an address or waits for a disk. A name server that is silent would keep
    the caller far beyond its deadline.
    """

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncauth")
        self._under_way: set[Future[Any]] = set()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future = super().submit(fn, *args, **kwargs)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        super().shutdown(wait and not self._under_way, cancel_futures=cancel_futures)


def short_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that can be closed whatever its threads do."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Threads())
    return loop


_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Unfinished]] = weakref.WeakKeyDictionary()


def collect_unfinished(loop: asyncio.AbstractEventLoop) -> list[Unfinished]:
    """Return the list of what is begun on a loop from now on, which is to be finished before the loop ends."""
    return _of_loop.setdefault(loop, [])


def note_unfinished(thing: Unfinished, loop: asyncio.AbstractEventLoop) -> None:
    """Add what begins on a loop to the loop's list, if it has one."""
    things = _of_loop.get(loop)
    if things is not None:
        things.append(thing)


async def finish(things: list[Unfinished], patience: float | None) -> None:
    """Return when everything in a loop's list has come to its end, and what that began as well.

    Args:
        things: The running loop's list.
        patience: Seconds for each of them; ``None``: as many as it takes.
    """
    while things:
        await things.pop().leave(patience)
