"""How a client authenticates to a token endpoint (RFC 6749 §2.3, RFC 7523 §2.2)."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.base import checked_text
from asyncauth.providers.oauth2 import jose
from asyncauth.providers.wire.credential import constant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.providers.oauth2.oauth_options import ClientAuth, Given
    from asyncauth.providers.wire.credential import Credential

__all__ = ["Client", "Proof", "assertion", "check_key"]

_METHODS = ("client_secret_basic", "client_secret_basic_raw", "client_secret_post", "private_key_jwt", "none")
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFETIME = 60
"""Seconds for which a signed assertion is valid, since it is made for one request."""
_SHORTEST = 4
"""The fewest seconds from ``iat`` to ``exp``: ``iat`` is slightly in the past."""


_ADVICE = {
    "private_key_jwt": "; servers differ in the audience that they accept: see client_assertion_audience=",
    "client_secret_basic": (
        "; id or secret contain characters that are percent-encoded, which some servers do not decode:"
        " try client_auth='client_secret_post' or 'client_secret_basic_raw'"
    ),
    "client_secret_basic_raw": "; this server may decode id and secret: try client_auth='client_secret_basic'",
}
"""What to try if a server rejects how the client authenticates, by ``client_auth``."""


@attrs.frozen(repr=False)
class Proof:
    """The client's part of a token request. Contains secrets.

    Attributes:
        headers: Headers.
        fields: Form fields.
        made: Texts that were made from the credential, which no error may show.
        advice: What to try if the server rejects how the client authenticates; ``""`` (default): nothing is known.
    """

    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    fields: tuple[tuple[str, str], ...] = ()
    made: tuple[str, ...] = ()
    advice: str = ""


@attrs.frozen(kw_only=True)
class Client:
    """A client as its authorization server knows it.

    Attributes:
        id: Its ``client_id``; ``None``: the server needs none.
        auth: How it authenticates.
        credentials: Its secret, or its private key; none: it is a public client.
        audience: The audience of its assertions; ``None``: the issuer, or if unknown, the token endpoint.
        key_id: See ``private_key=``.
        algorithm: See ``private_key=``.
        constant: Its part of every token request; ``None``: a callable or a manager supplies its secret, or it signs an
            assertion for each request.
    """

    id: str | None
    auth: ClientAuth
    credentials: tuple[Credential, ...]
    audience: str | None
    key_id: str | None
    algorithm: str | None
    constant: Proof | None = attrs.field(default=None, eq=False, repr=False)

    @classmethod
    def of(cls, client_id: str | None, given: Given, *, confidential: bool) -> Client:
        """Return the client that a provider's arguments describe.

        Args:
            client_id: Its id; ``None``: the server needs none.
            given: The arguments that all grants share.
            confidential: Whether it must authenticate, unless ``client_auth`` is ``"none"``.

        Raises:
            ConfigurationError: The arguments contradict each other.
        """
        auth, secret, key = given.client_auth, given.secrets.secret, given.secrets.key
        if auth not in _METHODS:
            raise ConfigurationError(f"client_auth is one of {', '.join(map(repr, _METHODS))}")
        if client_id is not None and (not isinstance(client_id, str) or not client_id.strip()):
            raise ConfigurationError(
                "client_id takes a str that is not empty", advice="is an environment variable unset?"
            )
        credential = None if auth == "none" else key if auth == "private_key_jwt" else secret
        if auth == "private_key_jwt" and credential is None:
            raise ConfigurationError("client_auth='private_key_jwt' needs private_key=, in PEM or as a JWK")
        if auth == "none" and secret is not None:
            raise ConfigurationError("client_auth='none' sends no client_secret", advice="leave one of the two out")
        if credential is None and confidential and auth != "none" and key is not None:
            raise ConfigurationError("private_key= needs client_auth='private_key_jwt'")
        if credential is None and confidential and auth != "none":
            raise ConfigurationError(
                f"client_auth={auth!r} needs client_secret=", advice="is an environment variable unset?"
            )
        if client_id is None and (credential is not None or confidential):
            raise ConfigurationError("client_id is missing", advice="give client_id=")
        if auth == "client_secret_basic_raw" and ":" in (client_id or ""):
            raise ConfigurationError(
                "client_auth='client_secret_basic_raw' can't send a client_id with a colon",
                advice="use 'client_secret_basic'",
            )
        return cls(
            id=None if client_id is None else checked_text(client_id, "client_id"),
            auth=auth,
            credentials=() if credential is None else (credential,),
            audience=_audience(given),
            key_id=given.key_id,
            algorithm=given.algorithm,
        )

    def checked(self) -> Client:
        """Return the client with its `constant`, if it has one. Its secret was checked before.

        Raises:
            ConfigurationError: Its key can't sign, or joserfc is missing. A callable that supplies the key is not
                called.
        """
        if self.auth == "private_key_jwt":
            check_key(self.credentials[0], key_id=self.key_id, algorithm=self.algorithm)
            return self
        known = constant(self.credentials)
        return self if known is None else attrs.evolve(self, constant=self.proof(known.values))

    def proof(self, values: tuple[str, ...]) -> Proof:
        """Return the client's part of a token request, unless that is an assertion.

        Args:
            values: The current values of its `credentials`.
        """
        name = self.id or ""
        if not values:
            return Proof(fields=(("client_id", name),) if name else ())
        if self.auth == "client_secret_post":
            return Proof(fields=(("client_id", name), ("client_secret", values[0])))
        # Encoded before base64 (RFC 6749 §2.3.1): otherwise a ":" or "%" in either would be read differently. A
        # space becomes "%20", which all servers that decode understand, and not "+", which some do not decode.
        encoded = (quote(name, safe=""), quote(values[0], safe=""))
        sent = (name, values[0]) if self.auth == "client_secret_basic_raw" else encoded
        pair = base64.b64encode(":".join(sent).encode()).decode()
        advice = "" if encoded == (name, values[0]) else _ADVICE[self.auth]
        return Proof({"Authorization": f"Basic {pair}"}, made=(pair, sent[1]), advice=advice)

    def signed(
        self, values: tuple[str, ...], *, audience: str, issued_at: int, algorithms: object = None
    ) -> Proof | ConfigurationError:
        """Return the client's part of a token request with an assertion, or the error in its key.

        Args:
            values: The current values of its `credentials`.
            audience: The authorization server: the audience of the assertion, unless another one is given.
            issued_at: When the assertion is signed, in Unix epoch seconds of the server's clock.
            algorithms: The algorithms for assertions that the server's metadata lists.
        """
        name, value = self.id or "", values[0]
        claims = {"iss": name, "sub": name, "aud": self.audience or audience}
        signed = assertion(value, claims, issued_at, key_id=self.key_id, algorithm=self.algorithm, supported=algorithms)
        if isinstance(signed, ConfigurationError):
            return signed
        fields = (("client_id", name), ("client_assertion_type", _JWT_BEARER), ("client_assertion", signed))
        return Proof(fields=fields, made=(signed,), advice=_ADVICE[self.auth])


def _audience(given: Given) -> str | None:
    """Return the audience that was given for assertions.

    Raises:
        ConfigurationError: It is empty, or the client makes no assertions.
    """
    audience = given.client_assertion_audience
    if audience is not None and given.client_auth != "private_key_jwt":
        raise ConfigurationError("client_assertion_audience= needs client_auth='private_key_jwt'")
    return None if audience is None else checked_text(audience, "client_assertion_audience")


def check_key(key: Credential, *, key_id: str | None, algorithm: str | None) -> None:
    """Raise if a private key can't sign. A callable that supplies the key is not called.

    Raises:
        ConfigurationError: The key can't sign, or joserfc is missing.
    """
    text = key.constant
    loaded = jose.missing() if text is None else jose.load_key(text, key.name, key_id=key_id, algorithm=algorithm)
    del text
    if isinstance(loaded, ConfigurationError):
        raise loaded


def assertion(
    key: str,
    claims: Mapping[str, Any],
    issued_at: int,
    *,
    key_id: str | None,
    algorithm: str | None,
    lifetime: float | None = None,
    supported: object = None,
) -> str | ConfigurationError:
    """Return a signed assertion for one request (RFC 7523 §3), or the error in the key.

    Args:
        key: The private key, in PEM or as a JWK. Secret.
        claims: Its claims, without ``jti``, ``iat`` and ``exp``.
        issued_at: Its ``iat``, in Unix epoch seconds: slightly in the past.
        key_id: See ``private_key=``.
        algorithm: See ``private_key=``.
        lifetime: Seconds for which it is valid; ``None`` (default): 60.
        supported: The algorithms that the server's metadata lists (default: unknown).
    """
    loaded = jose.load_key(key, "private_key", key_id=key_id, algorithm=algorithm)
    if isinstance(loaded, ConfigurationError):
        return loaded
    if algorithm is None:
        loaded = loaded.agreed(supported)
    expires_at = issued_at + max(int(lifetime or _ASSERTION_LIFETIME), _SHORTEST)
    times = {"iat": issued_at, "exp": expires_at, "jti": secrets.token_urlsafe(16)}
    return loaded.sign({**times, **claims}, {"typ": "JWT"})
