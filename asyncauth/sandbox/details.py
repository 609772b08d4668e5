"""The details of one request that may be shown beyond its line in the log, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from asyncauth.sandbox.wire import bearer, fingerprint, same_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

How: TypeAlias = Literal["plain", "fingerprint", "right", "other", "hidden"]
"""How a value is shown: unchanged, by its fingerprint, as the expected one or another one, or by its length."""

Why: TypeAlias = Literal[
    "no_token",
    "no_bearer",
    "unknown_token",
    "revoked_token",
    "expired_token",
    "reused_token",
    "other_kind",
    "forbidden_path",
    "wrong_username",
    "wrong_password",
    "unsupported_grant",
    "no_form",
    "past_date",
]
"""Why a request was rejected. The page has a sentence for each."""

_MOST = 40
_NAME_SHOWN = 60
_VALUE_SHOWN = 200
_SHORT = 20
"""A shorter value could be found by guessing, so it has no fingerprint."""

_PLAIN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-encoding"),
        *("content-length", "content-type", "date", "expect", "host", "if-modified-since", "if-none-match", "range"),
        *("te", "traceparent", "transfer-encoding", "upgrade", "user-agent"),
    }
)
_PLAIN_FIELDS = frozenset({"expDate"})
_GRANTS = frozenset({"password", "refresh_token", "client_credentials", "authorization_code"})


@attrs.frozen
class Shown:
    """A header or a field.

    Attributes:
        name: Its name, at most 60 characters.
        how: The meaning of `text`.
        text: The value, its fingerprint, or its length in characters.
    """

    name: str
    how: How
    text: str


@attrs.frozen
class Details:
    """What a request contained, and its outcome.

    Attributes:
        headers: Its headers.
        fields: The fields of a token request's body.
        token: The fingerprint of the Bearer token that it carried, valid or not.
        issued: The fingerprint of the token in the answer.
        why: Why it was rejected, such as ``"expired_token"``.
        fault: The kind of the fault that it got.
        echo: Whether the API echoed it.
    """

    headers: tuple[Shown, ...] = ()
    fields: tuple[Shown, ...] = ()
    token: str | None = None
    issued: str | None = None
    why: Why | None = None
    fault: str | None = None
    echo: bool = False


@attrs.define
class Note:
    """What is recorded about a request while it is answered; see `Details`."""

    fields: tuple[Shown, ...] = ()
    issued: str | None = None
    why: Why | None = None
    fault: str | None = None
    echo: bool = False

    def details(self, headers: Mapping[str, str]) -> Details:
        """Return the details that may be shown, with the request's headers."""
        value = bearer(headers.get("Authorization"))
        return Details(
            headers=shown_headers(headers.items()),
            fields=self.fields,
            token=None if value is None or len(value) < _SHORT else fingerprint(value),
            issued=self.issued,
            why=self.why,
            fault=self.fault,
            echo=self.echo,
        )


def shown_headers(headers: Iterable[tuple[str, str]]) -> tuple[Shown, ...]:
    """Return headers as they may be shown: values that can't be secret unchanged, others by their length."""
    return tuple(_header(name, value) for name, value in list(headers)[:_MOST])


def _header(name: str, value: str) -> Shown:
    if name.lower() in _PLAIN_HEADERS:
        return Shown(name[:_NAME_SHOWN], "plain", value[:_VALUE_SHOWN])
    token = bearer(value) if name.lower() == "authorization" else None
    return _hidden(name, value if token is None else token, may_be_token=token is not None)


def shown_fields(fields: Mapping[str, object], *, username: str, password: str) -> tuple[Shown, ...]:
    """Return the fields of a token request as they may be shown.

    Args:
        fields: The body's fields.
        username: The accepted user name.
        password: That user's password.
    """
    expected = {"username": username, "user": username, "password": password}
    return tuple(_field(name, value, expected.get(name)) for name, value in list(fields.items())[:_MOST])


def _field(name: str, value: object, expected: str | None) -> Shown:
    text = str(value)
    if expected is not None:
        right = same_text(value, expected)
        plain = text if right and name != "password" else ""
        return Shown(name, "right" if right else "other", plain)
    if name in _PLAIN_FIELDS or (name == "grant_type" and text in _GRANTS):
        return Shown(name, "plain", text[:_NAME_SHOWN])
    return _hidden(name, text, may_be_token=name.endswith("token"))


def _hidden(name: str, value: str, *, may_be_token: bool = False) -> Shown:
    if may_be_token and len(value) >= _SHORT:
        return Shown(name[:_NAME_SHOWN], "fingerprint", fingerprint(value))
    return Shown(name[:_NAME_SHOWN], "hidden", str(len(value)))
