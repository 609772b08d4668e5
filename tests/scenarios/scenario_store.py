"""The shared store of the scenarios: tokens in a dict, with faults on demand, by the scenario's clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from typing import Any

from asyncauth import Token
from asyncauth.clock import Clock
from asyncauth.stores import remains

__all__ = ["FaultyStore"]


class FaultyStore:
    """A ``TokenStore`` that fails as a scenario says.

    Attributes:
        strict: Whether its troubles are to reach the callers.
        fault: ``down`` (every call raises), ``slow`` (takes 5 s), ``hangs``, ``damaged`` (loads nonsense), or ``None``.
        calls: Which calls have the fault.
    """

    def __init__(self, clock: Clock, *, strict: bool = False) -> None:
        self.strict = strict
        self.fault: str | None = None
        self.calls: Collection[str] = ()
        self.tokens: dict[str, Token] = {}
        self._clock = clock
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        """Let another process hold every lock."""
        self._free.clear()

    def let_go(self) -> None:
        """Let that process give the locks back."""
        self._free.set()

    async def load(self, key: str) -> Any:
        await self._suffer("load")
        return "nonsense" if self.fault == "damaged" and "load" in self.calls else self.tokens.get(key)

    async def save(self, key: str, token: Token) -> None:
        await self._suffer("save")
        self.tokens[key] = token

    async def delete(self, key: str, token: Token) -> None:
        await self._suffer("delete")
        stored = self.tokens.get(key)
        if stored is not None and stored.value == token.value:
            left = remains(stored)
            if left is None:
                del self.tokens[key]
            else:
                self.tokens[key] = left

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        await self._suffer("lock")
        await self._free.wait()
        async with self._locks[key]:
            yield

    async def _suffer(self, call: str) -> None:
        if call not in self.calls:
            return
        if self.fault == "down":
            raise ConnectionError("s3cret-store")
        if self.fault == "slow":
            await self._clock.sleep(5.0)
        if self.fault == "hangs":
            await asyncio.Event().wait()
