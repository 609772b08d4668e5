"""`ManagerPool`: one manager per tenant, made on demand, with limits on managers and on concurrent token requests."""

from __future__ import annotations

import math
import sys
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from random import random as machine_random
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from asyncauth._core.engine_cache import EngineCache
from asyncauth._core.limiter import RequestLimiter
from asyncauth._core.listeners import Listener, Listeners
from asyncauth._core.runtime import Runtime, check
from asyncauth._core.sessions import Http, Sessions
from asyncauth._core.tenant_key import check_key
from asyncauth._http.answer_rules import AnswerRules
from asyncauth.clock import SYSTEM_CLOCK, Clock
from asyncauth.errors import ConfigurationError
from asyncauth.manager import TokenManager, manager_of
from asyncauth.middleware import BearerAuth
from asyncauth.policy import RefreshPolicy
from asyncauth.status import PoolStatus, Revocation

if TYPE_CHECKING:
    from types import TracebackType

    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

    from asyncauth._core.engine import TokenEngine
    from asyncauth._http.answer_rules import Refused, Repeat
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore

__all__ = ["ManagerPool"]

Key = TypeVar("Key", bound=Hashable)

_DEFAULT_POLICY = RefreshPolicy()

_MOST_SHOWN = 10
"""The most failing tenants that a status names."""


class ManagerPool(Generic[Key]):
    """Keeps a `TokenManager` for each tenant: makes it when it is first needed, and closes it when it is idle.

    ::

        def provider_of(tenant: str) -> Peakly:
            return Peakly(username=tenant, password=password_of(tenant))

        async with ManagerPool(provider_of) as pool:
            token = await (await pool.get("acme")).token()
            async with http.get(url, middlewares=(pool.auth("acme"),)) as response: ...

    All managers share one HTTP session for token requests (no cookies, one connector), one timer, and the `limit` on
    concurrent token requests. Each keeps the promises of a `TokenManager`. They never share a token.

    While the pool is entered (``async with``), it renews the tokens of its managers in the background. You may also use
    it without entering it. A manager then renews only when a caller needs a token, opens a session for each refresh,
    and does not need to be closed. Entering a manager of the pool changes nothing.

    **Which managers are closed.** If there are more than `max_size`, the pool closes the least recently used ones. It
    also closes those that were not used for `idle_timeout`. It closes none with a refresh in progress, since callers
    may wait for it, and may be larger than `max_size` meanwhile. If your program still has a closed manager, it may go
    on using it. The manager keeps its token, and returns to the pool when it is used; `get` returns the same manager.
    A tenant therefore never has two managers, and no manager raises ``ManagerClosed`` unless the pool itself was
    closed. The pool does not see that a manager hands out a fresh token. To have it count each use, call `get` or
    `auth` for each one.

    Concurrency: tasks, threads and event loops may use one pool at the same time. Each event loop on which the pool is
    entered has its own session, its own timer and its own `limit`, so a blocked loop does not affect the others.

    Args:
        factory: A function, plain or ``async``, that takes a tenant's key and returns the tenant's provider. It is
            called once per tenant, however many callers wait for it, and again if the manager was closed and no longer
            exists. It runs in the pool's own task, not in a caller's context, and may take `RefreshPolicy.deadline`
            seconds. The credential of its provider must not be a manager of the same pool: that manager might wait for
            the slot that its caller holds. Use a separate manager or pool for such credentials.
        max_size: The most managers that are kept open (default 10,000); ``None``: no limit.
        idle_timeout: Seconds without use after which a manager is closed (default 3600); ``None``: never.
            `RefreshPolicy.idle_timeout` ends only the background renewal.
        limit: The most token requests in progress at the same time, per event loop (default 20). Other requests wait
            for a slot, in order of arrival. A chain takes one slot for all its requests. The wait counts neither
            towards the refresh's deadline nor as slowness of the endpoint. It ends with ``TokenEndpointUnavailable`` if
            no request before it is answered for as long as a refresh may take.
        http: The sessions for token requests, see `TokenManager`: a session with an ``aiohttp.DummyCookieJar``, or a
            function that makes such sessions. ``None`` (default): the pool makes its own sessions.
        store: The store in which the managers share their tokens with other processes, see `asyncauth.stores`. The
            tenant's key is then part of an entry's key: use strings, numbers, UUIDs, enums, or tuples of them.
            ``None`` (default): no store.
        policy: The settings of all managers.
        clock: The clock, for tests. ``None`` (default): the machine's clock.
        random: A function that returns the random numbers for jitter and backoff, from 0 to 1, for tests. It is called
            from any thread. ``None`` (default): `random.random`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
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
        clock = SYSTEM_CLOCK if clock is None else clock
        random = machine_random if random is None else random
        sessions = Sessions(http, policy.deadline / 2, several_tenants=True)
        self._cache: EngineCache[Key] = EngineCache(
            factory,
            Runtime(policy, clock, random, sessions, Listeners()),
            RequestLimiter(limit),
            store=store,
            max_size=max_size,
            idle_timeout=math.inf if idle_timeout is None else float(idle_timeout),
        )
        self._max_size = max_size
        # Those that somebody holds. Each holds its engine, which keeps its place in the cache or returns to it.
        self._handles: dict[Key, _Handle[Key]] = {}
        self._gone: list[_Handle[Key]] = []  # of managers that no longer exist, until the next one is made

    # What callers use

    async def get(self, key: Key) -> TokenManager:
        """Return the tenant's manager: the same object for as long as your program has a reference to it.

        Concurrent callers wait for one call of the factory. Cancelling one of them does not affect the others.

        Args:
            key: The tenant's key: any hashable value.

        Raises:
            ConfigurationError: The key is not hashable.
            ManagerClosed: The pool was closed.
            AuthError: The factory failed; each caller receives its own error, and the next call tries again. An
                ``AuthError`` of the factory is passed on, and a network failure becomes a ``TokenEndpointUnavailable``.
                Of any other exception, the error has only class and place, since its text may hold secrets.
        """
        check_key(key)
        engine = self._cache.known(key) or await self._cache.get(key)
        handle = self._handles.get(key)
        manager = None if handle is None else handle()
        return self._new_manager(key, engine) if manager is None else manager

    def _new_manager(self, key: Key, engine: TokenEngine) -> TokenManager:
        """Return a manager for an engine that has none, or whose manager no longer exists."""
        handles, gone = self._handles, self._gone
        with self._cache.runtime.guard:  # another thread may have made one
            while gone:
                last = gone.pop()
                if handles.get(last.key) is last:
                    del handles[last.key]
            handle = handles.get(key)
            manager = None if handle is None else handle()
            if manager is None:
                manager = manager_of(engine)
                # Its callback takes no lock: the garbage collector may call it in a thread that holds any other one.
                made: _Handle[Key] = _Handle(manager, gone.append)
                made.key = key
                handles[key] = made
            return manager

    async def revoke(self, key: Key) -> Revocation:
        """Log a tenant out, as `TokenManager.revoke` does. The tenant's next use obtains a new token.

        Args:
            key: The tenant's key. If the tenant has no manager yet, one is made, which revokes the tokens in the store.

        Raises:
            AuthError: See `get`.
        """
        return await (await self.get(key)).revoke()

    def auth(self, key: Key, *, refused: Refused | None = None, repeat: Repeat = "all") -> ClientMiddlewareType:
        """Return the tenant's aiohttp client middleware: a `BearerAuth` that gets its manager for each request.

        The middleware keeps no reference to the manager and is cheap to make. Any number of sessions and requests may
        use it. A request raises the errors of `get` and `BearerAuth`, and is then not sent.

        Args:
            key: The tenant's key.
            refused: Decides which answers mean that the API does not accept the token, see `BearerAuth`.
            repeat: Which requests may be sent again, see `BearerAuth`.

        Raises:
            ConfigurationError: The key is not hashable; or see `BearerAuth`.
        """
        check_key(key)
        return _TenantAuth(self, key, AnswerRules.of(refused, repeat))

    def status(self) -> PoolStatus:
        """Return a snapshot for people and health checks. No I/O, any thread. The time grows with the managers."""
        cache = self._cache
        with cache.runtime.guard:
            engines = list(cache.engines.items())
            flights = [engine.flight for engine in cache.busy]
        now = cache.runtime.clock.monotonic()
        waits = [flight.waiting_for for flight in flights if flight is not None]
        failing = {
            key: f"{type(failure.error).__name__}: {failure.error}"
            for key, engine in engines
            if (failure := engine.state.failure) is not None
        }
        return PoolStatus(
            managers=len(engines),
            max_size=self._max_size,
            states=dict(Counter(engine.state.phase(now) for _, engine in engines)),
            limit=cache.limiter.limit,
            requesting=cache.limiter.taken,
            queued=cache.limiter.queued,
            waiting=sum(flight.waiting for flight in flights if flight is not None),
            waiting_for=max((each for each in waits if each is not None), default=None),
            made=cache.made,
            closed=cache.dropped,
            failing=dict(list(failing.items())[:_MOST_SHOWN]),
            failures=len(failing),
        )

    def add_listener(self, listener: Listener) -> None:
        """Call a function with each event of each tenant's manager, see `TokenManager.add_listener`.

        `asyncauth.events.Event.tenant` is the tenant's key.
        """
        self._cache.runtime.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener. Does nothing if it was never added. Any thread."""
        self._cache.runtime.listeners.remove(listener)

    def __repr__(self) -> str:
        return repr(self._cache)

    # Its life

    async def __aenter__(self) -> Self:
        await self._cache.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._cache.leave()

    async def close(self) -> None:
        """Close all managers, as `TokenManager.close` does, and the sessions and timers that they share.

        All token requests in progress together have `RefreshPolicy.close_grace` to finish. Refreshes that wait for a
        slot end at once. Callers that still wait for a token or a manager receive ``ManagerClosed``, and so do later
        callers. No task, connection or timer is left. Closing again does nothing. Entering the pool again reopens it,
        once it has been closed completely.
        """
        await self._cache.close()


class _Handle(weakref.ref[TokenManager], Generic[Key]):
    """A weak reference to a tenant's manager.

    A `weakref.WeakValueDictionary` takes 2 µs more for a manager that is made for one request.
    """

    __slots__ = ("key",)

    key: Key


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


def _check_count(name: str, value: object, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}= takes {wanted}, not {value!r}")
