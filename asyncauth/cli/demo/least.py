"""How few token requests a run can do with: plain arithmetic, to hold the real number against."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["least", "paced", "spans"]

_ROUNDING = 1e-9


def spans(seconds: float, revoked_at: Sequence[float]) -> list[float]:
    """Return the lengths of the parts into which revocations cut a run; after each, everything starts over.

    Args:
        seconds: The run's length.
        revoked_at: Seconds from its start at which all tokens were revoked.
    """
    edges = [0.0, *sorted(moment for moment in revoked_at if 0 < moment < seconds), seconds]
    return [after - before for before, after in pairwise(edges)]


def least(lives: Sequence[float], lengths: Sequence[float]) -> list[int]:
    """Return the fewest token requests, step by step, that keep a usable token at hand all the time.

    A step's token serves for its own life, and what was obtained with it in its last moment serves on for the lives
    of the steps after it. So no client can do with fewer, even if it knew every revocation the moment it happens.

    Args:
        lives: Seconds that each step's token lives, the API's own step first, the chain's first step last.
        lengths: The run's parts; see `spans`.
    """
    reaches = list(accumulate(lives))
    return [sum(_rounds(length, reach) for length in lengths) for reach in reaches]


def paced(lives: Sequence[float], lengths: Sequence[float], share: float) -> list[int]:
    """Return the token requests of a client that renews at a share of each life, when a step is asked for its token.

    Args:
        lives: As for `least`.
        lengths: As for `least`.
        share: Of the lives, such as 0.8.
    """
    totals = [0] * len(lives)
    for length in lengths:
        period = share * lives[0]
        asked = [number * period for number in range(_rounds(length, period))]
        totals[0] += len(asked)
        for step, life in enumerate(lives[1:], 1):
            obtained: list[float] = []
            for moment in asked:
                if not obtained or moment - obtained[-1] >= share * life:
                    obtained.append(moment)
            totals[step] += len(obtained)
            asked = obtained
    return totals


def _rounds(length: float, each: float) -> int:
    return max(1, math.ceil(length / each - _ROUNDING))
