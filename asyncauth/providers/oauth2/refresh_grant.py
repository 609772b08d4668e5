"""A refresh token that was obtained elsewhere (RFC 6749 §6)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Unpack

import attrs

from asyncauth.errors import CredentialsRejected
from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.token import Token

if TYPE_CHECKING:
    import aiohttp

    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["RefreshGrant"]

_ROTATED_FROM = "asyncauth_rotated_from"
"""The name in `Token.extra` under which the refresh token that this one was first rotated from is known, by its hash.

It goes into a store with the token, so that no other process sends the spent one either.
"""


class RefreshGrant(OAuthProvider):
    """The refresh token grant, from a refresh token that was obtained elsewhere (RFC 6749 §6).

    The refresh token that the last answer brought goes first; when the server says ``invalid_grant`` to it, the given
    one does, unless it is the same, or the one that the last was rotated from: a server that rotates revokes all of
    its descendants when it sees one again. For the same reason a server that rotates needs a store (`TokenManager`)
    if the process is to be started again: the given one is spent then.

    Args:
        refresh_token: The refresh token, a callable that returns it, or what else a credential can be.
        client_id: The client's; ``None`` (default) = the server needs none.
        account: A name for whose token it is, so that a shared store can keep it.
        **options: What all grants take: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "refresh-grant"
    needs_lock: bool = True
    """There is no other way to a token: with a store, it is asked for under the store's lock or not at all."""

    @takes_options
    def __init__(
        self,
        *,
        refresh_token: CredentialLike,
        client_id: str | None = None,
        account: str | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        credential = Credential(refresh_token, "refresh_token")
        del refresh_token  # a traceback through here that shows locals must not show it
        given = Given.of(self, options)
        self._set_up(given, credential, client_id=client_id, whose={"account": account})

    async def _obtain(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Ask for a token with the last answer's refresh token, or with the given one."""
        if previous is None:
            return await self._grant(endpoint, http)
        problem = CredentialsRejected("the refresh token was rotated, and its successor is lost: obtain a new one")
        if previous.refresh_token is not None:
            try:
                return await self._renew(endpoint, http, previous)
            except CredentialsRejected as error:
                problem = error.again()
            if problem.error != "invalid_grant" and not problem.declared:
                raise problem
        if not await self._differs(http, previous):
            raise problem
        return await self._grant(endpoint, http)

    async def _renew(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token) -> Token:
        return _marked(await super()._renew(endpoint, http, previous), previous)

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        sent: list[Token] = []

        def fields(refresh_token: str) -> Fields:
            sent[:] = [Token("", refresh_token=refresh_token)]
            return self._refresh_fields(refresh_token)

        def read(response: TokenResponse) -> Token:
            return _marked(self._read(response, kept=sent[0]), sent[0])

        return await self._ask(endpoint, http, self._credentials[:1], fields, read)

    def _refresh_fields(self, refresh_token: str) -> Fields:
        fields = (("grant_type", "refresh_token"), ("refresh_token", refresh_token))
        return (*fields, *self._parameters.fields())

    async def _differs(self, http: aiohttp.ClientSession, previous: Token) -> bool:
        """Return whether the given refresh token is neither the previous one's nor its ancestor."""
        given, _, _ = await self._credentials[0].resolve(http)
        return given != previous.refresh_token and _hash(given) != previous.extra.get(_ROTATED_FROM)


def _marked(token: Token, sent: Token) -> Token:
    """Return a token that remembers which refresh token its own was first rotated from."""
    mark = sent.extra.get(_ROTATED_FROM)
    if mark is None and token.refresh_token != sent.refresh_token:
        mark = _hash(sent.refresh_token or "")
    return token if mark is None else attrs.evolve(token, extra={**token.extra, _ROTATED_FROM: mark})


def _hash(refresh_token: str) -> str:
    """Return what tells a refresh token from another in any process, and is no use to anybody else."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()[:16]
