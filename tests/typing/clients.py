"""Other HTTP clients as users' own code calls them: mypy --strict and pyright read this file, nothing runs it."""

from __future__ import annotations

import httpx
from yarl import URL

from asyncauth import Peakly, TokenManager
from asyncauth.httpx import AsyncBearerTransport, BearerTransport, async_client, client


async def refused(response: httpx.Response) -> bool | None:
    return "expired" in (await response.aread()).decode() or None


async def on_asyncio(manager: TokenManager) -> int:
    given: dict[str, str] = await manager.headers("https://api.peakly.co/x")
    given |= await manager.headers(url=URL("https://api.peakly.co/x"))
    own: httpx.AsyncClient = async_client(
        Peakly(username="u", password="p"), manager, refused=refused, repeat="safe", base_url="https://api.peakly.co"
    )
    transport: httpx.AsyncBaseTransport = AsyncBearerTransport(
        manager, transport=httpx.AsyncHTTPTransport(retries=1), refused=lambda response: response.status_code == 403
    )
    async with own, httpx.AsyncClient(transport=transport) as http:
        return (await http.get("https://api.peakly.co/x", headers=given)).status_code


def without_an_event_loop(manager: TokenManager) -> int:
    own: httpx.Client = client(
        manager, refused=lambda response: response.status_code == 498, repeat="none", timeout=5.0
    )
    transport: httpx.BaseTransport = BearerTransport(manager, transport=httpx.HTTPTransport(), repeat="safe")
    with own, httpx.Client(transport=transport) as http:
        return http.get("https://api.peakly.co/x").status_code
