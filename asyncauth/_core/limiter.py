"""A limit on concurrent token requests, for the managers of a pool."""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from collections import deque
from typing import TYPE_CHECKING

from asyncauth._base.loops import LoopRef
from asyncauth.errors import AuthError, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncauth.clock import Clock

__all__ = ["LoopSlots", "RequestLimiter"]


class LoopSlots:
    """The slots on one event loop.

    Attributes:
        answered_at: When a token request with a slot was last answered, in seconds of the clock.
        loop: The loop.
        taken: How many slots are taken.
    """

    __slots__ = ("_limit", "_queue", "answered_at", "loop", "taken")

    def __init__(self, limit: int) -> None:
        self.loop = LoopRef()
        self.taken = 0
        self.answered_at = -math.inf
        self._limit = limit
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> bool:
        """Whether a slot can be taken without waiting."""
        return self.taken < self._limit and not self.queued

    @property
    def queued(self) -> int:
        """How many callers wait for a slot."""
        return sum(not waiter.done() for waiter in self._queue.copy())  # another thread may ask

    async def take(self, *, first: bool) -> None:
        """Wait for a slot and take it. Slots are taken in the order of the calls.

        Args:
            first: Whether to wait at the head of the queue.
        """
        if self.free:
            self.taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._queue.appendleft(waiter)
        else:
            self._queue.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # it got a slot at this very moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Release a slot: the next caller in the queue gets it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.taken -= 1


class RequestLimiter:
    """Hands out a limited number of slots per event loop, first come, first served.

    Each loop has its own slots, so a loop that is blocked, or ends, takes none from the others.

    Args:
        limit: How many slots may be taken at the same time, on each loop.
    """

    __slots__ = ("_slots", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopSlots] = weakref.WeakKeyDictionary()

    @property
    def taken(self) -> int:
        """How many slots are taken now, on all loops."""
        return sum(slots.taken for slots in self._open)

    @property
    def queued(self) -> int:
        """How many callers wait for a slot now, on all loops."""
        return sum(slots.queued for slots in self._open)

    @property
    def _open(self) -> list[LoopSlots]:
        """The slots of the loops that are neither closed nor of a parent process."""
        found: list[LoopSlots] = []
        for known in self._slots.keyrefs():  # all at once: another thread may add its loop meanwhile
            loop = known()
            if loop is not None and not (slots := self._slots[loop]).loop.lost:
                found.append(slots)
        return found

    def slots_here(self) -> LoopSlots:
        """Return the running loop's slots."""
        loop = asyncio.get_running_loop()
        slots = self._slots.get(loop)
        if slots is None:
            slots = self._slots[loop] = LoopSlots(self.limit)
        return slots

    @contextlib.asynccontextmanager
    async def slot(self, clock: Clock, patience: float, *, first: bool = False) -> AsyncGenerator[float, None]:
        """Wait for a slot, and keep it for the block, which makes a token request.

        Args:
            clock: The clock that counts the seconds.
            patience: Seconds to wait in a queue that does not move: each answer to a token request with a slot restarts
                the count. So callers wait to the end of a long queue while the endpoint answers, and give up after this
                time if it does not.
            first: Whether to wait at the head of the queue: the refresh had a slot before, and released it.

        Yields:
            How many seconds it waited for the slot.

        Raises:
            TokenEndpointUnavailable: No token request was answered for that long.
        """
        slots = self.slots_here()
        asked = clock.monotonic()
        await slots.take(first=first)
        try:
            now = clock.monotonic()
            if now - max(asked, slots.answered_at) > patience:
                raise TokenEndpointUnavailable(
                    f"no request before this one in the queue was answered for {patience:.3g} s: it was not sent",
                    advice="look at the token endpoint; if it answers, raise limit=",
                )
            try:
                yield now - asked
            except AuthError as error:
                if not error.transient:
                    slots.answered_at = clock.monotonic()
                raise
            slots.answered_at = clock.monotonic()
        finally:
            if not slots.loop.closed:  # else the garbage collector runs this, and the waiting callers are gone, too
                slots.give_back()
