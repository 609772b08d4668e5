"""A store within one process: for managers that share one account, and for tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from asyncauth._base.forks import at_fork, new_guard
from asyncauth.entry import remains, time_to_live

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncauth.token import Token

__all__ = ["MemoryStore"]

_GLANCE = 0.01
"""Seconds between a waiting task's checks of a lock, whose holder on another loop could not wake it."""


class MemoryStore:
    """Keeps tokens in this process' memory. Usable from any thread and event loop."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[Token, float]] = {}
        self._locked: set[str] = set()
        self._guard = new_guard()
        at_fork(self, MemoryStore._after_fork)

    def _after_fork(self) -> None:
        """Release all locks: their holders are tasks of the parent process."""
        self._locked = set()

    async def load(self, key: str) -> Token | None:
        """Return the token under a key; ``None``: there is none, or it is of no more use."""
        with self._guard:
            token, until = self._tokens.get(key, (None, 0.0))
            if token is not None and time.monotonic() >= until:
                del self._tokens[key]
                return None
            return token

    async def keys(self) -> list[str]:
        """Return the keys that have an entry, in order."""
        with self._guard:
            return sorted(key for key, (_, until) in self._tokens.items() if time.monotonic() < until)

    async def save(self, key: str, token: Token) -> None:
        """Keep a token."""
        with self._guard:
            self._tokens[key] = (token, time.monotonic() + time_to_live(token, token.issued_at))

    async def delete(self, key: str, token: Token) -> None:
        """Replace the entry with what remains of it, if it is this token's."""
        with self._guard:
            stored, until = self._tokens.get(key, (None, 0.0))
            if stored is not None and stored.value == token.value:
                left = remains(stored)
                if left is None:
                    del self._tokens[key]
                else:
                    self._tokens[key] = (left, until)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None, None]:
        """Hold a key's lock: only one task at a time does."""
        while True:
            with self._guard:
                if key not in self._locked:
                    self._locked.add(key)
                    break
            await asyncio.sleep(_GLANCE)
        try:
            yield
        finally:
            with self._guard:
                self._locked.discard(key)

    def __repr__(self) -> str:
        return f"<MemoryStore with {len(self._tokens)} tokens>"
