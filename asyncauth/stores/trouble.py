"""What is wrong with a store, and what to do: without the error's own text, which may hold a password. Pure."""

from __future__ import annotations

import os

__all__ = ["SILENT", "explained"]

SILENT = ("no answer in time", "is it overloaded or paused, or does a firewall drop what is sent there?")
"""What is said where a call took too long, and what to do about it."""
# What redis-py raises, by name: it is imported where its store is made.
_REDIS_ERRORS = {
    "AuthenticationError": ("it refuses the password, or wants one", "check the URL's user and password"),
    "AuthenticationWrongNumberOfArgsError": ("it knows no user names", "leave the user out of the URL"),
    "NoPermissionError": ("the user may not do this", "give the user the commands and keys that it needs (ACL)"),
    "BusyLoadingError": ("it is loading its data", "try again later"),
    "ReadOnlyError": ("it is a replica, which takes no writes", "name the primary"),
    "OutOfMemoryError": ("it has no memory left", "give it more, or a policy that evicts what is volatile"),
}
_RUNNING = "is it running, and are host and port right?"


def explained(error: BaseException) -> tuple[str, str] | None:
    """Return what is wrong and what to do; ``None``: nothing is known of such an error.

    Args:
        error: What a store raised.
    """
    names = [each.__name__ for each in type(error).__mro__]
    known = next((_REDIS_ERRORS[name] for name in names if name in _REDIS_ERRORS), None)
    if known is not None:
        return known
    if "TimeoutError" in names:
        return SILENT
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, PermissionError):
        return _words(cause), "run this as the user that owns it, or let this one in"
    if "ConnectionError" in names:  # redis-py's or Python's
        return f"no connection could be made ({_words(cause or error)})", _RUNNING
    if isinstance(error, OSError):
        return f"a file can't be used ({_words(error)})", "is the folder there, and has the disk room?"
    return None


def _words(error: BaseException) -> str:
    """Return the operating system's words for an error, or its class."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:
        return os.strerror(number)  # not strerror: asyncio puts the address into it
    words: object = getattr(error, "strerror", None)  # a resolver's numbers are negative, and not the system's
    return words if isinstance(words, str) else type(error).__name__
