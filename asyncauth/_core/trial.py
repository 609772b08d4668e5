"""What an API's 401 to a new token means while the token before it is still usable.

Some APIs know a token only a second after its issuer does. So a new token is *unproven* until an API has answered it
with anything but a 401, and its *predecessor* is kept until then. A 401 to the unproven token begins its *trial*:
callers get the predecessor again, and now and then a single request, a *probe*, carries the new token.

No clock, lock or I/O: callers pass the time, in seconds of the manager's monotonic clock. `TokenState` keeps them.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["YOUNG", "Trial", "Use", "pause_before_repeat", "waits_for_proof"]

_PROBES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds after the first 401 to a new token. From each of these on, one request carries it again."""
_LONGEST = 10.0
"""Seconds after the first 401 to a new token. From then on, a 401 drops it like any other token."""

YOUNG = 5.0
"""Seconds for which a request is sent again with a token that is not accepted yet and has no predecessor."""
_KNOWN_AFTER = 1.0
"""Seconds after which an API most likely knows a token: the age at which such a token is sent again."""
_SHORTEST_PAUSE = 0.25


class Use(enum.Enum):
    """What a caller wants a token for. It decides who gets an unproven one."""

    BY_HAND = "by hand"
    """The caller sends it by itself. The manager does not see the answer, so this is never a probe."""
    REPEATABLE = "repeatable"
    """A request that can be sent again with the predecessor."""
    ONCE = "once"
    """A request that can be sent only once: it carries the predecessor for as long as a new token may be unknown."""


class Trial(NamedTuple):
    """The trial of a new token that got a 401 before the API had accepted it.

    Attributes:
        since: When it got its first 401.
        probe_at: When the next request may carry it.
        last: Whether a 401 to this probe drops the token like any other.
    """

    since: float
    probe_at: float
    last: bool = False

    @classmethod
    def begun(cls, now: float) -> Trial:
        """Return a new trial, of a token that gets its first 401 now."""
        return cls(now, now + _PROBES[0])

    def probed(self, now: float) -> Trial:
        """Return the trial after a request with the new token has begun."""
        passed = now - self.since
        probe_at = next((self.since + after for after in _PROBES if after > passed), None)
        if probe_at is None:
            # After the last probe, further ones follow at the same distance, in case the server never answers them.
            probe_at = self.since + _LONGEST if passed < _LONGEST else now + _PROBES[-1]
        return Trial(self.since, probe_at, last=passed >= _LONGEST)

    def probes(self, use: Use, now: float) -> bool:
        """Return whether a request that begins now carries the new token."""
        if use is Use.ONCE:
            return now >= max(self.probe_at, self.since + _LONGEST)
        return use is Use.REPEATABLE and now >= self.probe_at


def waits_for_proof(use: Use, since: float, now: float) -> bool:
    """Return whether a request carries the predecessor of a new token although the new token got no 401 yet.

    Args:
        use: What kind of request it is.
        since: When the new token became the current one.
        now: The present.
    """
    return use is Use.ONCE and now < since + _LONGEST


def pause_before_repeat(since: float, now: float) -> float:
    """Return the seconds to wait before a young token without a predecessor is sent again: 1 s at most.

    Args:
        since: When it became the current one.
        now: The present.
    """
    return min(max(since + _KNOWN_AFTER - now, _SHORTEST_PAUSE), _KNOWN_AFTER)
