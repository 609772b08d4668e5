"""What error codes mean without being declared."""

from __future__ import annotations

import time

import pytest

from asyncauth.providers.wire.error_codes import means_busy, means_rejected


@pytest.mark.parametrize(
    "code",
    [
        "slow_down", "temporarily_unavailable", "server_error", "internal_failure", "service_unavailable",
        "rate_limit", "rate_limited", "ratelimited", "rate_limit_exceeded", "RATE_LIMIT_REACHED", "rateLimitExceeded",
        "over_request_rate_limit", "local_rate_limited", "too_many_requests", "TooManyRequests", "toomanyrequests",
        "TooManyRequestsException", "Too Many Requests", "TOO_MANY_ATTEMPTS_TRY_LATER", "QPSLimit", "QPS_LIMIT",
        "RequestLimitExceeded", "REQUEST_LIMIT_EXCEEDED", "quotaExceeded", "quota_limit_reached",
        "Forbidden.AccessDenied.QpsLimitForApi", "Throttling", "Throttling.User", "throttled",
    ],
)  # fmt: skip
def test_busy(code: str) -> None:
    """Codes of rate limits and of servers in trouble, however their words are joined."""
    assert means_busy(code)
    assert means_rejected(code) is (code == "slow_down")


@pytest.mark.parametrize(
    "code",
    [
        "invalid_grant", "invalid_client", "access_denied", "bad_refresh_token", "invalid_refresh_token",
        "incorrect_client_credentials", "bad_client_secret", "invalid_code", "InvalidClientId", "expired_token",
        "wrong-password",
    ],
)  # fmt: skip
def test_rejected(code: str) -> None:
    """Codes that name a credential and what is wrong with it."""
    assert means_rejected(code)
    assert not means_busy(code)


@pytest.mark.parametrize(
    "code",
    [
        None, 7, True, [], {}, "", "nope", "invalid_auth", "error", "Access Denied", "limit", "rate", "qpsx",
        "prorate_limiter", "separate_limits", "invalid_token_format", "Too many failed logins",
        "You have made too many requests", "x" * 95 + "_slow_down", "rate_limit" + "s" * 200,
    ],
)  # fmt: skip
def test_neither(code: object) -> None:
    """Anything else says nothing by itself."""
    assert not means_busy(code)
    assert not means_rejected(code)


@pytest.mark.parametrize("piece", ["a_", "rate_limit_", "Throttling", "invalid_token_", "_"])
def test_a_long_code_costs_little(piece: str) -> None:
    """The longest code that is looked at is 100 characters long."""
    started = time.process_time()
    for code in ((piece * 100)[:100], piece * 100_000):
        means_busy(code)
        means_rejected(code)
    assert time.process_time() - started < 0.05
