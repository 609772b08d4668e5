"""Nothing is left behind: a test that leaves a task, a thread or a socket fails.

What a fixture of a module or of the whole run opens belongs to it, not to the test that happened to come first.

Garbage is collected after each test. An unclosed session is noticed only then: so it fails the test that left it, and
not a later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import stat
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from harness.canary import WATCH

_PATIENCE = 5.0
"""Seconds that what is ending may take to have ended, on a machine that has a lot to do."""
_DESCRIPTORS = "/proc/self/fd"
_SHOWS_DESCRIPTORS = Path(_DESCRIPTORS).exists()


def _sockets() -> Iterator[str]:
    """Return all sockets that are open, by their inodes. Runs twice per test: `fstat` looks up no path."""
    for descriptor in os.listdir(_DESCRIPTORS) if _SHOWS_DESCRIPTORS else ():  # noqa: PTH208 (see above)
        with contextlib.suppress(OSError):  # closed in the meantime
            status = os.fstat(int(descriptor))
            if stat.S_ISSOCK(status.st_mode):
                yield f"socket:[{status.st_ino}]"


def _opened() -> set[object]:
    """Return all threads and all sockets that there are."""
    return {*threading.enumerate(), *_sockets()}


_known: set[object] = set()


def _collect() -> None:
    """Collect garbage, and note what complains of it."""

    def note(complaint: sys.UnraisableHookArgs) -> None:
        WATCH.note(f"left to the garbage collector: {complaint.object!r}: {complaint.exc_value!r}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", note)
        gc.collect()
    gc.freeze()  # what lives on is not looked through again after each test


class _Now:
    """What the test that is running may do."""

    may_leave_tasks = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "leaves_sockets(reason): another process keeps its connections to a server of this one"
    )
    config.addinivalue_line(
        "markers", "leaves_tasks(reason): this test is about a loop that ends in the middle of things"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the tasks that a loop's runner cancels at its end: those that nobody awaited or ended."""
    cancel = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def cancelled(loop: asyncio.AbstractEventLoop) -> None:
        for task in () if _Now.may_leave_tasks else asyncio.all_tasks(loop):
            WATCH.note(f"a task is left behind: {task.get_coro()!r}")
        cancel(loop)

    patch = pytest.MonkeyPatch()
    patch.setattr(asyncio.runners, "_cancel_all_tasks", cancelled)
    session.config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Note what longer-lived fixtures open."""
    before = _opened() if fixturedef.scope != "function" else set()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            _known.update(_opened() - before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Note what is there before the test."""
    _Now.may_leave_tasks = item.get_closest_marker("leaves_tasks") is not None
    _known.clear()
    _known.update(_opened())
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Look at what is there after the test, when all of its fixtures are closed."""
    result = yield
    if isinstance(item, pytest.Function):
        item.funcargs.clear()  # nobody reads them now, and what they hold is garbage of this test
    _collect()
    end = time.monotonic() + _PATIENCE
    left = _opened() - _known
    if item.get_closest_marker("leaves_sockets"):
        left = {each for each in left if not isinstance(each, str)}
    if left:
        gc.unfreeze()  # what they hang on may be older than the test
        gc.collect()
    while left and time.monotonic() < end:
        time.sleep(0.01)
        left &= _opened()
    for each in left:
        WATCH.note(f"left behind: {each}")
    return result
