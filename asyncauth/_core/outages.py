"""What the tenants of a pool tell each other about a token endpoint that is down: one asks it, the others wait."""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import TYPE_CHECKING, Protocol

from asyncauth._core.failures import is_outage, remember_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth._core.failures import FailureMemory
    from asyncauth.errors import AuthError
    from asyncauth.policy import RefreshPolicy

__all__ = ["EndpointNews", "Outage", "Outages", "Prober"]


class Prober(Protocol):
    """A refresh that needs the endpoint."""

    def wake(self) -> None:
        """Make it check again when its next try is due."""
        ...


class Outage:
    """An endpoint's outage on one event loop.

    One refresh at a time is the prober, which makes the next try. After a failed try, another refresh becomes the
    prober: a problem of a single tenant makes the others wait for one pause at most.

    Args:
        failure: The memory of the failure that it began with.

    Attributes:
        failure: The memory of the tries in it.
    """

    __slots__ = ("_alone", "_prober", "_waiting", "failure")

    def __init__(self, failure: FailureMemory) -> None:
        self.failure = failure
        self._prober: Prober | None = None
        self._alone = False  # whether the prober's last try failed, and no other refresh could take its place
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
        """Note that the prober's try failed, and let the next refresh make a try. Other failures are ignored."""
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
    """The known outages by endpoint, separate for each event loop."""

    __slots__ = ("_of_loop",)

    def __init__(self) -> None:
        self._of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Outage]] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> dict[str, Outage]:
        """Return the running loop's, to be read and changed."""
        try:
            return self._of_loop.setdefault(asyncio.get_running_loop(), {})
        except RuntimeError:  # called by a refresh that is collected after its loop was closed
            return {}


class EndpointNews:
    """What one refresh learns about its endpoint from the other tenants of a pool, and tells them.

    Args:
        outages: The pool's.
        endpoint: The endpoint's address.
        refresh: The refresh to wake when there is news.
    """

    __slots__ = ("_outages", "_refresh", "endpoint")

    def __init__(self, outages: Outages, endpoint: str, refresh: Prober) -> None:
        self.endpoint = endpoint
        self._outages = outages
        self._refresh = refresh

    @property
    def _outage(self) -> Outage | None:
        return self._outages.here().get(self.endpoint)

    def due(self, *, callers_wait: bool) -> float:
        """Return when the refresh is to make its next try: now (``-inf``), later, or ``inf``: another one makes it."""
        outage = self._outage
        return -math.inf if outage is None else outage.due(self._refresh, callers_wait=callers_wait)

    @property
    def is_others_turn(self) -> bool:
        """Whether another refresh is to make the next try."""
        outage = self._outage
        return outage is not None and not outage.is_prober(self._refresh)

    def tell(
        self,
        error: AuthError | None,
        policy: RefreshPolicy,
        *,
        now: float,
        deadline: float,
        random: Callable[[], float],
    ) -> None:
        """Tell whether the endpoint answers.

        Args:
            error: How the try failed; ``None``: it has brought a token.
            policy: See `remember_failure`, as for the others.
            now: The clock's seconds.
            deadline: When the refresh gives up.
            random: Returns a number from 0 to 1.
        """
        outages = self._outages.here()
        outage = outages.get(self.endpoint)
        if error is not None and is_outage(error):
            before = None if outage is None else outage.failure
            bare = error.again()  # without its traceback, whose frames hold the whole refresh
            failure = remember_failure(bare, before, policy, now=now, deadline=deadline, unit_random=random())
            if outage is None:
                outage = outages[self.endpoint] = Outage(failure)
            outage.failed(self._refresh, failure)
        elif outage is not None and (error is None or not error.transient):
            del outages[self.endpoint]
            outage.end()

    def leave(self) -> None:
        """Note that the refresh has ended."""
        outage = self._outage
        if outage is not None:
            outage.leave(self._refresh)
