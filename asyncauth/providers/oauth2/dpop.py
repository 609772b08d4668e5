"""DPoP: tokens that are useless without the key that they are bound to (RFC 9449; extra ``jwt``)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING

from asyncauth._http.origin import origin_of
from asyncauth.errors import ConfigurationError
from asyncauth.providers.oauth2 import jose
from asyncauth.providers.oauth2.server_clock import ServerClock

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["Prover"]

_LONGEST_NONCE = 1024
_MOST_NONCES = 64


class Prover:
    """Makes the proofs of possession of a key, one per request, with the nonces that servers require.

    Concurrency: may be shared between tasks, threads and event loops.

    Args:
        key: The private key.
        server_clock: The clock for the proofs' times; ``None`` (default): this machine's.
        fixed: Whether its algorithm stays, whatever a server's metadata lists (default ``False``).
    """

    __slots__ = ("_fixed", "_key", "_nonces", "_public", "_server_clock", "thumbprint")

    def __init__(self, key: jose.SigningKey, server_clock: ServerClock | None = None, *, fixed: bool = False) -> None:
        self._server_clock = ServerClock() if server_clock is None else server_clock
        self._fixed = fixed
        self._key = key.without_id()
        self._public = key.public
        self._nonces: dict[str, str] = {}
        self.thumbprint = key.thumbprint

    @classmethod
    def of(
        cls, key: str | None, algorithm: str | None = None, server_clock: ServerClock | None = None
    ) -> Prover | ConfigurationError:
        """Return the prover of a key in PEM or JWK, or of a new key; or the error in the key.

        Args:
            key: The private key; ``None``: a new one.
            algorithm: Its signature algorithm; ``None`` (default): the key's.
            server_clock: See the class.
        """
        loaded = jose.new_key() if key is None else jose.load_key(key, "dpop_key", algorithm=algorithm)
        return (
            loaded if isinstance(loaded, ConfigurationError) else cls(loaded, server_clock, fixed=algorithm is not None)
        )

    def use(self, supported: object) -> None:
        """Use the server's name for the key's algorithm, unless the algorithm was given (RFC 9864 §2.2).

        Args:
            supported: The server's ``dpop_signing_alg_values_supported`` (RFC 9449 §5.1).
        """
        if not self._fixed:
            self._key = self._key.agreed(supported)

    def proof(self, method: str, url: URL, token: str | None = None) -> str:
        """Return the ``DPoP`` header of one request (RFC 9449 §4.2).

        Args:
            method: The request's method.
            url: The request's URL; query and fragment are left out.
            token: The access token that the request carries; ``None`` (default): none, it is a token request.
        """
        origin = origin_of(url)
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method.upper(),
            "htu": str(url.with_scheme(origin.scheme).with_query(None).with_fragment(None)),
            "iat": self._server_clock.signing_time(),
        }
        if token is not None:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        nonce = self.nonce(url)
        if nonce is not None:
            claims["nonce"] = nonce
        # the jwk identifies the key, without a kid
        return self._key.sign(claims, {"typ": "dpop+jwt", "jwk": self._public})

    def nonce(self, url: URL) -> str | None:
        """Return the nonce for the next proof to a server; ``None``: no nonce."""
        return self._nonces.get(str(origin_of(url)))

    def note(self, url: URL, nonce: str | None) -> None:
        """Remember the nonce that a server gave for its next request (RFC 9449 §8.2); ``None``: it gave none."""
        if nonce is None or not nonce.isprintable() or len(nonce) > _LONGEST_NONCE:
            return
        if len(self._nonces) >= _MOST_NONCES:
            self._nonces.clear()
        self._nonces[str(origin_of(url))] = nonce

    def __repr__(self) -> str:
        return f"<Prover {self.thumbprint}>"
