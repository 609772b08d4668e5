"""The heart: one provider's token, cached, renewed in time behind a single flight, replaced when it is refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from random import random as machine_random
from typing import TYPE_CHECKING, Any, Self

import attrs

from asyncauth._base.printable import name_of
from asyncauth._core.cache import CachedToken, TokenState
from asyncauth._core.flight import Flight, FlightOrphaned
from asyncauth._core.lifecycle import Closings, all_ended
from asyncauth._core.listeners import Listener, Listeners
from asyncauth._core.provider_members import check_members, check_origins, is_of_the_library
from asyncauth._core.provider_options import options_of
from asyncauth._core.refresh import Refresh
from asyncauth._core.runtime import Runtime, check
from asyncauth._core.sessions import Http, LoopEntry, Sessions, run_each
from asyncauth._core.store_client import StoreClient
from asyncauth._core.timer import Finder, Timer, TimerHandle
from asyncauth._core.trial import Use
from asyncauth._http.origin import is_served
from asyncauth.clock import SYSTEM_CLOCK, Clock, boottime
from asyncauth.errors import ConfigurationError, ManagerClosed
from asyncauth.policy import RefreshPolicy
from asyncauth.provider import Chained, Provider
from asyncauth.token import Token

if TYPE_CHECKING:
    import concurrent.futures
    import threading
    from collections.abc import Awaitable
    from types import TracebackType

    from yarl import URL

    from asyncauth._core.blocking import Blocking
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import RequestLimiter
    from asyncauth._http.carrier import Carrier
    from asyncauth.status import Revocation, Status
    from asyncauth.stores.base import TokenStore

__all__ = ["TokenManager"]

_DEFAULT_POLICY = RefreshPolicy()

_UPSTREAM_SHARE = 0.9
"""The part of its own deadline that a manager gives each manager it makes for an upstream provider."""

_log = logging.getLogger("asyncauth.manager")


@attrs.frozen
class _Closing:
    """What a closing ends, and what is done when it has."""

    finished: concurrent.futures.Future[None]
    flight: Flight[CachedToken] | None
    entries: list[LoopEntry]


class TokenManager:
    """Keeps one provider's token: always usable, renewed before anybody has to wait.

    ::

        async with TokenManager(Peakly(username=..., password=...)) as manager:
            headers = await manager.headers()

    Entered, it renews in the background and keeps a session for its token requests. Not entered it works as well,
    renews when it is asked, opens and closes a session for each refresh, and leaves nothing to close.

    Concurrency: any number of tasks, threads and event loops may use one manager at the same time; they share the
    token and make one token request together. Cancelling a caller never cancels the refresh it waits for.

    Args:
        provider: Whose token it is. Another provider in place of its credential becomes a manager of this one's own.
        http: What token requests are sent with: a function, plain or ``async``, that makes an ``aiohttp.ClientSession``
            for each event loop, which the manager closes; or a session, which stays yours and is used on its own event
            loop alone. ``None`` (default): sessions of the manager's own, without a proxy.
        store: Where it shares the token with other processes, see `asyncauth.stores`; ``None`` = with none. It stays
            the caller's to close.
        policy: When to renew, to give up, to try again.
        clock: ``None`` (default) = the machine's.
        random: Where the random numbers for jitter and backoff come from: a function that returns numbers from 0 to 1,
            called from any thread. For tests. ``None`` (default): the machine's, `random.random`.

    Raises:
        ConfigurationError: An argument can't work.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_closings",
        "_flight",
        "_options",
        "_owned",
        "_prover",
        "_provider",
        "_runtime",
        "_state",
        "_store_client",
        "_tenant",
        "_timer",
        "_timer_handle",
        "_used_at",
    )

    def __init__(
        self,
        provider: Provider,
        *,
        http: Http | None = None,
        store: TokenStore | None = None,
        policy: RefreshPolicy = _DEFAULT_POLICY,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        check(policy, http, clock, random, store)
        clock = SYSTEM_CLOCK if clock is None else clock
        random = machine_random if random is None else random
        runtime = Runtime(policy, clock, random, Sessions(http, policy.deadline / 2), Listeners())
        self._set_up(provider, runtime, None, http=http, store=store)

    def _set_up(
        self,
        provider: Provider,
        runtime: Runtime,
        tenant: Hashable,
        *,
        http: Http | None,
        store: TokenStore | None,
    ) -> None:
        """Begin with nothing.

        Args:
            provider: As given.
            runtime: What it works with.
            tenant: Its key in a pool; ``None`` = it is in none.
            http: As given.
            store: As given.
        """
        check_members(provider)
        self._runtime, self._tenant = runtime, tenant
        self._owned: tuple[TokenManager, ...] = ()
        self._provider = (
            provider.chained(lambda upstream: self._manage(upstream, http, store))
            if isinstance(provider, Chained)
            else provider
        )
        check_origins(self.origins)
        self._options = options_of(self._provider)
        self._prover = self._options.prover  # at hand for each request
        self._store_client = None if store is None else self._share(store)
        self._state = TokenState(self._policy, self._guard, self._options.carrier)
        self._flight: Flight[CachedToken] | None = None
        self._used_at = -math.inf
        self._timer: Timer | None = None
        self._timer_handle: TimerHandle | None = None
        self._closed = False
        self._closings: Closings | None = None  # most are closed once, and never entered again

    def _share(self, store: TokenStore) -> StoreClient:
        """Return this manager's entry in a store."""
        if self.identity is None:
            kind = type(self._provider).__name__
            if not is_of_the_library(self._provider):
                raise ConfigurationError(
                    f"a token of {kind} can't be shared: its identity is None; set it to a str without secrets that"
                    " differs wherever the token does"
                )
            whose = "dpop_key=" if self._prover is not None else "account='…'"
            raise ConfigurationError(
                f"a token of {kind} can't be shared: nothing says whose it is; write {kind}(…, {whose})"
            )
        return StoreClient(store, self.identity, self._clock, self._policy.store_timeout, self._emitter())

    def _manage(self, upstream: Provider, http: Http | None, store: TokenStore | None) -> TokenManager:
        """Return a manager of this one's own for an upstream provider, which renews only when it is asked."""
        # Upstream ends first, so that it says what went wrong: our own deadline could not tell which step it was.
        policy = attrs.evolve(self._policy, idle_timeout=0.0, deadline=_UPSTREAM_SHARE * self._policy.deadline)
        manager = TokenManager(
            upstream, http=http, store=store, policy=policy, clock=self._clock, random=self._runtime.random
        )
        manager._work_with(self._tenant, listeners=Listeners(owner=self._listeners), intermediate=True)
        self._owned = (*self._owned, manager)
        return manager

    def _work_with(self, tenant: Hashable, **shared: Any) -> None:
        """Have another's sessions or listeners in place of its own, as a manager that is made for that one.

        So have those further upstream, which were made before this one.
        """
        self._runtime, self._tenant = attrs.evolve(self._runtime, **shared), tenant
        if self._store_client is not None:
            self._store_client.emitter = self._emitter()
        for upstream in self._owned:
            upstream._work_with(tenant, **shared)

    @property
    def _policy(self) -> RefreshPolicy:
        return self._runtime.policy

    @property
    def _clock(self) -> Clock:
        return self._runtime.clock

    @property
    def _sessions(self) -> Sessions:
        return self._runtime.sessions

    @property
    def _listeners(self) -> Listeners:
        return self._runtime.listeners

    @property
    def _guard(self) -> threading.RLock:
        """Over the flight, who starts it, and the state."""
        return self._runtime.guard

    def _emitter(self) -> Emitter:
        """Return what tells of this manager's events."""
        # Imported with the first event: its classes take a twentieth of what `import aiohttp` takes.
        from asyncauth._core.emitter import Emitter, account_of  # noqa: PLC0415

        try:
            name, identity = self._provider.name, self._provider.identity
        except Exception:  # noqa: BLE001 (a provider may be anybody's: no reason to have no token)
            name, identity = type(self._provider).__name__, None
        return Emitter(
            provider=name_of(name),
            account=account_of(identity),
            tenant=self._tenant,
            clock=self._clock,
            listeners=self._listeners,
            step=self._options.step,
            intermediate=self._runtime.intermediate,
        )

    # What callers use

    async def token(self) -> Token:
        """Return a usable token.

        Fresh: at once, with no lock and no I/O. Stale: at once as well, and one refresh gets under way. Spent:
        after the one refresh that all callers wait for together.

        Raises:
            CredentialsRejected: The server refused the credential; it is not asked again for a while.
            TokenEndpointUnavailable: No token could be had within the policy's deadline, or the server asked for
                longer than that.
            InvalidTokenResponse: The server's answer can't be used.
            ManagerClosed: The manager was closed.
            AuthError: Another reason, such as a credential callable that failed.
        """
        cached = self._state.cached
        if boottime() < cached.fast_until:
            return cached.token
        return (await self._obtain()).token

    async def headers(self, url: str | URL | None = None) -> dict[str, str]:
        """Return ``{"Authorization": "Bearer …"}`` with a usable token, new each time. Raises as `token` does.

        Where the provider declares another header or a cookie, it is that one: ``{"Cookie": "SESSION=…"}``.

        Args:
            url: The whole URL of the request that the headers are for. If its origin is not one of `origins`, the
                result is ``{}``, and no token is obtained. ``None`` (default): it is for the caller to see that the
                headers go nowhere else. A client that follows redirects may take them to another origin.

        Raises:
            ConfigurationError: The token is bound to a key (DPoP), so each request needs a proof of its own; it is
                carried in the query; or ``url`` is not an absolute URL.
            InsecureTransport: ``url`` is plain http to a host that is served by https.
        """
        carrier = self._carrier_for(url)
        if carrier is None:
            return {}
        cached = self._state.cached
        if boottime() >= cached.fast_until:
            cached = await self._obtain()
        return carrier.as_headers(cached.authorization)

    def _carrier_for(self, url: str | URL | None) -> Carrier | None:
        """Return what makes the headers for a URL; ``None``: the token may not go there. Raises as `headers` does."""
        if self._prover is not None:
            raise ConfigurationError("a DPoP token goes with a proof for each request: let BearerAuth send it")
        carrier = self._options.carrier
        if carrier.place == "query":
            raise ConfigurationError(
                f"no header carries this token: let BearerAuth send it, or pass"
                f" params={{{carrier.name!r}: (await manager.token()).value}}"
            )
        if url is not None and not is_served(url, self.origins, self.insecure_hosts):
            return None
        return carrier

    async def refresh(self) -> Token:
        """Obtain a new token now, and return it.

        Tries at once, whatever was being waited out: a backoff, a ``Retry-After``, a remembered refusal. Joins the
        refresh that is under way, if one is. In a chain that was made in one call, each step tries at once.

        Raises:
            AuthError: As `token` does; also while the held token is still usable, which stays in place.
        """
        for upstream in self._owned:
            upstream._clear_backoff()
        while True:
            with self._guard:
                self._check_open()
                self._forget_orphaned()
                self._used_at = self._clock.monotonic()
                flight = self._join()
                flight.retry_now()
            try:
                await flight.wait()
            except FlightOrphaned:
                self._forget(flight)
                continue
            cached = self._state.cached
            if self._clock.monotonic() < cached.usable_until:
                return cached.token

    @property
    def blocking(self) -> Blocking:
        """The same for code without an event loop: ``manager.blocking.token()``, ``.headers()``, ``.refresh()``."""
        from asyncauth._core.blocking import Blocking  # noqa: PLC0415 (most programs have an event loop)

        return Blocking(self)

    def _clear_backoff(self) -> None:
        """Let the next try be made at once, here and further upstream, whatever is being waited out."""
        for upstream in self._owned:
            upstream._clear_backoff()
        self._state.clear_backoff(self._clock.monotonic())
        flight = self._flight
        if flight is not None:
            flight.retry_now()

    def invalidate(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API refused this token (401). No I/O, any thread.

        It is dropped, unless it is not the current one any more, so a late refusal of an old token costs nothing.
        When replacements are refused as well, a cool-down begins in which this changes nothing: some servers answer
        401 where 403 is meant, and logging in on every request would not help.

        Args:
            token: The refused one.
            repeat: Whether it was sent in the repeat of a request whose first token was refused.
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"invalidate takes the Token that was refused, not {type(token).__name__}")
        cooldown = self._state.invalidate(token, repeat=repeat, now=self._clock.monotonic())
        if cooldown is not None:
            self._emitter().token_rejected(token, cooldown)

    def _note_api_401(self, sent: CachedToken, *, repeat: bool, foreign: bool, again: bool) -> float | None:
        """Take note of a request's 401, and tell listeners; see `TokenState.note_api_401`. Return the pause."""
        noted = self._state.note_api_401(sent, repeat=repeat, foreign=foreign, again=again, now=self._clock.monotonic())
        if noted.cooldown is not None:
            self._emitter().token_rejected(sent.token, noted.cooldown)
        return noted.pause

    def accepted(self, token: Token, *, repeat: bool = False) -> None:
        """Take note that the API accepted this token: any answer but a 401 that the token explains.

        Args:
            token: The accepted one.
            repeat: Whether it was sent in the repeat of a request whose first token was refused.
        """
        if not isinstance(token, Token):
            raise ConfigurationError(f"accepted takes the Token that was accepted, not {type(token).__name__}")
        self._state.accept(token, repeat=repeat)

    @property
    def current(self) -> Token | None:
        """The token if it is usable, without I/O; else ``None``."""
        now = self._clock.monotonic()
        cached = self._state.cached.serving(now)
        return cached.token if now < cached.usable_until else None

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the token may be sent: the provider's ``origins``."""
        origins: object = self._provider.origins
        if isinstance(origins, str):
            return (origins,)
        if not isinstance(origins, Iterable):
            raise ConfigurationError(f"the provider's origins are {type(origins).__name__}, not a tuple of str")
        return tuple(origins)

    @property
    def insecure_hosts(self) -> frozenset[str]:
        """The hosts to which the token may travel by plain http: the provider's ``insecure_hosts``."""
        return self._options.insecure_hosts

    @property
    def identity(self) -> str | None:
        """The provider's ``identity``: a string without secrets that differs wherever the token does."""
        return self._provider.identity

    def status(self) -> Status:
        """Return a snapshot for people and health checks. No I/O, any thread."""
        flight = self._flight
        status = self._state.status(
            name_of(self._provider.name),
            now=self._clock.monotonic(),
            refreshing=flight is not None and not flight.finished,
            waiting=0 if flight is None else flight.waiting,
            waiting_for=None if flight is None else flight.waiting_for,
            store=None if self._store_client is None else self._store_client.trouble or "ok",
        )
        if any(upstream.status().cooling_down for upstream in self._owned):
            return attrs.evolve(status, cooling_down=True)
        return status

    def add_listener(self, listener: Listener) -> None:
        """Tell a function of each event from now on: see `asyncauth.events`. Any thread.

        A plain function is called in a thread of its own, so it may block; an ``async`` one is run on the event loop
        where it is added, in a task of its own. Each is told one event after another, in their order, after the
        fact: it can neither slow nor break a refresh. What it raises is logged, once, by class and place. One that
        is 10,000 events behind misses some. `close` lets it catch up for `RefreshPolicy.close_grace`.

        In a chain that was made in one call it is told of each step's events; a manager of a pool tells of all the
        pool's.

        Args:
            listener: A function of one `Event`. Adding it again changes nothing.

        Raises:
            ConfigurationError: It can't be called; or it is ``async``, and no event loop is running.
        """
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell a function nothing more. One that was never added changes nothing. Any thread."""
        self._listeners.remove(listener)

    # Its life

    async def __aenter__(self) -> Self:
        while True:
            await self._wait_for_closings()
            with self._guard:  # in which no thread can begin another
                if not self._closing:
                    self._enter()
                    return self

    def _enter(self) -> None:
        for upstream in self._owned:
            upstream._enter()
        with self._guard:
            self._closed = False
            self._sessions.enter()
            self._used_at = self._clock.monotonic()
        self._plan(anew=True)  # an earlier timer handle may be on a loop that ended

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._guard:
            entry = self._sessions.leave()
            flight = self._flight
            closing = None if entry is None or self._sessions.entered() else self._begin_closing()
        async with contextlib.AsyncExitStack() as rest:  # to the last, also when the caller is cancelled meanwhile
            for upstream in self._owned:
                rest.push_async_callback(upstream.__aexit__, exc_type, exc, traceback)
            if entry is None:  # closed from elsewhere, perhaps, which may have something left to do on this loop
                await self._wait_for_closings()
            elif closing is not None:
                await self._close(closing, entry)
            else:
                rest.callback(self._plan)  # on another loop, if the timer was this one's
                rest.push_async_callback(entry.run, self._leave_here)
                if flight is not None and flight.here:
                    await flight.drain(self._policy.close_grace)

    async def close(self) -> None:
        """End what the manager does: the background renewal, and a refresh that is under way.

        A refresh whose request is under way gets `RefreshPolicy.close_grace` to finish; callers that still wait then
        get ``ManagerClosed``, as later ones do. Nothing is left behind. Closing again does nothing; entering again
        reopens, after whatever is being closed.
        """
        with self._guard:
            closing = self._begin_closing()
        await self._close(closing)

    async def revoke(self) -> Revocation:
        """Log out: have the server revoke the tokens (RFC 7009), forget them here and in the store, and close.

        A refresh that is under way is waited for, and what it brings is revoked as well; callers that wait for it get
        ``ManagerClosed``. The refresh token is revoked first, then the access token; in a chain that was made in one
        call, those of the earlier steps after that. Tokens that can't be revoked are forgotten, too: the result says
        which, why, and until when whoever has them may use them.

        With a store, what all its processes share is revoked and deleted, under the store's lock. A process that still
        holds the access token meets the API's 401, and obtains a token by its own credential if it has one. The store
        must not be closed yet.

        Afterwards the manager is closed. Entered again it obtains a token anew, by the provider's own credential.
        Cancelled, it forgets nothing that was not revoked yet, and closes.

        Returns:
            What was revoked, and what was not. It takes `RefreshPolicy.deadline` per step of a chain at most. A server
            that can't answer is asked again until then.
        """
        from asyncauth.status import Revocation  # noqa: PLC0415 (few programs log out)

        with self._guard:
            flights = list(self._all_flights())
            closing = self._begin_closing()
        try:
            for flight in flights:
                await flight.finish()
            revocations = [await each._revoke_tokens() for each in self._all_managers()]
        finally:
            await self._close(closing)
        return Revocation(
            tokens=tuple(token for each in revocations for token in each.tokens),
            store=next((each.store for each in revocations if each.store is not None), None),
        )

    async def _revoke_tokens(self) -> Revocation:
        """Revoke and forget this manager's tokens, and those that its store holds."""
        from asyncauth._core.revoke import Logout  # noqa: PLC0415

        logout = Logout(self._provider, self._state, self._runtime, self._store_client)
        return await logout.run()

    def _all_managers(self) -> Iterator[TokenManager]:
        """Yield this manager and those further upstream."""
        yield self
        for upstream in self._owned:
            yield from upstream._all_managers()

    async def _wait_for_closings(self) -> None:
        """Return when the closings that are under way, on any loop, have ended; or should have."""
        await all_ended(list(self._all_closings()), self._policy.close_grace)

    @property
    def _closing(self) -> bool:
        """Whether a closing of this manager, or further upstream, is under way."""
        return any(closings.pending for closings in self._all_closings())

    def _all_closings(self) -> Iterator[Closings]:
        """Yield this manager's and those further upstream."""
        closings = self._closings
        if closings is not None:
            yield closings
        for upstream in self._owned:
            yield from upstream._all_closings()

    def _all_flights(self) -> Iterator[Flight[CachedToken]]:
        """Yield this manager's flight and those further upstream."""
        flight = self._flight
        if flight is not None:
            yield flight
        for upstream in self._owned:
            yield from upstream._all_flights()

    def _begin_closing(self) -> _Closing:
        """Let nobody in any more. Under the guard."""
        self._closed = True
        self._state.cached.fast_until = -math.inf
        if self._closings is None:
            self._closings = Closings()
        finished = self._closings.begin(*self._all_flights())
        return _Closing(finished, self._flight, self._sessions.leave_all())

    async def _close(self, closing: _Closing, *entries: LoopEntry) -> None:
        flight = closing.flight
        patience = 0.0  # with listeners, of a caller who is cancelled
        try:
            if flight is not None:
                work = flight.work
                idle = work is not None and work.idle
                await flight.end(0.0 if idle else self._policy.close_grace)
                self._forget(flight)
            if self._store_client is not None:
                await self._store_client.close()
            patience = self._policy.close_grace
        finally:  # also when the caller is cancelled during the grace, and again
            try:
                async with contextlib.AsyncExitStack() as rest:
                    for upstream in self._owned if self._closed else ():  # not if it has been entered again, since
                        rest.push_async_callback(upstream.close)
                    await run_each([*entries, *closing.entries], self._leave_here)
            except asyncio.CancelledError:
                patience = 0.0
                raise
            finally:
                try:
                    await self._listeners.settle(patience)  # last: all of the above may have told of something
                finally:
                    closing.finished.set_result(None)

    async def _leave_here(self, entry: LoopEntry) -> None:
        """End what the manager has on the running loop: not what is new there, since it was entered again."""
        timer = Timer.here(self._clock)
        with self._guard:
            if self._timer is timer and not self._sessions.entered_here():
                self._timer, self._timer_handle = None, None
        try:
            await timer.sweep()
        finally:
            await entry.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        runtime: Runtime | None = getattr(self, "_runtime", None)  # None = __init__ refused its arguments
        if runtime is not None and runtime.sessions.unclosed():
            _warn(f"Unclosed {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        # Not the provider's repr: anybody's may be a data class that shows its password.
        return f"<TokenManager {type(self._provider).__name__} {name_of(self._provider.name)!r}>"

    # How it obtains a token

    @property
    def _limiter(self) -> RequestLimiter | None:
        """Where its refreshes wait for a slot; ``None`` = they need not. The managers of a pool share one."""
        return None

    async def _obtain(self, use: Use = Use.BY_HAND) -> CachedToken:
        """Return a usable token: the slow path of everything that hands one out.

        Args:
            use: What it is for; it decides who gets a new token that the API may not know yet.
        """
        state = self._state
        while True:
            with self._guard:
                cached = self._at_hand(use)
                if cached is not None:
                    self._plan()
                    return cached
                flight = self._join()
                cached = self._at_hand(use, stale=True)
                if cached is not None:
                    return cached
                state.waits += 1
            try:
                await self._wait(flight)
            except FlightOrphaned:
                self._forget(flight)
            # Whatever came of the flight: its token may have got a 401, or have run out, since.
            with self._guard:
                now = self._clock.monotonic()
                cached = state.hand_out(use, now)
            if now < cached.usable_until:
                return cached

    def _at_hand(self, use: Use = Use.BY_HAND, *, stale: bool = False) -> CachedToken | None:
        """Return a usable token if nothing is to be begun for it; else ``None``. No I/O; needs no event loop.

        Args:
            use: What it is for.
            stale: Whether one will do for which a renewal is due, and not under way.

        Raises:
            AuthError: None is to be had now, and no try is to be made.
        """
        state = self._state
        with self._guard:
            self._check_open()
            self._forget_orphaned()
            cached, now = state.cached, self._clock.monotonic()
            serving = cached.serving(now)
            self._used_at = now
            if now < cached.fresh_until:
                if self._clock is SYSTEM_CLOCK and serving is cached:
                    cached.fast_until = cached.fresh_until
            elif now < serving.usable_until:
                if not stale and self._flight is None and state.may_try(now):
                    return None
            else:
                blocking = state.blocking_failure(now)
                if blocking is not None and self._flight is None:
                    raise blocking
                return None
            return state.hand_out(use, now)

    def _wait(self, flight: Flight[CachedToken]) -> Awaitable[CachedToken]:
        """Return what waits for a flight; if anybody wants to know, it tells how long."""
        wanted = self._listeners or _log.isEnabledFor(logging.DEBUG)
        return self._told_wait(flight) if wanted else flight.wait()

    async def _told_wait(self, flight: Flight[CachedToken]) -> CachedToken:
        flight.note_caller()
        since = self._clock.monotonic()
        try:
            cached = await flight.wait()
        except FlightOrphaned:
            raise
        except BaseException as error:
            self._emitter().request_waited(self._clock.monotonic() - since, error)
            raise
        self._emitter().request_waited(self._clock.monotonic() - since, None)
        return cached

    def _check_open(self) -> None:
        if self._closed:
            raise ManagerClosed("the manager was closed: use it inside its 'async with'", provider=self._provider.name)

    def _join(self) -> Flight[CachedToken]:
        """Return the one flight, which is under way from now on if it was not before. Under the guard.

        It is found and started under one lock: nobody meets one that has yet to be started, and may never be.
        """
        flight = self._flight
        if flight is None:
            flight = self._flight = Flight(self._clock)
            flight.start(partial(self._fly, flight), self._policy.deadline)
        return flight

    def _forget(self, flight: Flight[CachedToken]) -> None:
        """Let go of a flight that has ended, or was lost with its loop."""
        with self._guard:
            if self._flight is flight:
                work = flight.work
                if work is not None:
                    work.abandon()
                self._flight = None

    def _forget_orphaned(self) -> None:
        """Let go of a flight that was lost with its loop; it may have had its answer."""
        flight = self._flight
        if flight is not None and flight.finished:
            self._forget(flight)

    def _refresh_of(self, flight: Flight[CachedToken]) -> Refresh:
        """Return the work of a flight."""
        refresh = Refresh(
            self._provider,
            self._state,
            self._runtime,
            options=self._options,
            store_client=self._store_client,
            limiter=self._limiter,
            emitter=self._emitter(),
        )
        flight.work = refresh
        # What was asked of the flight before there was anything to ask it of.
        if flight.hurried:
            refresh.retry_now()
        if flight.leaving:
            refresh.leave()
        if flight.done:
            refresh.abandon()
        return refresh

    async def _fly(self, flight: Flight[CachedToken]) -> CachedToken:
        """Do a refresh as the flight's task."""
        try:
            return await self._told(flight, self._refresh_of(flight))
        finally:
            self._forget(flight)
            self._plan(anew=True)

    async def _told(self, flight: Flight[CachedToken], refresh: Refresh) -> CachedToken:
        """Do a refresh, and tell of it."""
        since = self._clock.monotonic()
        refresh.emitter.refresh_started(self._state.phase(since))
        try:
            cached = await refresh.run(flight)
        except BaseException as error:
            seconds = self._clock.monotonic() - since
            refresh.emitter.refresh_failed(error, seconds=seconds, waiters=flight.waiting, callers=flight.callers)
            raise
        now = self._clock.monotonic()
        refresh.emitter.refresh_succeeded(
            cached.token,
            adopted=refresh.adopted,
            usable_for=cached.usable_until - now,
            seconds=now - since,
            waiters=flight.waiting,
            callers=flight.callers,
        )
        return cached

    # How it is kept fresh

    def _plan(self, *, anew: bool = False) -> None:
        """Set the timer of a loop where the manager is entered, if it is entered, for the next renewal."""
        with self._guard:  # whether it is entered, the timer and the appointment belong together
            self._appoint(anew=anew)

    def _appoint(self, *, anew: bool) -> None:
        idle = self._policy.idle_timeout
        known = self._timer_handle is not None or self._flight is not None  # a flight plans anew when it ends
        if self._closed or idle == 0 or (known and not anew):
            return
        if not self._sessions.entered_here():
            self._sessions.hand_on(partial(self._plan, anew=anew))
            return
        cached, failure, now = self._state.cached, self._state.failure, self._clock.monotonic()
        if cached.last is None and failure is None:
            return  # nobody has wanted a token yet
        if now >= cached.usable_until and failure is not None and not failure.error.transient:
            return  # nothing to keep fresh, and nothing that time alone mends: the next caller decides
        due = self._state.due()
        if due == math.inf:
            return
        self._timer = Timer.here(self._clock)
        self._timer.set(self, due if idle is None or due - idle <= now else due - idle)

    def _found_by(self) -> tuple[Finder, Hashable]:
        return weakref.ref(self), None

    def _on_time(self) -> None:
        """Renew if it is due and somebody has used the token of late."""
        now, idle = self._clock.monotonic(), self._policy.idle_timeout
        with self._guard:
            if self._closed:
                return
            due = self._state.due()
            if now < due:
                # One idle timeout before it is due: the next use passes the slow path, which notes it.
                self._state.cached.fast_until = -math.inf
                Timer.here(self._clock).set(self, due)
            elif (idle is None or now - self._used_at < idle) and self._state.may_try(now):
                self._forget_orphaned()
                self._join()
