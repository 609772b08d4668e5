"""What a manager works with: where its random numbers come from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from core_kit import steps_of
from harness.canary import MARK

from asyncauth import (
    ConfigurationError,
    ManagerPool,
    PagoFacilJWT,
    Provider,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock, FakeProvider

DOWN = TokenEndpointUnavailable("down")


@attrs.define
class Numbers:
    """Gives the same number each time, and counts how often."""

    number: float
    asked: int = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.number


@pytest.mark.parametrize(("number", "renewed_after"), [(0.0, 2880.0), (0.5, 2790.0), (1.0, 2700.0)])
async def test_jitter_is_that_part_of_a_twentieth(clock: FakeClock, number: float, renewed_after: float) -> None:
    """Of a lifetime of an hour, renewal is due after 80 %, and sooner by the number's part of 5 %."""
    manager = TokenManager(FakeProvider(clock=clock), clock=clock, random=Numbers(number))
    await manager.token()
    assert manager.status().next_refresh_in == pytest.approx(renewed_after)


@pytest.mark.parametrize(("number", "waited"), [(0.0, 0.025), (0.5, 0.125), (1.0, 0.25)])
async def test_backoff_is_that_part_of_its_most(
    clock: FakeClock, settled: Callable[[], Any], number: float, waited: float
) -> None:
    """Of a quarter of a second after the first failure; a tenth of it at least."""
    provider = FakeProvider(clock=clock, answers=[DOWN, Token("second", issued_at=0)])
    async with TokenManager(provider, clock=clock, random=Numbers(number)) as manager:
        waiting = asyncio.ensure_future(manager.refresh())
        await settled()
        await clock.advance(waited - 0.001)
        assert provider.calls == 1
        await clock.advance(0.002)
        assert provider.calls == 2
        await waiting


async def test_a_chain_has_one_source_of_random_numbers(clock: FakeClock) -> None:
    """The managers that a manager makes for upstream providers use what it was given."""
    numbers = Numbers(0.5)
    chain = PagoFacilJWT.from_password(username="u", password=MARK, base_url="http://127.0.0.1:1")
    steps = steps_of(TokenManager(chain, clock=clock, random=numbers))
    assert len(steps) == 3
    assert all(step.runtime.random is numbers for step in steps)


async def test_a_pool_has_one_source_of_random_numbers(clock: FakeClock) -> None:
    """All its managers use what it was given, those further upstream as well."""
    numbers = Numbers(0.5)

    def provider_of(_: str) -> Provider:
        return PagoFacilJWT.from_password(username="u", password=MARK, base_url="http://127.0.0.1:1")

    async with ManagerPool(provider_of, clock=clock, random=numbers) as pool:
        steps = steps_of(await pool.get("acme"))
        assert len(steps) == 3
        assert all(step.runtime.random is numbers for step in steps)


async def test_random_numbers_are_the_machines_unless_given(clock: FakeClock) -> None:
    """They differ, so that processes spread out."""
    due = set()
    for _ in range(5):
        manager = TokenManager(FakeProvider(clock=clock), clock=clock)
        await manager.token()
        due.add(manager.status().next_refresh_in)
    assert len(due) == 5


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0.5, "float"), (random, "module"), (random.Random, "the class Random"), (random.Random(7), "Random")],  # noqa: S311
)
@pytest.mark.parametrize("kind", [TokenManager, ManagerPool])
def test_what_gives_no_numbers_is_refused(kind: Any, given: object, shown: str) -> None:
    """When the manager or pool is made, with what to write instead."""
    words = rf"random= takes a function that returns numbers from 0 to 1, such as random.random, not {shown}$"
    with pytest.raises(ConfigurationError, match=words):
        kind(FakeProvider() if kind is TokenManager else FakeProvider, random=given)
