"""Workers without an event loop of their own, such as Celery's: each task is an ``asyncio.run()``.

The manager is made once per process and never entered. So nothing runs between the tasks and there is nothing to close;
the token stays from one task to the next, and it is renewed by the task that finds it due.

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
    """Fetch one page of clients. The session ends with the task, for it belongs to the task's event loop."""
    async with (
        client_session(manager, base_url=PEAKLY_URL, raise_for_status=True) as http,
        http.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response,
    ):
        return await response.json()


def clients_page(page: int) -> Any:
    """Be the task: what would have ``@celery_app.task`` above it."""
    return asyncio.run(fetch(page))


if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        results = pool.map(clients_page, range(1, int(sys.argv[1]) + 1), chunksize=1)
        pool.close()
        pool.join()
    print(f"{len(results)} pages")
