"""APScheduler: jobs in threads, in several processes that share one token.

Run:  python apscheduler_jobs.py 50      (in several terminals, or on several machines)
"""

import os
import queue
import sys

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from asyncauth import Peakly, TokenManager
from asyncauth.httpx import client
from asyncauth.stores import RedisStore

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

manager = TokenManager(
    Peakly(username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL),
    store=RedisStore(REDIS_URL),
)
peakly = client(manager, base_url=PEAKLY_URL)


def clients_page(page: int) -> None:
    """Fetch one page of clients, in any thread. The HTTP client adds the token to the request."""
    response = peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50})
    response.raise_for_status()


def main(pages: int) -> None:
    """Run one job per page, and wait for all of them. A service would give each job a trigger, such as ``"cron"``."""
    ended: queue.Queue[JobExecutionEvent] = queue.Queue()
    scheduler = BackgroundScheduler()
    scheduler.add_listener(ended.put, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    for page in range(1, pages + 1):
        scheduler.add_job(clients_page, args=(page,), misfire_grace_time=None)  # None: never skip a late job
    scheduler.start()
    failures = [event.exception for event in (ended.get(timeout=60) for _ in range(pages)) if event.exception]
    scheduler.shutdown()
    peakly.close()
    if failures:
        raise failures[0]
    print(f"{pages} pages")


if __name__ == "__main__":
    main(int(sys.argv[1]))
