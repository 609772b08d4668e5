"""Event loops that last for one call, and what has to come to its end before they do.

A caller without an event loop gets one for each call that needs I/O (`Blocking`). What that call begins and
nobody awaits, such as the renewal of a token that is still usable, would be lost with the loop.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["Unfinished", "collect_unfinished", "finish", "note_unfinished"]


class Unfinished(Protocol):
    """Something that is under way on an event loop, whoever waits for it."""

    async def leave(self, patience: float | None) -> None:
        """Return when nothing of it needs the loop any more. On its own loop only.

        Args:
            patience: Seconds for what is under way; ``None``: as many as it takes.
        """
        ...


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
