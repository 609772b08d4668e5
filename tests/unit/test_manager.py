"""Points 1 to 4 of the refresh contract: fresh, stale, spent, and the one flight."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from core_kit import engine_of
from harness.canary import MARK

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilLogin,
    Peakly,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]
Settled = Callable[[], Awaitable[None]]


def starts() -> list[asyncio.Task[Any]]:
    """Return a list that grows by each task that the running loop starts from now on."""
    started: list[asyncio.Task[Any]] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> asyncio.Task[Any]:
        started.append(asyncio.Task(coro, loop=loop, **given))
        return started[-1]

    asyncio.get_running_loop().set_task_factory(factory)
    return started


# --- 1: fresh


async def test_fresh_token_is_the_same_object_and_costs_no_task(make: Make, provider: FakeProvider) -> None:
    """A fresh token is returned again and again without a task or a token request."""
    manager = make(provider)
    token = await manager.token()
    started = starts()
    assert [await manager.token() for _ in range(100)] == [token] * 100
    assert await manager.token() is token
    assert started == []
    assert provider.calls == 1


async def test_fresh_token_needs_no_lock() -> None:
    """On the machine's clock a fresh token is handed out while another thread holds the manager's lock."""
    manager = TokenManager(FakeProvider())
    token = await manager.token()
    await manager.token()  # the first use after a refresh is the one that takes the slow path
    with ThreadPoolExecutor(1) as other:
        other.submit(engine_of(manager).runtime.guard.acquire).result()
        assert await manager.token() is token
        assert await manager.headers() == {"Authorization": "Bearer token-1"}
        other.submit(engine_of(manager).runtime.guard.release).result()


async def test_fresh_token_does_not_suspend_the_caller(make: Make, provider: FakeProvider) -> None:
    """A fresh token is had without giving control to the event loop."""
    for manager in (make(provider), TokenManager(FakeProvider())):
        token = await manager.token()
        for _ in range(2):
            coroutine = manager.token()
            with pytest.raises(StopIteration) as stop:
                coroutine.send(None)
            assert stop.value.value is token


async def test_headers_are_a_new_dict_each_time(make: Make, provider: FakeProvider) -> None:
    """A caller may change the headers that it got without changing another's."""
    manager = make(provider)
    first = await manager.headers()
    first["X-Mine"] = "1"
    again = await manager.headers()
    assert again == {"Authorization": "Bearer token-1"}
    assert [type(name) for name in again] == [str]  # aiohttp's `istr` would make every look-up slower


async def test_headers_for_an_origin_that_the_token_may_not_go_to(make: Make) -> None:
    """They are none, and no token is obtained: a loop over several systems' URLs takes no token to another's."""
    provider = FakeProvider(origins=("https://api.example.com",))
    manager = make(provider)
    assert await manager.headers("https://api.example.com.evil.test/orders") == {}
    assert await manager.headers(url="https://api.example.com:8443/orders") == {}
    assert provider.calls == 0
    assert await manager.headers("https://API.example.com:443/orders?page=1#x") == {"Authorization": "Bearer token-1"}
    with pytest.raises(InsecureTransport, match="write https"):
        await manager.headers("http://api.example.com/orders")


async def test_headers_wait_for_a_token_as_token_does(provider: FakeProvider) -> None:
    """headers() obtains a token when there is none, on the machine's clock as on another."""
    manager = TokenManager(FakeProvider())
    assert await manager.headers() == {"Authorization": "Bearer token-1"}


# --- 2: stale


async def test_stale_token_is_returned_at_once_and_one_refresh_gets_under_way(
    make: Make, provider: FakeProvider, clock: FakeClock, gate: Any, settled: Settled
) -> None:
    """A stale token is handed out without waiting, to everybody, while one refresh is in progress."""
    manager = make(provider)
    first = await manager.token()
    await clock.advance(2880)
    held = gate(Token("second", issued_at=0, expires_at=3600))
    provider.answers = [held]
    for _ in range(50):
        coroutine = manager.token()
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value is first
    await settled()
    assert provider.calls == 2
    assert manager.status().refreshing
    held.open()
    await settled()
    assert (await manager.token()).value == "second"
    assert provider.calls == 2
    assert manager.status().waits == 1  # for the very first token


@pytest.mark.parametrize(("after", "calls"), [(2879.999, 1), (2880, 2), (2880.001, 2)])
async def test_renewal_is_due_at_its_share_of_the_lifetime(
    make: Make, provider: FakeProvider, clock: FakeClock, after: float, calls: int
) -> None:
    """At 80 % of the lifetime, not a millisecond before, a caller starts the renewal."""
    manager = make(provider)
    await manager.token()
    await clock.advance(after)
    await manager.token()
    await clock.advance(0)
    assert provider.calls == calls


async def test_failing_renewal_is_noticed_by_nobody_until_the_token_runs_out(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """While renewals fail and the token is usable callers get it; when it has run out they come to wait."""
    manager = make(provider)
    await manager.token()
    provider.answers = [TokenEndpointUnavailable("down")] * 10_000
    await clock.advance(2880)
    for _ in range(71):
        assert (await manager.token()).value == "token-1"
        await clock.advance(10)
    assert manager.current is None
    assert manager.status().failures > 10
    provider.answers = []
    assert (await manager.token()).value == "token-2" if manager.status().state != "spent" else True
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(15)
    assert (await waiting).value == "token-2"


async def test_stale_callers_of_an_entered_manager_start_no_task_each(
    make: Make, provider: FakeProvider, clock: FakeClock, gate: Any, settled: Settled
) -> None:
    """While a slow renewal is in progress, a caller costs no task: not even the timer is started anew."""
    held = gate()
    async with make(provider) as manager:
        await manager.token()
        provider.answers = [held]
        await clock.advance(2880)
        await manager.token()
        await settled()
        started = starts()
        for _ in range(100):
            await manager.token()
            await asyncio.sleep(0)
        assert len(started) <= 1
        held.open()


# --- 3 and 4: spent, and the one flight


@pytest.mark.parametrize("callers", [1, 2, 50, 10_000])
async def test_spent_callers_join_one_flight(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled, callers: int
) -> None:
    """Any number of callers without a token make one token request and get the same token."""
    manager = make(provider)
    held = gate()
    provider.answers = [held]
    waiting = [asyncio.ensure_future(manager.token()) for _ in range(callers)]
    await settled()
    assert manager.status().waiting == callers
    held.open()
    tokens = await asyncio.gather(*waiting)
    assert len(set(map(id, tokens))) == 1
    assert provider.calls == 1
    assert manager.status().waits == callers


@pytest.mark.parametrize(("before_end", "state"), [(10.001, "stale"), (10, "spent"), (9.999, "spent")])
@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
async def test_token_is_spent_a_margin_before_its_end(
    make: Make, provider: FakeProvider, clock: FakeClock, before_end: float, state: str
) -> None:
    """From 10 s before its end an hour's token is not handed out any more."""
    manager = make(provider)
    await manager.token()
    await clock.advance(3600 - before_end)
    assert manager.status().state == state
    assert (manager.current is None) == (state == "spent")
    assert (await manager.token()).value == ("token-1" if state == "stale" else "token-2")


async def test_cancelled_leader_takes_nobody_with_it(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """The caller that started the flight is cancelled: the others get the token, of one request."""
    manager = make(provider)
    held = gate()
    provider.answers = [held]
    leader, *others = [asyncio.ensure_future(manager.token()) for _ in range(5)]
    await settled()
    leader.cancel()
    await settled()
    assert leader.cancelled()
    held.open()
    assert {token.value for token in await asyncio.gather(*others)} == {"from-the-gate"}
    assert provider.calls == 1


async def test_flight_without_waiters_goes_on_and_what_it_brings_is_kept(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """When every caller has been cancelled the token, with its rotated refresh token, is kept all the same."""
    manager = make(provider)
    held = gate(Token("kept", issued_at=0, expires_at=3600, refresh_token="rotated"))
    provider.answers = [held]
    callers = [asyncio.ensure_future(manager.token()) for _ in range(3)]
    await settled()
    for caller in callers:
        caller.cancel()
    await settled()
    held.open()
    await settled()
    assert manager.current is not None
    assert (manager.current.value, manager.current.refresh_token) == ("kept", "rotated")
    assert (await manager.token()).value == "kept"
    assert provider.calls == 1


async def test_cancelled_callers_are_not_counted_as_waiting(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled
) -> None:
    """status().waiting counts who waits now, not who has been cancelled."""
    manager = make(provider)
    held = gate()
    provider.answers = [held]
    callers = [asyncio.ensure_future(manager.token()) for _ in range(3)]
    await settled()
    callers[0].cancel()
    await settled()
    assert manager.status().waiting == 2
    held.open()
    await asyncio.wait(callers)
    assert manager.status().waiting == 0


async def test_callers_timeout_is_its_own(make: Make, provider: FakeProvider, gate: Any, settled: Settled) -> None:
    """A caller whose time is up gets a TimeoutError; the flight goes on for the next one."""
    manager = make(provider)
    held = gate()
    provider.answers = [held]
    patient = asyncio.ensure_future(manager.token())
    await settled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await manager.token()
    held.open()
    assert (await patient).value == "from-the-gate"
    assert provider.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        AuthError("odd", provider="p", step="s"),
        InvalidTokenResponse("unreadable", provider="p", endpoint="https://e.example/t", status=200),
        CredentialsRejected("no", provider="p", status=401, error="invalid_grant", error_description="wrong"),
        TokenEndpointUnavailable("busy", provider="p", status=503, retry_after=120.0),
        ConfigurationError("unworkable", provider="p"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_waiter_gets_an_exception_of_its_own(
    make: Make, provider: FakeProvider, gate: Any, settled: Settled, error: AuthError
) -> None:
    """All who wait get the one outcome: each a new exception, equal in class, text and fields, without a chain."""
    manager = make(provider)
    try:
        raise KeyError(f"{MARK}-of-the-cause")  # noqa: TRY301
    except KeyError as cause:
        error.__cause__ = cause
        error.__context__ = cause
    held = gate(error)
    provider.answers = [held]
    waiting = [asyncio.ensure_future(manager.token()) for _ in range(5)]
    await settled()
    held.open()
    raised = await asyncio.gather(*waiting, return_exceptions=True)
    assert provider.calls == 1
    assert len({id(each) for each in raised} | {id(error)}) == 6
    for each in raised:
        assert isinstance(each, AuthError)
        assert type(each) is type(error)
        assert str(each) == str(error)
        assert each.args == error.args
        assert vars(each) == vars(error)
        assert each.__cause__ is None
        assert each.__context__ is None
        text = "".join(traceback.TracebackException.from_exception(each, capture_locals=True).format())
        assert MARK not in text


async def test_flight_belongs_to_nobodys_request(make: Make, provider: FakeProvider) -> None:
    """The flight runs in an empty context: a caller's context variable is not visible in fetch()."""
    request = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    def answer() -> Token:
        seen.append(request.get())
        return provider.token()

    provider.answers = [answer, answer]
    manager = make(provider)
    request.set("a caller's")
    await manager.token()
    await manager.refresh()
    assert seen == ["none", "none"]
    assert request.get() == "a caller's"


async def test_background_renewal_belongs_to_nobodys_request(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """The timer's renewals also run in an empty context, wherever the manager was entered."""
    request = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    def answer() -> Token:
        seen.append(request.get())
        return provider.token()

    provider.answers = [answer, answer]
    request.set("a caller's")
    async with make(provider) as manager:
        await manager.token()
        await clock.advance(2880)
    assert seen == ["none", "none"]


@pytest.mark.parametrize(
    "eager",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
        ),
    ],
)
def test_eager_tasks_change_nothing(make: Make, clock: FakeClock, *, eager: bool) -> None:
    """With tasks that start running at once the manager makes the same requests, and leaves as little behind."""

    async def main() -> None:
        if eager:
            factory = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]
            asyncio.get_running_loop().set_task_factory(factory)
        provider = FakeProvider(clock=clock)
        async with make(provider, idle_timeout=None) as manager:
            tokens = await asyncio.gather(*(manager.token() for _ in range(20)))
            assert {token.value for token in tokens} == {"token-1"}
            await clock.advance(2880 * 3)
            assert provider.calls == 4
            assert (await manager.refresh()).value == "token-5"
            provider.answers = [KeyError("x")]
            with pytest.raises(AuthError):
                await manager.refresh()
            await clock.advance(2880)
            assert provider.calls == 7
        assert asyncio.all_tasks() == {asyncio.current_task()}

    # Not on uvloop: it hands the factory an argument that Python 3.13.0's does not take.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


async def test_short_lived_flights_are_not_shared_with_later_callers(make: Make, provider: FakeProvider) -> None:
    """A flight that has ended is forgotten: the next refresh is another."""
    manager = make(provider)
    assert [(await manager.refresh()).value for _ in range(3)] == ["token-1", "token-2", "token-3"]
    assert not manager.status().refreshing


# --- arguments, and what is not I/O


async def test_previous_token_is_given_to_the_provider(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """fetch() gets the last token obtained, even a spent or refused one: its refresh token still counts."""
    manager = make(provider)
    first = await manager.token()
    manager.invalidate(first)
    second = await manager.token()
    await clock.advance(10_000)
    await manager.token()
    assert [None if token is None else token.value for token in provider.previous] == [None, "token-1", "token-2"]
    assert second.value == "token-2"


async def test_current_needs_no_io(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """``current`` is the token while it is usable and None otherwise, and never asks for one."""
    manager = make(provider)
    assert manager.current is None
    token = await manager.token()
    assert manager.current is token
    await clock.advance(2880)
    assert manager.current is token
    await clock.advance(720)
    assert manager.current is None
    assert provider.calls == 1


def test_origins_and_identity_are_the_providers() -> None:
    """A manager has its token's origins and identity."""
    manager = TokenManager(FakeProvider(origins=["https://a.example", "https://b.example"], identity="me"))
    assert manager.origins == ("https://a.example", "https://b.example")
    assert manager.identity == "me"


@pytest.mark.parametrize("provider", [None, "peakly", 1, object(), Peakly, TokenManager])
def test_what_is_no_provider_is_refused_when_built(provider: Any) -> None:
    """An object that is not a provider is refused, and no half-made manager warns when it is collected."""
    with pytest.raises(ConfigurationError, match="takes a provider"):
        TokenManager(provider)
    gc.collect()


class Own:
    """A provider as one writes it, with what a test replaces."""

    name: Any = "own"
    origins: Any = ("https://api.example.com",)
    identity: Any = None

    def fetch(self, http: Any, previous: Token | None) -> Any:
        return Token("x")


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (
            lambda: TokenManager(FakeProvider(), http="x"),  # type: ignore[arg-type]
            "http= takes an aiohttp.ClientSession or a function that makes one, not str",
        ),
        (lambda: TokenManager(FakeProvider(), clock="x"), "clock= takes a Clock, .* not str"),  # type: ignore[arg-type]
        (lambda: TokenManager(FakeProvider(), clock=FakeClock), "clock= takes a Clock, .* not the class FakeClock"),  # type: ignore[arg-type]
        (lambda: TokenManager(FakeProvider(), store=MemoryStore), "store= takes .* not the class MemoryStore"),  # type: ignore[arg-type]
        (lambda: TokenManager(FakeProvider()).accepted("x"), "not str"),  # type: ignore[arg-type]
        (lambda: TokenManager(Own), r"write Own\(…\)"),  # type: ignore[arg-type]
        (lambda: TokenManager(FakeProvider()).invalidate("x"), "not str"),  # type: ignore[arg-type]
        (lambda: TokenManager(FakeProvider(origins=5)).origins, "origins are int"),  # type: ignore[arg-type]
        (lambda: Peakly(username="a", password="b", origins=5), "origins takes .* not int"),  # type: ignore[arg-type]
        (lambda: Peakly(username="a\udcff", password="b"), "username contains a character"),
        (lambda: PagoFacil(jwt="a", environment=[]), "no environment"),  # type: ignore[arg-type]
        (lambda: PagoFacil(jwt="a", account=""), "account takes a str"),
        (lambda: PagoFacil(jwt="a", account={}), "account takes a str"),  # type: ignore[arg-type]
        (lambda: PagoFacilLogin(username="a", password="b", generation=[]), "generation= takes 1"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_cant_work_are_told_apart(make_it: Callable[[], Any], words: str) -> None:
    """Each is a ConfigurationError that says which argument it is and what it takes."""
    with pytest.raises(ConfigurationError, match=words):
        make_it()
    gc.collect()


def test_one_origin_may_be_a_text() -> None:
    """A provider's ``origins`` that are one str are one origin, not its letters."""
    own = Own()
    own.origins = "https://api.example.com"
    assert TokenManager(own).origins == ("https://api.example.com",)


async def test_a_fetch_that_is_no_coroutine_says_so() -> None:
    """If a user's own provider has a plain function as ``fetch``, the error says to write ``async def``."""
    with pytest.raises(ConfigurationError, match="async def fetch"):
        await TokenManager(Own()).token()


@pytest.mark.parametrize("expires_at", [datetime.now(UTC), "60", True])
async def test_a_fetched_token_of_wrong_types_names_the_field(provider: FakeProvider, expires_at: Any) -> None:
    """An own provider's Token with a wrong type is an error that names the field and the type."""
    provider.answers = [Token("x", expires_at=expires_at)]
    with pytest.raises(ConfigurationError, match=f"expires_at is {type(expires_at).__name__}"):
        await TokenManager(provider).token()


def test_store_is_refused_until_there_are_stores() -> None:
    """``store=`` is refused rather than ignored."""
    with pytest.raises(ConfigurationError, match="store"):
        TokenManager(FakeProvider(), store=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [None, 0.8, {"renew_at": 0.8}, RefreshPolicy])
def test_what_is_no_policy_is_refused_when_built(policy: Any) -> None:
    """A ``policy=`` that is none is a ConfigurationError, and nothing is left to complain at its end."""
    with pytest.raises(ConfigurationError, match="policy"):
        TokenManager(FakeProvider(), policy=policy)
    gc.collect()


async def test_providers_own_deadline_wins(make: Make, clock: FakeClock) -> None:
    """A provider's ``deadline`` replaces the policy's."""

    class Slow(FakeProvider):
        deadline = 600.0

    provider = Slow(clock=clock, latency=500.0)
    waiting = asyncio.ensure_future(make(provider).token())
    await clock.advance(501)
    assert (await waiting).value == "token-1"


@pytest.mark.parametrize("deadline", ["30", float("nan"), 0, -1, [], True])
def test_providers_deadline_that_is_no_number_is_refused_when_built(make: Make, deadline: Any) -> None:
    """A provider's ``deadline`` that is not a number of seconds is refused early, before a caller could hang."""
    odd = type("Odd", (FakeProvider,), {"deadline": deadline})()
    with pytest.raises(ConfigurationError, match="deadline"):
        make(odd)
