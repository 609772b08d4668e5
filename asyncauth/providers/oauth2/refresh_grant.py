"""A refresh token that was obtained elsewhere (RFC 6749 §6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.renewal import fetch_alone, marked
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.token import Token

if TYPE_CHECKING:
    import aiohttp

    from asyncauth.errors import CredentialsRejected
    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["RefreshGrant"]


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
        return await fetch_alone(
            previous,
            partial(self._renew, endpoint, http),
            partial(self._grant, endpoint, http),
            partial(self._given, http),
            _ends,
        )

    async def _renew(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token) -> Token:
        return marked(await super()._renew(endpoint, http, previous), previous)

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        sent: list[Token] = []

        def fields(refresh_token: str) -> Fields:
            sent[:] = [Token("", refresh_token=refresh_token)]
            return self._refresh_fields(refresh_token)

        def read(response: TokenResponse) -> Token:
            return marked(self._read(response, kept=sent[0]), sent[0])

        return await self._ask(endpoint, http, self.credentials[:1], fields, read)

    def _refresh_fields(self, refresh_token: str) -> Fields:
        fields = (("grant_type", "refresh_token"), ("refresh_token", refresh_token))
        return (*fields, *self._parameters.fields())

    async def _given(self, http: aiohttp.ClientSession) -> str:
        """Return the given refresh token."""
        given, _, _ = await self.credentials[0].resolve(http)
        return given


def _ends(rejected: CredentialsRejected) -> bool:
    """Return whether a rejection says that the refresh token is of no more use.

    Of a rejection that another process received, the store does not keep the reason: a given refresh token that is
    another one is sent once, since it may be the new one that a person has put in place.
    """
    return rejected.error == "invalid_grant" or rejected.declared or rejected.elsewhere
