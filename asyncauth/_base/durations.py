"""Durations as people read them."""

from __future__ import annotations

__all__ = ["in_seconds", "in_words"]

_EXACT_BELOW = 10.0
"""Seconds below which a tenth matters to the reader of a log."""
_LEAST_SHOWN = 0.05
"""Seconds below which a tenth would be 0.0."""
_ALMOST = 0.999
"""Of a unit: a measured duration is a moment short of it, and counts as one all the same."""
_UNITS = ((365 * 86400, "years"), (86400, "d"), (3600, "h"), (60, "min"))


def in_seconds(seconds: float) -> str:
    """Return seconds in as many digits as matter: ``690 s``, ``5 s``, ``0.8 s``; what is not zero is never ``0 s``.

    Args:
        seconds: How many; negative ones are shown with their sign.
    """
    size = abs(seconds)
    if size >= _EXACT_BELOW or size == round(size):
        return f"{seconds:.0f} s"
    if size < _LEAST_SHOWN:
        return "less than 0.1 s"
    return f"{seconds:.1f} s"


def in_words(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least one: ``13.9 d``, ``59 s``, ``0.8 s``.

    Args:
        seconds: How many; negative ones are shown with their sign. Years begin at two.
    """
    for unit, name in _UNITS[1:] if seconds < 2 * _UNITS[0][0] else _UNITS:
        if abs(seconds) >= _ALMOST * unit:
            return f"{seconds / unit:.1f} {name}"
    return in_seconds(seconds)
