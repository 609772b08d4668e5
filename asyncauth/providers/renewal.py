"""How all providers use a refresh token: before their primary grant, or as the only credential."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from asyncauth._core.try_state import current_try
from asyncauth.errors import CredentialsRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth.token import Token

__all__ = ["fetch_alone", "fetch_before_grant", "marked"]

_ROTATED_FROM = "asyncauth_rotated_from"
"""The name in `Token.extra` of a hash of the refresh token from which this token's was first rotated.

It goes into a store with the token, so that other processes do not send the spent one, either.
"""


async def fetch_before_grant(
    previous: Token | None, renew: Callable[[Token], Awaitable[Token]], grant: Callable[[], Awaitable[Token]]
) -> Token:
    """Request a token with the last token's refresh token, if there is one, otherwise with the primary grant.

    Args:
        previous: The last token.
        renew: Requests a token with another token's refresh token.
        grant: Requests a token with the primary grant.

    Raises:
        AuthError: The grant or the client was rejected, or no answer arrived.
    """
    if previous is not None and previous.refresh_token is not None:
        state = current_try()
        state.spends_refresh_token = True
        try:
            return await renew(previous)
        except CredentialsRejected as error:
            state.spends_refresh_token = False
            problem = error.again()
        if problem.error == "invalid_client":  # the grant would be rejected, too
            raise problem
        state.refresh_token_rejected = True
    return await grant()


async def fetch_alone(
    previous: Token | None,
    renew: Callable[[Token], Awaitable[Token]],
    grant: Callable[[], Awaitable[Token]],
    given: Callable[[], Awaitable[str]],
    ends: Callable[[CredentialsRejected], bool],
) -> Token:
    """Request a token with the last token's refresh token, or with the one that was configured.

    The configured one is not sent if the last one is the same or descends from it. A server that rotates revokes all
    descendants of a refresh token that it sees again.

    Args:
        previous: The last token.
        renew: Requests a token with another token's refresh token.
        grant: Requests a token with the configured refresh token.
        given: Returns the configured refresh token.
        ends: Whether a rejection makes the refresh token useless.

    Raises:
        AuthError: Both were rejected; the last one was rejected, and the configured one must not be sent; or no answer
            arrived.
    """
    if previous is None:
        return await grant()
    problem: CredentialsRejected | None = None
    if previous.refresh_token is not None:
        try:
            return await renew(previous)
        except CredentialsRejected as error:
            problem = error.again()
        if not ends(problem):
            raise problem
    if not _differs(await given(), previous):
        raise problem or CredentialsRejected(
            "the refresh token was rotated, and its successor is lost", advice="obtain a new one"
        )
    return await grant()


def marked(token: Token, sent: Token) -> Token:
    """Return a token that records which refresh token its own was first rotated from.

    Args:
        token: The new token.
        sent: The token whose refresh token was sent for it.
    """
    mark = sent.extra.get(_ROTATED_FROM)
    if mark is None and token.refresh_token != sent.refresh_token:
        mark = _hash(sent.refresh_token or "")
    return token if mark is None else attrs.evolve(token, extra={**token.extra, _ROTATED_FROM: mark})


def _differs(given: str, previous: Token) -> bool:
    """Return whether a refresh token is neither a token's own nor its ancestor."""
    return given != previous.refresh_token and _hash(given) != previous.extra.get(_ROTATED_FROM)


def _hash(refresh_token: str) -> str:
    """Return a hash that identifies a refresh token in any process, and does not reveal it."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()[:16]
