"""How all providers use a refresh token: before the grant that it came from, or as the only credential."""

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
"""The name in `Token.extra` under which the refresh token that this one was first rotated from is known, by its hash.

It goes into a store with the token, so that no other process sends the spent one either.
"""


async def fetch_before_grant(
    previous: Token | None, renew: Callable[[Token], Awaitable[Token]], grant: Callable[[], Awaitable[Token]]
) -> Token:
    """Ask for a token: with the last one's refresh token if there is one, else by the grant itself.

    Args:
        previous: The last token.
        renew: Asks with a token's refresh token.
        grant: Asks with the primary grant.

    Raises:
        AuthError: The grant was rejected, or the client; or no answer came.
    """
    if previous is not None and previous.refresh_token is not None:
        state = current_try()
        state.spends_refresh_token = True
        try:
            return await renew(previous)
        except CredentialsRejected as error:
            state.spends_refresh_token = False
            problem = error.again()
        if problem.error == "invalid_client":  # the grant would be refused as well
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
    """Ask for a token with the last one's refresh token, or with the one that was given to begin with.

    The given one is not sent if the last one is the same or descends from it: a server that rotates revokes all
    descendants of a refresh token that it sees again.

    Args:
        previous: The last token.
        renew: Asks with a token's refresh token.
        grant: Asks with the given refresh token.
        given: Obtains that.
        ends: Whether a rejection says that the refresh token is of no more use.

    Raises:
        AuthError: Both were rejected, or the last one was and the given one must not be sent; or no answer came.
    """
    if previous is None:
        return await grant()
    problem = CredentialsRejected("the refresh token was rotated, and its successor is lost: obtain a new one")
    if previous.refresh_token is not None:
        try:
            return await renew(previous)
        except CredentialsRejected as error:
            problem = error.again()
        if not ends(problem):
            raise problem
    if not _differs(await given(), previous):
        raise problem
    return await grant()


def marked(token: Token, sent: Token) -> Token:
    """Return a token that remembers which refresh token its own was first rotated from.

    Args:
        token: The token that came.
        sent: Holds the refresh token that was sent for it.
    """
    mark = sent.extra.get(_ROTATED_FROM)
    if mark is None and token.refresh_token != sent.refresh_token:
        mark = _hash(sent.refresh_token or "")
    return token if mark is None else attrs.evolve(token, extra={**token.extra, _ROTATED_FROM: mark})


def _differs(given: str, previous: Token) -> bool:
    """Return whether a refresh token is neither a token's own nor its ancestor."""
    return given != previous.refresh_token and _hash(given) != previous.extra.get(_ROTATED_FROM)


def _hash(refresh_token: str) -> str:
    """Return what tells a refresh token from another in any process, and does not reveal it."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()[:16]
