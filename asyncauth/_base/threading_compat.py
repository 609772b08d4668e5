"""All access to private names of the standard library's ``threading``."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading

__all__ = ["free_in_child"]


def free_in_child(lock: threading.RLock) -> None:
    """Unlock a lock in a forked child, where the thread that holds it does not exist.

    The standard library does the same with its own locks, and has no public function for it. Only the thread that holds
    an ``RLock`` may release it.
    """
    held: Any = lock
    held._at_fork_reinit()
