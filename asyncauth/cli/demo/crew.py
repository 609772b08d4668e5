"""The demo's crew: who sends its requests, with a manager for each system."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol, Self

import aiohttp
import attrs

from asyncauth._core.snapshot import status_of
from asyncauth.cli.demo.load import Load, Tally, quantile
from asyncauth.cli.demo.scene import POLICY
from asyncauth.manager import TokenManager, engine_of
from asyncauth.middleware import BearerAuth
from asyncauth.providers.pago_facil import PagoFacilJWT
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import TracebackType

    from asyncauth.sandbox import Sandbox
    from asyncauth.status import Status
    from asyncauth.stores import TokenStore

__all__ = ["Alone", "Crew", "Row", "Where", "rows_of", "tallies_at"]

_PATIENCE = 60.0
"""Seconds that a request may take: more than a refresh may."""
_CHAIN = ("  └ createToken", "    └ login")


class Crew(Protocol):
    """Sends the requests: this process alone, or several."""

    @property
    def workers(self) -> int:
        """How many processes."""
        ...

    @property
    def tallies(self) -> Sequence[Tally]:
        """What became of the requests, a tally for each system."""
        ...

    async def __aenter__(self) -> Self:
        """Get ready."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Leave nothing behind."""
        ...

    async def first(self) -> list[float]:
        """Send each system its first request; return their latencies in seconds, of several the longest."""
        ...

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Send requests for so many seconds, and wait for their answers; an event ends it early."""
        ...

    def statuses(self) -> list[Status]:
        """Return the status of every manager whose token goes to an API."""
        ...

    def rows(self) -> list[Row]:
        """Return the table's lines."""
        ...


@attrs.frozen
class Where:
    """What a client of both systems needs."""

    peakly: str
    pago_facil: str
    username: str
    password: str = attrs.field(repr=False)

    @classmethod
    def of(cls, sandbox: Sandbox) -> Where:
        """Return what a sandbox's clients need."""
        return cls(sandbox.peakly.url, sandbox.pago_facil.url, sandbox.username, sandbox.password)


@attrs.frozen
class Row:
    """A manager's line in the table; a fleet's managers of one kind share a line.

    Attributes:
        name: The system's name, and the step of a chain's other managers.
        state: ``fresh``, ``stale``, ``spent`` or ``empty``.
        seconds_left: For which its token is usable; ``None`` = it has none.
        refreshes: How many tokens it obtained.
        failed_tries: How many tries to obtain one failed.
        waiting: How many callers wait for one.
        waiting_for: Seconds for which the first of them has waited; ``None``: nobody waits.
        requests: API requests with its token; ``None`` = it serves the chain alone, as in the next three.
        failed: Those that failed.
        typical: The median latency since the last row, in seconds.
        slowest: The longest.
    """

    name: str
    state: str
    seconds_left: float | None
    refreshes: int
    failed_tries: int
    waiting: int = 0
    waiting_for: float | None = None
    requests: int | None = None
    failed: int | None = None
    typical: float | None = None
    slowest: float | None = None


class Alone:
    """This process.

    Args:
        where: The systems.
        rate: Requests a second, both systems together.
        store: Where its managers share their tokens with other processes.
    """

    workers = 1

    def __init__(self, where: Where, rate: float, store: TokenStore | None = None) -> None:
        name, password = where.username, where.password
        self.managers = (
            TokenManager(Peakly(username=name, password=password, base_url=where.peakly), store=store, policy=POLICY),
            TokenManager(
                PagoFacilJWT.from_password(username=name, password=password, base_url=where.pago_facil),
                store=store,
                policy=POLICY,
            ),
        )
        self.tallies = tallies_at(where)
        self._rate = rate
        self._load: Load | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for manager in self.managers:
            await self._stack.enter_async_context(manager)
        http = aiohttp.ClientSession(
            middlewares=(BearerAuth(*self.managers),), timeout=aiohttp.ClientTimeout(total=_PATIENCE)
        )
        self._load = Load(await self._stack.enter_async_context(http), self.tallies, self._rate)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def first(self) -> list[float]:
        """Send each system its first request; return their latencies in seconds."""
        assert self._load is not None  # noqa: S101 (entered)
        return await self._load.first()

    async def run(self, seconds: float, stop: asyncio.Event) -> None:
        """Send requests for so many seconds, and wait for their answers; an event ends it early."""
        assert self._load is not None  # noqa: S101
        await self._load.run(seconds, stop)

    def statuses(self) -> list[Status]:
        """Return the status of the managers whose token goes to an API."""
        return [manager.status() for manager in self.managers]

    def chain(self) -> list[Status]:
        """Return the status of the managers that Pago Fácil's chain has besides."""
        (create_token,) = engine_of(self.managers[1]).upstreams
        return [status_of(create_token), status_of(create_token.upstreams[0])]

    def rows(self) -> list[Row]:
        """Return a line for each manager, those of the chain's other steps included."""
        return rows_of(self.tallies, self.statuses(), self.chain())


def tallies_at(where: Where) -> tuple[Tally, Tally]:
    """Return an empty tally for each system's API."""
    return (
        Tally("Peakly", f"{where.peakly}/api/Ventas/Clientes/Page"),
        Tally("Pago Fácil", f"{where.pago_facil}/api/transactions"),
    )


def rows_of(tallies: Sequence[Tally], statuses: Sequence[Status], chain: Sequence[Status]) -> list[Row]:
    """Return a line for each system, and one for each of the chain's other steps."""
    rows: list[Row] = []
    for tally, status in zip(tallies, statuses, strict=True):
        recent = tally.recent()
        rows.append(
            attrs.evolve(
                _row(tally.name, status),
                requests=tally.requests,
                failed=tally.failed,
                typical=quantile(recent, 0.5),
                slowest=recent[-1] if recent else None,
            )
        )
    return rows + [_row(name, status) for name, status in zip(_CHAIN, chain, strict=True)]


def _row(name: str, status: Status) -> Row:
    return Row(
        name,
        status.state,
        status.seconds_left,
        status.refreshes,
        status.failures,
        status.waiting,
        status.waiting_for,
    )
