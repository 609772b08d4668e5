"""One refresh of a token in a shared store: how long it waits for other processes, and how long they wait for it."""

from __future__ import annotations

import asyncio

import aiohttp
import attrs
import pytest
from core_kit import Waiting, refresh_of, store_client_of
from random_kit import largest
from store_client_kit import EXACT, CommandedStore, Lease, Rotating, manager

from asyncauth import AuthError, LockTimeout, ManagerPool, Token, TokenEndpointUnavailable
from asyncauth._core.try_state import current_try
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

DOWN = TokenEndpointUnavailable("down")


@pytest.fixture
def store() -> CommandedStore:
    return CommandedStore()


class Unsent(FakeProvider):
    """Its credential cannot be obtained: it knows its endpoint, and has not asked it."""

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        current_try().annotate = _same
        return await super().fetch(http, previous)


def _same(error: AuthError) -> AuthError:
    return error


# The lock, for other processes


@pytest.mark.parametrize(("seconds", "kept"), [(9.75, True), (10.0, False)])
async def test_the_lock_is_kept_between_tries_for_ten_seconds(
    clock: FakeClock, store: CommandedStore, seconds: float, *, kept: bool
) -> None:
    """As long as the next try begins within them, here a quarter of a second after the first one has failed."""
    process = manager(FakeProvider(clock=clock, latency=seconds, answers=[DOWN]), store, clock)
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(seconds)
    assert store.locked is kept
    await clock.advance(seconds + 0.25)
    assert (await waiting).value == "token-1"


async def test_one_lock_serves_many_tries(clock: FakeClock, store: CommandedStore) -> None:
    """While callers wait, what counts are the pauses that they are made to wait, not the background's."""
    provider = FakeProvider(clock=clock, answers=[DOWN] * 50)
    waiting = asyncio.ensure_future(manager(provider, store, clock).token())
    await clock.advance(6.0)
    assert (provider.calls, store.calls.count("lock"), store.locked) == (10, 1, True)
    provider.answers = []
    await clock.advance(3.0)
    assert (await waiting).value == "token-1"


@pytest.mark.parametrize("why", ["nothing was sent", "busy with one client", "the lock was lost", "nobody waits"])
async def test_the_lock_is_given_back_between_tries(clock: FakeClock, store: CommandedStore, why: str) -> None:
    """Unless the endpoint is down for everybody, callers wait, and the lock is still held."""
    error = TokenEndpointUnavailable("busy", status=429) if why == "busy with one client" else DOWN
    provider = (Unsent if why == "nothing was sent" else FakeProvider)(clock=clock, answers=[error])
    store.lease = Lease()
    refresh = refresh_of(manager(provider, store, clock))
    running = asyncio.ensure_future(refresh.run(Waiting(why != "nobody waits")))
    store.lease.lost = why == "the lock was lost"
    await clock.advance(0.0)
    assert (provider.calls, store.locked) == (1, False)
    await clock.advance(0.25)
    assert (await running).token.value == "token-1"


async def test_in_a_pool_the_lock_is_given_back_between_tries(clock: FakeClock, store: CommandedStore) -> None:
    """Its tenants know of an endpoint that is down from each other."""
    provider = FakeProvider(clock=clock, answers=[DOWN])
    pool = ManagerPool[str](lambda _: provider, store=store, clock=clock, policy=EXACT, random=largest)
    waiting = asyncio.ensure_future((await pool.get("a")).token())
    await clock.advance(0.0)
    assert (provider.calls, store.locked) == (1, False)
    await clock.advance(0.25)
    assert (await waiting).value == "token-1"
    await pool.close()


# Waiting for other processes


async def test_on_a_loop_that_is_about_to_end_another_process_is_waited_for_for_two_seconds(clock: FakeClock) -> None:
    """Then the refresh ends without a failure: nothing was sent, and the next one may be."""
    store, provider = CommandedStore(locked=True), FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    refresh = refresh_of(process)
    refresh.leave()
    running = asyncio.ensure_future(refresh.run(Waiting(callers_wait=False)))
    await clock.advance(1.9)
    assert not running.done()
    await clock.advance(0.2)
    assert running.cancelled()
    assert provider.calls == 0
    assert process.status().store == "ok"


async def test_of_a_very_short_deadline_half_is_waited(clock: FakeClock) -> None:
    """Then the token is fetched without the lock."""
    store, provider = CommandedStore(locked=True), FakeProvider(clock=clock)
    waiting = asyncio.ensure_future(manager(provider, store, clock, deadline=1.0).token())
    await clock.advance(0.49)
    assert provider.calls == 0
    await clock.advance(0.02)
    assert (await waiting).value == "token-1"


async def test_who_rests_looks_at_the_store_twice_a_second(clock: FakeClock, store: CommandedStore) -> None:
    """What another process has stored by then is adopted."""
    down = FakeProvider(clock=clock, answers=[TokenEndpointUnavailable("down", retry_after=20)])
    process = manager(down, store, clock)
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(0.0)
    wall = clock.wall()
    store.tokens[store_client_of(process).key] = Token("theirs", issued_at=wall, expires_at=wall + 3600)
    await clock.advance(0.49)
    assert not waiting.done()
    await clock.advance(0.01)
    assert (await waiting).value == "theirs"
    assert down.calls == 1


async def test_a_mark_is_looked_at_twice_a_second(clock: FakeClock, store: CommandedStore) -> None:
    """The lock is free in between for the process that wrote it."""
    store.lease = Lease()
    process = manager(Rotating(clock=clock), store, clock)
    await process.token()
    await clock.advance(3600)
    (key,) = store.tokens
    store.tokens[key] = attrs.evolve(store.entry, in_use_since=clock.wall())
    store.calls.clear()
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(9.9)
    assert store.calls.count("lock") == 20
    await clock.advance(0.1)
    assert (await waiting).value == "access-2"
    assert store.calls.count("lock") == 21


@pytest.mark.parametrize("deadline", [12.0, 19.5])
async def test_where_a_refresh_token_is_the_only_way_a_mark_is_waited_for_until_the_deadline(
    clock: FakeClock, store: CommandedStore, deadline: float
) -> None:
    """Not a moment longer, and no less."""
    store.lease = Lease()
    rotating = Rotating(clock=clock, primary=False)
    process = manager(rotating, store, clock, deadline=deadline)
    await process.token()
    await clock.advance(3600)
    (key,) = store.tokens
    store.tokens[key] = attrs.evolve(store.entry, in_use_since=clock.wall())
    running = asyncio.ensure_future(refresh_of(process).run(Waiting(callers_wait=True)))
    await clock.advance(deadline - 0.1)
    assert not running.done()
    await clock.advance(0.1)
    with pytest.raises(LockTimeout, match="another process is using the refresh token"):
        await running
    assert rotating.sent == [None]


@pytest.mark.parametrize(("deadline", "seconds"), [(19.5, 0.0), (20.0, 10.0)])
async def test_where_there_is_another_way_a_mark_is_waited_for_if_there_is_time(
    clock: FakeClock, store: CommandedStore, deadline: float, seconds: float
) -> None:
    """Ten seconds of the deadline must be left to fetch a token; else it is fetched at once."""
    store.lease = Lease()
    rotating = Rotating(clock=clock)
    process = manager(rotating, store, clock, deadline=deadline)
    await process.token()
    await clock.advance(3600)
    (key,) = store.tokens
    store.tokens[key] = attrs.evolve(store.entry, in_use_since=clock.wall())
    began = clock.wall()
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(10.0)
    assert (await waiting).issued_at == began + seconds
    assert rotating.sent == [None, None]


# What is adopted, and what is not


async def test_an_adopted_token_is_renewed_earlier_by_its_jitter(clock: FakeClock, store: CommandedStore) -> None:
    """Or all processes that adopted it would renew it at the same moment."""
    provider = FakeProvider(clock=clock)
    await manager(provider, store, clock).token()
    times = list[float | None]()
    for jitter in (0.0, 0.05):
        process = manager(provider, store, clock, jitter=jitter)
        await process.token()
        times.append(process.status().next_refresh_in)
    exact, jittered = times
    assert exact is not None
    assert jittered is not None
    assert jittered < exact
    assert provider.calls == 1


async def test_a_refresh_tells_whether_it_adopted_its_token(clock: FakeClock, store: CommandedStore) -> None:
    """Its event and its pool's news of the endpoint depend on that."""
    provider = FakeProvider(clock=clock)
    refreshes = [refresh_of(manager(provider, store, clock)) for _ in range(2)]
    for refresh in refreshes:
        await refresh.run(Waiting(callers_wait=True))
    assert [refresh.adopted for refresh in refreshes] == [False, True]
    assert provider.calls == 1


# The limit of a pool


async def test_tenants_with_a_store_are_served_in_their_order(clock: FakeClock) -> None:
    """The head of the queue is for those who had a slot before."""
    served = list[str]()

    class Tenant(FakeProvider):
        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            served.append(self.name)
            return await super().fetch(http, previous)

    def tenant(name: str) -> FakeProvider:
        return Tenant(clock=clock, latency=1.0, name=name)

    pool = ManagerPool[str](tenant, store=MemoryStore(), clock=clock, policy=EXACT, random=largest, limit=1)
    waiting = [asyncio.ensure_future((await pool.get(name)).token()) for name in "abcd"]
    await clock.advance(4.0)
    assert all(each.done() for each in waiting)
    assert served == ["a", "b", "c", "d"]
    await pool.close()
