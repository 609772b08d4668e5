"""One refresh: a token adopted or fetched, in as many tries as its deadline allows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING, Protocol

from asyncauth._core.failures import FailedTry, SharedHold, WhileBlocked, kind_of_failed_try
from asyncauth._core.outages import EndpointNews
from asyncauth._core.provider_options import endpoint_of
from asyncauth._core.rest import Rest
from asyncauth._core.token_request import TokenRequest
from asyncauth._core.try_state import TryState
from asyncauth.errors import (
    AuthError,
    CredentialsRejected,
    StoreError,
    TokenEndpointUnavailable,
)

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from asyncauth._core.cache import TokenState
    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import LoopSlots, RequestLimiter
    from asyncauth._core.locked_entry import LockedEntry
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.runtime import Runtime
    from asyncauth.entry import Rejection
    from asyncauth.provider import Provider
    from asyncauth.token import Token

__all__ = ["Callers", "Refresh"]

_log = logging.getLogger("asyncauth.refresh")


class Callers(Protocol):
    """The callers that wait for a refresh."""

    callers: list[contextvars.Context]
    """The contexts of the first callers that noted theirs."""

    done: bool
    """Whether they have an outcome already, such as that of a closing."""

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
    """The work of one flight. It reports the token, or the failure, to the manager's state.

    Args:
        provider: Whom it asks.
        state: The manager's.
        runtime: The manager's.
        options: What the provider declares besides.
        limiter: Where it waits for a slot to ask the provider; ``None``: it need not wait.
        emitter: Returns where it tells of what happens.

    Attributes:
        adopted: Whether the token that it brought is another process'.
        deadline: When it gives up, in seconds of the clock.
        rest: Where it rests between two tries.
        request: The last request to the provider; ``None``: there has been none.
    """

    adopted: bool = False
    request: TokenRequest | None = None

    _asked_endpoint: bool = False
    _at_once: bool = False
    _given_up: bool = False
    _hurries: bool = False
    _judgement: bool | None = None
    """Whether another try follows the last failed one, if that was remembered already."""
    _longest_rest: float = math.inf
    _news: EndpointNews | None = None
    _queued_at: float = -math.inf
    _rejection: Rejection | None = None
    _sent: bool = True
    _slots: LoopSlots | None = None
    _time_to_keep: float = 0.0
    _without_token: tuple[str | None, ...] = ()

    def __init__(
        self,
        provider: Provider,
        state: TokenState,
        runtime: Runtime,
        *,
        options: OptionValues,
        limiter: RequestLimiter | None,
        emitter: Callable[[], Emitter],
    ) -> None:
        self._emitter = emitter
        self._provider = provider
        self._options = options
        self._state = state
        self._runtime = runtime
        self._limiter = limiter
        self._clock = clock = runtime.clock
        self._allowed = runtime.policy.deadline if options.deadline is None else options.deadline
        self.deadline = clock.monotonic() + self._allowed
        self.rest = Rest(clock)
        if runtime.outages is not None:
            endpoint = endpoint_of(provider)
            if endpoint is not None:
                self._news = EndpointNews(runtime.outages, endpoint, self.rest)

    @property
    def idle(self) -> bool:
        """Whether it waits for its next try, or for a slot, so that nothing is in progress."""
        return self.rest.resting is not None or self._slots is not None

    @property
    def due(self) -> float:
        """When it should have ended, in seconds of the clock's ``monotonic()``. Any thread."""
        deadline, slots, request = self.deadline, self._slots, self.request
        if slots is not None:
            # In the queue for a slot, the wait counts anew from each answer to others. Then it may take its full time.
            patience = deadline - self._queued_at
            deadline = max(deadline, slots.answered_at + patience) + self._allowed
        return deadline + self._time_to_keep if request is not None and request.keeping else deadline

    def expire(self) -> None:
        """End the request in progress, if there is one: its time is over. On its loop only."""
        request = self.request
        if request is not None:
            request.expire()

    def retry_now(self) -> None:
        """Make the next try at once, if it rests, and with whatever credential there is. From any thread."""
        self._state.clear_backoff(self._clock.monotonic())
        self._at_once = True
        request = self.request
        if request is not None:
            request.hurry()
        self.wake()

    def nudge(self) -> None:
        """Look again when the next try is due, if it rests for longer than with callers. From any thread."""
        if not self._hurries:
            self.wake()

    def wake(self) -> None:
        """Look again when the next try is due, if it rests. From any thread."""
        self.rest.wake()

    def leave(self) -> None:
        """Make no further try, and wait for no other process: the loop is about to end. From any thread."""
        self.rest.leave()

    def abandon(self) -> None:
        """Send nothing more. Called when the flight was abandoned, such as when its event loop ended. Any thread.

        A request that has not begun yet is never sent.
        """
        self._given_up = True
        request = self.request
        if request is not None:
            with self._state.guard:
                request.abandon()

    async def run(self, callers: Callers) -> CachedToken:
        """Return a token, which is then the manager's current one.

        Args:
            callers: The callers that wait for it. While there are any, the next try is made sooner.

        Raises:
            AuthError: No token could be obtained before the deadline, or a further try makes no sense.
        """
        monotonic, listeners = self._clock.monotonic, self._runtime.listeners
        since = monotonic()
        if listeners.queues or _log.isEnabledFor(logging.DEBUG):
            self._emitter().refresh_started(self._state.phase(since))
        try:
            cached = await self._run(callers)
        except BaseException as error:
            seconds = monotonic() - since
            self._emitter().refresh_failed(error, seconds=seconds, waiters=callers.waiting, callers=callers.callers)
            raise
        finally:
            if self._news is not None:
                self._news.leave()
        if listeners.queues or _log.isEnabledFor(logging.DEBUG):
            now = monotonic()
            self._emitter().refresh_succeeded(
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
            self._sent = True
            if self._state.failure is not None or self._news is not None:
                await self._wait_turn(callers)
            self._asked_endpoint = False
            try:
                cached = await self._try_once(callers)
            except _NotNow:
                pass
            except AuthError as error:
                error.provider = error.provider or self._provider.name
                if self._news is not None:
                    self._tell_news(self._news, error)
                judgement, self._judgement = self._judgement, None
                if not (self._goes_on(error, callers) if judgement is None else judgement):
                    if rejected is None or self._sent:
                        raise
                    break
                rejected = error if isinstance(error, CredentialsRejected) else None
            else:
                if self._news is not None:
                    self._tell_news(self._news, None)
                return cached
        raise rejected  # what the server said: a second look at the credential brought nothing new

    def _tell_news(self, news: EndpointNews, error: AuthError | None) -> None:
        """Tell the other tenants of a pool whether their endpoint answers; ``None``: it has given a token."""
        if self._asked_endpoint and not self.adopted:
            now, deadline = self._clock.monotonic(), self.deadline
            news.tell(error, self._runtime.policy, now=now, deadline=deadline, random=self._runtime.random)

    def _withheld(self) -> CredentialsRejected | None:
        """Return the refusal of a credential that must not be sent now, but may have changed since."""
        failure = self._state.failure
        return None if failure is None else failure.withheld(self._clock.monotonic())

    async def _wait_turn(self, callers: Callers) -> None:
        """Return when a try may be made, after a failure of this one's or of another tenant's.

        Raises as `_wait_out` and `_wait_for_news` do.
        """
        await self._wait_out(callers)
        if self._news is not None:
            await self._wait_for_news(self._news, callers)
        self._sent = self._withheld() is None  # else only another credential is

    async def _wait_out(self, callers: Callers) -> None:
        """Return when the last failure allows another try, or another process has a token.

        Raises:
            AuthError: The last failure again: it can't be waited out before the deadline.
            CancelledError: Nothing more is to come of the refresh, whatever its provider has made of its cancellation.
        """
        if callers.done:
            raise asyncio.CancelledError
        while True:
            wakes, self._hurries = self.rest.wakes, False  # first: from here on others' threads wake it
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
            nobody_waits = self.rest.leaving and not callers.callers_wait
            if failure.while_blocked is WhileBlocked.FAIL or due > self.deadline or nobody_waits:
                raise failure.seen(now)
            left = due - now
            await self.rest.take(min(left, self._longest_rest), wakes)
            if await self._others_have_news():
                return

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
                if self._news is not None and not self._at_once and self._news.is_others_turn:
                    raise _NotNow  # since it began to queue
                yield
        finally:
            self._slots = None

    async def _wait_for_news(self, news: EndpointNews, callers: Callers) -> None:
        """Return when this is the one to try, of the tenants of a pool whose endpoint is down.

        Raises:
            TokenEndpointUnavailable: It still was at the deadline.
        """
        while not self._at_once:
            wakes, self._hurries = self.rest.wakes, False
            self._hurries = callers.callers_wait
            now, due = self._clock.monotonic(), news.due(callers_wait=self._hurries)
            if now >= due:
                return
            if now >= self.deadline:
                raise TokenEndpointUnavailable(
                    "the endpoint is down, as another tenant's token requests show",
                    advice="try again later",
                    provider=self._provider.name,
                    endpoint=news.endpoint,
                )
            await self.rest.take(min(due, self.deadline) - now, wakes)

    def _try_once(self, callers: Callers) -> Awaitable[CachedToken]:  # noqa: ARG002 (for subclasses)
        """Make a try, when it is this tenant's turn."""
        if self._limiter is None:
            return self._fetch(self._state.cached.last, TryState(self._clock))
        return self._fetch_in_turn()

    async def _fetch_in_turn(self) -> CachedToken:
        """Ask the provider, once, in a slot of the pool's limiter."""
        last = self._state.cached.last
        async with self._slot():
            return await self._fetch(last, TryState(self._clock))

    async def _others_have_news(self) -> bool:
        """Return whether there is no usable token here, and another process has stored one."""
        return False

    async def _fetch(self, previous: Token | None, context: TryState, locked: LockedEntry | None = None) -> CachedToken:
        """Ask the provider, once."""
        self.request = request = TokenRequest(
            self._provider,
            self._state,
            self._runtime,
            options=self._options,
            context=context,
            previous=previous,
            locked=locked,
            deadline=self.deadline,
        )
        if self._given_up:
            raise asyncio.CancelledError  # before it began
        if self._state.failure is not None:
            context.credential_rejected = self._withheld()
        try:
            return await request.run()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            self.abandon()
            raise
        finally:
            self._sent = self._sent or context.sent_at is not None
            self._rejection, self._without_token = request.rejection, request.without_token
            self._asked_endpoint = request.asked_endpoint

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
                unit_random=self._runtime.random(),
                shared=SharedHold.of(rejection, self._clock.wall()),
                answered=answered,
            )
        if not isinstance(error, StoreError):  # then none was made
            self._emitter().token_request_failed(
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
