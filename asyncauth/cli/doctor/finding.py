"""A line of the doctor's."""

from __future__ import annotations

import enum

import attrs

__all__ = ["Finding", "Mark", "fail", "ok", "skip", "warn"]


class Mark(enum.StrEnum):
    """How bad it is: a word, so that nobody has to see a colour."""

    OK = "ok"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "FAIL"


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        mark: How bad it is.
        subject: What was looked at, in a word or two.
        says: What is the case. No secrets.
        do: What to do about it; ``None`` = nothing.
    """

    mark: Mark
    subject: str
    says: str
    do: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return it as `doctor --json` prints it."""
        return {"mark": self.mark.lower(), "subject": self.subject, "says": self.says, "do": self.do}


def ok(subject: str, says: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Mark.OK, subject, says)


def skip(subject: str, says: str) -> Finding:
    """Return why something was not looked at."""
    return Finding(Mark.SKIP, subject, says)


def warn(subject: str, says: str, do: str) -> Finding:
    """Return something that works, and may not for long."""
    return Finding(Mark.WARN, subject, says, do)


def fail(subject: str, says: str, do: str) -> Finding:
    """Return something that can't work, or lets others in."""
    return Finding(Mark.FAIL, subject, says, do)
