"""The meaning of error codes that are known without a declaration. Pure."""

from __future__ import annotations

import re

__all__ = ["PROTOCOL_CODES", "REQUEST_CODES", "means_busy", "means_rejected"]

_REJECTING = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_target",
        "use_dpop_nonce", "invalid_dpop_proof",
    }
)  # fmt: skip
"""The protocols' own codes for a rejection (RFC 6749 §5.2, 8628 §3.5, 8693 §2.2.2, 9449 §8)."""
PROTOCOL_CODES = _REJECTING | {"temporarily_unavailable", "server_error"}
"""All codes of the protocols: with those of a server that can't answer now (RFC 6749 §4.1.2.1)."""
REQUEST_CODES = {
    "invalid_scope": "the scope",
    "invalid_target": "audience and resource",
    "unsupported_grant_type": "the token endpoint's address, and which grants the server offers",
}
"""Codes that say nothing about a credential (RFC 6749 §5.2, 8693 §2.2.2), and what to check instead.

``unauthorized_client`` and ``invalid_request`` are not among them: some servers send them for a wrong secret.
"""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST = 100
_MOST_BLANKS = 2
"""``Too Many Requests`` counts as a code, a sentence does not."""
_BUSY_WORDS = re.compile(
    r"slow_down|temporarily_unavailable|service_unavailable|(?:internal_)?server_error|internal_failure"
    r"|(?:.*_)?(?:rate_?limit(?:ed|_.*)?|too_?many_?(?:requests|attempts)(?:_.*)?|qps(?:_.*)?|throttl(?:ed|ing)(?:_.*)?"
    r"|(?:requests?|calls?|quota|usage)_(?:limit_)?(?:exceeded|reached))"
)
_REJECTED_WORDS = re.compile(
    r"(?:invalid|bad|incorrect|wrong|expired|revoked|unknown)_"
    r"(?:.*_)?(?:client|credentials?|secret|password|grant|token|code|assertion)(?:_id)?"
)


def means_busy(code: object) -> bool:
    """Return whether a code means that the server can't answer now, such as ``slow_down`` and ``TooManyRequests``."""
    return _consists_of(code, _BUSY_WORDS)


def means_rejected(code: object) -> bool:
    """Return whether a code means that the credential was rejected, such as ``invalid_grant`` and ``bad_client_id``."""
    return isinstance(code, str) and (code in _REJECTING or _consists_of(code, _REJECTED_WORDS))


def _consists_of(code: object, words: re.Pattern[str]) -> bool:
    """Return whether a code consists of these words, however they are joined."""
    if not isinstance(code, str) or len(code) > _LONGEST or code.count(" ") > _MOST_BLANKS:
        return False
    return words.fullmatch("_".join(_WORD.findall(code)).lower()) is not None
