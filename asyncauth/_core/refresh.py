"""One refresh: a token adopted or fetched, in as many tries as its deadline allows."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from typing import TYPE_CHECKING, Protocol

import attrs

from asyncauth._base.loops import call_soon
from asyncauth._core.failures import (
    FailedTry,
    SharedHold,
    WhileBlocked,
    is_outage,
    kind_of_failed_try,
    rejections_in_force,
    remember_failure,
    remember_rejection,
)
from asyncauth._core.frames import bare
from asyncauth._core.outages import Outage
from asyncauth._core.provider_members import FETCH
from asyncauth._core.provider_options import endpoint_of
from asyncauth._core.store_client import CLOCK_ADJUSTED, StoreClient
from asyncauth._core.store_trouble import StoreTrouble
from asyncauth._core.try_state import TryState, set_try
from asyncauth._core.user_code import call_user, sanitize
from asyncauth.clock import within
from asyncauth.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    LockTimeout,
    StoreError,
    TokenEndpointUnavailable,
)
from asyncauth.token import Token

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncGenerator

    import aiohttp

    from asyncauth._core.cache import CachedToken, TokenState
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import LoopSlots, RequestLimiter
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.store_lock import LockHandle
    from asyncauth.entry import Entry, Rejection
    from asyncauth.provider import Provider

__all__ = ["Callers", "Refresh"]

_LONGEST_LOCK_WAIT = 15.0
"""Seconds that waiting for another process' refresh may take."""
_LOCK_WAIT_ON_LEAVING = 2.0
"""The same where nobody needs the token yet and the event loop is about to end."""
_GLANCE_AT_STORE = 0.5
"""Seconds between looks at whether another process has a token, while callers wait for our next try."""
_NEXT_TOKEN = 0.5
"""Seconds after which a server that caches its tokens is asked again, when the cached one has nothing left."""
_LONGEST_OUTAGE_UNDER_LOCK = 10.0
"""Seconds for which the store's lock is kept between the tries of an outage."""
_STORE_CALLS = 12
"""Calls to the store that a refresh may have to make when its time is over, to keep what it brought."""
_TIME_TO_FETCH = 10.0
"""Seconds of the deadline that are left for our own, if the other's does not come."""


class Callers(Protocol):
    """Who waits for a refresh."""

    callers: list[contextvars.Context]
    """The contexts of the first of those who waited and noted theirs."""

    @property
    def callers_wait(self) -> bool:
        """Whether a caller waits: for this refresh, or for one that waits for it."""
        ...

    @property
    def waiting(self) -> int:
        """How many wait."""
        ...

    @property
    def waiting_for(self) -> float | None:
        """Seconds for which the first of them has waited; ``None``: nobody waits."""
        ...


class Refresh:
    """The work of one flight. What it brings, and what went wrong, it tells the manager's state.

    Args:
        provider: Whom it asks.
        state: The manager's.
        runtime: The manager's.
        options: What the provider declares besides.
        store_client: The manager's entry in a store shared with other processes; ``None`` = there is no store.
        limiter: Where it waits for a slot to ask the provider; ``None`` = it need not.
        emitter: Where it tells of what happens.

    Attributes:
        adopted: Whether the token that it brought is another process'.
        emitter: As given.
    """

    __slots__ = (
        "_allowed",
        "_asked_endpoint",
        "_at_once",
        "_clock",
        "_endpoint",
        "_given_up",
        "_hurries",
        "_judgement",
        "_keeping",
        "_leaves",
        "_limiter",
        "_lock_handle",
        "_options",
        "_outages",
        "_policy",
        "_provider",
        "_queued_at",
        "_random",
        "_rejection",
        "_sent",
        "_sessions",
        "_slots",
        "_state",
        "_store_client",
        "_store_time",
        "_wakes",
        "_without_token",
        "adopted",
        "asking",
        "deadline",
        "emitter",
        "rest",
    )

    def __init__(
        self,
        provider: Provider,
        state: TokenState,
        runtime: Runtime,
        *,
        options: OptionValues,
        store_client: StoreClient | None,
        limiter: RequestLimiter | None,
        emitter: Emitter,
    ) -> None:
        self.adopted = False
        self.emitter = emitter
        self._provider = provider
        self._options = options
        self._state = state
        self._sessions = runtime.sessions
        self._clock = clock = runtime.clock
        self._random = runtime.random
        self._store_client = store_client
        self._policy = policy = runtime.policy
        self._rejection: Rejection | None = None
        self._limiter = limiter
        self._slots: LoopSlots | None = None
        self._queued_at = -math.inf
        self._at_once = False
        self._sent = True
        self._given_up = self._leaves = False
        self._allowed = policy.deadline if options.deadline is None else options.deadline
        self.deadline = clock.monotonic() + self._allowed
        self._store_time = 0.0 if store_client is None else _STORE_CALLS * policy.store_timeout
        self.rest: asyncio.Future[None] | None = None
        self.asking: _Asking | None = None
        self._lock_handle: LockHandle | None = None
        self._keeping = False
        self._wakes = 0
        self._outages = runtime.outages
        self._endpoint = None if runtime.outages is None else endpoint_of(provider)
        self._asked_endpoint = False
        self._judgement: bool | None = None  # of the last failed try, if that was remembered already
        self._hurries = False
        self._without_token: tuple[str | None, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it waits for its next try, or for a slot, so that nothing is in progress."""
        return self.rest is not None or self._slots is not None

    @property
    def due(self) -> float:
        """When it should have ended, in seconds of the clock's ``monotonic()``. Any thread."""
        deadline, slots = self.deadline, self._slots
        if slots is not None:
            # Each answer gives those in the queue their patience anew; then those who have a turn use it up at most.
            patience = deadline - self._queued_at
            deadline = max(deadline, slots.answered_at + patience) + self._allowed
        return deadline + self._store_time if self._keeping else deadline

    def retry_now(self) -> None:
        """Make the next try at once, if it rests, and with whatever credential there is. From any thread."""
        self._state.clear_backoff(self._clock.monotonic())
        self._at_once = True
        asking = self.asking
        if asking is not None:
            asking.context.credential_rejected, asking.context.rejected = None, frozenset()
        self.wake()

    def nudge(self) -> None:
        """Look again when the next try is due, if it rests for longer than with callers. From any thread."""
        if not self._hurries:
            self.wake()

    def wake(self) -> None:
        """Look again when the next try is due, if it rests. From any thread."""
        self._wakes += 1
        rest = self.rest
        if rest is not None:
            call_soon(rest.get_loop(), rest.cancel)  # or its loop was closed, and it with it

    def leave(self) -> None:
        """Make no further try, and wait for no other process: the loop is about to end. From any thread."""
        self._leaves = True
        self.wake()

    def abandon(self) -> None:
        """Take note that nothing more will come of it: its loop ended under it, perhaps. From any thread.

        A request that was not begun yet is never made.
        """
        self._given_up = True
        with self._state.guard:
            asking, self.asking = self.asking, None
            if asking is not None:
                self._cut_short(asking)
        lock_handle = self._lock_handle
        if lock_handle is not None:
            lock_handle.abandon()

    async def run(self, callers: Callers) -> CachedToken:
        """Return a token that is held from now on.

        Args:
            callers: Who waits for it. While any does, the next try is made sooner.

        Raises:
            AuthError: None could be had before the deadline, or another try makes no sense.
        """
        emitter, monotonic = self.emitter, self._clock.monotonic
        since = monotonic()
        emitter.refresh_started(self._state.phase(since))
        try:
            cached = await self._run(callers)
        except BaseException as error:
            seconds = monotonic() - since
            emitter.refresh_failed(error, seconds=seconds, waiters=callers.waiting, callers=callers.callers)
            raise
        finally:
            outage = self._outage
            if outage is not None:
                outage.leave(self)
        now = monotonic()
        emitter.refresh_succeeded(
            cached.token,
            adopted=self.adopted,
            usable_for=cached.usable_until - now,
            seconds=now - since,
            waiters=callers.waiting,
            callers=callers.callers,
        )
        return cached

    async def _run(self, callers: Callers) -> CachedToken:
        rejected: AuthError | None = None
        while True:
            await self._wait_out(callers)
            await self._wait_for_news(callers)
            self._sent = self._withheld() is None  # else only another credential is
            try:
                cached = await self._try(callers)
            except AuthError as error:
                judgement, self._judgement = self._judgement, None
                if not (self._goes_on(error, callers) if judgement is None else judgement):
                    if rejected is None or self._sent:
                        raise
                    break
                rejected = error if isinstance(error, CredentialsRejected) else None
            else:
                if cached is not None:
                    return cached
        raise rejected  # what the server said: a second look at the credential brought nothing new

    async def _try(self, callers: Callers) -> CachedToken | None:
        """Make a try, and tell other tenants what it shows; ``None``: another one makes it."""
        self._asked_endpoint = False
        try:
            cached = await self._adopt_or_fetch(callers)
        except _NotNow:
            return None
        except AuthError as error:
            self._tell_news(error)
            raise
        self._tell_news()
        return cached

    def _withheld(self) -> CredentialsRejected | None:
        """Return the refusal of a credential that must not be sent now, but may have changed since."""
        failure = self._state.failure
        return None if failure is None else failure.withheld(self._clock.monotonic())

    async def _wait_out(self, callers: Callers) -> None:
        """Return when the last failure allows another try, or another process has a token.

        Raises:
            AuthError: The last failure again: it can't be waited out before the deadline.
        """
        while True:
            wakes, self._hurries = self._wakes, False  # first: from here on others' threads wake it
            failure, now = self._state.failure, self._clock.monotonic()
            if failure is None or failure.while_blocked is WhileBlocked.ASK:
                return
            self._hurries = callers.callers_wait
            due = failure.due(callers_wait=self._hurries)
            if now >= due:
                return
            if failure.may_ask(now):
                self._state.ask(now)
                return
            nobody_waits = self._leaves and not callers.callers_wait
            if failure.while_blocked is WhileBlocked.FAIL or due > self.deadline or nobody_waits:
                raise failure.seen(now)
            left = due - now
            await self._rest_for(left if self._store_client is None else min(left, _GLANCE_AT_STORE), wakes)
            if await self._others_have_news():
                return

    @property
    def _outage(self) -> Outage | None:
        """What the other tenants of a pool know of an outage of this one's endpoint; ``None``: nothing."""
        return None if self._outages is None or self._endpoint is None else self._outages.here().get(self._endpoint)

    async def _wait_for_news(self, callers: Callers) -> None:
        """Return when this is the one to try, of the tenants of a pool whose endpoint is down.

        Raises:
            TokenEndpointUnavailable: It still was at the deadline.
        """
        while not self._at_once:
            wakes, self._hurries = self._wakes, False
            outage, now = self._outage, self._clock.monotonic()
            self._hurries = callers.callers_wait
            if outage is None or now >= (due := outage.due(self, callers_wait=self._hurries)):
                return
            if now >= self.deadline:
                raise TokenEndpointUnavailable(
                    "the endpoint is down, as another tenant's token requests show",
                    provider=self._provider.name,
                    endpoint=self._endpoint,
                )
            await self._rest_for(min(due, self.deadline) - now, wakes)

    def _tell_news(self, error: AuthError | None = None) -> None:
        """Tell the other tenants of a pool whether their endpoint answers; ``None``: it has given a token."""
        if self._outages is None or self._endpoint is None or self.adopted or not self._asked_endpoint:
            return
        outages = self._outages.here()
        outage = outages.get(self._endpoint)
        if error is not None and is_outage(error):
            failure = remember_failure(
                error,
                None if outage is None else outage.failure,
                self._policy,
                now=self._clock.monotonic(),
                deadline=self.deadline,
                unit_random=self._random(),
            )
            if outage is None:
                outage = outages[self._endpoint] = Outage(failure)
            outage.failed(self, failure)
        elif outage is not None and (error is None or not error.transient):
            del outages[self._endpoint]
            outage.end()

    async def _rest_for(self, seconds: float, wakes: int) -> None:
        """Rest until the time is up or somebody wakes it, once more than the ``wakes`` before this was decided on.

        Raises:
            CancelledError: The loop is about to end. Whoever waits makes the next try on another one.
        """
        if self._leaves:
            raise asyncio.CancelledError
        rest = asyncio.ensure_future(self._clock.sleep(seconds))
        self.rest = rest
        try:
            if self._wakes == wakes:  # else another thread's came before there was something to cancel
                await asyncio.wait((rest,))
        finally:
            self.rest = None
            rest.cancel()

    async def _others_have_news(self) -> bool:
        """Return whether there is no usable token here, and another process has stored one."""
        store_client, before = self._store_client, self._state.cached
        if store_client is None or self._clock.monotonic() < before.usable_until:
            return False
        try:
            async with store_client.opened():
                stored = await store_client.load()
        except StoreTrouble as trouble:
            store_client.note(trouble)
            return False
        if stored is None or stored.token is None or not store_client.is_news(stored):
            return False
        now, wall = self._clock.monotonic(), self._clock.wall()
        adoptable = self._state.adoptable(
            stored.token, before=before, now=now, wall=wall, unit_random=0, store_time=store_client.refresh_time
        )
        return adoptable is not None

    async def _adopt_or_fetch(self, callers: Callers) -> CachedToken:
        """Obtain a token in one try: from the store, if another process has been faster; else from the provider."""
        store_client, before = self._store_client, self._state.cached
        if store_client is None:
            async with self._slot():
                return await self._fetch(before.last, TryState(self._clock))
        try:
            await store_client.keep_open(self._sessions)
            async with store_client.opened():
                if before.api_401:
                    await store_client.delete(before.token)
                adopted = await self._adopt(store_client, await store_client.load())
                cached = adopted or await self._fetch_alone(store_client, callers)
            store_client.note_success()
        except StoreTrouble as trouble:
            problem = trouble
        except AuthError:
            store_client.note_success()
            raise
        else:
            return cached
        store_client.note(problem)
        if store_client.strict or self._options.needs_lock:
            kind = LockTimeout if problem.lock_timeout else StoreError
            raise kind(f"the token store fails: {problem}", provider=self._provider.name)
        # No refresh token without the lock: another process may be using it up at this moment.
        last = before.last
        last = None if last is None else attrs.evolve(last, refresh_token=None)
        async with self._slot():
            return await self._fetch(last, TryState(self._clock))

    async def _fetch_alone(self, store_client: StoreClient, callers: Callers) -> CachedToken:
        """Ask the provider under the store's lock, unless another process is faster.

        In a pool, no slot is held while another process is waited for, and no lock while a slot is.
        """
        patience, first = self._longest_wait(), False
        while True:
            async with store_client.locking() as lock:
                while True:
                    async with self._slot(first=first):
                        quick = patience if self._limiter is None else min(patience, store_client.quick_lock)
                        lock_handle = await lock.had_within(quick)
                        if lock_handle is not None:
                            cached = await self._fetch_for_all(lock_handle, store_client, callers)
                            if cached is not None:
                                return cached
                            break
                    if await lock.had_within(patience - lock.waited) is None:
                        if self._leaves:
                            raise asyncio.CancelledError  # nothing was sent
                        raise StoreTrouble(f"another process held the lock for {lock.waited:.3g} s", lock_timeout=True)
                    if self._limiter is not None and not self._limiter.slots_here().free:
                        break
            first, patience = True, patience - lock.waited
            wait = self._doubted_for(store_client)
            if wait > 0:
                await self._rest_for(min(wait, _GLANCE_AT_STORE), self._wakes)

    async def _fetch_for_all(
        self, lock_handle: LockHandle, store_client: StoreClient, callers: Callers
    ) -> CachedToken | None:
        """Do as `_fetch_with` does, once more after each pause of an outage while callers wait, and keep the lock.

        So one process asks an endpoint that is down, and the others wait for its token instead of asking as well. For
        some seconds: one of them may reach the endpoint where this one does not.
        """
        until = self._clock.monotonic() + _LONGEST_OUTAGE_UNDER_LOCK
        while True:
            try:
                return await self._fetch_with(lock_handle, store_client)
            except TokenEndpointUnavailable as error:
                self._judgement = self._goes_on(error, callers)
                failure = self._state.failure
                down = self._asked_endpoint and is_outage(error) and self._outages is None
                keep = self._judgement and down and callers.callers_wait and not lock_handle.lost
                if not keep or failure is None or failure.due(callers_wait=True) > until:
                    raise
            self._judgement = None
            await self._wait_out(callers)

    async def _fetch_with(self, lock_handle: LockHandle, store_client: StoreClient) -> CachedToken | None:
        """Adopt a token or ask the provider, while the lock is held.

        ``None``: another process may be about to save a later refresh token, although it has lost the lock.
        """
        self._lock_handle = lock_handle
        stored = await store_client.load()
        cached = await self._adopt(store_client, stored)
        if cached is not None:
            return cached
        entry = store_client.newest(stored)
        if store_client.doubtful(stored):
            if self._doubted_for(store_client) > 0 and not lock_handle.ends_with_holder:
                return None
            if not self._options.needs_lock:
                entry = entry.with_refresh_token(None)
        return await self._fetch_under(lock_handle, store_client, entry)

    def _doubted_for(self, store_client: StoreClient) -> float:
        """Return for how long to wait for another process that may save a later refresh token; 0 = no longer.

        Raises:
            StoreTrouble: There is no other way to a token, and no time left to wait.
        """
        left, only_way = self.deadline - self._clock.monotonic(), self._options.needs_lock
        seconds = store_client.seconds_to_wait(only_way=only_way)
        if not only_way:
            return seconds if seconds <= left - _TIME_TO_FETCH else 0.0
        if seconds > 0 and left <= 0:
            raise StoreTrouble("another process is using the refresh token", lock_timeout=True)
        return seconds

    @contextlib.asynccontextmanager
    async def _slot(self, *, first: bool = False) -> AsyncGenerator[None, None]:
        """Wait for a slot to ask the provider, and keep it for the block. The deadline stands still meanwhile."""
        if self._limiter is None:
            yield
            return
        now = self._queued_at = self._clock.monotonic()
        self._slots = self._limiter.slots_here()
        try:
            async with self._limiter.slot(self._clock, self.deadline - now, first=first) as waited:
                self.deadline += waited
                self._slots = None
                outage = self._outage
                if outage is not None and not self._at_once and not outage.is_prober(self):
                    raise _NotNow  # since it began to queue
                yield
        finally:
            self._slots = None

    async def _fetch_under(self, lock_handle: LockHandle, store_client: StoreClient, entry: Entry) -> CachedToken:
        """Ask the provider under the store's lock, with the refresh token that counts.

        Args:
            lock_handle: The lock.
            store_client: The manager's.
            entry: What to obtain the token with.
        """
        wall = self._clock.wall()
        in_force = () if self._at_once else rejections_in_force(entry.known_rejections(wall), wall)
        context = TryState(
            self._clock,
            release=lock_handle.release,
            mark_of=store_client.mark_of,
            rejected=frozenset(each.digest for each in in_force),
        )
        ahead = store_client.ahead
        used = self._options.needs_lock or entry.refresh_token is not None
        if used:
            entry = await store_client.use(entry)
        under_lock = _UnderLock(store_client, lock_handle, entry, ahead, used)
        return await self._fetch(entry.token, context, under_lock)

    def _longest_wait(self) -> float:
        """Return the seconds to wait for the lock, so that there is time to fetch without it."""
        left = self.deadline - self._clock.monotonic()
        longest = _LOCK_WAIT_ON_LEAVING if self._leaves else _LONGEST_LOCK_WAIT
        return max(0.0, min(longest, left - min(_TIME_TO_FETCH, left / 2)))

    async def _adopt(self, store_client: StoreClient, stored: Entry | None) -> CachedToken | None:
        """Take over what another process stored, if it is for us."""
        token = None if stored is None or not store_client.is_news(stored) else stored.token
        if token is None:
            return None
        now, wall = self._clock.monotonic(), self._clock.wall()
        before = self._state.cached  # by now: it may have been refused while the store was asked
        cached = self._state.adoptable(
            token,
            before=before,
            now=now,
            wall=wall,
            unit_random=self._random(),
            store_time=store_client.refresh_time,
        )
        if cached is not None:
            self._state.install(cached, wall=wall, adopted=True)
            self.adopted = True
        return cached

    async def _fetch(
        self,
        previous: Token | None,
        context: TryState,
        under_lock: _UnderLock | None = None,
    ) -> CachedToken:
        """Ask the provider, once; under the store's lock, save what it gives before anybody uses it."""
        if self._given_up:
            raise asyncio.CancelledError  # before it began
        before, started = self._state.cached, self._clock.monotonic()
        token: Token | None = None
        asking = _Asking(context, before, started, previous, under_lock)
        context.credential_rejected = self._withheld()
        set_try(context)  # in the flight's own context
        try:
            async with self._sessions.session() as http:
                self.asking = asking
                # A task of its own, so that what it brings can be kept whatever happens to us.
                asking.asked = asyncio.create_task(self._answered(asking, http))
                token = await within(self._clock, self.deadline - started, asking.asked)
            self._keeping = True
            cached = self._cached_from(token, asking)
        except GeneratorExit:
            raise  # a flight that is closed as garbage, after its loop: see `abandon`
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            self.abandon()
            asking.end()
            raise
        except BaseException as error:  # noqa: BLE001 (a provider may be anybody's)
            asking.end()
            if self._given_up:
                raise asyncio.CancelledError from None  # nothing more is to come of it: not even another try
            problem = self._problem(error, context)
        else:
            try:
                if under_lock is not None:
                    if under_lock.used and self._sessions.entered_here():
                        under_lock.store_client.watch()
                    await under_lock.save(under_lock.renewed(cached.token, context))
            finally:  # also when the save is cancelled: what came is kept
                self._state.install(cached, wall=self._clock.wall())
                self.asking = None
            self._asked_endpoint = True
            return cached
        await self._failed(asking, token, problem)
        self.asking = None
        if context.annotate is not None:
            context.annotate(problem)  # what the deadline cut short has no name yet
        problem.provider = problem.provider or self._provider.name
        self._asked_endpoint = token is None and context.may_have_sent
        self._without_token, self._keeping = context.counted(problem), False
        raise problem

    def _problem(self, error: BaseException, context: TryState) -> AuthError:
        """Return the error that a failed token request means."""
        if isinstance(error, TimeoutError):
            return context.no_answer_in_time()
        problem = sanitize(error, "the token request")
        expired = isinstance(problem, InvalidTokenResponse) and problem.expired
        if expired and self._state.ends_about(self._clock.monotonic()):
            return TokenEndpointUnavailable(
                "the server gave the same token again, which ends just now", retry_after=_NEXT_TOKEN
            )
        # An interruption, most likely, says nothing of the next request: it holds nobody off who needs a token.
        problem.upstream = problem.upstream or not isinstance(error, Exception)
        return problem

    async def _answered(self, asking: _Asking, http: aiohttp.ClientSession) -> Token:
        """Return the provider's answer. What it raises loses its text: asyncio logs what the end of a loop leaves."""
        problem: AuthError
        if self.asking is not asking:  # it was given up before this began
            raise asyncio.CancelledError
        try:
            answer: object = call_user(self._provider.fetch, http, asking.previous)
            if inspect.isawaitable(answer):
                return await answer  # type: ignore[no-any-return]
        except (KeyboardInterrupt, SystemExit) as error:
            raise bare(error)  # noqa: B904 (it is the same one)
        except TimeoutError:
            problem = asking.context.no_answer_in_time()
        except Exception as error:  # noqa: BLE001 (a provider may be anybody's)
            problem = sanitize(error, "the token request")
        else:
            kind = type(self._provider).__name__
            problem = ConfigurationError(f"{kind}.fetch must be an async function: write '{FETCH}'")
        raise problem

    async def _failed(self, asking: _Asking, token: Token | None, problem: AuthError) -> None:
        """Keep of a try that failed what counts for the next one, here and in other processes.

        Args:
            asking: The try.
            token: What the provider gave, which is of no use; ``None``: nothing.
            problem: Why.
        """
        context, before, under_lock = asking.context, asking.before, asking.under_lock
        self._sent = self._sent or context.sent_at is not None
        if isinstance(token, Token) and token.refresh_token is not None:
            # It came with an access token of no use; the one that was sent is spent.
            context.unanswered = True
            self._state.lose_refresh_token(before, successor=token.refresh_token)
            if under_lock is not None:
                await under_lock.save(under_lock.with_refresh_token_of(token, context))
        else:
            self._note_loss(context, before)
            if under_lock is not None:
                await self._settle(under_lock, context, problem)

    async def _settle(self, under_lock: _UnderLock, context: TryState, problem: AuthError) -> None:
        """Tell the other processes what a try without a token means: for the refresh token, and for the credential."""
        entry, mark = under_lock.entry, context.mark
        if under_lock.used and self._refresh_token_spent(context):
            entry = entry.with_refresh_token(None)
        known = None
        if isinstance(problem, CredentialsRejected) and mark is not None and problem.credential is not None:
            wall = self._clock.wall()
            known = next((each for each in entry.known_rejections(wall) if each.digest == mark), None)
            if problem.unsent:
                self._rejection, known = known, None
            else:
                times_here = self._state.times_rejected(problem.credential)
                known = remember_rejection(known, self._policy, mark=mark, times_here=times_here, wall=wall)
                self._rejection, entry = known, entry.with_rejection(known, wall)
        if under_lock.used or known is not None:
            await under_lock.settle(entry)

    def _cached_from(self, token: Token, asking: _Asking) -> CachedToken:
        """Return what the provider gave, as it is to be held. Raises as `TokenState.cached_from` does."""
        sent_at, under_lock = asking.context.sent_at, asking.under_lock
        return self._state.cached_from(
            token,
            before=asking.before,
            started=asking.started,
            sent_at=asking.started if sent_at is None else sent_at,
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
            unit_random=self._random(),
            store_time=0.0 if under_lock is None else under_lock.store_client.refresh_time,
        )

    def _cut_short(self, asking: _Asking) -> None:
        """Keep what had come when the flight was cancelled; else remember that it was asked for. Awaits nothing."""
        asked, context, before, under_lock = asking.asked, asking.context, asking.before, asking.under_lock
        if asked is not None and asked.done() and not asked.cancelled() and asked.exception() is None:
            token = asked.result()
            with contextlib.suppress(AuthError):
                cached = self._cached_from(token, asking)
                self._state.install(cached, wall=self._clock.wall())
                if under_lock is not None:  # whose entry holds the spent refresh token
                    under_lock.hold(under_lock.renewed(cached.token, context))
                return
            if isinstance(token, Token) and token.refresh_token is not None:
                self._state.lose_refresh_token(before, successor=token.refresh_token)
                if under_lock is not None:
                    under_lock.hold(under_lock.with_refresh_token_of(token, context))
        else:
            self._note_loss(context, before)
            if under_lock is not None and under_lock.used and self._refresh_token_spent(context):
                under_lock.hold(under_lock.entry.with_refresh_token(None))
        # Or a process that runs an event loop a job would ask once a job, and never see an answer.
        error = TokenEndpointUnavailable("the event loop ended before the answer came", provider=self._provider.name)
        error.upstream = True  # it holds nobody off who needs a token now
        self._state.fail(error, now=self._clock.monotonic(), deadline=self.deadline, unit_random=self._random())

    def _note_loss(self, context: TryState, before: CachedToken) -> None:
        """Forget a refresh token that was sent, and that was refused, or that the server may have used up."""
        if self._refresh_token_spent(context):
            self._state.lose_refresh_token(before)

    def _refresh_token_spent(self, context: TryState) -> bool:
        """Return whether the refresh token that was sent is of no more use, or may have been used up: no answer came.

        Where it is the only way to a token, an unanswered one is sent once more.
        """
        unanswered = context.refresh_token_unanswered and not self._options.needs_lock
        return context.refresh_token_rejected or unanswered

    def _goes_on(self, error: AuthError, callers: Callers) -> bool:
        """Remember a failed try; return whether another is to be made."""
        now = self._clock.monotonic()
        rejection, self._rejection = self._rejection, None
        answered, self._without_token = () if self._at_once else self._without_token, ()
        kind = kind_of_failed_try(error, rejection=rejection, sent=self._sent, at_once=self._at_once)
        if kind is FailedTry.AGAIN:
            return True
        if kind is FailedTry.UNCHANGED:
            self._state.ask(now)
            return not self._sent and self._withheld() is None  # but somebody wants it sent, since a moment ago
        failure = self._state.ask(now) if kind is FailedTry.UNSEEN else None
        if failure is None:
            failure = self._state.fail(
                error,
                now=now,
                deadline=self.deadline,
                unit_random=self._random(),
                shared=SharedHold.of(rejection, self._clock.wall()),
                answered=answered,
            )
        if not isinstance(error, StoreError):  # then none was made
            self.emitter.token_request_failed(
                error,
                failure,
                now=now,
                usable_for=self._state.cached.serving(now).usable_until - now,
                waiting=callers.waiting,
                waiting_for=callers.waiting_for,
            )
        return failure.goes_on(now, self.deadline, callers_wait=callers.callers_wait)


class _NotNow(Exception):
    """Another tenant of the pool has found out meanwhile that the endpoint is down."""


@attrs.frozen(eq=False)
class _UnderLock:
    """An entry while a token is obtained with it, under the store's lock.

    Attributes:
        store_client: The manager's.
        lock_handle: The lock.
        ahead: `StoreClient.ahead` when the entry's times were written.
        used: Whether it was marked as being in use.
    """

    store_client: StoreClient
    lock_handle: LockHandle
    _entry: Entry
    ahead: float
    used: bool

    @property
    def entry(self) -> Entry:
        """The entry, with its times by the wall clock as it is set now."""
        drift = self.store_client.ahead - self.ahead
        return self._entry if abs(drift) < CLOCK_ADJUSTED else self._entry.moved(drift)

    def renewed(self, token: Token, context: TryState) -> Entry:
        """Return the entry of a token that was obtained with it."""
        return self.entry.renewed(token, accepted=context.offered, now=self.store_client.clock.wall())

    def with_refresh_token_of(self, token: Token, context: TryState) -> Entry:
        """Return the entry with the refresh token that came with an access token of no use."""
        entry = self.entry
        entry = entry.with_refresh_token(token.refresh_token) if entry.value else self.renewed(token, context)
        return attrs.evolve(entry, expires_at=entry.issued_at)

    async def save(self, entry: Entry) -> None:
        """Save what was obtained."""
        await self.store_client.save(entry, lock_handle=self.lock_handle)

    async def settle(self, entry: Entry) -> None:
        """Save what became of it without a token."""
        await self.store_client.settle(entry, lock_handle=self.lock_handle)

    def hold(self, entry: Entry) -> None:
        """Keep what became of it, without waiting for the store."""
        self.store_client.hold(entry)


@attrs.define(eq=False)
class _Asking:
    """A provider's answer that is waited for."""

    context: TryState
    before: CachedToken
    started: float
    previous: Token | None
    under_lock: _UnderLock | None
    asked: asyncio.Task[Token] | None = None

    def end(self) -> None:
        """Have it end: an interruption may have kept whoever waited for it from seeing to that."""
        if self.asked is not None:
            self.asked.cancel()
