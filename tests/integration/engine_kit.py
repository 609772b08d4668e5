"""Redis as people run it (Sentinel, Cluster, TLS, a full disk), and several managers that share it under load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import attrs
import trustme
from redis import Redis
from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis_kit import RedisServer, executable, free_port, redis_server

from asyncauth import AuthError, RefreshPolicy, Token, TokenManager, current_request_context
from asyncauth.provider import key_of
from asyncauth.stores import RedisStore

Grant = Literal["refresh", "password", "client"]
GRANTS: tuple[Grant, ...] = ("refresh", "password", "client")

LIFETIME = 1.5
"""Seconds: renewals come by the second."""
POLICY = RefreshPolicy(close_grace=0.1)


@attrs.define(eq=False)
class Authority:
    """A provider, and its server, which replaces each refresh token and takes one that comes again for a theft.

    Attributes:
        grant: How tokens are had: by a refresh token alone, by a password at first, or without refresh tokens.
        reused: How many spent refresh tokens came.
        requests: How many token requests there were.
    """

    grant: Grant
    reused: int = 0
    requests: int = 0
    name: str = "authority"
    origins: tuple[str, ...] = ("https://api.example.com",)
    _spent: set[str] = attrs.field(factory=set)

    @property
    def identity(self) -> str:
        return f"authority, {self.grant}"

    @property
    def needs_lock(self) -> bool:
        return self.grant == "refresh"

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        context = current_request_context()
        given = "rt-0" if self.grant == "refresh" else None
        sent = given if previous is None else previous.refresh_token or given
        context.sending(refresh_token=sent is not None and self.grant != "client")
        self.requests += 1
        if sent is not None:
            self.reused += sent in self._spent
            self._spent.add(sent)
        number = self.requests
        await asyncio.sleep(0.02)
        context.answered(200, {})
        now = time.time()
        refresh_token = None if self.grant == "client" else f"rt-{number}"
        return Token(f"at-{number}", issued_at=now, expires_at=now + LIFETIME, refresh_token=refresh_token)


@attrs.define(eq=False)
class Crew:
    """Managers as several processes would have them, each with a store of its own, and callers for all of them.

    Attributes:
        authority: Where their tokens come from.
        managers: One per process.
        failed: What callers got in place of a token.
        slowest: Seconds that the slowest call took.
    """

    authority: Authority
    managers: list[TokenManager]
    failed: list[str] = attrs.field(factory=list)
    slowest: float = 0.0
    calls: int = 0

    async def call(self, manager: TokenManager) -> None:
        while True:
            began = time.monotonic()
            try:
                await manager.token()
            except AuthError as error:
                self.failed.append(f"{type(error).__name__}: {error}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.calls += 1
            await asyncio.sleep(0.02)

    @property
    def stores(self) -> set[str | None]:
        """What the managers say of the store."""
        return {manager.status().store for manager in self.managers}

    async def renewed(self, times: int = 1) -> None:
        """Return when there were so many further token requests."""
        wanted = self.authority.requests + times
        await until(lambda: self.authority.requests >= wanted)

    async def shares_again(self, seconds: float = 20.0) -> None:
        """Return when all use the store, and one token."""
        await until(lambda: self.stores == {"ok"}, seconds)
        await until(lambda: self._shared is not None, seconds)

    @property
    def _shared(self) -> Token | None:
        """The token that all have; ``None``: they have several."""
        tokens = {manager.current and manager.current.value: manager.current for manager in self.managers}
        return next(iter(tokens.values())) if len(tokens) == 1 else None

    async def shares_a_new_token(self) -> None:
        """Return when all use the store and a token of which a renewal is far from due."""
        await self.shares_again()
        await until(lambda: (token := self._shared) is not None and time.time() - token.issued_at < LIFETIME / 5)


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return when something has become true, which nobody tells."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 (what is waited for is in another process)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def crew(
    grant: Grant, store: Callable[[], RedisStore], count: int = 3, *, judge: bool = True
) -> AsyncIterator[Crew]:
    """Run managers under load for the block.

    Args:
        grant: How their tokens are had.
        store: Makes a store for each.
        count: How many.
        judge: Whether to fail at the end if a call has failed, or a refresh token was sent twice.
    """
    authority = Authority(grant)
    managers = [TokenManager(authority, store=store(), policy=POLICY) for _ in range(count)]
    crew = Crew(authority, managers)
    async with contextlib.AsyncExitStack() as stack:
        for manager in managers:
            await stack.enter_async_context(manager)
        await crew.managers[0].token()
        callers = [asyncio.create_task(crew.call(manager)) for manager in managers for _ in range(2)]
        try:
            yield crew
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    assert crew.calls > 10
    if judge:
        assert (crew.failed[:5], authority.reused) == ([], 0), (len(crew.failed), crew.failed[:5], authority.reused)


# Engines


def entry_of(grant: Grant) -> str:
    """Return the Redis key of an authority's entry."""
    return f"asyncauth:{key_of(Authority(grant).identity)}"


def _info(server: RedisServer, section: str) -> dict[str, Any]:
    with server.client() as client:
        return dict(client.info(section))


def wait_for(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):  # it starts just now
            if true():
                return
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


@attrs.define(eq=False)
class Watched:
    """A primary and its replica, and a Sentinel that watches them."""

    primary: RedisServer
    replica: RedisServer
    port: int
    opened: list[Any] = attrs.field(factory=list)

    def client(self) -> Any:
        """Return a client of whichever is the primary."""
        password = self.primary.password
        sentinel: Any = Sentinel([("127.0.0.1", self.port)], socket_timeout=0.5)  # type: ignore[no-untyped-call]
        self.opened += sentinel.sentinels
        return sentinel.master_for("tokens", password=password, socket_timeout=1.0, socket_connect_timeout=1.0)

    def cut_replication(self) -> None:
        """Let the replica learn of nothing more."""
        with self.replica.client() as client:
            client.config_set("masterauth", "wrong")
        with self.primary.client() as client:
            client.client_kill_filter(_type="replica")
        wait_for(lambda: _info(self.replica, "replication")["master_link_status"] == "down")

    def promoted(self) -> bool:
        return str(_info(self.replica, "replication")["role"]) == "master"


_SENTINEL = """port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor tokens 127.0.0.1 {primary} 1
sentinel auth-pass tokens {password}
sentinel down-after-milliseconds tokens 400
sentinel failover-timeout tokens 3000
"""


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """Run a primary, a replica and a Sentinel for the block."""
    program = executable()
    assert program is not None
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0", started=False))
        primary.options = (*primary.options, "--masterauth", primary.password)
        primary.start()
        replica = stack.enter_context(
            redis_server("--replicaof", "127.0.0.1", str(primary.port), "--masterauth", primary.password)
        )
        wait_for(lambda: _info(replica, "replication")["master_link_status"] == "up")
        port, config = free_port(), replica.folder / "sentinel.conf"
        config.write_text(
            _SENTINEL.format(port=port, folder=replica.folder, primary=primary.port, password=primary.password)
        )
        sentinel = subprocess.Popen([program, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(sentinel.wait)
        stack.callback(sentinel.kill)
        with Redis(port=port, socket_timeout=5) as client:
            wait_for(lambda: len(client.sentinel_slaves("tokens")) == 1)
        yield Watched(primary, replica, port)


SLOTS = 16384


@attrs.define(eq=False)
class Cluster:
    """Three primaries, and a replica of the first."""

    nodes: list[RedisServer]
    replica: RedisServer

    def client(self) -> Any:
        one = self.nodes[2]
        return RedisCluster(
            host="127.0.0.1", port=one.port, password=one.password, socket_timeout=1.0, socket_connect_timeout=1.0
        )

    def fail_over(self) -> None:
        """Kill the first primary, whose replica takes its place."""
        self.nodes[0].kill()

    def promoted(self) -> bool:
        return str(_info(self.replica, "replication")["role"]) == "master"

    def migrate(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move a slot from one node to another, with its keys."""
        with source.client() as old, target.client() as new:
            names = {node: _identity(node) for node in (source, target)}
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                auth = ("AUTH", target.password)
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 1000, *auth, "KEYS", *keys)
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])


def _identity(node: RedisServer) -> str:
    with node.client() as client:
        name = client.execute_command("CLUSTER", "MYID")
    return name.decode() if isinstance(name, bytes) else str(name)


def slot_of(name: str, node: RedisServer) -> int:
    with node.client() as client:
        return int(client.execute_command("CLUSTER", "KEYSLOT", name))


@contextlib.contextmanager
def cluster(first: int) -> Iterator[Cluster]:
    """Run a cluster for the block, in which the first primary has one slot, and a few more."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no")
    more = ("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0")
    with contextlib.ExitStack() as stack:
        nodes = []
        for _ in range(4):
            node = stack.enter_context(redis_server(*options, *more, started=False))
            node.options = (*node.options, "--masterauth", node.password)
            node.start()
            nodes.append(node)
        others = [slot for slot in range(SLOTS) if slot != first]
        for node, slots in zip(nodes, ([first, *others[:9]], others[9:8000], others[8000:]), strict=False):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        with nodes[0].client() as client:
            for node in nodes[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_for(lambda: all(_known(node) == 4 for node in nodes))
        with nodes[3].client() as client:
            client.execute_command("CLUSTER", "REPLICATE", _identity(nodes[0]))
        wait_for(lambda: _info(nodes[3], "replication")["master_link_status"] == "up")
        wait_for(lambda: all(_state(node) == "ok" for node in nodes))
        yield Cluster(nodes[:3], nodes[3])


def _cluster_info(node: RedisServer) -> dict[str, str]:
    with node.client() as client:
        found: Any = client.execute_command("CLUSTER", "INFO")
    if isinstance(found, dict):
        return {str(name): str(each) for name, each in found.items()}
    text = found.decode() if isinstance(found, bytes) else str(found)
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def _state(node: RedisServer) -> str:
    return _cluster_info(node)["cluster_state"]


def _known(node: RedisServer) -> int:
    return int(_cluster_info(node)["cluster_known_nodes"])


@contextlib.contextmanager
def with_tls() -> Iterator[tuple[RedisServer, str]]:
    """Run a server with TLS for the block; give it, and its URL."""
    port = free_port()
    with redis_server(started=False) as server:
        authority = trustme.CA()
        own = authority.issue_cert("127.0.0.1")
        paths = {name: server.folder / f"{name}.pem" for name in ("ca", "cert", "key")}
        authority.cert_pem.write_to_path(paths["ca"])
        own.private_key_pem.write_to_path(paths["key"])
        paths["cert"].write_bytes(b"".join(each.bytes() for each in own.cert_chain_pems))
        server.options = (
            *("--tls-port", str(port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(paths["cert"]), "--tls-key-file", str(paths["key"])),
            *("--tls-ca-cert-file", str(paths["ca"])),
        )
        server.start()
        yield server, f"rediss://:{server.password}@127.0.0.1:{port}/0?ssl_ca_certs={paths['ca']}"


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Callable[[bool], None]]:
    """Mount a small file system for the block; give what fills it and empties it again. As root."""
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    filler = folder / "filler"

    def fill(full: bool) -> None:  # noqa: FBT001 (the one thing there is to say)
        filler.unlink(missing_ok=True)
        if full:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                for _ in itertools.count():
                    file.write(b"x" * 4096)

    try:
        yield fill
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)
