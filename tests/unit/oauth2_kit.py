"""What the tests of the OAuth grants share."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus

from harness.canary import also
from joserfc.jwk import ECKey, RSAKey

if TYPE_CHECKING:
    from provider_kit import Sent

URL = "https://login.example.com/token"
EC = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
PEM = also(EC.as_pem(private=True).decode())


def answer(**changes: object) -> dict[str, object]:
    """Give a token answer, with changes; a field changed to ``...`` is left out."""
    fields: dict[str, object] = {"access_token": "at-1", "token_type": "bearer", "expires_in": 3600, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def pairs(sent: Sent) -> list[tuple[str, str]]:
    """Return a form's fields, in their order."""
    return parse_qsl(sent.body.decode(), keep_blank_values=True, strict_parsing=True)


def basic(sent: Sent) -> tuple[str, str]:
    """Return what a server reads in ``Authorization: Basic``."""
    scheme, _, value = sent.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    user, _, password = base64.b64decode(value).decode().partition(":")
    return unquote_plus(user), unquote_plus(password)


def jwt_part(token: str, number: int) -> Any:
    """Return a JWT's header (0) or claims (1)."""
    part = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
