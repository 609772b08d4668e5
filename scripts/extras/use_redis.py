"""RedisStore."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from asyncauth import TokenManager
from asyncauth.stores import RedisStore
from asyncauth.testing import FakeProvider


def use() -> None:
    """Share a token through a redis-server on a socket of its own."""
    provider = FakeProvider()
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        command = ["redis-server", "--port", "0", "--save", "", "--dir", folder, "--unixsocket", str(socket)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                assert server.poll() is None
                time.sleep(0.02)
            for _ in range(2):
                manager = TokenManager(provider, store=RedisStore(f"unix://{socket}"))
                asyncio.run(manager.token())
        finally:
            server.terminate()
            server.wait()
    assert provider.calls == 1


def without() -> None:
    """Make one."""
    RedisStore("redis://localhost:6379/0")
