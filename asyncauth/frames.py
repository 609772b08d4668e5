"""Errors without the frames that hold what was sent: crash reporters print local variables, headers among them."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["bare", "forget_frames"]

_E = TypeVar("_E", bound=BaseException)

_HOLD_WHAT_IS_SENT = frozenset({"aiohttp", "asyncio"})
"""Packages whose functions have a request's headers, serialised, among their local variables."""


def forget_frames(error: BaseException) -> None:
    """Take aiohttp's and asyncio's frames out of the traceback of an exception, and of all that it came from.

    Its class, message, fields, cause and context stay as they are, and so do all other frames: a bug in a middleware
    or in a request's body is still found where it is.

    Args:
        error: What is about to be raised on.
    """
    seen: set[int] = set()
    unseen: list[BaseException | None] = [error]
    while unseen:
        each = unseen.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        _prune(each)
        unseen += each.__cause__, each.__context__
        if isinstance(each, BaseExceptionGroup):
            unseen += each.exceptions


def bare(error: _E) -> _E:
    """Return an exception without its traceback, and without what it came from, to be raised on.

    For `KeyboardInterrupt` and `SystemExit` in the middle of a refresh: they leave the event loop as they are, and any
    frame below may hold a credential.

    Args:
        error: What was raised.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _prune(error: BaseException) -> None:
    kept = []
    traceback = error.__traceback__
    while traceback is not None:
        package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _HOLD_WHAT_IS_SENT:
            kept.append(traceback)
        traceback = traceback.tb_next
    following = None
    for traceback in reversed(kept):
        traceback.tb_next = following
        following = traceback
    # Not `error.__traceback__ = …`, which a frozen exception class of somebody's may refuse.
    BaseException.with_traceback(error, following)
