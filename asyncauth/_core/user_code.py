"""What other people's code raises, as errors of ours: its texts and tracebacks may hold secrets, so they stay out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import aiohttp

from asyncauth._http.trouble import trouble_of
from asyncauth.errors import AuthError, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["call_user", "place_of", "sanitize"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def call_user(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Return what a function returns, which need not be ``async``.

    Raises:
        InterruptedError: It raised ``CancelledError`` itself, which would look like a cancellation of the caller.
    """
    try:
        return function(*args, **kwargs)
    except asyncio.CancelledError:
        raise InterruptedError from None


def sanitize(error: BaseException, what: str) -> AuthError:
    """Return the error of ours that an exception from a callable or a provider amounts to.

    Network trouble is transient, and told by `trouble_of`; an ``AuthError`` says itself what it is; anything else is a
    fault, reported by its class and place alone.

    Args:
        error: What was raised.
        what: Whose code raised it, for the message.
    """
    if isinstance(error, AuthError):
        again = error.again()
        if not isinstance(again.retry_after, (int, float)):
            again.retry_after = None  # whatever it was, nobody can wait for it
        return again
    kind = type(error).__name__
    if isinstance(error, (aiohttp.ClientError, OSError, TimeoutError)) and not isinstance(error, _NO_NETWORK):
        trouble = trouble_of(error)
        return TokenEndpointUnavailable(f"{what} failed: {trouble.says}", advice=trouble.do)
    return AuthError(f"{what} raised {kind}{place_of(error)}", advice="look at that code")


_NO_NETWORK = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What is an ``OSError`` and no network's: a file with a secret that is not there does not come by waiting."""

_STDLIB = str(Path(os.__file__).parent)


def place_of(error: BaseException) -> str:
    """Return where an exception came from, ``" (file:line)"``: what about it helps, and can't hold a secret.

    That is the last line which is not the standard library's: ``os.environ[…]`` fails in ``os``, and the mistake is
    where it was called.
    """
    place = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not place or "site-packages" in file or not file.startswith(("<", _STDLIB)):
            place = f" ({file}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
