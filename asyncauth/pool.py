"""Many tenants: a manager for each, made on demand, bounded in number and in what they ask of the token endpoint."""

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
"""Failing tenants that a status names."""


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
        engine = await self._cache.get(key)
        handle = engine.handle
        manager = None if handle is None else handle()
        return manager if isinstance(manager, TokenManager) else self._new_manager(engine)

    def _new_manager(self, engine: TokenEngine) -> TokenManager:
        """Return the manager of an engine that had none, or whose nobody holds any more."""
        with self._cache.runtime.guard:  # another thread may have made one
            manager = None if engine.handle is None else engine.handle()
            if not isinstance(manager, TokenManager):
                manager = manager_of(engine)
                engine.handle = _Handle(manager, engine)
            return manager

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
        """Tell a function of each event of each tenant's manager: see `TokenManager.add_listener`.

        `asyncauth.events.Event.tenant` is the tenant's key.
        """
        self._cache.runtime.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell a function nothing more. Any thread."""
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
        """Close all managers, as `TokenManager.close` does, and what they share.

        Refreshes whose request is under way get `RefreshPolicy.close_grace` to finish, all at the same time; those
        that wait for their turn get none. Who waits for a token or a manager then gets ``ManagerClosed``, and so do
        later callers. Nothing is left behind. Closing again does nothing; entering the pool again reopens it, after
        whatever is being closed.
        """
        await self._cache.close()


class _Handle(weakref.ref[TokenManager]):
    """What finds the manager that was given out for an engine, and takes itself off the engine when that is gone."""

    __slots__ = ("engine",)

    engine: TokenEngine

    def __new__(cls, manager: TokenManager, engine: TokenEngine) -> Self:
        handle = super().__new__(cls, manager, _forget)
        handle.engine = engine
        return handle


def _forget(handle: _Handle) -> None:
    engine = handle.engine
    if engine.handle is handle:
        engine.handle = None


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
