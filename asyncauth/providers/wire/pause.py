"""For how long a server asks not to be asked, wherever it says so. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth import expiry
from asyncauth.providers.wire.words import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["asked_pause", "quota_pause"]

_QUOTAS = ("X-RateLimit", "X-Rate-Limit", "RateLimit")
"""What the names of the headers begin with that tell of a quota. There is no standard yet."""
_IN_BODIES = (("retryafter", 1.0), ("retryafterseconds", 1.0), ("retryafterms", 0.001))
"""Names of a body's members in lower case and without ``_``, and what their units are worth in seconds."""


def asked_pause(headers: Mapping[str, str], document: object, now: float | None) -> float | None:
    """Return for how many seconds an answer asks us to wait: by ``Retry-After``, or by its like in the body.

    Args:
        headers: The answer's headers.
        document: What its body holds.
        now: The server's clock, in Unix epoch seconds; ``None``: unknown.

    Returns:
        ``None`` if it does not, or not readably.

    Source: RFC 9110 §10.2.3. In the body: ``retry_after`` in seconds, ``retry_after_ms`` in milliseconds.
    """
    seconds = expiry.retry_after(headers.get("Retry-After"), now)
    if seconds is not None:
        return seconds
    for part in parts(document):
        if not isinstance(part, str):
            pauses = (expiry.seconds_until(part.get(name), now, scale) for name, scale in _IN_BODIES)
            seconds = next(filter(None, pauses), None)  # no pause of 0 s makes a rejection something else
            if seconds is not None:
                return seconds
    return None


def quota_pause(headers: Mapping[str, str], now: float | None, *, unless_told: bool) -> float | None:
    """Return in how many seconds a quota is renewed that is used up, by the headers that many APIs send.

    Args:
        headers: The answer's headers.
        now: The server's clock, in Unix epoch seconds; ``None``: unknown.
        unless_told: Whether a quota counts as used up if no header says what is left of it.

    Returns:
        ``None`` if no quota is used up, or nobody knows for how long.
    """
    for name in _QUOTAS:
        left = expiry.seconds_until(headers.get(f"{name}-Remaining"), None)
        seconds = expiry.seconds_until(headers.get(f"{name}-Reset"), now)
        if seconds is not None and (left == 0 or (left is None and unless_told)):
            return seconds
    return None
