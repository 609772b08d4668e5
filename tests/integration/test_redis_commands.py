"""Redis fails at every command of a refresh in turn: a token is had, and no refresh token is lost or sent twice."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import aiohttp
import attrs
import pytest
from redis_kit import RedisServer, needs_redis, redis_server
from redis_proxy_kit import Fault, RedisProxy

from asyncauth import RefreshPolicy, StoreError, Token, TokenManager
from asyncauth._core.try_state import current_try
from asyncauth.stores import RedisStore

pytestmark = needs_redis

POLICY = RefreshPolicy(store_timeout=0.6, idle_timeout=0.0)
PATIENT = attrs.evolve(POLICY, store_timeout=30.0)
"""Of a process that meets no fault: a busy machine alone must not have it go on without the store."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[RedisProxy]:
    with redis.client() as client:
        client.flushall()
    async with RedisProxy(redis).serve() as proxy:
        yield proxy


@attrs.define(eq=False)
class Rotating:
    """A provider of a server that replaces a refresh token when it comes, and takes a second coming for a theft.

    Attributes:
        needs_lock: Whether a refresh token is its only way to a token.
        sent: The refresh tokens that were sent, in turn; ``None`` = the primary grant.
    """

    needs_lock: bool
    name: str = "rotating"
    identity: str = "rotating"
    origins: tuple[str, ...] = ()
    sent: list[str | None] = attrs.field(factory=list)
    _numbers: Any = attrs.field(factory=lambda: itertools.count(1))

    @property
    def stolen(self) -> int:
        sent = [each for each in self.sent if each is not None]
        return len(sent) - len(set(sent))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        given = "refresh-0" if self.needs_lock else None
        refresh_token = given if previous is None else previous.refresh_token
        self.sent.append(refresh_token)
        current_try().spends_refresh_token = refresh_token is not None and not self.needs_lock
        number, now = next(self._numbers), current_try().clock.wall()
        return Token(f"access-{number}", issued_at=now, expires_at=now + 3600, refresh_token=f"refresh-{number}")


def process(provider: Rotating, url: str, policy: RefreshPolicy = POLICY) -> TokenManager:
    return TokenManager(provider, store=RedisStore(url), policy=policy)


def unlock(redis: RedisServer) -> None:
    """Take a lock away whose release did not arrive: it would end by itself after its lease."""
    with redis.client() as client:
        for key in client.keys("*:lock"):
            client.delete(key)


async def refuse_and_replace(manager: TokenManager) -> Token:
    """Have the token refused and replaced: delete, load, lock, load, save, fetch, save, unlock."""
    if manager.current is not None:
        manager.accepted(manager.current, repeat=True)  # or refusals in a row would be damped
        manager.invalidate(manager.current)
    return await manager.token()


async def refresh_in_store(manager: TokenManager, redis: RedisServer) -> Token:
    """Refresh, whatever is being waited out, until the store takes part: on a busy machine even it may be late."""
    while True:
        unlock(redis)
        with contextlib.suppress(StoreError):
            token = await manager.refresh()
            if manager.status().store == "ok":
                unlock(redis)
                return token


@pytest.mark.parametrize("needs_lock", [False, True], ids=["with a password", "only a refresh token"])
@pytest.mark.parametrize("fault", get_args(Fault))
async def test_every_command_in_turn(redis: RedisServer, proxy: RedisProxy, fault: Fault, *, needs_lock: bool) -> None:
    """At whichever command it fails, and however: a token is had, and afterwards the store is used again."""
    provider = Rotating(needs_lock)
    async with process(provider, proxy.url, PATIENT) as patient:
        await patient.token()
        proxy.watch()
        await refuse_and_replace(patient)
        commands = list(proxy.commands)
    assert len(commands) > 8, commands

    first = process(provider, proxy.url)
    await first.token()
    for number in range(1, len(commands) + 1):
        case = f"{fault} at command {number}, {commands[number - 1]}, of {commands}"
        proxy.watch(fault, number)
        try:
            await refuse_and_replace(first)
        except StoreError:
            # Without the lock no refresh token is sent, and there is no other way: said so, and nothing was sent.
            assert needs_lock, case
        proxy.watch()
        token = await refresh_in_store(first, redis)
        assert provider.stolen == 0, case

        sent = len(provider.sent)
        other = process(provider, proxy.url, PATIENT)
        assert (await other.token()).value == token.value, case  # adopted: the store is used again
        assert len(provider.sent) == sent, case
        assert (await other.refresh()).value != token.value, case
        assert provider.sent[-1] == token.refresh_token, case  # and the refresh token that counts is in it
        assert provider.stolen == 0, case
        await other.close()
    await first.close()
