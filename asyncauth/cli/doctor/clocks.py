"""Whether this machine's clock and another one agree. Pure."""

from __future__ import annotations

import attrs

from asyncauth.cli.doctor.finding import Finding, Mark, fail, ok, warn
from asyncauth.cli.times import in_words

__all__ = ["clocks", "where_it_works"]

_AGREE = 5.0
"""Seconds by which clocks may differ: nothing goes by them so closely."""
_FAR = 60.0
"""Seconds beyond which signed requests are refused, and so is ``expDate``."""


def clocks(subject: str, whose: str, ahead: float, error: float) -> Finding:
    """Return whether two clocks agree.

    Args:
        subject: What the finding is about.
        whose: Whose the other clock is.
        ahead: Seconds by which it is ahead of this machine's.
        error: Seconds by which that may be wrong.
    """
    apart = max(0.0, abs(ahead) - error)
    if apart <= _AGREE:
        return ok(subject, f"agrees with {whose}")
    says = f"{whose} is {in_words(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's clock"
    do = "set this machine's clock (timedatectl set-ntp true); if it is right, tell the other machine's operator"
    return fail(subject, says, do) if apart > _FAR else warn(subject, says, do)


def where_it_works(finding: Finding) -> Finding:
    """Return a finding about a clock as it counts where the login works: a clock that is off is a warning there."""
    return attrs.evolve(finding, mark=Mark.WARN) if finding.mark is Mark.FAIL else finding
