"""What a forked child makes anew, and what it leaves to its parent.

A fork copies each lock as it is: one that another thread holds stays locked in the child, where that thread does not
exist. It copies connections as well, and the two processes share the selector of each event loop: a child that closes
one of its parent's connections takes it out of the parent's selector, and the parent waits for an answer in vain.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["at_fork", "leave_to_parent", "new_guard"]

_T = TypeVar("_T")

_guards: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_in_children: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
_of_parent: list[object] = []


def new_guard() -> threading.RLock:
    """Return a lock that a forked child finds free, whichever other thread held it at the fork.

    Reentrant: the garbage collector ends the tasks of a closed loop at any moment, and they may take the lock that is
    held.
    """
    guard = threading.RLock()
    _guards.add(guard)
    return guard


def at_fork(thing: _T, in_child: Callable[[_T], None]) -> None:
    """Have each forked child do something with its copy of a thing, before anything else runs there.

    Args:
        thing: Held weakly.
        in_child: Is given the thing. Must not hold it.
    """
    _in_children[thing] = in_child


def leave_to_parent(*things: object) -> None:
    """Keep what belongs to the parent process for ever, so that nothing closes it here."""
    if not _of_parent:
        atexit.register(_leak, _of_parent)
    _of_parent.extend(things)


def _leak(things: list[object]) -> None:
    """Keep things even from the end of the interpreter, which closes whatever connections it finds."""
    import ctypes  # noqa: PLC0415 (it takes longer than all the rest, and is hardly ever needed)

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(things))


def _in_child() -> None:
    for guard in list(_guards):
        if guard.acquire(blocking=False):  # free, or held by the thread that forked, which releases it here as well
            guard.release()
        else:
            held: Any = guard
            held._at_fork_reinit()  # noqa: SLF001 (as the standard library does with its own)
    for thing, in_child in list(_in_children.items()):
        in_child(thing)


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_in_child)
