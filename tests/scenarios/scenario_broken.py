"""Token managers with the faults that this class of software is known for: none may pass the scenarios."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock
from weakref import WeakKeyDictionary

import aiohttp
import attrs
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from scenario_subject import Managed

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    Provider,
    Token,
    TokenEndpointUnavailable,
)
from asyncauth.clock import Clock
from asyncauth.stores import Entry, TokenStore

__all__ = [
    "Clinging",
    "Coarse",
    "Common",
    "FailOpen",
    "Following",
    "Forgiving",
    "Hasty",
    "Insisting",
    "Lockless",
    "Naive",
    "Offended",
    "Once",
    "Patient",
    "Queueing",
    "Schooled",
    "Sharing",
    "Standing",
]

_EARLY = 300.0
"""Seconds before its end from which it fetches another token, whatever the lifetime."""


class Naive:
    """A lock, a token, and a look at the wall clock: fetches when somebody asks, drops the token at every 401."""

    def __init__(
        self,
        provider: Provider,
        *,
        store: TokenStore | None,
        policy: Mapping[str, Any],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._provider, self._clock = provider, clock
        self._lock: contextlib.AbstractAsyncContextManager[object] = asyncio.Lock()
        self._token: Token | None = None
        self._until = -math.inf

    async def get(self) -> str:
        async with self._lock:
            token = self._token
            if token is None or self._clock.wall() >= self._until - _EARLY:
                async with aiohttp.ClientSession() as http:
                    token = self._token = await self._provider.fetch(http, token)
                self._until = math.inf if token.lifetime is None else self._clock.wall() + token.lifetime
            return token.value

    async def refresh(self) -> str:
        self._token = None
        return await self.get()

    def refuse(self, token: str, *, repeat: bool) -> None:
        self._token = None

    def accept(self, token: str, *, repeat: bool) -> None: ...

    async def enter(self) -> None: ...

    async def leave(self) -> None: ...

    async def close(self) -> None: ...

    def status(self) -> None:
        return None

    def shown(self) -> str:
        return repr(self)

    def middleware(self, refused: int | None = None) -> ClientMiddlewareType:
        async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            request.headers["Authorization"] = f"Bearer {await self.get()}"
            response = await handler(request)
            if response.status == 401:
                request.headers["Authorization"] = f"Bearer {await self.refresh()}"
                response = await handler(request)
            return response

        return authorize


class Lockless(Naive):
    """The same without the lock."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(provider, **options)
        self._lock = contextlib.nullcontext()


class Schooled(Naive):
    """Takes a 401 for the token's only if it names the token's own scheme, or none."""

    def middleware(self, refused: int | None = None) -> ClientMiddlewareType:
        renew = super().middleware()

        async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            request.headers["Authorization"] = f"Bearer {await self.get()}"
            response = await handler(request)
            foreign = not response.headers.get("WWW-Authenticate", "Bearer").startswith("Bearer")
            return response if response.status != 401 or foreign else await renew(request, handler)

        return authorize


class Clinging(Managed):
    """Hands out the last token where there is no usable one."""

    _last: str | None = None

    async def get(self) -> str:
        try:
            self._last = await super().get()
        except AuthError:
            if self._last is None:
                raise
        return self._last


class FailOpen(Managed):
    """Sends the request without a token where there is none."""

    def middleware(self, refused: int | None = None) -> ClientMiddlewareType:
        authorize = super().middleware()

        async def or_not(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            try:
                return await authorize(request, handler)
            except AuthError:
                return await handler(request)

        return or_not


class _Wrapped:
    """A provider with a fault around a good one."""

    def __init__(self, inner: Provider) -> None:
        self.inner = inner
        self.name, self.origins, self.identity = inner.name, inner.origins, inner.identity

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        return await self.inner.fetch(http, previous)


class _SameName(_Wrapped):
    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.identity = "everybody"


class _ForEver(_Wrapped):
    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        try:
            return await super().fetch(http, previous)
        except InvalidTokenResponse:
            return Token("token-1")


class _Watched:
    """A session that notes whether an answer has a refresh token that is none."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.trust_env = http.trust_env
        self.found = False

    @contextlib.asynccontextmanager
    async def request(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with self._http.request(*arguments, **options) as response:
            body = b""
            while chunk := await response.content.readany():
                body += chunk
            self.found = response.status == HTTPStatus.OK and not json.loads(body).get("refresh_token", "one")
            content = SimpleNamespace(readany=mock.AsyncMock(side_effect=(body, b"")))
            yield SimpleNamespace(status=response.status, headers=response.headers, content=content)


class _Insists(_Wrapped):
    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        watched: Any = _Watched(http)
        token = await super().fetch(watched, previous)
        if watched.found:
            raise InvalidTokenResponse("'refresh_token' is not a token")
        return token


class _Offends(_Wrapped):
    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        try:
            return await super().fetch(http, previous)
        except InvalidTokenResponse as error:
            rejected = error.status is not None and 400 <= error.status < 500
            raise (CredentialsRejected(error.message) if rejected else error) from None


class _TakesItsTime(_Wrapped):
    def __init__(self, inner: Provider, clock: Clock) -> None:
        super().__init__(inner)
        self._clock, self._pause = clock, 0.25

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        try:
            return await super().fetch(http, previous)
        except TokenEndpointUnavailable:
            self._pause = min(2 * self._pause, 15.0)
            await self._clock.sleep(self._pause)
            raise


class _AsksOnce(_Wrapped):
    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        try:
            return await super().fetch(http, previous)
        except CredentialsRejected as error:
            error.may_change = False
            raise


class _Redirected:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.trust_env = http.trust_env

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self._http.request(*arguments, **{**options, "allow_redirects": True})


class _Follows(_Wrapped):
    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        session: Any = _Redirected(http)
        return await super().fetch(session, previous)


class _WithCookies(_Wrapped):
    _jar: aiohttp.CookieJar | None = None

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        if self._jar is None:
            self._jar = aiohttp.CookieJar()
        async with aiohttp.ClientSession(cookie_jar=self._jar) as own:
            return await super().fetch(own, previous)


class Coarse(Managed):
    """Takes all accounts and systems for one."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_SameName(provider), **options)


class Common(Managed):
    """Shares one flight, and its token, among all accounts."""

    _first: ClassVar[WeakKeyDictionary[Clock, Managed]] = WeakKeyDictionary()

    def __init__(self, provider: Provider, *, clock: Clock, **options: Any) -> None:
        super().__init__(provider, clock=clock, **options)
        self._one = self._first.setdefault(clock, self)

    async def get(self) -> str:
        return await Managed.get(self._one)


class Forgiving(Managed):
    """Uses a token for ever where the answer can't be read."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_ForEver(provider), **options)


class Insisting(Managed):
    """Takes an answer whose refresh token is empty for none at all."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_Insists(provider), **options)


class Following(Managed):
    """Posts the password wherever a redirect points to."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_Follows(provider), **options)


class Offended(Managed):
    """Takes any 4xx for a rejected credential, a firewall's page as well."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_Offends(provider), **options)


class Patient(Managed):
    """Doubles its pauses even while callers wait: an outage costs them twice its time."""

    def __init__(self, provider: Provider, *, clock: Clock, **options: Any) -> None:
        super().__init__(_TakesItsTime(provider, clock), clock=clock, **options)


class Once(Managed):
    """Asks for the password once, and believes that it never changes."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_AsksOnce(provider), **options)


class Sharing(Managed):
    """Keeps cookies between token requests."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(_WithCookies(provider), **options)


class Queueing(Managed):
    """Lets its callers wait in a queue: each makes the tries of an outage again."""

    def __init__(self, provider: Provider, **options: Any) -> None:
        super().__init__(provider, **options)
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        async with self._lock:
            return await super().get()


class _StandsStill:
    def __init__(self, clock: Any) -> None:
        self.wall, self.sleep = clock.wall, clock.sleep
        self._clock, self._suspend, self._asleep = clock, clock.suspend, 0.0
        clock.suspend = self.suspend

    def monotonic(self) -> float:
        now: float = self._clock.monotonic()
        return now - self._asleep

    def suspend(self, seconds: float) -> None:
        self._asleep += seconds
        self._suspend(seconds)


class Standing(Managed):
    """Counts lifetimes on a clock that stands still while the machine sleeps, as Linux' own monotonic one does."""

    def __init__(self, provider: Provider, *, clock: Clock, **options: Any) -> None:
        super().__init__(provider, clock=_StandsStill(clock), **options)


class _ReadBefore:
    def __init__(self, store: TokenStore) -> None:
        self.save, self.delete = store.save, store.delete
        self._store, self._locked = store, False
        self._before: Token | None = None

    async def load(self, key: str) -> Token | None:
        if self._locked:
            return self._before
        stored = await self._store.load(key)
        if stored is not None and stored.refresh_token is not None:
            self._before = attrs.evolve(Entry.of(stored), in_use_since=None)  # which would tell
        return stored

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[object]:
        async with self._store.lock(key) as lease:
            self._locked = True
            try:
                yield lease
            finally:
                self._locked = False


class Hasty(Managed):
    """Sends the refresh token that it read in the store before it had the lock."""

    def __init__(self, provider: Provider, *, store: TokenStore | None, **options: Any) -> None:
        super().__init__(provider, store=None if store is None else _ReadBefore(store), **options)
