"""What a refresh says of itself while it works, and when it makes no further try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from core_kit import Waiting, engine_of, refresh_of, work_of
from store_client_kit import CommandedStore, manager

from asyncauth import CredentialsRejected, Token, TokenEndpointUnavailable, TokenManager
from asyncauth._core.flight import Flight
from asyncauth._core.try_state import current_try
from asyncauth.testing import FakeClock, FakeProvider


async def test_a_token_that_is_being_saved_has_time_after_the_deadline(
    clock: FakeClock, settled: Callable[[], Any]
) -> None:
    """As much as twelve calls to the store may take: a token that has come is not given up."""
    store = CommandedStore(faults={"save": "hang"})
    process = manager(FakeProvider(clock=clock), store, clock, deadline=30.0, store_timeout=2.0)
    began = clock.monotonic()
    waiting = asyncio.ensure_future(process.token())
    await settled()
    work = work_of(process)
    assert work is not None
    assert "save" in store.calls
    assert work.due == began + 30.0 + 12 * 2.0
    del store.faults["save"]
    await clock.advance(4.0)
    assert (await waiting).value == "token-1"


async def test_a_refresh_that_was_given_up_before_it_began_sends_nothing(clock: FakeClock) -> None:
    """Another thread may abandon it just before its request is made; and its deadline may pass until then."""
    provider = FakeProvider(clock=clock)
    process = TokenManager(provider, clock=clock)
    refresh = refresh_of(process)
    refresh.expire()
    refresh.abandon()
    with pytest.raises(asyncio.CancelledError):
        await refresh.run(Flight[Any](clock))
    assert provider.calls == 0
    assert engine_of(process).state.failure is None


@pytest.mark.parametrize(
    ("callers_wait", "outcome"), [(True, asyncio.CancelledError), (False, TokenEndpointUnavailable)]
)
async def test_on_a_loop_that_is_about_to_end_there_is_one_try(
    clock: FakeClock, *, callers_wait: bool, outcome: type[BaseException]
) -> None:
    """A waiting caller makes the next try on another event loop. If nobody waits, the failure is the outcome."""
    provider = FakeProvider(clock=clock, answers=[TokenEndpointUnavailable("down")])
    refresh = refresh_of(TokenManager(provider, clock=clock))
    refresh.leave()
    with pytest.raises(outcome):
        await refresh.run(Waiting(callers_wait))
    assert provider.calls == 1


async def test_a_provider_that_holds_a_credential_back_itself_is_asked_once(clock: FakeClock) -> None:
    """It says that it did not send what was rejected before, although the manager remembers no rejection."""
    unsent = CredentialsRejected("no")
    unsent.unsent = True
    provider = FakeProvider(clock=clock, answers=[unsent])
    with pytest.raises(CredentialsRejected):
        await TokenManager(provider, clock=clock).token()
    assert provider.calls == 1


async def test_a_credential_that_is_being_looked_at_is_sent_if_somebody_wants_it(clock: FakeClock) -> None:
    """A rejected one is held back in the next try, unless ``refresh()`` is called before it is sent."""
    provider, held_back = FakeProvider(clock=clock), list[bool]()
    refresh = refresh_of(TokenManager(provider, clock=clock))

    async def answer() -> Token:
        held_back.append(current_try().credential_rejected is not None)
        if len(held_back) == 1:
            error = CredentialsRejected("no")
            error.may_change = True
            raise error
        refresh.retry_now()
        held_back.append(current_try().credential_rejected is not None)
        return provider.token()

    provider.answers = answer
    assert (await refresh.run(Waiting(True))).token.value == "token-1"
    assert held_back == [False, True, False]
