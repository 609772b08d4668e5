"""The refresh token grant, with a refresh token from elsewhere (RFC 6749 §6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.renewal import fetch_alone, marked
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import aiohttp

    from asyncauth.errors import CredentialsRejected
    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["RefreshGrant"]


class RefreshGrant(OAuthProvider):
    """The refresh token grant, with a refresh token that was obtained elsewhere (RFC 6749 §6).

    The provider first sends the refresh token of the latest answer. If the server answers ``invalid_grant``, the
    provider sends the configured refresh token, but not if that is the same one, or the one that the latest was rotated
    from: if a server that rotates sees a refresh token again, it revokes all tokens that came from it. If the server
    rotates, a restarted process therefore needs a store (`TokenManager`), since the configured refresh token was
    already used.

    Args:
        refresh_token: The refresh token: a string, a callable that returns it, or another kind of credential.
        client_id: The client's id; ``None`` (default): the server needs none.
        account: A name for the token's account, which a shared store needs (default ``None``).
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "refresh-grant"
    needs_lock: bool = True
    """True, since there is no other grant: with a store, a token is requested only under the store's lock."""

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
        del refresh_token  # a traceback with local variables must not show it
        given = Given.of(self, options)
        self._set_up(given, credential, client_id=client_id, whose={"account": account})

    def _obtain(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token | None) -> Awaitable[Token]:
        """Request a token with the latest answer's refresh token, or with the configured one."""
        return fetch_alone(
            previous,
            partial(self._renew, endpoint, http),
            partial(self._grant, endpoint, http),
            partial(self._given, http),
            _ends,
        )

    def _renewed(self, previous: Token, response: TokenResponse) -> Token:
        return marked(super()._renewed(previous, response), previous)

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        sent: list[Token] = []

        def fields(refresh_token: str) -> Fields:
            sent[:] = [Token("", refresh_token=refresh_token)]
            return self._refresh_fields(refresh_token)

        def read(response: TokenResponse) -> Token:
            return marked(self._read(response, kept=sent[0]), sent[0])

        return await self._ask(endpoint, http, self.to_send, fields, read)

    def _refresh_fields(self, refresh_token: str) -> Fields:
        fields = (("grant_type", "refresh_token"), ("refresh_token", refresh_token))
        return (*fields, *self._parameters.fields)

    async def _given(self, http: aiohttp.ClientSession) -> str:
        """Return the configured refresh token."""
        given, _, _ = await self.credentials[0].resolve(http)
        return given


def _ends(rejected: CredentialsRejected) -> bool:
    """Return whether a rejection makes the refresh token useless.

    The store does not keep the reason of a rejection that another process received. A configured refresh token that
    differs is sent once, since a person may have replaced it with a new one.
    """
    return rejected.error == "invalid_grant" or rejected.declared or rejected.elsewhere
