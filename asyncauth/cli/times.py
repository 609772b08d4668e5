"""Instants and durations, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from asyncauth._base.durations import in_words

__all__ = ["in_words", "moment"]


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
