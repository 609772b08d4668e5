"""The meaning of a token endpoint's answer. Pure: no I/O, no clock, no secret in the result."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import attrs

from asyncauth import expiry
from asyncauth.providers.wire.error_codes import means_busy, means_rejected
from asyncauth.providers.wire.pause import asked_pause, quota_pause
from asyncauth.providers.wire.words import error_codes

__all__ = ["Answer", "Hook", "Kind", "Verdict", "classify", "composed", "rejects"]

_OK, _REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = 200, 300, 400, 500
"""The first status of each class (RFC 9110 §15)."""
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_CREDENTIAL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Statuses that are about the credential, whatever the error code."""
_ADDRESS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
"""Statuses that are about the address, not the credential."""
_BLOCKING = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN})
"""Statuses with which firewalls and proxies block a request before the token endpoint sees it."""
_PAGES = (b"<!doctype html", b"<html", b"<head")
"""The beginnings of an HTML page, in lower case."""
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})


@attrs.define(kw_only=True, repr=False, eq=False)
class Answer:
    """The parts of a token endpoint's answer that decide its meaning. Its fields may repeat a secret.

    Attributes:
        status: The HTTP status.
        headers: The headers; names in any case.
        fields: The members of the body's JSON object, XML document or form; ``None``: it has none.
        body: The decompressed body (default: empty).
        document: The content of the body, as `read_document` returns it (default: ``fields``).
    """

    status: int
    headers: Mapping[str, str]
    fields: Mapping[str, Any] | None
    body: bytes = b""
    document: object = attrs.field(default=attrs.Factory(lambda self: self.fields, takes_self=True))

    @property
    def is_success(self) -> bool:
        """Whether the status is a success (2xx)."""
        return _OK <= self.status < _REDIRECTS

    @property
    def is_redirect(self) -> bool:
        """Whether the status is a redirection (3xx)."""
        return _REDIRECTS <= self.status < _CLIENT_ERRORS

    @property
    def is_client_error(self) -> bool:
        """Whether the status is a client error (4xx)."""
        return _CLIENT_ERRORS <= self.status < _SERVER_ERRORS

    @property
    def is_server_error(self) -> bool:
        """Whether the status is a server error (5xx)."""
        return self.status >= _SERVER_ERRORS

    @property
    def is_paced(self) -> bool:
        """Whether the answer counts for pacing if it has no token: the server has checked the credential."""
        return self.is_success or (self.is_client_error and self.status not in _BUSY)

    @property
    def is_block(self) -> bool:
        """Whether a firewall or a proxy seems to have blocked the request: 400 or 403, with an HTML page or nothing."""
        return self.status in _BLOCKING and self.fields is None and (self.is_page or not self.body.strip())

    @property
    def is_page(self) -> bool:
        """Whether the body is an HTML page, by its type or its beginning."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        begins = self.body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        return media_type in _PAGE_TYPES or begins.startswith(_PAGES)

    @property
    def code(self) -> object:
        """The member ``error``, in which RFC 6749 §5.2 has a code, and an odd answer anything; ``None``: nothing."""
        return None if self.fields is None else self.fields.get("error")

    @property
    def server_now(self) -> float | None:
        """The server's clock, in Unix epoch seconds; ``None``: it sent no ``Date``."""
        return expiry.server_now(self.headers.get("Date"), self.headers.get("Age"))

    @property
    def asked_pause(self) -> float | None:
        """Seconds for which the server asks clients to wait; ``None``: it does not."""
        return asked_pause(self.headers, self.document, self.server_now)


class Kind(enum.Enum):
    """The meanings that an answer can have."""

    SUCCESS = "success"
    """The answer has a token, if its fields are valid."""
    BUSY = "busy"
    """The server can't answer now; trying later may help."""
    REJECTED = "rejected"
    """The credential was rejected; trying again with the same one does not help."""
    UNREADABLE = "unreadable"
    """Not a token endpoint's answer, or a success without a token. It says nothing about the credential."""


@attrs.frozen
class Verdict:
    """The meaning of an answer.

    Attributes:
        kind: The meaning.
        retry_after: For a busy answer: seconds after which the server wants to be asked again; ``None`` (default): it
            did not say.
        declared: For a rejection: whether the provider's declaration makes it one (default ``False``).
    """

    kind: Kind
    retry_after: float | None = None
    declared: bool = False


_SUCCESS, _UNREADABLE = Verdict(Kind.SUCCESS), Verdict(Kind.UNREADABLE)

Hook: TypeAlias = Callable[[Answer, Verdict], Verdict]
"""A provider's override: called with an answer and its verdict by the common rules; returns the verdict to use."""


def classify(answer: Answer, hook: Hook | None = None) -> Verdict:
    """Return the meaning of an answer.

    Args:
        answer: The answer.
        hook: The provider's override; ``None`` (default): the common rules decide.

    Source: RFC 6749 §5, RFC 9110 §15.
    """
    if answer.is_success and not answer.code:
        verdict = _UNREADABLE if answer.fields is None else _SUCCESS
    else:
        verdict = _without_token(answer)
    return verdict if hook is None else hook(answer, verdict)


def composed(*hooks: Hook | None) -> Hook | None:
    """Return a hook that calls several hooks, each with the previous one's verdict; ``None``: there are none."""
    some = tuple(hook for hook in hooks if hook is not None)
    return partial(_in_turn, some) if len(some) > 1 else some[0] if some else None


def _in_turn(hooks: tuple[Hook, ...], answer: Answer, verdict: Verdict) -> Verdict:
    for hook in hooks:
        verdict = hook(answer, verdict)
    return verdict


def rejects(*statuses: int, errors_in_successes: bool = False) -> Hook:
    """Return the hook of a server that rejects a credential with these statuses, and with no others.

    A blocked request (`Answer.is_block`) says nothing about the credential, whatever the statuses.

    Args:
        *statuses: HTTP statuses from 400 up.
        errors_in_successes: Whether a success with an ``error`` is a rejection, too (default ``False``).
    """
    rejecting = frozenset(statuses)

    def hook(answer: Answer, verdict: Verdict) -> Verdict:
        if verdict.kind is Kind.BUSY:
            return verdict
        if answer.is_success:
            return Verdict(Kind.REJECTED) if errors_in_successes and answer.code else verdict
        rejected = answer.status in rejecting and not answer.is_block
        return Verdict(Kind.REJECTED) if rejected else _UNREADABLE

    return hook


def _without_token(answer: Answer) -> Verdict:
    """Return the meaning of a failure, or of a success with an error code, by the common rules."""
    asked = answer.asked_pause
    if answer.is_server_error:
        return Verdict(Kind.BUSY, asked)
    if answer.status in _BUSY or _has_busy_code(answer):
        quota = quota_pause(answer.headers, answer.server_now, unless_told=True)
        return Verdict(Kind.BUSY, quota if asked is None else asked)
    pause = asked or None  # a pause of 0 s does not change a rejection
    if answer.status == HTTPStatus.FORBIDDEN and pause is None:  # such as GitHub's rate limit
        pause = quota_pause(answer.headers, answer.server_now, unless_told=False)
    if pause is not None and (answer.is_success or answer.is_client_error):
        return Verdict(Kind.BUSY, pause)
    return Verdict(Kind.REJECTED) if _is_rejection(answer) else _UNREADABLE


def _is_rejection(answer: Answer) -> bool:
    """Return whether an answer that is not busy and has no token rejects the credential."""
    if answer.is_success:  # some servers send a rejection with status 200: the protocol's own codes make it one
        return means_rejected(answer.code)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return True
    if answer.status in _BLOCKING:
        return not answer.is_block
    return answer.is_client_error and answer.fields is not None and answer.status not in _ADDRESS


def _has_busy_code(answer: Answer) -> bool:
    """Return whether an error code means that the server can't answer now. With status 401 or 403, none does."""
    if answer.status in _CREDENTIAL:
        return False
    found = (answer.code,) if answer.is_success else error_codes(answer.document)
    return any(map(means_busy, found))
