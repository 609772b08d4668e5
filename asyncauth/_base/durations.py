"""Durations as people read them."""

from __future__ import annotations

__all__ = ["in_seconds"]

_EXACT_BELOW = 10.0
"""Seconds below which a tenth matters to whoever reads a log."""
_LEAST_SHOWN = 0.05
"""Seconds below which a tenth would be 0.0."""


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
