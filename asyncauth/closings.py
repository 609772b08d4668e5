"""Closings that are under way, for whoever would open again what is being closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncauth.flight import Flight

__all__ = ["Closings"]

_PATIENCE = 5.0
"""Seconds beyond its grace that a closing is waited for: its loop may have died in the middle."""


class Closings:
    """The closings of one manager or pool, on any loops: several may overlap, and each may be cancelled.

    Safe to use from any thread.
    """

    __slots__ = ("_guard", "_pending")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._pending: tuple[concurrent.futures.Future[None], ...] = ()

    @property
    def pending(self) -> tuple[concurrent.futures.Future[None], ...]:
        """What has not ended."""
        return tuple(each for each in self._pending if not each.done())

    def begin(self, *flights: Flight[Any]) -> concurrent.futures.Future[None]:
        """Note that a closing begins; return what to call ``set_result(None)`` on when it ends.

        Args:
            flights: What it ends. What they clear up may outlast it: who closes may be cancelled.
        """
        closing: concurrent.futures.Future[None] = concurrent.futures.Future()
        with self._guard:
            self._pending = (*self.pending, closing, *(flight.ended() for flight in flights))
        return closing

    async def wait(self, grace: float) -> None:
        """Return when nothing is being closed any more; or when it should not be.

        Args:
            grace: Seconds that a closing gives to what it ends.
        """
        deadline = asyncio.get_running_loop().time() + grace + _PATIENCE
        while pending := self.pending:  # another may begin meanwhile
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait([asyncio.wrap_future(each) for each in pending], timeout=max(0.0, left))
            if left <= 0:
                with self._guard:
                    self._pending = tuple(each for each in self._pending if each not in pending)
