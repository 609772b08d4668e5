"""An outage of the token endpoint, for more than one manager: processes with one store, and the steps of a chain."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncGenerator

import aiohttp
import pytest
from random_kit import largest

from asyncauth import AuthError, RefreshPolicy, Token, TokenEndpointUnavailable, TokenManager
from asyncauth.provider import TokenSource
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider


class System:
    """An endpoint that is down until an instant, and notes when it was asked, and by whom."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began = clock.monotonic()
        self.up_at = 0.0
        self.unreachable_from: set[str] = set()
        self.asked: list[tuple[str, float]] = []

    def ask(self, who: str) -> None:
        now = self.clock.monotonic() - self.began
        self.asked.append((who, round(now, 3)))
        if now < self.up_at or who in self.unreachable_from:
            raise TokenEndpointUnavailable("down")

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.asked]


class Shared(MemoryStore):
    """A store whose lock takes no time of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._one = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None, None]:
        async with self._one:
            yield


class Provider(FakeProvider):
    """One process' provider of the one account."""

    def __init__(self, system: System, who: str, upstream: TokenSource | None = None) -> None:
        super().__init__(clock=system.clock)
        self.system, self.who, self.upstream = system, who, upstream

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        if self.upstream is not None:
            try:
                await self.upstream.token()
            except AuthError as error:
                problem = error.again()
                problem.upstream = True
                raise problem from None
        self.system.ask(self.who)
        return await super().fetch(http, previous)


@pytest.fixture
def system(clock: FakeClock) -> System:
    return System(clock)


def manager(provider: FakeProvider, clock: FakeClock, store: MemoryStore | None = None) -> TokenManager:
    policy = RefreshPolicy(jitter=0.0, close_grace=0.0)
    return TokenManager(provider, clock=clock, policy=policy, store=store, random=largest)


async def test_one_process_asks_an_endpoint_that_is_down(clock: FakeClock, system: System) -> None:
    """Four cold processes whose callers wait make as many token requests as one, and all have its token soon."""
    system.up_at = 4.0
    store = Shared()
    managers = [manager(Provider(system, str(number)), clock, store) for number in range(4)]
    waiting = [asyncio.ensure_future(each.token()) for each in managers]
    await clock.advance(6.0)
    assert len({(await each).value for each in waiting}) == 1
    assert len([at for at in system.times if at < 5]) <= 15
    assert system.times == sorted(system.times)
    assert max(later - at for at, later in itertools.pairwise(system.times)) <= 1.01
    assert system.times[-1] <= 5.0


async def test_a_process_that_cannot_reach_the_endpoint_holds_the_others_up_for_seconds(
    clock: FakeClock, system: System
) -> None:
    """It gives the lock back after 10 s: another one may reach the endpoint, and all have its token."""
    system.unreachable_from = {"0"}
    store = Shared()
    managers = [manager(Provider(system, str(number)), clock, store) for number in range(3)]
    waiting = [asyncio.ensure_future(each.token()) for each in managers]
    await clock.advance(12.0)
    assert len({(await each).value for each in waiting}) == 1
    assert {who for who, _ in system.asked} == {"0", "1"} or {who for who, _ in system.asked} == {"0", "2"}


async def test_while_nobody_waits_the_lock_is_given_back_after_each_try(clock: FakeClock, system: System) -> None:
    """A renewal in the background that fails holds no other process up."""
    store = Shared()
    first, second = (manager(Provider(system, who), clock, store) for who in "ab")
    await first.token()
    await second.token()
    await clock.advance(2880)
    system.unreachable_from = {"a"}
    await first.token()
    await clock.advance(8)
    refreshing = asyncio.ensure_future(second.refresh())
    await clock.advance(0.2)
    assert (await refreshing).value == "token-1"
    await first.close()


async def test_upstream_flights_know_that_callers_wait(clock: FakeClock, system: System) -> None:
    """In a chain the step that is down is asked as often as if callers waited for it itself."""
    system.up_at = 10.0
    upstream = manager(Provider(system, "upstream"), clock)
    downstream = manager(Provider(System(clock), "downstream", upstream), clock)
    waiting = asyncio.ensure_future(downstream.token())
    await clock.advance(12.5)
    assert (await waiting).value == "token-1"
    assert upstream.status().waits == 1


async def test_while_nobody_waits_downstream_the_upstream_step_takes_its_time(clock: FakeClock, system: System) -> None:
    """A background flight that waits for an upstream one does not count as a caller. A caller makes both try sooner."""
    upstream = manager(Provider(system, "upstream"), clock)
    downstream = manager(Provider(System(clock), "downstream", upstream), clock)
    await downstream.token()
    await clock.advance(3200)  # the downstream token is stale, the upstream one as well
    upstream.invalidate(await upstream.token())
    system.up_at, before = math.inf, len(system.asked)
    await downstream.token()
    await clock.advance(8)
    assert [round(at - 3200, 2) for at in system.times[before:]] == [0, 0.25, 0.75, 1.75, 3.75, 7.75]
    await downstream.close()
    await upstream.close()


async def test_a_caller_downstream_shortens_an_upstream_pause(clock: FakeClock, system: System) -> None:
    """The upstream flight rests for seconds when somebody begins to wait for the downstream one."""
    upstream = manager(Provider(system, "upstream"), clock)
    downstream = manager(Provider(System(clock), "downstream", upstream), clock)
    token = await downstream.token()
    await clock.advance(3200)
    upstream.invalidate(await upstream.token())
    system.up_at = math.inf
    await downstream.token()
    await clock.advance(8)  # the next try is due at 15.75
    tries = len(system.asked)
    downstream.invalidate(token)
    waiting = asyncio.ensure_future(downstream.token())
    await clock.advance(2.1)
    assert len(system.asked) == tries + 1
    waiting.cancel()
    await downstream.close()
    await upstream.close()
