"""EncryptedStore."""

from __future__ import annotations

import asyncio
import base64

from asyncauth import Token
from asyncauth.stores import EncryptedStore, MemoryStore

KEY = base64.urlsafe_b64encode(bytes(32))


def use() -> None:
    """Save a token, and load it."""
    inner = MemoryStore()
    store = EncryptedStore(inner, [KEY])

    async def there_and_back() -> None:
        await store.save("key", Token("s3cret"))
        loaded, sealed = await store.load("key"), await inner.load("key")
        assert loaded is not None
        assert loaded.value == "s3cret"
        assert sealed is not None
        assert "s3cret" not in sealed.value

    asyncio.run(there_and_back())


def without() -> None:
    """Make one."""
    EncryptedStore(MemoryStore(), [KEY])
