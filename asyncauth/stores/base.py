"""The protocol of a store that several processes share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from asyncauth.token import Token

__all__ = ["Lease", "TokenStore", "is_key"]

_KEY = re.compile(r"[0-9a-f]{64}")


class Lease(Protocol):
    """A held lock, as entering `TokenStore.lock` returns it. A store whose locks cannot be lost may return ``None``."""

    @property
    def lost(self) -> bool:
        """Whether another process may hold the lock by now."""
        ...


@runtime_checkable
class TokenStore(Protocol):
    """Keeps tokens so that several processes can share them.

    A store of your own is a class with these four methods::

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

    Managers save an `Entry`, which contains more than the token, or a plain token. A store keeps all of it, without
    knowing its fields: as the object itself, or as the text that `dumps` writes and `loads` reads.

    A store may have these members, too:

    - ``place``: a text without secrets that says where the store is. Logs show it next to an error.
    - ``keys()``: an async method that returns the existing keys and changes nothing. The command line's ``status`` and
      ``doctor`` list them.
    - ``close()``: called by its owner.
    - ``__aenter__`` and ``__aexit__``: a manager enters the store around its calls, from any number of tasks at once.
    - ``strict = True``: callers wait for the store, and receive a ``StoreError`` at the deadline. Otherwise the manager
      continues without the store.

    An error from any method is store trouble, and does not reach the caller. Unless the provider ``needs_lock`` (see
    `Provider`), the manager then obtains a token without the store. `asyncauth.testing.StoreConformance` is a test
    suite for a store.

    Methods are called from any event loop. Each is cancelled after a time limit (`RefreshPolicy.store_timeout`).
    """

    async def load(self, key: str) -> Token | None:
        """Return the token under a key (64 hex digits); ``None``: there is none, or it is unreadable."""
        ...

    async def save(self, key: str, token: Token) -> None:
        """Keep a token in place of the one under the key, for at most `time_to_live` seconds.

        If these are 0 or less, remove the one under the key.
        """
        ...

    async def delete(self, key: str, token: Token) -> None:
        """Replace the entry with what `remains` of it, but only if its ``value`` is this token's."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[Any]:
        """Return a context that only one task of one process at a time is in, per key.

        Entering waits, and may be cancelled. A process that ends inside must not keep the others out for ever. So the
        lock is a lease of some 10 s that is extended while the holder runs, or it ends with its process. If the lock
        can be lost, entering returns a `Lease`.
        """
        ...


def is_key(text: str) -> bool:
    """Return whether a text is a key: the 64 hex digits of a SHA-256."""
    return _KEY.fullmatch(text) is not None
