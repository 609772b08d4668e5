"""One process of a fleet whose tokens come of refresh tokens that the server rotates, or of another grant.

Its settings come as JSON in the first argument. It calls the API until it reads a line from its standard input, and
then reports, as JSON: of each request when it began and ended, by the time of day, and what became of it; and when its
event loop came late, and by how many seconds. One that ``waits`` begins with such a line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import aiohttp
from late_kit import watch

from asyncauth import BearerAuth, ClientCredentials, PasswordGrant, RefreshGrant, RefreshPolicy, TokenManager
from asyncauth.stores import EncryptedStore, RedisStore, TokenStore


def provider_of(settings: dict[str, Any]) -> ClientCredentials | PasswordGrant | RefreshGrant:
    where: dict[str, Any] = {"token_url": settings["url"] + "/token", "origins": settings["url"]}
    if settings["grant"] == "client":
        return ClientCredentials(client_id="fleet", client_secret="secret", **where)
    if settings["grant"] == "password":
        return PasswordGrant(username="ana", password=settings.get("password", "right"), **where)
    return RefreshGrant(refresh_token="rt-0", account="ana", **where)


def store_of(settings: dict[str, Any]) -> TokenStore:
    store: TokenStore = RedisStore(settings["redis"], strict=settings.get("strict", False))
    return EncryptedStore(store, settings["key"]) if "key" in settings else store


async def call(http: aiohttp.ClientSession, url: str, made: list[tuple[float, float, str]]) -> None:
    """Make one request after another."""
    while True:
        began = time.time()
        try:
            async with http.get(url + "/api") as response:
                became = "ok" if response.status == 200 else str(response.status)
        except Exception as error:  # noqa: BLE001 (the test says that there is none)
            became = f"{type(error).__name__}: {error}"
        made.append((began, time.time(), became))
        await asyncio.sleep(0.05)


async def main(settings: dict[str, Any]) -> None:
    made: list[tuple[float, float, str]] = []
    late: list[tuple[float, float]] = []
    if settings.get("waits"):
        await asyncio.to_thread(sys.stdin.readline)
    policy = RefreshPolicy(**settings.get("policy", {}))
    own = aiohttp.ClientSession(headers={"X-Worker": str(settings["number"])})
    manager = TokenManager(provider_of(settings), store=store_of(settings), policy=policy, http=own)
    async with own, manager, aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        callers = [asyncio.create_task(call(http, settings["url"], made)) for _ in range(settings["callers"])]
        tasks = [*callers, asyncio.create_task(watch(late))]
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    ahead = settings.get("ahead", 0.0)
    requests = [(began - ahead, ended - ahead, became) for began, ended, became in made]
    sys.stdout.write(json.dumps({"made": requests, "late": [(when - ahead, by) for when, by in late]}))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    real = time.time
    time.time = lambda: real() + given.get("ahead", 0.0)  # before asyncauth's clock is asked
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main(given))
