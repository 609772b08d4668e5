"""The user's declaration of where an answer has the token, and what belongs to it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.wire.cases import Values, patterns
from asyncauth.providers.wire.error_fields import ErrorFields, ErrorRules
from asyncauth.providers.wire.lifetime_fields import UNITS, Unit
from asyncauth.providers.wire.path import Path
from asyncauth.providers.wire.response import AnswerReader

__all__ = ["AnswerFields", "declared"]


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
