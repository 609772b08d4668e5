"""arq: all workers, on all machines, share one token.

Run:      arq arq_worker.WorkerSettings                      (any number of them)
Enqueue:  python arq_worker.py 50
"""

import asyncio
import os
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job, ResultNotFound

from asyncauth import Peakly, client_session
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


async def startup(ctx: dict[str, Any]) -> None:
    """Open the session that all jobs of this worker use."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    ctx["peakly"] = client_session(provider, store=RedisStore(REDIS_URL), base_url=PEAKLY_URL, raise_for_status=True)


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close the session. arq calls this after the last job has ended."""
    await ctx["peakly"].close()


async def clients_page(ctx: dict[str, Any], page: int) -> Any:
    """Fetch one page of clients. The session adds the token to the request."""
    async with ctx["peakly"].get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


class WorkerSettings:
    """The settings that the ``arq`` command reads."""

    functions = (clients_page,)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(REDIS_URL)


async def result_of(job: Job) -> Any:
    """Wait for a job's result. arq looks for the result, then for the job: if it ends in between, arq finds neither."""
    try:
        return await job.result()
    except ResultNotFound:
        return await job.result()  # the job ended in between, so its result is there now


async def main(pages: int) -> None:
    """Enqueue one job per page, and wait for the results."""
    redis = await create_pool(WorkerSettings.redis_settings)
    try:
        jobs = [await redis.enqueue_job("clients_page", page) for page in range(1, pages + 1)]
        results = [await result_of(job) for job in jobs if job is not None]
    finally:
        await redis.aclose()
    print(f"{len(results)} pages")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
