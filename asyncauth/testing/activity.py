"""Finds out what an event loop's tasks wait for: whether nothing can happen until a fake clock moves.

asyncio does not say whether a future waits for a socket or for another task. So this module inspects what each task
awaits, down to the function that awaits a future, as a debugger would. A function of aiohttp's client or of asyncio's
transports waits for I/O, and ``asyncio.sleep`` for the machine's time. A future that belongs to one of
``concurrent.futures`` waits for a thread or a process. ``gc.get_referents`` looks into objects that are not written in
Python.
"""

from __future__ import annotations

import asyncio
import enum
import gc
from collections.abc import Coroutine
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any

__all__ = ["Activity", "activity"]

_IO = (
    *("aiohttp.", "aiohappyeyeballs."),
    *("asyncio.base_events.", "asyncio.selector_events.", "asyncio.proactor_events.", "asyncio.sslproto."),
    *("asyncio.unix_events.", "asyncio.windows_events.", "asyncio.base_subprocess.", "asyncio.subprocess."),
    *("asyncio.streams.", "asyncio.threads."),
)
"""Prefixes of the names of functions that wait for I/O."""

_SERVERS = ("aiohttp.web", "asyncio.base_events.Server.")
"""Of these, the ones that wait for clients' requests, which may never come."""

_POLLS = "asyncauth.stores."
"""These check repeatedly whether a lock is free, whose holder may wait for the clock."""

_FROM_A_THREAD = "_chain_future.<locals>._call_check_cancel"
"""The callback of each future that belongs to one of ``concurrent.futures``."""

_OF_A_SHIELD = "shield.<locals>._outer_done_callback"
"""The callback of the future that ``asyncio.shield`` returns. Its closure contains the shielded future."""

_DEEPEST = 4
"""How many references away such a future may be: ``gather`` keeps it in a list in a dictionary."""

_FUNCTIONS: tuple[type, ...] = (CoroutineType, AsyncGeneratorType)
"""The objects that calling an `async def` function returns."""

_PYTHON: tuple[type, ...] = (*_FUNCTIONS, GeneratorType)
"""All objects that show what they await."""

_WAYS: tuple[type, ...] = (asyncio.Future, list, tuple, set, dict)
"""Containers that may hold a thread's future."""


class Activity(enum.Enum):
    """What a task waits for."""

    RUNS = "it goes on by itself"
    OUTSIDE = "it waits for a socket, a thread, a process or the machine's time"
    WAITS = "it waits for another task, or for a fake clock"


def activity(loop: asyncio.AbstractEventLoop) -> Activity:
    """Return ``WAITS`` if all tasks of a loop wait, else the activity of one of the others.

    Call it in a callback of the loop, so that no task is running.
    """
    of_tasks = (_of(task) for task in asyncio.all_tasks(loop))
    return next((each for each in of_tasks if each is not Activity.WAITS), Activity.WAITS)


def _of(task: asyncio.Task[Any]) -> Activity:
    functions: list[Any] = []
    awaited: Any = task.get_coro()
    while not asyncio.isfuture(awaited):
        outer: Any = awaited
        kind: Any = outer.__class__
        if issubclass(kind, _FUNCTIONS):
            functions.append(outer)
        elif issubclass(kind, Coroutine) and kind.__module__ != "builtins":
            return _of_extension(outer)
        awaited = _awaited_by(outer)
        if awaited is None:
            # Not started, or a bare `yield`, as in `asyncio.sleep(0)`; or an object that cannot be inspected.
            return Activity.RUNS if issubclass(kind, _PYTHON) else Activity.WAITS
    if awaited.done():
        return Activity.RUNS
    return Activity.OUTSIDE if _is_outside(functions, awaited) else Activity.WAITS


def _of_extension(function: Any) -> Activity:
    """Return the activity of a task that awaits a function of an extension module, such as uvloop."""
    serves = str(getattr(function, "__qualname__", "")).startswith("Server.")
    return Activity.WAITS if serves else Activity.OUTSIDE


def _awaited_by(outer: Any) -> Any:
    """Return what a suspended object awaits: a future or another such object; ``None``: unknown."""
    if isinstance(outer, _FUNCTIONS):
        return getattr(outer, "cr_await", None) or getattr(outer, "ag_await", None)
    inner = getattr(outer, "gi_yieldfrom", None)
    if inner is not None:
        return inner
    for each in gc.get_referents(outer):
        if asyncio.isfuture(each) or isinstance(each, (*_PYTHON, Coroutine)):
            return each
    return None


def _is_outside(functions: list[Any], future: Any) -> bool:
    """Return whether something outside of the loop's tasks will end the wait of nested functions for a future."""
    names = [_name(each) for each in functions] or [""]  # the task of a generator, which Python 3.11 still makes
    if names[-1] == "asyncio.tasks.sleep":
        return not names[-2:-1] or not names[-2].startswith(_POLLS)
    if names[-1].startswith(_IO) and not names[-1].startswith(_SERVERS):
        return True
    waits_for_several = names[-1].startswith("asyncio.tasks.")  # they are in its local variables
    return _holds_thread(future) or (waits_for_several and _holds_thread(functions[-1]))


def _name(function: Any) -> str:
    frame: Any = getattr(function, "cr_frame", None) or function.ag_frame
    return f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}"


def _holds_thread(start: object) -> bool:
    """Return whether a future of a thread or process is within reach."""
    unseen = [(start, 0)]
    while unseen:
        each, depth = unseen.pop()
        for inner in gc.get_referents(each):
            if isinstance(inner, FunctionType):
                if inner.__qualname__ == _FROM_A_THREAD:
                    return True
                if inner.__qualname__ == _OF_A_SHIELD:
                    shielded = [cell.cell_contents for cell in inner.__closure__ or ()]
                    unseen += [(each, depth) for each in shielded if not isinstance(each, asyncio.Task)]
            if isinstance(inner, _WAYS) and not isinstance(inner, asyncio.Task) and depth < _DEEPEST:
                unseen.append((inner, depth + 1))
    return False
