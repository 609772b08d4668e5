"""One token for another (RFC 8693)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike

if TYPE_CHECKING:
    import aiohttp

    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.token import Token

__all__ = ["TokenExchange"]

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a type, no token)


class TokenExchange(OAuthProvider):
    """The token exchange grant: a token for another service, or on somebody's behalf (RFC 8693).

    What kind of token came, ``issued_token_type``, is in `Token.extra`.

    Args:
        subject_token: Whose token it shall be: a token, a callable that returns one, or another manager, which is
            asked for a new one when the server refuses the first.
        subject_token_type: What it is (default: an access token).
        actor_token: Who acts for them: likewise. ``None`` (default): no actor.
        actor_token_type: What that is (default: an access token).
        requested_token_type: What is wanted; ``None`` (default) = the server decides.
        client_id: The client's; ``None`` (default) = the server needs none.
        account: A name for whose token it is, so that a shared store can keep it; needed there if one of the
            tokens is a string or a callable.
        **options: What all grants take: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host that is not this machine.
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
        del subject_token, actor_token  # a traceback through here that shows locals must not show them
        given = Given.of(self, options)
        self._own = 1 + len(actors)
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

    async def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Token:
        return await self._ask(endpoint, http, self.credentials[: self._own], self._fields, self._read)

    def _fields(self, *tokens: str) -> Fields:
        fields = [("grant_type", _GRANT)]
        for name, token, kind in zip(("subject_token", "actor_token"), tokens, self._types, strict=False):
            fields += [(name, token), (f"{name}_type", kind)]
        return (*fields, *self._wanted, *self._parameters.fields())
