"""Redis users with few rights: the documented ones are enough, and a lock that can't be given back is not taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.canary import secret
from inside_kit import after_each_look, clients_of
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout
from redis_kit import RedisServer, needs_redis, redis_server

from asyncauth import Token, TokenManager
from asyncauth.stores import RedisStore, dumps
from asyncauth.stores.redis_lock import Comparison, RedisLock
from asyncauth.testing import FakeProvider, StoreConformance

pytestmark = needs_redis

KEY = "cd" * 32
PASSWORD = secret("limited")
FLEETS = Path(__file__).parents[2] / "docs" / "howto" / "fleets.md"
NO_SCRIPTS = "~* +@all -@scripting"
NEITHER = "~* +@all -@scripting -@transaction"


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    with running.client() as client:
        client.flushall()
        client.config_resetstat()
    return running


def allow(redis: RedisServer, rights: str) -> str:
    """Give a user these rights and no others; return the URL with which it connects."""
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{PASSWORD}", *rights.split())
    return f"redis://limited:{PASSWORD}@127.0.0.1:{redis.port}/0"


def documented(name: str) -> str:
    """Return the rights that the documentation lists."""
    found = re.search(rf"ACL SETUSER {name} .*?(~.*)", FLEETS.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def locks(redis: RedisServer) -> list[bytes]:
    with redis.client() as client:
        return list(client.keys("*:lock"))


class _Limited(StoreConformance):
    rights: str
    redis: RedisServer

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.redis = redis

    def make_stores(self) -> tuple[RedisStore, RedisStore]:
        url = allow(self.redis, self.rights)
        return RedisStore(url), RedisStore(url)


class TestWithTheDocumentedRights(_Limited):
    rights = documented("asyncauth")


class TestWithTheDocumentedRightsWithoutScripts(_Limited):
    rights = documented("no-scripts")


@pytest.mark.parametrize("rights", [documented("asyncauth"), documented("no-scripts"), NO_SCRIPTS])
async def test_two_managers_share_and_nothing_stays_locked(
    redis: RedisServer, rights: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether scripts may be run or not; where they may not, the log says so once."""
    url, provider = allow(redis, rights), FakeProvider()
    one, two = (TokenManager(provider, store=RedisStore(url)) for _ in range(2))
    for _ in range(3):
        fetched = await one.refresh()
        assert locks(redis) == []
        assert (await two.refresh()).value == fetched.value  # taken over from the store
        assert locks(redis) == []
        assert (one.status().store, two.status().store) == ("ok", "ok")
    one.invalidate(await one.token())
    await one.token()
    assert provider.calls == 4
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    expected = "Redis 'asyncauth:': scripts are forbidden; WATCH compares locks and entries instead; no action needed"
    assert said == ([] if "eval" in rights else [expected])  # the other one needed no lock


async def test_a_lease_is_extended_without_scripts(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that takes longer than the lease keeps the lock, and learns that it has lost it."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 0.6)
    monkeypatch.setattr("asyncauth.stores.redis_lock._EXTEND_EVERY", 0.15)
    url = allow(redis, NO_SCRIPTS)
    one, two = RedisStore(url), RedisStore(url)
    async with one, two, one.lock(KEY) as lease:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), two.lock(KEY):
                    pytest.fail("two are in")
            assert not lease.lost
        with redis.client() as client:
            client.set(f"asyncauth:{KEY}:lock", "another's")
            async with asyncio.timeout(5):
                while not lease.lost:  # noqa: ASYNC110 (told by Redis)
                    await asyncio.sleep(0.02)
    with redis.client() as client:
        assert client.get(f"asyncauth:{KEY}:lock") == b"another's"  # not given back by who lost it


async def test_deleting_compares_without_scripts(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that another process saves between the look and the deletion stays."""
    store = RedisStore(allow(redis, NO_SCRIPTS))
    now = time.time()
    old, new = (Token(value, issued_at=now, expires_at=now + 60) for value in ("access-old", "access-new"))
    await store.save(KEY, old)

    def replace() -> None:
        with redis.client() as client:
            client.set(f"asyncauth:{KEY}", dumps(new), ex=60)

    with monkeypatch.context() as patched:
        after_each_look(patched, replace)
        await store.delete(KEY, old)
    stored = await store.load(KEY)
    assert stored is not None
    assert stored.value == new.value


async def test_a_lock_that_could_not_be_given_back_is_not_taken(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither scripts nor transactions: nobody waits for a lease, the status says so, and each has its own token."""
    url = allow(redis, NEITHER)
    tries: list[RedisLock] = []
    acquire = RedisLock.acquire

    async def acquire_counted(lock: RedisLock) -> bool:
        tries.append(lock)
        return await acquire(lock)

    monkeypatch.setattr(RedisLock, "acquire", acquire_counted)
    providers = [FakeProvider() for _ in range(2)]
    for provider in providers:
        manager = TokenManager(provider, store=RedisStore(url))
        await manager.token()
        await manager.refresh()
        assert manager.status().store == "lock: NoPermissionError"
    assert [provider.calls for provider in providers] == [2, 2]
    assert len(tries) <= 4  # one per refresh: none is made again after a while
    assert locks(redis) == []


async def test_a_lock_that_is_not_given_back_is_told(redis: RedisServer) -> None:
    """The rights were taken away while it was held: who leaves it learns that, and it is not taken again."""
    store = RedisStore(allow(redis, documented("asyncauth")))
    with pytest.raises(NoPermissionError):
        async with store.lock(KEY):
            allow(redis, NEITHER)
    assert len(locks(redis)) == 1
    with pytest.raises(NoPermissionError):
        async with store.lock(KEY):
            pytest.fail("it can't be given back")
    allow(redis, documented("asyncauth"))
    with contextlib.suppress(ZeroDivisionError):  # what happens inside counts more
        async with store.lock("ef" * 32):
            allow(redis, NEITHER)
            raise ZeroDivisionError
    allow(redis, NO_SCRIPTS)
    with redis.client() as client:
        client.flushall()
    async with store.lock(KEY):
        pass
    assert locks(redis) == []


async def test_a_release_that_redis_does_not_answer_is_told(redis: RedisServer) -> None:
    """It takes a second at most, and the lease ends by itself."""
    store = RedisStore(redis.url)
    try:
        with pytest.raises((TimeoutError, RedisTimeout)):
            async with store.lock(KEY):
                redis.pause()
    finally:
        redis.resume()


async def test_a_server_without_scripting_is_like_a_user_without_it() -> None:
    """A server on which the commands have other names, as managed services do."""
    hidden = [word for name in ("EVAL", "EVALSHA", "SCRIPT") for word in ("--rename-command", name, "")]
    with redis_server(*hidden) as server:
        manager = TokenManager(FakeProvider(), store=RedisStore(server.url))
        manager.invalidate(await manager.token())
        await manager.token()
        assert manager.status().store == "ok"
        assert locks(server) == []


async def test_a_change_in_between_wins(redis: RedisServer) -> None:
    """Without scripts: a key that another process changes after it was compared is left as it is."""

    async def script() -> bool:
        raise NoPermissionError

    def change(pipeline: Any) -> None:
        with redis.client() as other:
            other.set("asyncauth:key", "another's")
        pipeline.delete("asyncauth:key")

    client: Any = Redis.from_url(redis.url)
    async with client:
        await client.set("asyncauth:key", "ours")
        assert not await Comparison("Redis").change(client, "asyncauth:key", b"ours", script=script, otherwise=change)
        assert await client.get("asyncauth:key") == b"another's"


async def test_what_redis_can_not_do_now_is_not_tried_another_way(redis: RedisServer) -> None:
    """Another error of a script than that it is forbidden is the caller's to know."""

    async def script() -> bool:
        raise ReadOnlyError("READONLY")

    with pytest.raises(ReadOnlyError):
        await Comparison("Redis").change(None, "key", b"ours", script=script, otherwise=lambda _: None)


async def test_a_lock_is_given_back_as_soon_as_redis_answers_again(redis: RedisServer) -> None:
    """A Redis that stood still carries out what it was sent: nobody waits for the lease of a holder that has left."""
    async with RedisStore(redis.url) as store:
        with pytest.raises((TimeoutError, RedisTimeout)):
            async with store.lock(KEY):
                redis.pause()
        redis.resume()
        await asyncio.wait(clients_of(store)[asyncio.get_running_loop()].releasing, timeout=5)
        assert locks(redis) == []


async def test_a_lock_is_given_back_as_soon_as_redis_writes_again(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis with a full disk refuses for a while what is allowed: nobody waits for the lease of who has left."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 600.0)
    with redis.client() as client:
        async with RedisStore(redis.url) as store:
            releasing = clients_of(store)[asyncio.get_running_loop()].releasing
            with pytest.raises(ResponseError):
                async with store.lock(KEY):
                    client.config_set("min-replicas-to-write", 1)
            await asyncio.sleep(0.5)  # one try more, which fails
            client.config_set("min-replicas-to-write", 0)
            await asyncio.wait(releasing, timeout=30)
            assert locks(redis) == []


async def test_a_lock_is_given_back_for_as_long_as_it_may_last(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not longer; not where it is forbidden; and not when the store is closed."""
    store = RedisStore(allow(redis, documented("asyncauth")))
    async with store:
        here = clients_of(store)[asyncio.get_running_loop()]
        with pytest.raises(NoPermissionError):
            async with store.lock(KEY):
                allow(redis, NEITHER)
        await asyncio.wait(here.releasing, timeout=5)
        assert here.releasing == set()
        allow(redis, documented("asyncauth"))
        monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 0.5)
        monkeypatch.setattr("asyncauth.stores.redis_lock._FAREWELL", 0.2)
        try:
            with pytest.raises((TimeoutError, RedisTimeout)):
                async with store.lock("ef" * 32):
                    redis.pause()
            await asyncio.wait(here.releasing, timeout=10)
            assert here.releasing == set()
            with contextlib.suppress(TimeoutError, RedisTimeout):
                async with store.lock("ef" * 32):
                    pass
            assert len(here.releasing) == 1
        finally:
            redis.resume()
    assert here.releasing == set()
