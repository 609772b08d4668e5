"""aiojobs: background jobs, ten at a time per process; any number of processes share one token.

Run:  python aiojobs_worker.py 50
"""

import asyncio
import os
import sys
from typing import Any

import aiohttp
import aiojobs

from asyncauth import Peakly, TokenManager, client_session
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


async def clients_page(http: aiohttp.ClientSession, page: int) -> Any:
    """Fetch one page of clients. The session adds the token to the request."""
    async with http.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


async def main(pages: int) -> None:
    """Spawn one job per page, and wait for the results."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    # The scheduler is opened last and so closed first: its jobs end before the session that they use is closed.
    async with (
        TokenManager(provider, store=RedisStore(REDIS_URL)) as manager,
        client_session(manager, base_url=PEAKLY_URL, raise_for_status=True) as http,
        aiojobs.Scheduler(limit=10) as scheduler,
    ):
        jobs = [await scheduler.spawn(clients_page(http, page)) for page in range(1, pages + 1)]
        results = [await job.wait() for job in jobs]
    print(f"{len(results)} pages")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
