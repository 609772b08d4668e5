"""Closings that are under way, for whoever would open again what is being closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth._base.forks import new_guard
from asyncauth._base.loops import GLANCE, LoopRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncauth._core.flight import Flight

__all__ = ["Closings", "all_ended"]

_PATIENCE = 5.0
"""Seconds beyond its grace that a closing is waited for: what it ends may never end."""


@attrs.frozen(eq=False)
class _Ending:
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
        ended = [_Ending(flight.loop, flight.ended()) for flight in flights if flight.loop is not None]
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
