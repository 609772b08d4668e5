"""One timer per event loop, for all the managers that are kept fresh on it."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import math
import weakref
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from asyncauth.clock import Clock

__all__ = ["Finder", "Timer", "TimerClient", "TimerHandle"]

_LONGEST_SLEEP = 60.0
"""Seconds: a loop's clock stands still during suspend, so nobody sleeps by it for longer than this."""

_FEW = 64
"""The number of handles below which void ones are not searched for."""

_log = logging.getLogger("asyncauth.schedule")


Finder: TypeAlias = "Callable[..., TimerClient | None]"


class TimerClient(Protocol):
    """Something that the timer calls, held weakly."""

    timer_handle: TimerHandle | None
    """Its current handle, on whichever loop; others that are still listed are void."""

    def found_by(self) -> tuple[Finder, Hashable]:
        """Return a function that finds it without holding it, and the argument for it; ``None``: no argument."""
        ...

    def on_time(self) -> None:
        """Do what is due: on the timer's loop, without blocking."""
        ...


class TimerHandle(float):
    """When a client, held weakly, is due: a number that a heap compares without a call into Python.

    One object per handle, for there may be 100,000 of them.
    """

    __slots__ = ("_find", "_key")

    _find: Finder
    _key: Hashable

    def __new__(cls, client: TimerClient, due: float) -> Self:
        """Return the handle. ``due`` is in seconds of the timer's clock."""
        self = super().__new__(cls, due)  # so called because this stands in for `__init__`
        # Many clients share this function: a weak reference for each would take more memory than everything else.
        self._find, self._key = client.found_by()
        return self

    @property
    def client(self) -> TimerClient | None:
        """The client; ``None``: the handle is void. The client is gone, or has another handle or none."""
        client = self._find() if self._key is None else self._find(self._key)
        return client if client is not None and client.timer_handle is self else None


class Timer:
    """The handles on one event loop for one clock, and the task that waits for the next one.

    Belongs to its loop: no method may be called from another thread.
    """

    __slots__ = ("_clock", "_loop", "_many", "_task", "_wakes_at", "heap")

    _of_loop: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Timer]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = weakref.ref(asyncio.get_running_loop())  # which holds the timer
        self.heap: list[TimerHandle] = []
        self._many = _FEW
        self._task: asyncio.Task[None] | None = None
        self._wakes_at = math.inf

    @classmethod
    def here(cls, clock: Clock) -> Timer:
        """Return the running loop's timer for this clock."""
        of_clock = cls._of_loop.setdefault(asyncio.get_running_loop(), {})
        known = id(clock)  # the timer holds it, so the number stays its own; a clock need not be hashable
        if known not in of_clock:
            of_clock[known] = cls(clock)
        return of_clock[known]

    @property
    def is_here(self) -> bool:
        """Whether it belongs to the running loop."""
        return self._loop() is asyncio.get_running_loop()

    def set(self, client: TimerClient, due: float) -> None:
        """Call the client when it is due. Replaces its last handle.

        Args:
            client: The object whose ``on_time`` is called.
            due: When, in seconds of the clock's ``monotonic()``.
        """
        if len(self.heap) >= self._many:
            self._forget_void()
        client.timer_handle = handle = TimerHandle(client, due)
        heapq.heappush(self.heap, handle)
        if self._task is None or self._task.done() or due < self._wakes_at:
            self._restart()

    async def sweep(self) -> None:
        """Drop void handles. If there are no others, return after the timer's task has ended."""
        self._discard_void()
        if not self.heap and (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait((task,))

    def _restart(self) -> None:
        if self._task is not None:
            self._task.cancel()
        loop = asyncio.get_running_loop()
        self._wakes_at = -math.inf
        self._task = loop.create_task(self._run(), context=contextvars.Context())

    def _forget_void(self) -> None:
        """Keep the list short when clients come and go: in the long run, at most half of it is void."""
        self.heap = [handle for handle in self.heap if handle.client is not None]
        heapq.heapify(self.heap)
        self._many = max(_FEW, 2 * len(self.heap))

    def _discard_void(self) -> None:
        while self.heap and self.heap[0].client is None:
            heapq.heappop(self.heap)

    async def _run(self) -> None:
        if self._task is not asyncio.current_task():  # pragma: no cover (an eager task, since 3.12: `set` is making it)
            await asyncio.sleep(0)
        while True:
            self._discard_void()
            if not self.heap:
                self._wakes_at = math.inf
                return
            now = self._clock.monotonic()
            due = self.heap[0]
            if due <= now:
                self.wake(heapq.heappop(self.heap))
                continue
            self._wakes_at = min(due, now + _LONGEST_SLEEP)
            await self._clock.sleep(self._wakes_at - now)

    @staticmethod
    def wake(handle: TimerHandle) -> None:
        """Call a client that is due."""
        client = handle.client
        if client is None:
            return
        client.timer_handle = None
        try:
            client.on_time()
        except Exception as error:  # noqa: BLE001 (one manager's fault must not end the timer of all)
            # The class alone: a text or a traceback from here may hold anything.
            _log.error(
                "%r could not be renewed by its timer: %s; its callers renew it: report this bug",
                client,
                type(error).__name__,
            )
