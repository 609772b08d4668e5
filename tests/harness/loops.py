"""On which event loop the tests run: the standard library's, or with ``--loop=uvloop`` uvloop's, everywhere.

With ``--eager`` each loop runs a new task at once, up to its first ``await`` that waits (Python 3.12).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import warnings
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="what event loops tests run on")
    parser.addoption("--eager", action="store_true", help="give each event loop asyncio.eager_task_factory")


def pytest_configure(config: pytest.Config) -> None:
    """Have every new loop be of that kind: pytest-asyncio's, and those of ``asyncio.run`` in any thread."""
    if config.getoption("--eager") and sys.version_info < (3, 12):
        raise pytest.UsageError("--eager needs Python 3.12")
    on_uvloop, eager = config.getoption("--loop") == "uvloop", config.getoption("--eager")
    if not (on_uvloop or eager):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies go in Python 3.16

        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                loop = _uvloop() if on_uvloop else super().new_event_loop()
                if eager and sys.version_info >= (3, 12):
                    loop.set_task_factory(asyncio.eager_task_factory)
                return loop

        asyncio.set_event_loop_policy(Policy())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what can't be where a task takes its first step at once."""
    for item in items if config.getoption("--eager") else ():
        for mark in item.iter_markers("not_eager"):
            item.add_marker(pytest.mark.skip(mark.kwargs["reason"]))


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def forgive(task: asyncio.Task[Any]) -> None:
    """Have asyncio say no word when a task is destroyed that has not ended."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def running(loop: asyncio.AbstractEventLoop | None) -> Iterator[None]:
    """Have asyncio take a loop for the running one of this thread, and afterwards none."""
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


_cut_off: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


def close_under_its_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop in the middle of what its tasks do, as a program does that is in a hurry. asyncio says no word."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        forgive(task)
        _cut_off.add(task)
    loop.close()
    for task in tasks:
        coroutine = task.get_coro()
        if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()  # Python would warn that a task before its first step was never awaited


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Close the coroutines of tasks that were cut off.

    The garbage collector may close their sessions first.
    """
    try:
        return (yield)
    finally:
        while _cut_off:
            coroutine = _cut_off.pop().get_coro()
            with contextlib.suppress(RuntimeError):  # it waits for something in a `finally`, and its loop is closed
                if coroutine is not None:
                    coroutine.close()


@pytest.fixture(scope="session")
def on_uvloop(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run on uvloop: for the few differences between the loops that a test has to know."""
    return bool(request.config.getoption("--loop") == "uvloop")


@pytest.fixture(scope="session", autouse=True)
def _the_loop_that_was_asked_for(request: pytest.FixtureRequest) -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert asyncio.run(kind()) == request.config.getoption("--loop")
