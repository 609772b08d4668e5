"""ManagerPool: which managers are made and closed, which callers wait, and that tenants never mix."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from conftest import EXACT
from core_kit import cache_of, engine_of, forget_manager, given_by_another_thread, known_managers, store_client_of
from harness.canary import MARK
from harness.loops import close_under_its_tasks
from random_kit import largest

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    ManagerClosed,
    ManagerPool,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.flight_endings import end
from asyncauth._core.limiter import LoopSlots
from asyncauth._core.timer import Timer
from asyncauth.clock import SYSTEM_CLOCK
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

Settled = Callable[[], Awaitable[None]]


class Tenant(FakeProvider):
    """A provider whose tokens tell whose they are."""

    def token(self) -> Token:
        plain = super().token()
        value = f"{self.name.removeprefix('fake-')}-{plain.value}"
        return Token(value, issued_at=plain.issued_at, expires_at=plain.expires_at)


class Tenants:
    """A factory that keeps its providers."""

    def __init__(self, clock: FakeClock | None, **settings: Any) -> None:
        self.clock = clock
        self.settings = settings
        self.asked: list[Any] = []
        self.providers: dict[Any, FakeProvider] = {}

    def __call__(self, key: Any) -> FakeProvider:
        self.asked.append(key)
        provider = Tenant(clock=self.clock, name=f"fake-{key}", **self.settings)
        return self.providers.setdefault(key, provider)

    @property
    def calls(self) -> dict[Any, int]:
        return {key: provider.calls for key, provider in self.providers.items()}


@pytest.fixture
def tenants(clock: FakeClock) -> Tenants:
    return Tenants(clock)


@pytest_asyncio.fixture
async def pools(clock: FakeClock) -> AsyncIterator[Callable[..., ManagerPool[Any]]]:
    """Return a maker of pools on the fake clock; they are closed in the end, and have left nothing behind."""
    made: list[ManagerPool[Any]] = []

    def make(factory: Any, **settings: Any) -> ManagerPool[Any]:
        made.append(ManagerPool(factory, **{"policy": EXACT, "clock": clock, "random": largest, **settings}))
        return made[-1]

    yield make
    for pool in made:
        await pool.close()
    assert Timer.here(clock).heap == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


Pools = Callable[..., ManagerPool[Any]]


async def value_of(pool: ManagerPool[Any], key: Any) -> str:
    return (await (await pool.get(key)).token()).value


def open_in(pool: ManagerPool[Any]) -> list[Any]:
    return list(cache_of(pool).engines)


# --- made once


async def test_each_tenant_has_a_manager_of_its_own(pools: Pools, tenants: Tenants) -> None:
    """Keys never mix: each gets its own manager and its own token, again and again."""
    pool = pools(tenants)
    assert [await value_of(pool, key) for key in "abcabc"] == [f"{key}-token-1" for key in "abcabc"]
    assert await pool.get("a") is await pool.get("a") is not await pool.get("b")
    assert tenants.asked == ["a", "b", "c"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_concurrent_callers_make_one_manager(pools: Pools, tenants: Tenants, *, asynchronous: bool) -> None:
    """However many ask for a new tenant at the same time, the factory is called once, plain or async."""

    async def later(key: str) -> FakeProvider:
        await asyncio.sleep(0)
        return tenants(key)

    pool = pools(later if asynchronous else tenants)
    managers = await asyncio.gather(*(pool.get("a") for _ in range(100)))
    assert len(set(map(id, managers))) == 1
    assert tenants.asked == ["a"]


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (CredentialsRejected("gone"), CredentialsRejected, "gone"),
        (KeyError(MARK), AuthError, "the pool's factory raised KeyError"),
        (OSError(MARK), TokenEndpointUnavailable, "the pool's factory failed: no answer was received (OSError)"),
        (None, ConfigurationError, "takes a provider"),
    ],
)
async def test_failing_factory_fails_all_who_wait_and_is_tried_anew(
    pools: Pools, tenants: Tenants, raised: Exception | None, kind: type[AuthError], text: str
) -> None:
    """Each caller that waits for a failing factory gets its own error, without secrets; the next call tries again."""
    failing = True

    async def factory(key: str) -> Any:
        tenants.asked.append(key)
        await asyncio.sleep(0)
        if not failing:
            return FakeProvider()
        if raised is not None:
            raise raised
        return None

    pool = pools(factory)
    errors = await asyncio.gather(*(pool.get("a") for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in errors} == {kind}
    assert len({*map(id, errors), id(raised)}) == 6
    for error in errors:
        assert isinstance(error, AuthError)
        assert text in str(error)
        assert error.__cause__ is error.__context__ is None
        assert MARK not in "".join(traceback.format_exception(error))
    assert tenants.asked == ["a"]
    failing = False
    assert isinstance(await pool.get("a"), TokenManager)
    assert tenants.asked == ["a", "a"]


async def test_cancelled_caller_takes_nobody_with_it(pools: Pools, tenants: Tenants, settled: Settled) -> None:
    """The caller for whom the factory was called is cancelled: the others get the manager of that one call."""
    ready = asyncio.Event()

    async def factory(key: str) -> FakeProvider:
        await ready.wait()
        return tenants(key)

    pool = pools(factory)
    first, *others = [asyncio.ensure_future(pool.get("a")) for _ in range(5)]
    await settled()
    first.cancel()
    await settled()
    assert first.cancelled()
    ready.set()
    assert len(set(map(id, await asyncio.gather(*others)))) == 1
    assert tenants.asked == ["a"]


async def test_slow_factory_is_given_up_at_the_deadline(pools: Pools, clock: FakeClock, settled: Settled) -> None:
    """A factory that hangs is waited for as long as a refresh may take, no longer."""

    async def factory(key: str) -> FakeProvider:
        await asyncio.Event().wait()
        return FakeProvider()

    caller = asyncio.ensure_future(pools(factory).get("a"))
    await settled()
    await clock.advance(29.9)
    assert not caller.done()
    await clock.advance(0.2)
    with pytest.raises(TokenEndpointUnavailable, match="factory failed"):
        await caller


async def test_factory_that_cancels_itself_fails(pools: Pools) -> None:
    """If a factory's own await was cancelled, that is a failure, not a cancellation of its waiting callers."""

    async def factory(key: str) -> FakeProvider:
        raise asyncio.CancelledError

    with pytest.raises(AuthError):
        await pools(factory).get("a")


async def test_lost_making_is_begun_anew(pools: Pools, tenants: Tenants, settled: Settled) -> None:
    """All tasks are cancelled while the factory works: callers that wait for the manager have it made again."""
    works: list[asyncio.Event] = []

    async def factory(key: str) -> FakeProvider:
        works.append(asyncio.Event())
        if len(works) == 1:
            await works[0].wait()
        return tenants(key)

    pool = pools(factory)
    callers = [asyncio.create_task(value_of(pool, "a")) for _ in range(3)]
    await settled()
    for task in asyncio.all_tasks() - {asyncio.current_task(), *callers}:
        task.cancel()
    assert await asyncio.gather(*callers) == ["a-token-1"] * 3
    assert len(works) == 2
    assert not cache_of(pool).making


async def test_refresh_that_a_closing_ended_before_it_began_leaves_nothing(pools: Pools, tenants: Tenants) -> None:
    """close() comes between a flight's start and the first step of its task: the manager counts as idle again."""
    pool = pools(tenants)
    await pool.get("a")
    (engine,) = cache_of(pool).engines.values()
    with cache_of(pool).runtime.guard:
        flight = engine.join()
    await end(flight, 0)
    engine.forget(flight)
    assert cache_of(pool).busy == set()
    assert tenants.calls == {"a": 0}


async def test_pool_of_any_size_closes_nobody(pools: Pools, tenants: Tenants) -> None:
    """max_size=None: every tenant that was used stays."""
    pool = pools(tenants, max_size=None)
    for n in range(200):
        await value_of(pool, n)
    assert pool.status().managers == 200
    assert pool.status().max_size is None


# --- closed


async def test_least_recently_used_is_closed_beyond_the_size(pools: Pools, tenants: Tenants) -> None:
    """Beyond the size the one that was used the longest ago goes, whether by get() or by its token."""
    pool = pools(tenants, max_size=3)
    for key in "abc":
        await value_of(pool, key)
    await pool.get("a")
    b = await pool.get("b")
    await pool.get("c")
    await b.token()
    await pool.get("d")
    assert open_in(pool) == ["c", "b", "d"]
    await value_of(pool, "a")
    assert open_in(pool) == ["b", "d", "a"]
    assert tenants.asked == ["a", "b", "c", "d", "a"]


async def test_closed_manager_that_nobody_holds_is_forgotten(pools: Pools, tenants: Tenants) -> None:
    """A closed manager's memory is given back at once; its tenant is logged in anew."""
    pool = pools(tenants, max_size=1)
    gone = weakref.ref(engine_of(await pool.get("a")))
    await pool.get("b")
    assert gone() is None
    assert await value_of(pool, "a") == "a-token-1"
    assert tenants.asked == ["a", "b", "a"]


async def test_a_pool_holds_no_manager_that_nobody_else_holds(pools: Pools, tenants: Tenants) -> None:
    """What it keeps is the engine: 100,000 tenants have no manager while nobody uses one."""
    pool = pools(tenants)
    manager = await pool.get("a")
    assert await pool.get("a") is manager
    gone, engine = weakref.ref(manager), engine_of(manager)
    del manager
    assert gone() is None
    assert engine_of(await pool.get("a")) is engine


async def test_two_threads_that_ask_at_once_get_one_manager(pools: Pools, tenants: Tenants) -> None:
    """The second one finds the first one's, although there was none when it looked."""
    pool = pools(tenants)
    manager = await pool.get("a")
    assert given_by_another_thread(pool, "a", engine_of(manager)) is manager


async def test_a_manager_that_goes_takes_no_other_with_it(pools: Pools, tenants: Tenants) -> None:
    """The end of one that the pool does not know any more leaves its successor known."""
    pool = pools(tenants)
    old = await pool.get("a")
    handle = forget_manager(pool, "a")
    new = await pool.get("a")
    assert new is not old
    del old
    assert await pool.get("b") is not new  # takes what has gone off the pool's
    assert await pool.get("a") is new
    del handle


async def test_the_end_of_a_manager_waits_for_no_lock(pools: Pools, tenants: Tenants) -> None:
    """The garbage collector may end one in a thread that holds another lock. The next one takes it off the pool's."""
    pool = pools(tenants)
    guard, held, release = cache_of(pool).runtime.guard, threading.Event(), threading.Event()
    manager = await pool.get("a")
    gone = weakref.ref(manager)

    def hold() -> None:
        with guard:
            held.set()
            release.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    del manager
    assert gone() is None
    release.set()
    thread.join()
    assert known_managers(pool) == {"a"}
    await pool.get("b")
    assert known_managers(pool) == {"b"}


async def test_held_manager_reopens_on_use(pools: Pools, tenants: Tenants) -> None:
    """A closed manager that somebody holds works on with its token, and is the tenant's manager still."""
    async with pools(tenants, max_size=1) as pool:
        held = await pool.get("a")
        first = await held.token()
        await value_of(pool, "b")
        assert open_in(pool) == ["b"]
        assert engine_of(held).timer_handle is None
        assert await held.token() is first
        assert open_in(pool) == ["a"]
        assert engine_of(held).timer_handle is not None
        await pool.get("b")
        assert await pool.get("a") is held
        await pool.get("b")
        assert (await held.refresh()).value == "a-token-2"
        assert tenants.asked.count("a") == 1


async def test_held_manager_on_the_real_clock_reopens_on_use() -> None:
    """On the machine's clock too, where a fresh token is handed out at once, a closed manager's next use is seen."""
    tenants = Tenants(None)
    async with ManagerPool(tenants, max_size=1) as pool:
        held = await pool.get("a")
        for _ in range(2):
            await held.token()
        await pool.get("b")
        await held.headers()
        assert open_in(pool) == ["a"]
        assert tenants.calls == {"a": 1, "b": 0}


async def test_manager_with_a_flight_is_not_closed(pools: Pools, tenants: Tenants, gate: Any, settled: Settled) -> None:
    """A tenant with a refresh in progress, or with waiters, stays; the pool shrinks to its size afterwards."""
    pool = pools(tenants, max_size=2)
    doors = {key: gate() for key in "abcd"}
    for key, door in doors.items():
        await pool.get(key)
        tenants.providers[key].answers = [door]
    callers = {key: asyncio.ensure_future(value_of(pool, key)) for key in "abcd"}
    await settled()
    assert sorted(open_in(pool)) == ["a", "b", "c", "d"]
    await pool.get("e")
    assert "e" in open_in(pool)
    for n, key in enumerate("abcd"):
        doors[key].open()
        assert await callers[key] == "from-the-gate"
        await settled()
        assert len(open_in(pool)) == max(2, 3 - n)
    assert "e" not in open_in(pool)
    assert not cache_of(pool).busy


async def test_thousands_of_cold_tenants_in_a_small_pool(pools: Pools) -> None:
    """A pool much smaller than its tenants serves them all, at a cost that does not grow with their square."""
    tenants = Tenants(None)
    pool = pools(tenants, max_size=10, clock=None)
    values = await asyncio.gather(*(value_of(pool, n) for n in range(3_000)))
    assert values == [f"{n}-token-1" for n in range(3_000)]
    assert len(open_in(pool)) == 10
    assert len(cache_of(pool).retired) <= 3_000
    assert not cache_of(pool).busy


@pytest.mark.parametrize(("after", "still"), [(99.999, ["a"]), (100, []), (100.001, [])])
async def test_idle_manager_is_closed(
    pools: Pools, tenants: Tenants, clock: FakeClock, after: float, still: list[str]
) -> None:
    """Who was not used for the idle timeout goes, by the pool's one timer."""
    async with pools(tenants, idle_timeout=100) as pool:
        await clock.advance(30)
        await value_of(pool, "a")
        await clock.advance(after)
        assert open_in(pool) == still


async def test_used_manager_is_not_closed(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """Who is used within the idle timeout stays, while others go."""
    async with pools(tenants, idle_timeout=100) as pool:
        await value_of(pool, "a")
        await value_of(pool, "b")
        for _ in range(50):
            await clock.advance(60)
            await value_of(pool, "a")
        assert open_in(pool) == ["a"]
        assert tenants.asked == ["a", "b"]


async def test_idle_managers_of_a_pool_that_is_not_entered_go_when_the_next_one_comes(
    pools: Pools, tenants: Tenants, clock: FakeClock
) -> None:
    """A pool without a timer closes idle managers when it makes one."""
    pool = pools(tenants, idle_timeout=100)
    for key in "abc":
        await pool.get(key)
    await clock.advance(100)
    await pool.get("d")
    assert open_in(pool) == ["d"]


# --- kept fresh


async def test_managers_of_an_entered_pool_are_kept_fresh(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """Inside the pool's ``async with`` tokens are renewed when nobody asks, by one timer task."""
    async with pools(tenants, idle_timeout=None) as pool:
        for key in range(50):
            await value_of(pool, key)
        await clock.advance(2880)
        assert set(tenants.calls.values()) == {2}
        assert len(asyncio.all_tasks()) == 2
        assert await value_of(pool, 7) == "7-token-2"


async def test_managers_of_a_pool_that_is_not_entered_leave_nothing(
    pools: Pools, tenants: Tenants, clock: FakeClock
) -> None:
    """Not entered the pool has no timer and no session."""
    pool = pools(tenants)
    await value_of(pool, "a")
    assert len(asyncio.all_tasks()) == 1
    await clock.advance(3600)
    assert await value_of(pool, "a") == "a-token-2"


async def test_background_renewal_is_nobodys_use(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """A renewal in the background does not make a manager one that was used of late."""
    async with pools(tenants, max_size=2) as pool:
        await value_of(pool, "a")
        await clock.advance(60)
        await value_of(pool, "b")
        await clock.advance(2820)
        assert tenants.calls == {"a": 2, "b": 1}
        await pool.get("c")
        assert open_in(pool) == ["b", "c"]


async def test_tenants_that_come_and_go_leave_no_appointments(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """However many tenants have passed through, the timer's list is no longer than it is for those that are there."""
    async with pools(tenants, max_size=10) as pool:
        for key in range(1_000):
            await value_of(pool, key)
        assert len(Timer.here(clock).heap) <= 64


async def test_entering_a_pools_manager_changes_nothing(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """``async with`` around one of the pool's managers neither closes it nor what all of them share."""
    async with pools(tenants) as pool:
        async with await pool.get("a") as manager:
            await manager.token()
        await clock.advance(2880)
        assert tenants.calls == {"a": 2}
        await manager.close()
        assert await value_of(pool, "a") == "a-token-2"


# --- the limit


async def test_so_many_token_requests_at_a_time(pools: Pools, clock: FakeClock) -> None:
    """Never more than the limit are in progress; the rest are served in the order in which they came."""
    tenants = Tenants(clock, latency=1.0)
    pool = pools(tenants, limit=3)
    callers = [asyncio.ensure_future(value_of(pool, n)) for n in range(10)]
    for served in range(0, 10, 3):
        await clock.advance(0)
        assert sum(provider.running for provider in tenants.providers.values()) == min(3, 10 - served)
        status = pool.status()
        assert (status.requesting, status.queued, status.waiting) == (
            min(3, 10 - served),
            max(0, 7 - served),
            10 - served,
        )
        await clock.advance(1)
        assert [caller.done() for caller in callers] == [n < served + 3 for n in range(10)]
    assert set(tenants.calls.values()) == {1}


async def test_queue_counts_neither_as_slowness_nor_towards_the_deadline(pools: Pools, clock: FakeClock) -> None:
    """Who waited for its turn longer than a refresh may take is served, and renews no earlier for it."""
    tenants = Tenants(clock, latency=10.0)
    async with pools(tenants, limit=1) as pool:
        callers = [asyncio.ensure_future(value_of(pool, n)) for n in range(20)]
        await clock.advance(200)
        assert all(caller.done() for caller in callers)
        last = (await pool.get(19)).status()
        assert last.next_refresh_in == pytest.approx(2880 - 10)


async def test_rest_between_tries_takes_no_turn(pools: Pools, clock: FakeClock) -> None:
    """A tenant that waits for its next try occupies no slot."""
    tenants = Tenants(clock)
    pool = pools(tenants, limit=1)
    await pool.get("a")
    tenants.providers["a"].answers = [TokenEndpointUnavailable("down")]
    a = asyncio.ensure_future(value_of(pool, "a"))
    b = asyncio.ensure_future(value_of(pool, "b"))
    await clock.advance(0)
    assert b.done()
    assert not a.done()
    await clock.advance(0.25)
    assert await a == "a-token-1"


async def test_queue_that_does_not_move_is_given_up(pools: Pools, clock: FakeClock) -> None:
    """When nobody was answered for a refresh's deadline, all who waited for so long fail, and were never sent."""
    tenants = Tenants(clock, latency=1e6)
    pool = pools(tenants, limit=2)
    callers = [asyncio.ensure_future(value_of(pool, n)) for n in range(50)]
    await clock.advance(31)
    await clock.advance(31)
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(error) for error in errors} == {TokenEndpointUnavailable}
    assert sum("was not sent" in str(error) for error in errors) >= 40
    assert sum(tenants.calls.values()) <= 10
    assert pool.status().requesting == pool.status().queued == 0


async def test_cancelled_queue_gives_its_turns_back(pools: Pools, clock: FakeClock) -> None:
    """Refreshes that end while they wait, or just when their turn comes, take no turn with them."""
    tenants = Tenants(clock, latency=1.0)
    pool = pools(tenants, limit=2)
    callers = [asyncio.ensure_future(value_of(pool, n)) for n in range(10)]
    await clock.advance(0.5)
    for n in (2, 3, 4):
        await (await pool.get(n)).close()
    await clock.advance(10)
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(each) for each in ended] == [ManagerClosed if n in {2, 3, 4} else str for n in range(10)]
    assert pool.status().requesting == pool.status().queued == 0


class Chain(FakeProvider):
    """A provider whose credential is another provider's token."""

    upstream: Any = None

    def chained(self, manage: Callable[[Any], Any]) -> Chain:
        self.upstream = manage(FakeProvider(clock=self.clock, latency=self.latency))
        return self

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        await self.upstream.token()
        return await super().fetch(http, previous)


async def test_chain_takes_one_turn(pools: Pools, clock: FakeClock) -> None:
    """With a limit of one, a chain gets its turn and makes its requests one after another: no deadlock."""
    async with pools(lambda key: Chain(clock=clock, latency=1.0), limit=1) as pool:
        callers = [asyncio.ensure_future(value_of(pool, n)) for n in range(3)]
        await clock.advance(5.5)
        assert [caller.done() for caller in callers] == [True, True, False]
        await clock.advance(1)
        assert callers[2].done()
    with pytest.raises(ManagerClosed):
        await (await asyncio.wait_for(pool.get(0), 1)).token()


class Locks(MemoryStore):
    """A store whose locks a test holds, as a process does that was killed."""

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[str] = set()
        self.held: list[str] = []
        self.taken = 0

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        while key in self.dead:  # noqa: ASYNC110
            await asyncio.sleep(0)
        async with super().lock(key):
            self.held.append(key)
            self.taken += 1
            try:
                yield
            finally:
                self.held.remove(key)


async def test_waiting_for_another_process_takes_no_slot(pools: Pools, clock: FakeClock) -> None:
    """The locks of a killed process delay only their own tenants. No tenant holds a lock while it waits for a slot."""
    store, tenants = Locks(), Tenants(clock, latency=1.0)
    async with pools(tenants, limit=2, store=store) as pool:
        store.dead = {store_client_of(await pool.get(n)).key for n in range(6)}
        stuck = [asyncio.ensure_future(value_of(pool, n)) for n in range(6)]
        await clock.advance(0.5)
        assert (pool.status().requesting, pool.status().queued) == (0, 0)
        others = [asyncio.ensure_future(value_of(pool, n)) for n in range(10, 14)]
        await clock.advance(2.0)
        assert all(each.done() for each in others)
        assert not any(each.done() for each in stuck)
        queued = [asyncio.ensure_future(value_of(pool, n)) for n in range(20, 26)]
        await clock.advance(0.1)
        store.dead = set()
        await clock.advance(0.1)
        assert len(store.held) == pool.status().requesting == 2
        await clock.advance(3.8)
        assert [each.done() for each in stuck] == [True] * 6  # at the head of the queue
        assert [each.done() for each in queued].count(True) == 2  # those who had their slot before
        await clock.advance(2.0)
        assert all(each.done() for each in queued)
    assert set(tenants.calls.values()) == {1}


async def test_a_lock_that_comes_while_a_slot_is_free_is_used_at_once(pools: Pools, clock: FakeClock) -> None:
    """It was waited for without a slot, and is not given back for nothing."""
    store, tenants = Locks(), Tenants(clock)
    async with pools(tenants, limit=1, store=store) as pool:
        store.dead = {store_client_of(await pool.get(0)).key}
        waiting = asyncio.ensure_future(value_of(pool, 0))
        await clock.advance(3.0)
        store.dead, store.taken = set(), 0
        await clock.advance(0)
        assert waiting.done()
        assert store.taken == 1


async def test_another_process_is_not_waited_for_any_longer_in_parts(pools: Pools, clock: FakeClock) -> None:
    """A tenant that had a lock and no slot waits again for what is left of its 15 s."""
    store, tenants = Locks(), Tenants(clock, latency=1.0)
    async with pools(tenants, limit=1, store=store) as pool:
        key = store_client_of(await pool.get("a")).key
        store.dead = {key}
        waiting = asyncio.ensure_future(value_of(pool, "a"))
        await clock.advance(9.5)
        other = asyncio.ensure_future(value_of(pool, "b"))  # has the slot until 10.5
        await clock.advance(0.5)
        store.dead = set()
        await clock.advance(0.25)
        store.dead = {key}
        await clock.advance(5.2)
        assert tenants.calls == {"a": 0, "b": 1}
        await clock.advance(0.1)
        assert tenants.calls == {"a": 1, "b": 1}
        await clock.advance(1.0)
        assert waiting.done()
        assert other.done()


@pytest.mark.parametrize("handed_over", [True, False])
async def test_a_cancelled_wait_for_a_slot_takes_none(*, handed_over: bool) -> None:
    """Nor one that was handed over in that very moment."""
    slots = LoopSlots(1)
    await slots.take(first=False)
    waiting = asyncio.ensure_future(slots.take(first=False))
    first = asyncio.ensure_future(slots.take(first=True))
    await asyncio.sleep(0)
    assert (slots.queued, slots.free) == (2, False)
    if handed_over:
        slots.give_back()
    first.cancel()
    await asyncio.wait((first,))
    if not handed_over:
        slots.give_back()
    await waiting
    assert (slots.taken, slots.queued) == (1, 0)
    slots.give_back()
    assert slots.free


# --- ending


async def test_close_ends_everything(
    pools: Pools, tenants: Tenants, gate: Any, settled: Settled, clock: FakeClock
) -> None:
    """close() ends flights, waiters and makings; a held manager raises until the pool is entered again."""
    never = asyncio.Event()

    async def factory(key: str) -> FakeProvider:
        if key == "hangs":
            await never.wait()
        return tenants(key)

    pool = pools(factory, max_size=2)
    async with pool:
        held = await pool.get("held")
        await held.token()
        evicted = await pool.get("evicted")
        await evicted.token()
        await pool.get("busy")
        tenants.providers["busy"].answers = [gate()]
        waiting = [asyncio.ensure_future(value_of(pool, key)) for key in ("busy", "hangs")]
        await settled()
    for each in waiting:
        with pytest.raises(ManagerClosed):
            await each
    await pool.close()
    for manager in (held, evicted):
        assert manager.current is not None
        with pytest.raises(ManagerClosed):
            await manager.token()
        with pytest.raises(ManagerClosed):
            await manager.refresh()
    with pytest.raises(ManagerClosed, match="the pool was closed"):
        await pool.get("held")
    with pytest.raises(ManagerClosed):
        await pool.get("new")
    assert pool.status().managers == 0
    async with pool:
        assert (await held.token()).value == "held-token-1"
        assert await pool.get("evicted") is evicted
        await clock.advance(2880)
        assert tenants.calls["held"] == 2


async def test_pool_entered_twice_ends_with_the_last_exit(pools: Pools, tenants: Tenants) -> None:
    """Nested ``async with`` blocks on one loop end the pool once, in the end."""
    pool = pools(tenants)
    async with pool:
        async with pool:
            pass
        assert await value_of(pool, "a") == "a-token-1"
    with pytest.raises(ManagerClosed):
        await pool.get("a")


@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize("way", ["close", "exit"])
async def test_an_ending_that_is_cancelled_leaves_no_session(
    pools: Pools, tenants: Tenants, way: str, steps: int
) -> None:
    """At whichever step: the pool's session is closed."""
    pool = pools(tenants)
    await pool.__aenter__()
    await value_of(pool, "a")
    (entry,) = cache_of(pool).runtime.sessions.entries
    assert entry.session is not None
    ending = asyncio.create_task(pool.close() if way == "close" else pool.__aexit__(None, None, None))
    for _ in range(steps):
        await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait((ending,))
    assert entry.session.closed


def _drop(pools: list[Any]) -> None:
    pools.clear()
    gc.collect()


async def test_pool_that_was_never_closed_warns() -> None:
    """A pool that was entered and forgotten warns, as aiohttp does; its managers don't."""
    pool = ManagerPool(Tenants(None))
    await pool.__aenter__()
    await value_of(pool, "a")
    (entry,) = cache_of(pool).runtime.sessions.entries
    assert entry.session is not None
    await entry.session.close()
    pools = [pool]
    del pool
    with pytest.warns(ResourceWarning, match="Unclosed <ManagerPool of 1>") as seen:
        _drop(pools)
    assert len([each for each in seen if "Manager" in str(each.message)]) == 1
    await Timer.here(SYSTEM_CLOCK).sweep()


# --- loops and threads


def test_pool_serves_one_loop_after_another_and_several_at_once() -> None:
    """One pool for several loops and threads: one manager and one token per tenant."""
    tenants = Tenants(None, latency=0.01)
    pool = ManagerPool(tenants, limit=2)

    finished = threading.Barrier(4)
    found: list[list[str]] = []

    async def work() -> None:
        async with pool:
            found.append(await asyncio.gather(*(value_of(pool, n % 20) for n in range(40))))
            await asyncio.to_thread(finished.wait)  # the last exit closes the pool

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[f"{n % 20}-token-1" for n in range(40)]] * 4
    assert set(tenants.calls.values()) == {1}
    assert sorted(tenants.asked) == list(range(20))
    assert pool.status().requesting == 0
    assert not cache_of(pool).busy


def test_renewals_go_on_where_the_pool_is_still_entered() -> None:
    """Left on the loop that had its managers' appointments, the pool keeps them fresh on another."""
    pool = ManagerPool(Tenants(None))
    entered, left = threading.Event(), threading.Event()
    moved: list[bool] = []

    async def there() -> None:
        async with pool:
            entered.set()
            await asyncio.to_thread(left.wait)
            await asyncio.sleep(0.05)
            (engine,) = cache_of(pool).engines.values()
            moved.append(engine.timer is Timer.here(cache_of(pool).runtime.clock))

    async def here() -> None:
        async with pool:
            await value_of(pool, "a")
            thread.start()
            await asyncio.to_thread(entered.wait)
        left.set()

    thread = threading.Thread(target=lambda: asyncio.run(there()))
    asyncio.run(here())
    thread.join()
    assert moved == [True]


def test_pool_serves_asyncio_run_after_asyncio_run() -> None:
    """The same pool in a second asyncio.run(): nothing is bound to a loop that has ended."""
    tenants = Tenants(None)
    pool = ManagerPool(tenants)
    assert [asyncio.run(value_of(pool, "a")) for _ in range(3)] == ["a-token-1"] * 3

    async def entered() -> str:
        async with pool:
            return await value_of(pool, "b")

    assert [asyncio.run(entered()) for _ in range(2)] == ["b-token-1", "b-token-2"]
    assert tenants.asked == ["a", "b", "b"]


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
@pytest.mark.parametrize("queued", [False, True])
def test_turn_of_a_loop_that_was_closed_takes_nothing_from_the_next(*, queued: bool) -> None:
    """A loop is closed while turns are taken: the next loop serves, and the garbage collector has no complaint."""
    pool = ManagerPool(Tenants(None, latency=0.2), limit=1)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        for n in range(1 + queued):
            asyncio.ensure_future(value_of(pool, n))  # noqa: RUF006 (the loop's end is its end)
        while (pool.status().requesting, pool.status().queued) != (1, queued):  # noqa: ASYNC110 (told by no event)
            await asyncio.sleep(0)

    loop.run_until_complete(begin())
    close_under_its_tasks(loop)
    assert asyncio.run(value_of(pool, "next")) == "next-token-1"
    assert pool.status().requesting == 0
    for engine in cache_of(pool).engines.values():
        engine.flight = None
    del loop
    gc.collect()
    assert pool.status().requesting == 0


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
@pytest.mark.parametrize("steps", range(6))
def test_loop_may_be_closed_at_any_step_of_a_refresh(steps: int) -> None:
    """The next loop serves, and no slot stays taken, also if tasks of the refresh had yet to take their first step."""
    pool = ManagerPool(Tenants(None), limit=1)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        asyncio.ensure_future(value_of(pool, "first"))  # noqa: RUF006 (the loop's end is its end)
        for _ in range(steps):
            await asyncio.sleep(0)

    loop.run_until_complete(begin())
    close_under_its_tasks(loop)
    assert asyncio.run(value_of(pool, "next")) == "next-token-1"
    for engine in cache_of(pool).engines.values():
        engine.flight = None
    del loop
    gc.collect()
    assert pool.status().requesting == 0


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
def test_managers_whose_loop_was_closed_under_a_refresh_make_room() -> None:
    """They are busy no more: the pool stays within its size."""
    pool = ManagerPool(Tenants(None, latency=60.0), max_size=2)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(value_of(pool, n)) for n in range(6)]
    loop.run_until_complete(asyncio.wait(tasks, timeout=0.05))
    close_under_its_tasks(loop)
    assert pool.status().managers == 6
    asyncio.run(_ask_for(pool, "next"))
    assert pool.status().managers <= 2
    tasks.clear()


async def _ask_for(pool: ManagerPool[Any], key: object) -> None:
    await pool.get(key)


async def test_a_plain_factory_that_raises_a_cancellation_fails_its_caller(pools: Pools) -> None:
    """It does not count as a caller's cancellation: the factory is not called over and over."""
    calls = []

    def factory(key: object) -> Any:
        calls.append(key)
        raise asyncio.CancelledError

    with pytest.raises(AuthError):
        await asyncio.wait_for(pools(factory).get("a"), 5)
    assert calls == ["a"]


# --- the store


async def test_tenants_are_apart_in_a_store_though_their_providers_name_themselves_alike(pools: Pools) -> None:
    """The tenant's key is part of the store's key: no token of one is found by another."""
    store = MemoryStore()
    first, second = Tenants(None), Tenants(None)
    for tenants in (first, second):
        pool = pools(tenants, store=store, clock=None)
        assert [await value_of(pool, key) for key in ("a", "b")] == ["a-token-1", "b-token-1"]
    assert first.calls == {"a": 1, "b": 1}
    assert second.calls == {"a": 0, "b": 0}


async def test_key_that_says_nothing_is_refused_with_a_store(pools: Pools) -> None:
    """A key that is another in each process can't be part of the store's."""
    with pytest.raises(ConfigurationError, match="the same in every process"):
        await pools(Tenants(None), store=MemoryStore(), clock=None).get(object())


# --- what people see, and wrong arguments


async def test_status_tells_people_what_there_is(pools: Pools, tenants: Tenants, clock: FakeClock) -> None:
    """status() counts managers by state, and names who fails, without secrets."""
    pool = pools(tenants, max_size=3)
    for key in "abcd":
        await pool.get(key)
    tenants.providers["d"].answers = [CredentialsRejected("wrong password")]
    await value_of(pool, "b")
    with pytest.raises(CredentialsRejected):
        await value_of(pool, "d")
    status = pool.status()
    assert status.as_dict() == {
        "managers": 3,
        "max_size": 3,
        "states": {"fresh": 1, "empty": 2},
        "limit": 20,
        "requesting": 0,
        "queued": 0,
        "waiting": 0,
        "waiting_for": None,
        "made": 4,
        "closed": 1,
        "failing": {"d": "CredentialsRejected: wrong password [fake-d]"},
        "failures": 1,
        "healthy": True,
    }
    assert repr(pool) == "<ManagerPool of 3>"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"factory": FakeProvider()}, "factory"),
        ({"max_size": 0}, "max_size"),
        ({"max_size": 1.5}, "max_size"),
        ({"max_size": True}, "max_size"),
        ({"limit": 0}, "limit"),
        ({"limit": None}, "limit"),
        ({"idle_timeout": 0}, "idle_timeout"),
        ({"idle_timeout": float("nan")}, "idle_timeout"),
        ({"idle_timeout": "1"}, "idle_timeout"),
        ({"idle_timeout": 10**400}, "idle_timeout"),
        ({"idle_timeout": 10**5000}, "idle_timeout"),
        ({"policy": 7}, "policy"),
        ({"http": "x"}, "http"),
        ({"clock": 5}, "clock"),
        ({"store": "redis://localhost"}, "store"),
    ],
)
async def test_wrong_arguments_are_refused(settings: dict[str, Any], names: str) -> None:
    """An argument that can't work is refused when the pool is made, by its name."""
    with pytest.raises(ConfigurationError, match=names):
        ManagerPool(**{"factory": Tenants(None), **settings})


@pytest.mark.parametrize("key", [[], ("a", {})])
async def test_a_key_that_is_none_is_refused(key: Any) -> None:
    """What can't be looked up is refused where it is given, and not at the first request."""
    pool = ManagerPool[Any](Tenants(None))
    with pytest.raises(ConfigurationError, match="hashable"):
        pool.auth(key)
    with pytest.raises(ConfigurationError, match="hashable"):
        await pool.get(key)


async def test_session_with_cookies_is_refused() -> None:
    """A session that keeps cookies would carry one tenant's to another."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ConfigurationError, match="DummyCookieJar"):
            ManagerPool(Tenants(None), http=http)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        assert await value_of(ManagerPool(Tenants(None), http=http, policy=RefreshPolicy()), "a") == "a-token-1"
