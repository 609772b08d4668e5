"""Text from elsewhere, as a line of a log or a terminal may get it: its control characters would forge lines."""

from __future__ import annotations

__all__ = ["is_visible_ascii", "name_of", "printable"]

_LONGEST_NAME = 200
"""Characters of a name. Longer ones are cut: a log line is for people."""


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


def is_visible_ascii(text: str) -> bool:
    """Return whether a text can travel in a header: it has no characters but ``!`` to ``~``, which has no spaces."""
    return text.isascii() and text.isprintable() and " " not in text


def name_of(thing: object) -> str:
    """Return what a provider, a tenant or a store calls itself, as it may be shown: printable, 200 characters at most.

    Args:
        thing: Its name, or a key of which ``str`` makes one. If that fails, its class stands for it.
    """
    try:
        return printable(str(thing), _LONGEST_NAME)
    except Exception:  # noqa: BLE001 (it may be anybody's)
        return type(thing).__name__
