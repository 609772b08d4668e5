"""The error that a token endpoint's answer without a token means. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth.errors import CredentialsRejected, InvalidTokenResponse, TokenEndpointUnavailable
from asyncauth.providers.wire.classify import Kind
from asyncauth.providers.wire.error_codes import REQUEST_CODES
from asyncauth.providers.wire.words import error_codes

if TYPE_CHECKING:
    from asyncauth.errors import AuthError
    from asyncauth.providers.wire.classify import Answer, Verdict

__all__ = ["error_of"]


def error_of(answer: Answer, verdict: Verdict, names: str) -> AuthError:
    """Return the error for a verdict that is not a success, without what the server says.

    Args:
        answer: The answer.
        verdict: Its meaning.
        names: The names of the credentials that were sent.
    """
    if verdict.kind is Kind.BUSY:
        return TokenEndpointUnavailable(
            "the server can't answer now", advice="try again later", retry_after=verdict.retry_after
        )
    if verdict.kind is Kind.REJECTED:
        return _rejection(answer, names, verdict)
    return _unreadable(answer)


def _rejection(answer: Answer, names: str, verdict: Verdict) -> CredentialsRejected:
    """Return the error for a rejection of the credential, or of another part of the request."""
    code = None if verdict.declared else next(error_codes(answer.document), None)
    what = None if code is None else REQUEST_CODES.get(code)
    if what is None:
        error = CredentialsRejected(f"the server rejected the {names}", advice="check it")
    else:
        error = CredentialsRejected(f"the server rejected the request, not the {names}", advice=f"check {what}")
    error.declared = verdict.declared
    return error


def _unreadable(answer: Answer) -> InvalidTokenResponse:
    """Return the error for an answer that says nothing of the credential, and has no token."""
    if answer.is_success:
        if answer.fields is None:
            return InvalidTokenResponse("the answer is not a JSON object", advice="check the address")
        return InvalidTokenResponse(
            "the answer is an error, and brings no token", advice="ask the server's operator what it means"
        )
    if answer.is_block:
        return InvalidTokenResponse(
            "an HTML page or nothing came in place of a token endpoint's answer; the credential was not rejected",
            advice="does a firewall or a proxy block the request?",
        )
    if answer.is_redirect:
        return InvalidTokenResponse(
            "the server redirects, which a token request never follows", advice="check the address"
        )
    return InvalidTokenResponse("the answer is not a token endpoint's", advice="check the address")
