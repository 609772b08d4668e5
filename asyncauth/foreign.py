"""What other people's code raises, as errors of ours: its texts and tracebacks may hold secrets, so they stay out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from asyncauth.errors import AuthError, TokenEndpointUnavailable

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["auth_error"]


def auth_error(error: BaseException, what: str) -> AuthError:
    """Return the error of ours that an exception from a callable or a provider amounts to.

    Network trouble is transient; an ``AuthError`` says itself what it is; anything else is a fault, reported by its
    class and place alone.

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
    if isinstance(error, (aiohttp.ClientError, OSError, TimeoutError)):
        return TokenEndpointUnavailable(f"{what} failed ({kind})")
    return AuthError(f"{what} raised {kind}{_place(error.__traceback__)}")


def _place(traceback: TracebackType | None) -> str:
    """Return where an exception came from: the one thing about it that can't hold a secret and helps."""
    place = ""
    while traceback is not None:
        place = f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
