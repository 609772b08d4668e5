"""Lets a forked child replace its parent's locks and leave its parent's connections open.

A fork copies each lock in its current state. A lock that another thread holds stays locked in the child, where that
thread does not exist. A fork also copies connections, and the two processes share the selector of each event loop. If
the child closes one of its parent's connections, it removes the connection from the parent's selector, and the parent
never receives the answer.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from asyncauth._base.threading_compat import free_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["at_fork", "leave_to_parent", "new_guard"]

_T = TypeVar("_T")

_guards: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_in_children: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
_of_parent: list[object] = []


def new_guard() -> threading.RLock:
    """Return a lock that is free in a forked child, even if another thread held it during the fork.

    Reentrant: the garbage collector may end the tasks of a closed loop at any time, and these tasks may take a lock
    that this thread already holds.
    """
    guard = threading.RLock()
    _guards.add(guard)
    return guard


def at_fork(thing: _T, in_child: Callable[[_T], None]) -> None:
    """Register a function that each forked child calls with its copy of ``thing``, before other code runs there.

    Args:
        thing: The object. Held weakly.
        in_child: Called with the object. Must not hold a reference to it.
    """
    _in_children[thing] = in_child


def leave_to_parent(*things: object) -> None:
    """Keep the parent process' objects for ever, so that nothing closes them in this process."""
    if not _of_parent:
        atexit.register(_leak, _of_parent)
    _of_parent.extend(things)


def _leak(things: list[object]) -> None:
    """Keep things alive even at the interpreter's exit, which closes the connections that it finds."""
    import ctypes  # noqa: PLC0415 (slow to import, and rarely needed)

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))


def _in_child() -> None:
    for guard in list(_guards):
        # free, or held by the thread that forked, which releases it in the child, too
        if guard.acquire(blocking=False):
            guard.release()
        else:
            free_in_child(guard)
    for thing, in_child in list(_in_children.items()):
        in_child(thing)


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_in_child)
