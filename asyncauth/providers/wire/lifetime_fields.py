"""The formats in which APIs state a token's lifetime. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from asyncauth import expiry
from asyncauth.errors import InvalidTokenResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNITS", "Unit", "iso_date", "lifetime_of"]

Unit = Literal[
    "seconds", "ms", "minutes", "hours", "days", "hh:mm:ss", "epoch_seconds", "epoch_ms", "http_date", "iso8601"
]

_SECONDS: Mapping[str, float] = {"seconds": 1.0, "ms": 0.001, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0}
"""The seconds in each unit of a duration."""
UNITS: tuple[str, ...] = (*_SECONDS, "hh:mm:ss", "epoch_seconds", "epoch_ms", "http_date", "iso8601")

_CLOCK = re.compile(r"(?:([0-9]{1,6})\.)?([0-9]{1,6}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")
_LONGEST_DATE = 64


def lifetime_of(value: object, field: str, unit: Unit) -> tuple[list[float], list[float]]:
    """Return a field's durations in seconds, and its instants in Unix epoch seconds.

    Raises:
        InvalidTokenResponse: The field is unreadable, or its duration is not positive.
    """
    if unit in _SECONDS:
        return [expiry.lifetime_seconds(value, field, _SECONDS[unit])], []
    if unit == "hh:mm:ss":
        return [expiry.duration(_clock_reading(value, field), field)], []
    if unit in {"epoch_seconds", "epoch_ms"}:  # distinguished by their size, whatever is declared
        return [], [expiry.epoch(value, field)]
    return [], [expiry.http_date(value, field) if unit == "http_date" else iso_date(value, field)]


def _clock_reading(value: object, field: str) -> float:
    """Return the seconds in ``"177:05:38"``, or in ``"7.09:05:38"`` with days before.

    Raises:
        InvalidTokenResponse: The value has another format.
    """
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST_DATE else None
    if match is None:
        raise InvalidTokenResponse(
            f"{field} can't be read: it is not a duration such as 177:05:38", advice=expiry.FORM_ADVICE
        )
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def iso_date(value: object, field: str) -> float:
    """Return the Unix epoch seconds of an ISO 8601 date and time. Without a zone, it is in UTC.

    Raises:
        InvalidTokenResponse: The value has another format.

    Source: ISO 8601-1:2019 as restricted by RFC 3339; fractions and the basic format are accepted, too.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_DATE:
        try:
            moment = datetime.fromisoformat(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise InvalidTokenResponse(f"{field} can't be read: it is not an ISO 8601 date and time", advice=expiry.FORM_ADVICE)
