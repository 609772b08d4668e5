"""The formats on the wire: JSON bodies, HTTP dates, numbers of seconds, JWTs."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from email.utils import formatdate
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 8
"""Hex digits of a fingerprint."""

JSON_PLAIN = "application/json; charset=utf-8"
JSON_OWIN = "application/json;charset=UTF-8"
"""As ASP.NET's OWIN server writes it: no space, capitals."""


@attrs.frozen
class Moment:
    """One instant on the server's two clocks.

    Each answer reads it once, so that its ``Date`` and the times in its body are in the same second.

    Attributes:
        wall: Unix epoch seconds, shifted by the system's clock skew.
        monotonic: Seconds on the clock that decides whether a token is valid.
    """

    wall: float
    monotonic: float


@functools.lru_cache(maxsize=64)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def http_date(epoch: float) -> str:
    """Return an HTTP date (RFC 9110 §5.6.7, IMF-fixdate) for Unix epoch seconds, cut to the whole second."""
    return _http_date(int(epoch // 1))


def number(value: float) -> float:
    """Return the same number, as an ``int`` if it is whole: ``86400`` and not ``86400.0`` on the wire."""
    return int(value) if float(value).is_integer() else value


def json_bytes(payload: object) -> bytes:
    """Return JSON in UTF-8, with ``ñ`` unescaped, as both systems send it."""
    return json.dumps(payload, ensure_ascii=False).encode()


def json_answer(
    payload: object,
    status: int = 200,
    *,
    content_type: str = JSON_PLAIN,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a JSON answer with exactly this ``Content-Type``."""
    # The complete header is set, since aiohttp's content_type= would write it differently.
    return web.Response(
        status=status, body=json_bytes(payload), headers={"Content-Type": content_type, **(headers or {})}
    )


def bearer(authorization: str | None) -> str | None:
    """Return the token of an ``Authorization`` header of the Bearer scheme (RFC 6750 §2.1), or ``None``."""
    scheme, _, value = (authorization or "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and value else None


def fingerprint(token: str) -> str:
    """Return the first 8 hex digits of a token's SHA-256, as clients log it: the page and a log show the same."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:_DIGITS]


def same_text(given: object, expected: str) -> bool:
    """Return whether a value from the wire is this text, compared in constant time."""
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_JWT_HEADER = _segment(b'{"alg":"HS256","typ":"JWT"}')


def signed_jwt(claims: Mapping[str, object], key: bytes) -> str:
    """Return a JWT (RFC 7519) with these claims, signed with HMAC-SHA-256."""
    signed = f"{_JWT_HEADER}.{_segment(json_bytes(claims))}"
    return f"{signed}.{_segment(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"
