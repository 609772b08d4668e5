"""A refresh that would wait for itself says so at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import attrs
import pytest

from asyncauth import ConfigurationError, ManagerPool, Peakly, Token, TokenManager
from asyncauth.testing import FakeClock, FakeProvider


@attrs.define(eq=False)
class Asking:
    """A provider that does something while it is asked."""

    work: Callable[[], Awaitable[object]]
    name: str = "asking"
    origins: tuple[str, ...] = ("https://api.example.com",)
    identity: str | None = "asking"

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        await self.work()
        return Token("token-1")


ITSELF = "this waits for itself"


@pytest.mark.parametrize("ask", ["token", "refresh", "headers"])
async def test_a_refresh_that_asks_its_own_manager_is_an_error_at_once(clock: FakeClock, ask: str) -> None:
    """Not a wait until the deadline: the clock stands still."""
    manager: TokenManager

    async def work() -> None:
        await getattr(manager, ask)()

    manager = TokenManager(Asking(work), clock=clock)
    with pytest.raises(ConfigurationError, match=ITSELF) as caught:
        await manager.token()
    assert caught.value.provider == "asking"


async def test_a_credential_that_needs_the_token_it_is_for(clock: FakeClock) -> None:
    """A callable that sends a request through the session whose token it is to obtain, most likely."""
    manager: TokenManager

    async def password() -> str:
        return (await manager.token()).value

    manager = TokenManager(Peakly(username="u", password=password), clock=clock)
    with pytest.raises(ConfigurationError, match=ITSELF):
        await manager.token()


async def test_two_managers_that_wait_for_each_other(clock: FakeClock) -> None:
    """A circle is found however long it is; both callers get the error."""
    managers: list[TokenManager] = []
    first = TokenManager(Asking(partial(_token_at, managers, 1)), clock=clock)
    second = TokenManager(Asking(partial(_token_at, managers, 2)), clock=clock)
    third = TokenManager(Asking(partial(_token_at, managers, 0)), clock=clock)
    managers += [first, second, third]
    outcomes = await asyncio.gather(first.token(), second.token(), return_exceptions=True)
    assert all(isinstance(each, ConfigurationError) and ITSELF in str(each) for each in outcomes)


async def test_a_thread_of_the_refresh_that_asks_its_manager() -> None:
    """What a refresh has a thread do is a part of it."""
    manager: TokenManager

    async def work() -> None:
        await asyncio.to_thread(lambda: asyncio.run(_token_of(manager)))

    manager = TokenManager(Asking(work))
    with pytest.raises(ConfigurationError, match=ITSELF):
        await manager.token()


async def _token_at(managers: list[TokenManager], number: int) -> Token:
    return await managers[number].token()


async def _token_of(manager: TokenManager) -> Token:
    return await manager.token()


async def test_a_pools_factory_that_asks_for_the_manager_it_makes(clock: FakeClock) -> None:
    """The same, one level up."""
    pool: ManagerPool[str]

    async def factory(key: str) -> FakeProvider:
        await pool.get(key)
        return FakeProvider(clock=clock)

    pool = ManagerPool(factory, clock=clock)
    with pytest.raises(ConfigurationError, match=ITSELF):
        await pool.get("a")


async def test_another_managers_token_is_no_circle(clock: FakeClock) -> None:
    """A refresh may wait for others, two at once, and for one that waits for nobody."""
    base = TokenManager(FakeProvider(clock=clock), clock=clock)
    middle = [TokenManager(Asking(base.token), clock=clock) for _ in range(2)]

    async def both() -> None:
        await asyncio.gather(*(each.token() for each in middle))

    assert (await TokenManager(Asking(both), clock=clock).token()).value == "token-1"


async def test_what_a_refresh_left_running_may_ask_later(clock: FakeClock) -> None:
    """A task that outlives its refresh does not belong to the next one."""
    manager: TokenManager
    go_on, tasks = asyncio.Event(), list[asyncio.Task[Token]]()

    async def later() -> Token:
        await go_on.wait()
        return await manager.refresh()

    async def work() -> None:
        if not tasks:
            tasks.append(asyncio.create_task(later()))

    manager = TokenManager(Asking(work), clock=clock)
    await manager.token()
    go_on.set()
    assert (await tasks[0]).value == "token-1"
