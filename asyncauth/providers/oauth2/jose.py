"""Signed JWTs and keys: the only file that uses joserfc (extra ``jwt``), which is imported when needed.

Errors are returned, not raised: the frames in this file contain private keys.
"""

from __future__ import annotations

import functools
import importlib
import json
from typing import TYPE_CHECKING, Any, cast

import attrs

from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping

__all__ = ["SigningKey", "load_key", "missing", "new_key"]

_KINDS = ("RSAKey", "ECKey", "OKPKey")
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_MATERIAL = (*_PUBLIC, "d", "p", "q", "dp", "dq", "qi")
_SAME_ALGORITHM = {"Ed25519": "EdDSA", "EdDSA": "Ed25519"}
"""The other name of an algorithm: many servers know only an Ed25519 key's older one (RFC 8037, RFC 9864)."""
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}


@attrs.frozen(repr=False)
class SigningKey:
    """A private key, and how it signs.

    Attributes:
        algorithm: The JWS algorithm (RFC 7518 §3.1), such as ``"ES256"``.
        key_id: The key's id at the server; ``None``: signatures do not name the key.
    """

    _key: Any
    algorithm: str
    key_id: str | None

    @property
    def public(self) -> dict[str, Any]:
        """The public key as a JWK (RFC 7517), with only the members of the key itself."""
        return {name: part for name, part in self._key.as_dict(private=False).items() if name in _PUBLIC}

    @property
    def thumbprint(self) -> str:
        """The public key's SHA-256 thumbprint (RFC 7638)."""
        return str(self._key.thumbprint())

    def without_id(self) -> SigningKey:
        """Return the key without its id, so that its signatures do not name it."""
        return attrs.evolve(self, key_id=None)

    def agreed(self, supported: object) -> SigningKey:
        """Return the key with the name of its algorithm that a server knows.

        Args:
            supported: The algorithms that the server's metadata lists; if not a list, it lists none.
        """
        if not isinstance(supported, list) or self.algorithm in supported:
            return self
        other = _SAME_ALGORITHM.get(self.algorithm)
        return self if other is None or other not in supported else attrs.evolve(self, algorithm=other)

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
        """Return a signed JWT (RFC 7515 §3.1).

        Args:
            claims: Its claims.
            header: The header's members, without ``alg`` and ``kid``.
        """
        named = {} if self.key_id is None else {"kid": self.key_id}
        jwt = importlib.import_module("joserfc.jwt")
        full = {"alg": self.algorithm, **named, **header}
        return str(jwt.encode(full, dict(claims), self._key, registry=_registry()))


@functools.cache
def _registry() -> Any:
    """Return joserfc's algorithms, without the warning that EdDSA is deprecated: the server decides which is used."""
    jws: Any = importlib.import_module("joserfc.jws")

    class Registry(jws.JWSRegistry):  # type: ignore[misc]
        def get_alg(self, name: str) -> Any:
            return self.algorithms[name]

    return Registry()


def load_key(
    text: str, argument: str, *, algorithm: str | None = None, key_id: str | None = None
) -> SigningKey | ConfigurationError:
    """Return a private key, or the error in it.

    Args:
        text: PEM (PKCS #8 or the older forms, without a passphrase), or a JWK as JSON. Secret.
        argument: The argument's name, for the error.
        algorithm: Its signature algorithm; ``None`` (default): the JWK's, or by the kind of key RS256, ES256, ES384,
            ES512 or Ed25519.
        key_id: Its id; ``None`` (default): the JWK's, if it is one.
    """
    jwk = _jwk_module()
    if isinstance(jwk, ConfigurationError):
        return jwk
    fields = _jwk(text)
    key = _imported(jwk, text if fields is None else {name: fields[name] for name in _MATERIAL if name in fields})
    if key is None:
        return ConfigurationError(
            f"{argument} is not an RSA, EC or Ed25519 key in PEM without a passphrase, or JWK as JSON",
            advice="convert it with 'openssl pkey'",
        )
    if not key.is_private:
        return ConfigurationError(f"{argument} is a public key", advice="give the private one")
    kept = _texts(fields)
    signing = SigningKey(key, algorithm or kept.get("alg") or _algorithm(key), key_id or kept.get("kid"))
    try:
        signing.sign({}, {})
    except Exception:  # noqa: BLE001 (joserfc's own classes, and cryptography's)
        return ConfigurationError(
            f"{argument} can't sign with {signing.algorithm[:16]!r}", advice="give the key's algorithm="
        )
    return signing


def new_key() -> SigningKey | ConfigurationError:
    """Return a new key on the curve P-256."""
    jwk = _jwk_module()
    if isinstance(jwk, ConfigurationError):
        return jwk
    return SigningKey(jwk.ECKey.generate_key("P-256"), "ES256", None)


def missing() -> ConfigurationError | None:
    """Return the error that joserfc is missing; ``None``: it is installed."""
    jwk = _jwk_module()
    return jwk if isinstance(jwk, ConfigurationError) else None


def _jwk_module() -> Any:
    """Return joserfc's module for keys, or the error that joserfc is missing."""
    try:
        module: types.ModuleType = importlib.import_module("joserfc.jwk")
    except ImportError:
        return ConfigurationError("signed JWTs need joserfc", advice="pip install 'asyncauth[jwt]'")
    return module


def _jwk(text: str) -> dict[str, Any] | None:
    """Return the JWK in a text; ``None``: it is not one."""
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else None


def _imported(jwk: Any, material: str | dict[str, Any]) -> Any:
    """Return the key; ``None``: it is unreadable."""
    for kind in _KINDS:
        try:
            return getattr(jwk, kind).import_key(material)
        except Exception:  # noqa: BLE001, S112 (of another kind, or none; the library's errors are many)
            continue
    return None


def _texts(fields: dict[str, Any] | None) -> dict[str, str]:
    return {name: value for name, value in (fields or {}).items() if isinstance(value, str)}


def _algorithm(key: Any) -> str:
    """Return the default signature algorithm for this kind of key."""
    return "RS256" if key.key_type == "RSA" else _ALGORITHMS.get(key.curve_name, "none")
