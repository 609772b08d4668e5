"""The short form of `make soak`: some hundred lifetimes in some ten seconds."""

from __future__ import annotations

import itertools
import logging
import random
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

sys.path.append(str(Path(__file__).parents[1] / "integration"))  # redis_kit, where this folder is run alone
from soak_run import CLOSING, Measure, growth, measured, soak, troubles


def _never(record: logging.LogRecord) -> bool:
    return False


@pytest.fixture
def nothing_kept_of_the_log(pytestconfig: pytest.Config) -> Iterator[None]:
    """pytest keeps each record for the test's report: hundreds here, which would be growth. Canaries are looked for."""
    plugin: Any = pytestconfig.pluginmanager.getplugin("logging-plugin")
    keeping = (plugin.caplog_handler, plugin.report_handler)
    for handler in keeping:
        handler.addFilter(_never)
    yield
    for handler in keeping:
        handler.removeFilter(_never)


@pytest.mark.usefixtures("nothing_kept_of_the_log")
@pytest.mark.leaves_tasks(reason="loops end while a token is on its way")
def test_no_request_fails_that_need_not_and_nothing_is_left() -> None:
    """Whatever happens meanwhile, requests fail only where the contract says so; no task, thread or socket is left.

    The bound for what a slow machine excuses is wide; `make soak` has a narrow one, and sees growth that is less rough.
    """
    seed = random.SystemRandom().randrange(10**6)
    run = soak(10, seed, least=50)
    assert run.unexcused == [], f"seed {seed}"
    assert run.left == [], f"seed {seed}"
    assert run.outcomes["200"] > 50
    assert run.lifetimes > 50
    assert len(run.troubled) > 2
    assert run.troubled == [kind for kind, _ in itertools.islice(troubles(seed), len(run.troubled))], f"seed {seed}"
    assert run.late <= 0.5, f"seed {seed}"
    assert growth([run.measures[0], run.measures[-1]]) == [], f"seed {seed}"
    last = run.measures[-1]
    assert last.threads <= run.measures[0].threads + 1, f"seed {seed}"
    assert last.sockets <= run.measures[0].sockets, f"seed {seed}"


@pytest.mark.parametrize("name", ["objects", "resident"])
@pytest.mark.parametrize(("step", "loops"), [(400, 3), (250, 12)])
def test_growth_is_noticed(name: str, step: int, loops: int) -> None:
    """Much growth is noticed in a few loops, and less of it where there are many."""
    level = [Measure(1000, 1000, 2, 4)] * loops
    assert growth(level) == []
    found = growth([attrs.evolve(each, **{name: 1000 + step * (n >= loops * 2 // 3)}) for n, each in enumerate(level)])
    assert [each.split(":")[0] for each in found] == [name]


@pytest.mark.parametrize(("seconds", "more"), [(CLOSING / 20, 0), (CLOSING + 1, 1)], ids=["closing", "left"])
def test_a_socket_that_is_being_closed_is_none_that_is_left(seconds: float, more: int) -> None:
    """The server's end of a connection is closed in its own thread, somewhat after the client's."""
    first = measured()
    server_end = socket.socket()
    closing = threading.Timer(seconds, server_end.close)
    closing.start()
    try:
        assert measured(first).sockets == first.sockets + more
    finally:
        closing.join()
