"""Text from elsewhere, as a line of a log or a terminal may get it: its control characters would forge lines."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, longest: int | None = None) -> str:
    """Return a text in which each character that can't be seen is a space.

    Those are line breaks, escape sequences' first character, what changes the direction of writing, what has no width,
    and lone surrogates.

    Args:
        text: Anybody's.
        longest: Characters that are kept, an ellipsis at the cut included; ``None`` (default): all.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)
