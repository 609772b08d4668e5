"""A server that caches its tokens: until one ends it gives the same one again, with what it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from asyncauth import InvalidTokenResponse, RefreshPolicy, Token, TokenManager
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]


class Caching(FakeProvider):
    """Mints a token when the last one has ended, and tells of what is left with `digits` digits after the point."""

    def __init__(self, clock: FakeClock, life: float, digits: int) -> None:
        super().__init__(clock=clock)
        self.life, self.digits = life, digits
        self.times = clock
        self.ends = 0.0

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        now = self.times.monotonic()
        self.calls += 1
        if now >= self.ends:
            self.number = getattr(self, "number", 0) + 1
            self.ends = now + self.life
        left = round(self.ends - now, self.digits)
        return Token(f"token-{self.number}", issued_at=0, expires_at=left)


@pytest.mark.parametrize("life", [12.0, 300.0, 3600.0])
async def test_a_server_that_caches_its_tokens_costs_no_request(make: Make, clock: FakeClock, life: float) -> None:
    """The manager always has the server's token, within a second of its end, with few requests a lifetime."""
    provider = Caching(clock, life, digits=3)
    async with make(provider) as manager:
        await manager.token()
        began = clock.monotonic()
        while clock.monotonic() < began + 2.5 * life:
            await clock.advance(life / 500)
            if manager.current is None:  # the old one has ended, and the server gives it still
                waiting = asyncio.ensure_future(manager.token())
                await clock.advance(1.0)
                await waiting
            token = manager.current
            assert token is not None
            assert clock.monotonic() > provider.ends or token.value == f"token-{provider.number}"
    assert provider.calls <= 3 * 8


async def test_a_new_token_without_a_lifetime_is_an_error(make: Make, clock: FakeClock) -> None:
    """A server that has never given a token twice has no excuse for one that lives for 0 s."""
    provider = FakeProvider(clock=clock, lifetime=2.0)
    manager = make(provider)
    await manager.token()
    provider.lifetime = 0.0
    await clock.advance(2.0)
    with pytest.raises(InvalidTokenResponse):
        await manager.token()


@pytest.mark.parametrize(("lifetime", "slowest", "fresh"), [(100, 0, 90), (100, 20, 70), (100, 80, 50), (20, 0, 18)])
def test_what_is_left_is_used_up(lifetime: float, slowest: float, fresh: float) -> None:
    """Less the slowest request, and never before half of it: no storm, however slow the endpoint has been."""
    windows = RefreshPolicy().windows_again(lifetime, slowest=slowest)
    assert (windows.fresh, windows.usable) == (fresh, lifetime * 0.9)


def test_an_unknown_lifetime_never_ends() -> None:
    """Also when the server gives the same token again."""
    assert RefreshPolicy().windows_again(None) == RefreshPolicy().windows(None)
