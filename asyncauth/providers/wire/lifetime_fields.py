"""The ways in which APIs say how long a token lives, and where in an answer they say it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from asyncauth import expiry
from asyncauth.errors import ConfigurationError, InvalidTokenResponse

__all__ = ["UNITS", "Path", "Unit", "iso_date", "lifetime_of"]

Unit = Literal["seconds", "epoch_seconds", "epoch_ms", "http_date", "iso8601"]

UNITS = ("seconds", "epoch_seconds", "epoch_ms", "http_date", "iso8601")

_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(-?[0-9]+)\]|\[(?:'([^']+)'|"([^"]+)")\]""")
_LONGEST_DATE = 64


@attrs.frozen
class Path:
    """Where a value stands in a JSON answer: ``access_token``, ``data.token``, ``items[0].token``, ``['.expires']``.

    Attributes:
        text: As it was written; a ``$.`` before it is allowed.
        steps: The names and numbers on the way.
    """

    text: str
    steps: tuple[str | int, ...]

    @classmethod
    def of(cls, text: str, argument: str) -> Path:
        """Return a path.

        Raises:
            ConfigurationError: It can't be read.
        """
        rest = text.removeprefix("$").removeprefix(".") if isinstance(text, str) else ""
        steps: list[str | int] = []
        position = 0
        while position < len(rest):
            match = _STEP.match(rest, position)
            if match is None:
                break
            steps.append(int(match[2]) if match[2] else match[1] or match[3] or match[4])
            position = match.end()
        if not steps or position < len(rest) or not isinstance(steps[0], str):
            raise ConfigurationError(f"{argument} is a path such as 'data.token', 'items[0].token' or \"['.expires']\"")
        return cls(text, tuple(steps))

    def value(self, fields: Mapping[str, Any]) -> Any:
        """Return what stands there.

        Raises:
            LookupError: Nothing does.
        """
        value: Any = fields
        for step in self.steps:
            kind: Any = list if isinstance(step, int) else Mapping
            if not isinstance(value, kind):
                raise LookupError(self.text)  # noqa: TRY004 (as a missing name or number is)
            value = value[step]
        return value


def lifetime_of(value: object, field: str, unit: Unit) -> tuple[list[float], list[float]]:
    """Return the durations in seconds, and the instants in Unix epoch seconds, that a field contributes.

    Raises:
        InvalidTokenResponse: It can't be read, or is a duration that is not positive.
    """
    if unit == "seconds":
        return [expiry.duration(value, field)], []
    if unit == "epoch_seconds":
        return [], [expiry.epoch(value, field)]
    if unit == "epoch_ms":
        return [], [expiry.duration(value, field) / 1000]
    return [], [expiry.http_date(value, field) if unit == "http_date" else iso_date(value, field)]


def iso_date(value: object, field: str) -> float:
    """Return the Unix epoch seconds of an ISO 8601 date and time. One without a zone is UTC.

    Raises:
        InvalidTokenResponse: It is none.

    Source: ISO 8601-1:2019 as RFC 3339 narrows it; fractions and the basic form are read as well.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_DATE:
        try:
            moment = datetime.fromisoformat(value.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    raise InvalidTokenResponse(f"{field} can't be read: it is not an ISO 8601 date and time")
