"""Event loops that last for one call, and the work that must finish before they end.

A caller without an event loop gets one for each call that needs I/O (`Blocking`). Work that the call starts and nobody
awaits, such as the renewal of a token that is still usable, would be lost with the loop.
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
    """Work in progress on an event loop that nobody waits for, such as a save in the background."""

    async def leave(self, patience: float | None) -> None:
        """Return when it no longer needs the loop. On its own loop only.

        Args:
            patience: Seconds to wait for it; ``None``: no limit.
        """
        ...


class _Threads(ThreadPoolExecutor):
    """A short loop's threads. Idle threads end with the loop, which does not wait for busy ones.

    Nothing can interrupt a thread that resolves a host name or waits for a disk. With a name server that does not
    answer, the call would last far beyond its deadline.
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
    """Return the list of the work that starts on a loop from now on, and must finish before the loop ends."""
    return _of_loop.setdefault(loop, [])


def note_unfinished(thing: Unfinished, loop: asyncio.AbstractEventLoop) -> None:
    """Add work that starts on a loop to the loop's list, if it has one."""
    things = _of_loop.get(loop)
    if things is not None:
        things.append(thing)


async def finish(things: list[Unfinished], patience: float | None) -> None:
    """Return when all work in a loop's list has finished, as well as the work that it started.

    Args:
        things: The running loop's list.
        patience: Seconds for each item; ``None``: no limit.
    """
    while things:
        await things.pop().leave(patience)
