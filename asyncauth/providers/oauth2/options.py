"""The parameters of a token request: scope, audience, resource, and a server's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.identity import Part, hashed

if TYPE_CHECKING:
    from asyncauth.providers.oauth2.oauth_options import Given, Several

__all__ = ["Parameters", "is_json"]

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^#\s]+")

_RESERVED = frozenset(
    {
        "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "username", "password",
        "refresh_token", "assertion", "subject_token", "actor_token", "device_code", "scope", "audience", "resource",
    }
)  # fmt: skip


@attrs.frozen
class Parameters:
    """The parameters that every grant takes.

    Attributes:
        scope: The requested scope (RFC 6749 §3.3).
        audience: The requested audience, by name (RFC 8693 §2.1, and several servers' own).
        resource: The requested audience, by URI (RFC 8707).
        extra: The server's own parameters.
        unscoped: All of them but the scope, as fields of a form. A renewed token has its predecessor's (RFC 6749 §6).
        fields: All of them, as fields of a form.
    """

    scope: tuple[str, ...]
    audience: tuple[str, ...]
    resource: tuple[str, ...]
    extra: tuple[tuple[str, str], ...] = attrs.field(repr=False)  # it may contain a key
    unscoped: tuple[tuple[str, str], ...] = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: self._unscoped(), takes_self=True)
    )
    fields: tuple[tuple[str, str], ...] = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: self._fields(), takes_self=True)
    )

    @classmethod
    def of(cls, given: Given) -> Parameters:
        """Return the parameters in a provider's arguments.

        Raises:
            ConfigurationError: One is of the wrong kind.
        """
        resources = _several(given.resource, "resource")
        for each in resources:
            if not _ABSOLUTE_URI.fullmatch(each):
                raise ConfigurationError("resource takes absolute URIs without a fragment (RFC 8707 §2)")
        scopes = tuple(part for each in _several(given.scope, "scope") for part in each.split())
        return cls(scopes, _several(given.audience, "audience"), resources, _extra(given.extra))

    def _unscoped(self) -> tuple[tuple[str, str], ...]:
        audience = (("audience", each) for each in self.audience)
        return (*audience, *(("resource", each) for each in self.resource), *self.extra)

    def _fields(self) -> tuple[tuple[str, str], ...]:
        return (("scope", " ".join(self.scope)), *self.unscoped) if self.scope else self.unscoped

    @property
    def parts(self) -> dict[str, Part]:
        """Their parts of a provider's identity. A scope is the same in any order (RFC 6749 §3.3)."""
        return {
            "scope": sorted(self.scope) or None,
            "audience": self.audience or None,
            "resource": self.resource or None,
            "extra": hashed(sorted(self.extra)) if self.extra else None,
        }


def is_json(value: Mapping[str, Any]) -> bool:
    """Return whether an argument is a mapping that JSON can represent."""
    if not isinstance(value, Mapping):
        return False
    try:
        json.dumps(dict(value), sort_keys=True)  # an identity needs sorted keys
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _several(value: Several | None, name: str) -> tuple[str, ...]:
    """Return an argument that takes a string or several."""
    values: tuple[str, ...] | None = () if value is None else (value,) if isinstance(value, str) else None
    if values is None and isinstance(value, Iterable):
        # sorted, to be the same in every process
        values = tuple(sorted(value, key=str) if isinstance(value, AbstractSet) else value)
    if values is None or not all(isinstance(each, str) and each.strip() for each in values):
        raise ConfigurationError(f"{name} takes a str that is not empty, or several")
    return values


def _extra(extra: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    if extra is None:
        return ()
    if not isinstance(extra, Mapping) or not all(isinstance(part, str) for pair in extra.items() for part in pair):
        del extra  # it may contain a secret, which a traceback with local variables must not show
        raise ConfigurationError("extra takes a mapping of str to str")
    taken = sorted(_RESERVED & set(extra))
    if taken:
        del extra
        raise ConfigurationError(
            f"extra can't contain {', '.join(taken)}", advice="use the provider's own arguments for that"
        )
    return tuple(extra.items())
