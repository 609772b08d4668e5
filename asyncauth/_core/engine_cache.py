"""Many tenants' engines: made on demand, and closed when they are the least recently used ones, or idle."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncauth._core.engine import TokenEngine
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import end
from asyncauth._core.lifecycle import Lifecycle
from asyncauth._core.timer import Timer
from asyncauth._core.user_code import call_user, sanitize
from asyncauth._core.waiters import FlightOrphaned
from asyncauth.clock import within
from asyncauth.errors import ManagerClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from asyncauth._core.limiter import RequestLimiter
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.timer import Finder
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["EngineCache"]

Key = TypeVar("Key", bound=Hashable)

_SWEEPS = 32
"""How many times per idle timeout idle engines are looked for at most: waking up each second for one that becomes
idle each second would cost more than it saves."""


class EngineCache(Lifecycle, Generic[Key]):
    """Keeps an engine for each tenant, under one lock with all of them: what it guards takes no time.

    A retired engine lives on for those who hold it, and comes back when it is used: a tenant never has two.

    Concurrency: any number of tasks, threads and event loops.

    Args:
        factory: Makes a tenant's provider, see `ManagerPool`.
        runtime: What it works with. The engines share its sessions and listeners.
        limiter: Where the engines' refreshes wait for a slot.
        store: Where the engines share their tokens with other processes; ``None``: with none.
        max_size: How many engines are kept open; ``None``: any number.
        idle_timeout: Seconds without use after which one is closed; infinity: never.

    Attributes:
        limiter: As given.
        engines: Those that are open, the least recently used first.
        retired: Those that are not, and that somebody still holds.
        busy: Those with a refresh under way.
        making: The calls of the factory that are under way.
        made: How many engines were made.
        dropped: How many were closed for want of use, or of room.
        find: Finds an open engine by its tenant's key.
    """

    def __init__(
        self,
        factory: Callable[[Key], Provider | Awaitable[Provider]],
        runtime: Runtime,
        limiter: RequestLimiter,
        *,
        store: TokenStore | None,
        max_size: int | None,
        idle_timeout: float,
    ) -> None:
        super().__init__(runtime)
        self.limiter = limiter
        self.engines: OrderedDict[Key, TokenEngine] = OrderedDict()
        self.retired: weakref.WeakValueDictionary[Key, TokenEngine] = weakref.WeakValueDictionary()
        self.busy: set[TokenEngine] = set()
        self.making: dict[Key, Flight[TokenEngine]] = {}
        self.made = self.dropped = 0
        self.find: Finder = partial(_found, weakref.ref(self))
        self._factory = factory
        self._shared = runtime.shared()
        self._store = store
        self._max_size = max_size
        self._idle_timeout = idle_timeout

    def __repr__(self) -> str:
        return f"<ManagerPool of {len(self.engines)}>"  # which warnings name

    # How engines come

    def known(self, key: Key) -> TokenEngine | None:
        """Return a tenant's engine, and take note that somebody uses it; ``None``: there is none yet."""
        with self.runtime.guard:
            engine = self.engines.get(key) or self.retired.get(key)
            if engine is not None:
                self.note_use(engine)
            return engine

    async def get(self, key: Key) -> TokenEngine:
        """Return a tenant's engine, see `ManagerPool.get`."""
        while True:
            with self.runtime.guard:
                engine = self.known(key)
                if engine is not None:
                    return engine
                self.check_open()
                making = self.making.get(key)
                if making is None or making.finished:
                    making = self.making[key] = Flight(self.runtime.clock)
                    making.start(partial(self._make, key, making), self.runtime.policy.deadline)
            try:
                return await making.wait()
            except FlightOrphaned:
                self._no_longer_making(key, making)

    async def _make(self, key: Key, making: Flight[TokenEngine]) -> TokenEngine:
        """Make a tenant's engine, as the one flight that all who ask for it wait for."""
        try:
            provider = call_user(self._factory, key)
            if inspect.isawaitable(provider):
                provider = await within(self.runtime.clock, self.runtime.policy.deadline, provider)
            engine = TokenEngine(provider, self._shared, store=self._store, tenant=key, keeper=self)
        except Exception as error:  # noqa: BLE001 (a factory may raise anything)
            problem = sanitize(error, "the pool's factory")
        else:
            with self.runtime.guard:
                self.made += 1
                self.note_use(engine)
            return engine
        finally:
            self._no_longer_making(key, making)
        raise problem

    def _no_longer_making(self, key: Key, making: Flight[TokenEngine]) -> None:
        with self.runtime.guard:
            if self.making.get(key) is making:
                del self.making[key]

    def check_open(self) -> None:
        """Raise `ManagerClosed` if this was closed."""
        if self.closed:
            raise ManagerClosed("the pool was closed", advice="use it inside its 'async with'")

    def note_use(self, engine: TokenEngine) -> None:
        """Take note that somebody uses an engine, and have it back if it was retired. Raises as `check_open` does."""
        with self.runtime.guard:
            self.check_open()
            engine.used_at = self.runtime.clock.monotonic()
            key: Any = engine.tenant
            if key in self.engines:
                self.engines.move_to_end(key)
            else:
                self.engines[key] = engine
                self.retired.pop(key, None)
                self._make_room(spare=engine)
            if engine.closed and not engine.closing:
                engine.open()

    async def ready(self, engine: TokenEngine) -> None:
        """Return when an engine can be opened again, if somebody who holds it is closing it.

        Raises as `check_open` does.
        """
        if engine.closing:
            self.check_open()
            await engine.wait_for_closings()

    def note_flight(self, engine: TokenEngine) -> None:
        """Take note that a refresh is under way. Under the guard."""
        self.busy.add(engine)

    def note_flight_ended(self, engine: TokenEngine) -> None:
        """Take note that a refresh has ended."""
        with self.runtime.guard:  # another may be under way by now
            if engine.flight is None:
                self.busy.discard(engine)
                self._make_room()

    # How they go

    def _make_room(self, *, spare: TokenEngine | None = None) -> None:
        """Retire idle engines: those beyond the size, and those that nobody has used for long.

        Args:
            spare: One that is about to be used: an idle one, and the last of all.
        """
        now = self.runtime.clock.monotonic()
        # The oldest whose refresh was lost with its loop, or interrupted: nobody has asked since.
        for engine in list(itertools.takewhile(self._is_busy_no_more, self.engines.values())):
            engine.forget_orphaned()
            self.busy.discard(engine)
        idle = len(self.engines.keys()) - len(self.busy) - (spare is not None)
        while idle > 0:
            if self._max_size is not None and len(self.engines) > self._max_size:
                oldest = next(engine for engine in self.engines.values() if engine not in self.busy)
            else:
                oldest = next(iter(self.engines.values()))
                if oldest.used_at + self._idle_timeout > now or oldest in self.busy:
                    return
            self._retire(oldest)
            self.dropped += 1
            idle -= 1

    def _is_busy_no_more(self, engine: TokenEngine) -> bool:
        flight = engine.flight
        return engine in self.busy if flight is None else flight.finished

    def _retire(self, engine: TokenEngine) -> None:
        """Let an engine go, out of the cache and the timer: it is there for those who hold it alone."""
        key: Any = engine.tenant
        self.retired[key] = engine  # first: whatever comes between, the tenant has no second one
        self.engines.pop(key, None)
        engine.timer_handle = None
        engine.state.cached.fast_until = -math.inf  # so that its next use is seen

    def plan(self, *, anew: bool = False) -> None:  # noqa: ARG002 (each time is another)
        """Set the timer for when the next engine will have been idle for too long."""
        if self._idle_timeout == math.inf:
            return
        if not self.runtime.sessions.entered_here():
            self.runtime.sessions.hand_on(self.plan)
            return
        now = self.runtime.clock.monotonic()
        with self.runtime.guard:
            oldest = next(iter(self.engines.values()), None)
            due = (now if oldest is None else oldest.used_at) + self._idle_timeout
            self.timer = Timer.here(self.runtime.clock)
            self.timer.set(self, max(due, now + self._idle_timeout / _SWEEPS))

    def found_by(self) -> tuple[Finder, Hashable]:
        """Return what finds it, without holding it."""
        return weakref.ref(self), None

    def on_time(self) -> None:
        """Retire those that are idle by now."""
        with self.runtime.guard:
            self._make_room()
        self.plan()

    # Its life

    def flights(self) -> Iterator[Flight[Any]]:
        """Yield the calls of the factory, and the engines' refreshes."""
        yield from self.making.values()
        for engine in self._all_engines():
            yield from engine.flights()

    def _all_engines(self) -> list[TokenEngine]:
        return [*self.engines.values(), *self.retired.values()]

    def stop(self) -> Callable[[], Awaitable[None]]:
        """Retire and close all engines; return what ends what is under way. Under the guard."""
        engines = self._all_engines()
        for engine in engines:
            self._retire(engine)
            engine.closed = True
        busy = [each for each in engines if each.flight is not None or each.upstreams or each.store_client is not None]
        return partial(_end, list(self.making.values()), busy)

    def leave_timer(self, timer: Timer) -> None:
        """Take off the running loop's timer what is not new there, and the engines: they go on elsewhere."""
        super().leave_timer(timer)
        here = [engine for engine in self.engines.values() if engine.timer is timer]
        for engine in here:
            engine.timer = engine.timer_handle = None
        for engine in here:  # of a pool that is entered elsewhere still: the others were retired
            engine.plan()


async def _end(making: list[Flight[TokenEngine]], busy: list[TokenEngine]) -> None:
    """End calls of the factory, and close engines, all at the same time."""
    await asyncio.gather(*(end(each, 0.0) for each in making), *(engine.close() for engine in busy))


def _found(cache: weakref.ref[EngineCache[Any]], tenant: Hashable = None) -> TokenEngine | None:
    """Return the engine of a tenant, if the cache is there and has it."""
    found = cache()
    return None if found is None else found.engines.get(tenant)
