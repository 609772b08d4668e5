"""Providers and the sandbox over real sockets: what really travels, and answers no mock can give."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from harness.canary import CANARIES, MARK
from harness.crash_reports import every_frame
from inside_kit import connections_of
from loopback import Api, Got, nothing_left

from asyncauth import (
    AuthError,
    CredentialsRejected,
    DeclaredProvider,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    Peakly,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400.0
PASSWORD = f"Sésamo & ábrete=1+1%{MARK}"
ONCE = RefreshPolicy(deadline=0.5, backoff=0.4)


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(**CANARIES) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Api]:
    """A server that gives the test's answers, on every path."""
    async with Api().serve() as api:
        api.good = None
        yield api


def peakly(sandbox: Sandbox, **options: Any) -> Peakly:
    options = {"username": sandbox.username, "password": sandbox.password, **options}
    return Peakly(base_url=sandbox.peakly.url, **options)


def chain(sandbox: Sandbox, **options: Any) -> PagoFacilJWT:
    options = {"username": sandbox.username, "password": sandbox.password, **options}
    return PagoFacilJWT.from_password(base_url=sandbox.pago_facil.url, **options)


def lifetime(token: Token) -> float:
    assert token.lifetime is not None
    return token.lifetime


async def fetch(provider: Any) -> Token:
    async with aiohttp.ClientSession() as http:
        token: Token = await provider.fetch(http, None)
        return token


# --- Bytes on the wire


def answers(server: Api, path: str, fields: dict[str, object]) -> None:
    async def route(request: web.Request) -> web.StreamResponse:
        return web.json_response(fields)

    server.routes[path] = route


async def test_peaklys_request_byte_by_byte(server: Api) -> None:
    """The password grant is a form in UTF-8, with its length, and none of a session's extras."""
    answers(server, "/token", {"access_token": "x"})
    await fetch(Peakly(username="ana", password=PASSWORD, base_url=server.url))
    got = the_only(server)
    assert (got.method, got.path) == ("POST", "/token")
    assert (
        got.body == b"grant_type=password&username=ana&password=S%C3%A9samo+%26+%C3%A1brete%3D1%2B1%25" + MARK.encode()
    )
    assert got.headers["Content-Type"].lower().split(";")[0] == "application/x-www-form-urlencoded"
    assert got.headers["Content-Length"] == str(len(got.body))
    assert got.headers["Cache-Control"] == "no-cache"
    assert got.headers["Accept"] == "application/json"
    assert "Authorization" not in got.headers
    assert "Expect" not in got.headers


@pytest.mark.parametrize(
    "options", [{"headers": {"Content-Type": "application/json"}}, {"skip_auto_headers": ["Content-Type"]}]
)
async def test_a_form_says_that_it_is_one(server: Api, options: Any) -> None:
    """Whatever the caller's session says of its own requests: a form has a form's Content-Type."""
    answers(server, "/token", {"access_token": "x"})
    async with aiohttp.ClientSession(**options) as http:
        await TokenManager(Peakly(username="ana", password=PASSWORD, base_url=server.url), http=http).token()
    assert the_only(server).headers.getall("Content-Type") == ["application/x-www-form-urlencoded"]


async def test_pago_facils_requests_byte_by_byte(server: Api) -> None:
    """``login`` is JSON; ``createToken`` and ``loginToken`` have a Bearer and an empty body."""
    answers(server, "/login", {"access_token_jwt": "x"})
    answers(server, "/tokens/createToken", {"access_token": "x"})
    answers(server, "/loginToken", {"access_token_jwt": "x"})
    await fetch(PagoFacilLogin(username="ana", password=PASSWORD, base_url=server.url))
    await fetch(PagoFacil(jwt="the.jwt.here", base_url=server.url))
    await fetch(PagoFacilJWT(access_token="access", base_url=server.url))
    await fetch(PagoFacilJWT(access_token="access", lifetime=60, base_url=server.url))
    login, create, exchange, limited = server.got
    assert json.loads(login.body or b"") == {"username": "ana", "password": PASSWORD}
    assert login.headers["Content-Type"] == "application/json"
    for got in (create, exchange):
        assert got.body == b""
        assert got.headers.get("Content-Length", "0") == "0"
    assert (create.bearer, exchange.bearer, limited.bearer) == ("the.jwt.here", "access", "access")
    assert set(json.loads(limited.body or b"")) == {"expDate"}
    assert {got.headers["Cache-Control"] for got in server.got} == {"no-cache"}


def the_only(server: Api) -> Got:
    (got,) = server.got
    return got


async def test_a_shared_session_changes_nothing(server: Api) -> None:
    """A session given as ``http=`` lends its connections: neither its raising nor its middlewares apply."""
    answers(server, "/token", {"access_token": "x"})

    async def spy(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        pytest.fail("a token request passed a middleware")

    async with aiohttp.ClientSession(raise_for_status=True, middlewares=(spy,)) as http:
        manager = TokenManager(Peakly(username="ana", password="pw", base_url=server.url), http=http)
        assert (await manager.token()).value == "x"

        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.json_response({"error": "invalid_grant"}, status=400)

        server.routes["/token"] = refuse
        with pytest.raises(CredentialsRejected):
            await manager.refresh()


# --- Answers that no mock can give


def says(server: Api, body: bytes, *, status: int = 200, chunks: int = 1, **headers: str) -> None:
    async def route(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={name.replace("_", "-"): v for name, v in headers.items()})
        await response.prepare(request)
        for _ in range(chunks):
            await response.write(body)
        return response

    server.routes["/token"] = route


GOOD = b'{"access_token": "new-token", "expires_in": 60}'


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_an_endless_answer(server: Api, status: int) -> None:
    """Of an answer without end 1 MiB is read, and its connection closed."""
    says(server, b" " * 65_536, chunks=1000, status=status)
    provider = Peakly(username="ana", password=PASSWORD, base_url=server.url)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(InvalidTokenResponse, match="1 MiB") as caught:
            await provider.fetch(http, None)
        assert caught.value.status == status
        assert connections_of(http) == (0, [])


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
async def test_the_largest_answer(server: Api, extra: int, *, fits: bool) -> None:
    """1 MiB is read, one byte more is not."""
    says(server, GOOD + b" " * ((1 << 20) - len(GOOD) + extra))
    provider = Peakly(username="ana", password="pw", base_url=server.url)
    if fits:
        assert (await fetch(provider)).value == "new-token"
    else:
        with pytest.raises(InvalidTokenResponse):
            await fetch(provider)


async def test_a_compressed_bomb(server: Api) -> None:
    """The limit counts what comes out of a compressed answer."""
    import gzip

    says(server, gzip.compress(GOOD[:-1] + b" " * (64 << 20) + b"}"), Content_Encoding="gzip")
    # aiohttp 3.13 gives up by itself.
    with pytest.raises((InvalidTokenResponse, TokenEndpointUnavailable), match=r"1 MiB|ClientPayloadError"):
        await fetch(Peakly(username="ana", password="pw", base_url=server.url))


async def test_a_compressed_answer(server: Api) -> None:
    """A compressed answer is read."""
    import gzip

    says(server, gzip.compress(GOOD), Content_Encoding="gzip")
    assert (await fetch(Peakly(username="ana", password="pw", base_url=server.url))).value == "new-token"


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, TokenEndpointUnavailable), (503, TokenEndpointUnavailable), (401, CredentialsRejected)],
)
async def test_a_broken_compression(server: Api, status: int, error: type[AuthError]) -> None:
    """Bytes that can't be decompressed are trouble on the way; but a refusal is one, whatever is in it."""
    says(server, b"this is no gzip", status=status, Content_Encoding="gzip")
    with pytest.raises(error):
        await fetch(Peakly(username="ana", password="pw", base_url=server.url))


async def test_no_server() -> None:
    """A port where nobody listens is transient; the error names the address."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(TokenEndpointUnavailable) as caught:
        await fetch(Peakly(username="ana", password=PASSWORD, base_url=f"http://127.0.0.1:{port}"))
    assert caught.value.endpoint == f"http://127.0.0.1:{port}/token"
    assert "no connection to " in str(caught.value)
    assert PASSWORD not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"]
)
async def test_a_server_that_speaks_something_else(said: bytes) -> None:
    """A connection that ends, or speaks no HTTP, is transient."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(TokenEndpointUnavailable) as caught:
        await fetch(Peakly(username="ana", password=PASSWORD, base_url=url))
    assert PASSWORD not in repr(caught.value)
    server.close()
    await server.wait_closed()


async def test_a_redirect_with_the_password(server: Api) -> None:
    """A 307 from the token endpoint causes no second request: the password is posted to one address only."""
    says(server, b"", status=307, Location="/elsewhere")
    with pytest.raises(InvalidTokenResponse, match="redirect"):
        await fetch(Peakly(username="ana", password=PASSWORD, base_url=server.url))
    assert [got.path for got in server.got] == ["/token"]


# --- With the sandbox


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0], ids=["behind", "level", "ahead"])
async def test_lifetimes_whatever_the_servers_clock_says(sandbox: Sandbox, skew: float) -> None:
    """Both systems' lifetimes are right with servers' clocks that are two hours off, either way."""
    sandbox.configure(clock_skew=skew)
    assert lifetime(await fetch(peakly(sandbox))) == 1209599
    url, username, password = sandbox.pago_facil.url, sandbox.username, sandbox.password
    login = PagoFacilLogin(username=username, password=password, base_url=url)
    assert lifetime(await fetch(login)) == pytest.approx(DAY, abs=2)
    access = PagoFacil(jwt=login, base_url=url)
    assert lifetime(await fetch(access)) == pytest.approx(5 * 365 * DAY, abs=2)
    assert lifetime(await fetch(PagoFacilJWT(access_token=access, base_url=url))) == pytest.approx(365 * DAY, abs=2)
    newer = PagoFacilLogin(username=username, password=password, base_url=url, generation=2)
    assert lifetime(await fetch(newer)) == pytest.approx(DAY, abs=2)


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0], ids=["behind", "level", "ahead"])
async def test_exp_date_whatever_the_servers_clock_says(sandbox: Sandbox, skew: float) -> None:
    """A lifetime that is asked for is what the JWT gets, at the latest from the second one on."""
    sandbox.configure(clock_skew=skew)
    async with TokenManager(chain(sandbox, lifetime=3600)) as manager:
        await manager.token()
        assert lifetime(await manager.refresh()) == pytest.approx(3600, abs=2)


@pytest.mark.parametrize("date", [True, False])
@pytest.mark.parametrize(
    "missing", [("expires_in",), (".issued",), (".expires",), ("expires_in", ".issued"), (".issued", ".expires")]
)
async def test_missing_fields(*, sandbox: Sandbox, missing: tuple[str, ...], date: bool) -> None:
    """Any of Peakly's time fields may be missing."""
    sandbox.peakly.configure(date_header=date)
    sandbox.peakly.token_faults.missing_fields(*missing)
    assert lifetime(await fetch(peakly(sandbox))) == pytest.approx(14 * DAY, abs=2)


async def test_no_lifetime_at_all(sandbox: Sandbox) -> None:
    """Without all three the lifetime is unknown."""
    sandbox.peakly.token_faults.missing_fields("expires_in", ".issued", ".expires")
    assert (await fetch(peakly(sandbox))).expires_at is None


UNREADABLE: list[object] = ["abc", float("nan"), float("inf"), [], True, "1e400"]
NO_DATES: list[object] = ["", "abc", 5, [], True]


@pytest.mark.parametrize("value", [*UNREADABLE, 0, -5])
async def test_a_lifetime_that_cant_be_read(sandbox: Sandbox, value: object) -> None:
    """An ``expires_in`` of Peakly's that can't be read, or is spent, is an error that names it."""
    sandbox.peakly.token_faults.replace_fields({"expires_in": value})
    with pytest.raises(InvalidTokenResponse, match="expires_in"):
        await fetch(peakly(sandbox))


@pytest.mark.parametrize("value", NO_DATES)
@pytest.mark.parametrize("field", [".issued", ".expires"])
async def test_a_date_that_cant_be_read_costs_nothing(sandbox: Sandbox, field: str, value: object) -> None:
    """A date of Peakly's that can't be read is ignored, since ``expires_in`` says how long the token lives."""
    sandbox.peakly.token_faults.replace_fields({field: value})
    assert lifetime(await fetch(peakly(sandbox))) == pytest.approx(14 * DAY, abs=2)


@pytest.mark.parametrize(
    ("value", "words"),
    [*((value, "expiration_date") for value in (*UNREADABLE, None, -5)), (0, "expired on arrival")],
)
async def test_an_expiration_date_that_cant_be_read(sandbox: Sandbox, value: object, words: str) -> None:
    """The same for createToken's: the error names the field, or says that the token has expired."""
    sandbox.pago_facil.token_faults.replace_fields({"expiration_date": value}, step="createToken")
    with pytest.raises(InvalidTokenResponse, match=words) as caught:
        await fetch(chain(sandbox))
    assert caught.value.step == "createToken"


async def test_refusals_in_the_systems_own_words(sandbox: Sandbox) -> None:
    """Each endpoint's refusal reaches the caller with its step, status and words, and is sent once."""
    with pytest.raises(CredentialsRejected) as caught:
        await fetch(peakly(sandbox, password="wrong"))
    assert (caught.value.status, caught.value.error_description) == (401, "Usuario/Contraseña invalidos")
    sandbox.peakly.configure(owin_refusals=True)
    with pytest.raises(CredentialsRejected) as caught:
        await fetch(peakly(sandbox, password="wrong"))
    assert (caught.value.status, caught.value.error) == (400, "invalid_grant")
    url = sandbox.pago_facil.url
    for provider, step, statuses in (
        (PagoFacilLogin(username="x", password="wrong", base_url=url), "login", {400}),
        (PagoFacil(jwt="a.b.c", base_url=url), "createToken", {401}),
        (PagoFacilJWT(access_token="abc", base_url=url), "loginToken", {400, 403}),
    ):
        with pytest.raises(CredentialsRejected) as caught:
            await fetch(provider)
        assert (caught.value.provider, caught.value.step) == ("pago-facil", step)
        assert caught.value.status in statuses
    assert sandbox.peakly.counts.token_requests == 2
    assert sandbox.pago_facil.counts.token_requests == 3


@pytest.mark.parametrize("rotate", [True, False])
async def test_refresh_tokens(sandbox: Sandbox, *, rotate: bool) -> None:
    """Refresh tokens are used, rotated or not; each is used once if it is rotated."""
    sandbox.peakly.configure(refresh_tokens=True, rotate_refresh_tokens=rotate)
    async with TokenManager(peakly(sandbox)) as manager:
        await manager.token()
        for _ in range(3):
            await manager.refresh()
    assert sandbox.peakly.counts.by_step == {"password": 1, "refresh_token": 3}
    assert sandbox.peakly.counts.refresh_reuse == 0


async def test_a_refused_refresh_token(sandbox: Sandbox) -> None:
    """A refresh token that was revoked costs one request more, and no error."""
    sandbox.peakly.configure(refresh_tokens=True)
    async with TokenManager(peakly(sandbox)) as manager:
        await manager.token()
        sandbox.peakly.revoke("refresh_token")
        await manager.refresh()
    assert sandbox.peakly.counts.by_step == {"password": 2, "refresh_token": 1}


@pytest.mark.parametrize("how", ["disconnect", "reset"])
async def test_a_lost_answer_to_a_refresh_token(sandbox: Sandbox, how: str) -> None:
    """When the answer that rotates a refresh token is lost, the old one is not sent again: the password is."""
    sandbox.peakly.configure(refresh_tokens=True)
    async with TokenManager(peakly(sandbox), policy=RefreshPolicy(backoff=0.01)) as manager:
        await manager.token()
        if how == "disconnect":
            sandbox.peakly.token_faults.disconnect(times=1, step="refresh_token", processed=True)
        else:
            sandbox.peakly.token_faults.reset(times=1, step="refresh_token")
        await manager.refresh()
    assert sandbox.peakly.counts.by_step == {"password": 2, "refresh_token": 1}
    assert sandbox.peakly.counts.refresh_reuse == 0


@pytest.mark.parametrize("step", ["login", "createToken"])
async def test_a_revoked_link_of_the_chain(sandbox: Sandbox, step: str) -> None:
    """A revoked credential in the middle of the chain is replaced on the way, in one refresh."""
    async with TokenManager(chain(sandbox)) as manager:
        await manager.token()
        sandbox.pago_facil.revoke(step)
        await manager.refresh()
        by_step = dict(sandbox.pago_facil.counts.by_step)
    if step == "login":  # not needed: the access token lives
        assert by_step == {"login": 1, "createToken": 1, "loginToken": 2}
    else:
        assert by_step == {"login": 1, "createToken": 2, "loginToken": 3}


async def test_the_whole_chain_revoked(sandbox: Sandbox) -> None:
    """With everything revoked each step is asked twice at most for a second try, and the caller notices nothing."""
    async with TokenManager(chain(sandbox)) as manager:
        await manager.token()
        sandbox.pago_facil.revoke()
        await manager.refresh()
    assert sandbox.pago_facil.counts.by_step == {"login": 2, "createToken": 3, "loginToken": 3}


@pytest.mark.parametrize("fault", ["server_error", "too_many_requests", "hang", "disconnect", "malformed", "redirect"])
async def test_faults(sandbox: Sandbox, fault: str) -> None:
    """Each fault of an endpoint is the error it should be, within the deadline, and tells no secret."""
    faults = sandbox.peakly.token_faults
    getattr(faults, fault)(*(("https://evil.example/",) if fault == "redirect" else ()))
    kind = InvalidTokenResponse if fault in {"malformed", "redirect"} else TokenEndpointUnavailable
    manager = TokenManager(peakly(sandbox), policy=ONCE)
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(5):
            await manager.token()
    assert sandbox.password not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_a_credential_in_the_query(server: Api) -> None:
    """It reaches the server, beside the address' own query, and nothing that a trace is told at the request's ends."""
    urls: list[Any] = []
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        urls.append(request.url)
        return web.json_response({"access_token": "at-1", "expires_in": 60})

    server.routes["/session"] = answer

    async def note(_: object, __: object, params: Any) -> None:
        seen.append(f"{params.url} {getattr(params, 'response', None)!r} {params!r}")
        if (response := getattr(params, "response", None)) is not None:
            seen.append(f"{response.url} {response.real_url} {response.request_info!r}")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    trace.on_request_end.append(note)
    secret = "in-the-query+&=% ñ"  # which the server's own log shows
    provider = DeclaredProvider(
        name="acme",
        url=f"{server.url}/session?v=1%2B2",
        method="GET",
        credential={"the key": secret},
        sent_as="query",
        fields={"n": 1},
    )
    async with aiohttp.ClientSession(trace_configs=[trace]) as http, TokenManager(provider, http=http) as manager:
        assert (await manager.token()).value == "at-1"
    (url,) = urls
    assert url.raw_query_string.startswith("v=1%2B2&")
    assert dict(url.query) == {"v": "1+2", "n": "1", "the key": secret}
    assert len(seen) == 3
    assert "in-the-query" not in "".join(seen)


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        ({"sent_as": "text", "credential": PASSWORD}, PASSWORD, "text/plain"),
        (
            {"sent_as": "xml", "credential": {"p": PASSWORD}, "fields": "<p>{p}</p>"},
            PASSWORD.replace("&", "&amp;"),
            "text/xml",
        ),
        (
            {"sent_as": "form", "credential": {"basic:me": PASSWORD}, "fields": {"a": "b"}},
            "a=b",
            "application/x-www-form-urlencoded",
        ),
        ({"sent_as": "json", "credential": {"a.b": PASSWORD}}, {"a": {"b": PASSWORD}}, "application/json"),
    ],
)
async def test_bodies(server: Api, options: dict[str, Any], body: Any, content_type: str) -> None:
    """Each body arrives as what it says it is."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "at-1"})

    server.routes["/session"] = answer
    provider = DeclaredProvider(name="acme", url=f"{server.url}/session", **options)
    async with TokenManager(provider) as manager:
        await manager.token()
    (got,) = server.got
    assert got.headers["Content-Type"].partition(";")[0] == content_type
    text = (got.body or b"").decode()
    assert (json.loads(text) == body) if isinstance(body, dict) else (body in text)


async def test_a_credential_in_the_query_when_nobody_answers(server: Api) -> None:
    """It is taken off the request again, so that no error shows it."""

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.query["key"] == PASSWORD
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.routes["/token"] = cut
    provider = DeclaredProvider(
        name="acme", url=f"{server.url}/token", credential={"key": PASSWORD}, sent_as="query", account="ana"
    )
    with pytest.raises(TokenEndpointUnavailable) as caught:
        await fetch(provider)
    frames = [names for function, names in every_frame(caught.value) if not function.startswith("test_")]
    assert MARK not in repr(frames)
