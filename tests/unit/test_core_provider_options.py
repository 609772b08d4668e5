"""What a provider declares besides: read once, checked, with a default for each."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from asyncauth import ConfigurationError, ProviderOptions, Token, TokenManager
from asyncauth._core.provider_options import OptionValues, options_of
from asyncauth.testing import FakeClock, FakeProvider


class Prover:
    def proof(self, method: str, url: Any, token: str | None = None) -> str:
        return f"{method} {url} {token}"

    def nonce(self, url: Any) -> str | None:
        return None

    def note(self, url: Any, nonce: str | None) -> None:
        """Remember nothing."""


def declaring(**options: object) -> FakeProvider:
    """Return a provider that declares these."""
    return type("Declaring", (FakeProvider,), options)()  # type: ignore[no-any-return]


def test_a_provider_need_declare_nothing() -> None:
    """Without options a provider has the defaults of `ProviderOptions`, and thousands of managers share one object."""
    assert options_of(FakeProvider()) is options_of(FakeProvider())
    defaults = OptionValues(ProviderOptions.deadline, ProviderOptions.needs_lock, ProviderOptions.prover)
    assert options_of(FakeProvider()) == defaults


def test_what_is_declared_counts() -> None:
    """Each option is read by its own name, whether the class inherits from `ProviderOptions` or not."""
    prover = Prover()
    assert options_of(declaring(deadline=60)) == OptionValues(deadline=60)
    assert options_of(declaring(deadline=0.1, needs_lock=True)) == OptionValues(deadline=0.1, needs_lock=True)
    assert options_of(declaring(prover=prover)) == OptionValues(prover=prover)

    class Inherits(ProviderOptions, FakeProvider):
        deadline = 60.0

    assert options_of(Inherits()) == OptionValues(deadline=60.0)


@pytest.mark.parametrize("deadline", [0, -1.0, math.nan, True, "30"])
def test_a_deadline_is_a_positive_number(deadline: object) -> None:
    """A deadline that can't work is refused when the manager is made, not at the first refresh."""
    with pytest.raises(ConfigurationError, match="deadline must be a positive number of seconds"):
        TokenManager(declaring(deadline=deadline))


@pytest.mark.parametrize("needs_lock", [None, 1, "yes", lambda _: False])
def test_needs_lock_is_a_bool(needs_lock: object) -> None:
    """A method in place of an attribute is always true: it is refused, as is anything else that is not a bool."""
    with pytest.raises(ConfigurationError, match="needs_lock must be True or False"):
        TokenManager(declaring(needs_lock=needs_lock))


@pytest.mark.parametrize("prover", ["key", Prover.proof, object()])
def test_a_prover_makes_proofs(prover: object) -> None:
    """A key in place of a prover is refused when the manager is made, not at the first request."""
    with pytest.raises(ConfigurationError, match="prover must have the methods proof, nonce and note"):
        TokenManager(declaring(prover=prover))


async def test_options_are_read_once(clock: FakeClock) -> None:
    """A deadline that can't be read any more breaks no refresh: a manager has read it when it was made."""

    class Moody(FakeProvider):
        broken = False

        @property
        def deadline(self) -> float:
            if self.broken:
                raise ValueError
            return 30.0

    provider = Moody(clock=clock)
    manager = TokenManager(provider, clock=clock)
    provider.broken = True
    assert (await manager.token()).value == "token-1"


async def test_the_deadline_of_a_provider_holds_for_its_refreshes(clock: FakeClock) -> None:
    """A provider that waits for a person may take longer than the policy's 30 s."""

    class Slow(FakeProvider):
        deadline = 60.0

    manager = TokenManager(Slow(clock=clock, latency=50.0), clock=clock)
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(51)
    token: Token = await waiting
    assert token.value == "token-1"
