"""Attacks on a process as a whole: signals at any moment of a refresh, and threads that use a manager all at once."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from attack_kit import Try, attack

_ROOT = Path(__file__).parents[2]
_SCRIPTS = _ROOT / "tests" / "integration"
_LONGEST = 120.0
"""Seconds that a process may take."""


def _printed(script: str, *arguments: object) -> str:
    """Return what a process prints that ends as it should."""
    ended = subprocess.run(  # noqa: PLW1510 (its end is looked at below)
        [sys.executable, "-W", "ignore", str(_SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        timeout=_LONGEST,
    )
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")[-300:]
    return ended.stdout.decode()


@attack("signals at any moment of a refresh")
def signals(luck: random.Random, scale: int) -> Iterator[Try]:
    """The manager, or the pool, is usable afterwards, with a bounded number of token requests."""
    if hasattr(signal, "setitimer"):  # Windows has no timer that raises a signal
        for _ in range(2 * scale):
            seed = luck.randrange(10**6)
            yield f"seed {seed}", functools.partial(_interrupted, seed)


def _interrupted(seed: int) -> None:
    assert _printed("interrupted_process.py", seed, 40) == "usable\n"


@attack("threads that enter, leave, close and refresh at once")
def threads(luck: random.Random, scale: int) -> Iterator[Try]:
    """No two fetches at a time, and nothing is raised that is not an `AuthError`."""
    for _ in range(max(1, scale // 4)):
        seed = luck.randrange(10**6)
        yield f"seed {seed}", functools.partial(_raced, seed, 100 * scale)


def _raced(seed: int, rounds: int) -> None:
    counts = json.loads(_printed("stress_process.py", seed, rounds))
    assert (counts["overlaps"], counts["raised"]) == (0, {}), counts
