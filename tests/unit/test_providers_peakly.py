"""Peakly's provider: what it sends, and what it makes of each answer."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from harness.canary import MARK
from provider_kit import DAY, HOUR, NOW, MockedHttp, failure, fetch, http_date, keeps_quiet, lifetime

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://api.peakly.co/token"
UNREADABLE: tuple[object, ...] = ("abc", "", [], {}, True, "1e400", "NaN", 0, -1, "0")
PASSWORD = f"Sésamo & ábrete=1+1%{MARK}"


def peakly(**options: Any) -> Peakly:
    return Peakly(**{"username": "ana@example.com", "password": PASSWORD, **options})


def answer(**changes: object) -> dict[str, object]:
    """Give the documented answer, with changes; a field changed to ``...`` is left out."""
    fields: dict[str, object] = {
        "access_token": "4dpCfWf9",
        "token_type": "bearer",
        "expires_in": 1209599,
        "organizacionActual": "Peakly",
        "userName": "Administrador",
        ".issued": http_date(NOW),
        ".expires": http_date(NOW + 14 * DAY),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2ln"


# --- The request


async def test_the_password_grant_goes_out_as_a_form(mocked_http: MockedHttp) -> None:
    """One POST to /token with the three documented fields as a UTF-8 form, and no Authorization."""
    mocked_http.answers(URL, answer())
    await fetch(peakly())
    (sent,) = mocked_http.sent
    assert sent.url == URL
    assert sent.form == {"grant_type": "password", "username": "ana@example.com", "password": PASSWORD}
    assert b"S%C3%A9samo+%26+%C3%A1brete%3D1%2B1%25" in sent.body
    assert sent.headers["Cache-Control"] == "no-cache"
    assert sent.headers["Accept"] == "application/json"
    assert "Authorization" not in sent.headers


async def test_a_token_request_is_kept_apart_from_its_session(mocked_http: MockedHttp) -> None:
    """None of a session's middlewares and no raise_for_status touches a token request."""
    mocked_http.answers(URL, answer())
    await fetch(peakly())
    options = mocked_http.sent[0].options
    assert options["middlewares"] == ()
    assert options["raise_for_status"] is False


@pytest.mark.parametrize(
    ("options", "url", "origin"),
    [
        ({}, "https://api.peakly.co/token", "https://api.peakly.co"),
        ({"environment": "production"}, "https://api.peakly.co/token", "https://api.peakly.co"),
        ({"environment": "qa"}, "https://qa.api.peakly.co/token", "https://qa.api.peakly.co"),
        ({"base_url": "https://proxy.example/peakly"}, "https://proxy.example/peakly/token", "https://proxy.example"),
        ({"base_url": "https://proxy.example/a/b/"}, "https://proxy.example/a/b/token", "https://proxy.example"),
        ({"base_url": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/token", "http://127.0.0.1:8080"),
        ({"base_url": "http://[::1]:8080"}, "http://[::1]:8080/token", "http://[::1]:8080"),
        ({"base_url": "https://Proxy.Example:443"}, "https://proxy.example:443/token", "https://proxy.example"),
    ],
)
async def test_where_it_asks_and_where_its_token_may_go(
    mocked_http: MockedHttp, options: dict[str, str], url: str, origin: str
) -> None:
    """Each environment has its host, a base URL keeps its path, and the token may go where it came from."""
    mocked_http.answers(url, answer())
    provider = peakly(**options)
    await fetch(provider)
    assert mocked_http.sent[0].url == url.replace(":443", "")
    assert provider.origins == (origin,)


def test_origins_may_be_others() -> None:
    """Origins given by the user replace the endpoint's."""
    assert peakly(origins="https://a.example").origins == ("https://a.example",)
    assert peakly(origins=("https://a.example", "wss://b.example")).origins == (
        "https://a.example",
        "https://b.example",
    )
    assert peakly(origins=()).origins == ()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"environment": "staging"}, ConfigurationError, "'production' or 'qa'"),
        ({"environment": "development"}, ConfigurationError, "'production' or 'qa'"),
        ({"base_url": "http://api.peakly.co"}, InsecureTransport, "plain http to api.peakly.co"),
        ({"base_url": "api.peakly.co"}, ConfigurationError, "base_url"),
        ({"base_url": "ftp://api.peakly.co"}, ConfigurationError, "base_url"),
        ({"base_url": "https://u:p@api.peakly.co"}, ConfigurationError, "no user"),
        ({"base_url": "https://api.peakly.co/?tenant=1"}, ConfigurationError, "query"),
        ({"base_url": 7}, ConfigurationError, "base_url"),
        ({"origins": "http://api.peakly.co"}, InsecureTransport, "origins"),
        ({"origins": "https://api.peakly.co/api"}, ConfigurationError, "origins"),
        ({"username": ""}, ConfigurationError, "username"),
        ({"username": "  "}, ConfigurationError, "username"),
        ({"username": None}, ConfigurationError, "username"),
        ({"password": None}, ConfigurationError, "password"),
        ({"password": ""}, ConfigurationError, "password"),
        ({"password": "hunter2\n"}, ConfigurationError, "password"),
    ],
)
def test_arguments_that_cant_work(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """A bad argument is refused when the provider is made, by name, and before anything is sent."""
    with pytest.raises(error) as caught:
        peakly(**options)
    assert words in str(caught.value)
    keeps_quiet(caught.value, MARK, PASSWORD)


def test_its_identity_tells_systems_and_accounts_apart() -> None:
    """The identity differs by environment and account, not by password, and holds no secret."""
    production = peakly().identity
    assert production is not None
    assert PASSWORD not in production
    assert production == peakly(password="another").identity
    others = {
        peakly(environment="qa").identity,
        peakly(base_url="https://proxy.example").identity,
        peakly(username="eva@example.com").identity,
    }
    assert len(others | {production}) == 4
    assert peakly(base_url="https://api.peakly.co").identity == production


def test_its_repr_shows_no_secret() -> None:
    """The repr names the endpoint and the kind of credential."""
    assert repr(peakly()) == "<Peakly https://api.peakly.co/token <password: str>>"


# --- The token


async def test_the_documented_answer_becomes_a_token(mocked_http: MockedHttp) -> None:
    """The answer's fields end in the token: value, lifetime, Bearer, and the others in ``extra``."""
    mocked_http.answers(URL, answer())
    token = await fetch(peakly())
    assert token.value == "4dpCfWf9"
    assert token.authorization == "Bearer 4dpCfWf9"
    assert token.token_type == "Bearer"
    assert token.issued_at == NOW
    assert lifetime(token) == 1209599
    assert token.refresh_token is None
    assert token.extra["organizacionActual"] == "Peakly"
    assert token.extra["userName"] == "Administrador"
    assert "access_token" not in token.extra


@pytest.mark.parametrize("skew", [-2 * HOUR, 0.0, 2 * HOUR], ids=["behind", "level", "ahead"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1209599),
        ({".issued": ..., ".expires": ...}, 1209599),
        ({"expires_in": ...}, 1209600),
        ({"expires_in": None}, 1209600),
        ({".expires": ...}, 1209599),
        ({".issued": ...}, 1209599),
        ({"expires_in": ..., ".issued": ...}, 1209600),
        ({"expires_in": ..., ".issued": None}, 1209600),
        ({"expires_in": None, ".issued": ...}, 1209600),
        ({"expires_in": "3600", ".issued": ..., ".expires": ...}, 3600),
        ({"expires_in": 3600.0, ".issued": ..., ".expires": ...}, 3600),
        ({"expires_in": 1, ".issued": ..., ".expires": ...}, 1),
        ({"expires_in": 2 * 14 * DAY}, 1209600),
    ],
)
async def test_the_lifetime_whatever_the_servers_clock_says(
    mocked_http: MockedHttp, skew: float, changes: dict[str, object], expected: float
) -> None:
    """The shortest duration counts, else .expires against the server's own Date: its being off changes nothing."""
    server = NOW + skew
    fields = answer(**{".issued": http_date(server), ".expires": http_date(server + 14 * DAY), **changes})
    mocked_http.answers(URL, fields, date=server)
    assert lifetime(await fetch(peakly())) == pytest.approx(expected)


@pytest.mark.parametrize(
    "form",
    ["Tue, 28 Nov 2023 22:13:20 GMT", "Tuesday, 28-Nov-23 22:13:20 GMT", "Tue Nov 28 22:13:20 2023"],
    ids=["imf", "rfc850", "asctime"],
)
async def test_dates_come_in_three_forms(mocked_http: MockedHttp, form: str) -> None:
    """All three forms of HTTP dates are read, as UTC."""
    mocked_http.answers(URL, answer(**{"expires_in": ..., ".issued": ..., ".expires": form}))
    assert lifetime(await fetch(peakly())) == 14 * DAY


async def test_an_answer_from_a_cache(mocked_http: MockedHttp) -> None:
    """Age is added to Date: what a cache held back is gone from the token's life."""
    fields = answer(**{"expires_in": ..., ".issued": ...})
    mocked_http.answers(URL, fields, headers={"Age": "86400"})
    assert lifetime(await fetch(peakly())) == 13 * DAY


async def test_an_absolute_time_without_a_date(mocked_http: MockedHttp) -> None:
    """Only without a Date does our own wall clock decide what is left until .expires."""
    fields = answer(**{"expires_in": ..., ".issued": ...})
    mocked_http.answers(URL, fields, date=None)
    mocked_http.answers(URL, fields, headers={"Date": "yesterday"})
    for _ in range(2):
        assert lifetime(await fetch(peakly(), clock=FakeClock(wall=NOW + HOUR))) == 14 * DAY - HOUR


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_in": ..., ".issued": ..., ".expires": ...},
        {"expires_in": ..., ".expires": ...},
        {"expires_in": ..., ".issued": None, ".expires": ...},
    ],
    ids=["none of the three", "issued alone", "issued null"],
)
async def test_an_unknown_lifetime(mocked_http: MockedHttp, changes: dict[str, object]) -> None:
    """Where nothing says how long it lives, the lifetime is unknown, and no error."""
    mocked_http.answers(URL, answer(**changes))
    assert (await fetch(peakly())).expires_at is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *(({"expires_in": value}, "expires_in") for value in UNREADABLE),
        ({"expires_in": None, ".issued": ..., ".expires": ...}, "expires_in"),
        ({"expires_in": ..., ".issued": ..., ".expires": None}, ".expires"),
        ({"expires_in": ..., ".expires": None}, ".expires"),
        ({".expires": "abc", "expires_in": ...}, ".expires"),
        ({".expires": 1700000000, "expires_in": ...}, ".expires"),
        ({".expires": http_date(NOW)}, ".expires"),
        ({".expires": http_date(NOW - 1)}, ".expires"),
    ],
)
async def test_a_field_that_cant_be_read(mocked_http: MockedHttp, changes: dict[str, object], field: str) -> None:
    """A time that can't be read, or is not positive, is an error that names it: neither a token nor "for ever"."""
    mocked_http.answers(URL, answer(**changes))
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert field in error.message
    assert (error.provider, error.step, error.endpoint) == ("peakly", "token", URL)
    keeps_quiet(error, PASSWORD, "4dpCfWf9")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "9" * 5000])
async def test_numbers_beyond_json(mocked_http: MockedHttp, number: str) -> None:
    """Numbers that JSON parsers let through and no clock can hold are an error."""
    body = f'{{"access_token": "4dpCfWf9", "expires_in": {number}}}'.encode()
    mocked_http.answers(URL, body=body)
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    keeps_quiet(error, PASSWORD, "4dpCfWf9")


@pytest.mark.parametrize("skew", [-2 * HOUR, 2 * HOUR])
async def test_already_past_by_the_servers_clock(mocked_http: MockedHttp, skew: float) -> None:
    """.expires alone that has passed by the server's Date is an error, whatever our clock says."""
    server = NOW + skew
    fields = answer(**{"expires_in": ..., ".issued": ..., ".expires": http_date(server - 1)})
    mocked_http.answers(URL, fields, date=server)
    assert type(await failure(peakly())) is InvalidTokenResponse


@pytest.mark.parametrize(
    ("claims", "changes", "expected"),
    [
        ({"iat": NOW, "exp": NOW + HOUR}, {}, HOUR),
        ({"iat": NOW, "exp": NOW + 30 * DAY}, {}, 1209599),
        ({"iat": NOW - HOUR, "exp": NOW + HOUR}, {"expires_in": ..., ".issued": ..., ".expires": ...}, HOUR),
        ({"exp": NOW + HOUR}, {"expires_in": ..., ".issued": ..., ".expires": ...}, HOUR),
        ({"exp": NOW + HOUR}, {}, 1209599),
        ({"exp": (NOW + HOUR) * 1000}, {"expires_in": ..., ".issued": ..., ".expires": ...}, HOUR),
        ({"exp": NOW + HOUR}, {"expires_in": None, ".issued": ..., ".expires": ...}, HOUR),
    ],
)
async def test_a_jwt_tells_its_own_times(
    mocked_http: MockedHttp, claims: dict[str, float], changes: dict[str, object], expected: float
) -> None:
    """A JWT's exp - iat is a duration, and exp - the server's now counts beside it; exp alone is an instant."""
    mocked_http.answers(URL, answer(access_token=jwt(**claims), **changes))
    assert lifetime(await fetch(peakly())) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["a.b.c", "..", "eyJhbGciOiJIUzI1NiJ9.!!!.x", "a.W10.c", jwt(exp="soon", iat=[])])
async def test_what_merely_looks_like_a_jwt(mocked_http: MockedHttp, value: str) -> None:
    """A token that looks like a JWT and can't be decoded is an opaque token."""
    mocked_http.answers(URL, answer(access_token=value))
    token = await fetch(peakly())
    assert token.value == value
    assert lifetime(token) == 1209599


@pytest.mark.parametrize("token_type", ["bearer", "BEARER", "Bearer", ..., None, 7])
async def test_the_header_is_always_written_bearer(mocked_http: MockedHttp, token_type: object) -> None:
    """Whatever case the server uses, and if it says nothing at all."""
    mocked_http.answers(URL, answer(token_type=token_type))
    assert (await fetch(peakly())).authorization == "Bearer 4dpCfWf9"


@pytest.mark.parametrize("bad", [..., None, "", 7, ["x"], "zq zq", "a\r\nX-Admin: 1", "tökén", "x\x00", "a\x7f"])
async def test_a_token_that_cant_travel(mocked_http: MockedHttp, bad: object) -> None:
    """An access token that is missing, or would break a header, is an error that shows nothing of it."""
    mocked_http.answers(URL, answer(access_token=bad))
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert "access_token" in error.message
    keeps_quiet(error, PASSWORD, *([bad] if isinstance(bad, str) and bad else []))


# --- Refusals


@pytest.mark.parametrize(
    ("status", "fields", "code", "said"),
    [
        (401, {"message": "Usuario/Contraseña invalidos"}, None, "Usuario/Contraseña invalidos"),
        (
            400,
            {"error": "invalid_grant", "error_description": "The user name or password is incorrect."},
            "invalid_grant",
            "The user name or password is incorrect.",
        ),
        (400, {"error": "invalid_client"}, "invalid_client", None),
        (400, {}, None, None),
        (403, {"message": "no"}, None, "no"),
        (400, {"error": {"nested": 1}, "message": 7}, None, None),
    ],
)
async def test_refusals(
    mocked_http: MockedHttp, status: int, fields: dict[str, object], code: str | None, said: str | None
) -> None:
    """400, 401 and 403 mean that the password was refused; the error has every field there is."""
    mocked_http.answers(URL, fields, status=status)
    error = await failure(peakly())
    assert type(error) is CredentialsRejected
    assert not error.transient
    assert (error.provider, error.step, error.endpoint, error.status) == ("peakly", "token", URL, status)
    assert (error.error, error.error_description) == (code, said)
    assert error.retry_after is None
    assert not error.upstream
    assert "password" in str(error)
    assert f"status {status}" in str(error)
    keeps_quiet(error, PASSWORD)
    assert len(mocked_http.sent) == 1


async def test_a_refusal_in_html(mocked_http: MockedHttp) -> None:
    """A rejection whose body is not JSON still counts as a rejection."""
    mocked_http.answers(URL, status=401, body=b"<html>No</html>", headers={"Content-Type": "text/html"})
    error = await failure(peakly())
    assert type(error) is CredentialsRejected
    assert error.error_description is None


# --- Refresh tokens


async def test_a_refresh_token_is_kept(mocked_http: MockedHttp) -> None:
    """A refresh token that comes is kept with the token, and nowhere else."""
    mocked_http.answers(URL, answer(refresh_token="r1"))
    token = await fetch(peakly())
    assert token.refresh_token == "r1"
    assert "refresh_token" not in token.extra


@pytest.mark.parametrize("bad", [None, "", " ", False, 0, "a\nb", 7, "é", [], {}, ["r1"]])
async def test_a_refresh_token_that_is_none_costs_nothing(mocked_http: MockedHttp, bad: object) -> None:
    """A server without refresh tokens may write anything in its place: the access token is as good as ever."""
    mocked_http.answers(URL, answer(refresh_token=bad))
    token = await fetch(peakly())
    assert (token.value, token.refresh_token) == ("4dpCfWf9", None)
    assert "refresh_token" not in token.extra


async def test_what_is_ignored_is_told_once(mocked_http: MockedHttp, caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable field causes one warning, without its value. A value that means "none" causes no warning."""
    provider = peakly()
    for changes in ({"refresh_token": f"{PASSWORD}\n"}, {"refresh_token": 7}, {".expires": ""}, {"refresh_token": 8}):
        mocked_http.answers(URL, answer(**changes))
        await fetch(provider)
    assert [each.getMessage() for each in caplog.records] == [
        f"peakly: the token is used without a field of its answer: 'refresh_token' {flaw}; no action needed while"
        " requests succeed"
        for flaw in ("holds characters that can't travel in a header", "is not a token")
    ]


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({".issued": "lun, 19 nov 2018 18:16:31 GMT"}, 1209599),
        ({".expires": "lun, 3 dic 2018 18:16:31 GMT"}, 1209599),
        ({".expires": "abc", ".issued": 7}, 1209599),
        ({".expires": 1700000000}, 1209599),
        ({".expires": ""}, 1209599),
        ({".issued": "abc", "expires_in": ...}, 1209600),
    ],
)
async def test_a_time_that_another_one_replaces_costs_nothing(
    mocked_http: MockedHttp, changes: dict[str, object], seconds: int
) -> None:
    """A time that can't be read is ignored where another one says how long the token lives."""
    mocked_http.answers(URL, answer(**changes))
    assert (await fetch(peakly())).lifetime == seconds


async def test_the_refresh_token_is_used(mocked_http: MockedHttp) -> None:
    """With a refresh token at hand, the password is not sent."""
    mocked_http.answers(URL, answer(refresh_token="r2"))
    token = await fetch(peakly(), Token("old", refresh_token="r1"))
    assert [sent.form for sent in mocked_http.sent] == [{"grant_type": "refresh_token", "refresh_token": "r1"}]
    assert token.refresh_token == "r2"


async def test_a_refresh_token_that_is_not_replaced(mocked_http: MockedHttp) -> None:
    """An answer without a new refresh token leaves the one that was used in force (RFC 6749 §6)."""
    mocked_http.answers(URL, answer())
    token = await fetch(peakly(), Token("old", refresh_token="r1"))
    assert token.value == "4dpCfWf9"
    assert token.refresh_token == "r1"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_refresh_token_falls_back_to_the_password(mocked_http: MockedHttp, status: int) -> None:
    """A refused refresh token costs one request more, in the same fetch, and no error."""
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=status)
    mocked_http.answers(URL, answer())
    token = await fetch(peakly(), Token("old", refresh_token="r1"))
    assert [sent.form["grant_type"] for sent in mocked_http.sent] == ["refresh_token", "password"]
    assert token.refresh_token is None


async def test_both_refused(mocked_http: MockedHttp) -> None:
    """When the password is refused as well, the error is about the password, and holds neither."""
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=400)
    mocked_http.answers(URL, {"message": "no"}, status=401)
    error = await failure(peakly(), Token("old", refresh_token="the-refresh-token"))
    assert type(error) is CredentialsRejected
    assert error.status == 401
    assert "password" in error.message
    keeps_quiet(error, PASSWORD, "the-refresh-token")


async def test_a_transient_failure_does_not_fall_back(mocked_http: MockedHttp) -> None:
    """A server that can't answer now says nothing of the refresh token: the password stays where it is."""
    mocked_http.answers(URL, {}, status=503)
    error = await failure(peakly(), Token("old", refresh_token="the-refresh-token"))
    assert type(error) is TokenEndpointUnavailable
    assert len(mocked_http.sent) == 1
    keeps_quiet(error, PASSWORD, "the-refresh-token")


def connection_refused() -> Exception:
    key: Any = aiohttp.client_reqrep.ConnectionKey("api.peakly.co", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorError(key, OSError(111, "Connection refused"))


@pytest.mark.parametrize(
    ("trouble", "grants"),
    [
        (aiohttp.ServerDisconnectedError, ["password", "refresh_token", "password"]),
        (TimeoutError, ["password", "refresh_token", "password"]),
        (aiohttp.ClientPayloadError, ["password", "refresh_token", "password"]),
        (connection_refused, ["password", "refresh_token", "refresh_token"]),
    ],
)
async def test_an_unanswered_refresh_token_is_not_sent_again(
    mocked_http: MockedHttp, trouble: Callable[[], Exception], grants: list[str]
) -> None:
    """If no answer came the server may have rotated it: the password is next; if nothing was sent, it is good still."""
    clock = FakeClock(wall=NOW)
    mocked_http.answers(URL, answer(refresh_token="r1", **{"expires_in": 100, ".issued": ..., ".expires": ...}))
    mocked_http.answers(URL, exception=trouble())
    mocked_http.answers(URL, answer(access_token="second", refresh_token="r2"))
    async with TokenManager(peakly(), clock=clock) as manager:
        assert (await manager.token()).value == "4dpCfWf9"
        for _ in range(20):
            await clock.advance(10)
        assert (await manager.token()).value == "second"
    assert [sent.form["grant_type"] for sent in mocked_http.sent] == grants


@pytest.mark.parametrize("unreadable", [{"body": b"<html>"}, {"fields": {"access_token": "x", "expires_in": "abc"}}])
async def test_a_refresh_token_is_not_sent_again_after_an_answer_that_cannot_be_read(
    mocked_http: MockedHttp, unreadable: dict[str, Any]
) -> None:
    """A 200 that makes no sense may have rotated the refresh token: the password is next."""
    clock = FakeClock(wall=NOW)
    mocked_http.answers(URL, answer(refresh_token="r1", **{"expires_in": 100, ".issued": ..., ".expires": ...}))
    mocked_http.answers(URL, **unreadable)
    mocked_http.answers(URL, answer(access_token="second", refresh_token="r2"))
    async with TokenManager(peakly(), clock=clock) as manager:
        assert (await manager.token()).value == "4dpCfWf9"
        for _ in range(20):
            await clock.advance(10)
        assert (await manager.token()).value == "second"
    assert [sent.form["grant_type"] for sent in mocked_http.sent] == ["password", "refresh_token", "password"]
