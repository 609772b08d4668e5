"""Remove the frames that hold request headers from errors: crash reporters record local variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["bare", "forget_frames"]

_E = TypeVar("_E", bound=BaseException)

_HOLD_WHAT_IS_SENT = frozenset({"aiohttp", "asyncio", "ssl"})
"""Packages whose functions hold a request's serialised headers in local variables."""


def forget_frames(error: BaseException) -> None:
    """Remove the frames that hold what was sent from the tracebacks of an exception, its causes and its contexts.

    Class, message, fields, cause and context stay as they are, but for a `UnicodeEncodeError`: what it could not encode
    may be all of a request's headers, and is taken out. All other frames stay too, so that a bug in a user's
    middleware or request body can still be located.

    Args:
        error: The exception, about to be re-raised. Changed in place.
    """
    seen: set[int] = set()
    unseen: list[BaseException | None] = [error]
    while unseen:
        each = unseen.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        _prune(each)
        if isinstance(each, UnicodeEncodeError):
            each.object, each.start, each.end = "", 0, 0
            each.args = (each.encoding, "", 0, 0, each.reason)
        unseen += each.__cause__, each.__context__
        if isinstance(each, BaseExceptionGroup):
            unseen += cast("BaseExceptionGroup[BaseException]", each).exceptions


def bare(error: _E) -> _E:
    """Return the exception without traceback, cause and context.

    For `KeyboardInterrupt` and `SystemExit` during a refresh: they leave the event loop unchanged, and any frame that
    they passed may hold a credential.

    Args:
        error: The exception, about to be re-raised. Changed in place.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _prune(error: BaseException) -> None:
    kept: list[TracebackType] = []
    traceback = error.__traceback__
    while traceback is not None:
        package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _HOLD_WHAT_IS_SENT:
            kept.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for each in reversed(kept):
        each.tb_next = following
        following = each
    # Not `error.__traceback__ = …`: a frozen exception class refuses it.
    BaseException.with_traceback(error, following)
