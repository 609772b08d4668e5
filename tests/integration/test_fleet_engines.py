"""Redis as people run it, while it fails: callers get their tokens, and no refresh token is sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from engine_kit import (
    GRANTS,
    Grant,
    cluster,
    crew,
    entry_of,
    full_disk,
    slot_of,
    until,
    watched,
    with_tls,
)
from redis_kit import aside, engines, has_tls, needs_redis, redis_server

from asyncauth.stores import RedisStore

pytestmark = [needs_redis, pytest.mark.fleet]

EACH_GRANT = pytest.mark.parametrize("grant", GRANTS)
ROTATING = pytest.mark.parametrize("grant", ["refresh", "password"])


@contextlib.asynccontextmanager
async def closing(clients: list[Any]) -> Any:
    """Close clients at the end of the block."""
    try:
        yield
    finally:
        for client in clients:
            await client.aclose()


@pytest.mark.parametrize(
    ("grant", "loses"),
    [("refresh", False), ("refresh", True), ("password", True)],
    ids=["whole", "lost", "lost-password"],
)
async def test_sentinel_fails_over(grant: Grant, *, loses: bool) -> None:
    """The primary dies; its replica, which may lack the last write, takes its place."""
    with watched() as redis:
        clients = [redis.client() for _ in range(3)]
        stores = iter([RedisStore(client) for client in clients])
        async with closing([*clients, *redis.opened]), crew(grant, lambda: next(stores)) as load:
            await load.renewed()
            if loses:
                await aside(redis.cut_replication)
                await load.renewed()
            await load.shares_a_new_token()  # one that has not seen the lost write has only the store's word
            redis.primary.strike()
            await aside(redis.primary.kill)
            await until(redis.promoted)
            await load.renewed(2)
            await load.shares_again()


@ROTATING
async def test_a_cluster_fails_over_and_moves_a_slot(grant: Grant) -> None:
    """The node that has the entry dies, and later the entry moves to another node."""
    with redis_server("--cluster-enabled", "yes") as alone:
        slot = slot_of(entry_of(grant), alone)
    with cluster(slot) as redis:
        clients = [redis.client() for _ in range(3)]
        stores = iter([RedisStore(client) for client in clients])
        async with closing(clients), crew(grant, lambda: next(stores)) as load:
            await load.renewed()
            await aside(redis.migrate, slot, redis.nodes[0], redis.nodes[1])
            await load.renewed(2)
            await aside(redis.migrate, slot, redis.nodes[1], redis.nodes[0])
            await load.renewed(2)
            await aside(redis.fail_over)
            await until(redis.promoted)
            await load.renewed(2)
            await load.shares_again()


@pytest.mark.parametrize("program", engines(), ids=lambda path: "-".join(Path(path).parts[-3::2]))
async def test_each_engine_is_killed_and_started_again(program: str) -> None:
    """Redis, Valkey where the machine has it, and the oldest Redis that will do."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always", program=program) as redis:
        async with crew("refresh", lambda: RedisStore(redis.url)) as load:
            for _ in range(2):
                await load.renewed()
                await aside(redis.kill)
                await asyncio.sleep(0.5)
                await aside(redis.start)
            await load.renewed()
            await load.shares_again()


@pytest.mark.skipif(not has_tls(), reason="this redis-server has no TLS: scripts/install_redis.sh")
@EACH_GRANT
async def test_tls_with_few_rights(grant: Grant) -> None:
    """A user that may do no more than is needed, over TLS: connections stay open, and nothing stays locked."""
    with with_tls() as (redis, url):
        rights = "~asyncauth:* +get +getrange +pttl +set +del +pexpire +watch +unwatch +multi +exec"
        with redis.client() as client:
            client.execute_command("ACL", "SETUSER", "few", "on", f">{redis.password}", *rights.split())
            client.config_resetstat()
        async with crew(grant, lambda: RedisStore(url.replace("rediss://:", "rediss://few:"))) as load:
            await load.renewed(3)
            await load.shares_again()
        with redis.client() as client:
            assert client.info("stats")["total_connections_received"] < 20
            # At once; or when its lease ends, if the machine is too busy to answer a release within a second.
            await until(lambda: not client.keys("*:lock"), 12)


@EACH_GRANT
async def test_a_redis_that_stands_still(grant: Grant) -> None:
    """``SIGSTOP`` for two lifetimes: whatever was sent to it is carried out later, and harms nothing."""
    with redis_server() as redis:
        async with crew(grant, lambda: RedisStore(redis.url)) as load:
            await load.renewed()
            redis.pause()
            await asyncio.sleep(3.0)
            redis.resume()
            await load.renewed()
            await load.shares_again()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a file system")
@ROTATING
async def test_a_full_disk(tmp_path: Path, grant: Grant) -> None:
    """A Redis that can't write its snapshot takes no writes: those who can wait do, and all is well afterwards."""
    saving = redis_server("--save", "3600 1", "--dir", str(tmp_path))
    with full_disk(tmp_path) as fill, saving as redis, redis.client() as client:

        def snapshot(*, succeeds: bool) -> None:
            client.bgsave()
            wanted = "ok" if succeeds else "err"
            while client.info("persistence")["rdb_last_bgsave_status"] != wanted:
                pass

        async with crew(grant, lambda: RedisStore(redis.url)) as load:
            await load.renewed()
            fill(True)
            await aside(lambda: snapshot(succeeds=False))
            await asyncio.sleep(2.5)
            fill(False)
            await aside(lambda: snapshot(succeeds=True))
            await load.renewed()
            await load.shares_again()


@ROTATING
async def test_connections_that_are_dropped_without_a_word(
    grant: Grant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A firewall forgets what is idle: no call waits for an answer over such a connection."""
    monkeypatch.setattr("asyncauth.stores.redis_client.IDLE", 0.3)
    dark: set[asyncio.Task[None]] = set()
    known: dict[asyncio.Task[None], asyncio.Event] = {}

    with redis_server() as redis:

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            known[task] = asyncio.Event()
            to = await asyncio.open_connection("127.0.0.1", redis.port)

            async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    if task not in dark:
                        sink.write(data)

            try:
                await asyncio.wait(
                    [asyncio.ensure_future(carry(reader, to[1])), asyncio.ensure_future(carry(to[0], writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                to[1].transport.abort()
                writer.transport.abort()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        url = redis.url.replace(f":{redis.port}/", f":{listener.sockets[0].getsockname()[1]}/")
        try:
            async with crew(grant, lambda: RedisStore(url), count=1) as load:
                for _ in range(3):
                    await load.renewed()
                    await asyncio.sleep(0.4)
                    dark |= set(known)
                assert load.stores == {"ok"}
                assert not [record for record in caplog.records if "store fails" in record.getMessage()]
        finally:
            listener.close()
            for task in known:
                task.cancel()
            await asyncio.gather(*known, return_exceptions=True)
