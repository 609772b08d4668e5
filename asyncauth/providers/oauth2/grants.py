"""The grants of RFC 6749 that need no browser: client credentials, and a password."""

from __future__ import annotations

from typing import Unpack

from asyncauth.providers.base import checked_text
from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike

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

    Args:
        client_id: The client's id.
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "client-credentials"

    @takes_options
    def __init__(
        self,
        *,
        client_id: str,
        **options: Unpack[OAuthOptions],
    ) -> None:
        given = Given.of(self, options)
        form = (("grant_type", "client_credentials"),)
        self._set_up(given, client_id=client_id, form=form, confidential=True, whose={"account": client_id})


class PasswordGrant(OAuthProvider):
    """The resource owner password credentials grant: a token for a user (RFC 6749 §4.3).

    Use it only if the server supports no other grant (RFC 9700 §2.4).

    Args:
        username: The user's name.
        password: The user's password: a string, a callable that returns it, or another kind of credential.
        client_id: The client's id; ``None`` (default): the server needs none.
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "password-grant"

    @takes_options
    def __init__(
        self,
        *,
        username: str,
        password: CredentialLike,
        client_id: str | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        credential = Credential(password, "password")
        del password  # a traceback with local variables must not show it
        given = Given.of(self, options)
        username = checked_text(username, "username")
        form = (("grant_type", "password"), ("username", username))
        self._set_up(given, credential, client_id=client_id, form=form, whose={"username": username})
