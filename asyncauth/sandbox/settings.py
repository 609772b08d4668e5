"""The settings of each system, with their initial values and checks."""

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
    """Accept a time difference: finite seconds."""
    if not _is_number(value):
        raise ValueError(f"{attribute.name} must be a finite number of seconds")


def flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept ``True`` and ``False``."""
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.name} must be true or false")  # noqa: TRY004 - one error for a bad setting


def text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a text that is not empty."""
    # The value stays out of the message: it may be a password.
    if not isinstance(value, str) or not value:
        raise ValueError(f"{attribute.name} must be a non-empty string")


def challenge(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a header value, or ``None``."""
    if value is not None and not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise ValueError(f"{attribute.name} must be a header value in printable ASCII, or null for no header")


def token_prefix(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept a text that any token may begin with."""
    if not (isinstance(value, str) and _PREFIX.fullmatch(value)):
        raise ValueError(f"{attribute.name} must be at most 64 letters, digits, '-' or '_'")


def padding(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a number of bytes that fits into memory."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PADDING:
        raise ValueError(f"{attribute.name} must be a whole number of bytes from 0 to {MAX_PADDING}")


@attrs.define(kw_only=True)
class SystemSettings:
    """The settings that both systems share. Every assignment is checked; a wrong value raises ``ValueError``.

    Attributes:
        username: The user that may log in.
        password: That user's password. When it changes, clients have a wrong credential.
        accept_any_username: Whether any user with the password may log in (many tenants, one sandbox).
        token_latency: Seconds that each token request takes before it is answered.
        api_latency: Seconds that each API request takes before it is answered.
        clock_skew: Seconds by which the server's wall clock is ahead (negative: behind). Shifts ``Date``, epochs,
            ``.issued``/``.expires`` and the JWTs' claims, never a token's real lifetime.
        date_header: Whether answers have a ``Date``. Answers without it close their connection.
        www_authenticate: The challenge of the API's 401; ``None``: no such header.
        token_prefix: The beginning of each token (inside a JWT: its ``jti``), so that a search of logs and traces for
            one text finds every token.
        big_refusal: The minimum size in bytes of the body of the API's 401; 0: unchanged.
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
    """The settings of Peakly.

    Attributes:
        lifetime: The lifetime of an access token in seconds, initially 14 days.
        truncate_expires_in: Whether to send ``expires_in`` as OWIN does, one second less than a whole lifetime. A
            lifetime of at most one second is sent unchanged, since it would become 0.
        refresh_tokens: Whether to return a ``refresh_token`` and accept ``grant_type=refresh_token``.
        rotate_refresh_tokens: Whether to replace the refresh token on each use; reuse revokes the family.
        refresh_lifetime: The lifetime of a refresh token in seconds, initially 30 days.
        owin_refusals: Whether to reject wrong credentials with 400 ``invalid_grant`` instead of 401 and a message.
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
    """The settings of Pago Fácil.

    Attributes:
        login_lifetime: The lifetime in seconds of a JWT of ``login`` or ``users/login``, initially 24 hours.
        create_token_lifetime: The lifetime in seconds of an access token of ``createToken``, initially five years.
        login_token_lifetime: The lifetime in seconds of a JWT of ``loginToken``, initially one year; ``expDate`` makes
            it shorter.
        api_accepts_access_tokens: Whether the API accepts the access token of ``createToken`` as well as JWTs.
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
        """The lifetime in seconds of a JWT for the API; setting it sets all three steps."""
        return self.login_token_lifetime

    @lifetime.setter
    def lifetime(self, value: float) -> None:
        change(self, {"lifetime": value})


S = TypeVar("S", bound=SystemSettings)


def _expanded(settings: SystemSettings, changes: Mapping[str, object]) -> dict[str, Any]:
    known = set(attrs.fields_dict(type(settings)))
    expanded: dict[str, Any] = {}
    # Aliases first, so that {"lifetime": 60, "login_lifetime": 5} has the same result in any order.
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
        ValueError: A name is unknown or a value is wrong; the message has the name, and no value.
    """
    return attrs.evolve(settings, **_expanded(settings, changes))


def change(settings: SystemSettings, changes: Mapping[str, object]) -> None:
    """Change the settings in place: make all changes, or none and raise ``ValueError``."""
    changed(settings, changes)
    for name, value in _expanded(settings, changes).items():
        setattr(settings, name, value)


def public(settings: SystemSettings) -> dict[str, object]:
    """Return the settings as JSON without the password."""
    return attrs.asdict(settings, filter=lambda attribute, _: attribute.name != "password")
