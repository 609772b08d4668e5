"""The token endpoint of the scenarios: follows its script, over HTTP or in memory, and notes what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator, Collection, Mapping
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl

import aiohttp
import attrs
from aiohttp import web
from multidict import CIMultiDict

from asyncauth import Provider, Token
from asyncauth.testing import FakeClock

__all__ = ["InMemory", "InMemoryProvider", "ScriptedEndpoint"]

_ERRORS = {
    "refused": (400, {"error": "invalid_grant"}),
    "unavailable": (503, {}),
    "throttled": (429, {}),
    "unreadable": (200, None),
    "blocked": (403, None),
    "redirect": (307, {}),
}
"""Status and body by kind of answer."""


class Unreachable(Exception):
    """No connection: the request never came."""


class Lost(Exception):
    """The connection broke before the answer came; the server had done its part."""


@attrs.frozen
class Answered:
    """An answer as HTTP has it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.define(eq=False)
class ScriptedEndpoint:
    """One token endpoint (RFC 6749), in memory.

    Attributes:
        clock: The scenario's.
        given: The scenario's ``given.endpoint``.
        number: Of the next token that it makes.
        sent: What it was asked with, in turn: ``password`` or the refresh token.
        ends: When each token ends, in seconds of ``clock.monotonic()``.
        cookies: How many requests carried a cookie.
        redirected: How many came where a redirect pointed to.
        running: How many requests are under way.
        most_running: How many were, at most.
        address: Where a redirect points to.
    """

    clock: FakeClock
    given: Mapping[str, Any]
    number: int
    sent: list[str] = attrs.field(factory=list)
    ends: dict[str, float] = attrs.field(factory=dict)
    cookies: int = 0
    redirected: int = 0
    running: int = 0
    most_running: int = 0
    address: str = "https://elsewhere.example.com/token"
    _script: list[Mapping[str, Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        answers = self.given.get("answers", [])
        self._script = [answer for answer in answers for _ in range(answer.get("times", 1))]

    async def answer(self, form: Mapping[str, str]) -> Answered:
        """Give the next answer of the script; when there is none left, what it says for the rest; else a token."""
        sent_at = self.clock.monotonic()
        self.sent.append(form.get("refresh_token", form["grant_type"]))
        if self.number == 0:  # the cached token's: what is given comes after it
            answer: Mapping[str, Any] = {}
        else:
            answer = self._script.pop(0) if self._script else self.given.get("rest", {})
        kind = answer.get("kind", "token")
        if kind == "unreachable":
            raise Unreachable
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.clock.sleep(answer.get("after", 0))
            if kind == "hangs":
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self.clock.sleep(answer.get("lingers", 0))
            raise
        finally:
            self.running -= 1
        if kind == "lost":
            raise Lost
        headers = {"Content-Type": "application/json", "Date": self._date()}
        if "retry_after" in answer:
            headers["Retry-After"] = str(answer["retry_after"])
        if "retry_after_date" in answer:
            headers["Retry-After"] = self._date(answer["retry_after_date"])
        if kind == "redirect":
            headers["Location"] = self.address
        if answer.get("cookie"):
            headers["Set-Cookie"] = "session=s3cret-cookie"
        status, fields = _ERRORS[kind] if kind != "token" else (200, self._fields(answer, sent_at))
        return Answered(status, headers, b"<html>" if fields is None else json.dumps(fields).encode())

    def _fields(self, answer: Mapping[str, Any], sent_at: float) -> dict[str, Any]:
        """Return a token answer's members."""
        name = answer.get("value", f"token-{self.number}")
        lifetime = answer.get("lifetime", self.given.get("lifetime", 3600))
        fields: dict[str, Any] = {"access_token": name, "token_type": "bearer"}
        if "expires_in" in answer:
            fields["expires_in"] = answer["expires_in"]
        elif "expires_at" in answer:
            lifetime = answer["expires_at"]
            fields[".expires"] = self._date(lifetime)
        elif lifetime is not None:
            fields["expires_in"] = lifetime
        if answer.get("refresh_token", self.given.get("refresh_tokens", False)):
            fields["refresh_token"] = f"refresh-{self.number}"
        fields |= answer.get("fields", {})
        self.number += 1
        self.ends[name] = float("inf") if lifetime is None or "expires_in" in answer else sent_at + lifetime
        return fields

    def _date(self, ahead: float = 0.0) -> str:
        """Return an instant by the server's own clock."""
        return formatdate(self.clock.wall() + self.given.get("clock_ahead", 0) + ahead, usegmt=True)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer over HTTP."""
        self.cookies += bool(request.cookies)
        try:
            answered = await self.answer({name: str(value) for name, value in (await request.post()).items()})
        except (Lost, Unreachable):
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(status=answered.status, headers=answered.headers, body=answered.body)

    async def serve_redirected(self, request: web.Request) -> web.StreamResponse:
        """Take what must never come: a token request that followed a redirect."""
        self.redirected += 1
        return web.json_response({"access_token": "stolen", "expires_in": 3600})


class InMemory:
    """What a provider uses of an ``aiohttp.ClientSession``, without sockets."""

    trust_env = False

    def __init__(self, endpoint: ScriptedEndpoint) -> None:
        self._endpoint = endpoint

    @contextlib.asynccontextmanager
    async def request(self, method: str, url: object, *, data: Any, **_: Any) -> AsyncIterator[Any]:
        """Ask the endpoint."""
        try:
            answered = await self._endpoint.answer(dict(parse_qsl(data.decode())))
        except Unreachable:
            key: Any = SimpleNamespace(host="api.example.com", port=443, ssl=True)
            raise aiohttp.ClientConnectorError(key, OSError(errno.ECONNREFUSED, "refused")) from None
        except Lost:
            raise aiohttp.ServerDisconnectedError from None
        content = SimpleNamespace(readany=mock.AsyncMock(side_effect=(answered.body, b"")))
        yield SimpleNamespace(status=answered.status, headers=CIMultiDict(answered.headers), content=content)


@attrs.frozen
class InMemoryProvider:
    """A provider whose requests go to an endpoint in memory."""

    inner: Provider
    http: InMemory

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def origins(self) -> Collection[str]:
        return self.inner.origins

    @property
    def identity(self) -> str | None:
        return self.inner.identity

    @property
    def needs_lock(self) -> bool:
        return bool(getattr(self.inner, "needs_lock", False))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        session: Any = self.http
        return await self.inner.fetch(session, previous)
