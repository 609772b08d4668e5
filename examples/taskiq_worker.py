"""taskiq with its Redis broker: every worker process uses the one token, from its start until its end.

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
# With a time limit redis-py waits with wait_for(), which up to Python 3.11 may lose a cancellation: a worker that was
# told to end would read on for ever.
broker = RedisStreamBroker(REDIS_URL, socket_timeout=None).with_result_backend(results)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    """Make the one session that all tasks of this process use."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    state.peakly = client_session(provider, store=RedisStore(REDIS_URL), base_url=PEAKLY_URL, raise_for_status=True)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    """Close it."""
    await state.peakly.close()


def peakly(context: Context = TaskiqDepends()) -> aiohttp.ClientSession:
    """Give a task the session: a dependency, as taskiq calls it."""
    session: aiohttp.ClientSession = context.state.peakly
    return session


@broker.task
async def clients_page(page: int, http: aiohttp.ClientSession = TaskiqDepends(peakly)) -> Any:
    """Fetch one page of clients. It knows nothing of tokens."""
    async with http.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


async def main(pages: int) -> None:
    """Enqueue a task a page, and wait for what they return."""
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
