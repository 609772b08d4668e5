"""One process of a fleet: a manager with a store, callers, and a report of what became of them.

Its settings come as JSON in the first argument. A test sends it commands on the standard input, one per line. It
reports on the standard output, as one JSON object per line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from typing import Any

import aiohttp

from asyncauth import BearerAuth, PagoFacilJWT, Peakly, RefreshPolicy, TokenManager
from asyncauth.stores import EncryptedStore, FileStore, RedisStore, TokenStore


def store_of(settings: dict[str, Any]) -> TokenStore:
    store: TokenStore = RedisStore(settings["redis"]) if "redis" in settings else FileStore(settings["folder"])
    return EncryptedStore(store, settings["key"]) if "key" in settings else store


def provider_of(settings: dict[str, Any]) -> Peakly | PagoFacilJWT:
    account = {"username": settings["username"], "password": settings["password"], "base_url": settings["url"]}
    return Peakly(**account) if settings["system"] == "peakly" else PagoFacilJWT.from_password(**account)


class Work:
    """The callers, and what became of their requests."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.statuses: Counter[str] = Counter()

    async def request(self, http: aiohttp.ClientSession) -> None:
        try:
            async with http.get(self.settings["url"] + "/api/echo") as response:
                await response.read()
                self.statuses[str(response.status)] += 1
        except Exception as error:  # noqa: BLE001 (the test says that there is none)
            self.statuses[type(error).__name__] += 1

    async def caller(self, http: aiohttp.ClientSession, until: float) -> None:
        while True:
            await self.request(http)
            if time.monotonic() >= until:
                return
            await asyncio.sleep(self.settings.get("pause", 0.05))


def report(**fields: Any) -> None:
    sys.stdout.write(json.dumps({"pid": os.getpid(), **fields}) + "\n")
    sys.stdout.flush()


async def main(settings: dict[str, Any]) -> None:
    work = Work(settings)
    policy = RefreshPolicy(**settings.get("policy", {}))
    manager = TokenManager(provider_of(settings), store=store_of(settings), policy=policy)
    async with manager, aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        report(ready=True)
        await asyncio.to_thread(sys.stdin.readline)  # go
        until = time.monotonic() + settings.get("seconds", 0.0)
        await asyncio.gather(*(work.caller(http, until) for _ in range(settings["callers"])))
        status = manager.status()
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    report(
        statuses=work.statuses,
        refreshes=status.refreshes,
        adoptions=status.adoptions,
        store=status.store,
        left=left,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main(json.loads(sys.argv[1])))
