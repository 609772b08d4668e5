"""After a fork the parent's event loops look alive in the child, and nothing will ever run on them."""

from __future__ import annotations

import itertools
import os

__all__ = ["generation"]

_numbers = itertools.count()
_current = next(_numbers)


def generation() -> int:
    """Return a number that is another one in each process of a family of forks."""
    return _current


def _in_child() -> None:
    global _current  # noqa: PLW0603 (what a fork changes is the process)
    _current = next(_numbers)


if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=_in_child)
