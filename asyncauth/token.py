"""The access token, as everything else in the library speaks of it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn

import attrs

__all__ = ["SEALED", "Token", "digest", "fingerprint", "type_flaw"]

SEALED = "sealed"
"""The type, and the refresh token, of a stored token that is encrypted: of no use to anybody without the keys."""
_KEY = os.urandom(32)
_DIGITS = 8
"""Hex digits of a fingerprint."""
_SHORTEST_HASHED = 20
"""Printable ASCII characters that can hold 128 random bits, which RFC 6749 §10.10 wants of an access token."""
_SCHEMES = {"bearer": "Bearer", "dpop": "DPoP"}


def digest(secret: str) -> str:
    """Return 32 hex digits that tell two secrets apart and reveal neither.

    The digest is keyed with a random key of this process: equal secrets have equal digests within one process, and
    one that ends up in a log can't be searched for offline.
    """
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=16).hexdigest()


def fingerprint(value: str) -> str:
    """Return 8 hex digits that tell an access token from another and do not help to guess it.

    They are the first 32 bits of the token's SHA-256, so every process, and any other program, computes the same ones:
    ``printf %s "$TOKEN" | sha256sum | cut -c1-8``. A token of fewer than 20 characters may be guessable: instead of
    its hash, which guesses could be compared with, this returns digits of its `digest`, which only this process knows.
    """
    if len(value) < _SHORTEST_HASHED:
        return digest(value)[:_DIGITS]
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


_NOTHING: Mapping[str, Any] = MappingProxyType({})  # one for all, so that a token without extras costs none


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value)) if value else _NOTHING


_LONGEST_SHOWN = 100
"""Characters of a server's own words that a repr shows."""


def _moment(epoch: float | None) -> str:
    """Return an instant as people read it."""
    if epoch is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{epoch:.0f}"


@attrs.frozen(repr=False)
class Token:
    """An access token and what is known about it.

    Immutable, and safe to share between tasks, threads and event loops. Its ``repr`` shows times and a fingerprint,
    never a secret; pickling it is refused, since a pickle would hold the secret in the clear (a store keeps tokens
    between processes).

    Attributes:
        value: The access token itself. Secret.
        expires_at: When it ends, in Unix epoch seconds; ``None`` = the lifetime is unknown: it is used until the
            server refuses it.
        issued_at: When the request for it was sent, in Unix epoch seconds (default: now).
        token_type: As the server names it (RFC 6749 §7.1); ``"bearer"`` in any case is written ``Bearer``.
        refresh_token: The refresh token that came with it, if one did. Secret.
        scope: The scope that was granted, where the server says so (RFC 6749 §3.3).
        extra: The answer's other fields, read-only. May hold personal data: not in the ``repr``.
    """

    value: str
    expires_at: float | None = attrs.field(default=None, kw_only=True)
    issued_at: float = attrs.field(factory=time.time, kw_only=True)
    token_type: str = attrs.field(default="Bearer", kw_only=True)
    refresh_token: str | None = attrs.field(default=None, kw_only=True)
    scope: str | None = attrs.field(default=None, kw_only=True)
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any], kw_only=True, converter=_frozen_mapping, hash=False)

    @property
    def authorization(self) -> str:
        """The ``Authorization`` header's value by `token_type`, such as ``"Bearer …"``. Secret.

        Where a provider declares that its token is carried otherwise, `TokenManager.headers` has what requests carry.
        """
        return f"{_SCHEMES.get(self.token_type.lower(), self.token_type)} {self.value}"

    @property
    def lifetime(self) -> float | None:
        """Seconds from `issued_at` to `expires_at`; ``None`` = unknown."""
        return None if self.expires_at is None else self.expires_at - self.issued_at

    @property
    def fingerprint(self) -> str:
        """8 hex digits that tell this token from another: the start of its SHA-256, the same in every process.

        Of a token with fewer than 20 characters, or of type ``Basic``, which is a password in another spelling, they
        are the same within one process only: it may be guessable.
        """
        return digest(self.value)[:_DIGITS] if self.token_type.lower() == "basic" else fingerprint(self.value)

    def __repr__(self) -> str:
        parts = [
            f"fingerprint={self.fingerprint}",
            f"issued_at={_moment(self.issued_at)}",
            f"expires_at={_moment(self.expires_at)}",
            f"token_type={self._shown(self.token_type)}",
        ]
        if self.scope is not None:
            parts.append(f"scope={self._shown(self.scope)}")
        if self.refresh_token is not None:
            parts.append("refresh_token=…")
        return f"<Token {' '.join(parts)}>"

    def _shown(self, text: str) -> str:
        """Return what the server said of the token, short, and without the token if the server repeats it there."""
        from asyncauth._base.redaction import Redactor  # noqa: PLC0415 (most processes never show a token)

        text = Redactor((self.value, self.refresh_token or "")).text(text[: 4 * _LONGEST_SHOWN])
        return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…")

    def __copy__(self) -> Token:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Token:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "a Token is not pickled: the pickle would hold the secret; share it through a store instead"
        raise TypeError(msg)


_TEXTS = {"value": True, "token_type": True, "refresh_token": False, "scope": False}
"""By field: whether it must be there."""


def type_flaw(token: Token) -> str | None:
    """Return which field of somebody else's token is not what it must be, and of what type it is."""
    for name, needed in _TEXTS.items():
        value: object = getattr(token, name)
        if not isinstance(value, str) and (needed or value is not None):
            return f"{name} is {type(value).__name__}, not str"
    for name in ("issued_at", "expires_at"):
        value = getattr(token, name)
        if value is None and name == "expires_at":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{name} is {type(value).__name__}, not a number of Unix epoch seconds"
    return None
