"""The work of a flight, as the flight and its callers see it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Work"]


class Work(Protocol):
    """Work that may rest for a while."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way at the moment."""
        ...

    @property
    def due(self) -> float:
        """When it should have ended, in seconds of the clock's ``monotonic()``. Any thread."""
        ...

    def expire(self) -> None:
        """End the request in progress, if there is one: its time is over. On its loop only."""
        ...

    def retry_now(self) -> None:
        """Let it go on at once, if it rests. Any thread."""
        ...

    def nudge(self) -> None:
        """Have it look again for how long it rests, since callers wait for it now. Any thread."""
        ...

    def leave(self) -> None:
        """Have it end as soon as nothing is under way: its loop is about to end. Any thread."""
        ...

    def abandon(self) -> None:
        """Keep what has come of it, if anything has, and send nothing more. Any thread."""
        ...
