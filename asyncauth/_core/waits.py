"""How long to wait after a failure, and how the waits grow. Pure: told the counts and a random number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from asyncauth.policy import LONGEST_HOLD

if TYPE_CHECKING:
    from asyncauth.policy import RefreshPolicy

__all__ = ["backoff_after", "credential_rejected_cooldown", "doubled", "paced_wait", "pause_for_callers"]

SHORTEST_OUTAGE_PAUSE = 0.5
"""Seconds: the pause between tries while callers wait, at the beginning of an outage, at most."""
OUTAGE_SHARE = 0.25
"""The part of the outage so far that such a pause takes at most."""
LONGEST_OUTAGE_PAUSE = 3.0
"""Seconds: the longest such pause."""
LONGEST_HURRY = 60.0
"""Seconds of an outage after which callers no longer shorten the pauses."""
_PAUSE_JITTER = 0.25
"""The largest fraction by which a pause of callers, or of pacing, is shortened at random."""
LONGEST_PACED_WAIT = 480.0
"""Seconds: the longest wait after an unreadable answer. With it, an hour has no more than 20 of them."""

_MOST_DOUBLINGS = 60
"""The most times that a wait is doubled. Its limit is reached long before; a larger power would not fit a float."""


def backoff_after(policy: RefreshPolicy, failures: int, unit_random: float) -> float:
    """Return the seconds to wait after so many transient failures in a row.

    Args:
        policy: The manager's.
        failures: How many there have been, from 1.
        unit_random: A random number from 0 to 1.
    """
    most = doubled(policy.backoff, failures, policy.backoff_limit)
    # At least a tenth: an endpoint that fails at once must not cause a busy loop.
    return most * max(unit_random, 0.1)


def pause_for_callers(outage: float, unit_random: float) -> float:
    """Return the most seconds to wait before the next try while callers wait; ``inf``: as long as without them.

    An outage of 10 s thus costs them 2.5 s more at most, and a server that is down is asked 15 times in 5 s at most.

    Args:
        outage: Seconds since the first failure of the outage.
        unit_random: A random number from 0 to 1.
    """
    if outage >= LONGEST_HURRY:
        return math.inf
    most = min(max(SHORTEST_OUTAGE_PAUSE, OUTAGE_SHARE * outage), LONGEST_OUTAGE_PAUSE)
    return most * _shortened(unit_random)


def paced_wait(policy: RefreshPolicy, answers: int, unit_random: float) -> float:
    """Return the seconds to wait after so many answers in a row that brought neither a token nor a rejection.

    Args:
        policy: The manager's.
        answers: How many there have been, from 1.
        unit_random: A random number from 0 to 1.
    """
    return doubled(policy.backoff, answers, LONGEST_PACED_WAIT) * _shortened(unit_random)


def _shortened(unit_random: float) -> float:
    return 1.0 - _PAUSE_JITTER * (1.0 - unit_random)


def credential_rejected_cooldown(policy: RefreshPolicy, times: int) -> float:
    """Return the seconds for which a credential is not sent that was rejected so many times in a row (from 1)."""
    return doubled(policy.rejection_cooldown, times, LONGEST_HOLD)


def doubled(seconds: float, times: int, limit: float) -> float:
    """Return the nth of waits (from 1) of which each is twice as long as the one before, up to a limit."""
    return min(limit, seconds * 2.0 ** min(times - 1, _MOST_DOUBLINGS))
