"""For how long a server asks not to be asked."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from asyncauth.providers.wire.pause import asked_pause, quota_pause

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "document", "seconds"),
    [
        ({}, None, None),
        ({"retry-after": "7"}, None, 7.0),
        ({"Retry-After": "2.0"}, {"retry_after": 9}, 2.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}, None, 60.0),
        ({"Retry-After": "1700000060"}, None, 60.0),
        ({"Retry-After": "1700000060000"}, None, 60.0),
        ({"Retry-After": "soon"}, {"retry_after": 9}, 9.0),
        ({}, {"retry_after": 0.57, "global": False}, 0.57),
        ({}, {"retryAfter": "12"}, 12.0),
        ({}, {"retry_after_ms": 2500}, 2.5),
        ({}, {"error": {"retry_after_seconds": 3}}, 3.0),
        ({}, {"ok": False, "parameters": {"retry_after": 35}}, 35.0),
        ({}, {"retry_after": 1700000060}, 60.0),
        ({}, {"retry_after": 0}, None),
        ({}, {"retry_after": -1}, None),
        ({}, {"retry_after": True}, None),
        ({}, {"retry_after": "soon"}, None),
        ({}, "retry_after", None),
    ],
)
def test_what_is_asked_for(headers: dict[str, str], document: object, seconds: float | None) -> None:
    """``Retry-After`` first, then its like in the body; a Unix time is told by its size."""
    assert asked_pause(CIMultiDict(headers), document, NOW) == seconds


@pytest.mark.parametrize("now", [None, NOW])
def test_a_unix_time_needs_the_servers_clock(now: float | None) -> None:
    """Ours may be wrong."""
    assert asked_pause(CIMultiDict({"Retry-After": "1700000060"}), None, now) == (None if now is None else 60.0)


@pytest.mark.parametrize(
    ("headers", "told", "assumed"),
    [
        ({}, None, None),
        ({"x-ratelimit-reset": "3"}, None, 3.0),
        ({"x-ratelimit-reset": "3", "x-ratelimit-remaining": "0"}, 3.0, 3.0),
        ({"x-ratelimit-reset": "3", "x-ratelimit-remaining": "0.0"}, 3.0, 3.0),
        ({"x-ratelimit-reset": "3", "x-ratelimit-remaining": "12"}, None, None),
        ({"X-Rate-Limit-Reset": "1700000060", "X-Rate-Limit-Remaining": "0"}, 60.0, 60.0),
        ({"RateLimit-Reset": "50", "RateLimit-Remaining": "0"}, 50.0, 50.0),
        ({"RateLimit-Reset": "1699999999", "RateLimit-Remaining": "0"}, 0.0, 0.0),
        ({"RateLimit-Reset": "later", "X-RateLimit-Reset": "x"}, None, None),
        ({"X-RateLimit-Remaining": "0"}, None, None),
    ],
)
def test_a_quota_that_is_used_up(headers: dict[str, str], told: float | None, assumed: float | None) -> None:
    """Its reset, in seconds that are left or as a Unix time; one with something left is not the reason."""
    assert quota_pause(CIMultiDict(headers), NOW, unless_told=False) == told
    assert quota_pause(CIMultiDict(headers), NOW, unless_told=True) == assumed
