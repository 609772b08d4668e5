"""Workers that have no event loop, such as RQ's: each task calls ``asyncio.run()``.

The manager is created once per process and never entered (``async with``). Therefore nothing runs between the tasks,
and there is nothing to close. The manager keeps the token from one task to the next. The first task that needs the
token when its renewal is due renews it.

Run:  python asyncio_run_task.py 50      (four worker processes, as a task queue would start them)
"""

import asyncio
import multiprocessing
import os
import sys
from typing import Any

from asyncauth import Peakly, TokenManager, client_session
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

manager = TokenManager(
    Peakly(username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL),
    store=RedisStore(REDIS_URL),
)


async def fetch(page: int) -> Any:
    """Fetch one page of clients. The session ends with the task, because it belongs to the task's event loop."""
    async with (
        client_session(manager, base_url=PEAKLY_URL, raise_for_status=True) as http,
        http.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response,
    ):
        return await response.json()


def clients_page(page: int) -> Any:
    """Run one task: this is the function that you give to the task queue."""
    return asyncio.run(fetch(page))


if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        results = pool.map(clients_page, range(1, int(sys.argv[1]) + 1), chunksize=1)
        pool.close()
        pool.join()
    print(f"{len(results)} pages")
