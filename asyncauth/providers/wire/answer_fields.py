"""Where an answer has the token and what goes with it, as a user declares it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

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
"""What belongs to a token, wherever that stands."""


class _Lifetime(TypedDict, total=False):
    durations: list[float]
    instants: list[float]
    times: tuple[str, ...]
    default: float | None


@attrs.frozen
class AnswerReader:
    """What `AnswerFields` says, as it is applied to answers."""

    token: Path
    lifetime: Path | None
    unit: Unit
    default_lifetime: float | None
    never: tuple[str, ...]
    refresh_token: Path
    extra: tuple[tuple[str, Path], ...]
    is_flat: bool
    """Whether all of it stands where `TokenResponse.token` looks for it: among the answer's own fields."""

    def parts(self, *, alone: bool) -> Sequence[Part]:
        """Return what makes the token in a store another one, for an identity.

        A provider that reads the same answer differently has the same token with another end, or with other fields
        kept beside it. A stored refresh token that is the only credential is found all the same: it can't be obtained
        again, and the next answer corrects the end.

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
        """The say in what an answer means; ``None``: the token is one of the answer's fields."""
        return None if self.token.steps else self.verdict

    def verdict(self, answer: Answer, verdict: Verdict) -> Verdict:
        """Return what an answer means (a `Hook`): a success as well if a header or the whole body is the token."""
        if verdict.kind is not Kind.UNREADABLE or not answer.is_success:
            return verdict
        found = self.token.find(answer.document, answer.headers)
        return Verdict(Kind.SUCCESS) if isinstance(found, str) else verdict

    def read(self, response: TokenResponse, refresh_token: str | None = None, *, any_type: bool = False) -> Token:
        """Return the token that an answer holds.

        Args:
            response: The answer.
            refresh_token: The refresh token to keep with it.
            any_type: Whether it is known how the token is sent, whatever the answer calls its type.

        Raises:
            InvalidTokenResponse: As `TokenResponse.token` does, or how long the token lives can't be read.
        """
        found = response
        if not self.is_flat:
            held = {str(path.steps[0]) for path in (self.token, self.refresh_token) if path.steps}
            found = response.with_fields(self._found(response), without=held)
        return found.token(self.token.text, refresh_token=refresh_token, any_type=any_type, **self._lifetime(response))

    def refreshed(self, response: TokenResponse) -> str | None:
        """Return the refresh token that an answer brings; ``None``: it brings none that can be used."""
        value = None
        with suppress(LookupError):
            value = self._value(self.refresh_token, response)
        return response.optional(token_text, value, self.refresh_token.text)

    def _found(self, response: TokenResponse) -> dict[str, Any]:
        """Return what stands at the paths, by name. In no variable of `read`: frames are shown."""
        own = ((path.text, path) for path in (self.lifetime, self.token) if path is not None)
        found: dict[str, Any] = {}
        for name, path in (*_BESIDE, *self.extra, *own):
            with suppress(LookupError):
                found[name] = self._value(path, response)
        return found

    def _lifetime(self, response: TokenResponse) -> _Lifetime:
        """Return what an answer says of the lifetime, as `TokenResponse.token` takes it."""
        if self.lifetime is None:
            return {"default": self.default_lifetime}
        name, value = self.lifetime.text, None
        with suppress(LookupError):
            value = self._value(self.lifetime, response)
        if self.never and fits(text_of(value), self.never):
            return {}
        if value is None:
            return {"times": (name,), "default": self.default_lifetime}
        durations, instants = lifetime_of(value, name, self.unit)
        return {"durations": durations, "instants": instants}

    def _value(self, path: Path, response: TokenResponse) -> Any:
        """Return what stands at a path; a plain name counts beside the token first.

        Raises:
            LookupError: Nothing does.
        """
        if len(path.steps) == 1:
            if len(self.token.steps) <= 1:
                return response.fields[str(path.steps[0])]
            with suppress(LookupError):
                return path.beside(self.token).value(response.document, response.headers)
        return path.value(response.document, response.headers)


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
    """Where a token endpoint's answer has the token and what goes with it, where it is not as in RFC 6749.

    ::

        AnswerFields(token="data.session", lifetime="data.valid_until", unit="iso8601")

    **Paths** are ``"access_token"``, ``"data.token"``, ``"items[0].token"``, ``"['odd.name']"``. In an XML answer the
    steps are names of elements and attributes, without their prefixes: ``"Envelope.Body.Ticket.token"``. A text on the
    way that holds JSON or XML itself is read. ``"header:X-Token"`` is a header, ``"cookie:SESSION"`` a cookie that the
    answer sets, and ``"$"`` the whole body, where that is the token. Answers in JSON, XML and form encoding are read
    alike. A plain name counts beside the token first, then in the answer itself.

    Args:
        token: Where the access token stands.
        lifetime: Where the answer says how long it lives (default: ``"expires_in"``). ``None``: it does not.
        unit: In what: ``"seconds"`` (default), ``"ms"``, ``"minutes"``, ``"hours"``, ``"days"``, ``"hh:mm:ss"``
            (``"177:05:38"``), ``"epoch_seconds"``, ``"epoch_ms"``, ``"http_date"`` or ``"iso8601"``.
        default_lifetime: Seconds that a token lives of which the answer does not say it (default: ``None``, unknown:
            it is used until the API refuses it).
        never: Values of ``lifetime`` that mean that the token does not end, such as ``0``, or ``(0, -1)``. Default:
            none; zero then means that it was expired on arrival.
        refresh_token: Where the refresh token stands (default: ``"refresh_token"``).
        extra: What else to keep in `Token.extra`: names, and the paths of their values.

    Raises:
        ConfigurationError: An argument can't be read; the message says which.
    """

    token: str = "access_token"  # noqa: S105 (a field's name)
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
    """Return what a provider's ``answer=`` and ``errors=`` say.

    Raises:
        ConfigurationError: They are something else.
    """
    answer, errors = answer or AnswerFields(), errors or ErrorFields()
    if not isinstance(answer, AnswerFields) or not isinstance(errors, ErrorFields):
        raise ConfigurationError("answer= takes an AnswerFields, and errors= an ErrorFields")
    return answer, errors.rules
