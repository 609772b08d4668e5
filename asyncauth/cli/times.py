"""Instants and durations, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from asyncauth._base.durations import in_seconds

__all__ = ["in_words", "moment"]

_ALMOST = 0.999
"""Of a unit: what is measured is a moment short of it, and counts as one all the same."""
_UNITS = ((365 * 86400, "years"), (86400, "d"), (3600, "h"), (60, "min"))


def moment(epoch: float | None) -> str | None:
    """Return an instant as RFC 3339 writes it, to the second.

    Args:
        epoch: Unix epoch seconds; ``None`` = unknown, and so is the answer.
    """
    if epoch is None:
        return None
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # further away than a calendar goes
        return f"{epoch:.0f}"


def in_words(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least one: ``13.9 d``, ``59 s``, ``0.8 s``."""
    for unit, name in _UNITS[1:] if seconds < 2 * _UNITS[0][0] else _UNITS:
        if abs(seconds) >= _ALMOST * unit:
            return f"{seconds / unit:.1f} {name}"
    return in_seconds(seconds)
