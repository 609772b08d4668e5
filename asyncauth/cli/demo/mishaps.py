"""What goes wrong in the demo, and when: a revocation, an outage and a slow spell of the token endpoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncauth.sandbox import Sandbox
    from asyncauth.status import Status

__all__ = ["Mishap", "Mishaps"]

_FULL_RUN = 20.0
"""Seconds of a run whose mishaps have their full length; a shorter one's are shorter in proportion."""
_REVOCATION_AT, _OUTAGE_FROM, _SLOW_FROM, _SLOW_UNTIL = 0.23, 0.45, 0.72, 0.95
"""Shares of the run."""
_OUTAGE_BY = 0.60
"""Share of the run by which the outage begins even if no renewal comes due."""
_SLOW_BY = 0.85
"""Share of the run by which the slow spell begins even if a manager has no usable token."""
_OUTAGE = 2.0
_SLOWNESS = 0.5
_GLANCE = 0.005
_AHEAD = 0.2
"""Seconds before a renewal is due at which the outage begins."""


@attrs.define
class Mishap:
    """One thing that went wrong.

    Attributes:
        name: ``revocation``, ``outage`` or ``slow endpoint``.
        text: What happened, for people.
        at: When it began, in seconds of the loop's clock.
        seconds: How long it lasted.
        waits_before: How many requests had waited for a token until it began.
    """

    name: str
    text: str
    at: float
    seconds: float
    waits_before: int


@attrs.define
class Mishaps:
    """The script of a run.

    Attributes:
        sandbox: Where things go wrong.
        statuses: Tells how the managers are whose renewals the outage is to hit.
        seconds: The run's length.
        announce: Told of each mishap in words.
        happened: Those that have begun.
    """

    sandbox: Sandbox
    statuses: Callable[[], Sequence[Status]]
    seconds: float
    announce: Callable[[str], None]
    happened: list[Mishap] = attrs.field(factory=list[Mishap])

    async def run(self) -> None:
        """Play the script, from now on."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._until(started, _REVOCATION_AT)
        self._begin("revocation", "every token of both systems is revoked", 0.0)
        await asyncio.to_thread(self.sandbox.revoke)

        await self._until(started, _OUTAGE_FROM)
        await self._once(self._renewal_near, started + _OUTAGE_BY * self.seconds)
        length = _OUTAGE * self._scale
        self._begin("outage", f"the token endpoints are down for {length:.3g} s, just before a renewal is due", length)
        self.sandbox.peakly.token_faults.disconnect()
        self.sandbox.pago_facil.token_faults.server_error(503)
        await asyncio.sleep(length)
        for system in self.sandbox.systems.values():
            system.token_faults.clear()
        self.announce("the token endpoints answer again")

        await self._until(started, _SLOW_FROM)
        await self._once(self._recovered, started + _SLOW_BY * self.seconds)
        latency = _SLOWNESS * self._scale
        length = max(
            latency, started + _SLOW_UNTIL * self.seconds - loop.time()
        )  # one answer's, if the machine is late
        self._begin("slow endpoint", f"the token endpoints take {latency:.3g} s per answer, for {length:.3g} s", length)
        self.sandbox.configure(token_latency=latency)
        await asyncio.sleep(length)
        self.sandbox.configure(token_latency=0.0)
        self.announce("the token endpoints are as fast as before")

    def waits(self) -> int:
        """Return how many requests have had to wait for a token so far."""
        return sum(status.waits for status in self.statuses())

    @property
    def _scale(self) -> float:
        return min(1.0, self.seconds / _FULL_RUN)

    async def _until(self, started: float, share: float) -> None:
        await asyncio.sleep(started + share * self.seconds - asyncio.get_running_loop().time())

    def _renewal_near(self) -> bool:
        """Return whether a renewal comes due shortly, so that the outage can't fall between renewals."""
        ahead = _AHEAD * self._scale
        return any(0 < (status.next_refresh_in or 0.0) <= ahead for status in self.statuses())

    def _recovered(self) -> bool:
        """Return whether every manager has a usable token, so that waits are put down to what caused them."""
        return all(status.state in {"fresh", "stale"} for status in self.statuses())

    @staticmethod
    async def _once(condition: Callable[[], bool], at_last: float) -> None:
        """Return when something has come true, or at that moment of the loop's clock."""
        loop = asyncio.get_running_loop()
        while loop.time() < at_last:
            if condition():
                return
            await asyncio.sleep(_GLANCE)

    def _begin(self, name: str, text: str, seconds: float) -> None:
        self.happened.append(Mishap(name, text, asyncio.get_running_loop().time(), seconds, self.waits()))
        self.announce(text)
