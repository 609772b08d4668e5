"""Whether credentials look like what they are to be. Nothing is sent, and none is shown. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from asyncauth import expiry
from asyncauth.cli.credentials import PAGO_FACIL_VARIABLES
from asyncauth.cli.doctor.finding import Finding, fail, ok, warn
from asyncauth.cli.times import in_words
from asyncauth.token import is_visible_ascii

if TYPE_CHECKING:
    from asyncauth.cli.credentials import Credentials

__all__ = ["shape"]

_ACCESS_TOKEN, _JWT = PAGO_FACIL_VARIABLES[:2]
_PARTS = 3
"""Of a JWT (RFC 7519)."""
_SOON = 3600.0
"""Seconds before the end of a JWT from which on it is worth a word."""


def shape(credentials: Credentials, now: float) -> list[Finding]:
    """Return a finding for each credential that is wrong, or one that all are right.

    Args:
        credentials: What the user has.
        now: The wall clock, in Unix epoch seconds.
    """
    subject, used = f"{credentials.system} credentials", credentials.used
    found: list[Finding] = []
    for name in used:
        value, found_as = credentials.values.get(name), credentials.spelled(name)
        if value is None:
            found.append(fail(subject, f"{found_as} is not set", "set it, or say with --keyring where it is stored"))
        else:
            found += [make(subject, f"{found_as} {says}", do) for make, says, do in _flaws(name, value, now)[:1]]
    for name, value in credentials.values.items():
        if not value and name not in used:
            found.append(warn(subject, f"{credentials.spelled(name)} is set but empty", "unset it"))
    return found or [ok(subject, f"{credentials.where(*used)} {'is' if len(used) == 1 else 'are'} well-formed")]


Flaw: TypeAlias = tuple[Callable[[str, str, str], Finding], str, str]


def _flaws(name: str, value: str, now: float) -> list[Flaw]:
    """Return what is wrong with a credential, the worst first."""
    found = [flaw for holds, flaw in _RULES if holds(value)]
    if name in {_ACCESS_TOKEN, _JWT}:
        found += _in_a_header(value)
        found += _as_a_jwt(value, now, needed=name == _JWT)
    if value != value.strip():
        found.append((warn, "begins or ends with a blank", "is that part of it? If not, remove it"))
    return found


_RULES: tuple[tuple[Callable[[str], bool], Flaw], ...] = (
    (lambda value: not value, (fail, "is set but empty", "is it filled from a file or variable that is missing?")),
    (str.isspace, (fail, "holds only blanks", "is it filled from a file or variable that is missing?")),
    (
        lambda value: any("\ud800" <= char <= "\udfff" for char in value),
        (fail, "is not UTF-8", "write it in UTF-8"),
    ),
    (
        lambda value: value.endswith(("\r", "\n")),
        (fail, "ends with a line break", "remove it: the file that it was read from ends with one"),
    ),
    (
        lambda value: any(char in "\r\n\0" for char in value),
        (fail, "holds a line break", "set it again, as one line"),
    ),
    (
        lambda value: len(value) > 1 and value[0] == value[-1] and value[0] in "\"'",
        (warn, "is in quotation marks", "are they part of it? Some readers of .env files keep them"),
    ),
)
"""What any credential can have, the worst first."""


def _in_a_header(value: str) -> list[Flaw]:
    if value.lower().startswith("bearer "):
        return [(fail, "begins with 'Bearer'", "set the token alone")]
    if not is_visible_ascii(value):
        return [(fail, "holds characters that can't travel in a header", "set it again: was it cut or wrapped?")]
    return []


def _as_a_jwt(value: str, now: float, *, needed: bool) -> list[Flaw]:
    if needed and value.count(".") != _PARTS - 1:
        return [(fail, "is not a JWT", "set the JWT of a login: three parts joined by dots")]
    expires_at, issued_at = expiry.jwt_times(value)
    if needed and (expires_at, issued_at) == (None, None):
        return [(warn, "is a JWT without readable times", "is it complete?")]
    if expires_at is None:
        return []
    if expires_at <= now:
        return [(fail, f"expired {in_words(now - expires_at)} ago", "obtain a new one")]
    if expires_at - now < _SOON:
        return [(warn, f"expires in {in_words(expires_at - now)}", "obtain a new one before that")]
    return []
