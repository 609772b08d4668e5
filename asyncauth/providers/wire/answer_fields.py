"""The user's declaration of where an answer has the token, and what belongs to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from asyncauth import expiry
from asyncauth.errors import ConfigurationError
from asyncauth.providers.wire.cases import Values, fits, patterns, text_of
from asyncauth.providers.wire.classify import Answer, Hook, Kind, Verdict
from asyncauth.providers.wire.error_fields import ErrorFields, ErrorRules
from asyncauth.providers.wire.lifetime_fields import UNITS, Unit, lifetime_of
from asyncauth.providers.wire.path import Path
from asyncauth.providers.wire.response import TokenResponse, token_text

if TYPE_CHECKING:
    from asyncauth.providers.identity import Part
    from asyncauth.token import Token

__all__ = ["AnswerFields", "AnswerReader", "declared"]


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


def _compiled(fields: AnswerFields) -> AnswerReader:
    if fields.unit not in UNITS:
        raise ConfigurationError(f"unit is one of {', '.join(map(repr, UNITS))}")
    default, number = fields.default_lifetime, isinstance(fields.default_lifetime, int | float)
    if default is not None and not (number and default is not True and 0 < default < math.inf):
        raise ConfigurationError("default_lifetime takes a positive number of seconds")
    if not isinstance(fields.extra, Mapping) or not all(isinstance(name, str) for name in fields.extra):
        raise ConfigurationError("extra takes a mapping of names to paths")
    token, refresh_token = Path.of(fields.token, "token"), Path.of(fields.refresh_token, "refresh_token")
    lifetime = None if fields.lifetime is None else Path.of(fields.lifetime, "lifetime")
    flat = all(path is None or path.steps == (path.text,) for path in (token, lifetime))
    return AnswerReader(
        token,
        lifetime,
        fields.unit,
        None if default is None else float(default),
        () if fields.never == () else patterns(fields.never, "never"),
        refresh_token,
        tuple((name, Path.of(path, "extra")) for name, path in fields.extra.items()),
        flat and refresh_token.text == "refresh_token" and not fields.extra,
    )


@attrs.frozen(kw_only=True)
class AnswerFields:
    """Where a token endpoint's answer has the token and its other fields, if not as in RFC 6749.

    ::

        AnswerFields(token="data.session", lifetime="data.valid_until", unit="iso8601")

    **Paths** are ``"access_token"``, ``"data.token"``, ``"items[0].token"``, ``"['odd.name']"``. In an XML answer, the
    steps are names of elements and attributes, without their prefixes: ``"Envelope.Body.Ticket.token"``. A text on the
    way that contains JSON or XML is parsed. ``"header:X-Token"`` is a header, ``"cookie:SESSION"`` a cookie that the
    answer sets, and ``"$"`` the whole body, if that is the token. Answers in JSON, XML and form encoding are read
    alike. A plain name is first looked for next to the token, then in the answer itself.

    Args:
        token: The access token's path (default ``"access_token"``).
        lifetime: The lifetime's path (default ``"expires_in"``). ``None``: the answer has no lifetime.
        unit: The lifetime's unit: ``"seconds"`` (default), ``"ms"``, ``"minutes"``, ``"hours"``, ``"days"``,
            ``"hh:mm:ss"`` (``"177:05:38"``), ``"epoch_seconds"``, ``"epoch_ms"``, ``"http_date"`` or ``"iso8601"``.
        default_lifetime: Lifetime in seconds of a token whose answer has none. ``None`` (default): unknown, and the
            token is used until the API answers it with a 401.
        never: Values of ``lifetime`` that mean that the token does not expire, such as ``0``, or ``(0, -1)``. Default:
            none; 0 then means that it was expired on arrival.
        refresh_token: The refresh token's path (default ``"refresh_token"``).
        extra: Other values to keep in `Token.extra`: names, and the values' paths (default: none).

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
    """

    token: str = "access_token"  # noqa: S105 (the name of a field)
    lifetime: str | None = "expires_in"
    unit: Unit = "seconds"
    default_lifetime: float | None = None
    never: Values = ()
    refresh_token: str = "refresh_token"  # noqa: S105
    extra: Mapping[str, str] = attrs.field(factory=dict[str, str])
    reader: AnswerReader = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_compiled, takes_self=True)
    )


def declared(answer: AnswerFields | None, errors: ErrorFields | None) -> tuple[AnswerFields, ErrorRules]:
    """Return a provider's ``answer=`` and ``errors=``, or their defaults.

    Raises:
        ConfigurationError: They are of another type.
    """
    answer, errors = answer or AnswerFields(), errors or ErrorFields()
    if not isinstance(answer, AnswerFields) or not isinstance(errors, ErrorFields):
        raise ConfigurationError("answer= takes an AnswerFields, and errors= an ErrorFields")
    return answer, errors.rules
