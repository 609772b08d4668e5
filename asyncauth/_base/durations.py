"""Durations as readable text."""

from __future__ import annotations

__all__ = ["in_seconds", "in_words"]

_EXACT_BELOW = 10.0
"""Seconds below which a log shows tenths."""
_LEAST_SHOWN = 0.05
"""Seconds below which a tenth would be shown as 0.0."""
_ALMOST = 0.999
"""Of a unit: a measured duration is slightly shorter than the real one, and still counts as a whole unit."""
_UNITS = ((365 * 86400, "years"), (86400, "d"), (3600, "h"), (60, "min"))


def in_seconds(seconds: float) -> str:
    """Return seconds with the digits that matter: ``690 s``, ``5 s``, ``0.8 s``. Only zero is shown as ``0 s``.

    Args:
        seconds: The duration; a negative one is shown with its sign.
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
        seconds: The duration; a negative one is shown with its sign. Years are used from two years on.
    """
    for unit, name in _UNITS[1:] if seconds < 2 * _UNITS[0][0] else _UNITS:
        if abs(seconds) >= _ALMOST * unit:
            return f"{seconds / unit:.1f} {name}"
    return in_seconds(seconds)
