"""The grants of RFC 6749 that need nobody's browser: client credentials, and a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncauth.providers.base import checked_text
from asyncauth.providers.oauth2.client_auth import Client, ClientAuth, Secrets
from asyncauth.providers.oauth2.options import Parameters, Several
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.token import Token

__all__ = ["ClientCredentials", "PasswordGrant"]


class ClientCredentials(OAuthProvider):
    """The client credentials grant: a token for the client itself (RFC 6749 §4.4).

    ::

        ClientCredentials(
            issuer="https://login.example.com",
            client_id="reports",
            client_secret=os.environ["CLIENT_SECRET"],
            scope=("read", "write"),
            origins="https://api.example.com",
        )

    The arguments are the same for all grants.

    Args:
        token_url: The token endpoint. It may have a query.
        issuer: Instead: the authorization server's identifier, by which its metadata tells the endpoint (RFC 8414,
            OpenID Connect Discovery). With both, nothing is discovered, and client assertions are made out to it.
        client_id: The client's.
        client_secret: Its secret, a callable that returns it, or what else a credential can be.
        client_auth: How it authenticates: ``"client_secret_basic"`` (default), ``"client_secret_post"``,
            ``"private_key_jwt"`` (RFC 7523; extra ``jwt``) or ``"none"``.
        private_key: For ``"private_key_jwt"``: PEM without a passphrase, or a JWK as JSON.
        key_id: What the server knows that key as (``kid``); default: as the JWK says.
        algorithm: How it signs (``alg``); default: as the JWK says, else the usual one of its kind (RS256, ES256 …).
        scope: What the token shall allow: a string, or several.
        audience: For whom it shall be, by name: a string, or several.
        resource: For whom it shall be, by URI (RFC 8707): a string, or several.
        extra: Further form fields, as some servers have them.
        origins: Where the token may be sent, such as ``"https://api.example.com"``. Default: nowhere; `BearerAuth`
            needs it.
        dpop: Whether to bind the token to a key (RFC 9449; extra ``jwt``). Without ``dpop_key`` to a new one.
        dpop_key: The key to bind it to, as ``private_key``. Processes that share a store need the same one.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "client-credentials"

    def __init__(
        self,
        *,
        token_url: str | URL | None = None,
        issuer: str | None = None,
        client_id: str,
        client_secret: CredentialLike | None = None,
        client_auth: ClientAuth = "client_secret_basic",
        private_key: CredentialLike | None = None,
        key_id: str | None = None,
        algorithm: str | None = None,
        scope: Several | None = None,
        audience: Several | None = None,
        resource: Several | None = None,
        extra: Mapping[str, str] | None = None,
        origins: str | Iterable[str] | None = None,
        dpop: bool = False,
        dpop_key: str | None = None,
    ) -> None:
        given = Secrets.of(client_secret, private_key, dpop_key)
        del client_secret, private_key, dpop_key  # a traceback through here that shows locals must not show them
        self._set_up(
            given,
            Client.of(client_id, client_auth, given, key_id=key_id, algorithm=algorithm, confidential=True),
            Parameters.of(scope, audience, resource, extra),
            token_url=token_url,
            issuer=issuer,
            origins=origins,
            whose={"account": client_id},
            dpop=dpop,
        )

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        return await self._ask(endpoint, http, (), self._fields, self._read)

    def _fields(self) -> Fields:
        return (("grant_type", "client_credentials"), *self._parameters.fields())


class PasswordGrant(OAuthProvider):
    """The resource owner password credentials grant: a token for a user (RFC 6749 §4.3).

    Servers that have a choice offer better; some have none.

    Args:
        token_url: See `ClientCredentials`, as for all arguments that are not here.
        issuer: See there.
        username: The user's.
        password: Their password, a callable that returns it, or what else a credential can be.
        client_id: The client's; ``None`` (default) = the server needs none.
        client_secret: Its secret; ``None`` (default) = it is a public client.
        client_auth: See there.
        private_key: See there.
        key_id: See there.
        algorithm: See there.
        scope: See there.
        audience: See there.
        resource: See there.
        extra: See there.
        origins: See there.
        dpop: See there.
        dpop_key: See there.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "password-grant"

    def __init__(
        self,
        *,
        token_url: str | URL | None = None,
        issuer: str | None = None,
        username: str,
        password: CredentialLike,
        client_id: str | None = None,
        client_secret: CredentialLike | None = None,
        client_auth: ClientAuth = "client_secret_basic",
        private_key: CredentialLike | None = None,
        key_id: str | None = None,
        algorithm: str | None = None,
        scope: Several | None = None,
        audience: Several | None = None,
        resource: Several | None = None,
        extra: Mapping[str, str] | None = None,
        origins: str | Iterable[str] | None = None,
        dpop: bool = False,
        dpop_key: str | None = None,
    ) -> None:
        given = Secrets.of(client_secret, private_key, dpop_key)
        credential = Credential(password, "password")
        del password, client_secret, private_key, dpop_key
        self._username = checked_text(username, "username")
        self._set_up(
            given,
            Client.of(client_id, client_auth, given, key_id=key_id, algorithm=algorithm, confidential=False),
            Parameters.of(scope, audience, resource, extra),
            credential,
            token_url=token_url,
            issuer=issuer,
            origins=origins,
            whose={"username": self._username},
            dpop=dpop,
        )

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        return await self._ask(endpoint, http, self._credentials[:1], self._fields, self._read)

    def _fields(self, password: str) -> Fields:
        fields = (("grant_type", "password"), ("username", self._username), ("password", password))
        return (*fields, *self._parameters.fields())
