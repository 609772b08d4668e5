"""RedisStore on a real server: what it keeps and for how long, its lock, and the clients it takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from cryptography.fernet import Fernet
from harness.canary import MARK
from harness.loops import close_under_its_tasks
from inside_kit import after_each_look, clients_of, idle_connections_of
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.lock import Lock
from redis_kit import RedisServer, aside, needs_redis, redis_server

from asyncauth import ManagerPool, RefreshPolicy, Token, TokenManager
from asyncauth.provider import key_of
from asyncauth.stores import EncryptedStore, RedisStore, TokenStore, dumps
from asyncauth.testing import FakeProvider, StoreConformance

pytestmark = needs_redis

KEY = "ab" * 32
SECRET = Fernet.generate_key()


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server(password=f"{MARK}-password") as server:
        yield server


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    with running.client() as client:
        client.flushall()
        client.config_resetstat()
    return running


def a_token(
    value: str = f"{MARK}-access", *, expires_in: float | None = 3600.0, age: float = 0.0, **more: Any
) -> Token:
    issued_at = time.time() - age
    return Token(value, issued_at=issued_at, expires_at=None if expires_in is None else issued_at + expires_in, **more)


# Conformance


class _Conformance(StoreConformance):
    redis: RedisServer

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.redis = redis


class TestRedisStore(_Conformance):
    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        return RedisStore(self.redis.url), RedisStore(self.redis.socket_url)


class TestEncryptedRedisStore(_Conformance):
    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        return EncryptedStore(RedisStore(self.redis.url), SECRET), EncryptedStore(RedisStore(self.redis.url), SECRET)


# What there is


async def test_a_logout_leaves_no_entry(redis: RedisServer) -> None:
    """The entry goes, with the refresh token in it, for every process."""
    issued = a_token(refresh_token=f"{MARK}-refresh")
    manager = TokenManager(FakeProvider(answers=[issued]), store=RedisStore(redis.url))
    await manager.token()
    assert redis.token_keys()
    assert (await manager.revoke()).store is None
    assert redis.token_keys() == []


def test_a_call_without_an_event_loop_keeps_no_client(redis: RedisServer) -> None:
    """A blocking call that renews has a client for as long as it runs; a fresh token costs no command."""
    provider = FakeProvider()
    manager = TokenManager(provider, store=RedisStore(redis.url))
    other = TokenManager(provider, store=RedisStore(redis.url))
    with redis.client() as client:
        before = len(client.client_list())
        token = manager.blocking.token()
        assert len(client.client_list()) == before
        commands = redis.commands()
        assert manager.blocking.token() is token
        assert redis.commands() == commands
    assert other.blocking.token().value == token.value
    assert provider.calls == 1


@pytest.mark.parametrize("prefix", ["asyncauth:", "a[*]?\\-^:", ""])
async def test_the_keys_of_its_prefix_are_listed(redis: RedisServer, prefix: str) -> None:
    """`keys` returns each key of this prefix that holds an entry, in order: no lock, and none of another prefix."""
    store, other = RedisStore(redis.url, prefix=prefix), RedisStore(redis.url, prefix="a*other:")
    await other.save("0c" * 32, a_token())
    for key in ("0b" * 32, "0a" * 32):
        await store.save(key, a_token())
    async with store.lock(KEY):
        assert await store.keys() == ["0a" * 32, "0b" * 32]


# What is kept, and for how long


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_in": 1e18},
        {"expires_in": 1e300},
        {"refresh_token": "r", "extra": {"refresh_expires_in": 1e30}},
        {"refresh_token": "r", "extra": {"refresh_expires_in": 10**400}},
    ],
)
async def test_an_absurd_lifetime_is_kept(redis: RedisServer, fields: dict[str, Any]) -> None:
    """A token that lives longer than Redis can count is kept for as long as anybody needs it."""
    store, token = RedisStore(redis.url), a_token(**fields)
    await store.save(KEY, token)
    loaded = await store.load(KEY)
    assert loaded is not None
    assert loaded.value == token.value
    assert (loaded.lifetime or 0) - (time.time() - loaded.issued_at) >= 3590


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"expires_in": 100}, 100),
        ({"expires_in": 100, "age": 40}, 60),
        ({"expires_in": 100, "age": -500}, 100),
        ({"expires_in": 1000, "age": 900}, 100),
        ({"expires_in": None}, 86400),
        ({"expires_in": 100, "refresh_token": "r"}, 30 * 86400),
        ({"expires_in": 100, "refresh_token": "r", "extra": {"refresh_expires_in": 500}}, 500),
        ({"expires_in": 100, "age": 2_000_000_000}, 100),  # by a clock that is not this machine's
    ],
    ids=["new", "aged", "ahead", "late", "unknown", "refresh", "refresh expires", "another clock"],
)
async def test_entries_live_no_longer_than_they_are_of_use(
    redis: RedisServer, fields: dict[str, Any], seconds: float
) -> None:
    """So nothing is left behind in Redis."""
    began, token = time.time(), a_token(**fields)
    for store in (RedisStore(redis.url), EncryptedStore(RedisStore(redis.url, prefix="asyncauth:sealed:"), SECRET)):
        await store.save(KEY, token)
    with redis.client() as client:
        left = [client.pttl(key) / 1000 for key in client.keys("asyncauth:*")]
    took = time.time() - began + 0.01
    assert len(left) == 2
    assert all(seconds - took <= each <= seconds for each in left)


async def test_a_spent_token_takes_the_entry_with_it(redis: RedisServer) -> None:
    """Nothing is written, and what was there is gone."""
    store = RedisStore(redis.url)
    await store.save(KEY, a_token(refresh_token="r"))
    await store.save(KEY, attrs.evolve(a_token(), expires_at=time.time() - 1, issued_at=time.time() - 1))
    assert redis.token_keys() == []


async def test_redis_own_clock_says_what_is_left(redis: RedisServer) -> None:
    """The writer's clock was an hour ahead: what is left is the least, by the entry's own time-to-live."""
    store, ahead = RedisStore(redis.url), 3600.0
    now = time.time()
    await store.save(KEY, Token("t", issued_at=now + ahead, expires_at=now + ahead + 100))
    with redis.client() as client:
        client.pexpire(f"asyncauth:{KEY}", 30_000)  # 70 s later
    stored = await store.load(KEY)
    assert stored is not None
    assert stored.expires_at is not None
    assert stored.lifetime is not None
    # It says for itself that it has 100 s from an hour hence; Redis says 30 s.
    assert stored.expires_at - time.time() == pytest.approx(30, abs=1.5)
    assert stored.lifetime == pytest.approx(100)
    manager = TokenManager(FakeProvider(), store=store)
    (key,) = redis.token_keys()
    with redis.client() as client:
        client.rename(key, f"asyncauth:{key_of('fake')}")
    token = await manager.token()
    assert token.value == "t"
    assert (token.expires_at or 0) - time.time() <= 31


async def test_a_mark_keeps_the_time_to_live(redis: RedisServer) -> None:
    """A refused entry stays for its refresh token, as long as it would have."""
    store = RedisStore(redis.url)
    token = a_token(expires_in=100, refresh_token="r", extra={"refresh_expires_in": 500})
    await store.save(KEY, token)
    await store.delete(KEY, token)
    assert 490 < redis.time_to_live() <= 500


async def test_deleting_compares_in_redis(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that another process saves between the look and the deletion stays."""
    store, other = RedisStore(redis.url), RedisStore(redis.url)
    await store.save(KEY, a_token("old"))

    def replace() -> None:
        with redis.client() as client:
            client.set(f"asyncauth:{KEY}", dumps(a_token("new")), ex=60)

    with monkeypatch.context() as patched:
        after_each_look(patched, replace)
        await store.delete(KEY, a_token("old"))
    stored = await other.load(KEY)
    assert stored is not None
    assert stored.value == "new"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"v":2}', b"\xff" * 9, dumps(a_token())[:-3].encode()])
async def test_damage_counts_as_absent(redis: RedisServer, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With one warning; a manager fetches and puts a whole entry there."""
    with redis.client() as client:
        client.set(f"asyncauth:{KEY}", damage)
    store = RedisStore(redis.url)
    for _ in range(3):
        assert await store.load(KEY) is None
    await store.delete(KEY, a_token())
    assert len(caplog.records) == 1
    assert MARK not in caplog.text
    await store.save(KEY, a_token())
    assert await store.load(KEY) is not None


async def test_an_entry_of_another_kind_is_trouble_not_a_crash(redis: RedisServer) -> None:
    """A list under the key: the manager does without the store."""
    manager = TokenManager(FakeProvider(), store=RedisStore(redis.url))
    with redis.client() as client:
        client.lpush(f"asyncauth:{key_of('fake')}", "x")
    assert (await manager.token()).value == "token-1"
    assert manager.status().store == "load: ResponseError"


async def test_nothing_can_be_read_in_redis(redis: RedisServer) -> None:
    """Under EncryptedStore neither keys nor values say anything; without it the token is in the clear."""
    store = EncryptedStore(RedisStore(redis.url), SECRET)
    token = a_token(refresh_token=f"{MARK}-refresh", scope=f"{MARK}-scope", extra={"user": f"{MARK}-user"})
    await store.save(KEY, token)
    assert MARK.encode() not in redis.everything()
    await RedisStore(redis.url).save(KEY, token)
    assert MARK.encode() in redis.everything()


async def test_a_fresh_token_costs_no_command(redis: RedisServer) -> None:
    """Thousands of calls, and Redis hears of none."""
    async with TokenManager(FakeProvider(), store=RedisStore(redis.url)) as manager:
        await manager.token()
        before = redis.commands()
        assert before > 0
        for _ in range(5000):
            await manager.token()
            await manager.headers()
        assert redis.commands() == before


async def test_a_refresh_is_a_handful_of_commands(redis: RedisServer) -> None:
    """Look, lock, look, save, release: two loads of two commands each, and one of each other."""
    manager = TokenManager(FakeProvider(), store=RedisStore(redis.url))
    await manager.token()
    with redis.client() as client:
        client.config_resetstat()
    await manager.refresh()
    assert redis.commands() <= 9


# The lock


async def test_the_lease_is_extended_while_its_holder_lives(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that takes longer than the lease keeps it; nobody else gets in."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 0.6)
    monkeypatch.setattr("asyncauth.stores.redis_lock._EXTEND_EVERY", 0.15)
    one, two = RedisStore(redis.url), RedisStore(redis.url)
    async with one, two, one.lock(KEY) as lease:
        for _ in range(8):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), two.lock(KEY):
                    pytest.fail("two are in")
            assert not lease.lost
    async with asyncio.timeout(5), two.lock(KEY):
        pass


async def test_what_is_raised_under_a_lock_passes_through(redis: RedisServer) -> None:
    """The lock is released, and its holder gets its own error."""
    async with RedisStore(redis.url) as store:
        with pytest.raises(ZeroDivisionError):
            async with store.lock(KEY):
                raise ZeroDivisionError
        async with asyncio.timeout(5), store.lock(KEY):
            pass


def test_a_client_whose_loop_was_closed_is_left_to_the_garbage_collector(redis: RedisServer) -> None:
    """Nothing is done on a loop that is closed, and no error is raised on the one that runs."""
    client = RedisStore(redis.url).client()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.__aenter__())
    loop.close()
    asyncio.run(client.__aexit__(None, None, None))


async def test_a_lease_ends_with_its_holder(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that died is waited for no longer than the lease."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 0.5)
    with redis.client() as client:
        client.set(f"asyncauth:{KEY}:lock", b"dead", px=500)
    began = time.monotonic()
    async with asyncio.timeout(5), RedisStore(redis.url).lock(KEY):
        assert 0.3 < time.monotonic() - began < 3


async def test_a_lost_lease_is_known_and_nobody_elses_is_released(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis lost the lock, and another process took it: the late holder notices, and does not release the other's."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._EXTEND_EVERY", 0.1)
    one, two = RedisStore(redis.url), RedisStore(redis.url)
    async with one, two:
        with redis.client() as client:
            async with one.lock(KEY) as late:
                client.delete(f"asyncauth:{KEY}:lock")
                async with two.lock(KEY) as mine:
                    async with asyncio.timeout(5):
                        while not late.lost:  # noqa: ASYNC110 (told by Redis)
                            await asyncio.sleep(0.02)
                    holder = client.get(f"asyncauth:{KEY}:lock")
                    assert holder is not None
                    assert not mine.lost
            assert client.get(f"asyncauth:{KEY}:lock") is None


async def test_a_lock_is_given_back_while_its_lease_is_being_extended(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py loses the cancellation that ends the extending: up to Python 3.11 ``wait_for`` does."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._EXTEND_EVERY", 0.3)
    extending = asyncio.Event()
    extend = Lock.do_extend

    async def lose_cancellation(lock: Lock, *given: Any) -> bool:
        extending.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return await extend(lock, *given)

    monkeypatch.setattr(Lock, "do_extend", lose_cancellation)
    async with RedisStore(redis.url) as store:
        async with store.lock(KEY):
            await extending.wait()
        with redis.client() as client:
            assert client.get(f"asyncauth:{KEY}:lock") is None


async def test_a_lease_that_cannot_be_extended_counts_as_lost(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis answers no more: when the lease is over by our own clock, another may hold the lock."""
    monkeypatch.setattr("asyncauth.stores.redis_lock._LEASE", 0.6)
    monkeypatch.setattr("asyncauth.stores.redis_lock._EXTEND_EVERY", 0.2)
    async with RedisStore(redis.url) as store, store.lock(KEY) as lease:
        assert not lease.lost
        redis.pause()
        try:
            await asyncio.sleep(1.2)
            assert lease.lost
        finally:
            redis.resume()


# Clients


@pytest.mark.parametrize("decoded", [False, True])
async def test_a_client_of_the_callers_is_used_and_stays_open(redis: RedisServer, *, decoded: bool) -> None:
    """Whatever it decodes; the store opens and closes nothing of it."""
    client = Redis.from_url(redis.url, decode_responses=decoded)
    try:
        store = RedisStore(client)
        manager = TokenManager(FakeProvider(), store=store)
        token = await manager.token()
        manager.invalidate(token)
        assert (await manager.token()).value == "token-2"
        assert (await TokenManager(FakeProvider(), store=store).token()).value == "token-2"
        assert manager.status().store == "ok"
        assert await client.ping()
    finally:
        await client.aclose()


def connections(redis: RedisServer) -> int:
    """Return how many connections there were since the last count, without this one."""
    with redis.client() as client:
        found = int(client.info("stats")["total_connections_received"])
        client.config_resetstat()
    return found - 1


async def nobody_is_connected(redis: RedisServer) -> None:
    """Return when Redis has noticed."""
    with redis.client() as client:
        async with asyncio.timeout(5):
            while len(client.client_list()) > 1:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)


async def test_a_manager_that_is_not_entered_leaves_nothing_open(redis: RedisServer) -> None:
    """After each refresh the connection is closed."""
    store = RedisStore(redis.url)
    manager = TokenManager(FakeProvider(), store=store)
    connections(redis)
    for number in range(1, 4):
        await manager.refresh()
        assert clients_of(store) == {}
        await nobody_is_connected(redis)
        assert connections(redis) == 1 + 1, number  # and that of the look before


async def test_one_client_stays_open_while_a_manager_is_entered(redis: RedisServer) -> None:
    """Its connection serves one refresh after another, also of a chain's managers, and is closed in the end."""
    store = RedisStore(redis.url)
    connections(redis)
    async with TokenManager(FakeProvider(), store=store) as manager, manager:
        for _ in range(5):
            await manager.refresh()
    assert clients_of(store) == {}
    assert connections(redis) == 1
    await nobody_is_connected(redis)


async def test_the_managers_of_a_pool_share_a_client(redis: RedisServer) -> None:
    """No connection per refresh, and at most 20; closed with the pool."""
    store = RedisStore(redis.url)
    for closes in (False, True):
        connections(redis)
        async with ManagerPool[int](
            lambda key: FakeProvider(name=str(key)), store=store, limit=3, policy=RefreshPolicy(store_timeout=30.0)
        ) as pool:
            managers = [await pool.get(key) for key in range(20)]
            for _ in range(2):
                await asyncio.gather(*(manager.refresh() for manager in managers))
            assert len(clients_of(store)) == 1
            if closes:
                await pool.close()
                assert clients_of(store) == {}
        assert clients_of(store) == {}
        assert connections(redis) < 25
        await nobody_is_connected(redis)


async def test_a_connection_that_was_idle_for_long_is_replaced(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands between may have dropped it without a word: the next call would wait for its time limit."""
    async with RedisStore(redis.url) as store:
        await store.load(KEY)
        connections(redis)
        await store.load(KEY)
        assert connections(redis) == 0
        monkeypatch.setattr("asyncauth.stores.redis_client.IDLE", 0.0)
        await store.load(KEY)
        assert connections(redis) == 1


async def test_a_closing_that_is_cancelled_leaves_no_connection(redis: RedisServer) -> None:
    """A loop's end cancels all tasks, and redis-py's own before they have begun to close anything."""
    store = RedisStore(redis.url)
    await store.__aenter__()
    await store.load(KEY)
    (connection,) = idle_connections_of(clients_of(store)[asyncio.get_running_loop()].client)
    closing = asyncio.create_task(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not connection.is_connected


def test_one_store_serves_one_loop_after_another(redis: RedisServer) -> None:
    """As in workers that call ``asyncio.run()`` for each task."""
    store, provider = RedisStore(redis.url), FakeProvider()
    for _ in range(3):
        manager = TokenManager(provider, store=store)
        assert asyncio.run(manager.token()).value == "token-1"


def test_a_loop_that_ended_while_the_store_was_open_is_forgotten(redis: RedisServer) -> None:
    """Its client can't be closed any more, and is not kept: workers that are killed in the middle leave no heap."""
    store = RedisStore(redis.url)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(store.__aenter__())
        loop.close()
        assert len(clients_of(store)) == 1
    assert asyncio.run(TokenManager(FakeProvider(), store=store).token()).value == "token-1"
    assert clients_of(store) == {}


def test_what_is_collected_of_a_closed_loop_takes_nothing_from_the_running_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose loop was closed is collected as garbage. If another loop runs then, it is not disturbed."""

    class Silent:
        """A client whose Redis never answers."""

        def pipeline(self, *, transaction: bool) -> Silent:
            return self

        def get(self, name: str) -> None:
            """Ask for nothing."""

        pttl = get

        async def execute(self) -> Any:
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            """Close nothing."""

    store = RedisStore("redis://localhost")
    monkeypatch.setattr(store, "_new_client", Silent)
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(store.load(KEY))
    loop.run_until_complete(asyncio.sleep(0))
    close_under_its_tasks(loop)

    async def elsewhere() -> None:
        async with store:
            abandoned.get_coro().close()  # as the collector does
            assert clients_of(store)[asyncio.get_running_loop()].users == 1

    asyncio.run(elsewhere())
    assert clients_of(store) == {}


async def test_several_loops_at_once(redis: RedisServer) -> None:
    """One store, used from threads with a loop each."""
    store, provider = RedisStore(redis.url), FakeProvider(latency=0.1)

    def work() -> str:
        return asyncio.run(TokenManager(provider, store=store).token()).value

    assert set(await asyncio.gather(*(aside(work) for _ in range(4)))) == {"token-1"}
    assert provider.calls == 1


async def test_a_cluster_client_is_used() -> None:
    """A cluster of one node: every key and script goes where it belongs."""
    with redis_server("--cluster-enabled", "yes") as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
            deadline = time.monotonic() + 20
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER INFO")).replace("'", ""):
                state = client.execute_command("CLUSTER INFO")
                if (state.get("cluster_state") if isinstance(state, dict) else None) == "ok":
                    break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        cluster = RedisCluster.from_url(server.url)
        try:
            store = EncryptedStore(RedisStore(cluster), SECRET)
            manager = TokenManager(FakeProvider(), store=store)
            manager.invalidate(await manager.token())
            assert (await manager.token()).value == "token-2"
            assert (await TokenManager(FakeProvider(), store=store).token()).value == "token-2"
            assert manager.status().store == "ok"
        finally:
            await cluster.aclose()
