"""FastStream with Redis: all processes, on all machines, share one token.

Run:  faststream run faststream_app:app --workers 3      (on any number of machines)
Ask:  python faststream_app.py 50
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
from faststream import Context, ContextRepo, FastStream
from faststream.redis import RedisBroker

from asyncauth import Peakly, client_session
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

broker = RedisBroker(REDIS_URL)


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    """Open the session that all messages of this process use, and close it when the process ends."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    async with client_session(
        provider, store=RedisStore(REDIS_URL), base_url=PEAKLY_URL, raise_for_status=True
    ) as peakly:
        context.set_global("peakly", peakly)
        yield


app = FastStream(broker, lifespan=lifespan)


@broker.subscriber(list="clients-pages")
async def clients_page(page: int, peakly: Annotated[aiohttp.ClientSession, Context()]) -> Any:
    """Answer with one page of clients. The session adds the token to the request."""
    async with peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


async def main(pages: int) -> None:
    """Request the pages, and wait for the answers."""
    async with RedisBroker(REDIS_URL, max_connections=2 * pages) as asking:  # each request waits on its own connection
        answers = [asking.request(page, list="clients-pages", timeout=60) for page in range(1, pages + 1)]
        done = [await answer.decode() for answer in await asyncio.gather(*answers)]
    print(f"{len(done)} pages")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
