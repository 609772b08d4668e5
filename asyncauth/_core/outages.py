"""Outages of token endpoints, as the tenants of a pool learn of them from each other: one asks, the others wait."""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncauth._core.failures import FailureMemory

__all__ = ["Outage", "Outages", "Prober"]


class Prober(Protocol):
    """A refresh that needs the endpoint."""

    def wake(self) -> None:
        """Have it look again for how long it rests."""
        ...


class Outage:
    """An endpoint's outage on one event loop.

    One refresh at a time is the prober, which makes the next try. After a failed try the next one is: what fails for
    one tenant alone keeps no other one waiting for longer than a pause.

    Args:
        failure: The memory of the failure that it began with.

    Attributes:
        failure: The memory of the tries in it.
    """

    __slots__ = ("_alone", "_prober", "_waiting", "failure")

    def __init__(self, failure: FailureMemory) -> None:
        self.failure = failure
        self._prober: Prober | None = None
        self._alone = False  # whether the prober has had its turn, and nobody was there to follow it
        self._waiting: dict[Prober, bool] = {}  # in their order; and whether callers wait for them

    def due(self, refresh: Prober, *, callers_wait: bool) -> float:
        """Return when a refresh is to make the next try; ``inf``: another one makes it.

        One that callers wait for takes the place of a prober without callers, or that failed last and was alone.
        """
        self._waiting[refresh] = callers_wait
        prober = self._prober
        if prober is not refresh and (
            prober is None or (callers_wait and (self._alone or not self._waiting.get(prober, False)))
        ):
            self._prober, self._alone = refresh, False
        return self.failure.due(callers_wait=callers_wait) if self._prober is refresh else math.inf

    def is_prober(self, refresh: Prober) -> bool:
        """Return whether a refresh is the one that makes the next try."""
        return self._prober is refresh

    def failed(self, refresh: Prober, failure: FailureMemory) -> None:
        """Note that the prober's try failed, and have the next one make the next. Others' failures are no news."""
        if self._prober in {refresh, None}:
            self.failure = failure
            self._waiting[refresh] = self._waiting.pop(refresh, False)
            self._pass_on()
            self._alone = self._prober is refresh

    def leave(self, refresh: Prober) -> None:
        """Note that a refresh has ended."""
        self._waiting.pop(refresh, None)
        if self._prober is refresh:
            self._pass_on()

    def _pass_on(self) -> None:
        hurried = (each for each, callers_wait in self._waiting.items() if callers_wait)
        self._prober = next(hurried, next(iter(self._waiting), None))
        if self._prober is not None:
            self._prober.wake()

    def end(self) -> None:
        """Wake everybody: the endpoint answers."""
        for each in self._waiting:
            each.wake()


class Outages:
    """The outages that are known on each event loop, by endpoint. Nothing of one loop concerns another."""

    __slots__ = ("_of_loop",)

    def __init__(self) -> None:
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Outage]] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> dict[str, Outage]:
        """Return the running loop's, to be read and changed."""
        try:
            return self._of_loop.setdefault(asyncio.get_running_loop(), {})
        except RuntimeError:  # asked by a refresh that is closed as garbage, after its loop
            return {}
