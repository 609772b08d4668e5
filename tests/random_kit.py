"""Random numbers that tests choose, for ``random=``."""

from __future__ import annotations

__all__ = ["largest"]


def largest() -> float:
    """Return the largest number each time: backoffs of 0.25 s, 0.5 s, 1 s and so on, and the most jitter."""
    return 1.0
