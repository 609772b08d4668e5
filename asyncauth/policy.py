"""The settings of a manager's refreshes, and when a token of a given lifetime is to be renewed."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import attrs

from asyncauth.errors import ConfigurationError

__all__ = ["RefreshPolicy", "Windows"]

MARGIN_SHARE = 0.10
"""The most of a lifetime that `RefreshPolicy.expiry_margin` may take: a 2 s token must work too."""
EARLIEST_SHARE = 0.50
"""Renewal is never due before this share of the lifetime: two renewals per lifetime at most, after the first token."""
HEADROOM = 1.2
"""How much slower than the slowest recent one a token request may be and still end in time."""
LONGEST_HOLD = 3600.0
"""Seconds: the longest that a refusal or a ``Retry-After`` is remembered."""


class Windows(NamedTuple):
    """The parts of one token's life, in seconds from the moment its request was sent.

    Attributes:
        fresh: Until then the token is handed out and nothing else happens.
        usable: Until then it is handed out, while a renewal is under way; from then on it is spent.
    """

    fresh: float
    usable: float


def _number(
    instance: RefreshPolicy,  # noqa: ARG001 (attrs passes it)
    attribute: attrs.Attribute[Any],
    value: object,
) -> None:
    if value is None and attribute.name == "idle_timeout":
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:  # noqa: PLR0124 (NaN; an int may be too large for isnan)
        raise ConfigurationError(f"RefreshPolicy({attribute.name}=…) takes a number, not {value!r}")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ConfigurationError(f"RefreshPolicy({attribute.name}=…) takes a number that fits a float")
    low, high = attribute.metadata["range"]
    if not low <= value <= high:
        raise ConfigurationError(f"RefreshPolicy({attribute.name}={value!r}) must be from {low:g} to {high:g}")


def _setting(default: float, low: float = 0.0, high: float = math.inf) -> Any:
    return attrs.field(default=default, validator=_number, metadata={"range": (low, high)})


@attrs.frozen(kw_only=True)
class RefreshPolicy:
    """When a manager renews, gives up, and tries again. The defaults suit lifetimes from 2 s to years.

    Attributes:
        renew_at: The fraction of the lifetime after which renewal is due (0.5 to 1; default 0.8). It is due sooner
            when the token endpoint has been slow, and never before half the lifetime.
        jitter: The largest fraction of the lifetime by which a renewal is brought forward at random, so that
            processes spread out (0 to 0.05; default 0.05).
        expiry_margin: Seconds before its end from which a token counts as spent, at most 10 % of the lifetime
            (default 10).
        deadline: Seconds that one refresh may take, with all its tries (default 30). A provider that knows better
            has a ``deadline`` of its own. A single token request may take half of it.
        rejection_cooldown: Seconds for which a refused credential is not tried again (at least 0.1; default 60).
            Doubles with each further refusal of the same credential, up to 1 h.
        idle_timeout: Seconds without a caller after which a manager is no longer kept fresh in the background
            (default 3600; 0 = never keep it fresh, ``None`` = always).
        backoff: Seconds that the first wait after a transient failure takes at most; doubles with each further
            one, each drawn at random between nearly nothing and its most (full jitter; default 0.25).
        backoff_limit: The most seconds that such a wait grows to (default 15). While callers wait, an outage of up to a
            minute is waited out with shorter pauses: half a second at most, or a quarter of the outage so far, and
            never over 3 s.
        refusal_cooldown: Seconds for which refusals by the API (401) change nothing, once a fresh token was refused
            as well (at least 0.1; default 5). Doubles each time, up to ``refusal_cooldown_limit``.
        refusal_cooldown_limit: Seconds (at least 0.1; default 60).
        store_timeout: Seconds that a call to a shared store may take before the manager does without (default 1).
        close_grace: Seconds that ``close()`` gives a token request that is already under way (default 2).

    Raises:
        ConfigurationError: A value is not a number, or out of its range.
    """

    renew_at: float = _setting(0.8, EARLIEST_SHARE, 1.0)
    jitter: float = _setting(0.05, 0.0, 0.05)
    expiry_margin: float = _setting(10.0)
    deadline: float = _setting(30.0, 0.001)
    rejection_cooldown: float = _setting(60.0, 0.1)
    idle_timeout: float | None = _setting(3600.0)
    backoff: float = _setting(0.25, 0.001)
    backoff_limit: float = _setting(15.0, 0.001)
    refusal_cooldown: float = _setting(5.0, 0.1)
    refusal_cooldown_limit: float = _setting(60.0, 0.1)
    store_timeout: float = _setting(1.0, 0.001)
    close_grace: float = _setting(2.0)

    def windows(self, lifetime: float | None, *, slowest: float = 0.0, unit_random: float = 0.0) -> Windows:
        """Return when a token of this lifetime is fresh, stale and spent.

        Args:
            lifetime: Seconds; ``None`` = unknown, so neither renewal nor the end is ever due.
            slowest: Seconds that the slowest of the recent token requests took.
            unit_random: A random number from 0 to 1: how much of the jitter to take.
        """
        if lifetime is None:
            return Windows(math.inf, math.inf)
        usable = lifetime - min(self.expiry_margin, MARGIN_SHARE * lifetime)
        due = min(self.renew_at * lifetime, usable, usable - HEADROOM * slowest) - self.jitter * unit_random * lifetime
        return Windows(max(due, EARLIEST_SHARE * lifetime), usable)

    def windows_again(self, lifetime: float | None, *, slowest: float = 0.0) -> Windows:
        """Return when a token is fresh, stale and spent that the server has given before: it caches its tokens.

        What is left of its life is used to the end: asked sooner, the server would give the same token once more.

        Args:
            lifetime: Seconds that are left of it; ``None`` = unknown.
            slowest: Seconds that the slowest of the recent token requests took.
        """
        if lifetime is None:
            return self.windows(None)
        usable = self.windows(lifetime).usable
        return Windows(max(usable - slowest, EARLIEST_SHARE * lifetime), usable)
