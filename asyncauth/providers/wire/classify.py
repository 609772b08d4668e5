"""What a token endpoint's answer means. Pure: no I/O, no clock, no secret in what it returns."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import attrs

from asyncauth.providers.wire.error_codes import means_busy, means_rejected
from asyncauth.providers.wire.pause import asked_pause, quota_pause
from asyncauth.providers.wire.words import error_codes

__all__ = ["Answer", "Hook", "Kind", "Verdict", "classify", "composed", "rejects"]

_OK, _REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = 200, 300, 400, 500
"""Where the classes of statuses begin (RFC 9110 §15)."""
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_CREDENTIAL = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Statuses that say something of the credential, whatever the error code."""
_ADDRESS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
"""Statuses that say something of the address, and nothing of the credential."""
_BLOCKING = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN})
"""Statuses with which firewalls and proxies block a request before the token endpoint sees it."""
_PAGES = (b"<!doctype html", b"<html", b"<head")
"""How an HTML page begins, in lower case."""
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})


@attrs.frozen(kw_only=True, repr=False)
class Answer:
    """A token endpoint's answer, as far as its meaning depends on it. Its fields may repeat a secret.

    Attributes:
        status: The HTTP status.
        headers: The headers; names in any case.
        fields: The members of the body's JSON object, XML document or form; ``None``: it holds none.
        body: The body, unpacked.
        document: What the body holds, as `read_document` returns it.
        server_now: The server's clock, in Unix epoch seconds; ``None``: it sent no ``Date``.
    """

    status: int
    headers: Mapping[str, str]
    fields: Mapping[str, Any] | None
    body: bytes = b""
    document: object = attrs.field(default=attrs.Factory(lambda self: self.fields, takes_self=True))
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
    def is_client_error(self) -> bool:
        """Whether the status is an error of the client's (4xx)."""
        return _CLIENT_ERRORS <= self.status < _SERVER_ERRORS

    @property
    def is_server_error(self) -> bool:
        """Whether the status is an error of the server's (5xx)."""
        return self.status >= _SERVER_ERRORS

    @property
    def is_paced(self) -> bool:
        """Whether the credential is paced if it brings no token: the server has looked at it, also if it is busy."""
        return self.is_success or (self.is_client_error and self.status not in _BUSY)

    @property
    def is_block(self) -> bool:
        """Whether a firewall or a proxy seems to have blocked the request: 400 or 403, with an HTML page or nothing."""
        return self.status in _BLOCKING and self.fields is None and (self.is_page or not self.body.strip())

    @property
    def is_page(self) -> bool:
        """Whether the body is an HTML page, by its type or by how it begins."""
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        begins = self.body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        return media_type in _PAGE_TYPES or begins.startswith(_PAGES)

    @property
    def code(self) -> object:
        """What stands in ``error``, where RFC 6749 §5.2 has a code: anything in an odd answer; ``None``: nothing."""
        return None if self.fields is None else self.fields.get("error")

    @property
    def asked_pause(self) -> float | None:
        """For how many seconds the server asks not to be asked; ``None``: it does not ask."""
        return asked_pause(self.headers, self.document, self.server_now)


class Kind(enum.Enum):
    """What an answer can mean."""

    SUCCESS = "success"
    """It holds a token, if its fields are as they should be."""
    BUSY = "busy"
    """The server can't answer now; asking again later may help."""
    REJECTED = "rejected"
    """The credential was rejected; asking again with the same one does not help."""
    UNREADABLE = "unreadable"
    """It is not a token endpoint's answer, or a success without a token. Nothing is known of the credential."""


@attrs.frozen
class Verdict:
    """What an answer means.

    Attributes:
        kind: In one word.
        retry_after: Of a busy one: seconds until the server wants to be asked again; ``None``: it named none.
        declared: Of a rejection: whether it is one because the provider declares it.
    """

    kind: Kind
    retry_after: float | None = None
    declared: bool = False


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


def composed(*hooks: Hook | None) -> Hook | None:
    """Return the hook that calls several, each with what the one before it returned; ``None``: there are none."""
    some = tuple(hook for hook in hooks if hook is not None)
    return partial(_in_turn, some) if len(some) > 1 else some[0] if some else None


def _in_turn(hooks: tuple[Hook, ...], answer: Answer, verdict: Verdict) -> Verdict:
    for hook in hooks:
        verdict = hook(answer, verdict)
    return verdict


def rejects(*statuses: int, errors_in_successes: bool = False) -> Hook:
    """Return the hook of a server that rejects a credential with these statuses, and with no others.

    A request that was blocked (`Answer.is_block`) says nothing of the credential, whatever the statuses.

    Args:
        *statuses: HTTP statuses from 400 up.
        errors_in_successes: Whether a success that has an ``error`` rejects it as well.
    """
    rejecting = frozenset(statuses)

    def hook(answer: Answer, verdict: Verdict) -> Verdict:
        if verdict.kind is Kind.BUSY:
            return verdict
        if answer.is_success:
            return Verdict(Kind.REJECTED) if errors_in_successes and answer.code else verdict
        rejected = answer.status in rejecting and not answer.is_block
        return Verdict(Kind.REJECTED) if rejected else Verdict(Kind.UNREADABLE)

    return hook


def _by_common_rules(answer: Answer) -> Verdict:
    if answer.is_success and not answer.code:
        return Verdict(Kind.SUCCESS) if answer.fields is not None else Verdict(Kind.UNREADABLE)
    asked = answer.asked_pause
    if answer.is_server_error:
        return Verdict(Kind.BUSY, asked)
    if answer.status in _BUSY or _has_busy_code(answer):
        quota = quota_pause(answer.headers, answer.server_now, unless_told=True)
        return Verdict(Kind.BUSY, quota if asked is None else asked)
    pause = asked or None  # no pause of 0 s makes a rejection something else
    if answer.status == HTTPStatus.FORBIDDEN and pause is None:  # GitHub's rate limit, for one
        pause = quota_pause(answer.headers, answer.server_now, unless_told=False)
    if pause is not None and (answer.is_success or answer.is_client_error):
        return Verdict(Kind.BUSY, pause)
    return Verdict(Kind.REJECTED) if _is_rejection(answer) else Verdict(Kind.UNREADABLE)


def _is_rejection(answer: Answer) -> bool:
    """Return whether an answer that is neither busy nor brings a token rejects the credential."""
    if answer.is_success:  # some servers send a refusal with status 200: in the protocol's own words, it is one
        return means_rejected(answer.code)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return True
    if answer.status in _BLOCKING:
        return not answer.is_block
    return answer.is_client_error and answer.fields is not None and answer.status not in _ADDRESS


def _has_busy_code(answer: Answer) -> bool:
    """Return whether an error code says that the server can't answer now. With a 401 or 403, none does."""
    if answer.status in _CREDENTIAL:
        return False
    found = (answer.code,) if answer.is_success else error_codes(answer.document)
    return any(map(means_busy, found))
