"""An endpoint that is down, and the tenants of a pool: one asks, the others wait for its news."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp
import pytest
from core_kit import engine_of
from random_kit import largest

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    ManagerPool,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
)
from asyncauth._core.failures import remember_failure
from asyncauth._core.outages import EndpointNews, Outage, Outages
from asyncauth._core.try_state import current_try
from asyncauth.testing import FakeClock, FakeProvider

ENDPOINT = "https://auth.example.com/token"


def same(error: AuthError) -> AuthError:
    return error


class System:
    """An endpoint that is down until an instant, for some accounts forever. It records who asked when."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.began = clock, clock.monotonic()
        self.up_at = 0.0
        self.errors: dict[str, Exception] = {}
        self.without_credential: set[str] = set()
        self.asked: list[tuple[str, float]] = []

    def of(self, tenant: str) -> Tenant:
        return Tenant(self, tenant)


class Tenant(FakeProvider):
    """A tenant's account at the system."""

    def __init__(self, system: System, tenant: str) -> None:
        super().__init__(clock=system.clock)
        self.system, self.tenant = system, tenant
        self.token_endpoint = ENDPOINT if tenant != "elsewhere" else "https://other.example.com/token"

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        if self.tenant in self.system.without_credential:
            current_try().annotate = same  # as the library's endpoint says which one it would have asked
            raise TokenEndpointUnavailable("the vault is down")
        now = self.system.clock.monotonic() - self.system.began
        self.system.asked.append((self.tenant, round(now, 3)))
        if self.tenant in self.system.errors:
            raise self.system.errors[self.tenant]
        if now < self.system.up_at and self.tenant != "elsewhere":
            raise TokenEndpointUnavailable("down")
        return await super().fetch(http, previous)


@pytest.fixture
def system(clock: FakeClock) -> System:
    return System(clock)


@pytest.fixture
def pool(clock: FakeClock, system: System) -> ManagerPool[str]:
    policy = RefreshPolicy(jitter=0.0, close_grace=0.0)
    return ManagerPool(system.of, clock=clock, policy=policy, random=largest, limit=1)


def wait(pool: ManagerPool[str], tenant: str) -> asyncio.Task[Any]:
    async def token() -> Any:
        return await (await pool.get(tenant)).token()

    return asyncio.ensure_future(token())


async def test_one_tenant_asks_an_endpoint_that_is_down(
    clock: FakeClock, system: System, pool: ManagerPool[str]
) -> None:
    """A hundred tenants' callers make as many requests as one's, in turn, and all have tokens when it is back."""
    system.up_at = 8.0
    waiting = [wait(pool, str(number)) for number in range(100)]
    await clock.advance(8.0)
    asked = [at for _, at in system.asked]
    assert len([at for at in asked if at <= 5]) <= 15
    assert len({who for who, _ in system.asked}) >= len(asked) - 1
    assert pool.status().waiting == 100
    assert pool.status().waiting_for == 8.0
    await clock.advance(2.0)
    assert len({(await each).value for each in waiting}) == 1
    assert len(system.asked) == len(asked) + 100


async def test_another_endpoint_is_no_concern(clock: FakeClock, system: System, pool: ManagerPool[str]) -> None:
    """Its tenants ask as if nothing were down."""
    system.up_at = math.inf
    waiting = wait(pool, "one")
    await clock.advance(3.0)
    assert (await wait(pool, "elsewhere")).value == "token-1"
    waiting.cancel()
    await pool.close()


async def test_what_fails_for_one_tenant_alone_holds_no_other_up(
    clock: FakeClock, system: System, pool: ManagerPool[str]
) -> None:
    """The next tenant makes the next try, half a second later at most."""
    system.errors["broken"] = TokenEndpointUnavailable("down", status=500)
    broken = wait(pool, "broken")
    await clock.advance(10.0)
    other = wait(pool, "other")
    await clock.advance(0.0)
    assert not other.done()
    await clock.advance(2.5)
    assert other.done()
    broken.cancel()
    await pool.close()


@pytest.mark.parametrize(
    "error",
    [
        TokenEndpointUnavailable("busy", status=429),
        TokenEndpointUnavailable("busy", status=503, retry_after=20.0),
        CredentialsRejected("no"),
    ],
)
async def test_what_a_server_says_of_one_tenant_is_no_outage(
    clock: FakeClock, system: System, pool: ManagerPool[str], error: Exception
) -> None:
    """Other tenants ask at once."""
    system.errors["one"] = error
    one = wait(pool, "one")
    await clock.advance(0.0)
    assert (await asyncio.wait_for(wait(pool, "other"), 5)).value == "token-1"
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await pool.close()


async def test_what_fails_before_anything_is_sent_is_no_outage(
    clock: FakeClock, system: System, pool: ManagerPool[str]
) -> None:
    """A tenant whose vault is down knows nothing of the endpoint: other tenants ask at once."""
    system.without_credential = {"one"}
    one = wait(pool, "one")
    await clock.advance(0.0)
    other = wait(pool, "other")
    await clock.advance(0.0)
    assert not one.done()
    assert other.done()
    one.cancel()
    await pool.close()


async def test_any_answer_ends_an_outage(clock: FakeClock, system: System, pool: ManagerPool[str]) -> None:
    """A tenant whose password is rejected has shown that the endpoint answers."""
    system.up_at = 4.0
    first, second = wait(pool, "first"), wait(pool, "second")
    await clock.advance(3.0)
    system.errors["first"] = system.errors["second"] = CredentialsRejected("no")
    third = wait(pool, "third")
    await clock.advance(2.0)
    assert (await third).value == "token-1"
    assert isinstance(first.exception(), CredentialsRejected)
    assert isinstance(second.exception(), CredentialsRejected)


async def test_who_never_had_its_turn_is_told_by_the_deadline(
    clock: FakeClock, system: System, pool: ManagerPool[str]
) -> None:
    """Its error names the endpoint, and nothing of the other tenant."""
    system.up_at = math.inf
    waiting = [wait(pool, f"tenant-{number}") for number in range(60)]
    await clock.advance(31.0)
    errors = [each.exception() for each in waiting]
    assert all(isinstance(each, TokenEndpointUnavailable) for each in errors)
    assert any(
        "the endpoint is down, as another tenant's" in str(each) and f", {ENDPOINT}]" in str(each) for each in errors
    )


async def test_by_hand_a_tenant_asks_at_once(clock: FakeClock, system: System, pool: ManagerPool[str]) -> None:
    """``refresh()`` waits for nobody's news, and what it brings is news."""
    system.up_at = 2.7
    waiting = wait(pool, "one")
    await clock.advance(2.7)
    assert not waiting.done()
    assert (await (await pool.get("two")).refresh()).value == "token-1"
    await clock.advance(0.2)
    assert (await waiting).value == "token-1"


class Refresh:
    woken = 0

    def wake(self) -> None:
        self.woken += 1


def outage() -> Outage:
    error = TokenEndpointUnavailable("down")
    failure = remember_failure(error, None, RefreshPolicy(), now=100.0, deadline=130.0, unit_random=1.0)
    return Outage(failure)


async def test_at_the_deadline_itself_nobody_waits_any_longer(clock: FakeClock, pool: ManagerPool[str]) -> None:
    """One that never had its turn fails when its time is over, not a moment later."""
    outages = engine_of(await pool.get("one")).runtime.outages
    assert outages is not None
    down = outages.here()[ENDPOINT] = outage()
    down.due(Refresh(), callers_wait=True)  # which is to make the next try
    waiting = wait(pool, "one")
    await clock.advance(29.5)
    assert not waiting.done()
    await clock.advance(0.5)
    assert isinstance(waiting.exception(), TokenEndpointUnavailable)


def test_one_whom_callers_wait_for_takes_the_place_of_one_without() -> None:
    """And is followed by the next such one, in their order."""
    down, background, first, second = outage(), Refresh(), Refresh(), Refresh()
    assert down.due(background, callers_wait=False) == 100.25
    assert down.due(first, callers_wait=True) == 100.25
    assert down.due(second, callers_wait=True) == math.inf
    assert down.due(background, callers_wait=False) == math.inf
    down.failed(second, outage().failure)  # it began before the outage was known
    assert second.woken == 0
    down.failed(first, outage().failure)
    assert (second.woken, down.is_prober(second)) == (1, True)
    down.leave(first)
    down.leave(second)
    assert (background.woken, down.is_prober(background)) == (1, True)
    down.leave(background)
    assert not any(map(down.is_prober, (background, first, second)))


def test_one_of_which_nothing_is_known_yet_is_followed_by_one_whom_callers_wait_for() -> None:
    """The refresh whose failure began the outage has not said whether callers wait for it: it counts as without."""
    down, began, other = outage(), Refresh(), Refresh()
    down.failed(began, outage().failure)
    assert down.is_prober(began)
    assert down.due(other, callers_wait=True) == 100.25
    down.failed(other, outage().failure)
    assert down.is_prober(other)


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (None, False),
        (InvalidTokenResponse("no"), False),
        (CredentialsRejected("no"), False),
        (TokenEndpointUnavailable("down"), True),
        (TokenEndpointUnavailable("busy", status=429), True),
    ],
)
async def test_what_ends_an_outage(error: AuthError | None, *, goes_on: bool) -> None:
    """A token, or an answer that is final; not a server that is busy with one client, which may be down for others."""
    outages, refresh, other = Outages(), Refresh(), Refresh()
    news = EndpointNews(outages, ENDPOINT, refresh)

    def tell(error: AuthError | None) -> None:
        news.tell(error, RefreshPolicy(), now=100.0, deadline=130.0, random=largest)

    tell(TokenEndpointUnavailable("down"))
    assert EndpointNews(outages, ENDPOINT, other).due(callers_wait=False) == math.inf
    tell(error)
    assert (ENDPOINT in outages.here()) is goes_on


def test_without_a_loop_nothing_is_known() -> None:
    """A refresh that the garbage collector ends may ask."""
    assert Outages().here() == {}
