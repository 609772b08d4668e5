"""What the stories write into: figures for the tables, goals with what was reached."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs

from benchmarks.kit import Server
from benchmarks.peers import BASES, PEERS, Ours, Peer, opened


@attrs.define
class Goal:
    """One goal: reached if the value is within the limit.

    Attributes:
        what: Of what.
        limit: The most (the least, if `at_least`) that it may be.
        value: What was measured; ``None`` = it could not be.
        unit: ``"×"`` or a word.
        note: What else there is to know.
        counts: Whether it counts something, so that it holds on any machine at any load.
        at_least: Whether the value must be at least the limit.
    """

    what: str
    limit: float
    value: float | None
    unit: str = "×"
    note: str = ""
    counts: bool = False
    at_least: bool = False

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@attrs.define
class Run:
    """One run of the benchmark.

    Attributes:
        server: The server.
        session: The client session of all aiohttp variants.
        quick: Whether only what is counted matters.
        tick: Moves the progress bar one step on.
        figures: What was measured, by story.
        goals: What was to be reached.
        missing: Peers that can't be measured, and why.
        failed: How many stories ended with an error.
    """

    server: Server
    session: aiohttp.ClientSession
    quick: bool
    tick: Callable[[], None]
    figures: dict[str, Any] = attrs.field(factory=dict[str, Any])
    goals: list[Goal] = attrs.field(factory=list[Goal])
    missing: dict[str, str] = attrs.field(factory=dict[str, str])
    failed: int = 0

    def goal(self, what: str, limit: float, value: float | None, unit: str = "×", **more: Any) -> None:
        self.goals.append(Goal(what, limit, value, unit, **more))

    async def peers(self, *, bases: bool = False) -> list[Peer]:
        """Return the peers that can be opened, each anew; in a quick run none."""
        if self.quick:
            return []
        await self.server.reset()
        ready, missing = await opened([*(BASES if bases else ()), *PEERS], self.server, self.session)
        self.missing |= missing
        return ready

    async def each_peer(self, **settings: object) -> AsyncIterator[Peer]:
        """Give one peer after another, opened under these settings of the server; in a quick run none."""
        for kind in () if self.quick else PEERS:
            await self.server.reset(**settings)
            ready, missing = await opened([kind], self.server, self.session)
            self.missing |= missing
            for peer in ready:
                yield peer
                with contextlib.suppress(Exception):
                    await peer.close()

    async def ours(self, kind: type[Ours] = Ours) -> Ours:
        peer = kind(self.server, self.session)
        await peer.open()
        return peer
