"""A pool's engines: when idle ones are looked for, and what is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from chain_kit import Chain
from core_kit import cache_of, engine_of, store_client_of

from asyncauth import ManagerClosed, ManagerPool
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import end
from asyncauth._core.store_client import StoreClient
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider


async def test_idle_engines_are_looked_for_32_times_per_idle_timeout_at_most(clock: FakeClock) -> None:
    """Those that become idle within a 32nd of it go together."""
    pool = ManagerPool[int](lambda _: FakeProvider(clock=clock), clock=clock, idle_timeout=320.0)
    async with pool:
        for number in range(10):
            await pool.get(number)
            await clock.advance(1.0)
        await clock.advance(310.0)
        assert len(cache_of(pool).engines) == 9
        await clock.advance(9.9)
        assert len(cache_of(pool).engines) == 9
        await clock.advance(0.1)
        assert len(cache_of(pool).engines) == 0


async def test_an_engine_that_another_thread_has_made_meanwhile_is_taken(clock: FakeClock) -> None:
    """It was not there when the caller looked first."""
    pool = ManagerPool[str](lambda _: FakeProvider(clock=clock), clock=clock)
    manager = await pool.get("a")
    assert await cache_of(pool).get("a") is engine_of(manager)
    await pool.close()


async def test_a_pools_flights_are_those_of_its_engines(clock: FakeClock, settled: Callable[[], Any]) -> None:
    """And those of its factory."""
    pool = ManagerPool[str](lambda _: FakeProvider(clock=clock, latency=1.0), clock=clock)
    manager = await pool.get("a")
    assert list(cache_of(pool).flights()) == []
    waiting = asyncio.ensure_future(manager.token())
    await settled()
    assert list(cache_of(pool).flights()) == [engine_of(manager).flight]
    await clock.advance(1.0)
    assert (await waiting).value == "token-1"
    assert list(cache_of(pool).flights()) == []
    await pool.close()


async def test_closing_a_pool_saves_what_is_unsaved(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its engines' entries in the store are closed, although nothing is in progress."""
    closed = list[StoreClient]()

    async def close(client: StoreClient) -> None:
        closed.append(client)

    monkeypatch.setattr(StoreClient, "close", close)
    pool = ManagerPool[str](lambda _: FakeProvider(clock=clock), clock=clock, store=MemoryStore())
    manager = await pool.get("a")
    await manager.token()
    await pool.close()
    assert closed == [store_client_of(manager)]


async def test_closing_a_pool_closes_the_steps_of_a_chain(clock: FakeClock) -> None:
    """Although nothing is in progress."""
    pool = ManagerPool[str](lambda _: Chain(FakeProvider(clock=clock), clock=clock), clock=clock)
    manager = await pool.get("a")
    await manager.token()
    (upstream,) = engine_of(manager).upstreams
    await pool.close()
    with pytest.raises(ManagerClosed):
        await upstream.token()


async def test_a_closing_ends_calls_of_the_factory_without_a_grace(
    settled: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that they make would be used any more."""
    graces = list[float]()

    async def noted(flight: Flight[Any], grace: float) -> None:
        graces.append(grace)
        await end(flight, grace)

    async def never(_: str) -> FakeProvider:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    pool = ManagerPool[str](never)
    waiting = asyncio.ensure_future(pool.get("a"))
    await settled()
    monkeypatch.setattr("asyncauth._core.engine_cache.end", noted)
    await pool.close()
    assert graces == [0.0]
    with pytest.raises(ManagerClosed):
        await waiting
