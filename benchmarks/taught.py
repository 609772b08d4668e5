"""Middlewares as aiohttp's cookbook and examples teach to write them, written anew.

They are what most services run: a cached token, a lock around the refresh, a second try after a 401.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp

FORM = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}


class ByExpiry:
    """The cookbook's middleware that refreshes when the token has expired."""

    def __init__(self, token_url: str) -> None:
        self._token_url = token_url
        self._token = ""
        self._expires_at = 0.0
        self._lock = asyncio.Lock()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._expires_at <= time.time():
            seen = self._token
            async with self._lock:
                if seen == self._token:
                    await self._refresh(request.session)
        request.headers["Authorization"] = f"Bearer {self._token}"
        return await handler(request)

    async def _refresh(self, session: aiohttp.ClientSession) -> None:
        async with session.post(self._token_url, data=FORM, middlewares=()) as answer:
            answer.raise_for_status()
            fields = await answer.json()
        self._token = fields["access_token"]
        self._expires_at = time.time() + fields["expires_in"]


class ByRefusal:
    """The cookbook's middleware that refreshes when the API answers 401."""

    def __init__(self, token_url: str) -> None:
        self._token_url = token_url
        self._token = ""
        self._lock = asyncio.Lock()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        for _ in range(2):
            sent = self._token
            request.headers["Authorization"] = f"Bearer {sent}"
            response = await handler(request)
            if response.status != 401:  # noqa: PLR2004
                break
            async with self._lock:
                if sent == self._token:
                    async with request.session.post(self._token_url, data=FORM, middlewares=()) as answer:
                        answer.raise_for_status()
                        self._token = (await answer.json())["access_token"]
        return response


class Example:
    """The example that does both. Its 30 s of margin are a tenth of the lifetime here, or no short token would work."""

    def __init__(self, token_url: str) -> None:
        self._token_url = token_url
        self._token: str | None = None
        self._expires_at: float | None = None
        self._lock = asyncio.Lock()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if str(request.url).endswith("/token"):
            return await handler(request)
        if not self._token or (self._expires_at and time.time() >= self._expires_at):
            await self._refresh(request.session)
        request.headers[aiohttp.hdrs.AUTHORIZATION] = f"Bearer {self._token}"
        response = await handler(request)
        if response.status == 401:  # noqa: PLR2004
            await self._refresh(request.session)
            request.headers[aiohttp.hdrs.AUTHORIZATION] = f"Bearer {self._token}"
            response = await handler(request)
        return response

    async def _refresh(self, session: aiohttp.ClientSession) -> None:
        async with self._lock:
            if self._expires_at and time.time() < self._expires_at and self._token:
                return
            async with session.post(self._token_url, data=FORM, middlewares=()) as answer:
                answer.raise_for_status()
                fields = await answer.json()
            self._token = fields["access_token"]
            self._expires_at = time.time() + 0.9 * fields["expires_in"]
