"""What a manager asks of a store that several processes share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from asyncauth.token import Token

__all__ = ["Lease", "TokenStore", "is_key"]

_KEY = re.compile(r"[0-9a-f]{64}")


class Lease(Protocol):
    """A lock that is held, as `TokenStore.lock` gives it. A store whose lock can't be lost may give ``None``."""

    @property
    def lost(self) -> bool:
        """Whether another process may hold the lock by now."""
        ...


@runtime_checkable
class TokenStore(Protocol):
    """Keeps tokens where several processes find them.

    To write one, write these four methods::

        import asyncio
        from collections import defaultdict
        from asyncauth.stores import remains

        class DictStore:
            def __init__(self):
                self.tokens, self.locks = {}, defaultdict(asyncio.Lock)

            async def load(self, key):
                return self.tokens.get(key)

            async def save(self, key, token):
                self.tokens[key] = token

            async def delete(self, key, token):
                stored = self.tokens.get(key)
                if stored is not None and stored.value == token.value:
                    left = remains(stored)
                    if left is None:
                        del self.tokens[key]
                    else:
                        self.tokens[key] = left

            def lock(self, key):
                return self.locks[key]

    What is saved is an `Entry`, which holds more than the token, or a plain token. A store keeps all of it without
    knowing what it is: as the object itself, or as what `dumps` writes and `loads` gives back.

    A store may have ``place``: a text, without secrets, that says where it is. Logs show it beside what went wrong.

    A store may have ``keys()``, an async method that returns the keys there are and changes nothing: the command line's
    ``status`` and ``doctor`` list them. It may have ``close()``, which its owner calls; may be an async context
    manager, which a manager then enters around what it does, from any number of tasks at once; and may have
    ``strict = True``: then callers wait, and get a ``StoreError`` at the deadline, where otherwise the manager does
    without the store. What any method raises is store trouble, never the caller's: unless the provider ``needs_lock``,
    see `Provider`, a token is obtained without the store. `asyncauth.testing.StoreConformance` is a test suite for a
    store.

    Methods are called from any event loop, each within a time limit (`RefreshPolicy.store_timeout`), by cancellation.
    """

    async def load(self, key: str) -> Token | None:
        """Return the token under a key (64 hex digits); ``None``: there is none that can be read."""
        ...

    async def save(self, key: str, token: Token) -> None:
        """Keep a token in place of what was under the key, for `time_to_live` seconds at most.

        Also where those are 0 or less: what was under the key must be gone.
        """
        ...

    async def delete(self, key: str, token: Token) -> None:
        """Compare and delete: leave what `remains` of the entry, if its ``value`` is this token's; else nothing."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[Any]:
        """Return a context that one task of one process at a time is in, for a key.

        Entering waits, and may be cancelled. A process that dies in it must not keep the others out for ever: the lock
        is a lease of some 10 s that is extended while the holder lives, or ends with its process. Entering gives a
        `Lease` where the lock can be lost.
        """
        ...


def is_key(text: str) -> bool:
    """Return whether a text is a key: the 64 hex digits of a SHA-256."""
    return _KEY.fullmatch(text) is not None
