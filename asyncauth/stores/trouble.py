"""A store's trouble, and what to do, without the error's own text, which may contain a password. Pure."""

from __future__ import annotations

import os

__all__ = ["SILENT", "explained"]

SILENT = ("no answer in time", "is it overloaded or paused, or does a firewall drop what is sent there?")
"""The texts for a call that took too long."""
# redis-py's errors by name, since redis-py is imported only with its store.
_REDIS_ERRORS = {
    "AuthenticationError": ("it rejects the password, or requires one", "check the URL's user and password"),
    "AuthenticationWrongNumberOfArgsError": ("it does not support user names", "leave the user out of the URL"),
    "NoPermissionError": ("the user may not do this", "give the user the commands and keys that it needs (ACL)"),
    "BusyLoadingError": ("it is loading its data", "try again later"),
    "ReadOnlyError": ("it is a replica, which accepts no writes", "use the primary's address"),
    "OutOfMemoryError": ("it has no memory left", "give it more, or a policy that evicts volatile keys"),
}
_RUNNING = "is it running, and are host and port right?"


def explained(error: BaseException) -> tuple[str, str] | None:
    """Return the trouble and what to do; ``None``: such an error is unknown.

    Args:
        error: The error that a store raised.
    """
    names = [each.__name__ for each in type(error).__mro__]
    known = next((_REDIS_ERRORS[name] for name in names if name in _REDIS_ERRORS), None)
    if known is not None:
        return known
    if "TimeoutError" in names:
        return SILENT
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, PermissionError):
        return _words(cause), "run this as the user that owns it, or give this user access"
    if "ConnectionError" in names:  # redis-py's or Python's
        return f"no connection could be made ({_words(cause or error)})", _RUNNING
    if isinstance(error, OSError):
        return f"a file can't be used ({_words(error)})", "does the folder exist, and has the disk free space?"
    return None


def _words(error: BaseException) -> str:
    """Return the operating system's text for an error, or its class."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:
        return os.strerror(number)  # not strerror: asyncio adds the address to it
    words: object = getattr(error, "strerror", None)  # a resolver's numbers are negative, and differ from the system's
    return words if isinstance(words, str) else type(error).__name__
