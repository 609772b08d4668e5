"""One provider's token: obtained, renewed in time behind a single flight, replaced when the API answers 401."""

from __future__ import annotations

import logging
import math
import weakref
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

from asyncauth._base.printable import name_of
from asyncauth._core.assembly import new_emitter, new_shared_refresh, new_store_client
from asyncauth._core.cache import TokenState
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import count_orphaned, end
from asyncauth._core.lifecycle import Lifecycle
from asyncauth._core.provider_members import check_members, check_origins, origins_of
from asyncauth._core.provider_options import options_of
from asyncauth._core.timer import Timer
from asyncauth._core.trial import Use
from asyncauth._core.waiters import FlightOrphaned
from asyncauth.clock import SYSTEM_CLOCK, boottime
from asyncauth.errors import ManagerClosed
from asyncauth.provider import Chained

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator

    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import RequestLimiter
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.timer import Finder
    from asyncauth.provider import Provider
    from asyncauth.stores.base import TokenStore
    from asyncauth.token import Token

__all__ = ["Keeper", "TokenEngine"]

_log = logging.getLogger("asyncauth.manager")


class Keeper(Protocol):
    """Who keeps engines, and closes those that nobody uses."""

    limiter: RequestLimiter
    """Where their refreshes wait for a slot."""

    find: Finder
    """Finds an engine by its tenant's key."""

    def check_open(self) -> None:
        """Raise `ManagerClosed` if this was closed."""
        ...

    def note_use(self, engine: TokenEngine) -> None:
        """Take note that somebody uses an engine, and open it again if it was closed. Raises as `check_open` does."""
        ...

    async def ready(self, engine: TokenEngine) -> None:
        """Return when an engine can be opened again, if somebody who holds it is closing it.

        Raises as `check_open` does.
        """
        ...

    def note_flight(self, engine: TokenEngine) -> None:
        """Take note that a refresh is under way. Under the guard."""
        ...

    def note_flight_ended(self, engine: TokenEngine) -> None:
        """Take note that a refresh has ended."""
        ...


class TokenEngine(Lifecycle):
    """Obtains, renews and invalidates one provider's token. `TokenManager` documents what it promises.

    It may serve as the credential of another engine's provider: it is a `TokenSource`.

    Concurrency: any number of tasks, threads and event loops.

    Args:
        provider: Whose token it is. Another provider in place of its credential gets an engine of this one's own.
        runtime: What it works with.
        store: Where the token is shared with other processes; ``None`` (default): with none.
        tenant: Its key in a pool.
        keeper: Who keeps it; ``None`` (default): a manager does.

    Attributes:
        provider: As given, with engines in place of its upstream providers.
        options: What the provider declares besides.
        state: What is known of the token.
        store_client: Its entry in the store; ``None``: there is no store.
        flight: The refresh that is under way; ``None``: none is.
        used_at: When somebody last used it, in seconds of the clock.
        tenant: As given.
        keeper: As given.

    Raises:
        ConfigurationError: The provider, or the store with it, can't work.
    """

    __slots__ = (
        "flight",
        "keeper",
        "options",
        "provider",
        "state",
        "store_client",
        "tenant",
        "used_at",
    )

    def __init__(
        self,
        provider: Provider,
        runtime: Runtime,
        *,
        store: TokenStore | None = None,
        tenant: Hashable = None,
        keeper: Keeper | None = None,
    ) -> None:
        check_members(provider)
        super().__init__(runtime)
        self.tenant = tenant
        self.keeper = keeper
        self.provider = provider.chained(partial(self._manage, store)) if isinstance(provider, Chained) else provider
        check_origins(origins_of(self.provider))
        self.options = options_of(self.provider)
        self.store_client = (
            None if store is None else new_store_client(store, self.provider, runtime, self.options, tenant)
        )
        self.state = TokenState(runtime.policy, runtime.guard)
        self.flight: Flight[CachedToken] | None = None
        self.used_at = -math.inf

    def _manage(self, store: TokenStore | None, upstream: Provider) -> Self:
        """Return an engine of this one's own for an upstream provider, which renews only when it is asked."""
        engine = type(self)(upstream, self.runtime.upstream(), store=store, tenant=self.tenant)
        self.upstreams = (*self.upstreams, engine)
        return engine

    def emitter(self) -> Emitter:
        """Return what tells of this engine's events."""
        return new_emitter(self.provider, self.runtime, self.options, self.tenant)

    @property
    def identity(self) -> str | None:
        """The provider's ``identity``."""
        return self.provider.identity

    def __repr__(self) -> str:
        # That of its manager, which logs and warnings name. Not the provider's: anybody's may be a data class that
        # shows its password.
        return f"<TokenManager {type(self.provider).__name__} {name_of(self.provider.name)!r}>"

    # What callers get

    async def token(self) -> Token:
        """Return a usable token, see `TokenManager.token`."""
        cached = self.state.cached
        if boottime() < cached.fast_until:
            return cached.token
        return (await self.obtain()).token

    async def obtain(self, use: Use = Use.BY_HAND) -> CachedToken:
        """Return a usable token: the slow path of everything that hands one out.

        Args:
            use: What it is for; it decides who gets a new token that the API may not know yet.

        Raises:
            AuthError: See `TokenManager.token`.
        """
        state, guard, clock = self.state, self.runtime.guard, self.runtime.clock
        if self.keeper is not None:
            await self.keeper.ready(self)
        uncounted = 1  # a caller counts once, though it may wait for several flights in turn
        orphaned = 0
        while True:
            with guard:
                cached = self.at_hand(use)
                if cached is not None:
                    self.plan()
                    return cached
                flight = self.flight
                if flight is None:  # else there is nothing to be begun, and no usable token
                    flight = self.join()
                    cached = self.at_hand(use, stale=True)
                    if cached is not None:
                        return cached
                state.waits += uncounted
                uncounted = 0
            try:
                if self.runtime.listeners.queues or _log.isEnabledFor(logging.DEBUG):
                    await self.emitter().waiting_for(flight)
                else:
                    await flight.wait(self.used_at)
            except FlightOrphaned:
                self.forget(flight)
                orphaned = count_orphaned(flight, orphaned, self.provider)
            # Whatever came of the flight: its token may have got a 401, or have run out, since.
            now, cached = clock.monotonic(), state.cached
            if cached.fallback is not None:
                with guard:
                    cached = state.hand_out(use, now)
            if now < cached.usable_until:
                return cached

    def at_hand(self, use: Use = Use.BY_HAND, *, stale: bool = False) -> CachedToken | None:
        """Return a usable token if nothing is to be begun for it; else ``None``. No I/O; needs no event loop.

        Under the guard.

        Args:
            use: What it is for.
            stale: Whether one will do for which a renewal is due, and not under way.

        Raises:
            AuthError: None is to be had now, and no try is to be made.
        """
        state, clock = self.state, self.runtime.clock
        if self.keeper is not None:
            self.keeper.note_use(self)
        if self.closed:
            self._check_open()
        self.used_at = now = clock.monotonic()
        flight = self.flight
        if flight is not None and not flight.done and now >= state.cached.serving(now).usable_until:
            return None  # ten thousand callers may come here; an orphaned flight tells those who wait for it
        self.forget_orphaned()
        cached = state.cached
        serving = cached.serving(now)
        if now < cached.fresh_until:
            if clock is SYSTEM_CLOCK and serving is cached:
                cached.fast_until = cached.fresh_until
        elif now < serving.usable_until:
            if not stale and self.flight is None and state.may_try(now):
                return None
        else:
            blocking = state.blocking_failure(now)
            if blocking is not None:
                raise blocking
            return None
        return state.hand_out(use, now)

    async def refresh(self) -> Token:
        """Obtain a new token now, and return it, see `TokenManager.refresh`."""
        if self.keeper is not None:
            await self.keeper.ready(self)
            self.keeper.note_use(self)
        for upstream in self.upstreams:
            upstream.clear_backoff()
        clock, orphaned = self.runtime.clock, 0
        while True:
            with self.runtime.guard:
                self._check_open()
                self.forget_orphaned()
                self.used_at = clock.monotonic()
                flight = self.join()
                flight.retry_now()
            try:
                await flight.wait()
            except FlightOrphaned:
                self.forget(flight)
                orphaned = count_orphaned(flight, orphaned, self.provider)
                continue
            cached = self.state.cached
            if clock.monotonic() < cached.usable_until:
                return cached.token

    def _check_open(self) -> None:
        if self.closed:
            raise ManagerClosed(
                "the manager was closed", advice="use it inside its 'async with'", provider=self.provider.name
            )

    def clear_backoff(self) -> None:
        """Let the next try be made at once, here and further upstream, whatever is being waited out."""
        for upstream in self.upstreams:
            upstream.clear_backoff()
        self.state.clear_backoff(self.runtime.clock.monotonic())
        flight = self.flight
        if flight is not None:
            flight.retry_now()

    # What the API says

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API refused a token (401), see `TokenManager.invalidate`."""
        cooldown = self.state.invalidate(token, repeat=repeat, now=self.runtime.clock.monotonic())
        if cooldown is not None:
            self.emitter().token_rejected(token, cooldown)

    def note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool) -> float | None:
        """Take note of a request's 401, and tell listeners; see `TokenState.note_api_401`. Return the pause."""
        now = self.runtime.clock.monotonic()
        noted = self.state.note_api_401(sent, repeat=repeat, foreign=foreign, again=again, now=now)
        if noted.cooldown is not None:
            self.emitter().token_rejected(sent.token, noted.cooldown)
        return noted.pause

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API accepted a token, see `TokenManager.accepted`."""
        self.state.accept(token, repeat=repeat)

    # The refresh

    def join(self) -> Flight[CachedToken]:
        """Return the one flight, which is under way from now on if it was not before. Under the guard.

        It is found and started under one lock: nobody meets one that has yet to be started, and may never be.
        """
        flight = self.flight
        if flight is None:
            flight = self.flight = Flight(self.runtime.clock, self.provider)
            seconds = self.options.deadline
            flight.start(partial(self._fly, flight), self.runtime.policy.deadline if seconds is None else seconds)
        if self.keeper is not None:
            self.keeper.note_flight(self)  # not a use, but the pool must not close the engine now
        return flight

    def forget(self, flight: Flight[CachedToken]) -> None:
        """Let go of a flight that has ended, or is orphaned."""
        with self.runtime.guard:
            if self.flight is flight:
                work = flight.work
                if work is not None:
                    work.abandon()
                self.flight = None
        if self.keeper is not None:
            self.keeper.note_flight_ended(self)

    def forget_orphaned(self) -> None:
        """Let go of a flight that is orphaned, or has ended; it may have had its answer."""
        flight = self.flight
        if flight is not None and flight.finished:
            self.forget(flight)

    async def _fly(self, flight: Flight[CachedToken]) -> CachedToken:
        """Do a refresh as the flight's task."""
        # Imported with the first refresh: until then a program has no use for it, nor for what it imports.
        from asyncauth._core.refresh import Refresh  # noqa: PLC0415

        try:
            make = Refresh if self.store_client is None else new_shared_refresh(self.store_client)
            refresh = make(
                self.provider,
                self.state,
                self.runtime,
                options=self.options,
                limiter=None if self.keeper is None else self.keeper.limiter,
                emitter=self.emitter,
            )
            flight.take_up(refresh)
            cached = await refresh.run(flight)
            flight.work = None  # nothing of it is left to be abandoned
            return cached
        finally:
            self.forget(flight)
            self.plan(anew=True)

    # How it is kept fresh

    def plan(self, *, anew: bool = False) -> None:
        """Set the timer of a loop where it is entered, if it is entered, for the next renewal."""
        idle, sessions = self.runtime.policy.idle_timeout, self.runtime.sessions
        with self.runtime.guard:  # whether it is entered, the timer and its handle belong together
            known = self.timer_handle is not None or self.flight is not None  # a flight plans anew when it ends
            if self.closed or idle == 0 or (known and not anew):
                return
            if not sessions.entered_here():
                sessions.hand_on(partial(self.plan, anew=anew))
                return
            cached, failure, now = self.state.cached, self.state.failure, self.runtime.clock.monotonic()
            if cached.last is None and failure is None:
                return  # nobody has wanted a token yet
            if now >= cached.usable_until and failure is not None and not failure.error.transient:
                return  # nothing to keep fresh, and nothing that time alone fixes: the next caller decides
            due = self.state.due()
            if due == math.inf:
                return
            if self.timer is None or not self.timer.is_here:
                self.timer = Timer.here(self.runtime.clock)
            self.timer.set(self, due if idle is None or due - idle <= now else due - idle)

    def found_by(self) -> tuple[Finder, Hashable]:
        """Return what finds it, without holding it."""
        return (weakref.ref(self), None) if self.keeper is None else (self.keeper.find, self.tenant)

    def on_time(self) -> None:
        """Renew if it is due and somebody has used the token of late."""
        now, idle = self.runtime.clock.monotonic(), self.runtime.policy.idle_timeout
        with self.runtime.guard:
            if self.closed:
                return
            due = self.state.due()
            if now < due:
                # One idle timeout before it is due: the next use passes the slow path, which notes it.
                self.state.cached.fast_until = -math.inf
                Timer.here(self.runtime.clock).set(self, due)
            elif (idle is None or now - self.used_at < idle) and self.state.may_try(now):
                self.forget_orphaned()
                self.join()

    # Its life

    def flights(self) -> Iterator[Flight[CachedToken]]:
        """Yield its flight and those further upstream."""
        flight = self.flight
        if flight is not None:
            yield flight
        for upstream in self.upstreams:
            yield from upstream.flights()

    def note_opened(self) -> None:
        """Count entering as a use."""
        self.used_at = self.runtime.clock.monotonic()

    def stop(self) -> Callable[[], Awaitable[None]]:
        """Begin nothing any more; return what ends what is under way. Under the guard."""
        self.state.cached.fast_until = -math.inf
        return partial(self._end, self.flight)

    async def _end(self, flight: Flight[CachedToken] | None) -> None:
        """End a flight, after the grace if its request is under way; and save what is unsaved."""
        if flight is not None:
            work = flight.work
            idle = work is not None and work.idle
            await end(flight, 0.0 if idle else self.runtime.policy.close_grace)
            self.forget(flight)
        if self.store_client is not None:
            await self.store_client.close()
