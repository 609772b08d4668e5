"""What a call to a store fails with."""

from __future__ import annotations

__all__ = ["StoreTrouble", "explained_call"]


class StoreTrouble(Exception):
    """A call to the store failed or took too long. The text names the call and the class of what it raised.

    Args:
        text: That.
        lock_timeout: Whether another process has the lock.
        explained: What is wrong in words, and what to do, for the log; ``None`` (default): nothing more is known.
    """

    def __init__(self, text: str, *, lock_timeout: bool = False, explained: str | None = None) -> None:
        super().__init__(text)
        self.lock_timeout = lock_timeout
        self.explained = text if explained is None else explained


def explained_call(what: str, error: Exception, says: str | None = None) -> str | None:
    """Return what is wrong with a call and what to do; ``None``: nothing is known of such an error.

    Args:
        what: The call.
        error: What it raised.
        says: What is wrong, in words that say more than the error; ``None`` (default): there are none.
    """
    # Imported with the first trouble: most managers never have any.
    from asyncauth.stores.trouble import explained  # noqa: PLC0415

    words = explained(error)
    return None if words is None else f"{what}: {says or words[0]}; {words[1]}"
