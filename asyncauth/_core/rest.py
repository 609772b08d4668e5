"""The pause of a refresh between two tries, which any thread may end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from asyncauth._base.loops import call_soon

if TYPE_CHECKING:
    from asyncauth.clock import Clock

__all__ = ["Rest"]


@attrs.define(eq=False)
class Rest:
    """The pauses of one refresh. After each wake-up, the refresh computes anew how long to pause.

    Attributes:
        clock: The clock that counts the seconds.
        resting: Done when the pause ends; ``None``: there is no pause now.
        wakes: How often `wake` was called.
        leaving: Whether there are no more pauses: the event loop is about to end.
    """

    clock: Clock
    resting: asyncio.Future[None] | None = None
    wakes: int = 0
    leaving: bool = False

    def wake(self) -> None:
        """End the pause in progress. Any thread."""
        self.wakes += 1
        resting = self.resting
        if resting is not None:
            call_soon(resting.get_loop(), resting.cancel)  # or its loop was closed, and it with it

    def leave(self) -> None:
        """End the pause, and allow no other. Any thread."""
        self.leaving = True
        self.wake()

    async def take(self, seconds: float, wakes: int) -> None:
        """Pause until the time is up or `wake` is called.

        Args:
            seconds: For how long.
            wakes: The value of `wakes` when this was decided: if it has changed since, there is no pause.

        Raises:
            CancelledError: The loop is about to end. A waiting caller makes the next try on another one.
        """
        if self.leaving:
            raise asyncio.CancelledError
        resting = asyncio.ensure_future(self.clock.sleep(seconds))
        self.resting = resting
        try:
            if self.wakes == wakes:  # else another thread called wake() before there was something to cancel
                await asyncio.wait((resting,))
        finally:
            self.resting = None
            resting.cancel()
