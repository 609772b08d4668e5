"""Processes that collect the tests share the rewriting of their files, and end with the same order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.collecting import pytest_collection_modifyitems, pytest_make_collect_report


def collected(folder: pytest.Collector, worker: str, children: list[Any]) -> list[Any]:
    """Return the order in which one of three processes goes through what a folder holds."""
    report = pytest.CollectReport("folder", "passed", None, children)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_XDIST_WORKER", worker)
        patch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
        hook = pytest_make_collect_report(folder)
        next(hook)
        with pytest.raises(StopIteration) as ended:
            hook.send(report)
    result: list[Any] = ended.value.value.result
    return result


def test_each_process_begins_at_another_place(request: pytest.FixtureRequest) -> None:
    """Three processes begin at each third of a folder, and go through all of it."""
    folder = request.node.getparent(pytest.Directory)
    orders = [collected(folder, worker, list("abcdef")) for worker in ("gw0", "gw1", "gw2")]
    assert ["".join(order) for order in orders] == ["abcdef", "cdefab", "efabcd"]


def test_a_file_keeps_its_order(request: pytest.FixtureRequest) -> None:
    """Folders alone are turned round."""
    assert collected(request.node.getparent(pytest.Module), "gw1", list("abc")) == list("abc")


@pytest.mark.parametrize(("processes", "order"), [("1", ["b2", "b1", "a1"]), ("3", ["a1", "b2", "b1"])])
def test_all_processes_have_one_order(monkeypatch: pytest.MonkeyPatch, processes: str, order: list[str]) -> None:
    """Several processes order the files by name, and keep the order inside each; one keeps the order it was given."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", processes)
    items: list[Any] = [SimpleNamespace(name=name, path=Path(name[0])) for name in ("b2", "b1", "a1")]
    pytest_collection_modifyitems(items)
    assert [item.name for item in items] == order
