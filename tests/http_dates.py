"""A moment in the three forms of an HTTP date (RFC 9110 §5.6.7)."""

from __future__ import annotations

from datetime import datetime

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def imf_fixdate(moment: datetime) -> str:
    date = f"{moment.day:02} {MONTHS[moment.month - 1]} {moment.year:04}"
    return f"{DAYS[moment.weekday()][:3]}, {date} {moment:%H:%M:%S} GMT"


def rfc850(moment: datetime) -> str:
    date = f"{moment.day:02}-{MONTHS[moment.month - 1]}-{moment.year % 100:02}"
    return f"{DAYS[moment.weekday()]}, {date} {moment:%H:%M:%S} GMT"


def asctime(moment: datetime) -> str:
    return f"{DAYS[moment.weekday()][:3]} {MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year:04}"
