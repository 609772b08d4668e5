"""The rest of a refresh between two tries, which any thread may end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncauth._base.loops import call_soon

if TYPE_CHECKING:
    from asyncauth.clock import Clock

__all__ = ["Rest"]


class Rest:
    """Where a refresh rests. When it is woken, the refresh looks again for how long to rest.

    Args:
        clock: What the seconds are counted by.

    Attributes:
        resting: What ends when the rest does; ``None``: the refresh does not rest.
        wakes: How often it was woken.
        leaving: Whether it rests no more: the event loop is about to end.
    """

    __slots__ = ("_clock", "leaving", "resting", "wakes")

    def __init__(self, clock: Clock) -> None:
        self.wakes = 0
        self.leaving = False
        self._clock = clock
        self.resting: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the rest that is under way. Any thread."""
        self.wakes += 1
        resting = self.resting
        if resting is not None:
            call_soon(resting.get_loop(), resting.cancel)  # or its loop was closed, and it with it

    def leave(self) -> None:
        """End the rest, and let there be no other. Any thread."""
        self.leaving = True
        self.wake()

    async def take(self, seconds: float, wakes: int) -> None:
        """Rest until the time is up or `wake` is called.

        Args:
            seconds: For how long.
            wakes: What `wakes` was before that was decided on: if it has changed since, there is no rest.

        Raises:
            CancelledError: The loop is about to end. A waiting caller makes the next try on another one.
        """
        if self.leaving:
            raise asyncio.CancelledError
        resting = asyncio.ensure_future(self._clock.sleep(seconds))
        self.resting = resting
        try:
            if self.wakes == wakes:  # else another thread's came before there was something to cancel
                await asyncio.wait((resting,))
        finally:
            self.resting = None
            resting.cancel()
