"""The access token: `Token`, and how to name one without showing it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn

import attrs

__all__ = [
    "SEALED",
    "Token",
    "digest",
    "fingerprint",
    "is_visible_ascii",
    "type_flaw",
    "with_times",
    "without_refresh_token",
]

SEALED = "sealed"
"""The ``token_type`` and ``refresh_token`` of a stored token that is encrypted: useless without the keys."""
_KEY = os.urandom(32)
_DIGITS = 8
"""Hex digits of a fingerprint."""
_SHORTEST_HASHED = 20
"""Printable ASCII characters that can hold 128 random bits, as RFC 6749 §10.10 requires of an access token."""
_SCHEMES = {"bearer": "Bearer", "dpop": "DPoP"}


def digest(secret: str) -> str:
    """Return 32 hex digits that distinguish two secrets and reveal neither.

    The digest is keyed with a random key of this process: within it, equal secrets have equal digests. A digest found
    in a log cannot be attacked offline.
    """
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=16).hexdigest()


def fingerprint(value: str) -> str:
    """Return 8 hex digits that distinguish an access token from others, and do not help to guess it.

    They are the first 32 bits of the token's SHA-256, so every process, and any other program, computes the same ones:
    ``printf %s "$TOKEN" | sha256sum | cut -c1-8``. A token of fewer than 20 characters may be guessable, and its hash
    would confirm a guess. For such a token, they are the first digits of its `digest`, which only this process can
    compute.
    """
    if len(value) < _SHORTEST_HASHED:
        return digest(value)[:_DIGITS]
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


_NOTHING: Mapping[str, Any] = MappingProxyType({})  # shared, so that a token without extras takes no memory for them


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value)) if value else _NOTHING


_LONGEST_SHOWN = 100
"""The most characters of a server's text that a repr shows."""


def _moment(epoch: float | None) -> str:
    """Return an instant as readable text."""
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
    never a secret. A token cannot be pickled, since the pickle would hold the secret unencrypted: share tokens between
    processes through a store.

    Attributes:
        value: The access token itself. Secret.
        expires_at: When it expires, in Unix epoch seconds; ``None`` (default): the lifetime is unknown, and the token
            is used until the API answers it with a 401.
        issued_at: When the request for it was sent, in Unix epoch seconds (default: now).
        token_type: The server's ``token_type`` (RFC 6749 §7.1; default ``"Bearer"``).
        refresh_token: The refresh token that came with it; ``None`` (default): none did. Secret.
        scope: The granted scope (RFC 6749 §3.3); ``None`` (default): the server did not say.
        extra: The answer's other fields, read-only (default: none). They may hold personal data, so the ``repr`` omits
            them.
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
        """The value of the ``Authorization`` header, such as ``"Bearer …"``; ``token_type`` gives the scheme. Secret.

        If a provider declares another place for its token, `TokenManager.headers` returns what requests carry.
        """
        return f"{_SCHEMES.get(self.token_type.lower(), self.token_type)} {self.value}"

    @property
    def lifetime(self) -> float | None:
        """Seconds from `issued_at` to `expires_at`; ``None``: unknown."""
        return None if self.expires_at is None else self.expires_at - self.issued_at

    @property
    def fingerprint(self) -> str:
        """8 hex digits that distinguish this token from others: the start of its SHA-256, the same in every process.

        A token with fewer than 20 characters, or of type ``Basic`` (a password in another form), may be guessable. Its
        digits are the same only within one process.
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
        """Return a server's text about the token, shortened, and without the token if the server repeats it there."""
        from asyncauth._base.redaction import Redactor  # noqa: PLC0415 (most processes never show a token)

        text = Redactor((self.value, self.refresh_token or "")).text(text[: 4 * _LONGEST_SHOWN])
        return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…")

    def __copy__(self) -> Token:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Token:
        return self

    def __reduce__(self) -> NoReturn:
        msg = "a Token cannot be pickled: the pickle would hold the secret; share it through a store instead"
        raise TypeError(msg)


_TEXTS = {"value": True, "token_type": True, "refresh_token": False, "scope": False}
"""Text fields, and whether each is required."""


_USUAL = (str, str, float, float)
"""The types of value, token type, issue and expiry in most tokens."""


_SAME = 0.001
"""Seconds by which the times of a token may differ: its provider read the clock a moment earlier than its manager."""


def with_times(token: Token, issued_at: float, expires_at: float | None) -> Token:
    """Return a token with other times: the token itself, if they differ by less than a millisecond from its own.

    Each refresh needs that: `attrs.evolve` takes half as long again.

    Args:
        token: The token.
        issued_at: When it was issued.
        expires_at: When it expires: its own lifetime after that; ``None``: unknown.
    """
    if abs(token.issued_at - issued_at) < _SAME and (token.expires_at is None) == (expires_at is None):
        return token
    return _changed(token, issued_at, expires_at, token.refresh_token)


def without_refresh_token(token: Token) -> Token:
    """Return a token without its refresh token."""
    if token.refresh_token is None:
        return token
    return _changed(token, token.issued_at, token.expires_at, None)


def _changed(token: Token, issued_at: float, expires_at: float | None, refresh_token: str | None) -> Token:
    if type(token) is not Token:  # a user's own class may have more fields
        return attrs.evolve(token, issued_at=issued_at, expires_at=expires_at, refresh_token=refresh_token)
    return Token(
        token.value,
        expires_at=expires_at,
        issued_at=issued_at,
        token_type=token.token_type,
        refresh_token=refresh_token,
        scope=token.scope,
        extra=token.extra,
    )


def type_flaw(token: Token) -> str | None:
    """Return which field of a token has the wrong type, and that type; ``None``: none has.

    User code may have made the token.
    """
    refresh_token, scope = token.refresh_token, token.scope
    if (
        (type(token.value), type(token.token_type), type(token.issued_at), type(token.expires_at)) == _USUAL
        and (refresh_token is None or type(refresh_token) is str)
        and (scope is None or type(scope) is str)
    ):
        return None  # as for most tokens, without a look at each field by name
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


def is_visible_ascii(text: str) -> bool:
    """Return whether a text is safe in a header: it has only the characters ``!`` to ``~``, so no spaces."""
    return text.isascii() and text.isprintable() and " " not in text
