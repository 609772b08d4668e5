"""The seconds for which a server asks clients to wait, wherever it says so. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth import expiry
from asyncauth.providers.wire.words import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["asked_pause", "quota_pause"]

_QUOTAS = ("X-RateLimit", "X-Rate-Limit", "RateLimit")
"""Prefixes of the headers that describe a quota. There is no standard yet."""
_IN_BODIES = (("retryafter", 1.0), ("retryafterseconds", 1.0), ("retryafterms", 0.001))
"""Names of a body's members in lower case and without ``_``, and the seconds in one of their units."""


def asked_pause(headers: Mapping[str, str], document: object, now: float | None) -> float | None:
    """Return the seconds for which an answer asks clients to wait, by ``Retry-After`` or a similar member of the body.

    Args:
        headers: The answer's headers.
        document: The content of its body.
        now: The server's clock, in Unix epoch seconds; ``None``: unknown.

    Returns:
        ``None`` if it does not, or it is unreadable.

    Source: RFC 9110 §10.2.3. In the body: ``retry_after`` in seconds, ``retry_after_ms`` in milliseconds.
    """
    seconds = expiry.retry_after(headers.get("Retry-After"), now)
    if seconds is not None:
        return seconds
    for part in parts(document):
        if not isinstance(part, str):
            pauses = (expiry.seconds_until(part.get(name), now, scale) for name, scale in _IN_BODIES)
            seconds = next(filter(None, pauses), None)  # a pause of 0 s does not change a rejection
            if seconds is not None:
                return seconds
    return None


def quota_pause(headers: Mapping[str, str], now: float | None, *, unless_told: bool) -> float | None:
    """Return the seconds until a quota that is used up is renewed, by the headers that many APIs send.

    Args:
        headers: The answer's headers.
        now: The server's clock, in Unix epoch seconds; ``None``: unknown.
        unless_told: Whether a quota counts as used up if no header says how much of it is left.

    Returns:
        ``None`` if no quota is used up, or the time of its renewal is unknown.
    """
    for name in _QUOTAS:
        left = expiry.seconds_until(headers.get(f"{name}-Remaining"), None)
        seconds = expiry.seconds_until(headers.get(f"{name}-Reset"), now)
        if seconds is not None and (left == 0 or (left is None and unless_told)):
            return seconds
    return None
