"""The settings of a manager's refreshes, and when a token of a given lifetime becomes stale and spent."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import attrs

from asyncauth.errors import ConfigurationError

__all__ = ["RefreshPolicy", "Windows"]

MARGIN_SHARE = 0.10
"""The largest share of a lifetime that `RefreshPolicy.expiry_margin` may take: a 2 s token must work, too."""
EARLIEST_SHARE = 0.50
"""Renewal is never due before this share of the lifetime.

In any span of one lifetime, a manager therefore makes at most three token requests: one at its start, one in the
middle, one at its end.
"""
HEADROOM = 1.2
"""A token request may take this many times as long as the slowest recent one and still finish before the token is
spent."""
LONGEST_HOLD = 3600.0
"""Seconds: the longest that a rejection or a ``Retry-After`` is remembered."""


class Windows(NamedTuple):
    """How long a token is fresh and how long it is usable, in seconds from when its request was sent.

    Attributes:
        fresh: Until then, the manager hands out the token and does nothing else.
        usable: From `fresh` until then, the manager hands out the token and renews it. After that, the token is spent.
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
    """When a manager renews, gives up and tries again. The defaults suit lifetimes from 2 s to years.

    Attributes:
        renew_at: The fraction of the lifetime after which renewal is due (0.5 to 1; default 0.8). It is due earlier if
            the token endpoint was slow recently, but never before half the lifetime.
        jitter: The largest fraction of the lifetime by which a renewal is earlier at random, so that processes do not
            all renew at once (0 to 0.05; default 0.05).
        expiry_margin: Seconds before its expiry from which a token counts as spent, at most 10 % of the lifetime
            (default 10).
        deadline: Seconds that one refresh may take, with all its tries (default 30). A provider's own ``deadline``
            takes precedence. A single token request may take half of it.
        rejection_cooldown: Seconds for which a rejected credential is not sent again (at least 0.1; default 60).
            Doubles with each further rejection of the same credential, up to 1 h.
        idle_timeout: Seconds without a caller after which a manager no longer renews in the background (default 3600;
            0: it never does, ``None``: no limit).
        backoff: The most seconds of the first wait after a transient failure (default 0.25). Doubles with each further
            failure. Each wait is drawn at random between almost 0 and that maximum (full jitter).
        backoff_limit: The most seconds that such a wait grows to (default 15). While callers wait, and for the first 60
            s of an outage, the waits are shorter: at most 0.5 s or a quarter of the outage so far, whichever is longer,
            and never over 3 s.
        refusal_cooldown: Seconds for which 401s from the API drop no token, once the API answered a new token with 401,
            too (at least 0.1; default 5). Doubles each time, up to ``refusal_cooldown_limit``.
        refusal_cooldown_limit: The most seconds that ``refusal_cooldown`` grows to (at least 0.1; default 60).
        store_timeout: Seconds that a call to a shared store may take before the manager continues without it (default
            1).
        close_grace: Seconds that ``close()`` allows a token request in progress (default 2).

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
        """Return how long a token of this lifetime is fresh, and how long it is usable.

        Args:
            lifetime: Seconds; ``None``: unknown, so the token stays fresh for ever.
            slowest: Seconds that the slowest of the recent token requests took (default 0).
            unit_random: A random number from 0 to 1: the share of the jitter to use (default 0).
        """
        if lifetime is None:
            return Windows(math.inf, math.inf)
        usable = lifetime - min(self.expiry_margin, MARGIN_SHARE * lifetime)
        due = min(self.renew_at * lifetime, usable, usable - HEADROOM * slowest) - self.jitter * unit_random * lifetime
        return Windows(max(due, EARLIEST_SHARE * lifetime), usable)

    def windows_again(self, lifetime: float | None, *, slowest: float = 0.0) -> Windows:
        """Return the windows of a token that the server has given before, because it caches its tokens.

        Renewal is due only shortly before the token is spent: if asked earlier, the server would return the same token
        again.

        Args:
            lifetime: Seconds that are left of it; ``None``: unknown.
            slowest: Seconds that the slowest of the recent token requests took (default 0).
        """
        if lifetime is None:
            return self.windows(None)
        usable = self.windows(lifetime).usable
        return Windows(max(usable - slowest, EARLIEST_SHARE * lifetime), usable)
