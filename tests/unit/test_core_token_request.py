"""One token request: what it says of itself meanwhile, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
import pytest
from core_kit import engine_of

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.cached_token import NOTHING
from asyncauth._core.token_request import TokenRequest
from asyncauth._core.try_state import TryState
from asyncauth.clock import SYSTEM_CLOCK, Clock
from asyncauth.stores import Entry
from asyncauth.testing import FakeClock, FakeProvider

POLICY = RefreshPolicy(jitter=0.0)


class Locked:
    """A store's entry under its lock; it notes what it is told, and what the request says of itself then."""

    used = False
    entry = Entry.of(Token("before", issued_at=0.0))

    def __init__(self) -> None:
        self.held = list[str | None]()
        self.told = list[tuple[str, bool, bool]]()
        self.request: TokenRequest | None = None

    @property
    def store_client(self) -> Any:
        return self

    calls = store_client
    refresh_time = 0.0

    def renewed(self, token: Token, _: TryState) -> Entry:
        return Entry.of(token)

    def with_refresh_token_of(self, token: Token, _: TryState) -> Entry:
        return Entry.of(token)

    def hold(self, entry: Entry) -> None:
        self.held.append(entry.refresh_token)

    async def save(self, _: Entry) -> None:
        self._note("save")

    async def settle(self, _: Entry) -> None:
        self._note("settle")

    def _note(self, call: str) -> None:
        assert self.request is not None
        self.told.append((call, self.request.open, self.request.keeping))


def request_of(
    provider: FakeProvider,
    clock: Clock,
    locked: Any = None,
    before: Token | None = None,
    *,
    in_pool: bool = False,
    seconds: float = 30.0,
) -> tuple[TokenRequest, Any]:
    """Return a request that was not made yet, and what it reports to."""
    engine = engine_of(TokenManager(provider, policy=POLICY, clock=clock))
    if before is not None:
        now, wall = clock.monotonic(), clock.wall()
        cached = engine.state.cached_from(before, before=NOTHING, sent_at=now, now=now, wall=wall, unit_random=0.0)
        engine.state.install(cached, wall=wall)
    request = TokenRequest(
        provider,
        engine.state,
        engine.runtime.shared() if in_pool else engine.runtime,
        options=engine.options,
        context=TryState(clock),
        previous=None,
        locked=locked,
        deadline=clock.monotonic() + seconds,
    )
    if locked is not None:
        locked.request = request
    return request, engine.state


def says(request: TokenRequest) -> dict[str, bool]:
    return {"open": request.open, "keeping": request.keeping, "asked_endpoint": request.asked_endpoint}


def spent(clock: FakeClock, refresh_token: str | None) -> Token:
    return Token("spent", issued_at=clock.wall(), expires_at=clock.wall() - 100.0, refresh_token=refresh_token)


async def cancellations_left_by(request: TokenRequest) -> int:
    """Return how often this task counts as cancelled after a request that had no answer in time."""
    with pytest.raises(TokenEndpointUnavailable, match="no answer in time"):
        await request.run()
    task = asyncio.current_task()
    return -1 if task is None else task.cancelling()


async def test_a_request_says_how_far_it_is(clock: FakeClock) -> None:
    """It is open from its beginning until its token is saved, and the endpoint has answered at its end only."""
    provider, locked = FakeProvider(clock=clock), Locked()
    request, state = request_of(provider, clock, locked)
    meanwhile = list[dict[str, bool]]()

    def answer() -> Token:
        meanwhile.append(says(request))
        return provider.token()

    provider.answers = answer
    assert says(request) == {"open": False, "keeping": False, "asked_endpoint": False}
    cached = await request.run()
    assert meanwhile == [{"open": True, "keeping": False, "asked_endpoint": False}]
    assert locked.told == [("save", True, True)]
    assert (request.open, request.asked_endpoint) == (False, True)
    assert state.cached is cached


async def test_a_failed_request_keeps_nothing_any_more(clock: FakeClock) -> None:
    """A token of no use may bring a refresh token, which is saved first."""
    provider, locked = FakeProvider(clock=clock, answers=spent(clock, "next")), Locked()
    request, _ = request_of(provider, clock, locked)
    with pytest.raises(InvalidTokenResponse):
        await request.run()
    assert locked.told == [("save", True, True)]
    assert says(request) == {"open": False, "keeping": False, "asked_endpoint": False}


async def test_a_cached_token_that_ends_just_now_is_asked_for_again_soon(clock: FakeClock) -> None:
    """Half a second later, the server has another one."""
    provider = FakeProvider(clock=clock)
    before = Token("access-0", issued_at=clock.wall(), expires_at=clock.wall() + 100.0)
    request, state = request_of(provider, clock, before=before, seconds=200.0)
    state.cached = attrs.evolve(state.cached, again=True)
    await clock.advance(100.0)
    provider.answers = spent(clock, None)
    with pytest.raises(TokenEndpointUnavailable, match="the same token again") as caught:
        await request.run()
    assert caught.value.retry_after == 0.5


async def test_a_cancellation_during_a_fetch_that_is_not_async_counts(clock: FakeClock) -> None:
    """It is somebody else's, as no time has run out; the provider's mistake is told to the next caller."""

    class Synchronous(FakeProvider):
        def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Any:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    request, _ = request_of(Synchronous(clock=clock), clock)
    running = asyncio.ensure_future(request.run())
    with pytest.raises(asyncio.CancelledError):
        await running
    assert running.cancelling() == 1


async def test_a_rejection_of_no_known_credential_is_not_shared(clock: FakeClock) -> None:
    """A provider that tells nothing of what it sends: other processes could not tell which credential it was."""
    locked = Locked()
    request, _ = request_of(FakeProvider(clock=clock, answers=CredentialsRejected("no")), clock, locked)
    with pytest.raises(CredentialsRejected):
        await request.run()
    assert request.rejection is None
    assert locked.told == []


async def test_a_request_that_has_not_begun_is_no_failure(clock: FakeClock) -> None:
    """A flight that gives it up before its first step has asked nobody, and asks nobody later."""
    provider = FakeProvider(clock=clock)
    request, state = request_of(provider, clock)
    request.abandon()
    with pytest.raises(asyncio.CancelledError):
        await request.run()
    assert state.failure is None
    assert provider.calls == 0


async def test_a_request_is_given_up_once(clock: FakeClock, settled: Callable[[], Any]) -> None:
    """The flight and its task may both do it: it counts as one failure."""
    request, state = request_of(FakeProvider(clock=clock, latency=5.0), clock)
    running = asyncio.ensure_future(request.run())
    await settled()
    request.abandon()
    failure = state.failure
    assert isinstance(failure.error, TokenEndpointUnavailable)
    request.abandon()
    assert state.failure is failure
    assert not request.open
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("answer", "kept"), [(None, "refresh-0"), ("text", "refresh-0"), ("spent", "refresh-0"), ("refresh-1", "refresh-1")]
)
async def test_an_answer_of_no_use_that_comes_at_the_end_of_its_loop(
    clock: FakeClock, answer: str | None, kept: str, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    """The request is given up while its session is being closed: of the answer, a new refresh token alone is kept."""
    provider, locked = FakeProvider(clock=clock), Locked() if shared else None
    request, state = request_of(provider, clock, locked, before=Token("access-0", refresh_token="refresh-0"))

    async def close(session: aiohttp.ClientSession, _: object) -> None:
        request.abandon()
        await session.close()

    monkeypatch.setattr("asyncauth._core.token_request.close_here", close)
    answers: dict[str | None, Any] = {"spent": spent(clock, None), "refresh-1": spent(clock, "refresh-1")}
    provider.answers = lambda: answers.get(answer, answer)
    with pytest.raises(asyncio.CancelledError):
        await request.run()
    assert isinstance(state.failure.error, TokenEndpointUnavailable)
    assert (state.cached.token.value, state.cached.token.refresh_token) == ("access-0", kept)
    if locked is not None:
        assert locked.held == ([kept] if kept == answer else [])


async def test_without_a_store_renewal_begins_earlier_by_the_request_alone(clock: FakeClock) -> None:
    """By as many seconds as the request took; calls to a store would come on top of that."""
    provider = FakeProvider(clock=clock, lifetime=30.0)
    request, _ = request_of(provider, clock)
    began = clock.monotonic()

    async def answer() -> Token:
        token = provider.token()
        await clock.sleep(8.0)
        return token

    provider.answers = answer
    running = asyncio.ensure_future(request.run())
    await clock.advance(8.0)
    cached = await running
    assert cached.fresh_until == pytest.approx(began + POLICY.windows(30.0, slowest=8.0).fresh)
    assert POLICY.windows(30.0, slowest=8.0).fresh < POLICY.windows(30.0, slowest=7.0).fresh


async def test_a_deadline_ends_the_request_and_not_its_task(clock: FakeClock) -> None:
    """The task goes on, to the next try: it is not cancelled afterwards."""
    request, _ = request_of(FakeProvider(clock=clock, latency=60.0), clock)

    running = asyncio.ensure_future(cancellations_left_by(request))
    await clock.advance(30.0)
    assert await running == 0


async def test_a_deadline_passes_once(clock: FakeClock, settled: Callable[[], Any]) -> None:
    """A second check of the time does not cancel again what clears up; after the request, there is nothing to end."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)

    async def stubborn() -> Token:
        try:
            await asyncio.Event().wait()
        finally:
            await clock.sleep(1.0)
        return provider.token()

    provider.answers = stubborn
    running = asyncio.ensure_future(request.run())
    await settled()
    request.expire()
    await settled()
    request.expire()
    await clock.advance(1.0)
    with pytest.raises(TokenEndpointUnavailable, match="no answer in time"):
        await running
    request.expire()  # it has ended


async def test_a_request_whose_time_is_over_before_it_begins_is_not_sent(clock: FakeClock) -> None:
    """A function given as http= may take all the time: a refresh token that is sent then would only be lost."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)
    request.expire()
    with pytest.raises(TokenEndpointUnavailable, match="no answer in time"):
        await request.run()
    assert provider.calls == 0


async def test_a_pools_request_ends_by_itself_at_its_deadline() -> None:
    """Its flight's watchdog may look later: while the flight waited for a slot, it had more time."""
    provider = FakeProvider(latency=60.0)
    request, _ = request_of(provider, SYSTEM_CLOCK, in_pool=True, seconds=0.01)
    async with asyncio.timeout(30):
        with pytest.raises(TokenEndpointUnavailable, match="no answer in time"):
            await request.run()
    assert provider.running == 0


async def test_a_token_that_comes_in_spite_of_the_deadline_is_taken(
    clock: FakeClock, settled: Callable[[], Any]
) -> None:
    """The provider swallows the cancellation, and has an answer all the same."""
    provider = FakeProvider(clock=clock)
    request, state = request_of(provider, clock)

    async def late() -> Token:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return provider.token()

    provider.answers = late
    running = asyncio.ensure_future(request.run())
    await settled()
    request.expire()
    assert (await running).token.value == "token-1"
    assert state.cached.token.value == "token-1"
    assert running.cancelling() == 0


async def test_who_is_cancelled_at_the_deadline_is_cancelled(clock: FakeClock, settled: Callable[[], Any]) -> None:
    """Both come in the same moment."""
    request, _ = request_of(FakeProvider(clock=clock, latency=60.0), clock)
    running = asyncio.ensure_future(request.run())
    await settled()
    request.expire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    "error", [ConnectionError(), ValueError(), BaseExceptionGroup("", [asyncio.CancelledError()])], ids=repr
)
@pytest.mark.parametrize("late", [False, True])
async def test_who_is_cancelled_is_cancelled_whatever_the_provider_makes_of_it(
    clock: FakeClock, settled: Callable[[], Any], error: BaseException, *, late: bool
) -> None:
    """No other try follows, with a loop that is about to end."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)

    async def converted() -> Token:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None
        raise AssertionError

    provider.answers = converted
    running = asyncio.ensure_future(request.run())
    await settled()
    if late:
        request.expire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    assert caught.value.__context__ is None


@pytest.mark.parametrize("late", [False, True])
async def test_an_older_librarys_timeout_is_no_cancellation(
    clock: FakeClock, settled: Callable[[], Any], *, late: bool
) -> None:
    """It cancels the task, raises TimeoutError, and leaves the cancellation behind: the next try may follow."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)

    async def timed_out() -> Token:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TimeoutError from None
        raise AssertionError

    provider.answers = timed_out
    running = asyncio.ensure_future(cancellations_left_by(request))
    await settled()
    if late:
        request.expire()
    running.cancel()
    assert await running == 0


async def test_a_group_at_the_deadline_is_no_answer_in_time(clock: FakeClock, settled: Callable[[], Any]) -> None:
    """Whatever a provider makes of the cancellation, the deadline is what ended it."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)

    async def grouped() -> Token:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise BaseExceptionGroup("", [error]) from None
        raise AssertionError

    provider.answers = grouped
    running = asyncio.ensure_future(request.run())
    await settled()
    request.expire()
    with pytest.raises(TokenEndpointUnavailable, match="no answer in time"):
        await running


async def test_a_provider_that_cancels_itself_has_failed(clock: FakeClock) -> None:
    """The task itself was not cancelled."""
    provider = FakeProvider(clock=clock)
    request, _ = request_of(provider, clock)

    async def cancelled() -> Token:
        raise asyncio.CancelledError

    provider.answers = cancelled
    with pytest.raises(AuthError, match="InterruptedError"):
        await request.run()
