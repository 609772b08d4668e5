"""The examples of queue workers, as their readers run them: several workers, many jobs, one token request."""

from __future__ import annotations

import asyncio
import runpy
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
from arq.jobs import ResultNotFound
from examples_kit import EXAMPLES, Fleet, fleet, wait_for
from redis.asyncio import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no redis-server for it"),
]

PAGES = 60


@pytest.fixture
def ships(tmp_path: Path) -> Iterator[Fleet]:
    """Its API takes a while, so that one worker can't do all the work before the others have begun."""
    with fleet(tmp_path, api_latency=0.1) as ships:
        yield ships


def do_all(ships: Fleet, *programs: str, revoked_before: bool = False) -> None:
    """Run programs at the same time, each of which does all pages and says so."""
    if revoked_before:
        assert ships.sandbox.revoke() > 0
    before = ships.served
    for process in [ships.start("python", program, str(PAGES)) for program in programs]:
        assert process.ended() == f"{PAGES} pages\n"
    assert ships.served - before == PAGES * len(programs)


def test_arq(ships: Fleet) -> None:
    """Three arq workers: one token request, one more after a revocation, no failed job, a clean end."""
    workers = [ships.start("arq", "arq_worker.WorkerSettings") for _ in range(3)]
    for worker in workers:
        worker.tell("Starting worker for 1 functions")
    do_all(ships, "arq_worker.py")
    assert ships.token_requests == 1
    do_all(ships, "arq_worker.py", revoked_before=True)
    assert ships.token_requests == 2
    assert sum("clients_page" in worker.text for worker in workers) > 1
    ships.stop(*workers)


async def test_an_arq_job_that_ends_while_it_is_looked_for() -> None:
    """arq finds neither its result nor the job then, and is asked once more; one that is gone for good is an error."""
    example: dict[str, Any] = runpy.run_path(str(EXAMPLES / "arq_worker.py"))

    class Job:
        def __init__(self, *results: object) -> None:
            self.results = list(results)

        async def result(self) -> object:
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result

    assert await example["result_of"](Job(ResultNotFound(), "a page")) == "a page"
    with pytest.raises(ResultNotFound):
        await example["result_of"](Job(ResultNotFound(), ResultNotFound()))


def test_taskiq(ships: Fleet) -> None:
    """Three processes of a taskiq worker: one token request, one more after a revocation, a clean end."""
    worker = ships.start("taskiq", "worker", "taskiq_worker:broker", "--workers", "3")
    for number in range(3):
        worker.tell(f"[worker-{number}] Listening started.")
    do_all(ships, "taskiq_worker.py")
    assert ships.token_requests == 1
    do_all(ships, "taskiq_worker.py", revoked_before=True)
    assert ships.token_requests == 2
    assert sum(f"[worker-{number}] Executing task" in worker.text for number in range(3)) > 1
    ships.stop(worker)


@pytest.mark.skipif(redis.__version__.startswith("5.0."), reason="its pool waits for itself when it is cancelled")
async def test_a_taskiq_worker_can_be_ended_at_any_moment(ships: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """taskiq cancels the reading once, and waits for its end: a lost cancellation would let it read forever."""
    monkeypatch.setenv("REDIS_URL", ships.redis_url)
    broker: Any = runpy.run_path(str(EXAMPLES / "taskiq_worker.py"))["broker"]
    broker.block = 10
    await broker.startup()
    try:
        for steps in range(40):
            async with Redis(connection_pool=broker.connection_pool) as client:
                await client.ping()  # a connection that the last one's end cost is there again
            reading = asyncio.ensure_future(anext(broker.listen()))
            for _ in range(steps):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait((reading,), timeout=1)
            assert reading.cancelled(), f"after {steps} steps"
    finally:
        await broker.shutdown()


def test_aiojobs(ships: Fleet) -> None:
    """Two processes that run aiojobs: one token request, one more after a revocation, a clean end."""
    do_all(ships, *["aiojobs_worker.py"] * 2)
    assert ships.token_requests == 1
    do_all(ships, *["aiojobs_worker.py"] * 2, revoked_before=True)
    assert ships.token_requests == 2


def test_asyncio_run(ships: Fleet) -> None:
    """Four processes, an event loop a task: one token request, one more after a revocation, a clean end."""
    do_all(ships, "asyncio_run_task.py")
    assert ships.token_requests == 1
    do_all(ships, "asyncio_run_task.py", revoked_before=True)
    assert ships.token_requests == 2


def test_celery(ships: Fleet) -> None:
    """A Celery worker of three processes: one token request, one more after a revocation, a clean end."""
    worker = ships.start("celery", "-A", "celery_tasks", "worker", "--concurrency", "3", "--loglevel", "info")
    worker.tell("ready.")
    do_all(ships, "celery_tasks.py")
    assert ships.token_requests == 1
    do_all(ships, "celery_tasks.py", revoked_before=True)
    assert ships.token_requests == 2
    assert sum(f"ForkPoolWorker-{number}]" in worker.text for number in range(1, 4)) > 1
    ships.stop(worker)


def test_apscheduler(ships: Fleet) -> None:
    """Two processes with ten threads each: one token request, one more after a revocation, a clean end."""
    do_all(ships, *["apscheduler_jobs.py"] * 2)
    assert ships.token_requests == 1
    do_all(ships, *["apscheduler_jobs.py"] * 2, revoked_before=True)
    assert ships.token_requests == 2


def test_faststream(ships: Fleet) -> None:
    """A FastStream application of three processes: one token request, one more after a revocation, a clean end."""
    app = ships.start("faststream", "run", "faststream_app:app", "--workers", "3")
    wait_for(lambda: app.text.count("waiting for messages") == 3, "not all have started")
    do_all(ships, "faststream_app.py")
    assert ships.token_requests == 1
    do_all(ships, "faststream_app.py", revoked_before=True)
    assert ships.token_requests == 2
    ships.stop(app, besides="<_io.TextIOWrapper name=0")  # its processes leave their stdin open
