"""taskiq with its Redis broker: all worker processes, on all machines, share one token.

Run:      taskiq worker taskiq_worker:broker --workers 4     (on any number of machines)
Enqueue:  python taskiq_worker.py 50
"""

import asyncio
import os
import sys
from typing import Any

import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from asyncauth import Peakly, client_session
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(REDIS_URL, result_ex_time=3600)
# With a socket timeout, redis-py waits in wait_for(), which may lose a cancellation up to Python 3.11. A worker that is
# told to stop would then keep reading forever.
broker = RedisStreamBroker(REDIS_URL, socket_timeout=None).with_result_backend(results)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    """Open the session that all tasks of this process use."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    state.peakly = client_session(provider, store=RedisStore(REDIS_URL), base_url=PEAKLY_URL, raise_for_status=True)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    """Close the session when the worker stops."""
    await state.peakly.close()


def peakly(context: Context = TaskiqDepends()) -> aiohttp.ClientSession:
    """Return the session, which tasks get as a dependency."""
    session: aiohttp.ClientSession = context.state.peakly
    return session


@broker.task
async def clients_page(page: int, http: aiohttp.ClientSession = TaskiqDepends(peakly)) -> Any:
    """Fetch one page of clients. The session adds the token to the request."""
    async with http.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


async def main(pages: int) -> None:
    """Enqueue one task per page, and wait for the results."""
    await broker.startup()
    try:
        tasks = [await clients_page.kiq(page) for page in range(1, pages + 1)]
        done = [await task.wait_result(check_interval=0.05, timeout=60) for task in tasks]
    finally:
        await broker.shutdown()
    for result in done:
        result.raise_for_error()
    print(f"{len(done)} pages")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
