"""Flights that wait for each other: one manager's refresh may need another manager's token.

Any thread may start or end such a wait at any time, so each function reads copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asyncauth._core.waiters import Waiter
    from asyncauth._core.work import Work

__all__ = ["Link", "callers_wait", "leads_to", "nudge"]


class Link(Protocol):
    """A flight, as one of a chain."""

    done: bool
    """Whether it has an outcome."""

    @property
    def work(self) -> Work | None:
        """Its work; ``None``: it has yet to begin, or can't be hurried."""
        ...

    @property
    def waits_for(self) -> Sequence[Link]:
        """The flights that its work waits for now."""
        ...

    @property
    def pending(self) -> Iterator[Waiter]:
        """The waiting callers, and the work of other flights that wait for it."""
        ...


def leads_to(flight: Link, other: Link) -> bool:
    """Return whether a flight is the other one, or waits for it directly or through other flights."""
    unseen, seen = [flight], set[int]()
    while unseen:
        each = unseen.pop()
        if each is other:
            return True
        if id(each) not in seen:
            seen.add(id(each))
            unseen += each.waits_for
    return False


def nudge(flight: Link) -> None:
    """Tell a flight's work, and that of the flights that it waits for, that a caller waits now."""
    unseen = [flight]
    while unseen:
        each = unseen.pop()
        work = each.work  # read once: the work may end in another thread
        if work is not None:
            work.nudge()
        unseen += each.waits_for


def callers_wait(flight: Link) -> bool:
    """Return whether a caller waits for a flight, or for one that waits for it, and so on."""
    unseen = [flight]  # a chain has an end: none waits for itself
    while unseen:
        for _, _, behalf in unseen.pop().pending:
            if behalf is None or behalf.done:
                return True
            unseen.append(behalf)
    return False
