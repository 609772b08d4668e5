"""A fault: one thing that the sandbox does wrong, checked when it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs
from aiohttp import web

from asyncauth.sandbox.settings import flag
from asyncauth.sandbox.settings import seconds as check_seconds

Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""An async callable that answers a request, or returns ``None`` to let the sandbox answer."""

DETAILS: Mapping[str, Mapping[str, object]] = {
    "answer": {"answer": None},
    "disconnect": {"processed": False},
    "hang": {"processed": False},
    "malformed": {},
    "missing_fields": {"fields": ("access_token", "access_token_jwt")},
    "redirect": {"location": "/", "status": 307},
    "replace_fields": {"values": {"expires_in": "abc"}},
    "reset": {},
    "server_error": {"status": 503, "retry_after": None},
    "slow_drip": {"seconds": 1.0},
    "too_many_requests": {"retry_after": None, "retry_after_date": False},
    "unauthorized": {},
    "wrong_credentials": {},
}
"""Every kind of fault, and its further fields beside times, step and path, each with an initial value."""

KINDS = frozenset(DETAILS)
"""Every kind of fault; the API supports all but `TOKEN_ONLY`."""

TOKEN_ONLY = frozenset({"missing_fields", "replace_fields", "wrong_credentials"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERRORS = range(500, 600)


def header_value(name: str, value: object) -> None:
    """Check that a text is valid in a header.

    Raises:
        ValueError: It is not a text, or contains something other than printable ASCII.
    """
    if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} must be a header value in printable ASCII")


def times(_: object, __: object, value: Any) -> None:
    """Accept a number of requests, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError("times must be a whole number of requests, at least 1, or null: until cleared")


def whole(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a whole number, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{attribute.name} must be a whole number")


def mapping(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept values by field name."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{attribute.name} must be an object of field names and values")  # noqa: TRY004 - as above


def selector(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a text that is not empty, or ``None``."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"{attribute.name} must be a non-empty string, or null for any")


def names(_: object, __: object, value: object) -> None:
    """Accept field names."""
    if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError("fields must be a list of field names")


def location(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a header value, or ``None``."""
    if value is not None:
        header_value(attribute.name, value)


def retry_after(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept seconds, a header value, or ``None``."""
    if isinstance(value, str):
        header_value(attribute.name, value)
    elif value is not None:
        check_seconds(_, attribute, value)


def _as_tuple(value: object) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


@attrs.frozen(kw_only=True)
class Fault:
    """One fault. `FaultPlan` has a method that makes one of each kind; in JSON, it has the same fields.

    Attributes:
        kind: One of `KINDS`.
        times: How many requests get it; ``None``: all, until it is cleared.
        step: Only for this token step (``"refresh_token"``, ``"loginToken"``, …); ``None``: any.
        path: Only for API paths that start with this; ``None``: any.
        status: The status of ``server_error`` (500 to 599) and ``redirect`` (301, 302, 303, 307, 308).
        retry_after: ``Retry-After`` of ``too_many_requests`` and ``server_error``: seconds (a number), or a header
            value (a string). ``None``: no such header.
        retry_after_date: Whether to send the seconds as an HTTP date by the server's clock.
        location: The target of ``redirect``.
        seconds: Seconds that the body of ``slow_drip`` takes.
        fields: The fields that ``missing_fields`` removes from the answer.
        values: The fields that ``replace_fields`` puts into the answer: any JSON value, by name.
        processed: Whether a request that gets no answer (``hang``, ``disconnect``) takes effect nevertheless, as if its
            answer was lost on the way.
        answer: The callable of ``answer``.
    """

    kind: str
    times: int | None = attrs.field(default=None, validator=times)
    step: str | None = attrs.field(default=None, validator=selector)
    path: str | None = attrs.field(default=None, validator=selector)
    status: int | None = attrs.field(default=None, validator=whole)
    retry_after: float | str | None = attrs.field(default=None, validator=retry_after)
    retry_after_date: bool = attrs.field(default=False, validator=flag)
    location: str | None = attrs.field(default=None, validator=location)
    seconds: float = attrs.field(default=1.0, validator=check_seconds)
    fields: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple, validator=names)
    values: Mapping[str, object] = attrs.field(factory=dict[str, object], validator=mapping)
    processed: bool = attrs.field(default=False, validator=flag)
    answer: Answer | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check the fields that depend on the kind."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault; choose from: {', '.join(sorted(KINDS))}")
        if self.retry_after_date and (self.retry_after is None or isinstance(self.retry_after, str)):
            raise ValueError("retry_after_date needs retry_after as a number of seconds")
        self._check_details()

    def _check_details(self) -> None:
        if self.kind == "redirect":
            header_value("location", self.location)
            if self.status is not None and self.status not in REDIRECTS:
                raise ValueError("status of a redirect must be 301, 302, 303, 307 or 308")
        elif self.kind == "server_error":
            if self.status is not None and self.status not in _ERRORS:
                raise ValueError("status of a server_error must be from 500 to 599")
        elif self.status is not None:
            raise ValueError("only redirect and server_error have a status")
        if self.kind == "missing_fields" and not self.fields:
            raise ValueError("missing_fields needs fields, a list of field names")
        if self.kind == "replace_fields" and not self.values:
            raise ValueError("replace_fields needs values, an object of field names and values")
        if self.kind == "answer" and not callable(self.answer):
            raise ValueError("answer needs an async callable; it can be set in Python only")

    @classmethod
    def from_json(cls, spec: object) -> Fault:
        """Return the fault in a JSON object such as ``{"kind": "hang", "times": 2}``.

        Raises:
            ValueError: It is not an object, or a name or value in it is wrong.
        """
        if not isinstance(spec, dict):
            raise ValueError('a fault must be an object such as {"kind": "hang", "times": 2}')  # noqa: TRY004
        given: dict[str, Any] = {str(name): value for name, value in spec.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        known = set(attrs.fields_dict(cls)) - {"answer"}
        if not isinstance(given.get("kind"), str):
            kinds = ", ".join(sorted(KINDS - {"answer"}))
            raise ValueError(f"a fault needs its kind, one of: {kinds}")  # noqa: TRY004 - one error for a bad fault
        if unknown := sorted(set(given) - known):
            raise ValueError(f"unknown name {unknown[0][:80]!r} in a fault; choose from: {', '.join(sorted(known))}")
        return cls(**given)

    def as_json(self) -> dict[str, object]:
        """Return the fault as JSON: the fields that differ from their defaults."""
        plain = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "answer")
        usual = attrs.asdict(Fault(kind="hang"))
        return {name: value for name, value in plain.items() if name == "kind" or value != usual[name]}
