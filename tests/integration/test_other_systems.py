"""What does not hold on another system is said there, and nothing that it lacks is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from harness.systems import PLATFORMS, SYSTEM

from asyncauth import Token
from asyncauth.cli import entries, status, stores
from asyncauth.cli.demo import embedded
from asyncauth.cli.doctor import files
from asyncauth.cli.outcome import Problem
from asyncauth.stores import FileStore

TESTS = Path(__file__).parents[1]
WINDOWS = types.SimpleNamespace(name="nt")
KEY = "1a" * 32


IMPORTS_ALL = """
import importlib, pkgutil
import harness.systems
import asyncauth
for module in pkgutil.walk_packages(asyncauth.__path__, "asyncauth."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.skipif(SYSTEM is not None, reason="these are such tests")
@pytest.mark.parametrize("system", PLATFORMS)
def test_every_module_imports_without_what_a_system_lacks(system: str) -> None:
    """Importing asks for no name that Windows or macOS lacks. `make test-modes` runs the core's tests there."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS_ALL],
        env={**os.environ, "ASYNCAUTH_TESTS_AS": system, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


async def test_status_shows_no_modes_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mode says nothing about who can read a file there, so there is no such column."""
    store = FileStore(tmp_path)
    await store.save(KEY, Token("access-1", issued_at=0, expires_at=None))
    monkeypatch.setattr(entries, "os", WINDOWS)
    found = await entries.entries_of(stores.Chosen(store, store, str(tmp_path), tmp_path), {}, timeout=5)
    assert [entry.mode for entry in found] == [None]
    assert "mode" not in "\n".join(status.lines("tokens", found))


def test_doctor_says_that_it_can_not_judge_modes_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says where to look instead."""
    monkeypatch.setattr(files, "os", WINDOWS)
    (finding,) = files.permissions(tmp_path, sealed=False)
    assert "check in the folder's properties who may read it" in str(finding)


def test_a_fleet_needs_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are none, an installed redis-server would not help, and is not asked for."""
    monkeypatch.setattr(embedded, "socket", types.SimpleNamespace())
    with pytest.raises(Problem, match="needs Unix sockets"), embedded.embedded_redis():
        pass
