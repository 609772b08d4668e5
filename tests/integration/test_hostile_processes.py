"""Processes of their own that do to a manager what threads and signals can do, at moments that nobody chooses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROCESSES = int(os.environ.get("ASYNCAUTH_PROCESSES", "6"))
"""How many processes are interrupted by signals: every kind of use is among four."""
ROUNDS = int(os.environ.get("ASYNCAUTH_STRESS", "1500"))
"""How many times the threads of the stress use the manager; 100,000 take some two minutes."""

pytestmark = pytest.mark.timeout(120 + ROUNDS // 100 + 10 * PROCESSES)


async def output_of(script: str, *arguments: object) -> tuple[int | None, str, str]:
    """Return a process' exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", str(HERE / script), *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timer that raises a signal")
async def test_signals_at_any_moment_leave_a_usable_manager() -> None:
    """Each process' manager or pool serves again, with a bounded number of requests."""
    two = asyncio.Semaphore(2)

    async def interrupted(seed: int) -> str | None:
        async with two:
            code, out, err = await output_of("interrupted_process.py", seed, 40)
        return None if (code, out) == (0, "usable\n") else f"seed {seed}: {err[-2000:]}"

    told = await asyncio.gather(*(interrupted(seed) for seed in range(PROCESSES)))
    assert [each for each in told if each is not None] == []


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("seed", [1, 2], ids=["manager", "pool"])
async def test_four_threads_make_one_request_at_a_time(seed: int, *, eager: bool) -> None:
    """However they enter, leave, close and refresh: no two fetches at once, and no error that is not an AuthError."""
    if eager and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    code, out, err = await output_of("stress_process.py", seed, ROUNDS, *(["--eager"] if eager else []))
    assert code == 0, err[-2000:]
    counts = json.loads(out)
    assert counts["fetches"] > ROUNDS / 50
    assert (counts["overlaps"], counts["raised"]) == (0, {})
