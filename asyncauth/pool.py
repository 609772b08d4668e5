"""Many tenants: a manager for each, made on demand, bounded in number and in what they ask of the token endpoint."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import sys
import warnings
import weakref
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from random import random as machine_random
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs

from asyncauth._core.flight import Flight, FlightOrphaned
from asyncauth._core.lifecycle import Closings, all_ended
from asyncauth._core.limiter import RequestLimiter
from asyncauth._core.listeners import Listener, Listeners
from asyncauth._core.outages import Outages
from asyncauth._core.runtime import Runtime, check
from asyncauth._core.sessions import Http, LoopEntry, Sessions, SharedSessions, run_each
from asyncauth._core.tenant_key import check_key, name_of
from asyncauth._core.timer import Timer
from asyncauth._core.trial import Use
from asyncauth._core.user_code import call_user, sanitize
from asyncauth._http.answer_rules import AnswerRules
from asyncauth.clock import SYSTEM_CLOCK, Clock, within
from asyncauth.errors import ConfigurationError, ManagerClosed
from asyncauth.manager import TokenManager
from asyncauth.middleware import BearerAuth
from asyncauth.policy import RefreshPolicy
from asyncauth.status import PoolStatus, Revocation

if TYPE_CHECKING:
    import concurrent.futures
    from types import TracebackType

    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

    from asyncauth._core.cache import CachedToken
    from asyncauth._core.timer import Finder, TimerHandle
    from asyncauth._http.answer_rules import Refused, Repeat
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore
    from asyncauth.token import Token

__all__ = ["ManagerPool"]

Key = TypeVar("Key", bound=Hashable)

_DEFAULT_POLICY = RefreshPolicy()

_MOST_SHOWN = 10
"""Failing tenants that a status names."""

_SWEEPS = 32
"""How many times an idle timeout the pool looks for idle managers at most: one that leaves each second is no reason
to wake up each second."""


@attrs.frozen
class _Closing:
    """What a closing ends, and what is done when it has."""

    finished: concurrent.futures.Future[None]
    makings: list[Flight[_TenantManager]]
    busy: list[_TenantManager]
    entries: list[LoopEntry]


class ManagerPool(Generic[Key]):
    """Keeps a `TokenManager` for each tenant: made when it is first asked for, closed when it is idle.

    ::

        def provider_of(tenant: str) -> Peakly:
            return Peakly(username=tenant, password=password_of(tenant))

        async with ManagerPool(provider_of) as pool:
            token = await (await pool.get("acme")).token()
            async with http.get(url, middlewares=(pool.auth("acme"),)) as response: ...

    All managers share one HTTP session for token requests (no cookies, one connector), one timer, and the `limit`
    on requests at the same time. What a manager promises holds for each of them; they share no token.

    Entered, the pool keeps its managers fresh, as an entered manager does. Not entered it works as well, renews when
    it is asked, opens a session for each refresh, and leaves nothing to close. Entering one of its managers changes
    nothing.

    **Who is closed.** Beyond `max_size` the least recently used managers are, and after `idle_timeout` those that
    nobody has used, but none with a refresh under way, which others may wait for: for so long the pool may be larger.
    Somebody who still holds a closed manager may go on using it: it keeps its token, comes back to the pool when it
    is used, and `get` returns that same one. So a tenant never has two managers, and none raises ``ManagerClosed``
    unless the pool itself was closed. What a reference is used for between two refreshes is not seen by the pool:
    call `get` or `auth` at each use where it matters who was used last.

    Concurrency: tasks, threads and event loops may use one pool at the same time. Each loop on which the pool is
    entered has a session, a timer and the whole `limit` of its own: one that stands still holds up no other.

    Args:
        factory: Makes a tenant's provider, given the key: a plain or an async function. It is called once, however
            many ask at the same time, in a task of the pool's own (not in a caller's context), and again when the
            manager was closed and forgotten meanwhile. It may take `RefreshPolicy.deadline` seconds. What its
            provider uses as credential must not be a manager of this pool, which might wait for the turn that its
            user holds: take a pool or a manager of its own for those.
        max_size: How many managers are kept open (default 10,000); ``None`` = any number.
        idle_timeout: Seconds without use after which a manager is closed (default 3600); ``None`` = never.
            `RefreshPolicy.idle_timeout` ends the background renewal alone.
        limit: How many token requests may be under way at the same time (default 20), on each event loop; the others
            wait for their turn in the order in which they came. A chain of requests for one token takes one turn.
            Neither the refresh's deadline nor the measured slowness of the endpoint counts that wait. It ends with
            ``TokenEndpointUnavailable`` when nobody's request was answered for as long as the refresh may take.
        http: What token requests are sent with, see `TokenManager`: a session with an ``aiohttp.DummyCookieJar``, or a
            function that makes such sessions. ``None`` (default): sessions of the pool's own.
        store: Where the managers share their tokens with other processes, see `asyncauth.stores`; ``None`` = with
            none. The tenant's key is part of the store's: take strings, numbers, UUIDs, enums, or tuples of them.
        policy: The managers'.
        clock: ``None`` (default) = the machine's.
        random: Where the random numbers for jitter and backoff come from: a function that returns numbers from 0 to 1,
            called from any thread. For tests. ``None`` (default): the machine's, `random.random`.

    Raises:
        ConfigurationError: An argument can't work.
    """

    def __init__(
        self,
        factory: Callable[[Key], Provider | Awaitable[Provider]],
        *,
        max_size: int | None = 10_000,
        idle_timeout: float | None = 3600.0,
        limit: int = 20,
        http: Http | None = None,
        store: TokenStore | None = None,
        policy: RefreshPolicy = _DEFAULT_POLICY,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        if not callable(factory):
            raise ConfigurationError(f"factory takes a function from key to provider, not {type(factory).__name__}")
        check(policy, http, clock, random, store)
        if max_size is not None:
            _check_count("max_size", max_size, "a whole number from 1, or None for any number")
        _check_count("limit", limit, "a whole number from 1")
        if idle_timeout is not None and (
            isinstance(idle_timeout, bool) or not isinstance(idle_timeout, (int, float)) or not idle_timeout > 0
        ):
            raise ConfigurationError(f"idle_timeout= takes a positive number of seconds or None, not {idle_timeout!r}")
        if isinstance(idle_timeout, int) and idle_timeout > sys.float_info.max:
            raise ConfigurationError("idle_timeout= takes a number that fits a float, or None, which is never")
        self._factory = factory
        self._max_size = max_size
        self._idle_timeout = math.inf if idle_timeout is None else float(idle_timeout)
        self._store = store
        self._policy = policy
        self._clock: Clock = SYSTEM_CLOCK if clock is None else clock
        self._limiter = RequestLimiter(limit)
        self._listeners = Listeners()
        self._sessions = Sessions(http, policy.deadline / 2, several_tenants=True)
        self._runtime = Runtime(
            policy,
            self._clock,
            machine_random if random is None else random,
            SharedSessions(self._sessions),
            Listeners(owner=self._listeners),
            outages=Outages(),
        )
        self._guard = self._runtime.guard  # one lock for the pool and all its managers: what it guards takes no time
        self._making: dict[Key, Flight[_TenantManager]] = {}
        self._managers: OrderedDict[Key, _TenantManager] = OrderedDict()  # least recently used first
        self._busy: set[_TenantManager] = set()
        self._referenced: weakref.WeakValueDictionary[Key, _TenantManager] = weakref.WeakValueDictionary()
        self._find = partial(_found, weakref.ref(self))
        self._timer: Timer | None = None
        self._timer_handle: TimerHandle | None = None
        self._made = self._retired = 0
        self._closings = Closings()
        self._closed = False

    # What callers use

    async def get(self, key: Key) -> TokenManager:
        """Return the tenant's manager, the same one as long as anybody holds it.

        Concurrent callers wait for one call of the factory together; cancelling one leaves the others alone.

        Args:
            key: The tenant: anything hashable.

        Raises:
            ConfigurationError: The key is not hashable.
            ManagerClosed: The pool was closed.
            AuthError: The factory failed: each caller gets an error of its own. An ``AuthError`` comes as it was
                raised; of anything else only class and place are told (its text may hold secrets), and network
                trouble is ``TokenEndpointUnavailable``. The next call tries anew.
        """
        check_key(key)
        while True:
            with self._guard:
                manager = self._managers.get(key) or self._referenced.get(key)
                if manager is not None:
                    self._use(manager)
                    return manager
                self._check_open()
                making = self._making.get(key)
                if making is None or making.finished:
                    making = self._making[key] = Flight(self._clock)
                    making.start(partial(self._make, key, making), self._policy.deadline)
            try:
                return await making.wait()
            except FlightOrphaned:
                self._no_longer_making(key, making)

    async def revoke(self, key: Key) -> Revocation:
        """Log a tenant out, as `TokenManager.revoke` does. Its next use obtains a token anew.

        Args:
            key: The tenant. One that has no manager gets one, which looks into the store.

        Raises:
            AuthError: As `get` does.
        """
        return await (await self.get(key)).revoke()

    def auth(self, key: Key, *, refused: Refused | None = None, repeat: Repeat = "all") -> ClientMiddlewareType:
        """Return the tenant's aiohttp client middleware: a `BearerAuth` that looks its manager up at each request.

        It holds no manager, costs next to nothing, and serves any number of sessions and requests.

        A request raises what `get` and `BearerAuth` do; it is not sent then.

        Args:
            key: The tenant.
            refused: Which answers refuse the token, see `BearerAuth`.
            repeat: Which requests may be sent again, see `BearerAuth`.

        Raises:
            ConfigurationError: The key is not hashable; or see `BearerAuth`.
        """
        check_key(key)
        return _TenantAuth(self, key, AnswerRules.of(refused, repeat))

    def status(self) -> PoolStatus:
        """Return a snapshot for people and health checks. No I/O, any thread; looks at each manager once."""
        with self._guard:
            managers = list(self._managers.items())
            flights = [manager._flight for manager in self._busy]
        now = self._clock.monotonic()
        waits = [flight.waiting_for for flight in flights if flight is not None]
        failing = {
            key: f"{type(failure.error).__name__}: {failure.error}"
            for key, manager in managers
            if (failure := manager._state.failure) is not None
        }
        return PoolStatus(
            managers=len(managers),
            max_size=self._max_size,
            states=dict(Counter(manager._state.phase(now) for _, manager in managers)),
            limit=self._limiter.limit,
            requesting=self._limiter.taken,
            queued=self._limiter.queued,
            waiting=sum(flight.waiting for flight in flights if flight is not None),
            waiting_for=max((each for each in waits if each is not None), default=None),
            made=self._made,
            closed=self._retired,
            failing=dict(list(failing.items())[:_MOST_SHOWN]),
            failures=len(failing),
        )

    def add_listener(self, listener: Listener) -> None:
        """Tell a function of each event of each tenant's manager: see `TokenManager.add_listener`.

        `asyncauth.events.Event.tenant` is the tenant's key.
        """
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell a function nothing more. Any thread."""
        self._listeners.remove(listener)

    def __repr__(self) -> str:
        return f"<ManagerPool of {len(self._managers)}>"

    # Its life

    async def __aenter__(self) -> Self:
        while True:
            await all_ended([self._closings], self._policy.close_grace)
            with self._guard:  # in which no thread can begin another
                if not self._closings.pending:
                    self._closed = False
                    self._sessions.enter()
                    self._plan()
                    return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._guard:
            entry = self._sessions.leave()
            flights = [manager._flight for manager in self._busy]
            closing = None if entry is None or self._sessions.entered() else self._begin_closing()
        if entry is None:  # closed from elsewhere, perhaps, which may have something left to do on this loop
            await all_ended([self._closings], self._policy.close_grace)
        elif closing is not None:
            await self._close(closing, entry)
        else:
            here = [flight for flight in flights if flight is not None and flight.here]
            try:
                await asyncio.gather(*(flight.drain(self._policy.close_grace) for flight in here))
            finally:  # also when the caller is cancelled during the grace
                await self._leave_here(entry)
                self._plan()  # on another loop, if the timer was this one's

    async def close(self) -> None:
        """Close all managers, as `TokenManager.close` does, and what they share.

        Refreshes whose request is under way get `RefreshPolicy.close_grace` to finish, all at the same time; those
        that wait for their turn get none. Who waits for a token or a manager then gets ``ManagerClosed``, and so do
        later callers. Nothing is left behind. Closing again does nothing; entering the pool again reopens it, after
        whatever is being closed.
        """
        with self._guard:
            closing = self._begin_closing()
        await self._close(closing)

    def _begin_closing(self) -> _Closing:
        """Let nobody in any more. Under the guard."""
        self._closed = True
        makings = list(self._making.values())
        managers = [*self._managers.values(), *self._referenced.values()]
        for manager in managers:
            self._retire(manager)
            manager._closed = True
        flights = [flight for manager in managers for flight in manager._all_flights()]
        finished = self._closings.begin(*makings, *flights)
        busy = [each for each in managers if each._flight is not None or each._owned or each._store_client is not None]
        return _Closing(finished, makings, busy, self._sessions.leave_all())

    async def _close(self, closing: _Closing, *entries: LoopEntry) -> None:
        try:
            makings = (making.end(0.0) for making in closing.makings)
            await asyncio.gather(*makings, *(manager.close() for manager in closing.busy))
            await self._listeners.settle(self._policy.close_grace)
        finally:  # also when the caller is cancelled during the grace
            try:
                await run_each([*entries, *closing.entries], self._leave_here)
            finally:
                closing.finished.set_result(None)

    async def _leave_here(self, entry: LoopEntry) -> None:
        """End what the pool has on the running loop: not what is new there, since it was entered again."""
        timer = Timer.here(self._clock)
        with self._guard:
            here = [manager for manager in self._managers.values() if manager._timer is timer]
            if self._timer is timer and not self._sessions.entered_here():
                self._timer, self._timer_handle = None, None
            for manager in here:
                manager._timer, manager._timer_handle = None, None
        for manager in here:  # of a pool that is entered elsewhere still: the others were retired
            manager._plan()
        try:
            await timer.sweep()
        finally:
            await entry.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        sessions: Sessions | None = getattr(self, "_sessions", None)  # None = __init__ refused its arguments
        if sessions is not None and sessions.unclosed():
            _warn(f"Unclosed {self!r}", ResourceWarning, source=self)

    # How managers come

    async def _make(self, key: Key, making: Flight[_TenantManager]) -> _TenantManager:
        """Make a tenant's manager, as the one flight that all who ask for it wait for."""
        try:
            provider = call_user(self._factory, key)
            if inspect.isawaitable(provider):
                provider = await within(self._clock, self._policy.deadline, provider)
            manager = _TenantManager(self, key, provider)
        except Exception as error:  # noqa: BLE001 (a factory may raise anything)
            problem = sanitize(error, "the pool's factory")
        else:
            with self._guard:
                self._made += 1
                self._use(manager)
            return manager
        finally:
            self._no_longer_making(key, making)
        raise problem

    def _no_longer_making(self, key: Key, making: Flight[_TenantManager]) -> None:
        with self._guard:
            if self._making.get(key) is making:
                del self._making[key]

    def _check_open(self) -> None:
        if self._closed:
            raise ManagerClosed("the pool was closed: use it inside its 'async with'")

    def _use(self, manager: _TenantManager) -> None:
        """Take note that a manager is used, and have it back if it was retired."""
        with self._guard:
            self._check_open()
            manager._used_at = self._clock.monotonic()
            key: Any = manager._tenant
            if key in self._managers:
                self._managers.move_to_end(key)
            else:
                self._managers[key] = manager
                self._referenced.pop(key, None)
                self._make_room(spare=manager)
            if manager._closed and not manager._closing:
                manager._enter()

    # How they go

    def _ended(self, manager: _TenantManager) -> None:
        """Take note that a refresh has ended."""
        with self._guard:  # another may be under way by now
            if manager._flight is None:
                self._busy.discard(manager)
                self._make_room()

    def _make_room(self, *, spare: _TenantManager | None = None) -> None:
        """Retire idle managers: those beyond the size, and those that nobody has used for long.

        Args:
            spare: One that is about to be used: an idle one, and the last of all.
        """
        now = self._clock.monotonic()
        # The oldest whose refresh was lost with its loop, or interrupted: nobody has asked since.
        for manager in list(itertools.takewhile(self._is_busy_no_more, self._managers.values())):
            manager._forget_orphaned()
            self._busy.discard(manager)
        idle = len(self._managers.keys()) - len(self._busy) - (spare is not None)
        while idle > 0:
            if self._max_size is not None and len(self._managers) > self._max_size:
                oldest = next(manager for manager in self._managers.values() if manager not in self._busy)
            else:
                oldest = next(iter(self._managers.values()))
                if oldest._used_at + self._idle_timeout > now or oldest in self._busy:
                    return
            self._retire(oldest)
            self._retired += 1
            idle -= 1

    def _is_busy_no_more(self, manager: _TenantManager) -> bool:
        flight = manager._flight
        return manager in self._busy if flight is None else flight.finished

    def _retire(self, manager: _TenantManager) -> None:
        """Let a manager go, out of the pool and the timer: it is there for those who hold it alone."""
        key: Any = manager._tenant
        self._referenced[key] = manager  # first: whatever comes between, the tenant has no second one
        self._managers.pop(key, None)
        manager._timer_handle = None
        manager._state.cached.fast_until = -math.inf  # so that its next use is seen

    def _plan(self) -> None:
        """Set the timer for when the next manager will have been idle for too long."""
        if self._idle_timeout == math.inf:
            return
        if not self._sessions.entered_here():
            self._sessions.hand_on(self._plan)
            return
        now = self._clock.monotonic()
        with self._guard:
            oldest = next(iter(self._managers.values()), None)
            due = (now if oldest is None else oldest._used_at) + self._idle_timeout
            self._timer = Timer.here(self._clock)
            self._timer.set(self, max(due, now + self._idle_timeout / _SWEEPS))

    def _found_by(self) -> tuple[Finder, Hashable]:
        return weakref.ref(self), None

    def _on_time(self) -> None:
        with self._guard:
            self._make_room()
        self._plan()


class _TenantManager(TokenManager):
    """A manager in a pool: it lives on what the pool has, and tells it when it is used."""

    __slots__ = ("_pool",)

    def __init__(self, pool: ManagerPool[Any], key: Hashable, provider: Provider) -> None:
        self._pool = pool
        self._set_up(provider, pool._runtime, key, http=None, store=pool._store)
        if self._store_client is not None:
            self._store_client.keep_apart(name_of(key))

    def _manage(self, upstream: Provider, http: Http | None, store: TokenStore | None) -> TokenManager:
        """Return a manager that uses the pool's sessions, and an entry of this tenant's in the store."""
        manager = super()._manage(upstream, http, store)
        manager._work_with(self._tenant, sessions=self._sessions, outages=self._runtime.outages)
        _keep_apart(manager, self._tenant)
        return manager

    def _found_by(self) -> tuple[Finder, Hashable]:
        return self._pool._find, self._tenant

    @property
    def _limiter(self) -> RequestLimiter:
        return self._pool._limiter

    async def refresh(self) -> Token:
        await self._end_closings()
        self._pool._use(self)
        return await super().refresh()

    async def _obtain(self, use: Use = Use.BY_HAND) -> CachedToken:
        await self._end_closings()
        return await super()._obtain(use)

    def _at_hand(self, use: Use = Use.BY_HAND, *, stale: bool = False) -> CachedToken | None:
        self._pool._use(self)
        return super()._at_hand(use, stale=stale)

    async def _end_closings(self) -> None:
        """Return when it can be opened again, if somebody who holds it is closing it."""
        if self._closing:
            self._pool._check_open()
            await self._wait_for_closings()

    def _join(self) -> Flight[CachedToken]:
        flight = super()._join()
        self._pool._busy.add(self)  # nobody's use, but no time to be closed either
        return flight

    def _forget(self, flight: Flight[CachedToken]) -> None:
        super()._forget(flight)
        self._pool._ended(self)


class _TenantAuth:
    """The middleware of one tenant."""

    __slots__ = ("_key", "_pool", "_rules")

    def __init__(self, pool: ManagerPool[Any], key: Hashable, rules: AnswerRules) -> None:
        self._pool = pool
        self._key = key
        self._rules = rules

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        manager, rules = await self._pool.get(self._key), self._rules
        return await BearerAuth(manager, refused=rules.refused, repeat=rules.repeat)(request, handler)


def _found(pool: weakref.ref[ManagerPool[Any]], tenant: Hashable = None) -> _TenantManager | None:
    """Return the manager of a tenant, if the pool is there and has it."""
    found = pool()
    return None if found is None else found._managers.get(tenant)


def _keep_apart(manager: TokenManager, key: Hashable) -> None:
    """Have entries of this tenant's in the store, for a manager and all that are further upstream."""
    if manager._store_client is not None:
        manager._store_client.keep_apart(name_of(key))
    for upstream in manager._owned:
        _keep_apart(upstream, key)


def _check_count(name: str, value: object, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}= takes {wanted}, not {value!r}")
