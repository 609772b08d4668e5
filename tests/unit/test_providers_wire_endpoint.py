"""The token endpoint's edge: what each way of failing becomes, and what of it may be shown."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from harness.canary import MARK
from provider_kit import NOW, MockedHttp, failure, fetch, http_date, keeps_quiet
from yarl import URL

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    PagoFacil,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    expiry,
)
from asyncauth._core.try_state import current_try
from asyncauth.providers.wire.classify import Answer, Verdict, rejects
from asyncauth.providers.wire.document import fields_of, read_document
from asyncauth.providers.wire.endpoint import Endpoint, Request

ADDRESS = "https://api.peakly.co/token"
CREATE = "https://api.pgf.cl/tokens/createToken"
PASSWORD = f"Sésamo-ábrete{MARK}"
GOOD = b'{"access_token": "new-token", "expires_in": 60}'
HTML = {"Content-Type": "text/html"}


def peakly() -> Peakly:
    return Peakly(username="ana", password=PASSWORD)


# --- Transient failures


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("body", [b"", b"<html><h1>Bad Gateway</h1></html>", b'{"message": "later"}'])
async def test_a_server_that_cant_answer_now(mocked_http: MockedHttp, status: int, body: bytes) -> None:
    """5xx, 429, 408 and 425 are transient, whatever the body: never "wrong password"."""
    mocked_http.answers(ADDRESS, status=status, body=body, headers=HTML)
    error = await failure(peakly())
    assert type(error) is TokenEndpointUnavailable
    assert error.transient
    assert (error.provider, error.step, error.endpoint, error.status) == ("peakly", "token", ADDRESS, status)
    assert error.error_description == ("later" if b"later" in body else None)
    assert error.retry_after is None
    keeps_quiet(error, PASSWORD)
    assert not current_try().unanswered


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (http_date(NOW + 30), 30.0),
        (http_date(NOW - 30), 0.0),
        ("soon", None),
        ("-1", None),
        ("1e400", None),
        ("", None),
    ],
)
async def test_retry_after(mocked_http: MockedHttp, status: int, header: str, seconds: float | None) -> None:
    """Retry-After is read as seconds or as a date by the server's own clock; nonsense is ignored."""
    mocked_http.answers(ADDRESS, {}, status=status, headers={"Retry-After": header})
    assert (await failure(peakly())).retry_after == seconds


@pytest.mark.parametrize(("status", "counted"), [(401, 1), (400, 1), (429, 0), (503, 0)])
async def test_a_refusal_that_asks_for_patience_is_counted(mocked_http: MockedHttp, status: int, counted: int) -> None:
    """The credential is paced by it, though the error is transient: some servers answer so to a wrong password."""
    mocked_http.answers(ADDRESS, {}, status=status, headers={"Retry-After": "1"})
    assert (await failure(peakly())).transient
    assert len(current_try().without_token) == counted


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_retry_after_goes_by_the_servers_clock(mocked_http: MockedHttp, skew: float) -> None:
    """A date in Retry-After is reckoned from the server's Date, however far its clock is off."""
    mocked_http.answers(ADDRESS, {}, status=503, date=NOW + skew, headers={"Retry-After": http_date(NOW + skew + 30)})
    assert (await failure(peakly())).retry_after == 30


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error"])
@pytest.mark.parametrize("status", [200, 400])
async def test_codes_that_mean_later(mocked_http: MockedHttp, code: str, status: int) -> None:
    """RFC 6749's own codes for "not now" are transient with any status."""
    mocked_http.answers(ADDRESS, {"error": code}, status=status)
    error = await failure(peakly())
    assert type(error) is TokenEndpointUnavailable
    assert error.error == code


def connection_key() -> Any:
    return aiohttp.client_reqrep.ConnectionKey("api.peakly.co", 443, True, True, None, None, None)


def request_info() -> Any:
    return aiohttp.RequestInfo(URL(ADDRESS), "POST", {"Authorization": PASSWORD}, URL(ADDRESS))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exception", "words", "unanswered"),
    [
        (aiohttp.ClientConnectorError(connection_key(), OSError(111, "refused")), "no connection", False),
        (aiohttp.ClientConnectorDNSError(connection_key(), OSError(-2, "unknown")), "has no address", False),
        (aiohttp.ClientConnectorCertificateError(connection_key(), ValueError("self-signed")), "TLS", False),
        (aiohttp.ClientConnectorSSLError(connection_key(), OSError(1, "handshake")), "no TLS handshake", False),
        (aiohttp.ServerDisconnectedError(), "closed the connection", True),
        (aiohttp.ClientOSError(104, "reset by peer"), "the connection broke", True),
        (aiohttp.ClientPayloadError("half"), "the answer broke off", True),
        (aiohttp.ServerTimeoutError(), "no answer in time", True),
        (TimeoutError(), "no answer in time", True),
        (ConnectionResetError(104, "reset"), "the connection broke", True),
        (
            aiohttp.ClientResponseError(request_info(), (), status=400, message=PASSWORD),
            "no answer was received (ClientResponseError)",
            True,
        ),
    ],
)
async def test_trouble_on_the_way(
    *, mocked_http: MockedHttp, exception: Exception, words: str, unanswered: bool
) -> None:
    """Every way of the network to fail is transient, and named; what may have been sent is known."""
    mocked_http.answers(ADDRESS, exception=exception)
    error = await failure(peakly())
    assert type(error) is TokenEndpointUnavailable
    assert words in str(error)
    assert (error.provider, error.step, error.endpoint, error.status) == ("peakly", "token", ADDRESS, None)
    keeps_quiet(error, PASSWORD)
    assert current_try().unanswered is unanswered


# --- Answers that make no sense


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(mocked_http: MockedHttp, status: int) -> None:
    """A redirect is an error: a password is posted to one address alone."""
    mocked_http.answers(ADDRESS, status=status, body=b"", headers={"Location": "https://evil.example/token"})
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert error.status == status
    assert "redirect" in error.message
    assert "evil" not in str(error)
    assert len(mocked_http.sent) == 1


@pytest.mark.parametrize("status", [404, 405, 406, 410, 415, 418, 422])
async def test_no_token_endpoint(mocked_http: MockedHttp, status: int) -> None:
    """Other statuses say that this is not a token endpoint: neither a transient failure nor a wrong password."""
    mocked_http.answers(ADDRESS, status=status, body=b"<html>Not found</html>", headers=HTML)
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert not error.transient
    assert error.status == status
    assert error.advice == "check the address"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html>Welcome</html>",
        b"new-token",
        b'"new-token"',
        b"[]",
        b"null",
        b"7",
        b"true",
        b'{"access_token": "new-token", "expires_in": 60',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"access_token": "new-token", "x": "\xff"}',
        '{"access_token": "new-token"}'.encode("utf-16"),
        b'{"access_token": "new-token", "expires_in": ' + b"9" * 5000 + b"}",
        b"\x00" * 100,
        b'{"access_token": "new\ntoken"}',
    ],
)
async def test_no_json_object(mocked_http: MockedHttp, body: bytes) -> None:
    """A 200 whose body is not a JSON object in UTF-8 is an error that shows nothing of it."""
    mocked_http.answers(ADDRESS, body=body)
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert (error.provider, error.step, error.endpoint, error.status) == ("peakly", "token", ADDRESS, 200)
    assert "not a JSON object" in error.message
    keeps_quiet(error, PASSWORD, "new-token")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xef\xbb\xbf" + GOOD, {}),
        (b"\r\n " + GOOD + b"\n", {}),
        (GOOD, {"Content-Type": "text/plain"}),
        (GOOD, {"Content-Type": "text/html; charset=latin-1"}),
        (GOOD, {"Content-Type": "nonsense"}),
        (GOOD[:-1] + b', "x": ' + b"[" * 500 + b"]" * 500 + b"}", {}),
    ],
    ids=["bom", "blanks", "plain", "html", "nonsense", "nested"],
)
async def test_json_all_the_same(mocked_http: MockedHttp, body: bytes, headers: dict[str, str]) -> None:
    """A byte order mark, blanks, and a Content-Type that is wrong do not spoil a good answer."""
    mocked_http.answers(ADDRESS, body=body, headers=headers)
    assert (await fetch(peakly())).value == "new-token"


@pytest.mark.parametrize("status", [200, 201, 203])
async def test_success_has_several_statuses(mocked_http: MockedHttp, status: int) -> None:
    """Any 2xx with a token is a success."""
    mocked_http.answers(ADDRESS, status=status, body=GOOD)
    assert (await fetch(peakly())).value == "new-token"


async def test_no_content(mocked_http: MockedHttp) -> None:
    """A 204 counts as an answer without a token."""
    mocked_http.answers(ADDRESS, status=204, body=b"")
    assert type(await failure(peakly())) is InvalidTokenResponse


@pytest.mark.parametrize("status", [200, 202])
async def test_an_error_in_a_success(mocked_http: MockedHttp, status: int) -> None:
    """An ``error`` of the protocol's own in a 2xx is a refusal, even beside a token."""
    fields = {"error": "invalid_grant", "error_description": "No", "access_token": "new-token", "expires_in": 60}
    mocked_http.answers(ADDRESS, fields, status=status)
    error = await failure(peakly())
    assert type(error) is CredentialsRejected
    assert (error.error, error.error_description, error.status) == ("invalid_grant", "No", status)


async def test_another_error_in_a_success(mocked_http: MockedHttp) -> None:
    """A 2xx that brings an error which nobody declared is unreadable, and shows the server's words."""
    mocked_http.answers(ADDRESS, {"error": "invalid_auth", "error_description": "No"}, status=200)
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert (error.message, error.error) == ("the answer is an error, and brings no token", "invalid_auth")


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("body", [b"", b"<html><title>Request blocked</title></html>"])
async def test_a_firewall_is_no_rejection(mocked_http: MockedHttp, status: int, body: bytes) -> None:
    """A blocked request is unreadable, and the error says that the credential was not rejected."""
    mocked_http.answers(ADDRESS, status=status, body=body, headers=HTML)
    error = await failure(peakly())
    assert type(error) is InvalidTokenResponse
    assert "not rejected" in error.message
    assert "firewall" in error.advice
    assert (error.status, error.endpoint) == (status, ADDRESS)


# --- What the server says


@pytest.mark.parametrize(
    "said",
    [
        f"wrong password {PASSWORD} for ana",
        f"{PASSWORD}{PASSWORD}",
        "x" * 195 + PASSWORD,
        "x" * 795 + PASSWORD,
    ],
)
@pytest.mark.parametrize("field", ["error", "error_description", "message"])
@pytest.mark.parametrize("status", [200, 400, 404, 503])
async def test_an_echoed_password(mocked_http: MockedHttp, said: str, field: str, status: int) -> None:
    """A server that repeats what was sent does not get it into the error, wherever its text is cut."""
    mocked_http.answers(ADDRESS, {"error": "invalid_grant", field: said}, status=status)
    error = await failure(peakly())
    keeps_quiet(error, PASSWORD)
    for start in range(len(PASSWORD) - 5):
        assert PASSWORD[start : start + 6] not in str(error)


async def test_an_echoed_bearer(mocked_http: MockedHttp) -> None:
    """Nor a credential that travelled in a header."""
    mocked_http.answers(CREATE, {"message": "Invalid Token: Bearer my.own.jwt"}, status=401)
    error = await failure(PagoFacil(jwt="my.own.jwt"))
    assert error.error_description == "Invalid Token: Bearer …"
    keeps_quiet(error, "my.own.jwt")


async def test_the_servers_message_forges_nothing(mocked_http: MockedHttp) -> None:
    """Control characters, line breaks and terminal escapes become blanks; the text stays short."""
    said = "No.\r\n2023-11-14 INFO all is well\x1b[31m\x00\u202e\u2028" + "x" * 5000
    mocked_http.answers(ADDRESS, {"message": said}, status=401)
    error = await failure(peakly())
    assert error.error_description is not None
    assert error.error_description.startswith("No. 2023-11-14 INFO all is well [31m")
    assert len(error.error_description) == 200
    assert error.error_description.isprintable()
    assert str(error).isprintable()
    assert len(str(error)) < 500


async def test_the_error_reads_well(mocked_http: MockedHttp) -> None:
    """An error names provider, step, address, status, what is wrong, and what the server says."""
    mocked_http.answers(ADDRESS, {"error": "invalid_grant", "error_description": "Nope."}, status=400)
    assert str(await failure(peakly())) == (
        f"the server rejected the password [peakly token, {ADDRESS}, status 400]"
        '; the server says "invalid_grant: Nope.": check it'
    )


# --- What is noted beside the answer


async def test_what_the_attempt_learns(mocked_http: MockedHttp) -> None:
    """The server's clock, and that an answer came, are recorded in the try's state."""
    mocked_http.answers(ADDRESS, body=GOOD, date=NOW + 50, headers={"Age": "10"})
    await fetch(peakly())
    assert current_try().server_now == NOW + 60
    assert not current_try().unanswered
    assert current_try().sent_at == 1_000.0


async def test_a_lifetime_in_seconds_needs_no_date(mocked_http: MockedHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's clock is read only where something depends on it."""
    read: list[str | None] = []
    known = expiry.server_now

    def server_now(date: str | None, age: str | None) -> float | None:
        read.append(date)
        return known(date, age)

    monkeypatch.setattr(expiry, "server_now", server_now)
    mocked_http.answers(ADDRESS, body=GOOD)
    await fetch(peakly())
    assert not read
    mocked_http.answers(ADDRESS, {"access_token": "t", ".expires": http_date(NOW + 60)})
    await fetch(peakly())
    assert read == [http_date(NOW)]


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        b"  " + GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD,
        b"\xc2\xa0" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-16-le"),
        GOOD.decode().encode("utf-32-be"),
        GOOD.replace(b"token", b"tok\xedn"),
        GOOD.replace(b"new-token", b"\xed\xa0\x80"),
        GOOD.replace(b" ", b"\0"),
        GOOD + GOOD,
        b"[" * 100_000,
        b"[" + GOOD + b"]",
        b"null",
        b'"a.b.c"',
        b"access_token=t",
        b"<a><b>1</b></a>",
        b"",
    ],
    ids=lambda body: str(body[:20]),
)
@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=latin-1", "; charset=utf-16-le"])
async def test_a_body_is_read_like_any_document(mocked_http: MockedHttp, body: bytes, charset: str) -> None:
    """The usual body, a JSON object in UTF-8, is recognised first; that changes no other's meaning."""
    seen: list[Answer] = []

    def hook(answer: Answer, verdict: Verdict) -> Verdict:
        seen.append(answer)
        return verdict

    kind = f"application/json{charset}"
    mocked_http.answers(ADDRESS, body=body, status=404, headers={"Content-Type": kind})
    endpoint = Endpoint(provider="peakly", step="token", url=URL(ADDRESS), hook=hook)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(AuthError):
            await endpoint.fetch(http, (), Request, str)
    document = read_document(body, kind)
    assert (seen[0].document, seen[0].fields, seen[0].body) == (document, fields_of(document), body)


async def test_a_provider_of_ones_own(mocked_http: MockedHttp) -> None:
    """The endpoint serves any system: the refusing statuses are its own, and 401 may mean something else."""
    endpoint = Endpoint(provider="acme", step="session", url=URL("https://acme.example/s"), hook=rejects(418))
    mocked_http.answers("https://acme.example/s", {}, status=401)
    mocked_http.answers("https://acme.example/s", {}, status=418)

    def build() -> Request:
        return Request(json={"key": "the-key"})

    def read(_: object) -> Token:
        return Token("x")

    async with aiohttp.ClientSession() as http:
        with pytest.raises(InvalidTokenResponse):
            await endpoint.fetch(http, (), build, read)
        with pytest.raises(CredentialsRejected):
            await endpoint.fetch(http, (), build, read)


def test_reprs_of_requests_and_answers() -> None:
    """What holds secrets on the way shows none."""
    request = Request(headers={"Authorization": "Bearer the-key"}, json={"password": "the-key"})
    assert "the-key" not in repr(request)


@pytest.mark.parametrize("field", ["expires_in", ".expires"])
@pytest.mark.parametrize("echo", [PASSWORD, f" {PASSWORD}", "U8Opc2Ftbw=="])
async def test_a_time_that_is_the_password_is_not_shown(mocked_http: MockedHttp, field: str, echo: str) -> None:
    """A server that repeats what was sent where a time should be puts it into no error."""
    mocked_http.answers(ADDRESS, {"access_token": "t", field: echo})
    error = await failure(Peakly(username="ana", password="Sésamo" if "==" in echo else PASSWORD))
    assert type(error) is InvalidTokenResponse
    assert f"{field} can't be read" in str(error)
    keeps_quiet(error, echo.strip())


@pytest.mark.parametrize("password", ["expires_in", "can't be read", "s not posit", "number of seconds"])
async def test_a_sentence_of_our_own_is_whole(mocked_http: MockedHttp, password: str) -> None:
    """A gap in it would say which words the secret has: only what is quoted of the answer is cleaned."""
    plain = Peakly(username="ana", password=PASSWORD)
    mocked_http.answers(ADDRESS, {"access_token": "t", "expires_in": "soon"})
    whole = str(await failure(plain))
    mocked_http.answers(ADDRESS, {"access_token": "t", "expires_in": "soon"})
    assert str(await failure(Peakly(username="ana", password=password))) == whole
    assert '"soon"' in whole
    assert "…" not in whole
