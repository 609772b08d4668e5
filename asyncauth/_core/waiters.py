"""The callers on one event loop that wait for the same outcome, each on its own future."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from asyncauth._base.loops import call_soon

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Failure", "Waiter", "Waiters"]


class Failure(Protocol):
    """An exception that several callers get."""

    def again(self) -> Exception:
        """Return an exception of the same class that says the same, for one caller."""
        ...


Waiter = tuple[asyncio.Future[Any], float, Any]
"""The future that a caller awaits; when its wait began, in seconds of the manager's clock; and the flight for whose
work it waits, ``None`` for a caller of its own."""


@attrs.define(eq=False)
class Waiters:
    """The callers on one event loop that wait for the same outcome.

    A caller that is cancelled cancels its own future, and affects no other caller.

    Attributes:
        loop: Their event loop.
        entries: The callers since the last release, in the order in which they came, including cancelled ones. A caller
            is appended on its own loop only, and without a method, since ten thousand may come at once.
    """

    loop: asyncio.AbstractEventLoop
    entries: list[Waiter] = attrs.field(factory=list[Waiter], init=False)

    @property
    def pending(self) -> Iterator[Waiter]:
        """The callers that still wait, in the order in which they came. Any thread."""
        return (waiter for waiter in self.entries if not waiter[0].done())

    @property
    def waiting(self) -> int:
        """How many still wait. Any thread."""
        return len([None for future, _, _ in self.entries if not future.done()])  # quicker than a generator

    @property
    def told(self) -> bool:
        """Whether the last caller but one still waits, and is a caller of its own: it said that callers wait."""
        entries = self.entries
        return len(entries) > 1 and entries[-2][2] is None and not entries[-2][0].done()

    def release(self, result: object, failure: Failure | None) -> None:
        """Give every caller that waits its outcome. Any thread.

        Callers on the running loop have it when this returns. On another loop they get it before anything else runs
        there, and all by one call. On a closed loop nobody is left.

        Args:
            result: What they get.
            failure: What each gets an exception of its own of; ``None``: nothing failed.
        """
        try:
            is_here = asyncio.get_running_loop() is self.loop
        except RuntimeError:  # there is none, as in a task that is closed as garbage after its loop
            is_here = False
        if is_here:
            self.release_here(result, failure)
        else:
            call_soon(self.loop, self.release_here, result, failure)

    def release_here(self, result: object, failure: Failure | None) -> None:
        """Do as `release` does. On their own loop only."""
        for future, _, _ in self.entries:
            if future.done():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure.again())
                future.exception()  # marks it as retrieved: a caller's loop may end before the caller does
        self.entries.clear()  # last: if this is interrupted, the next call releases the others
