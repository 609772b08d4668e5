"""What a provider declares besides: read once, checked, with a default for each."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from asyncauth import (
    ConfigurationError,
    InvalidTokenResponse,
    PagoFacilLogin,
    Peakly,
    ProviderOptions,
    Token,
    TokenManager,
)
from asyncauth._core.provider_options import OptionValues, endpoint_of, options_of
from asyncauth._http.carrier import PLAIN, Carrier
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
    carrier = Carrier.of(ProviderOptions.carried_as, ProviderOptions.scheme)
    defaults = OptionValues(ProviderOptions.deadline, ProviderOptions.needs_lock, ProviderOptions.prover, carrier)
    assert carrier == PLAIN
    assert options_of(FakeProvider()) == defaults


def test_what_is_declared_counts() -> None:
    """Each option is read by its own name, whether the class inherits from `ProviderOptions` or not."""
    prover = Prover()
    assert options_of(declaring(deadline=60)) == OptionValues(deadline=60)
    assert options_of(declaring(deadline=0.1, needs_lock=True)) == OptionValues(deadline=0.1, needs_lock=True)
    assert options_of(declaring(prover=prover)) == OptionValues(prover=prover, header=None)

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


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {"Authorization": "Bearer token-1"}),
        ({"scheme": "Token"}, {"Authorization": "Token token-1"}),
        ({"scheme": ""}, {"Authorization": "token-1"}),
        ({"carried_as": "header:X-Api-Token"}, {"X-Api-Token": "token-1"}),
        ({"carried_as": "cookie:SESSION"}, {"Cookie": "SESSION=token-1"}),
    ],
)
async def test_a_provider_says_how_its_token_is_carried(
    clock: FakeClock, options: dict[str, object], headers: dict[str, str]
) -> None:
    """A class of a user's own has two attributes for it, and `headers()` follows them."""
    provider = declaring(**options)
    provider.clock = clock
    assert await TokenManager(provider, clock=clock).headers() == headers


async def test_a_token_of_a_users_own_provider_keeps_its_scheme(clock: FakeClock) -> None:
    """Whatever its type is, it is a scheme that somebody chose."""
    provider = FakeProvider(clock=clock)
    provider.answers = [Token("token-1", token_type="Zoho-oauthtoken")]
    assert await TokenManager(provider, clock=clock).headers() == {"Authorization": "Zoho-oauthtoken token-1"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"carried_as": "X-Api-Token"}, "carried_as= names a place and its name"),
        ({"carried_as": None}, "carried_as= takes a str such as 'header:X-Api-Token', not NoneType"),
        ({"carried_as": "cookie:S", "scheme": "Bearer"}, "scheme= is for headers only"),
        ({"prover": Prover(), "scheme": ""}, "a DPoP token goes into the Authorization header"),
        ({"prover": Prover(), "carried_as": "header:X"}, "a DPoP token goes into the Authorization header"),
    ],
)
def test_a_place_that_cant_be(options: dict[str, object], says: str) -> None:
    """It is refused when the manager is made."""
    with pytest.raises(ConfigurationError, match=says):
        TokenManager(declaring(**options))


async def test_a_token_in_the_query(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of once, and no header carries it: the error of `headers()` says what to write."""

    class InQuery(FakeProvider):
        carried_as = "query:access_token"

    managers = [TokenManager(InQuery(name="a query", clock=clock), clock=clock) for _ in range(2)]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a query: the token is sent in the URL (query:access_token)")
    assert "RFC 9700" in line
    with pytest.raises(ConfigurationError, match=r"params=\{'access_token': \(await manager.token\(\)\).value\}"):
        await managers[0].headers()


async def test_a_token_that_cant_stand_in_a_cookie(clock: FakeClock) -> None:
    """It could forge another cookie: it is refused when it comes, not when it is sent."""
    provider = declaring(carried_as="cookie:SESSION")
    provider.answers = [Token("a;admin=1")]
    with pytest.raises(InvalidTokenResponse, match="characters that a cookie cannot contain"):
        await TokenManager(provider, clock=clock).token()


def test_the_address_of_a_token_endpoint() -> None:
    """The library's providers have one, without its query. Another provider's counts only if it is a text."""
    assert endpoint_of(Peakly(username="ana", password="s")) == "https://api.peakly.co/token"
    assert endpoint_of(declaring(token_endpoint="https://a.example/t")) == "https://a.example/t"
    assert endpoint_of(declaring(token_endpoint=7)) is None
    assert endpoint_of(declaring()) is None


def test_a_step_is_a_name() -> None:
    """It is shown on one line, as names are. A value that is not a text is ignored, and the provider is not refused."""
    assert options_of(declaring(step="login")).step == "login"
    assert options_of(declaring(step="log\nin")).step == "log in"
    assert options_of(declaring(step=3)) == options_of(FakeProvider())
    assert options_of(PagoFacilLogin(username="ana", password="s")).step == "login"
