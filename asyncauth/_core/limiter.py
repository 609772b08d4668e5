"""A bound on how many token requests are under way at once, for managers that share an endpoint's patience."""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from typing import TYPE_CHECKING

from asyncauth.errors import AuthError, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncauth.clock import Clock

__all__ = ["Gate", "Lane"]


class Lane:
    """The turns on one event loop.

    Attributes:
        answered_at: When a turn last brought an answer, in seconds of the clock.
        queued: How many wait for a turn.
        taken: How many turns are taken.
        turns: What hands them out.
    """

    __slots__ = ("answered_at", "queued", "taken", "turns")

    def __init__(self, limit: int) -> None:
        self.turns = asyncio.Semaphore(limit)  # hands them out in the order in which they were asked for
        self.taken = self.queued = 0
        self.answered_at = -math.inf


class Gate:
    """Hands out turns: so many at a time on each event loop, first come, first served.

    Each loop has turns of its own, so that one which stands still, or ends, takes none from the others.

    Args:
        limit: How many turns may be taken at the same time, on each loop.
    """

    __slots__ = ("_lanes", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = weakref.WeakKeyDictionary()

    @property
    def taken(self) -> int:
        """How many turns are taken now, on all loops."""
        return sum(lane.taken for lane in self._open)

    @property
    def queued(self) -> int:
        """How many wait for a turn now, on all loops."""
        return sum(lane.queued for lane in self._open)

    @property
    def _open(self) -> list[Lane]:
        """The lanes of loops that are not closed."""
        lanes: list[Lane] = []
        for known in self._lanes.keyrefs():  # all at once: another thread may add its loop meanwhile
            loop = known()
            if loop is not None and not loop.is_closed():
                lanes.append(self._lanes[loop])
        return lanes

    def lane(self) -> Lane:
        """Return the running loop's turns."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None:
            lane = self._lanes[loop] = Lane(self.limit)
        return lane

    @contextlib.asynccontextmanager
    async def turn(self, clock: Clock, patience: float) -> AsyncGenerator[float, None]:
        """Wait for a turn, and keep it for the block, in which a token is asked for.

        Args:
            clock: What the seconds are counted by.
            patience: Seconds to wait in a queue that does not move: each answer that another's turn brought starts
                the count anew. So a long queue is waited for to its end while the endpoint serves, and given up,
                by all who have waited for so long, when it does not.

        Yields:
            How many seconds the turn was waited for.

        Raises:
            TokenEndpointUnavailable: Nobody was answered for as long as that.
        """
        loop, lane = asyncio.get_running_loop(), self.lane()
        asked = clock.monotonic()
        lane.queued += 1
        try:
            await lane.turns.acquire()
        finally:
            lane.queued -= 1
        lane.taken += 1
        try:
            now = clock.monotonic()
            if now - max(asked, lane.answered_at) > patience:
                raise TokenEndpointUnavailable(
                    f"no request before this one in the queue was answered for {patience:.3g} s: it was not sent"
                )
            try:
                yield now - asked
            except AuthError as error:
                if not error.transient:
                    lane.answered_at = clock.monotonic()
                raise
            lane.answered_at = clock.monotonic()
        finally:
            lane.taken -= 1
            if not loop.is_closed():  # else this is the garbage collector, and those who wait are gone as well
                lane.turns.release()
