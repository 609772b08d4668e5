"""Remove what was sent from errors: the frames that hold it, since crash reporters record local variables; texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["bare", "forget_frames", "forget_text"]

_E = TypeVar("_E", bound=BaseException)

_HOLD_WHAT_IS_SENT = frozenset({"aiohttp", "asyncio", "ssl"})
"""Packages whose functions hold a request's serialised headers in local variables."""


def forget_frames(error: BaseException, packages: frozenset[str] = _HOLD_WHAT_IS_SENT) -> None:
    """Remove the frames that hold what was sent from the tracebacks of an exception, its causes and its contexts.

    Class, message, fields, cause and context stay as they are, but for a `UnicodeEncodeError`: what it could not encode
    may be all of a request's headers, and is taken out. All other frames stay too, so that a bug in a user's
    middleware or request body can still be located.

    Args:
        error: The exception, about to be re-raised. Changed in place.
        packages: Those whose functions hold what was sent; aiohttp and what it is made of, if none are named.
    """
    for each in _all_of(error):
        _prune(each, packages)
        if isinstance(each, UnicodeEncodeError):
            each.object, each.start, each.end = "", 0, 0
            each.args = (each.encoding, "", 0, 0, each.reason)


def forget_text(error: BaseException, secret: str) -> None:
    """Take a text out of what an exception, its causes and its contexts say: arguments and attributes.

    aiohttp's errors quote the URL of the request, which has the token in it if that is sent in the query.

    Args:
        error: The exception, about to be re-raised. Changed in place.
        secret: What must not be shown. Nothing comes in its place.
    """
    for each in _all_of(error):
        args = _without(each.args, secret)
        if args != each.args:
            BaseException.args.__set__(each, args)  # type: ignore[attr-defined]
        for name, value in (*vars(each).items(), ("strerror", getattr(each, "strerror", None))):
            clean = _without(value, secret)
            if clean is not value and clean != value:
                BaseException.__setattr__(each, name, clean)  # whatever the class makes of it


def bare(error: _E) -> _E:
    """Return the exception without traceback, cause and context.

    For `KeyboardInterrupt` and `SystemExit` during a refresh: they leave the event loop unchanged, and any frame that
    they passed may hold a credential.

    Args:
        error: The exception, about to be re-raised. Changed in place.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes and contexts, and the members of groups, each once."""
    seen: set[int] = set()
    unseen: list[BaseException | None] = [error]
    while unseen:
        each = unseen.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        unseen += each.__cause__, each.__context__
        if isinstance(each, BaseExceptionGroup):
            unseen += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _without(value: Any, secret: str) -> Any:
    """Return a text or URL without a secret, and a tuple of such; anything else as it is."""
    if isinstance(value, str):
        return value.replace(secret, "")
    if isinstance(value, URL):
        return URL(str(value).replace(secret, ""), encoded=True)
    if isinstance(value, tuple):
        held = cast("tuple[object, ...]", value)
        make: Callable[[Iterator[Any]], Any] = getattr(held, "_make", tuple)  # aiohttp's RequestInfo is a named one
        return make(_without(each, secret) for each in held)
    return value


def _prune(error: BaseException, packages: frozenset[str]) -> None:
    kept: list[TracebackType] = []
    traceback = error.__traceback__
    while traceback is not None:
        package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in packages:
            kept.append(traceback)
        traceback = traceback.tb_next
    following: TracebackType | None = None
    for each in reversed(kept):
        each.tb_next = following
        following = each
    # Not `error.__traceback__ = …`: a frozen exception class refuses it.
    BaseException.with_traceback(error, following)
