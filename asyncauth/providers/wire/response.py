"""Reads a token endpoint's successful answer and checks each field. Pure: no I/O and no clock."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import attrs

from asyncauth import expiry
from asyncauth.errors import InvalidTokenResponse
from asyncauth.providers.wire.cases import fits, text_of
from asyncauth.providers.wire.classify import Answer, Hook, Kind, Verdict
from asyncauth.providers.wire.lifetime_fields import Unit, lifetime_of
from asyncauth.providers.wire.path import Path
from asyncauth.token import Token, is_visible_ascii

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from asyncauth.providers.identity import Part

__all__ = ["AnswerReader", "TokenResponse", "token_text"]

_FITS = "check the address, and that the provider fits the API"

_T = TypeVar("_T")

_NOT_BEARER = {"n_a": "N_A", "mac": "mac", "pop": "pop"}
"""Types of tokens that are not bearer tokens, in lower case: these are not sent at all, or with a signature."""
_CARRIED = "bearer "
_JWT_DOTS = 2
"""The dots in every JWT (RFC 7515 §7.1)."""


@attrs.define(repr=False, eq=False)
class TokenResponse:
    """A successful answer.

    Attributes:
        answer: The answer as it came. Secret.
        fields: The members of its JSON object, XML document or form, or of a part of that. Secret.
        sent_at: When the request was sent, in Unix epoch seconds of our wall clock.
        sent: The secrets in the request: an error may quote a field that repeats one (default: none).
        ignored: The flaws of optional fields that are unusable, without the fields' values.
    """

    answer: Answer
    fields: Mapping[str, Any]
    sent_at: float
    sent: tuple[str, ...] = ()
    ignored: list[str] = attrs.field(factory=list[str])

    def has(self, name: str) -> bool:
        """Return whether the answer has a field that is not ``null``."""
        return self.fields.get(name) is not None

    def with_fields(self, fields: Mapping[str, Any], *, without: Collection[str]) -> TokenResponse:
        """Return the answer with more fields, and without some.

        Args:
            fields: The fields to add.
            without: The names of fields to remove, such as those that contain a secret.
        """
        kept = {name: value for name, value in self.fields.items() if name not in without}
        return attrs.evolve(self, fields={**kept, **fields})

    def text(self, name: str) -> str:
        """Return a field that must be a token: a string of visible ASCII characters (RFC 6750 §2.1).

        Raises:
            InvalidTokenResponse: It is missing, or has characters that are not valid in a header.
        """
        return token_text(self.fields.get(name), name)

    def optional(self, read: Callable[[Any, str], _T], value: object, name: str) -> _T | None:
        """Return the value of a field that the token does not need; ``None``: it is empty or unreadable.

        A server without a value writes ``null``, ``""``, ``false`` or ``0``. Any other unreadable value is recorded in
        ``ignored``.

        Args:
            read: Converts the value, given the field's name; raises ``InvalidTokenResponse`` if it is unreadable.
            value: The field's value.
            name: The field's name.
        """
        if not value or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return read(value, name)
        except InvalidTokenResponse as error:
            self.ignored.append(error.message)
            return None

    def durations(self, name: str = "expires_in") -> list[float]:
        """Return a field's seconds in a list, which is empty if the answer lacks the field.

        Raises:
            InvalidTokenResponse: The field is unreadable, or not positive.
        """
        return [expiry.lifetime_seconds(self.fields[name], name)] if self.has(name) else []

    def token(
        self,
        name: str,
        *,
        durations: Iterable[float] = (),
        instants: Iterable[float] = (),
        times: Iterable[str] = (),
        default: float | None = None,
        refresh_token: str | None = None,
        any_type: bool = False,
    ) -> Token:
        """Return the token in a field, with the lifetime from the answer and, if it is a JWT, from the token itself.

        Args:
            name: The access token's field.
            durations: Lifetimes in seconds, from the answer's fields (default: none).
            instants: Expiries by the server's clock, in Unix epoch seconds (default: none).
            times: The fields that these come from. If all are missing, the lifetime is unknown; if one is ``null``,
                that is an error.
            default: The lifetime in seconds if the answer has none; ``None`` (default): unknown.
            refresh_token: The refresh token to keep with it; ``None`` (default): none.
            any_type: Whether the provider declares how the token is carried, whatever type the answer gives (default
                ``False``).

        Raises:
            InvalidTokenResponse: There is no token, it is not valid in a header, it was expired on arrival, or its type
                says that it is not sent as a bearer token.
        """
        value = token_text(self.fields.get(name), name)
        if value.count(".") == _JWT_DOTS:  # it may say itself how long it lives
            jwt_durations, jwt_instants = expiry.jwt_lifetime(value, self.answer.server_now)
            durations, instants = [*durations, *jwt_durations], [*instants, *jwt_instants]
        lifetime = expiry.lifetime(durations=durations, instants=instants, now=self._now)
        lifetime = default if lifetime is None else lifetime
        expires_at = None if lifetime is None else self.sent_at + lifetime
        if expires_at == self.sent_at:
            problem = InvalidTokenResponse(
                f"the token has {lifetime:g} s to live: it was expired on arrival", advice=expiry.EXPIRED_ADVICE
            )
            problem.expired = True
            raise problem
        if lifetime is None:
            unread = next((field for field in times if field in self.fields), None)
            if unread is not None:
                raise InvalidTokenResponse(
                    f"{unread!r} is null, and no other field has the token's lifetime",
                    advice="ask the server's operator for the lifetime",
                )
        scope = self.fields.get("scope")
        if not isinstance(scope, str) or any(secret and secret in scope for secret in self.sent):
            scope = None  # a server that repeats what was sent must not put it into the token's repr
        extra = dict(self.fields)
        del extra[name]
        extra.pop("refresh_token", None)
        return Token(
            value,
            issued_at=self.sent_at,
            expires_at=expires_at,
            token_type=_token_type(self.fields.get("token_type"), any_type=any_type),
            refresh_token=refresh_token,
            scope=scope,
            extra=extra,
        )

    def _now(self) -> float:
        """Return the server's clock, in Unix epoch seconds; if it sent no ``Date``, ours when the request was sent."""
        server_now = self.answer.server_now
        return self.sent_at if server_now is None else server_now


_BESIDE = tuple((name, Path.of(name, name)) for name in ("token_type", "scope"))
"""Fields that belong to a token, wherever the token is."""


class _Lifetime(TypedDict, total=False):
    durations: list[float]
    instants: list[float]
    times: tuple[str, ...]
    default: float | None


@attrs.frozen
class AnswerReader:
    """Reads answers as `AnswerFields` declares."""

    token: Path
    lifetime: Path | None
    unit: Unit
    default_lifetime: float | None
    never: tuple[str, ...]
    refresh_token: Path
    extra: tuple[tuple[str, Path], ...]
    is_flat: bool
    """Whether all fields are where `TokenResponse.token` looks for them: at the top level of the answer."""

    def parts(self, *, alone: bool) -> Sequence[Part]:
        """Return the parts of an identity that make a stored token differ from another.

        A provider that reads the same answer differently gets the same token with another expiry, or with other extra
        fields. If the refresh token is the only credential, the lifetime and the extra fields do not count. A stored
        refresh token must then be found, since it can't be obtained again; the next answer corrects the expiry.

        Args:
            alone: Whether the refresh token is the only credential.
        """
        if alone:
            return [self.token.text]
        lifetime = None if self.lifetime is None else self.lifetime.text
        extra = {name: path.text for name, path in self.extra}
        return [self.token.text, lifetime, self.unit, self.default_lifetime, sorted(self.never), extra]

    @property
    def hook(self) -> Hook | None:
        """The hook that decides what an answer means; ``None``: the token is one of the answer's fields."""
        return None if self.token.steps else self.verdict

    def verdict(self, answer: Answer, verdict: Verdict) -> Verdict:
        """Return what an answer means (a `Hook`): also a success if the token is a header or the whole body."""
        if verdict.kind is not Kind.UNREADABLE or not answer.is_success:
            return verdict
        found = self.token.find(answer.document, answer.headers)
        return Verdict(Kind.SUCCESS) if isinstance(found, str) else verdict

    def read(self, response: TokenResponse, refresh_token: str | None = None, *, any_type: bool = False) -> Token:
        """Return the token in an answer.

        Args:
            response: The answer.
            refresh_token: The refresh token to keep with it; ``None`` (default): none.
            any_type: Whether the provider declares how the token is carried, whatever type the answer gives (default
                ``False``).

        Raises:
            InvalidTokenResponse: As `TokenResponse.token`, or the lifetime is unreadable.
        """
        found = response
        if not self.is_flat:
            held = {str(path.steps[0]) for path in (self.token, self.refresh_token) if path.steps}
            found = response.with_fields(self._found(response), without=held)
        return found.token(
            self.token.text, refresh_token=refresh_token, any_type=any_type, **self._lifetime(found.fields)
        )

    def refreshed(self, response: TokenResponse) -> str | None:
        """Return an answer's refresh token; ``None``: it has none that can be used."""
        path = self.refresh_token
        try:
            value = response.fields.get(path.text) if self.is_flat else self._value(path, response)
        except LookupError:
            return None
        return None if value is None else response.optional(token_text, value, path.text)

    def _found(self, response: TokenResponse) -> dict[str, Any]:
        """Return the values at the paths, by name. Not a variable of `read`, since tracebacks show local variables."""
        own = ((path.text, path) for path in (self.lifetime, self.token) if path is not None)
        found: dict[str, Any] = {}
        for name, path in (*_BESIDE, *self.extra, *own):
            with suppress(LookupError):
                found[name] = self._value(path, response)
        return found

    def _lifetime(self, fields: Mapping[str, Any]) -> _Lifetime:
        """Return the lifetime in the values found as arguments of `TokenResponse.token`."""
        if self.lifetime is None:
            return {"default": self.default_lifetime}
        name = self.lifetime.text
        value = fields.get(name)
        if self.never and fits(text_of(value), self.never):
            return {}
        if value is None:
            return {"times": (name,), "default": self.default_lifetime}
        if self.unit == "seconds":  # as in OAuth; no other form is considered
            return {"durations": [expiry.lifetime_seconds(value, name)]}
        durations, instants = lifetime_of(value, name, self.unit)
        return {"durations": durations, "instants": instants}

    def _value(self, path: Path, response: TokenResponse) -> Any:
        """Return the value at a path; a plain name is first looked for next to the token.

        Raises:
            LookupError: There is no value.
        """
        document, headers = response.answer.document, response.answer.headers
        if len(path.steps) == 1:
            if len(self.token.steps) <= 1:
                return response.fields[str(path.steps[0])]
            with suppress(LookupError):
                return path.beside(self.token).value(document, headers)
        return path.value(document, headers)


def token_text(value: object, name: str) -> str:
    """Return a token, a string of visible ASCII characters (RFC 6750 §2.1).

    Some servers write it as requests carry it, after ``Bearer``, which is removed.

    Raises:
        InvalidTokenResponse: The value is not a token.
    """
    if not isinstance(value, str) or not value:
        raise InvalidTokenResponse(
            f"the answer has no {name!r}" if value is None else f"{name!r} is not a token", advice=_FITS
        )
    if value[: len(_CARRIED)].lower() == _CARRIED:
        value = value[len(_CARRIED) :].strip()
    if not is_visible_ascii(value):
        raise InvalidTokenResponse(f"{name!r} holds characters that can't travel in a header", advice=_FITS)
    return value


def _token_type(value: object, *, any_type: bool) -> str:
    """Return the scheme that a token is sent with: ``Bearer``, or ``DPoP`` if it is bound to a key.

    Any other type is the server's own label, such as Slack's ``bot``, or nonsense. `Token.extra` keeps it.

    Raises:
        InvalidTokenResponse: The type says that the token can't be sent as a bearer token.

    Source: RFC 6749 §7.1; RFC 8693 §2.2.1 (``N_A``).
    """
    kind = value.lower() if isinstance(value, str) else ""
    if kind in _NOT_BEARER and not any_type:
        raise InvalidTokenResponse(
            f"token_type is {_NOT_BEARER[kind]}, which is not sent as Bearer",
            advice="give scheme=, if the API takes it anyway",
        )
    return "DPoP" if kind == "dpop" else "Bearer"
