"""Point 8 of the refresh contract: what a refusal by the API (401) changes, and when it changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncauth import Token, TokenManager
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]
Settled = Callable[[], Awaitable[None]]


async def refused_twice(manager: TokenManager) -> Token:
    """Have a token refused, and what replaced it refused in the repeat; return the latter."""
    manager.invalidate(await manager.token())
    token = await manager.token()
    manager.invalidate(token, repeat=True)
    return token


async def test_refused_token_is_dead_at_once(make: Make, provider: FakeProvider) -> None:
    """No caller that comes after the 401 gets the refused token, and one refresh replaces it."""
    manager = make(provider)
    token = await manager.token()
    manager.invalidate(token)
    assert manager.current is None
    assert manager.status().state == "spent"
    tokens = await asyncio.gather(*(manager.token() for _ in range(50)))
    assert {each.value for each in tokens} == {"token-2"}
    assert provider.calls == 2
    assert manager.status().rejections == 1


@pytest.mark.parametrize("call", ["token", "refresh"])
async def test_refused_before_a_waiter_goes_on(make: Make, provider: FakeProvider, call: str) -> None:
    """A token that is refused between the end of its flight and a waiter's turn is not handed to that waiter."""
    manager = make(provider)
    waiting = asyncio.ensure_future(getattr(manager, call)())
    while manager.current is None:  # noqa: ASYNC110 (the very step in which the flight lands)
        await asyncio.sleep(0)
    assert not waiting.done()
    manager.invalidate(manager.current)
    assert (await waiting).value == "token-2"
    assert provider.calls == 2


@pytest.mark.parametrize("call", ["token", "refresh"])
async def test_out_of_its_time_before_a_waiter_goes_on(
    make: Make, provider: FakeProvider, clock: FakeClock, call: str
) -> None:
    """The machine is suspended between the end of the flight and a waiter's turn: the spent token is not handed out."""
    manager = make(provider)
    waiting = asyncio.ensure_future(getattr(manager, call)())
    while manager.current is None:  # noqa: ASYNC110 (the very step in which the flight lands)
        await asyncio.sleep(0)
    assert not waiting.done()
    clock.suspend(7200.0)
    assert (await waiting).value == "token-2"


async def test_refused_token_is_dead_on_the_machines_clock_too() -> None:
    """The fast path knows of a refusal at once."""
    manager = TokenManager(FakeProvider())
    await manager.token()
    manager.invalidate(await manager.token())
    assert (await manager.token()).value == "token-2"


async def test_late_refusal_of_an_old_token_costs_nothing(make: Make, provider: FakeProvider) -> None:
    """A 401 for a token that is not the current one any more changes nothing."""
    manager = make(provider)
    old = await manager.token()
    new = await manager.refresh()
    manager.invalidate(old)
    manager.invalidate(Token("never ours"))
    assert manager.current is new
    assert await manager.token() is new
    assert provider.calls == 2
    assert manager.status().rejections == 0


async def test_refusal_compares_the_token_not_the_object(make: Make, provider: FakeProvider) -> None:
    """An equal token, such as one rebuilt from its value, is that very token."""
    manager = make(provider)
    manager.invalidate(Token((await manager.token()).value))
    assert manager.current is None


async def test_hundred_refusals_of_one_token_cost_one_refresh(make: Make, provider: FakeProvider) -> None:
    """A revocation that hits a hundred requests at once costs one token request."""
    manager = make(provider)
    token = await manager.token()
    for _ in range(100):
        manager.invalidate(token)
        assert (await manager.token()).value == "token-2"
    assert provider.calls == 2
    assert manager.status().rejections == 1


async def test_empty_token_is_never_the_current_one(make: Make, provider: FakeProvider) -> None:
    """Before there is a token no refusal changes anything, not even of an empty one; nor for other managers."""
    manager, other = make(provider), make(FakeProvider())
    manager.invalidate(Token(""))
    manager.accepted(Token(""))
    for each in (manager, other):
        assert each.status().state == "empty"
        assert each.status().rejections == 0
    token = await manager.token()
    manager.invalidate(token)
    assert manager.current is None


async def test_refusal_during_a_renewal_does_not_hit_what_it_brings(
    make: Make, provider: FakeProvider, clock: FakeClock, gate: Any, settled: Settled
) -> None:
    """A stale token that is refused while its renewal is in progress makes callers wait for that, not for another."""
    manager = make(provider)
    token = await manager.token()
    held = gate()
    provider.answers = [held]
    await clock.advance(2880)
    await manager.token()
    await settled()
    manager.invalidate(token)
    waiting = asyncio.ensure_future(manager.token())
    await settled()
    assert not waiting.done()
    held.open()
    assert (await waiting).value == "from-the-gate"
    assert provider.calls == 2


# --- damping


async def test_replacement_that_is_refused_in_the_repeat_stays(make: Make, provider: FakeProvider) -> None:
    """When the replacement is refused in the repeat it stays the current one, and is handed out."""
    manager = make(provider)
    token = await refused_twice(manager)
    assert manager.current is token
    assert await manager.token() is token
    assert manager.status().cooling_down
    assert provider.calls == 2


async def test_replacement_that_is_refused_before_it_was_accepted_stays(make: Make, provider: FakeProvider) -> None:
    """A replacement that is refused at once, in whichever request, stays the current one."""
    manager = make(provider)
    manager.invalidate(await manager.token())
    token = await manager.token()
    manager.invalidate(token)
    assert manager.current is token
    assert manager.status().cooling_down


async def test_first_token_is_no_replacement(make: Make, provider: FakeProvider) -> None:
    """A token that replaced none that was refused is dropped at its first 401, even of a repeat."""
    manager = make(provider)
    manager.invalidate(await manager.token(), repeat=True)
    assert manager.current is None
    assert not manager.status().cooling_down


async def test_accepted_replacement_is_dropped_like_any(make: Make, provider: FakeProvider) -> None:
    """A replacement that the API has accepted, and then refuses outside a repeat, is dropped."""
    manager = make(provider)
    manager.invalidate(await manager.token())
    token = await manager.token()
    manager.accepted(token)
    manager.invalidate(token)
    assert manager.current is None
    assert not manager.status().cooling_down


async def test_refusal_in_the_repeat_counts_whatever_other_requests_saw(make: Make, provider: FakeProvider) -> None:
    """One forbidden resource among allowed ones: refused in the repeat, an accepted replacement stays all the same."""
    manager = make(provider)
    manager.invalidate(await manager.token())
    token = await manager.token()
    manager.accepted(token)
    manager.invalidate(token, repeat=True)
    assert manager.current is token
    assert manager.status().cooling_down


@pytest.mark.parametrize(("after", "stays"), [(4.999, True), (5.0, False), (5.001, False)])
async def test_token_is_taken_as_accepted_after_five_seconds(
    make: Make, provider: FakeProvider, clock: FakeClock, after: float, *, stays: bool
) -> None:
    """A replacement that nobody complained about for 5 s counts as accepted."""
    manager = make(provider)
    manager.invalidate(await manager.token())
    token = await manager.token()
    await clock.advance(after)
    manager.invalidate(token)
    assert (manager.current is token) == stays


async def test_cooldown_doubles_from_5_to_60_seconds(make: Make, provider: FakeProvider, clock: FakeClock) -> None:
    """An API that refuses everything costs a login after 5 s, 10 s, 20 s and so on to 60 s, not one per request."""
    manager = make(provider)
    holds = []
    token = await refused_twice(manager)
    for _ in range(7):
        seconds = 0
        while manager.status().cooling_down:
            manager.invalidate(token)
            assert await manager.token() is token
            await clock.advance(1)
            seconds += 1
        holds.append(seconds)
        manager.invalidate(token)
        assert manager.current is None
        token = await manager.token()
        manager.invalidate(token, repeat=True)
    assert holds == [5, 10, 20, 40, 60, 60, 60]
    assert provider.calls == 9


async def test_cooldown_starts_over_once_a_repeat_succeeds(
    make: Make, provider: FakeProvider, clock: FakeClock
) -> None:
    """A repeat that succeeds puts the next cool-down back to 5 s; a success of another request does not."""
    manager = make(provider)
    await refused_twice(manager)
    await clock.advance(5)
    second = await refused_twice(manager)  # a cool-down of 10 s
    manager.accepted(second)
    await clock.advance(9.999)
    assert manager.status().cooling_down
    await clock.advance(0.001)
    third = await refused_twice(manager)  # 20 s: that success was not a repeat's
    await clock.advance(19.999)
    assert manager.status().cooling_down
    await clock.advance(0.001)
    manager.invalidate(third)
    manager.accepted(await manager.token(), repeat=True)
    await refused_twice(manager)
    await clock.advance(4.999)
    assert manager.status().cooling_down
    await clock.advance(0.001)
    assert not manager.status().cooling_down


async def test_renewal_by_the_clock_goes_on_during_a_cooldown(make: Make, clock: FakeClock) -> None:
    """During a cool-down the token is renewed when it is due, and its successor is protected as well."""
    provider = FakeProvider(clock=clock, lifetime=4.0)
    async with make(provider) as manager:
        await refused_twice(manager)
        await clock.advance(3.2)
        token = await manager.token()
        assert token.value == "token-3"
        manager.invalidate(token)
        assert manager.current is token


async def test_refresh_by_hand_works_during_a_cooldown(make: Make, provider: FakeProvider) -> None:
    """refresh() obtains a token during a cool-down too."""
    manager = make(provider)
    await refused_twice(manager)
    assert (await manager.refresh()).value == "token-3"


async def test_acceptance_of_an_old_token_says_nothing_of_the_current_one(make: Make, provider: FakeProvider) -> None:
    """An answer that an earlier token got does not make the current one accepted."""
    manager = make(provider)
    first = await manager.token()
    manager.invalidate(first)
    token = await manager.token()
    manager.accepted(first, repeat=True)
    manager.invalidate(token)
    assert manager.current is token


async def test_refusals_are_logged_without_the_token(
    make: Make, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names refused tokens by fingerprint: once when one is dropped, once when one stays."""
    caplog.set_level(logging.DEBUG, "asyncauth")
    manager = make(provider)
    token = await refused_twice(manager)
    manager.invalidate(token)
    lines = [line for record in caplog.records if "answered 401 to t" in (line := record.getMessage())]
    assert len(lines) == 2
    assert "it is dropped" in lines[0]
    assert token.fingerprint in lines[1]
    assert "a 401 causes no token request for 5 s" in caplog.text
    assert "token-" not in caplog.text
