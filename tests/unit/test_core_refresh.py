"""What a refresh says of itself while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from core_kit import engine_of, work_of
from store_client_kit import CommandedStore, manager

from asyncauth import TokenManager
from asyncauth._core.assembly import new_refresh
from asyncauth._core.flight import Flight
from asyncauth.testing import FakeClock, FakeProvider


async def test_a_token_that_is_being_saved_has_time_after_the_deadline(
    clock: FakeClock, settled: Callable[[], Any]
) -> None:
    """As much as twelve calls to the store may take: a token that has come is not given up."""
    store = CommandedStore(faults={"save": "hang"})
    process = manager(FakeProvider(clock=clock), store, clock, deadline=30.0, store_timeout=1.0)
    began = clock.monotonic()
    waiting = asyncio.ensure_future(process.token())
    await settled()
    work = work_of(process)
    assert work is not None
    assert "save" in store.calls
    assert work.due == began + 30.0 + 12.0
    del store.faults["save"]
    await clock.advance(2.0)
    assert (await waiting).value == "token-1"


async def test_a_refresh_that_was_given_up_before_it_began_sends_nothing(clock: FakeClock) -> None:
    """Another thread may abandon it just before its request is made."""
    provider = FakeProvider(clock=clock)
    engine = engine_of(TokenManager(provider, clock=clock))
    refresh = new_refresh(
        provider,
        engine.state,
        engine.runtime,
        options=engine.options,
        limiter=None,
        emitter=engine.emitter,
        store_client=None,
    )
    refresh.abandon()
    with pytest.raises(asyncio.CancelledError):
        await refresh.run(Flight[Any](clock))
    assert provider.calls == 0
    assert engine.state.failure is None
