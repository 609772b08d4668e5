"""One token request, and what is kept of it whatever happens to those who wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING, Any, cast

from asyncauth._core.failures import remember_rejection
from asyncauth._core.frames import bare
from asyncauth._core.provider_members import FETCH
from asyncauth._core.sessions import close_here
from asyncauth._core.try_state import set_try
from asyncauth._core.user_code import sanitize
from asyncauth.clock import SYSTEM_CLOCK, call_later
from asyncauth.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from asyncauth.token import Token

if TYPE_CHECKING:
    import aiohttp

    from asyncauth._core.cache import TokenState
    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.locked_entry import LockedEntry
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.try_state import TryState
    from asyncauth.entry import Rejection
    from asyncauth.provider import Provider

__all__ = ["TokenRequest"]

_NEXT_TOKEN = 0.5
"""Seconds after which a server that caches its tokens is asked again, when the cached one has nothing left."""


class TokenRequest:
    """Asks the provider once. Under the store's lock, what it gives is saved before anybody uses it.

    Args:
        provider: Who is asked.
        state: The engine's: it is told what came.
        runtime: The engine's.
        options: What the provider declares besides.
        context: What the try tells the provider, and learns from it.
        previous: The token before, whose refresh token still counts; ``None``: there is none.
        locked: The store's entry, whose lock is held; ``None``: there is no store, or no lock.
        deadline: When the answer must be there, in seconds of the clock.

    Attributes:
        context: As given.
        answer: What the provider gave; ``None``: nothing, so far.
        open: Whether something may still come of it: it has begun, and what comes of it is not kept yet.
        keeping: Whether the answer has come, and is being kept.
        asked_endpoint: Whether its outcome says that the endpoint answers, or that it does not.
        rejection: What the store is told of a rejected credential; ``None``: nothing.
        without_token: The digest of each credential that was sent and brought no token: see `TryState.counted`.
    """

    answer: Token | None = None
    asked_endpoint: bool = False
    keeping: bool = False
    open: bool = False
    rejection: Rejection | None = None
    without_token: tuple[str | None, ...] = ()

    _abandoned: bool = False
    _asking: asyncio.Task[Any] | None = None
    """The task in which the provider is asked now."""
    _late: bool = False

    def __init__(
        self,
        provider: Provider,
        state: TokenState,
        runtime: Runtime,
        *,
        options: OptionValues,
        context: TryState,
        previous: Token | None,
        locked: LockedEntry | None,
        deadline: float,
    ) -> None:
        self.context = context
        self._provider = provider
        self._state = state
        self._runtime = runtime
        self._clock = runtime.clock
        self._options = options
        self._previous = previous
        self._locked = locked
        self._deadline = deadline
        self._before = state.cached
        self._started = runtime.clock.monotonic()

    async def run(self) -> CachedToken:
        """Ask, and return the token that is held from now on.

        Raises:
            AuthError: There is none.
            CancelledError: The flight's task was cancelled, or the request abandoned.
        """
        context, locked = self.context, self._locked
        set_try(context)  # in the flight's own context
        loop = asyncio.get_running_loop()
        try:
            http, own = self._runtime.sessions.open_here(), False
            if http is None:
                http, own = await self._runtime.sessions.obtain()
            try:
                self._open()
                self.answer = await self._ask(http)
                self.keeping = True
                cached = self._cached_from(self.answer)
            finally:
                if own:
                    await close_here(http, loop)
        except (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise  # the refresh abandons it
        except BaseException as error:  # noqa: BLE001 (a provider may be anybody's)
            if self._abandoned or loop.is_closed():
                raise _end_of(loop) from None  # nothing more is to come of it: not even another try
            problem = self._problem(error)
            error.__traceback__ = None  # whose frames hold this, until the garbage is collected
        else:
            try:
                if locked is not None:
                    if locked.used and self._runtime.sessions.entered_here():
                        locked.store_client.watch()
                    await locked.save(locked.renewed(cached.token, context))
            finally:  # also when the save is cancelled: what came is kept
                self._state.install(cached, wall=self._clock.wall())
                self.open = False
            self.asked_endpoint = True
            return cached
        await self._failed(problem)
        self.open = False
        if context.annotate is not None:
            context.annotate(problem)  # what the deadline cut short has no name yet
        problem.provider = problem.provider or self._provider.name
        self.asked_endpoint = self.answer is None and context.may_have_sent
        self.without_token, self.keeping = context.counted(problem), False
        try:
            raise problem
        finally:
            del problem  # as above

    def hurry(self) -> None:
        """Have it send whatever credential there is. Any thread."""
        if self.open:
            self.context.credential_rejected, self.context.rejected = None, frozenset()

    def expire(self) -> None:
        """End it, or send nothing if it has not begun: its time is over. On its own loop only."""
        task, was_late, self._late = self._asking, self._late, True
        if task is not None and not was_late:
            task.cancel()

    def abandon(self) -> None:
        """Keep what has come, and send nothing more. Under the guard; any thread. Awaits nothing."""
        self._abandoned = True
        if self.open:
            self.open = False
            self._cut_short()

    def _open(self) -> None:
        """Open it, right before the provider is asked.

        Raises:
            CancelledError: It was abandoned.
            TimeoutError: Its time is over already: making the session took all of it.
        """
        if self._abandoned:
            raise asyncio.CancelledError
        if self._late:
            raise TimeoutError
        self.open = True

    async def _ask(self, http: aiohttp.ClientSession) -> Token:
        """Return the provider's answer.

        The provider runs in the flight's own task. `expire` cancels that task at the deadline, as ``asyncio.timeout``
        does. The flight's watchdog calls it, which saves a timer, except with an injected clock and in a pool: while
        the flight waited for a slot, its watchdog may have been set for later than the request's deadline.

        Args:
            http: The session to send with.

        Raises:
            AuthError: There is no answer, or none in time.
            CancelledError: Somebody else has cancelled the flight's task.
        """
        problem: AuthError
        timed_out = False
        watched = self._clock is SYSTEM_CLOCK and self._runtime.outages is None  # it is in no pool
        timer = None if watched else call_later(self._clock, self._deadline - self._started, self.expire)
        self._asking = task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelled = task.cancelling()
        try:
            answer: object = self._provider.fetch(http, self._previous)
            if inspect.isawaitable(answer):
                return await answer  # type: ignore[no-any-return]
        except (KeyboardInterrupt, SystemExit) as error:
            raise bare(error)  # noqa: B904 (it is the same one)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 (a provider may be anybody's)
            problem, timed_out = self._problem(error), isinstance(error, TimeoutError)
        else:
            kind = type(self._provider).__name__
            problem = ConfigurationError(f"{kind}.fetch must be an async function", advice=f"write '{FETCH}'")
        finally:
            self._asking = None
            if self._late:
                task.uncancel()
            if timer is not None and not task.get_loop().is_closed():  # else this is the garbage collector
                timer.cancel()
        while timed_out and task.cancelling() > cancelled:
            task.uncancel()  # older libraries time out by a cancellation, which they leave behind
        if task.cancelling() > cancelled:  # by others, whatever the provider has made of that: no other try follows
            raise asyncio.CancelledError
        raise self.context.no_answer_in_time() if self._late else problem

    def _problem(self, error: BaseException) -> AuthError:
        """Return the error that a failed token request means."""
        if isinstance(error, asyncio.CancelledError):
            error = InterruptedError()  # the provider has cancelled its own work
        if isinstance(error, TimeoutError):
            return self.context.no_answer_in_time()
        problem = sanitize(error, "the token request")
        expired = isinstance(problem, InvalidTokenResponse) and problem.expired
        if expired and self._state.ends_about(self._clock.monotonic()):
            return TokenEndpointUnavailable(
                "the server gave the same token again, which ends just now",
                advice="try again after its end",
                retry_after=_NEXT_TOKEN,
            )
        # An interruption, most likely, says nothing of the next request: it holds nobody off who needs a token.
        problem.upstream = problem.upstream or not isinstance(error, Exception)
        return problem

    def _cached_from(self, token: Token) -> CachedToken:
        """Return what the provider gave, as it is to be held. Raises as `TokenState.cached_from` does."""
        sent_at, locked = self.context.sent_at, self._locked
        return self._state.cached_from(
            token,
            before=self._before,
            started=self._started,
            sent_at=self._started if sent_at is None else sent_at,
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
            unit_random=self._runtime.random(),
            store_time=0.0 if locked is None else locked.store_client.calls.refresh_time,
            carrier=self._options.carrier,
        )

    # What a request without a token leaves

    async def _failed(self, problem: AuthError) -> None:
        """Keep what counts for the next try, here and in other processes.

        Args:
            problem: Why there is no token, or none that is of use.
        """
        context, locked, token = self.context, self._locked, self.answer
        if isinstance(token, Token) and token.refresh_token is not None:
            # It came with an access token of no use; the one that was sent is spent.
            self._state.lose_refresh_token(self._before, successor=token.refresh_token)
            if locked is not None:
                await locked.save(locked.with_refresh_token_of(token, context))
        else:
            if self._refresh_token_spent:
                self._state.lose_refresh_token(self._before)
            if locked is not None:
                await self._settle(locked, problem)

    async def _settle(self, locked: LockedEntry, problem: AuthError) -> None:
        """Tell the other processes what a try without a token means: for the refresh token, and for the credential."""
        entry, mark = locked.entry, self.context.mark
        if locked.used and self._refresh_token_spent:
            entry = entry.with_refresh_token(None)
        known = None
        if isinstance(problem, CredentialsRejected) and mark is not None and problem.credential is not None:
            wall = self._clock.wall()
            known = next((each for each in entry.known_rejections(wall) if each.digest == mark), None)
            if problem.unsent:
                self.rejection, known = known, None
            else:
                times_here = self._state.times_rejected(problem.credential)
                known = remember_rejection(known, self._runtime.policy, mark=mark, times_here=times_here, wall=wall)
                self.rejection, entry = known, entry.with_rejection(known, wall)
        if locked.used or known is not None:
            await locked.settle(entry)

    @property
    def _refresh_token_spent(self) -> bool:
        """Whether the refresh token that was sent is of no more use, or may have been used up: no answer came.

        Where it is the only way to a token, an unanswered one is sent once more.
        """
        unanswered = self.context.refresh_token_unanswered and not self._options.needs_lock
        return self.context.refresh_token_rejected or unanswered

    def _cut_short(self) -> None:
        """Keep what had come when the flight was cancelled; else remember that it was asked for."""
        token, locked = self.answer, self._locked
        if token is not None:
            with contextlib.suppress(AuthError):
                cached = self._cached_from(token)
                self._state.install(cached, wall=self._clock.wall())
                if locked is not None:  # whose entry holds the spent refresh token
                    locked.hold(locked.renewed(cached.token, self.context))
                return
            if isinstance(token, Token) and token.refresh_token is not None:
                self._state.lose_refresh_token(self._before, successor=token.refresh_token)
                if locked is not None:
                    locked.hold(locked.with_refresh_token_of(token, self.context))
        elif self._refresh_token_spent:
            self._state.lose_refresh_token(self._before)
            if locked is not None and locked.used:
                locked.hold(locked.entry.with_refresh_token(None))
        # Otherwise a process that runs one event loop per job would ask once per job, and never see an answer.
        error = TokenEndpointUnavailable(
            "the event loop ended before the answer came",
            advice="close the manager before its event loop ends",
            provider=self._provider.name,
        )
        error.upstream = True  # it holds nobody off who needs a token now
        now, deadline = self._clock.monotonic(), self._deadline
        self._state.fail(error, now=now, deadline=deadline, unit_random=self._runtime.random())


def _end_of(loop: asyncio.AbstractEventLoop) -> BaseException:
    """Return what ends a task silently: on a closed loop, its coroutine is closed by the garbage collector."""
    return GeneratorExit() if loop.is_closed() else asyncio.CancelledError()
