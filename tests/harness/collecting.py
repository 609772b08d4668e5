"""Tests are collected by each of pytest-xdist's processes: here they share the work of it.

pytest rewrites the asserts of each file that it imports, and keeps the result beside the file's bytecode. In a fresh
clone each process would rewrite every file, all of them the same one at the same time. So each begins at another place
of a folder, and finds what the others have rewritten when it comes there.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import pytest


def _share() -> tuple[int, int]:
    """Return which of the processes this is, and how many there are."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile: what is made here lives to the end, and looking it through takes a fifth more."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Begin each folder at this process' place."""
    report = yield
    number, processes = _share()
    if isinstance(collector, pytest.Directory) and report.result:
        start = len(report.result) * number // processes
        report.result = [*report.result[start:], *report.result[:start]]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all processes the same order, which pytest-xdist needs: before the tests are shuffled by the run's seed."""
    if _share()[1] > 1:
        items.sort(key=lambda item: item.path)
