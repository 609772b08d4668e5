"""The token exchange grant: one token for another (RFC 8693)."""

from __future__ import annotations

from typing import Unpack

from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike

__all__ = ["TokenExchange"]

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a type, not a token)


class TokenExchange(OAuthProvider):
    """The token exchange grant: a token for another service, or on behalf of someone else (RFC 8693).

    The kind of the returned token, ``issued_token_type``, is in `Token.extra`.

    Args:
        subject_token: A token of the subject: a string, a callable that returns one, or another manager, which obtains
            a new one if the server rejects the first.
        subject_token_type: Its type (default: an access token).
        actor_token: A token of the party that acts for the subject, likewise. ``None`` (default): no actor.
        actor_token_type: Its type (default: an access token).
        requested_token_type: The type of the wanted token; ``None`` (default): the server decides.
        client_id: The client's id; ``None`` (default): the server needs none.
        account: A name for the token's account (default ``None``). A shared store needs it if one of the tokens is a
            string or a callable.
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "token-exchange"

    @takes_options
    def __init__(
        self,
        *,
        subject_token: CredentialLike,
        subject_token_type: str = _ACCESS_TOKEN,
        actor_token: CredentialLike | None = None,
        actor_token_type: str = _ACCESS_TOKEN,
        requested_token_type: str | None = None,
        client_id: str | None = None,
        account: str | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        subject = Credential(subject_token, "subject_token")
        actors = () if actor_token is None else (Credential(actor_token, "actor_token"),)
        del subject_token, actor_token  # a traceback with local variables must not show them
        given = Given.of(self, options)
        self._types = (subject_token_type, actor_token_type)
        self._wanted = () if requested_token_type is None else (("requested_token_type", requested_token_type),)
        self._set_up(
            given,
            subject,
            *actors,
            client_id=client_id,
            whose={"account": account},
            subject_token_type=subject_token_type,
            actor_token_type=actor_token_type if actors else None,
            requested_token_type=requested_token_type,
        )

    def _fields(self, *values: str) -> Fields:
        fields = [("grant_type", _GRANT)]
        for name, token, kind in zip(("subject_token", "actor_token"), values, self._types, strict=False):
            fields += [(name, token), (f"{name}_type", kind)]
        return (*fields, *self._wanted, *self._parameters.fields)
