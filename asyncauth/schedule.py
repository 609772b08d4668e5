"""One timer a loop, for all the managers that are kept fresh on it."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import logging
import math
import weakref
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from asyncauth.clock import Clock

__all__ = ["Schedule", "Timed"]

_LONGEST_SLEEP = 60.0
"""Seconds: a loop's clock stands still during suspend, so nobody sleeps by it for longer than this."""

_tickets = itertools.count(1)
"""Numbers for appointments, unique over all schedules: a client may move from one loop's to another's."""

_log = logging.getLogger("asyncauth.schedule")


class Timed(Protocol):
    """Something with an appointment, held weakly."""

    _ticket: int
    """The number of its current appointment on this schedule; others that are still listed are void."""

    def _on_time(self) -> None:
        """Keep the appointment: on the schedule's loop, without blocking."""
        ...


class Schedule:
    """The appointments on one loop, by one clock, behind one task that ends when there are none.

    Belongs to its loop: nothing of it may be called from another thread.
    """

    __slots__ = ("_clock", "_heap", "_task", "_wakes_at")

    _of_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Schedule]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, weakref.ref[Timed]]] = []
        self._task: asyncio.Task[None] | None = None
        self._wakes_at = math.inf

    @classmethod
    def here(cls, clock: Clock) -> Schedule:
        """Return the running loop's schedule for this clock."""
        of_clock = cls._of_loop.setdefault(asyncio.get_running_loop(), {})
        known = id(clock)  # the schedule holds it, so the number stays its own; a clock need not be hashable
        if known not in of_clock:
            of_clock[known] = cls(clock)
        return of_clock[known]

    def set(self, client: Timed, due: float) -> None:
        """Make an appointment in place of the client's last one.

        Args:
            client: Whose ``_on_time`` is called.
            due: When, in seconds of the clock's ``monotonic()``.
        """
        client._ticket = next(_tickets)
        heapq.heappush(self._heap, (due, client._ticket, weakref.ref(client)))
        if self._task is None or self._task.done() or due < self._wakes_at:
            self._restart()

    async def sweep(self) -> None:
        """Forget void appointments; when there are no others, return after the timer has ended."""
        self._discard_void()
        if not self._heap and (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait((task,))

    def _restart(self) -> None:
        if self._task is not None:
            self._task.cancel()
        loop = asyncio.get_running_loop()
        self._wakes_at = -math.inf
        self._task = loop.create_task(self._run(), context=contextvars.Context())

    def _discard_void(self) -> None:
        heap = self._heap
        while heap:
            _, ticket, ref = heap[0]
            client = ref()
            if client is not None and client._ticket == ticket:
                return
            heapq.heappop(heap)

    async def _run(self) -> None:
        while True:
            self._discard_void()
            if not self._heap:
                self._wakes_at = math.inf
                return
            now = self._clock.monotonic()
            due, _, ref = self._heap[0]
            if due <= now:
                heapq.heappop(self._heap)
                self._keep(ref)
                continue
            self._wakes_at = min(due, now + _LONGEST_SLEEP)
            await self._clock.sleep(self._wakes_at - now)

    @staticmethod
    def _keep(ref: weakref.ref[Timed]) -> None:
        client = ref()
        if client is None:
            return
        client._ticket = 0
        try:
            client._on_time()
        except Exception as error:  # noqa: BLE001 (one manager's fault must not end the timer of all)
            # The class alone: a text or a traceback from here may hold anything.
            _log.error("%r could not be renewed: %s", client, type(error).__name__)
