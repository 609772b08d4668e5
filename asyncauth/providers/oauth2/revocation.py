"""Revoking tokens at an authorization server (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth._http.origin import absolute_url, require_secure
from asyncauth.providers.wire.classify import Answer, Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from asyncauth.provider import TokenKind
    from asyncauth.providers.oauth2.client_request import Fields
    from asyncauth.providers.wire.endpoint import Endpoint

__all__ = ["REVOCATION", "revocation_address", "revocation_at", "revocation_fields"]

REVOCATION = "revocation_endpoint"
"""The endpoint's name in the metadata (RFC 8414 §2)."""


def revocation_address(given: str | URL | None, insecure_hosts: frozenset[str]) -> URL | None:
    """Return the address in ``revocation_url=``; ``None``: none was given.

    Raises:
        ConfigurationError: It is not an absolute URL.
        InsecureTransport: It is plain http to another machine.
    """
    if given is None:
        return None
    url = absolute_url(given, "revocation_url", query=True)
    require_secure(url, "revocation_url", insecure_hosts)
    return url


def revocation_at(url: URL, token_endpoint: Endpoint) -> Endpoint:
    """Return a server's revocation endpoint, with its token endpoint's settings."""
    return attrs.evolve(token_endpoint, step="revocation", url=url, hook=_verdict)


def revocation_fields(kind: TokenKind) -> Callable[[str], Fields]:
    """Return a function that makes the form of a token's revocation (RFC 7009 §2.1)."""

    def fields(token: str) -> Fields:
        return (("token", token), ("token_type_hint", kind))

    return fields


def _verdict(answer: Answer, verdict: Verdict) -> Verdict:
    """Return the meaning of an answer: a success may be empty (RFC 7009 §2.2)."""
    return Verdict(Kind.SUCCESS) if answer.is_success and not answer.code else verdict
