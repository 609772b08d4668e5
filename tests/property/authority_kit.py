"""An authorization server that rotates refresh tokens, and knows what a careful client may ask of it.

Also the two things that a test of the refresh contract needs beside it: a store that several processes share, with
leases and faults, and a provider that notes when an answer has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

import aiohttp
import attrs
from network_kit import Fault, Request
from world_kit import StepLoop, World

from asyncauth import PasswordGrant, RefreshGrant, Token
from asyncauth.stores import remains, time_to_live

ADDRESS = "http://127.0.0.1"
FIRST = "refresh-0"
"""The refresh token that was obtained elsewhere."""

_CLEARING_UP = 0.02
"""Seconds that a provider takes to end when it is cancelled."""

Mood = Literal["well", "down", "refuses"]

_MOODS: dict[Mood, tuple[int, Mapping[str, str], Any]] = {
    "down": (503, {}, {"error": "temporarily_unavailable"}),
    "refuses": (400, {}, {"error": "invalid_client"}),
}


@attrs.define(eq=False)
class Authority:
    """Hands out tokens. A refresh token that comes again revokes everything that came of its login.

    Attributes:
        lifetime: Seconds that its access tokens live.
        mood: How it answers now: ``down`` = 503, ``refuses`` = no credential is good.
        faults: What becomes of the next requests, in turn; ``"refused"`` = of the next connection.
        requests: All that were sent.
        dies_at: When each access token's time is over, by the world's monotonic clock.
        revoked: Access tokens that were revoked, and families of refresh tokens.
        spent: Refresh tokens that it has replaced.
        rotated: Those of them whose successor has reached a client.
        stolen: Spent refresh tokens that came again.
        resent: Those of them that were sent although their successor had reached a client.
        overlaps: How many times a provider was asked before it had ended what it was asked before.
    """

    world: World
    lifetime: float = 60.0
    mood: Mood = "well"
    faults: list[Fault | None] = attrs.field(factory=list)
    requests: list[Request] = attrs.field(factory=list)
    dies_at: dict[str, float] = attrs.field(factory=dict)
    family: dict[str, int] = attrs.field(factory=lambda: {FIRST: 0})
    revoked: set[Any] = attrs.field(factory=set)
    spent: set[str] = attrs.field(factory=set)
    rotated: set[str] = attrs.field(factory=set)
    stolen: list[str] = attrs.field(factory=list)
    resent: list[str] = attrs.field(factory=list)
    overlaps: int = 0
    on_sent: Callable[[Request], None] = lambda _: None
    on_aborted: Callable[[Request], None] = lambda _: None
    on_refused: Callable[[str], None] = lambda _: None
    _numbers: Any = attrs.field(factory=lambda: itertools.count(1))

    @property
    def now(self) -> float:
        return self.world.clock.monotonic()

    def accepts(self, token: str) -> bool:
        """Return whether an API of this server's would."""
        return self.now < self.dies_at.get(token, 0.0) and not self.revoked & {token, self.family[token]}

    def revoke(self, token: str) -> None:
        """Revoke one access token."""
        self.revoked.add(token)

    def running(self, process: str | None = None) -> list[Request]:
        """Return the requests that somebody waits for, of one process or of all."""
        return [
            each
            for each in self.requests
            if not each.over and each.loop.alive and (process is None or each.process == process)
        ]

    # As network_kit's Server

    def refuses(self, process: str) -> bool:
        if self.faults[:1] != ["refused"]:
            return False
        self.faults.pop(0)
        self.on_refused(process)
        return True

    def fault(self, request: Request) -> Fault | None:
        return self.faults.pop(0) if self.faults and self.faults[0] != "refused" else None

    def sent(self, request: Request) -> None:
        self.requests.append(request)
        refresh_token = request.fields.get("refresh_token")
        if refresh_token in self.rotated:
            self.resent.append(refresh_token)
        self.on_sent(request)

    def aborted(self, request: Request) -> None:
        self.on_aborted(request)

    def answer(self, request: Request) -> tuple[int, Mapping[str, str], Any]:
        if self.mood != "well":
            return _MOODS[self.mood]
        if request.path == "/token":
            return self._token(request)
        if request.path == "/login":
            return 200, {}, self._jwt("jwt", -1)
        if not self.accepts(request.bearer):
            return 401, {}, {"message": "Invalid Token"}
        if request.path == "/tokens/createToken":
            value = self._new("access", -1, 10 * self.lifetime)
            return 200, {}, {"access_token": value, "expires_in": 10 * self.lifetime, "token_type": "Bearer"}
        return 200, {}, self._jwt("api", -1)

    def _token(self, request: Request) -> tuple[int, Mapping[str, str], Any]:
        refresh_token = request.fields.get("refresh_token")
        if refresh_token is None:
            family = next(self._numbers)
        else:
            family = self.family[refresh_token]
            if refresh_token in self.spent:
                self.stolen.append(refresh_token)
                self.revoked.add(family)
            if family in self.revoked:
                return 400, {}, {"error": "invalid_grant"}
            self.spent.add(refresh_token)
        successor = f"refresh-{next(self._numbers)}"
        self.family[successor] = family
        return (
            200,
            {},
            {
                "access_token": self._new("access", family, self.lifetime),
                "expires_in": self.lifetime,
                "token_type": "Bearer",
                "refresh_token": successor,
            },
        )

    def _jwt(self, kind: str, family: int) -> Any:
        value = self._new(kind, family, self.lifetime)
        return {"access_token_jwt": value, "expires_in": self.lifetime, "token_type": "Bearer"}

    def _new(self, kind: str, family: int, lifetime: float) -> str:
        value = f"{kind}-{next(self._numbers)}"
        self.dies_at[value] = self.now + lifetime
        self.family[value] = family
        return value


@attrs.define(eq=False)
class Noting:
    """A real provider, which tells the server's model when an answer has come, and clears up after itself."""

    provider: PasswordGrant | RefreshGrant
    authority: Authority
    origins: tuple[str, ...] = ()
    _asked_on: list[StepLoop] = attrs.field(factory=list, init=False)

    @property
    def name(self) -> str:
        return self.provider.name

    @property
    def identity(self) -> str | None:
        return self.provider.identity

    @property
    def needs_lock(self) -> bool:
        return isinstance(self.provider, RefreshGrant)

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StepLoop)
        self.authority.overlaps += any(each.alive for each in self._asked_on)
        self._asked_on.append(loop)
        try:
            token = await self.provider.fetch(http, previous)
        except asyncio.CancelledError:
            await asyncio.sleep(_CLEARING_UP)
            raise
        finally:
            self._asked_on.remove(loop)
        family = self.authority.family[token.refresh_token or ""]
        self.authority.rotated |= {each for each in self.authority.spent if self.authority.family[each] == family}
        return token


def by_password(authority: Authority) -> Noting:
    """Return a provider that logs in when it has no refresh token."""
    return Noting(PasswordGrant(token_url=f"{ADDRESS}/token", username="ana", password="Contraseña-1"), authority)


def by_refresh_token(authority: Authority) -> Noting:
    """Return a provider to which a refresh token is the only way to a token."""
    return Noting(RefreshGrant(token_url=f"{ADDRESS}/token", refresh_token=FIRST, account="ana"), authority)


class StoreDown(Exception):
    """What a store raises that can't be reached."""


class _Lease:
    def __init__(self, shelf: Shelf, key: str, loop: StepLoop) -> None:
        self._shelf = shelf
        self.key = key
        self.loop = loop

    @property
    def lost(self) -> bool:
        return self._shelf.leases.get(self.key) is not self


class Shelf:
    """A store that processes share. A call takes time; a lock outlives a dead or stopped holder by its lease.

    Attributes:
        trouble: What is wrong with it: by call (``"load"`` …), ``"before"`` = it raises and does nothing, ``"after"`` =
            it raises although it was done, ``"hangs"``.
        calls: What was called, in turn.
        leases: The holder of each lock.
        busy_until: Until when, by the loops' clock, an entry is being read or written.
    """

    def __init__(self, world: World, latency: float = 0.01, lease: float = 10.0) -> None:
        self.tokens: dict[str, Token] = {}
        self.trouble: dict[str, str] = {}
        self.calls: list[str] = []
        self.leases: dict[str, _Lease] = {}
        self.busy_until = 0.0
        self._born_at: dict[str, float] = {}
        self._world = world
        self._latency = latency
        self._length = lease

    @property
    def token(self) -> Token | None:
        return next(iter(self.tokens.values()), None)

    async def _call(self, what: str, work: Callable[[], Any] = lambda: None) -> Any:
        self.calls.append(what)
        self.busy_until = self._world.clock.loop_time + 2 * self._latency
        fault = self.trouble.get(what) or self.trouble.get("all")
        await asyncio.sleep(self._latency / 2)
        if fault == "before":
            raise StoreDown
        if fault == "hangs":
            await asyncio.Event().wait()
        answer = work()
        await asyncio.sleep(self._latency / 2)
        if fault == "after":
            raise StoreDown
        return answer

    async def load(self, key: str) -> Token | None:
        token: Token | None = await self._call("load", lambda: self._aged(key))
        return token

    def _aged(self, key: str) -> Token | None:
        """Return an entry with the age that it has by the store's own clock, whatever the wall says: as Redis does."""
        token = self.tokens.get(key)
        if token is None or token.expires_at is None:
            return token
        clock = self._world.clock
        ahead = max(0.0, token.issued_at - (clock.wall() - (clock.monotonic() - self._born_at[key])))
        return attrs.evolve(token, issued_at=token.issued_at - ahead, expires_at=token.expires_at - ahead)

    async def save(self, key: str, token: Token) -> None:
        def save() -> None:
            clock = self._world.clock
            age = clock.wall() - token.issued_at
            if not 0 <= age < time_to_live(token, token.issued_at):
                age = 0.0
            self.tokens[key], self._born_at[key] = token, clock.monotonic() - age

        await self._call("save", save)

    async def delete(self, key: str, token: Token) -> None:
        def delete() -> None:
            stored = self.tokens.get(key)
            if stored is not None and stored.value == token.value:
                left = remains(stored)
                if left is None:
                    del self.tokens[key]
                else:
                    self.tokens[key] = left

        await self._call("delete", delete)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[_Lease]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StepLoop)
        lease = _Lease(self, key, loop)
        try:
            while not await self._call("lock", lambda: self._take(lease)):  # noqa: ASYNC110 (as Redis' lock does)
                await asyncio.sleep(0.05)
            yield lease
        finally:
            if not lease.lost:
                del self.leases[key]

    def _take(self, lease: _Lease) -> bool:
        holder = self.leases.get(lease.key)
        if holder is not None and self._world.clock.loop_time < holder.loop.stands_since + self._length:
            return False
        self.leases[lease.key] = lease
        return True
