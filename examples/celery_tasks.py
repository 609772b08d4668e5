"""Celery with Redis: plain tasks in forked worker processes, which share one token.

Run:      celery -A celery_tasks worker --concurrency 4     (on any number of machines)
Enqueue:  python celery_tasks.py 50
"""

import os
import sys
from typing import Any

from celery import Celery, group

from asyncauth import Peakly, TokenManager
from asyncauth.httpx import client
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

# Created once, before Celery forks its workers. Each worker has a copy, which opens its own connections. The manager is
# never entered (`async with`), so there is nothing to close. The first task that needs the token when its renewal is
# due renews it.
manager = TokenManager(
    Peakly(username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL),
    store=RedisStore(REDIS_URL),
)
peakly = client(manager, base_url=PEAKLY_URL)

app = Celery("celery_tasks", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)


@app.task
def clients_page(page: int) -> Any:
    """Fetch one page of clients. The HTTP client adds the token to the request."""
    response = peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50})
    return response.raise_for_status().json()


if __name__ == "__main__":
    work = group(clients_page.s(page) for page in range(1, int(sys.argv[1]) + 1))
    print(f"{len(work().get(timeout=60))} pages")
