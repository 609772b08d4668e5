"""What can be set on each system, with the values it starts with and the check each value passes."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_USERNAME = "demo@example.com"
DEFAULT_PASSWORD = "sandbox-password"  # noqa: S105 - a demo value, printed for everyone to use

DAY = 86_400.0
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,64}")
MAX_PADDING = 64 * 1024 * 1024


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def seconds(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a duration: finite seconds, zero or more."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"{attribute.name} must be a finite number of seconds, zero or more")


def signed_seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a difference of times: finite seconds."""
    if not _is_number(value):
        raise ValueError(f"{attribute.name} must be a finite number of seconds")


def flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept True and False."""
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.name} must be true or false")  # noqa: TRY004 - one error for a bad setting


def text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a text that is not empty."""
    # The value stays out of the message: it may be a password.
    if not isinstance(value, str) or not value:
        raise ValueError(f"{attribute.name} must be a non-empty string")


def challenge(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept what can stand in a header, or None."""
    if value is not None and not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise ValueError(f"{attribute.name} must be a header value in printable ASCII, or null for no header")


def token_prefix(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept what any token may begin with."""
    if not (isinstance(value, str) and _PREFIX.fullmatch(value)):
        raise ValueError(f"{attribute.name} must be at most 64 letters, digits, '-' or '_'")


def padding(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a number of bytes that fits into memory."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PADDING:
        raise ValueError(f"{attribute.name} must be a whole number of bytes from 0 to {MAX_PADDING}")


@attrs.define(kw_only=True)
class SystemSettings:
    """What both systems share. Every assignment is checked; a bad value raises ``ValueError``.

    Attributes:
        username: The user that may log in.
        password: That user's password. Changing it makes what clients hold a wrong credential.
        accept_any_username: Let any user in who knows the password (many tenants, one sandbox).
        token_latency: Seconds that each token request takes before it is answered.
        api_latency: Seconds that each API request takes before it is answered.
        clock_skew: Seconds by which the server's wall clock is ahead (negative: behind). Shifts ``Date``,
            epochs, ``.issued``/``.expires`` and the JWTs' claims, never the life of a token.
        date_header: Whether answers carry ``Date``. Those without close their connection.
        www_authenticate: The challenge of the API's 401; None sends no such header.
        token_prefix: What each token begins with (inside a JWT: its ``jti``), so that a search of logs and traces
            for one text finds every token that came out.
        big_refusal: Bytes that the body of the API's 401 has at least; 0 leaves it as it is.
    """

    ALIASES: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    username: str = attrs.field(default=DEFAULT_USERNAME, validator=text)
    password: str = attrs.field(default=DEFAULT_PASSWORD, validator=text, repr=False)
    accept_any_username: bool = attrs.field(default=False, validator=flag)
    token_latency: float = attrs.field(default=0.0, validator=seconds)
    api_latency: float = attrs.field(default=0.0, validator=seconds)
    clock_skew: float = attrs.field(default=0.0, validator=signed_seconds)
    date_header: bool = attrs.field(default=True, validator=flag)
    www_authenticate: str | None = attrs.field(default=None, validator=challenge)
    token_prefix: str = attrs.field(default="", validator=token_prefix)
    big_refusal: int = attrs.field(default=0, validator=padding)


@attrs.define(kw_only=True)
class PeaklySettings(SystemSettings):
    """What can be set on Peakly.

    Attributes:
        lifetime: Seconds an access token lives, 14 days at first.
        truncate_expires_in: Send ``expires_in`` as OWIN does, one second short of a whole lifetime. (A
            lifetime of up to one second is sent as it is: cut, it would be 0.)
        refresh_tokens: Send ``refresh_token`` too and accept ``grant_type=refresh_token``.
        rotate_refresh_tokens: Replace the refresh token each time it is used; reuse revokes the family.
        refresh_lifetime: Seconds a refresh token lives, 30 days at first.
        owin_refusals: Refuse wrong credentials with 400 ``invalid_grant`` instead of 401 and a message.
    """

    lifetime: float = attrs.field(default=14 * DAY, validator=seconds)
    truncate_expires_in: bool = attrs.field(default=True, validator=flag)
    refresh_tokens: bool = attrs.field(default=False, validator=flag)
    rotate_refresh_tokens: bool = attrs.field(default=True, validator=flag)
    refresh_lifetime: float = attrs.field(default=30 * DAY, validator=seconds)
    owin_refusals: bool = attrs.field(default=False, validator=flag)
    www_authenticate: str | None = attrs.field(default="Bearer", validator=challenge)


@attrs.define(kw_only=True)
class PagoFacilSettings(SystemSettings):
    """What can be set on Pago Fácil.

    Attributes:
        login_lifetime: Seconds a JWT of ``login`` or ``users/login`` lives, 24 hours at first.
        create_token_lifetime: Seconds an access token of ``createToken`` lives, five years at first.
        login_token_lifetime: Seconds a JWT of ``loginToken`` lives, one year at first, less by ``expDate``.
        api_accepts_access_tokens: Let the API take the access token of ``createToken`` as well as JWTs.
    """

    ALIASES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "lifetime": ("login_lifetime", "create_token_lifetime", "login_token_lifetime")
    }

    login_lifetime: float = attrs.field(default=DAY, validator=seconds)
    create_token_lifetime: float = attrs.field(default=5 * 365 * DAY, validator=seconds)
    login_token_lifetime: float = attrs.field(default=365 * DAY, validator=seconds)
    api_accepts_access_tokens: bool = attrs.field(default=False, validator=flag)

    @property
    def lifetime(self) -> float:
        """Seconds a JWT for the API lives; setting it sets all three steps."""
        return self.login_token_lifetime

    @lifetime.setter
    def lifetime(self, value: float) -> None:
        change(self, {"lifetime": value})


S = TypeVar("S", bound=SystemSettings)


def _expanded(settings: SystemSettings, changes: Mapping[str, object]) -> dict[str, Any]:
    known = set(attrs.fields_dict(type(settings)))
    expanded: dict[str, Any] = {}
    # Aliases first, so that {"lifetime": 60, "login_lifetime": 5} means what it says in any order.
    for name, value in sorted(changes.items(), key=lambda change: change[0] not in settings.ALIASES):
        names = settings.ALIASES.get(name, (name,))
        if not known.issuperset(names):
            choices = ", ".join(sorted(known | set(settings.ALIASES)))
            raise ValueError(f"unknown setting {name[:80]!r}; choose from: {choices}")
        expanded.update(dict.fromkeys(names, value))
    return expanded


def changed(settings: S, changes: Mapping[str, object]) -> S:
    """Return a copy of the settings with these changes, all of them checked.

    Raises:
        ValueError: A name is unknown or a value can't be used; the message names it and shows no value.
    """
    return attrs.evolve(settings, **_expanded(settings, changes))


def change(settings: SystemSettings, changes: Mapping[str, object]) -> None:
    """Change the settings in place: all of the changes, or none and ``ValueError``."""
    changed(settings, changes)
    for name, value in _expanded(settings, changes).items():
        setattr(settings, name, value)


def public(settings: SystemSettings) -> dict[str, object]:
    """Return the settings as JSON may show them: without the password."""
    return attrs.asdict(settings, filter=lambda attribute, _: attribute.name != "password")
