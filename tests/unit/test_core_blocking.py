"""A manager without an event loop: `TokenManager.blocking`, whose calls leave nothing behind and lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from core_kit import engine_of, store_client_of
from store_client_kit import Rotating

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    ManagerClosed,
    ManagerPool,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.flight_endings import leave_all
from asyncauth.events import Event, RefreshSucceeded
from asyncauth.stores import FileStore, MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

STALE = 3000.0
"""Seconds after which a token of an hour is stale, and usable for some minutes more."""
SPENT = 3600.0
THREADS = 8


@attrs.define
class Loops:
    """How many event loops were made, and which of them are still in memory."""

    made: int = 0
    known: weakref.WeakSet[asyncio.AbstractEventLoop] = attrs.field(factory=weakref.WeakSet)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Loops:
    counted, new = Loops(), asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        counted.made += 1
        loop = new()
        counted.known.add(loop)
        return loop

    monkeypatch.setattr(asyncio, "new_event_loop", new_event_loop)
    return counted


class Door:
    """An answer that waits, on whatever loop, until the test opens the door."""

    def __init__(self, answer: Token | Exception | None = None) -> None:
        self._answer = Token("through-the-door", issued_at=0, expires_at=3600) if answer is None else answer
        self.reached, self.opened = threading.Event(), threading.Event()

    async def __call__(self) -> Token:
        self.reached.set()
        while not self.opened.is_set():  # noqa: ASYNC110 (another thread sets it)
            await asyncio.sleep(0.001)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Threads of the test's own."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _quick_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncauth._core.waiters.GLANCE", 0.005)


Make = Callable[..., TokenManager]


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when other threads have made something true."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- what a call costs


@pytest.mark.parametrize("fake", [True, False])
def test_a_fresh_token_costs_no_loop(loops: Loops, fake: bool) -> None:  # noqa: FBT001
    """The first call runs an event loop; while the token is fresh, no other call does."""
    clock = FakeClock() if fake else None
    provider = FakeProvider(clock=clock)
    blocking = TokenManager(provider, clock=clock).blocking
    assert {blocking.token().value for _ in range(100)} == {"token-1"}
    assert blocking.headers() == {"Authorization": "Bearer token-1"}
    assert (loops.made, provider.calls) == (1, 1)


def test_headers_for_a_url_where_the_token_may_not_go_cost_nothing(
    make: Make, provider: FakeProvider, loops: Loops
) -> None:
    """No token is obtained for a request that would not carry it."""
    blocking = make(provider).blocking
    assert blocking.headers("https://elsewhere.example/") == {}
    assert (loops.made, provider.calls) == (0, 0)
    assert blocking.headers("https://api.example.com/x") == {"Authorization": "Bearer token-1"}


def test_the_thread_keeps_its_current_event_loop(make: Make, provider: FakeProvider) -> None:
    """A program that has set an event loop for later finds it again."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        make(provider).blocking.token()
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def test_inside_a_running_loop_it_says_what_to_write(make: Make, provider: FakeProvider) -> None:
    """A call would stop the event loop that is running: the error names the call to await, fresh token or not."""
    manager = make(provider)
    await manager.token()
    for name, call in (
        ("token", manager.blocking.token),
        ("headers", manager.blocking.headers),
        ("refresh", manager.blocking.refresh),
    ):
        with pytest.raises(ConfigurationError, match=rf"write 'await manager\.{name}\(\)'"):
            call()
    assert (await asyncio.to_thread(manager.blocking.token)).value == "token-1"


def test_its_repr_is_the_managers(make: Make, provider: FakeProvider) -> None:
    """A repr says whose it is, and no more."""
    assert repr(make(provider).blocking) == "<TokenManager FakeProvider 'fake'>.blocking"


# --- the life of a token


def test_a_stale_token_is_renewed_before_the_call_returns(
    make: Make, provider: FakeProvider, clock: FakeClock, loops: Loops
) -> None:
    """Nothing is left behind on a loop that ends: the caller waits for the renewal, and gets the new token."""
    blocking = make(provider).blocking
    blocking.token()
    clock.suspend(STALE)
    assert blocking.token().value == "token-2"
    assert (loops.made, provider.calls) == (2, 2)


def test_a_renewal_that_fails_leaves_the_usable_token(
    make: Make, provider: FakeProvider, clock: FakeClock, loops: Loops
) -> None:
    """A call makes one try and returns the token that is still usable; until the backoff is over, none is made."""
    manager = make(provider)
    manager.blocking.token()
    clock.suspend(STALE)
    provider.answers = [TokenEndpointUnavailable("down")] * 2
    assert [manager.blocking.token().value for _ in range(3)] == ["token-1"] * 3
    assert (loops.made, provider.calls) == (2, 2)
    clock.suspend(60)
    assert manager.blocking.token().value == "token-1"
    assert provider.calls == 3
    clock.suspend(60)
    assert manager.blocking.token().value == "token-2"


def test_a_spent_token_is_waited_for(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """A caller without a usable token waits for the refresh, and gets its error if it fails for good."""
    blocking = make(provider).blocking
    blocking.token()
    clock.suspend(SPENT)
    assert blocking.token().value == "token-2"
    clock.suspend(SPENT)
    provider.answers = [CredentialsRejected("no")]
    with pytest.raises(CredentialsRejected):
        blocking.token()


def test_a_remembered_rejection_costs_no_loop(make: Make, provider: FakeProvider, loops: Loops) -> None:
    """A credential that was refused is not sent again for a while, and each call says so at once."""
    blocking = make(provider).blocking
    provider.answers = [CredentialsRejected("no")]
    for _ in range(3):
        with pytest.raises(CredentialsRejected):
            blocking.token()
    assert (loops.made, provider.calls) == (1, 1)


def test_an_outage_is_waited_out_as_far_as_the_deadline() -> None:
    """With nobody who could take over, a caller without a token waits for the next tries of its refresh."""
    clock = FakeClock(auto=True)
    provider = FakeProvider(clock=clock, answers=[TokenEndpointUnavailable("down")] * 3)
    assert TokenManager(provider, clock=clock).blocking.token().value == "token-1"
    assert provider.calls == 4


def test_a_thread_that_nothing_interrupts_does_not_hold_up_the_deadline() -> None:
    """As one that asks a silent name server for an address. It ends by itself, and the next call is as any other."""
    ends, threads = threading.Event(), list[threading.Thread]()

    def look_up() -> None:
        threads.append(threading.current_thread())
        ends.wait(10)

    async def silent() -> Token:
        await asyncio.to_thread(look_up)
        raise AssertionError

    provider = FakeProvider(answers=[silent])
    blocking = TokenManager(provider, policy=RefreshPolicy(deadline=0.05)).blocking
    with pytest.raises(TokenEndpointUnavailable):
        blocking.token()
    assert [each.is_alive() for each in threads] == [True]
    ends.set()
    wait_until(lambda: not threads[0].is_alive())
    assert blocking.refresh().value == "token-1"


def test_a_thread_that_is_done_is_gone_when_the_call_is_over() -> None:
    """The usual end: an address was found."""
    threads: list[threading.Thread] = []

    async def look_up() -> Token:
        threads.append(await asyncio.to_thread(threading.current_thread))
        return Token("token")

    TokenManager(FakeProvider(answers=[look_up])).blocking.token()
    assert [each.is_alive() for each in threads] == [False]


def test_refresh_obtains_a_new_token_each_time(make: Make, provider: FakeProvider) -> None:
    """A refresh by hand replaces a fresh token."""
    blocking = make(provider).blocking
    assert [blocking.refresh().value for _ in range(3)] == ["token-1", "token-2", "token-3"]


def test_no_loop_is_kept(loops: Loops) -> None:
    """What a call has run on is gone when the call is over."""
    blocking = TokenManager(FakeProvider()).blocking
    for _ in range(3):
        blocking.refresh()
    gc.collect()
    assert (loops.made, len(loops.known)) == (3, 0)


def test_a_closed_manager_says_so(make: Make, provider: FakeProvider) -> None:
    """A manager that was entered and left is closed, for callers without an event loop as well."""
    manager = make(provider)

    async def enter() -> None:
        async with manager:
            pass

    asyncio.run(enter())
    with pytest.raises(ManagerClosed):
        manager.blocking.token()


def test_a_chain_waits_for_its_upstream_s_renewal(make: Make, clock: FakeClock) -> None:
    """What a token request begins on the way is awaited too, such as the renewal of a stale credential."""
    upstream_provider = FakeProvider(clock=clock, name="upstream", identity="upstream")
    upstream = make(upstream_provider)

    class Chain(FakeProvider):
        async def fetch(self, http: object, previous: Token | None) -> Token:
            await upstream.token()
            return await super().fetch(http, previous)  # type: ignore[arg-type]

    manager = make(Chain(clock=clock))
    upstream.blocking.token()
    clock.suspend(STALE)
    assert manager.blocking.token().value == "token-1"
    assert upstream_provider.calls == 2
    assert upstream.current is not None
    assert upstream.current.value == "token-2"


def test_a_tenants_manager_has_it_too(clock: FakeClock, loops: Loops) -> None:
    """A pool's manager serves callers without an event loop; the pool's listeners receive the events."""
    heard: list[Event] = []
    pool: ManagerPool[str] = ManagerPool(lambda tenant: FakeProvider(clock=clock, name=tenant), clock=clock)
    pool.add_listener(heard.append)
    manager = asyncio.run(pool.get("acme"))
    asyncio.run(manager.close())
    before = loops.made
    assert [manager.blocking.token().value for _ in range(3)] == ["token-1"] * 3
    assert loops.made == before + 1
    assert [event.tenant for event in heard if isinstance(event, RefreshSucceeded)] == ["acme"]


# --- several threads


def test_threads_make_one_token_request_together(aside: ThreadPoolExecutor, loops: Loops) -> None:
    """Callers in several threads, each with an event loop of its own, wait for the one flight."""
    door = Door()
    provider = FakeProvider(answers=[door])
    manager = TokenManager(provider)
    calls = [aside.submit(manager.blocking.token) for _ in range(THREADS)]
    wait_until(lambda: manager.status().waiting == THREADS)
    door.opened.set()
    assert {call.result(10).value for call in calls} == {"through-the-door"}
    assert provider.calls == 1
    assert loops.made == THREADS


def test_a_renewal_under_way_elsewhere_is_not_waited_for(
    aside: ThreadPoolExecutor, make: Make, provider: FakeProvider, clock: FakeClock, loops: Loops
) -> None:
    """Who renews is the one thread that waits: the others get the usable token without an event loop."""
    manager, door = make(provider), Door()
    manager.blocking.token()
    clock.suspend(STALE)
    provider.answers = [door]
    renewing = aside.submit(manager.blocking.token)
    assert door.reached.wait(10)
    made = loops.made
    assert manager.blocking.token().value == "token-1"
    assert loops.made == made
    door.opened.set()
    assert renewing.result(10).value == "through-the-door"
    assert provider.calls == 2


def test_a_task_and_a_thread_share_the_flight(make: Make, aside: ThreadPoolExecutor) -> None:
    """A caller without an event loop joins the refresh of one that has one."""
    door = Door()
    provider = FakeProvider(answers=[door])
    manager = TokenManager(provider)

    async def wait() -> Token:
        return await manager.token()

    awaiting = aside.submit(asyncio.run, wait())
    assert door.reached.wait(10)
    blocking = aside.submit(manager.blocking.token)
    wait_until(lambda: manager.status().waiting == 2)
    door.opened.set()
    assert blocking.result(10) is awaiting.result(10)
    assert provider.calls == 1


def test_who_waits_takes_over_from_a_loop_that_ends(
    aside: ThreadPoolExecutor, clock: FakeClock, make: Make, provider: FakeProvider, loops: Loops
) -> None:
    """The token expires during a thread's renewal, which fails: a waiting thread makes the next try on its own loop."""
    manager, door = make(provider), Door(TokenEndpointUnavailable("down"))
    manager.blocking.token()
    clock.suspend(3585)
    provider.answers = [door]
    renewing = aside.submit(manager.blocking.token)
    assert door.reached.wait(10)
    clock.suspend(6)
    waiting = aside.submit(manager.blocking.token)
    wait_until(lambda: manager.status().waiting == 1)
    door.opened.set()
    wait_until(lambda: manager.status().waiting == 2)  # the thread that has renewed needs one now, too
    assert loops.made == 4
    engine_of(manager).clear_backoff()
    assert {waiting.result(10).value, renewing.result(10).value} == {"token-2"}
    assert provider.calls == 3


async def test_a_renewal_that_has_yet_to_begin_makes_one_try(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A loop may end at once: what is told so before its first step makes a try, and no second one."""
    manager = make(provider)
    await manager.token()
    await leave_all(None)
    clock.suspend(STALE)
    provider.answers = [TokenEndpointUnavailable("down")]
    await manager.token()
    await leave_all(None)
    assert provider.calls == 2
    assert not manager.status().refreshing


async def test_a_save_that_is_over_is_not_waited_for() -> None:
    """A loop that ends waits for what is left to the background there, and for nothing else."""
    manager = TokenManager(FakeProvider(), store=MemoryStore())
    client = engine_of(manager).store_client
    assert client is not None
    await client.leave(None)


# --- nothing is left behind, nothing is lost


def test_listeners_have_been_told_before_it_returns() -> None:
    """Who counts events at the end of a script has them all: a listener that is behind may catch up."""
    heard: list[str] = []
    may_go_on = threading.Event()

    def listen(event: Event) -> None:
        may_go_on.wait(0.05)
        heard.append(type(event).__name__)

    manager = TokenManager(FakeProvider(), policy=RefreshPolicy(close_grace=30))
    manager.add_listener(listen)
    manager.blocking.token()
    assert heard == ["RefreshStarted", "RefreshSucceeded", "RequestWaited"]


def test_a_listener_may_ask_for_the_token() -> None:
    """A listener's thread has no event loop: it may call, and is not waited for by its own call."""
    manager = TokenManager(FakeProvider(), policy=RefreshPolicy(close_grace=30))
    seen: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, RefreshSucceeded) and not seen:
            seen.append(manager.blocking.token().value)

    manager.add_listener(listen)
    assert manager.blocking.token().value == "token-1"
    assert seen == ["token-1"]


def test_no_thread_is_kept(tmp_path: object, make: Make) -> None:
    """A store that works in threads has ended them when the call returns."""
    before = threading.active_count()
    manager = TokenManager(FakeProvider(), store=FileStore(f"{tmp_path}/tokens"))
    manager.blocking.token()
    manager.blocking.refresh()
    assert threading.active_count() == before


class Failing(MemoryStore):
    """A store whose saves fail while it is told to, and that counts those that it was asked for."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.saves = 0

    async def save(self, key: str, token: Token) -> None:
        if getattr(token, "in_use_since", None) is None:
            self.saves += 1
            if self.saves <= self.failures:
                raise OSError("no space")
        await super().save(key, token)


def test_a_rotated_refresh_token_is_saved_before_the_loop_ends() -> None:
    """A save that goes on in the background is awaited: no loop ends with a refresh token that only it knows."""
    clock = FakeClock(auto=True)
    store = Failing(4)
    provider = Rotating(clock=clock)
    manager = TokenManager(provider, store=store, clock=clock)
    token = manager.blocking.token()
    assert token.value
    client = engine_of(manager).store_client
    assert client is not None
    assert not client.known.unsaved


@pytest.fixture
def unsaved() -> tuple[TokenManager, Failing, FakeClock]:
    """A manager whose store was down for longer than others wait: the call has ended, and the entry is unsaved."""
    clock, store = FakeClock(auto=True), Failing(1000)
    manager = TokenManager(Rotating(clock=clock), store=store, clock=clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncauth._core.store_client.SENDING", 0.01)
        manager.blocking.token()
    assert store_client_of(manager).known.unsaved
    return manager, store, clock


def test_what_cannot_be_saved_is_held_for_the_next_refresh(unsaved: tuple[TokenManager, Failing, FakeClock]) -> None:
    """A store that is down for long ends the call all the same; the next refresh saves what this process holds."""
    manager, store, _ = unsaved
    store.failures = 0
    manager.blocking.refresh()
    assert not store_client_of(manager).known.unsaved


def test_a_later_call_saves_what_could_not_be_saved(
    unsaved: tuple[TokenManager, Failing, FakeClock], loops: Loops
) -> None:
    """Every 2 s, a call tries again to save, although the token is fresh: other processes wait for the entry."""
    manager, store, clock = unsaved
    made, saves = loops.made, store.saves
    manager.blocking.token()
    assert (loops.made, store.saves) == (made, saves)
    clock.suspend(2)
    manager.blocking.token()
    assert (loops.made, store.saves) == (made + 1, saves + 1)
    store.failures = 0
    clock.suspend(2)
    manager.blocking.token()
    assert not store_client_of(manager).known.unsaved
    assert manager.status().store == "ok"
    clock.suspend(2)
    manager.blocking.token()
    assert loops.made == made + 2


class Held(MemoryStore):
    """A store whose lock another process holds."""

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield


def test_a_lock_that_another_process_keeps_is_not_waited_for_long() -> None:
    """With a usable token in hand, a caller waits 2 s for another process' refresh, and sends nothing itself."""
    clock = FakeClock(auto=True)
    provider = FakeProvider(clock=clock)
    manager = TokenManager(provider, store=Held(), clock=clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "lock", MemoryStore.lock)
        manager.blocking.token()
    clock.suspend(STALE)
    since = clock.monotonic()
    assert manager.blocking.token().value == "token-1"
    assert provider.calls == 1
    assert clock.monotonic() - since < 5


@pytest.mark.leaves_tasks(reason="an interruption ends the loop")
def test_an_interruption_keeps_what_is_under_way() -> None:
    """Ctrl+C during a token request gives the answer a moment to come, and it is kept for the next call."""

    async def interrupted() -> Token:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0.01)
        return Token("after-all", issued_at=0, expires_at=3600)

    manager = TokenManager(FakeProvider(answers=[interrupted]))
    with pytest.raises(KeyboardInterrupt):
        manager.blocking.token()
    assert manager.current is not None
    assert manager.blocking.token().value == "after-all"


@pytest.mark.leaves_tasks(reason="an exception of a signal handler ends the loop")
def test_what_a_signal_handler_raises_keeps_it_too() -> None:
    """So does the end of a worker, which is an exception out of a signal handler."""

    class Shutdown(SystemExit):
        pass

    def raising(*_: object) -> None:
        raise Shutdown

    async def interrupted() -> Token:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        await asyncio.sleep(0.01)
        return Token("after-all", issued_at=0, expires_at=3600)

    before = signal.signal(signal.SIGTERM, raising)
    try:
        manager = TokenManager(FakeProvider(answers=[interrupted]))
        with pytest.raises(Shutdown):
            manager.blocking.token()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert manager.blocking.token().value == "after-all"


@pytest.mark.leaves_tasks(reason="an interruption ends the loop")
def test_an_interruption_does_not_wait_for_ever() -> None:
    """An answer that does not come within the grace is given up, and the next call asks again."""

    async def interrupted() -> Token:
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()
        raise AssertionError

    provider = FakeProvider(answers=[interrupted])
    manager = TokenManager(provider, policy=RefreshPolicy(close_grace=0.0))
    with pytest.raises(KeyboardInterrupt):
        manager.blocking.token()
    assert manager.blocking.token().value == "token-1"
    assert provider.calls == 2


def test_a_forked_child_goes_on_with_it(forked: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """A child of a prefork server has its parent's token, and renews it by itself."""
    provider = FakeProvider()
    manager = TokenManager(provider)
    manager.blocking.token()
    with forked():
        assert manager.blocking.token().value == "token-1"
        assert manager.blocking.refresh().value == "token-2"
    assert provider.calls == 2
