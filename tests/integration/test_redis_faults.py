"""Redis in trouble of every kind: requests go on, status and log tell, and when it is back it is used again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import attrs
import pytest
from harness.canary import MARK
from late_kit import takes_less_than
from redis_kit import RedisServer, aside, free_port, needs_redis, redis_server

from asyncauth import RefreshPolicy, StoreError, TokenManager
from asyncauth.provider import key_of
from asyncauth.stores import RedisStore
from asyncauth.testing import FakeProvider

pytestmark = needs_redis

LIFETIME = 1.2
"""Seconds: renewals come by the second."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@attrs.define
class Load:
    """Two processes' managers under load.

    Attributes:
        failures: The classes of what callers got instead of a token.
    """

    managers: list[TokenManager]
    provider: FakeProvider
    calls: int = 0
    failures: list[str] = attrs.field(factory=list)

    @property
    def stores(self) -> list[str]:
        return [manager.status().store or "" for manager in self.managers]

    async def call(self, manager: TokenManager) -> None:
        while True:
            try:
                await manager.token()
            except Exception as error:  # noqa: BLE001 (the test says that there is none)
                self.failures.append(type(error).__name__)
            self.calls += 1
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 (of other tasks' making)
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def load(url: str) -> AsyncIterator[Load]:
    provider = FakeProvider(lifetime=LIFETIME)
    async with contextlib.AsyncExitStack() as stack:
        managers = [TokenManager(provider, store=RedisStore(url)) for _ in range(2)]
        for manager in managers:
            await stack.enter_async_context(manager)
        load = Load(managers, provider)
        callers = [asyncio.ensure_future(load.call(manager)) for manager in managers for _ in range(5)]
        try:
            yield load
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
    assert load.failures == []
    assert load.calls > 0


async def shares(load: Load) -> None:
    """Return when the managers share tokens through Redis."""
    await load.until(lambda: load.stores == ["ok", "ok"])
    before = sum(manager.status().adoptions for manager in load.managers)
    await load.until(lambda: sum(manager.status().adoptions for manager in load.managers) > before)


async def test_unreachable_at_start(caplog: pytest.LogCaptureFixture) -> None:
    """Requests go on from the first on; one line tells; when it comes up it is used."""
    with redis_server(started=False) as server:
        async with load(server.url) as under:
            await under.until(lambda: "load: ConnectionError" in under.stores)
            await asyncio.sleep(LIFETIME)
            lines = [record for record in caplog.records if "store fails" in record.getMessage()]
            assert len(lines) == 2  # of each manager one, in the first minute
            await aside(server.start)
            await shares(under)


async def test_killed_in_the_middle_and_back(redis: RedisServer) -> None:
    """``kill -9``, and a new server on the same port: used again without a restart of anything."""
    async with load(redis.url) as under:
        await shares(under)
        await aside(redis.kill)
        await under.until(lambda: all("Error" in each for each in under.stores))
        await aside(redis.start)
        await shares(under)


async def test_hanging(redis: RedisServer) -> None:
    """It accepts and never answers: a second is lost where somebody waits, nobody fails; then it goes on."""
    async with load(redis.url) as under:
        await shares(under)
        redis.pause()
        try:
            await under.until(lambda: all("no answer" in each or "Error" in each for each in under.stores))
            await asyncio.sleep(LIFETIME)
        finally:
            redis.resume()
        await shares(under)


async def test_hanging_at_start_costs_a_second_or_two(redis: RedisServer) -> None:
    """Cold, with a Redis that hangs: the time limit of a call, and of closing."""
    redis.pause()
    manager = TokenManager(FakeProvider(), store=RedisStore(redis.url))
    try:
        async with takes_less_than(5):
            assert (await manager.token()).value == "token-1"
    finally:
        redis.resume()
    assert manager.status().store in {"load: no answer within 1 s", "load: TimeoutError"}


async def test_hanging_while_somebody_waits_for_the_lock(redis: RedisServer) -> None:
    """A caller that waits for the lock has 15 s, but notices within a few that Redis has stopped answering."""
    manager = TokenManager(FakeProvider(), store=RedisStore(redis.url))
    with redis.client() as client:
        client.set(f"asyncauth:{key_of('fake')}:lock", b"somebody's", px=60_000)
    waiting = asyncio.ensure_future(manager.token())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    redis.pause()
    try:
        async with takes_less_than(8):
            assert (await waiting).value == "token-1"
    finally:
        redis.resume()


async def test_out_of_memory() -> None:
    """It answers and takes nothing: every process for itself, until there is room."""
    with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        with server.client() as client, contextlib.suppress(Exception):
            for number in range(10_000):
                client.set(f"filling-{number}", b"x" * 10_000)
        async with load(server.url) as under:
            await under.until(lambda: all("OutOfMemory" in each or "Response" in each for each in under.stores))
            await asyncio.sleep(LIFETIME)
            with server.client() as client:
                client.flushall()
            await shares(under)


async def test_a_read_only_replica(redis: RedisServer) -> None:
    """What it has is adopted, nothing can be written; promoted, it is used again."""
    async with load(redis.url) as under:
        await shares(under)
        with redis.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        await under.until(lambda: any("ReadOnly" in each for each in under.stores))
        await asyncio.sleep(LIFETIME)
        with redis.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        await shares(under)


async def test_a_wrong_password(caplog: pytest.LogCaptureFixture) -> None:
    """No request fails, and no log line, status or error shows either password."""
    with redis_server(password=f"{MARK}-right") as server:
        async with load(server.url.replace(f"{MARK}-right", f"{MARK}-wrong")) as under:
            await under.until(lambda: all("AuthenticationError" in each for each in under.stores))
            await asyncio.sleep(LIFETIME)
            assert MARK not in repr([manager.status() for manager in under.managers])
    assert MARK not in caplog.text


async def test_strict_fails_instead() -> None:
    """For those who want the error: no token request without Redis. A caller that waits for it gets one."""
    provider = FakeProvider()
    with redis_server(started=False) as server:
        hasty, patient = (
            TokenManager(provider, store=RedisStore(server.url, strict=True), policy=RefreshPolicy(deadline=deadline))
            for deadline in (0.2, 30.0)
        )
        waiting = asyncio.ensure_future(patient.token())
        with pytest.raises(StoreError, match="load: ConnectionError") as caught:
            await hasty.token()
        assert str(server.port) not in str(caught.value)
        assert provider.calls == 0
        assert not waiting.done()
        await aside(server.start)
        assert (await waiting).value == "token-1"


async def test_a_host_that_is_not_there_costs_a_second() -> None:
    """Nobody answers at the address at all."""
    manager = TokenManager(FakeProvider(), store=RedisStore("redis://192.0.2.1:6379"))
    async with takes_less_than(5):
        assert (await manager.token()).value == "token-1"
    assert manager.status().store not in {"ok", None}


async def test_emptied(redis: RedisServer) -> None:
    """FLUSHALL under load, locks included: nobody fails, and it is filled again."""
    async with load(redis.url) as under:
        for _ in range(5):
            await shares(under)
            with redis.client() as client:
                client.flushall()
