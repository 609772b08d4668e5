"""A token endpoint's answer, read with care. Pure: no I/O and no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import attrs

from asyncauth import expiry
from asyncauth._base.printable import printable
from asyncauth._base.redaction import Redactor
from asyncauth.errors import InvalidTokenResponse
from asyncauth.providers.wire.classify import BUSY_CODES, REJECTING_CODES
from asyncauth.token import Token

__all__ = ["TokenResponse", "cleaned", "parse", "secrets_of", "server_message"]

_LONGEST_MESSAGE = 200
_NOT_BEARER = {"n_a": "N_A", "mac": "mac", "pop": "pop"}
"""Types of tokens that are no bearer tokens, in lower case: not to be sent at all, or with a signature."""
_MOST_READ = 1 << 14
"""Characters of a message that are looked at."""
_CODES = REJECTING_CODES | BUSY_CODES
"""The protocols' own codes, by which a refresh decides (`classify`).

They stay whole: whatever the credential, such a word is the protocol's and no echo, and ``auth`` taken out of
``authorization_pending`` would make a refusal of it.
"""

_SECRET_NAME = re.compile(
    r"(?!.*(?:type|expire|issued|lifetime|scope|_in$))(?:.*(?:token|jwt|secret|session|ticket|assertion|password|key))",
    re.IGNORECASE,
)
"""What the names of an answer's fields look like that hold a secret."""
_SHORTEST_SECRET = 8


@attrs.frozen(repr=False)
class TokenResponse:
    """A successful answer.

    Attributes:
        fields: The JSON object's members. Secret.
        sent_at: When the request was sent, in Unix epoch seconds of our wall clock.
        server_now: The server's clock by the ``Date`` header, in Unix epoch seconds; ``None`` = it sent none.
        sent: The secrets that the request carried: an error may quote a field that repeats one.
    """

    fields: Mapping[str, Any]
    sent_at: float
    server_now: float | None
    sent: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Return whether the answer has a field, and not as ``null``."""
        return self.fields.get(name) is not None

    def with_fields(self, fields: Mapping[str, Any], *, without: str) -> TokenResponse:
        """Return the answer with more fields, and without one.

        Args:
            fields: What comes.
            without: What goes, such as one that holds a secret somewhere within.
        """
        kept = {name: value for name, value in self.fields.items() if name != without}
        return attrs.evolve(self, fields={**kept, **fields})

    def text(self, name: str) -> str:
        """Return a field that must be a token: a string of visible ASCII characters (RFC 6750 §2.1).

        Raises:
            InvalidTokenResponse: It is missing, or holds something that can't travel in a header.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidTokenResponse(f"the answer has no {name!r}" if value is None else f"{name!r} is no token")
        if not all("\x21" <= char <= "\x7e" for char in value):
            raise InvalidTokenResponse(f"{name!r} holds characters that can't travel in a header")
        return value

    def durations(self, name: str = "expires_in") -> list[float]:
        """Return a field's seconds in a list that is empty where the answer lacks the field.

        Raises:
            InvalidTokenResponse: It can't be read, or is not positive.
        """
        return [expiry.duration(self.fields[name], name)] if self.has(name) else []

    def token(
        self,
        name: str,
        *,
        durations: Iterable[float] = (),
        instants: Iterable[float] = (),
        times: Iterable[str] = (),
        refresh_token: str | None = None,
        any_type: bool = False,
    ) -> Token:
        """Return the token in a field, with the lifetime that the answer and, if it is a JWT, itself give it.

        Args:
            name: The access token's field.
            durations: Seconds that it lives, by the answer's fields.
            instants: Moments until which it lives, by the server's clock, in Unix epoch seconds.
            times: The fields these come from: without any of them the lifetime is unknown, but not with a ``null``.
            refresh_token: The refresh token to keep with it.
            any_type: Whether it is known how the token is sent, whatever the answer calls its type.

        Raises:
            InvalidTokenResponse: There is none, it can't travel, it was expired on arrival, or its type says that it is
                not sent as a bearer token.
        """
        value = self.text(name)
        jwt_durations, jwt_instants = expiry.jwt_lifetime(value, self.server_now)
        lifetime = expiry.lifetime(
            durations=[*durations, *jwt_durations],
            instants=[*instants, *jwt_instants],
            now=self.sent_at if self.server_now is None else self.server_now,
        )
        expires_at = None if lifetime is None else self.sent_at + lifetime
        if expires_at == self.sent_at:
            raise InvalidTokenResponse(f"the token has {lifetime:g} s to live: it was expired on arrival")
        unread = next((field for field in times if field in self.fields), None)
        if lifetime is None and unread is not None:
            raise InvalidTokenResponse(f"{unread!r} is null, and nothing else says how long the token lives")
        scope = self.fields.get("scope")
        if not isinstance(scope, str) or any(secret and secret in scope for secret in self.sent):
            scope = None  # a server that repeats what was sent must not put it into the token's repr
        return Token(
            value,
            issued_at=self.sent_at,
            expires_at=expires_at,
            token_type=_token_type(self.fields.get("token_type"), any_type=any_type),
            refresh_token=refresh_token,
            scope=scope,
            extra={key: held for key, held in self.fields.items() if key not in {name, "refresh_token"}},
        )


def _token_type(value: object, *, any_type: bool) -> str:
    """Return the scheme that a token is sent with: ``Bearer``, or ``DPoP`` if it is bound to a key.

    Any other type is a label of the server's own, such as Slack's ``bot``, or nonsense. `Token.extra` keeps it.

    Raises:
        InvalidTokenResponse: The type says that sending the token as a bearer token does not work.

    Source: RFC 6749 §7.1; RFC 8693 §2.2.1 (``N_A``).
    """
    kind = value.lower() if isinstance(value, str) else ""
    if kind in _NOT_BEARER and not any_type:
        raise InvalidTokenResponse(
            f"token_type is {_NOT_BEARER[kind]}, which is not sent as Bearer: give scheme=, if the API takes it anyway"
        )
    return "DPoP" if kind == "dpop" else "Bearer"


def parse(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that a body holds, or ``None`` if it holds none."""
    try:
        fields: Any = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, absurd numbers, nested too deeply
        return None
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else None


def secrets_of(fields: object) -> Iterator[str]:
    """Yield the texts of an answer whose names say that they are secret, at any depth.

    Args:
        fields: The answer's JSON.
    """
    unseen = [("", fields)]
    while unseen:
        name, value = unseen.pop()
        if isinstance(value, str):
            if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.match(name):
                yield value
        elif isinstance(value, Mapping):
            named = cast("Mapping[str, object]", value)
            unseen += [(f"{name}.{inner}", each) for inner, each in named.items()]
        elif isinstance(value, list):
            unseen += [(name, each) for each in cast("list[object]", value)]


def server_message(fields: Mapping[str, Any], redactor: Redactor) -> tuple[str | None, str | None]:
    """Return the server's error code (RFC 6749 §5.2) and its own short message, fit to be shown.

    Args:
        fields: The answer's.
        redactor: Knows what was sent: a server that repeats it must not put it in our log.
    """
    code, text = fields.get("error"), fields.get("error_description") or fields.get("message")
    if isinstance(code, str) and not code.replace("_", "").isalnum():
        code, text = None, text or code  # a sentence where others have a code (Pago Fácil)
    known = isinstance(code, str) and code in _CODES
    return code if known else cleaned(code, redactor), cleaned(text, redactor)


def cleaned(text: object, redactor: Redactor) -> str | None:
    """Return a text without what was sent, without control characters, and short; ``None`` if nothing is left."""
    if not isinstance(text, str):
        return None
    # The redactor sees the text as it will be shown.
    text = redactor.text(" ".join(printable(text[:_MOST_READ]).split()))
    return printable(text, _LONGEST_MESSAGE) or None
