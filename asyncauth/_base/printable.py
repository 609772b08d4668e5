"""Text from other sources, made safe for a log line or a terminal, where control characters would forge lines."""

from __future__ import annotations

__all__ = ["name_of", "printable"]

_LONGEST_NAME = 200
"""Characters of a name. Longer ones are cut, so that log lines stay readable."""


def printable(text: str, longest: int | None = None) -> str:
    """Return a text with a space in place of each character that is not printable.

    These are line breaks, the first character of escape sequences, characters that change the writing direction or have
    no width, and lone surrogates.

    Args:
        text: A text from any source.
        longest: The most characters to keep, with the ellipsis at the cut; ``None`` (default): no limit.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def name_of(thing: object) -> str:
    """Return the name of a provider, tenant or store, safe to show: printable, at most 200 characters.

    Args:
        thing: The name, or a key that ``str`` converts. If that fails, the result is the name of its class.
    """
    try:
        return printable(str(thing), _LONGEST_NAME)
    except Exception:  # noqa: BLE001 (user code may raise anything)
        return type(thing).__name__
