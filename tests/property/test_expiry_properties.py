from __future__ import annotations

import base64
import contextlib
import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from http_dates import DAYS, MONTHS, asctime, imf_fixdate, rfc850
from hypothesis import given
from hypothesis import strategies as st

from asyncauth import expiry
from asyncauth.errors import InvalidTokenResponse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**310)
    | st.floats()
    | st.text()
    | st.from_regex(r"[+\- ]?[0-9]{0,20}\.?[0-9]*([eE][+-]?[0-9]{1,4})? ?", fullmatch=True)
    | st.binary()
)
wire = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
pieces = st.sampled_from(
    [*DAYS, *MONTHS, *(day[:3] for day in DAYS), ",", " ", "-", ":", "06", "1994", "94", "60", "GMT", "+0300"]
)
texts = st.text() | st.lists(pieces, max_size=20).map("".join) | st.lists(pieces, max_size=20).map(" ".join)
headers = texts | scalars.map(str)
seconds = st.floats(allow_nan=False, allow_infinity=False)
# From the first second of the year 1 to the last of 9999.
instants = st.integers(-62_135_596_800, 253_402_300_799).map(lambda number: EPOCH + timedelta(seconds=number))


def encoded(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


jwts = (
    st.text()
    | st.binary().map(encoded)
    | st.fixed_dictionaries({}, optional={"exp": st.integers() | st.floats(), "iat": st.integers() | st.floats()}).map(
        lambda claims: encoded(json.dumps(claims).encode())
    )
)


@given(wire)
def test_duration_is_positive_and_finite_or_an_error(value: object) -> None:
    """Whatever the wire brings, a duration is a finite float above zero or a short InvalidTokenResponse."""
    try:
        result = expiry.duration(value, "expires_in")
    except InvalidTokenResponse as error:
        assert str(error).startswith("expires_in ")  # noqa: PT017 - either outcome is fine
        assert len(error.message) < 150  # noqa: PT017
    else:
        assert type(result) is float
        assert 0 < result < math.inf


@given(wire)
def test_epoch_is_before_the_year_10000_or_an_error(value: object) -> None:
    """Whatever the wire brings, an instant can be written as a date or is a short InvalidTokenResponse."""
    try:
        result = expiry.epoch(value, "expiration_date")
    except InvalidTokenResponse as error:
        assert str(error).startswith("expiration_date ")  # noqa: PT017
        assert len(error.message) < 150  # noqa: PT017
    else:
        assert type(result) is float
        assert result >= 0
        assert (EPOCH + timedelta(seconds=result)).year < 10_000


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False))
def test_duration_reads_every_number_and_its_text(number: float) -> None:
    """A positive number and its own text mean the same duration."""
    assert expiry.duration(number, "expires_in") == number
    assert expiry.duration(f" {number!r} ", "expires_in") == number


@given(st.integers(min_value=0, max_value=10**11 - 1))
def test_epoch_reads_seconds_and_their_milliseconds_alike(number: int) -> None:
    """An instant in milliseconds is the same instant in seconds, from where it has 12 digits on."""
    assert expiry.epoch(str(number), "expires_at") == number
    if number >= 10**8:
        assert expiry.epoch(number * 1000, "expires_at") == number


@given(wire | texts, st.none() | st.floats())
def test_http_date_is_finite_or_an_error(value: object, now: float | None) -> None:
    """Whatever the wire brings, an HTTP date is a finite float or an InvalidTokenResponse, by any clock."""
    plain = expiry.try_http_date(value)
    try:
        result = expiry.http_date(value, ".expires", now=now)
    except InvalidTokenResponse as error:
        assert str(error).startswith(".expires can't be read")  # noqa: PT017
    else:
        assert math.isfinite(result)
        assert plain is not None


@given(instants)
def test_http_date_roundtrips_in_the_forms_with_a_full_year(moment: datetime) -> None:
    """An instant written as IMF-fixdate or asctime is read back to the second."""
    assert expiry.http_date(imf_fixdate(moment), "Date") == moment.timestamp()
    assert expiry.http_date(asctime(moment), "Date") == moment.timestamp()


@given(
    st.integers(min_value=0, max_value=16_000_000_000),
    st.integers(min_value=-49 * 365 * 86_400, max_value=49 * 365 * 86_400),
)
def test_http_date_roundtrips_with_a_two_digit_year(now: int, ahead: int) -> None:
    """An instant within 49 years of now, written in RFC 850's form, is read back to the second."""
    moment = EPOCH + timedelta(seconds=now + ahead)
    assert expiry.http_date(rfc850(moment), "Date", now=now) == moment.timestamp()
    assert expiry.retry_after(rfc850(moment), now) == max(0, ahead)


@given(jwts, st.none() | seconds)
def test_jwt_never_raises(token: str, server: float | None) -> None:
    """Whatever a token looks like, its times are finite floats or None, and iat gives no instant."""
    exp, iat = expiry.jwt_times(token)
    for time in (exp, iat):
        assert time is None or math.isfinite(time)
    durations, moments = expiry.jwt_lifetime(token, server)
    assert (not durations and not moments) is (exp is None)
    assert moments in ([], [exp])
    assert not (durations and moments)


@given(
    st.integers(min_value=0, max_value=10**10),
    st.integers(min_value=1, max_value=10**9),
    st.integers(0, 10**9),
)
def test_jwt_lives_no_longer_than_it_says(iat: int, lives: int, held: int) -> None:
    """A JWT that the server has held for a while lives what is left, and is expired if nothing is."""
    token = encoded(json.dumps({"iat": iat, "exp": iat + lives}).encode())
    durations, moments = expiry.jwt_lifetime(token, float(iat + held))
    if held < lives:
        assert expiry.lifetime(durations=durations, instants=moments, now=lambda: 0.0) == lives - held
    else:
        with pytest.raises(InvalidTokenResponse, match="expired on arrival"):
            expiry.lifetime(durations=durations, instants=moments, now=lambda: 0.0)


@given(st.none() | headers, st.none() | headers, st.none() | seconds)
def test_headers_are_read_or_ignored(first: str | None, second: str | None, now: float | None) -> None:
    """Whatever a header says, Date with Age and Retry-After are a float or None, and no wait is negative."""
    server = expiry.server_now(first, second)
    assert server is None or math.isfinite(server)
    wait = expiry.retry_after(first, now)
    assert wait is None or wait >= 0


@given(instants, st.integers(min_value=0, max_value=31_536_000))
def test_server_now_adds_the_age(moment: datetime, age: int) -> None:
    """The server's now is its Date plus the Age that caches added."""
    assert expiry.server_now(imf_fixdate(moment), str(age)) == moment.timestamp() + age


@given(st.lists(seconds, max_size=4), st.lists(seconds, max_size=4), seconds)
def test_lifetime_is_positive_unknown_or_an_error(durations: list[float], moments: list[float], now: float) -> None:
    """A lifetime is above zero, None exactly when nothing was said, and otherwise an InvalidTokenResponse."""
    result: float | None = -1.0
    with contextlib.suppress(InvalidTokenResponse):
        result = expiry.lifetime(durations=durations, instants=moments, now=lambda: now)
    if not durations and not moments:
        assert result is None
    elif durations:
        assert result == (min(durations) if min(durations) > 0 else -1.0)
    else:
        assert result == (min(moments) - now if min(moments) - now > 0 else -1.0)
