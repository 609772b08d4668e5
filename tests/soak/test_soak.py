"""The short form of `make soak`: some hundred lifetimes in some ten seconds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "integration"))  # redis_kit, where this folder is run alone
from soak_run import soak


@pytest.mark.timeout(240)
@pytest.mark.leaves_tasks(reason="loops end while a token is on its way")
def test_no_request_fails_that_need_not_and_nothing_is_left() -> None:
    """Whatever happens meanwhile, requests fail only where the contract says so; no task, thread or socket is left."""
    seed = random.SystemRandom().randrange(10**6)
    run = soak(10, seed)
    assert run.unexcused == [], f"seed {seed}"
    assert run.left == [], f"seed {seed}"
    assert run.outcomes["200"] > 50
    assert run.lifetimes > 50
    assert sum(run.happened.values()) > 2
    last = run.measures[-1]
    assert last.threads <= run.measures[0].threads + 1, f"seed {seed}"
    assert last.sockets <= run.measures[0].sockets, f"seed {seed}"
