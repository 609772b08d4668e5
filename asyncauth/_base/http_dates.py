"""Reads the dates of HTTP, in all three forms (RFC 9110 §5.6.7). Pure; bounded work for any input."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from asyncauth._base.patterns import pattern

__all__ = ["parse_http_date"]

_MAX_TEXT: Final = 64  # characters; no valid date is longer
_BLANKS: Final = " \t\r\n"
_PIVOT: Final = 69  # POSIX strptime %y: 69-99 are 1969-1999, 00-68 are 2000-2068
_CENTURY: Final = 100  # years
_FAR: Final = 50  # years ahead; a two-digit year beyond that is in the past (RFC 9110 §5.6.7)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME: Final = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-5][0-9]|60)"  # 60: a leap second
_ZONE: Final = r"(?: *(?:GMT|UTC|UT|Z|(?P<sign>[+-])(?P<east>[01][0-9]|2[0-3]):?(?P<past>[0-5][0-9])))?"
_FLAGS: Final = re.ASCII | re.IGNORECASE
# IMF-fixdate ("Sun, 06 Nov 1994 08:49:37 GMT") and RFC 850 ("Sunday, 06-Nov-94 08:49:37 GMT") differ only in the dashes
# and the century. The weekday adds nothing to the date, so it is not compared.
_DATE: Final = pattern(
    rf"(?:[A-Z]{{3,9}},? +)?(?P<day>[0-9]{{1,2}})[ -]{_MONTH}[ -](?P<year>[0-9]{{4}}|[0-9]{{2}}) +"
    rf"{_TIME}{_ZONE}",
    _FLAGS,
)
_ASCTIME: Final = pattern(
    rf"[A-Z]{{3,9}},? +{_MONTH} +(?P<day>[0-9]{{1,2}}) +{_TIME} +(?P<year>[0-9]{{4}}){_ZONE}", _FLAGS
)


def parse_http_date(value: object, now: float | None) -> float | None:
    """Return the Unix epoch seconds of an HTTP date in any of its forms; ``None``: it is unreadable.

    Args:
        value: The date's text. Anything else is unreadable.
        now: Unix epoch seconds that decide the century of a two-digit year; ``None``: as in POSIX.
    """
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        return None
    text = value.strip(_BLANKS)
    match = _DATE().fullmatch(text) or _ASCTIME().fullmatch(text)
    if match is None:
        return None
    month = 1 + _MONTHS.index(match["month"].lower())
    day, hour, minute, second = map(int, match.group("day", "hour", "minute", "second"))
    year = int(match["year"])
    if len(match["year"]) < len("1994"):
        year = _full_year(year, (month, day, hour, minute, second), now)
    try:
        start = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:  # 31 Feb, 24:00, the year 0
        return None
    offset = 0
    if match["sign"] is not None:
        offset = (int(match["east"]) * 60 + int(match["past"])) * (-60 if match["sign"] == "-" else 60)
    return start.timestamp() + second - offset


def _full_year(digits: int, rest: tuple[int, int, int, int, int], now: float | None) -> int:
    """Return the latest year with these last two digits that is at most 50 years after ``now``."""
    pivoted = digits + (1900 if digits >= _PIVOT else 2000)
    if now is None:
        return pivoted
    try:
        today = _EPOCH + timedelta(seconds=now)  # unlike fromtimestamp(), the same on every platform
    except (OverflowError, ValueError):  # a clock in the year 10,000, or NaN
        return pivoted
    latest = today.year + _FAR
    year = latest - latest % _CENTURY + digits
    limit = (latest, today.month, today.day, today.hour, today.minute, today.second)
    return year - _CENTURY if (year, *rest) > limit else year
