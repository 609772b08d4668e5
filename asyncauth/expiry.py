"""A token's lifetime, computed from the server's answer.

A lifetime counts from when the request for the token was sent. The sources, the most trusted first:

1. A **duration**: ``expires_in``, or the difference of two instants by the server's own clock (``.expires`` -
   ``.issued``, a JWT's ``exp`` - ``iat``). Our clocks do not matter for it. Of several, the shortest counts. A server
   may hand out a JWT that it has kept for a while, of whose ``exp`` - ``iat`` a part has passed. So ``exp`` - the
   server's now counts as another duration.
2. An **instant** (``expiration_date``, ``expires_at``, ``.expires`` alone, a JWT's ``exp`` without a usable ``iat``)
   minus the server's now: the answer's ``Date``, plus ``Age`` if a cache answered. If there is no ``Date``, the caller
   passes our own wall clock, which a user or NTP may have set wrong.
3. **Nothing**: the lifetime is unknown (``None``), and the token is used until the API answers it with a 401.

A field that is present but unreadable is an error that names it, and so is a lifetime of zero or less. Neither ever
means "never expires". Optional fields (a JWT's claims, ``Date``, ``Age``, ``Retry-After``) are ignored if they are
unreadable.

Durations are seconds and instants Unix epoch seconds, always ``float``. All functions are pure, and their work is
bounded for any input.
"""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Final, cast

from asyncauth._base.http_dates import parse_http_date
from asyncauth._base.patterns import pattern
from asyncauth.errors import InvalidTokenResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "EXPIRED_ADVICE",
    "FORM_ADVICE",
    "duration",
    "epoch",
    "finite",
    "http_date",
    "jwt_lifetime",
    "jwt_times",
    "left_of",
    "lifetime",
    "lifetime_seconds",
    "retry_after",
    "seconds_until",
    "server_now",
    "try_http_date",
]

EXPIRED_ADVICE: Final = "is it counted in another unit, or does the server hand out old tokens?"
"""What to do about a token that had expired on arrival."""
FORM_ADVICE: Final = "tell the provider the field's form, or ask the server's operator"
"""What to do about a field that can't be read."""

_MILLISECONDS_FROM: Final = 1e11  # as seconds it would be the year 5138; as milliseconds it is 1973
_LONGEST_DURATION: Final = 1e9  # seconds, 31 years; as an instant it is 2001
_ABSURD_FROM: Final = 1e14  # neither seconds nor milliseconds: microseconds, or .NET ticks
_MAX_TEXT: Final = 64  # characters; no valid number or date is longer
# Characters; an error shows nothing of a longer text, which may be a token. It also shows nothing of a text with
# characters that would have to be replaced, since the text sent could then not be found in it.
_MAX_EXCERPT: Final = 16
_MAX_AGE: Final = 31_536_000.0  # seconds, a year; an older "cached" answer is a broken cache
_JWT_PARTS: Final = 3  # header, payload, signature
_MAX_PAYLOAD: Final = 65_536  # characters of base64url; every server rejects a header of that size
_BLANKS: Final = " \t\r\n"

# [0-9] and ASCII throughout: \d, int() and float() would accept Arabic digits and underscores, too.
_NUMBER: Final = pattern(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE: Final = pattern(r"[0-9]{1,20}")


def duration(value: object, field: str, unit: float = 1.0) -> float:
    """Return the seconds in a wire value such as ``expires_in``.

    Args:
        value: The field's value as decoded from JSON or a form: ``3600``, ``3600.0``, ``"3600"``.
        field: The field's name, for the error's message. Not a secret.
        unit: The seconds in one unit of ``value`` (default 1).

    Returns:
        Seconds, finite and greater than 0.

    Raises:
        InvalidTokenResponse: The value is not a finite number, or the token had expired on arrival (zero or negative).
            The message names the field and shows at most a short, cleaned excerpt of the value.

    Source: RFC 6749 §5.1 (``expires_in``). More than one server sends it as a string.
    """
    number = _number(value)
    if number is None:
        raise _unreadable(value, field, "a number of seconds" if unit == 1 else "a number")
    seconds = number * unit
    if seconds <= 0:
        problem = InvalidTokenResponse.quoting(
            f"{_clean(field, _MAX_TEXT)} is {number:g}: the token was expired on arrival",
            f"{number:g}",
            advice=EXPIRED_ADVICE,
        )
        problem.expired = True
        raise problem
    return seconds


def lifetime_seconds(value: object, field: str, unit: float = 1.0) -> float:
    """Return a token's lifetime in seconds, as `duration` does, unless it is over 1e9 s.

    Raises:
        InvalidTokenResponse: As `duration`; or the value looks like a Unix time, which no lifetime does.
    """
    seconds = duration(value, field, unit)
    if seconds > _LONGEST_DURATION:
        raise InvalidTokenResponse.quoting(
            f"{_clean(field, _MAX_TEXT)} is {seconds / unit:.15g}: that looks like a Unix time, not like a lifetime",
            f"{seconds / unit:.15g}",
            advice='if it is one, declare unit="epoch_seconds"',
        )
    return seconds


def epoch(value: object, field: str) -> float:
    """Return the instant in a wire value such as ``expiration_date``.

    A magnitude of 1e11 and above is read as milliseconds: these have 13 digits from 2001 to 2286.

    Args:
        value: Unix epoch seconds or milliseconds: a number, or a string with one.
        field: The field's name, for the error's message. Not a secret.

    Returns:
        Unix epoch seconds, finite and at least 0. Zero means 1970, not "unknown".

    Raises:
        InvalidTokenResponse: The value is not a finite number, is negative, or is 1e14 or more.

    Source: Pago Fácil's ``createToken`` (``expiration_date``).
    """
    number = _number(value)
    seconds = None if number is None else _seconds(number)
    if seconds is None or seconds < 0:
        raise _unreadable(value, field, "a Unix time in seconds or milliseconds")
    return seconds


def http_date(value: object, field: str, *, now: float | None = None) -> float:
    """Return the instant of an HTTP date such as Peakly's ``.expires``.

    Reads all three forms: IMF-fixdate, RFC 850 and asctime. They are in UTC, whatever zone this process is in. A
    numeric zone (``-0300``) is honoured if present.

    Args:
        value: The date's text.
        field: The field's name, for the error's message. Not a secret.
        now: Unix epoch seconds that decide the century of a two-digit year. A year that seems to be more than 50 years
            ahead is the latest past year that ends in these digits. ``None`` (default): 69 to 99 are 1969 to 1999, 00
            to 68 are 2000 to 2068, as in POSIX.

    Returns:
        Unix epoch seconds; negative before 1970.

    Raises:
        InvalidTokenResponse: The value is not text, or not a date in one of these forms.

    Source: RFC 9110 §5.6.7; Peakly's ``/token``.
    """
    instant = parse_http_date(value, now)
    if instant is None:
        raise _unreadable(value, field, "an HTTP date")
    return instant


def try_http_date(value: object) -> float | None:
    """Return the Unix epoch seconds of an HTTP date; ``None``: it is unreadable.

    For headers that may be ignored, such as ``Date``. Accepts the same dates as ``http_date`` without ``now``.
    """
    return parse_http_date(value, None)


def jwt_times(token: str) -> tuple[float | None, float | None]:
    """Return a JWT's ``exp`` and ``iat``, without verifying anything.

    The result decides when to renew, never whom to trust. So the header and the signature are not read. A token that
    only looks like a JWT is treated as opaque, and is not an error.

    Args:
        token: The token, a JWT or not. A payload of more than 64 KiB is not read.

    Returns:
        ``exp`` and ``iat`` as Unix epoch seconds (the milliseconds of some issuers are converted). Each is ``None`` if
            it is absent or not a readable number: text, ``true``, ``NaN``, 1e400, a list. Negative numbers count: an
            ``exp`` of -1 is long past, not "never".

    Source: RFC 7519 §2 (NumericDate) and §4.1; RFC 7515 §7.1 (three parts with dots between).
    """
    parts = token.split(".", 3)
    if len(parts) != _JWT_PARTS or len(parts[1]) > _MAX_PAYLOAD:
        return None, None
    payload = parts[1].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        text = base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True).decode()
        # As float: int() raises for more than 4300 digits, which would make the other claim unreadable, too.
        claims: object = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):  # RecursionError: a payload of 60,000 opening brackets
        return None, None
    if not isinstance(claims, dict):
        return None, None
    named = cast("dict[str, object]", claims)
    return _claim(named.get("exp")), _claim(named.get("iat"))


def server_now(date: str | None, age: str | None) -> float | None:
    """Return the time on the server's clock when its answer arrived here.

    Args:
        date: The answer's ``Date`` header; ``None``: it has none.
        age: The answer's ``Age`` header, whole seconds that it spent in caches; ``None``: it has none. Ignored if it is
            unreadable, or more than a year.

    Returns:
        Unix epoch seconds, to the whole second that ``Date`` has. ``None``: there is no readable ``Date``.

    Source: RFC 9110 §6.6.1 (``Date``); RFC 9111 §5.1 (``Age``).
    """
    instant = None if date is None else parse_http_date(date, None)
    if instant is None or age is None or len(age) > _MAX_TEXT:
        return instant
    digits = age.strip(_BLANKS)
    seconds = float(digits) if _WHOLE().fullmatch(digits) else 0.0
    return instant + seconds if seconds <= _MAX_AGE else instant


def retry_after(value: str | None, now: float | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks a client to wait.

    Args:
        value: The header: seconds (a fraction is accepted) or an HTTP date; ``None``: there is none.
        now: The server's now, Unix epoch seconds, from which the wait until a date is computed; ``None``: unknown.

    Returns:
        Seconds, finite and at least 0; for a date in the past, 0. ``None`` if the header is unreadable or negative, or
        a date without a ``now``. A number from 1e9 on is read as a Unix time, a mistake that some servers make. The
        policy limits long waits.

    Source: RFC 9110 §10.2.3.
    """
    if _number(value) is not None:
        return seconds_until(value, now)
    if now is None:
        return None
    instant = parse_http_date(value, now)
    return None if instant is None else max(0.0, instant - now)


def seconds_until(value: object, now: float | None, unit: float = 1.0) -> float | None:
    """Return the seconds until an instant, given as seconds or as a Unix time.

    Args:
        value: The number, or a string with one. From 1e9 on it is a Unix time, in seconds or milliseconds.
        now: The server's now, Unix epoch seconds, from which the wait until a Unix time is computed; ``None``: unknown.
        unit: The seconds in one unit of ``value`` (default 1).

    Returns:
        Seconds, finite and at least 0; for a time in the past, 0. ``None`` if the value is unreadable or negative, or a
        Unix time without a ``now``.
    """
    number = _number(value)
    if number is None or number < 0:
        return None
    if number < _LONGEST_DURATION:
        return number * unit
    instant = _seconds(number)
    return None if instant is None or now is None else max(0.0, instant - now)


def lifetime(*, durations: Iterable[float], instants: Iterable[float], now: Callable[[], float]) -> float | None:
    """Return a token's lifetime in seconds, from when the request for it was sent.

    Durations do not depend on our clock. If there are any, the instants are ignored (see the module's docstring).

    Args:
        durations: The durations from the answer, in seconds. The shortest counts.
        instants: The instants from the answer, in Unix epoch seconds. Without durations, the earliest counts.
        now: Returns the server's now, Unix epoch seconds; our own wall clock if the server's is unknown. Called only
            if the instants count.

    Returns:
        Seconds, greater than 0. ``None``: neither a duration nor an instant is given, so the lifetime is unknown.

    Raises:
        InvalidTokenResponse: The token had expired on arrival: zero or fewer seconds are left.
    """
    seconds = min(durations, default=None)
    if seconds is None:
        earliest = min(instants, default=None)
        if earliest is None:
            return None
        seconds = earliest - now()
    if seconds <= 0:
        problem = InvalidTokenResponse(
            f"the token has {seconds:g} s to live: it was expired on arrival", advice=EXPIRED_ADVICE
        )
        problem.expired = True
        raise problem
    return seconds


def jwt_lifetime(token: str, server_now: float | None) -> tuple[list[float], list[float]]:
    """Return what a JWT's own times contribute to ``lifetime``: durations and instants.

    - ``exp`` and ``iat``: the duration ``exp`` - ``iat``. A server may hand out a JWT that it has kept for a while. So
      if the server's now is known, ``exp`` - now is a second duration; ``lifetime`` takes the shortest. Both use only
      the server's clock, not ours.
    - ``exp`` alone: an instant. It counts if no field of the answer gives a duration.
    - An ``iat`` that is not before ``exp`` says nothing about the lifetime, and must not make a token that is valid for
      an hour "expired". ``exp`` counts as if it were alone.
    - No ``exp``, or not a JWT: nothing.

    Args:
        token: The token, a JWT or not.
        server_now: The server's now by its ``Date`` header (see the function of that name), Unix epoch seconds;
            ``None``: unknown. Not our own wall clock, which counts only if there is nothing else.

    Returns:
        Durations in seconds (``exp`` - the server's now may be zero or negative: expired on arrival), and instants in
        Unix epoch seconds.

    Source: RFC 7519 §4.1.4 and §4.1.6.
    """
    exp, iat = jwt_times(token)
    if exp is None:
        return [], []
    if iat is None or exp - iat <= 0:
        return [], [exp]
    if server_now is None:
        return [exp - iat], []
    return [exp - iat, exp - server_now], []


def _number(value: object) -> float | None:
    """Return the finite number in a wire value, or ``None``. ``True`` is not a number."""
    if isinstance(value, str):
        text = value.strip(_BLANKS) if len(value) <= _MAX_TEXT else ""
        if _NUMBER().fullmatch(text) is None:
            return None
        number = float(text)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def _seconds(number: float) -> float | None:
    """Return Unix epoch seconds from seconds or milliseconds; ``None``: the number is too large for either."""
    size = abs(number)
    if size >= _ABSURD_FROM:
        return None
    return number / 1000 if size >= _MILLISECONDS_FROM else number


def _claim(value: object) -> float | None:
    """Return the Unix epoch seconds of a claim (each was parsed as ``float``), or ``None`` if it is unreadable."""
    return _seconds(value) if isinstance(value, float) and math.isfinite(value) else None


def _unreadable(value: object, field: str, expected: str) -> InvalidTokenResponse:
    """Return the error for a field that is unreadable."""
    excerpt = _excerpt(value)
    message = f"{_clean(field, _MAX_TEXT)} can't be read: {excerpt} is not {expected}"
    if excerpt.startswith('"') or isinstance(value, (int, float)):
        return InvalidTokenResponse.quoting(message, excerpt, advice=FORM_ADVICE)
    return InvalidTokenResponse(message, advice=FORM_ADVICE)


def _excerpt(value: object) -> str:
    """Return a short text for an error's message; of a text that might be a token, only its length."""
    if isinstance(value, str):
        if len(value) > _MAX_EXCERPT or not (value.isascii() and value.isprintable()):
            return f"a text of {len(value)} characters"
        return f'"{value}"'
    if value is None:
        return "null"
    # A huge int is not printed: beyond 4300 digits, str() raises.
    if isinstance(value, float) or (type(value) is int and abs(value) < 10**_MAX_EXCERPT):
        return repr(value)
    return f"a value of type {_clean(type(value).__name__, _MAX_EXCERPT)}"


def _clean(text: str, limit: int) -> str:
    """Return the beginning of a text in printable ASCII. A line break would forge a log line."""
    kept = "".join(char if " " <= char <= "~" else "?" for char in text[:limit])
    return kept if len(text) <= limit else f"{kept}..."


def left_of(expires_at: float | None, issued_at: float, now: float) -> float:
    """Return the seconds that a stored token has left, at most; ``inf``: its lifetime is unknown.

    Args:
        expires_at: When it expires, by the writer's wall clock, in Unix epoch seconds.
        issued_at: When its request was sent, by the same clock.
        now: The time on our wall clock. The two clocks may differ, so the result is never more than the lifetime.
    """
    return math.inf if expires_at is None else min(expires_at - now, expires_at - issued_at)


def finite(seconds: float) -> float | None:
    """Return seconds for people and JSON: ``None`` instead of infinity."""
    return seconds if math.isfinite(seconds) else None
