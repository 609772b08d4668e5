from __future__ import annotations

import base64
import json
import math
import time
from typing import TYPE_CHECKING

import pytest

from asyncauth import expiry
from asyncauth.errors import InvalidTokenResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

NOV_1994 = 784_111_777.0  # RFC 9110's own example: Sun, 06 Nov 1994 08:49:37 GMT
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
HUGE_INT = 10**5000  # beyond what str() prints and float() holds


def part(claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def raw_jwt(payload: bytes) -> str:
    body = base64.urlsafe_b64encode(payload).decode().rstrip("=")
    return f"{part({'alg': 'HS256'})}.{body}.c2ln"


def jwt(claims: object) -> str:
    return raw_jwt(json.dumps(claims).encode())


@pytest.fixture
def buenos_aires() -> Iterator[None]:
    """Run the test in a process whose local time is three hours behind UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/Argentina/Buenos_Aires")
        time.tzset()
        yield
    time.tzset()


# --- duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600.0),
        (3600.0, 3600.0),
        ("3600", 3600.0),
        (" 3600 ", 3600.0),
        ("3600.0", 3600.0),
        ("+3600", 3600.0),
        ("3.6e3", 3600.0),
        (".5", 0.5),
        ("3600.", 3600.0),
        (1, 1.0),
        ("1" + "\t" * 63, 1.0),
    ],
)
def test_duration_reads_numbers_however_they_are_written(value: object, seconds: float) -> None:
    """A number of seconds is read as float, be it a JSON number or a string that holds one."""
    result = expiry.duration(value, "expires_in")
    assert result == seconds
    assert type(result) is float


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "",
        " ",
        ".",
        "e5",
        "NaN",
        "inf",
        "Infinity",
        "1e400",
        "-1e400",
        "1_000",
        "0x10",
        "٣٦٠٠",
        "1 2",
        "1" + "\t" * 64,
        "9" * 100_000,
        " " * 1_000_000,
        math.nan,
        math.inf,
        -math.inf,
        1e400,
        HUGE_INT,
        -HUGE_INT,
        True,
        False,
        None,
        [3600],
        {"seconds": 3600},
        b"3600",
        3600j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_duration_names_the_field_it_cannot_read(value: object) -> None:
    """A value that is not a finite number is an error that names the field, in a short message."""
    with pytest.raises(InvalidTokenResponse, match=r"^expires_in can't be read: ") as caught:
        expiry.duration(value, "expires_in")
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(("unit", "seconds"), [(0.001, 90.0), (1.0, 90_000.0), (60.0, 5_400_000.0)])
def test_duration_in_another_unit(unit: float, seconds: float) -> None:
    """Some servers count in milliseconds, some in minutes."""
    assert expiry.duration("90000", "life", unit) == pytest.approx(seconds)
    assert expiry.seconds_until("90000", None, unit) == pytest.approx(seconds)


@pytest.mark.parametrize(("unit", "longest"), [(0.001, 10**12), (1.0, 10**9), (50.0, 2 * 10**7)])
def test_no_lifetime_is_longer_than_31_years(unit: float, longest: int) -> None:
    """A greater number is a Unix time that was not declared as one. The message shows it as the server sent it."""
    assert expiry.lifetime_seconds(longest, "life", unit) == 1e9
    with pytest.raises(InvalidTokenResponse, match=f"^life is {longest + 1000}: that looks like a Unix time") as caught:
        expiry.lifetime_seconds(longest + 1000, "life", unit)
    assert caught.value.quoted == f"{longest + 1000}"


@pytest.mark.parametrize(
    ("value", "seconds"), [(999_999_999, 999_999_999), (1_000_000_000, 60), (1_000_000_000_000, 60), (NOW, 700_000_060)]
)
def test_seconds_until_takes_a_large_number_for_a_unix_time(value: float, seconds: float) -> None:
    """From 1e9 on; in milliseconds it is larger still."""
    assert expiry.seconds_until(value, 999_999_940.0) == seconds


@pytest.mark.parametrize(("now", "seconds"), [(1_499_999_999.5, 0.5), (1_500_000_001.0, 0.0), (None, None)])
def test_seconds_until_a_unix_time_that_is_past_or_without_a_now(now: float | None, seconds: float | None) -> None:
    """What is past is not waited for; without the server's now, nobody knows how far off it is."""
    assert expiry.seconds_until(1_500_000_000, now) == seconds


def test_a_lifetime_is_in_seconds_unless_told_otherwise() -> None:
    """As RFC 6749 has it."""
    assert expiry.lifetime_seconds("90", "life") == 90


@pytest.mark.parametrize(
    ("value", "quoted"), [("soon", '"soon"'), (math.inf, "inf"), (True, "a value of type bool"), (None, ""), ([], "")]
)
def test_an_error_says_which_part_of_it_the_server_sent(value: object, quoted: str) -> None:
    """So that the part can be left out where the answer may hold a secret."""
    with pytest.raises(InvalidTokenResponse) as caught:
        expiry.duration(value, "expires_in")
    assert (caught.value.quoted or "") == quoted


@pytest.mark.parametrize("value", [0, 0.0, -0.0, -1, "0", "-1", "-3600.5", "1e-400", -(10**300)])
def test_duration_of_nothing_is_expired_on_arrival(value: object) -> None:
    """Zero and less never mean "never expires": the token was expired on arrival."""
    with pytest.raises(InvalidTokenResponse, match=r"^expires_in is .*expired on arrival: is it counted") as caught:
        expiry.duration(value, "expires_in")
    assert caught.value.expired


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\r\nb\x00c\x1b[31m", "a text of 11 characters"),
        ("eyJhbGciOiJIUzI1NiJ9.secret", "a text of 27 characters"),
        ("0123456789abcdef", '"0123456789abcdef"'),
        ("0123456789abcdefg", "a text of 17 characters"),
        ("ñ\ud800", "a text of 2 characters"),
        (None, "null"),
        (True, "a value of type bool"),
        (["token"], "a value of type list"),
        (type("A" * 16, (), {})(), f"a value of type {'A' * 16}"),
        (type("A" * 17, (), {})(), f"a value of type {'A' * 16}..."),
        (HUGE_INT, "a value of type int"),
        (math.nan, "nan"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_shows_a_short_clean_excerpt(value: object, shown: str) -> None:
    """An error shows a text of up to 16 printable ASCII characters; of any other, a token perhaps, only the length."""
    with pytest.raises(InvalidTokenResponse) as caught:
        expiry.duration(value, "expires_in")
    assert caught.value.message == f"expires_in can't be read: {shown} is not a number of seconds"


def test_error_bounds_the_field_too() -> None:
    """A field's name can't make a message long, or put a line break into it."""
    with pytest.raises(InvalidTokenResponse) as caught:
        expiry.duration(None, "x\n" + "y" * 1000)
    assert str(caught.value).startswith("x?" + "y" * 62 + "... can't be read")


@pytest.mark.parametrize(("seconds", "shown"), [(3.5, 3.5), (0.0, 0.0), (math.inf, None), (-math.inf, None)])
def test_what_has_no_end_is_none_in_json(seconds: float, shown: float | None) -> None:
    """JSON has no infinity."""
    assert expiry.finite(seconds) == shown


# --- epoch


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (1_697_730_996, 1_697_730_996.0),
        ("1697730996", 1_697_730_996.0),
        (1_697_730_996.5, 1_697_730_996.5),
        (0, 0.0),
        (1, 1.0),
        (1_697_730_996_123, 1_697_730_996.123),
        ("1697730996123", 1_697_730_996.123),
        (10**11 - 1, 99_999_999_999.0),
        (10**11, 100_000_000.0),
        (10**11 + 1, 100_000_000.001),
        (10**14 - 1, 99_999_999_999.999),
    ],
)
def test_epoch_reads_seconds_and_milliseconds(value: object, instant: float) -> None:
    """Unix time is seconds, and from 1e11 on milliseconds; zero is an instant like any other."""
    result = expiry.epoch(value, "expiration_date")
    assert result == pytest.approx(instant, abs=1e-6)
    assert type(result) is float


@pytest.mark.parametrize(
    "value",
    [-1, "-1", -1e12, 10**14, 10**14 + 1, 1e300, HUGE_INT, math.nan, math.inf, "abc", "", None, True, [], {}],
    ids=lambda value: type(value).__name__,
)
def test_epoch_refuses_the_absurd(value: object) -> None:
    """A negative, absurd or unreadable instant is an error that names the field."""
    with pytest.raises(InvalidTokenResponse, match=r"^expiration_date can't be read: ") as caught:
        expiry.epoch(value, "expiration_date")
    assert len(caught.value.message) < 150


# --- HTTP dates


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 -00:00",
        "Sun, 06 Nov 1994 08:49:37Z",
        "Sun, 06 Nov 1994 05:49:37 -0300",
        "Sun, 06 Nov 1994 14:19:37 +0530",
        "Sun Nov 06 08:49:37 1994 GMT",
        "sun, 6 nov 1994 8:49:37 gmt",
        "06 Nov 1994 08:49:37 GMT",
        "  Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ],
)
@pytest.mark.usefixtures("buenos_aires")
def test_http_date_is_utc_whatever_zone_the_process_is_in(text: str) -> None:
    """All three forms mean UTC, with a zone or without, in a process that lives in Buenos Aires too."""
    assert time.timezone == 10_800
    assert expiry.http_date(text, ".expires") == NOV_1994
    assert expiry.try_http_date(text) == NOV_1994


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 1.0),
        ("Mon, 19 Nov 2018 18:16:31 GMT", 1_542_651_391.0),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", -62_135_596_800.0 - 86_340),
        ("Fri, 31 Dec 9999 23:59:60 -2359", 253_402_300_800.0 + 86_340),
    ],
)
def test_http_date_reaches_from_the_year_1_to_9999(text: str, instant: float) -> None:
    """The first and last dates, leap seconds and both sides of 1970 are read exactly."""
    assert expiry.http_date(text, ".expires") == instant


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "-1",
        "0",
        "3600",
        "2018-11-19T18:16:31Z",
        "Thu, 31 Feb 2019 00:00:00 GMT",
        "Mon, 00 Nov 2018 18:16:31 GMT",
        "Mon, 19 Nov 0000 18:16:31 GMT",
        "Mon, 19 Nov 018 18:16:31 GMT",
        "Mon, 19 Nov 2018 24:00:00 GMT",
        "Mon, 19 Nov 2018 18:60:00 GMT",
        "Mon, 19 Nov 2018 18:16:61 GMT",
        "Mon, 19 Foo 2018 18:16:31 GMT",
        "Mon, 19 Nov 2018 18:16:31 PST",
        "Mon, 19 Nov 2018 18:16:31 +2400",
        "Mon, 19 Nov 2018 18:16:31 +0060",
        "Mon, ١٩ Nov 2018 18:16:31 GMT",
        "Mon, 19 Nov 2018 18:16:31 GMT" + " " * 100,
        "Mon, 19 Nov 2018 18:16:31 GMT, Mon, 19 Nov 2018 18:16:31 GMT",
        "Lun, 19 nov. 2018 18:16:31 GMT",
        "M" * 1_000_000,
        None,
        True,
        1_542_651_391,
        b"Mon, 19 Nov 2018 18:16:31 GMT",
    ],
    ids=lambda value: str(value)[:40],
)
def test_http_date_names_the_field_it_cannot_read(value: object) -> None:
    """A value that is not an HTTP date is an error that names the field, or None where the header may be ignored."""
    with pytest.raises(
        InvalidTokenResponse, match=r"^\.expires can't be read: .* is not an HTTP date: tell the provider"
    ):
        expiry.http_date(value, ".expires")
    assert expiry.try_http_date(value) is None


@pytest.mark.parametrize(
    ("digits", "year"), [("68", 2068), ("69", 1969), ("70", 1970), ("99", 1999), ("00", 2000), ("01", 2001)]
)
def test_two_digit_year_without_a_now_follows_posix(digits: str, year: int) -> None:
    """Without a now, 69 to 99 are 19xx and 00 to 68 are 20xx."""
    full = expiry.http_date(f"Mon, 05 Nov {year} 12:00:00 GMT", "Date")
    assert expiry.http_date(f"Monday, 05-Nov-{digits} 12:00:00 GMT", "Date") == full


@pytest.mark.parametrize(
    ("now", "text", "meant"),
    [
        # Exactly fifty years ahead, and a second to either side.
        ("Tue, 14 Nov 2023 12:00:00 GMT", "14-Nov-73 11:59:59", "14 Nov 2073 11:59:59"),
        ("Tue, 14 Nov 2023 12:00:00 GMT", "14-Nov-73 12:00:00", "14 Nov 2073 12:00:00"),
        ("Tue, 14 Nov 2023 12:00:00 GMT", "14-Nov-73 12:00:01", "14 Nov 1973 12:00:01"),
        ("Tue, 14 Nov 2023 12:00:00 GMT", "14-Nov-23 12:00:01", "14 Nov 2023 12:00:01"),
        # A year of the next century is ahead, not 98 years back; one of the last century is behind.
        ("Sat, 14 Nov 2099 12:00:00 GMT", "14-Nov-01 12:00:00", "14 Nov 2101 12:00:00"),
        ("Fri, 14 Nov 2003 12:00:00 GMT", "14-Nov-99 12:00:00", "14 Nov 1999 12:00:00"),
        ("Sat, 29 Feb 2020 12:00:00 GMT", "28-Feb-70 12:00:00", "28 Feb 2070 12:00:00"),
        ("Wed, 14 Nov 1962 12:00:00 GMT", "14-Nov-12 12:00:00", "14 Nov 2012 12:00:00"),
    ],
)
def test_two_digit_year_is_at_most_fifty_years_ahead(now: str, text: str, meant: str) -> None:
    """A two-digit year that seems to be more than 50 years ahead is the most recent such year past."""
    assert expiry.http_date(text, "Date", now=expiry.try_http_date(now)) == expiry.try_http_date(meant)


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_two_digit_year_survives_an_absurd_now(now: float) -> None:
    """A now beyond the calendar doesn't break the date: the year is taken as without one."""
    assert expiry.http_date("Sunday, 06-Nov-94 08:49:37 GMT", "Date", now=now) == NOV_1994


def test_two_digit_year_beyond_the_calendar_is_unreadable() -> None:
    """Near the year 10,000 a two-digit year may have no date, which is unreadable and not a crash."""
    now = expiry.try_http_date("Fri, 31 Dec 9999 00:00:00 GMT")
    with pytest.raises(InvalidTokenResponse, match=r"^Date can't be read"):
        expiry.http_date("Sunday, 06-Nov-01 08:49:37 GMT", "Date", now=now)


# --- JWT


@pytest.mark.parametrize(
    ("claims", "times"),
    [
        ({"exp": 1_700_003_600, "iat": 1_700_000_000}, (1_700_003_600.0, 1_700_000_000.0)),
        ({"exp": 1_700_003_600.5}, (1_700_003_600.5, None)),
        ({"iat": 1_700_000_000}, (None, 1_700_000_000.0)),
        ({"exp": 1_700_003_600_000, "iat": 1_700_000_000_000}, (1_700_003_600.0, 1_700_000_000.0)),
        ({"exp": 0, "iat": -1}, (0.0, -1.0)),
        ({"exp": -1, "iat": 0}, (-1.0, 0.0)),
        ({"exp": 10**14, "iat": 5}, (None, 5.0)),
        ({"exp": 10**4000, "iat": 5}, (None, 5.0)),
        ({"exp": math.nan, "iat": math.inf}, (None, None)),
        ({"exp": True, "iat": False}, (None, None)),
        ({"exp": "1700003600", "iat": None}, (None, None)),
        ({"exp": [1_700_003_600], "iat": {"at": 5}}, (None, None)),
        ({}, (None, None)),
        ([], (None, None)),
        (5, (None, None)),
        (None, (None, None)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_jwt_times_reads_numeric_claims_alone(claims: object, times: tuple[float | None, float | None]) -> None:
    """Each claim that is a readable number is returned in seconds, and any other is None by itself."""
    assert expiry.jwt_times(jwt(claims)) == times


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "4dpCfWf9",
        "a.b.c",
        "eyJ.eyJ.x",
        "a.ñ.c",
        "a.\ud800.c",
        "a.A.c",
        "a.eyJ leHAiOjV9.c",
        "a.eyJ=leHAi.c",
        f"{jwt({'exp': 5})}.x",
        f"{jwt({'exp': 5})}.x.y",
        "." * 1_000_000,
        raw_jwt(b"\xff\xfe"),
        raw_jwt('{"exp": 5}'.encode("utf-16")),
        raw_jwt(b'{"exp": 5'),
        raw_jwt(b"[" * 48_000),
        raw_jwt(b'{"a":' * 9_000),
        raw_jwt(b'{"exp": 1e400}'),
        raw_jwt(b'{"exp": 1' + b"0" * 48_000 + b"}"),
    ],
    ids=lambda value: str(value).encode("ascii", "replace")[:20].decode(),
)
def test_what_merely_looks_like_a_jwt_is_opaque(token: str) -> None:
    """A token that cannot be decoded has no times, and causes no error."""
    assert expiry.jwt_times(token) == (None, None)
    assert expiry.jwt_lifetime(token, NOW) == ([], [])


def test_unreadable_integer_leaves_the_other_claim() -> None:
    """An integer that Python refuses to convert (4300 digits) spoils its own claim only."""
    assert expiry.jwt_times(raw_jwt(b'{"exp": 1' + b"0" * 5000 + b', "iat": 5}')) == (None, 5.0)


def test_jwt_payload_is_read_up_to_64_kib() -> None:
    """A payload of 65,536 characters is read, and one of more is opaque."""
    head = b'{"exp": 5, "x": "'
    fits = head + b"x" * (49_152 - len(head) - 2) + b'"}'
    assert expiry.jwt_times(raw_jwt(fits)) == (5.0, None)
    assert expiry.jwt_times(raw_jwt(fits + b" ")) == (None, None)


@pytest.mark.parametrize("padding", ["", "="])
def test_jwt_payload_may_be_padded(padding: str) -> None:
    """The base64url of some issuers is padded, and it is read all the same."""
    header, payload, signature = jwt({"exp": 5, "a": "ÿ??>"}).split(".")
    assert expiry.jwt_times(f"{header}.{payload}{padding * (-len(payload) % 4)}.{signature}") == (5.0, None)


@pytest.mark.parametrize(
    ("claims", "server", "durations", "instants"),
    [
        # Both claims: a duration; the server's now, if known, gives another beside it.
        ({"exp": NOW + 3600, "iat": NOW}, None, [3600.0], []),
        ({"exp": NOW + 3600, "iat": NOW}, NOW + 600, [3600.0, 3000.0], []),
        ({"exp": NOW + 3600, "iat": NOW}, NOW + 3600, [3600.0, 0.0], []),
        ({"exp": NOW + 3600, "iat": NOW}, 0.0, [3600.0, NOW + 3600], []),
        # exp alone: an instant.
        ({"exp": NOW + 3600}, None, [], [NOW + 3600]),
        ({"exp": NOW + 3600}, NOW, [], [NOW + 3600]),
        ({"exp": NOW + 3600, "iat": "x"}, NOW, [], [NOW + 3600]),
        ({"exp": 0}, NOW, [], [0.0]),
        # An iat that is not before exp is useless.
        ({"exp": NOW, "iat": NOW - 1}, None, [1.0], []),
        ({"exp": NOW, "iat": NOW}, None, [], [NOW]),
        ({"exp": NOW, "iat": NOW + 1}, NOW - 60, [], [NOW]),
        # Zero is data.
        ({"exp": 60, "iat": 0}, 0.0, [60.0, 60.0], []),
        # No exp: nothing.
        ({"iat": NOW}, NOW, [], []),
        ({}, NOW, [], []),
    ],
)
def test_jwt_lifetime_follows_the_ruling(
    claims: object, server: float | None, durations: list[float], instants: list[float]
) -> None:
    """A JWT gives exp - iat and exp - the server's now as durations, or exp alone as an instant."""
    assert expiry.jwt_lifetime(jwt(claims), server) == (durations, instants)


def test_jwt_that_the_server_has_had_for_a_while_is_shorter() -> None:
    """Of a day-long JWT that was made 23 hours ago, one hour is left, not a day."""
    durations, instants = expiry.jwt_lifetime(jwt({"exp": NOW + 3600, "iat": NOW - 82_800}), NOW)
    assert expiry.lifetime(durations=[*durations, 86_400.0], instants=instants, now=lambda: 0.0) == 3600.0


# --- headers


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (None, 0),
        ("0", 0),
        ("1", 1),
        (" 60 ", 60),
        ("31536000", 31_536_000),
        ("31536001", 0),
        ("-1", 0),
        ("1.5", 0),
        ("abc", 0),
        ("", 0),
        ("1, 2", 0),
        ("٣", 0),
        ("9" * 20, 0),
        ("9" * 21, 0),
        ("9" * 100_000, 0),
        (" " * 100 + "1", 0),
    ],
    ids=lambda value: str(value)[:25],
)
def test_server_now_is_date_plus_age(age: str | None, seconds: int) -> None:
    """The server's now is Date plus Age, and an Age that is unreadable or absurd is ignored."""
    assert expiry.server_now("Sun, 06 Nov 1994 08:49:37 GMT", age) == NOV_1994 + seconds


@pytest.mark.parametrize("date", [None, "", "abc", "0"])
@pytest.mark.parametrize("age", [None, "60"])
def test_without_a_date_the_server_has_no_now(date: str | None, age: str | None) -> None:
    """Without a readable Date the server's now is not known, whatever Age says."""
    assert expiry.server_now(date, age) is None


def test_a_server_in_1970_has_a_now() -> None:
    """A server whose clock stands at zero has a now: 0.0, not None."""
    assert expiry.server_now("Thu, 01 Jan 1970 00:00:00 GMT", "0") == 0.0


@pytest.mark.parametrize(
    ("value", "now", "seconds"),
    [
        ("120", None, 120.0),
        ("0", None, 0.0),
        ("1", None, 1.0),
        (" 1.5 ", None, 1.5),
        ("-1", None, None),
        ("-1", NOV_1994, None),
        ("NaN", NOV_1994, None),
        ("1e400", NOV_1994, None),
        ("abc", NOV_1994, None),
        ("abc", None, None),
        ("", NOV_1994, None),
        (None, NOV_1994, None),
        (None, None, None),
        ("9" * 100_000, NOV_1994, None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None, None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994 - 1, 1.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994, 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994 + 1, 0.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 0.0, 60.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", NOV_1994 - 60, 60.0),
        ("Monday, 14-Nov-72 12:00:00 GMT", NOW, 3_246_350_400.0 - NOW),
    ],
    ids=lambda value: str(value)[:30],
)
def test_retry_after_is_seconds_from_now(value: str | None, now: float | None, seconds: float | None) -> None:
    """Retry-After is seconds or a date from the server's now, never negative, and None if unreadable."""
    assert expiry.retry_after(value, now) == seconds


# --- lifetime


@pytest.mark.parametrize(
    ("durations", "instants", "now", "seconds"),
    [
        ([3600.0], [], 0.0, 3600.0),
        ([3600.0, 60.0, 600.0], [], 0.0, 60.0),
        ([3600.0], [NOW + 60], NOW, 3600.0),
        ([3600.0], [NOW - 60], NOW, 3600.0),
        ([], [NOW + 60], NOW, 60.0),
        ([], [NOW + 60, NOW + 1], NOW, 1.0),
        ([], [1.0], 0.0, 1.0),
        ([], [0.0], -1.0, 1.0),
        ([], [], NOW, None),
    ],
)
def test_lifetime_trusts_durations_before_instants(
    durations: list[float], instants: list[float], now: float, seconds: float | None
) -> None:
    """The shortest duration counts, without one the earliest instant, and without either it is unknown."""
    assert expiry.lifetime(durations=durations, instants=instants, now=lambda: now) == seconds
    assert expiry.lifetime(durations=iter(durations), instants=iter(instants), now=lambda: now) == seconds


@pytest.mark.parametrize(
    ("durations", "instants", "now"),
    [
        ([0.0], [], 0.0),
        ([-1.0], [], 0.0),
        ([3600.0, 0.0], [NOW + 60], NOW),
        ([], [NOW], NOW),
        ([], [NOW - 1], NOW),
        ([], [0.0], NOW),
        ([], [0.0], 0.0),
        ([], [NOW + 60, NOW], NOW),
    ],
)
def test_lifetime_of_nothing_is_expired_on_arrival(durations: list[float], instants: list[float], now: float) -> None:
    """A lifetime of zero or less is an error, not a token and not "never expires"."""
    with pytest.raises(InvalidTokenResponse, match=r"expired on arrival: is it counted") as caught:
        expiry.lifetime(durations=durations, instants=instants, now=lambda: now)
    assert caught.value.expired


# --- at the limits


@pytest.mark.parametrize(("size", "read"), [(65_535, True), (65_536, True), (65_537, False)])
def test_jwt_times_reads_payloads_up_to_64_kib(size: int, *, read: bool) -> None:
    """A payload of 65,536 characters is read, one of a character more is an opaque token's."""
    claims = '{"exp": 5}'
    payload = base64.urlsafe_b64encode((claims + " " * (size * 3 // 4 - len(claims))).encode()).decode().rstrip("=")
    token = f"h.{payload + '=' * (size - len(payload))}.s"
    assert len(token) == size + len("h..s")
    assert expiry.jwt_times(token) == ((5.0, None) if read else (None, None))


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 6])
def test_jwt_times_wants_three_parts(parts: int) -> None:
    """What has more or fewer parts than a JWT is an opaque token."""
    payload = jwt({"exp": 5}).split(".")[1]
    assert expiry.jwt_times(".".join([payload] * parts)) == (None, None)


@pytest.mark.parametrize(("size", "read"), [(64, True), (65, False)])
def test_dates_and_ages_up_to_64_characters(size: int, *, read: bool) -> None:
    """A text of 64 characters is read; a longer one counts as neither a date nor an age."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    instant = 784111777.0
    assert expiry.try_http_date(date.ljust(size)) == (instant if read else None)
    assert expiry.server_now(date, "5".rjust(size)) == instant + (5.0 if read else 0.0)


@pytest.mark.parametrize(
    ("expires_at", "issued_at", "now", "left"),
    [
        (None, 0.0, 0.0, math.inf),
        (100.0, 0.0, 40.0, 60.0),
        (100.0, 0.0, 100.0, 0.0),
        (100.0, 0.0, 140.0, -40.0),
        (100.0, 30.0, 0.0, 70.0),
        (0.0, -10.0, -5.0, 5.0),
    ],
)
def test_what_a_stored_token_has_left(expires_at: float | None, issued_at: float, now: float, left: float) -> None:
    """Until its end, and never more than its lifetime: another machine's clock may be behind ours."""
    assert expiry.left_of(expires_at, issued_at, now) == left


@pytest.mark.parametrize(("value", "shown"), [(-(10**16) + 1, "-9999999999999999"), (-(10**16), "a value of type int")])
def test_numbers_up_to_16_digits_are_shown(value: int, shown: str) -> None:
    """An error quotes a number of 16 digits, and of a longer one says what it is."""
    with pytest.raises(InvalidTokenResponse, match=f"{shown} is not"):
        expiry.epoch(value, "expires")


def test_an_error_names_the_field_in_printable_ascii() -> None:
    """Everything from the blank to the tilde is shown as it is, anything else as a question mark."""
    with pytest.raises(InvalidTokenResponse, match=r"^a b~c\?\?d can't be read"):
        expiry.epoch(-1, "a b~c\x7f\x1fd")
