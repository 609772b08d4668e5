"""FileStore."""

from __future__ import annotations

import asyncio
import tempfile

from asyncauth import TokenManager
from asyncauth.stores import FileStore
from asyncauth.testing import FakeProvider


def use() -> None:
    """Share a token through a folder."""
    provider = FakeProvider()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            asyncio.run(TokenManager(provider, store=FileStore(folder)).token())
    assert provider.calls == 1


def without() -> None:
    """Make one."""
    FileStore("tokens")
