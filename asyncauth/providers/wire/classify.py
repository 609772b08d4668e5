"""What a token endpoint's answer means. Pure: no I/O, no clock, no secret in what it returns."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

import attrs

from asyncauth import expiry

__all__ = ["Answer", "Hook", "Kind", "Verdict", "classify", "rejects"]

_OK, _REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = 200, 300, 400, 500
"""Where the classes of statuses begin (RFC 9110 §15)."""
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_BUSY_CODES = frozenset({"temporarily_unavailable", "server_error"})
_REJECTED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@attrs.frozen(kw_only=True, repr=False)
class Answer:
    """A token endpoint's answer, as far as its meaning depends on it. Its fields may repeat a secret.

    Attributes:
        status: The HTTP status.
        headers: The headers; names in any case.
        fields: The body's JSON object; ``None``: the body holds none.
        server_now: The server's clock, in Unix epoch seconds; ``None``: it sent no ``Date``.
    """

    status: int
    headers: Mapping[str, str]
    fields: Mapping[str, Any] | None
    server_now: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is a success (2xx)."""
        return _OK <= self.status < _REDIRECTS

    @property
    def is_redirect(self) -> bool:
        """Whether the status is a redirection (3xx)."""
        return _REDIRECTS <= self.status < _CLIENT_ERRORS

    @property
    def code(self) -> object:
        """What stands in ``error``, where RFC 6749 §5.2 has a code: anything in an odd answer; ``None``: nothing."""
        return None if self.fields is None else self.fields.get("error")


class Kind(enum.Enum):
    """What an answer can mean."""

    SUCCESS = "success"
    """It holds a token, if its fields are as they should be."""
    BUSY = "busy"
    """The server can't answer now; asking again later may help."""
    REJECTED = "rejected"
    """The credential was rejected; asking again with the same one does not help."""
    UNREADABLE = "unreadable"
    """This is not a token endpoint's answer."""


@attrs.frozen
class Verdict:
    """What an answer means.

    Attributes:
        kind: In one word.
        retry_after: Of a busy one: seconds until the server wants to be asked again; ``None``: it named none.
    """

    kind: Kind
    retry_after: float | None = None


Hook: TypeAlias = Callable[[Answer, Verdict], Verdict]
"""A provider's own say: called with an answer and what it means by the common rules; returns what it means here."""


def classify(answer: Answer, hook: Hook | None = None) -> Verdict:
    """Return what an answer means.

    Args:
        answer: The answer.
        hook: The provider's own say; ``None``: the common rules hold.

    Source: RFC 6749 §5, RFC 9110 §15.
    """
    verdict = _by_common_rules(answer)
    return verdict if hook is None else hook(answer, verdict)


def rejects(*statuses: int) -> Hook:
    """Return the hook of a server that rejects a credential with these statuses, and with no others."""
    rejecting = frozenset(statuses)

    def hook(answer: Answer, verdict: Verdict) -> Verdict:
        if answer.is_success or verdict.kind is Kind.BUSY:
            return verdict
        return Verdict(Kind.REJECTED) if answer.status in rejecting else Verdict(Kind.UNREADABLE)

    return hook


def _by_common_rules(answer: Answer) -> Verdict:
    if answer.is_success and not answer.code:
        return Verdict(Kind.SUCCESS) if answer.fields is not None else Verdict(Kind.UNREADABLE)
    if answer.status in _BUSY or answer.status >= _SERVER_ERRORS or _is_busy_code(answer.code):
        return Verdict(Kind.BUSY, expiry.retry_after(answer.headers.get("Retry-After"), answer.server_now))
    if answer.is_success or answer.status in _REJECTED:
        return Verdict(Kind.REJECTED)
    return Verdict(Kind.UNREADABLE)


def _is_busy_code(code: object) -> bool:
    return isinstance(code, str) and code in _BUSY_CODES
