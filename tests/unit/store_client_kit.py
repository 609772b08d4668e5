"""What the tests of the shared store have in common: a store that a test commands, and a rotating provider."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
from harness.canary import MARK
from random_kit import largest

from asyncauth import RefreshPolicy, Token, TokenManager
from asyncauth._core.emitter import Emitter
from asyncauth._core.try_state import current_try
from asyncauth.clock import Clock
from asyncauth.manager import engine_of
from asyncauth.stores import Entry, remains
from asyncauth.testing import FakeProvider

EXACT = RefreshPolicy(jitter=0.0, close_grace=0.0, idle_timeout=0.0)
CALLS = ("load", "save", "delete", "lock", "unlock")


class Trouble(Exception):
    """What the commanded store raises. Its text holds a secret, as a real one's may."""


class Lease:
    lost = False


@attrs.define(eq=False, slots=False)
class CommandedStore:
    """Tokens in a dict, and a fault for every call on demand.

    Attributes:
        faults: By call: ``"raise"``, ``"raise at once"`` (no coroutine), ``"hang"``, ``"garbage"``; it stays until
            it is taken out.
        calls: What was called, in turn.
        lease: What entering the lock gives; a test may lose it.
    """

    tokens: dict[str, Token] = attrs.field(factory=dict)
    faults: dict[str, str] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)
    lease: Any = None
    strict: bool = False
    locked: bool = False

    @property
    def token(self) -> Token | None:
        return next(iter(self.tokens.values()), None)

    @property
    def entry(self) -> Entry:
        assert self.token is not None
        return Entry.of(self.token)

    def _call(self, what: str, answer: Any) -> Any:
        self.calls.append(what)
        fault = self.faults.get(what)
        if fault == "raise at once":
            raise Trouble(MARK)
        if fault == "garbage":
            return self._answered({"value": MARK}) if what == "load" else "no coroutine"
        return self._answered(answer, fault)

    async def _answered(self, answer: Any, fault: str | None = None) -> Any:
        if fault == "raise":
            raise Trouble(MARK)
        if fault == "hang":
            await asyncio.Event().wait()
        return answer() if callable(answer) else answer

    def load(self, key: str) -> Any:
        return self._call("load", lambda: self.tokens.get(key))

    def save(self, key: str, token: Token) -> Any:
        return self._call("save", lambda: self.tokens.update({key: token}))

    def delete(self, key: str, token: Token) -> Any:
        def delete() -> None:
            stored = self.tokens.get(key)
            if stored is not None and stored.value == token.value:
                left = remains(stored)
                if left is None:
                    del self.tokens[key]
                else:
                    self.tokens[key] = left

        return self._call("delete", delete)

    def lock(self, key: str) -> Any:
        if self.faults.get("lock") == "raise at once":
            raise Trouble(MARK)
        if self.faults.get("lock") == "garbage":
            return "no lock"
        return self._lock()

    @contextlib.asynccontextmanager
    async def _lock(self) -> AsyncIterator[Any]:
        await self._call("lock", None)
        while self.locked:  # noqa: ASYNC110 (as a process would look again and again)
            await asyncio.sleep(0)
        self.locked = True
        try:
            yield self.lease
        finally:
            self.locked = False
            await self._call("unlock", None)


@attrs.define(eq=False, kw_only=True)
class Rotating:
    """A provider of a server that rotates refresh tokens and takes one that is sent again for a theft.

    Attributes:
        clock: The manager's.
        primary: Whether it can do without a refresh token.
        faults: What becomes of the next requests: an exception to raise after the server has done its part
            (``processed``) or before, in turn; ``None`` = nothing goes wrong.
        sent: The refresh tokens that were sent, in turn; ``None`` = the primary grant.
        stolen: How many were sent again.
    """

    clock: Clock
    primary: bool = True
    lifetime: float = 3600.0
    latency: float = 0.0
    identity: str = "rotating"
    name: str = "rotating"
    origins: tuple[str, ...] = ("https://api.example.com",)
    faults: list[tuple[BaseException, bool] | None] = attrs.field(factory=list)
    sent: list[str | None] = attrs.field(factory=list)
    spent: set[str] = attrs.field(factory=set)
    stolen: int = 0
    _numbers: Any = attrs.field(factory=lambda: itertools.count(1))

    @property
    def needs_lock(self) -> bool:
        return not self.primary

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        refresh_token = None if previous is None else previous.refresh_token
        self.sent.append(refresh_token)
        fault = self.faults.pop(0) if self.faults else None
        attempt = current_try()
        attempt.spends_refresh_token = refresh_token is not None and self.primary
        attempt.unanswered = True
        if fault is None or fault[1]:
            if refresh_token in self.spent:
                self.stolen += 1
            elif refresh_token is not None:
                self.spent.add(refresh_token)
        if self.latency:
            await self.clock.sleep(self.latency)
        if fault is not None:
            attempt.unanswered = fault[1]
            raise fault[0]
        attempt.unanswered = False
        number, now = next(self._numbers), self.clock.wall()
        return Token(
            f"access-{number}", issued_at=now, expires_at=now + self.lifetime, refresh_token=f"refresh-{number}"
        )


def manager(provider: Any, store: Any, clock: Clock, **settings: Any) -> TokenManager:
    """Return one process' manager: exact windows and backoffs, no renewal in the background."""
    return TokenManager(provider, store=store, policy=attrs.evolve(EXACT, **settings), clock=clock, random=largest)


async def during(clock: Any, work: Any, *, seconds: float = 0.25, most: float = 60.0) -> Any:
    """Return what some work returns, while the clock is moved on for as long as it takes."""
    task = asyncio.ensure_future(work)
    moved = 0.0
    while not task.done() and moved < most:
        await clock.advance(seconds)
        moved += seconds
    assert task.done(), f"not done after {most} s"
    return await task


def silent(clock: Clock) -> Emitter:
    """Return a report to which nobody listens."""
    return engine_of(TokenManager(FakeProvider(), clock=clock)).emitter()
