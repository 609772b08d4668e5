"""The JWT bearer grant: a signed assertion in place of a password (RFC 7523 §2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from asyncauth._core.try_state import current_try
from asyncauth.errors import ConfigurationError
from asyncauth.providers.identity import hashed
from asyncauth.providers.oauth2.client_auth import assertion, check_key
from asyncauth.providers.oauth2.oauth_options import Given, OAuthOptions, takes_options
from asyncauth.providers.oauth2.options import is_json
from asyncauth.providers.oauth2.provider import Fields, OAuthProvider
from asyncauth.providers.wire.credential import Credential, CredentialLike

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["JWTBearer"]

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

_SAID_OTHERWISE = frozenset({"iss", "sub", "aud"})
"""Claims that have their own arguments."""
_LONGEST = 86_400
"""Seconds: no server accepts assertions that are valid for longer."""


class JWTBearer(OAuthProvider):
    """The JWT bearer grant: a token for the subject of a signed assertion (RFC 7523 §2.1).

    The assertion is given, or signed here for each request (extra ``jwt``)::

        JWTBearer(
            token_url="https://login.example.com/token",
            private_key=Path("key.pem").read_text(),
            assertion_issuer="robot@example.com",
            subject="robot@example.com",
            claims={"scope": "read"},
        )

    Args:
        assertion: The assertion, a callable that returns it, or another manager; ``None`` (default): it is signed here
            with ``private_key``.
        subject: The subject of the assertion that is signed here (``sub``). ``None`` (default): ``assertion_issuer``.
        assertion_issuer: Its issuer (``iss``). ``None`` (default): ``client_id``.
        assertion_audience: Its audience (``aud``). ``None`` (default): ``issuer``, or without it ``token_url``.
        assertion_lifetime: Seconds for which it is valid (default 60; some servers allow up to 3600).
        claims: Its other claims, without ``iss``, ``sub`` and ``aud``. ``None`` (default): none.
        client_id: The client's id; ``None`` (default): the server needs none.
        account: A name for the token's account (default ``None``). A shared store needs it if ``assertion`` is a string
            or a callable.
        **options: The arguments that all grants share: see `OAuthOptions`.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        TypeError: There is no such argument.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "jwt-bearer"

    @takes_options
    def __init__(
        self,
        *,
        assertion: CredentialLike | None = None,
        subject: str | None = None,
        assertion_issuer: str | None = None,
        assertion_audience: str | None = None,
        assertion_lifetime: float = 60.0,
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        account: str | None = None,
        **options: Unpack[OAuthOptions],
    ) -> None:
        ready_made = None if assertion is None else Credential(assertion, "assertion")
        del assertion  # a traceback with local variables must not show it
        given = Given.of(self, options)
        self._signs = ready_made is None
        credential = ready_made or given.secrets.key
        if credential is None:
            raise ConfigurationError(
                "JWTBearer has no assertion to send", advice="give assertion=, or private_key= to sign one with"
            )
        if not isinstance(assertion_lifetime, (int, float)) or not 1 <= assertion_lifetime <= _LONGEST:
            raise ConfigurationError("assertion_lifetime= takes the assertion's lifetime in seconds, from 1 to 86400")
        iss = assertion_issuer or client_id
        if self._signs and iss is None:
            raise ConfigurationError("an assertion that is signed here needs assertion_issuer=, or client_id=")
        if claims is not None and not is_json(claims):
            raise ConfigurationError("claims= takes a mapping of JSON values")
        if not _SAID_OTHERWISE.isdisjoint(claims or ()):
            raise ConfigurationError(
                "claims= can't say iss, sub or aud", advice="use assertion_issuer=, subject= or assertion_audience="
            )
        self._claims = {**(claims or {}), "iss": iss, "sub": subject or iss}
        self._audience = assertion_audience or given.issuer or str(given.token_url)
        self._lifetime = assertion_lifetime
        self._key_id, self._algorithm = given.key_id, given.algorithm
        if self._signs:
            check_key(credential, key_id=self._key_id, algorithm=self._algorithm)
        self._set_up(
            given,
            credential,
            client_id=client_id,
            whose={"account": account, **({"assertion_issuer": iss, "subject": subject or iss} if self._signs else {})},
            assertion_audience=self._audience if self._signs else None,
            claims=hashed(claims) if self._signs and claims else None,
        )

    def _fields(self, *values: str) -> Fields | ConfigurationError:
        made = self._sign(*values) if self._signs else values[0]
        if isinstance(made, ConfigurationError):
            return made
        return (("grant_type", _GRANT), ("assertion", made), *self._parameters.fields)

    def _sign(self, key: str) -> str | ConfigurationError:
        claims = {**self._claims, "aud": self._audience}
        issued_at = self._server_clock.signing_time(current_try().clock)
        return assertion(
            key, claims, issued_at, key_id=self._key_id, algorithm=self._algorithm, lifetime=self._lifetime
        )
