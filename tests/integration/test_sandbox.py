"""The sandbox speaks both systems as their documents say; plain aiohttp clients, real sockets."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import gc
import io
import json
import socket
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from contract_kit import allow_sockets
from harness.canary import PREFIX
from inside_kit import entries_of

import asyncauth.sandbox
from asyncauth.sandbox import DEFAULT_PASSWORD, DEFAULT_USERNAME, Sandbox, sandbox_in_thread
from asyncauth.sandbox.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CREDENTIALS = {"username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}
PASSWORD = {"grant_type": "password", **CREDENTIALS}


class Caller:
    """A plain client that keeps status, headers and body of an answer."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http

    async def __call__(self, method: str, url: str, *, token: str | None = None, **options: Any) -> Any:
        headers = {**options.pop("headers", {}), **({} if token is None else {"Authorization": f"Bearer {token}"})}
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            body = await response.read()
            kind = response.content_type
            return response.status, response.headers, json.loads(body) if kind == "application/json" else body


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(token_prefix=PREFIX) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield Caller(http)


async def peakly_token(sandbox: Sandbox, call: Caller) -> str:
    status, _, answer = await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)
    assert status == 200
    return str(answer["access_token"])


async def login(sandbox: Sandbox, call: Caller) -> str:
    status, _, answer = await call("POST", f"{sandbox.pago_facil.url}/login", json=CREDENTIALS)
    assert status == 200
    return str(answer["access_token_jwt"])


async def created(sandbox: Sandbox, call: Caller) -> str:
    jwt = await login(sandbox, call)
    _, _, answer = await call("POST", f"{sandbox.pago_facil.url}/tokens/createToken", token=jwt)
    return str(answer["access_token"])


def claims(jwt: str) -> dict[str, Any]:
    middle = jwt.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return decoded


def epoch(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()


# --- Peakly


async def test_peakly_answers_as_an_owin_server_does(sandbox: Sandbox, call: Caller) -> None:
    """The token answer has OWIN's fields, dotted names, truncated expires_in and headers."""
    status, headers, answer = await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)
    assert status == 200
    assert headers["Content-Type"] == "application/json;charset=UTF-8"
    assert (headers["Cache-Control"], headers["Pragma"], headers["Expires"]) == ("no-cache", "no-cache", "-1")
    assert set(answer) == {
        "access_token", "token_type", "expires_in", "organizacionActual", "userName", ".issued", ".expires",
    }  # fmt: skip
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 1209599
    assert epoch(answer[".expires"]) - epoch(answer[".issued"]) == 1209600
    assert answer[".issued"] == headers["Date"]
    assert abs(epoch(headers["Date"]) - time.time()) < 3


@pytest.mark.parametrize(
    ("lifetime", "expires_in", "dates_apart"),
    [(0.5, 0.5, 1), (1, 1, 1), (1.5, 1, 2), (2, 1, 2), (2.5, 2, 3), (3600, 3599, 3600), (0, 0, 0)],
)
async def test_peakly_never_promises_more_than_the_lifetime(
    sandbox: Sandbox, call: Caller, lifetime: float, expires_in: float, dates_apart: int
) -> None:
    """expires_in is cut to whole seconds below the lifetime, short ones are sent as they are."""
    sandbox.peakly.settings.lifetime = lifetime
    _, _, answer = await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)
    assert answer["expires_in"] == expires_in
    assert epoch(answer[".expires"]) - epoch(answer[".issued"]) == dates_apart


async def test_expires_in_may_be_sent_in_full(sandbox: Sandbox, call: Caller) -> None:
    """truncate_expires_in=False sends the lifetime as it is."""
    sandbox.peakly.configure(lifetime=2, truncate_expires_in=False)
    _, _, answer = await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)
    assert answer["expires_in"] == 2


@pytest.mark.parametrize("change", [{"username": "x"}, {"password": "x"}, {"password": "ñ"}, {"username": ""}])
async def test_peakly_refuses_in_its_own_words(sandbox: Sandbox, call: Caller, change: dict[str, str]) -> None:
    """Wrong credentials are 401 with Peakly's message, or OWIN's 400 where that is switched on."""
    url = f"{sandbox.peakly.url}/token"
    status, _, answer = await call("POST", url, data={**PASSWORD, **change})
    assert (status, answer) == (401, {"message": "Usuario/Contraseña invalidos"})
    sandbox.peakly.configure(owin_refusals=True)
    status, _, answer = await call("POST", url, data={**PASSWORD, **change})
    assert (status, answer["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "body",
    [
        {"data": {**PASSWORD, "grant_type": "client_credentials"}},
        {"data": {"grant_type": "refresh_token", "refresh_token": "x"}},
        {"json": PASSWORD},
        {"data": b"\xff=\xfe", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {},
    ],
    ids=["client_credentials", "refresh_off", "json", "not_utf8", "empty"],
)
async def test_peakly_takes_nothing_but_its_grants_in_a_form(
    sandbox: Sandbox, call: Caller, body: dict[str, Any]
) -> None:
    """Other grants and other encodings are 400 unsupported_grant_type, counted as such."""
    status, _, answer = await call("POST", f"{sandbox.peakly.url}/token", **body)
    assert (status, answer) == (400, {"error": "unsupported_grant_type"})
    assert sandbox.peakly.counts.by_step == {"unsupported": 1}


async def test_refresh_tokens_rotate_and_reuse_revokes_the_family(sandbox: Sandbox, call: Caller) -> None:
    """A refresh token works once; used again, it costs the whole family and is counted."""
    sandbox.peakly.configure(refresh_tokens=True)
    url = f"{sandbox.peakly.url}/token"
    _, _, first = await call("POST", url, data=PASSWORD)
    _, _, stranger = await call("POST", url, data=PASSWORD)

    async def refresh(value: str) -> tuple[int, dict[str, Any]]:
        status, _, answer = await call("POST", url, data={"grant_type": "refresh_token", "refresh_token": value})
        return status, answer

    status, second = await refresh(first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    for count in (1, 2):
        assert await refresh(first["refresh_token"]) == (400, {"error": "invalid_grant"})
        assert sandbox.peakly.counts.refresh_reuse == count
    assert (await refresh(second["refresh_token"]))[0] == 400
    assert (await call("GET", f"{sandbox.peakly.url}/api/x", token=second["access_token"]))[0] == 401
    assert (await call("GET", f"{sandbox.peakly.url}/api/x", token=stranger["access_token"]))[0] == 200
    assert (await refresh(stranger["refresh_token"]))[0] == 200
    assert sandbox.peakly.counts.by_step == {"password": 2, "refresh_token": 5}


async def test_refresh_tokens_may_stay_and_may_expire(sandbox: Sandbox, call: Caller) -> None:
    """Without rotation one refresh token serves until its own lifetime ends."""
    sandbox.peakly.configure(refresh_tokens=True, rotate_refresh_tokens=False, refresh_lifetime=0.3)
    url = f"{sandbox.peakly.url}/token"
    _, _, first = await call("POST", url, data=PASSWORD)
    again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    for _ in range(2):
        status, _, answer = await call("POST", url, data=again)
        assert status == 200
        assert "refresh_token" not in answer
    await asyncio.sleep(0.35)
    assert (await call("POST", url, data=again))[0] == 400
    assert sandbox.peakly.counts.refresh_reuse == 0


# --- Pago Fácil


async def test_the_chain_of_tokens(sandbox: Sandbox, call: Caller) -> None:
    """login, createToken and loginToken answer as documented, and the API accepts only the two JWTs."""
    base = sandbox.pago_facil.url
    status, headers, answer = await call("POST", f"{base}/login", json=CREDENTIALS)
    assert (status, set(answer)) == (200, {"access_token_jwt", "expires_in", "token_type"})
    assert (answer["expires_in"], answer["token_type"]) == (86400, "Bearer")
    jwt = answer["access_token_jwt"]
    assert claims(jwt)["exp"] - claims(jwt)["iat"] == 86400
    assert claims(jwt)["iat"] == epoch(headers["Date"])
    status, headers, answer = await call("POST", f"{base}/tokens/createToken", token=jwt)
    assert (status, set(answer)) == (200, {"User", "access_token", "expiration_date", "token_type"})
    assert isinstance(answer["expiration_date"], int)
    assert answer["expiration_date"] - epoch(headers["Date"]) == 5 * 365 * 86400
    access = answer["access_token"]
    status, _, answer = await call("POST", f"{base}/loginToken", token=access)
    assert (status, answer["expires_in"], answer["token_type"]) == (200, 31536000, "Bearer")
    assert (await call("GET", f"{base}/trxs/1", token=jwt))[0] == 200
    assert (await call("GET", f"{base}/trxs/1", token=answer["access_token_jwt"]))[0] == 200
    assert (await call("GET", f"{base}/trxs/1", token=access))[0] == 401
    sandbox.pago_facil.configure(api_accepts_access_tokens=True)
    assert (await call("GET", f"{base}/trxs/1", token=access))[0] == 200
    assert sandbox.pago_facil.counts.by_step == {"login": 1, "createToken": 1, "loginToken": 1}


async def test_the_newer_login_wraps_its_answer(sandbox: Sandbox, call: Caller) -> None:
    """users/login takes user and password and puts the three fields into data."""
    url = f"{sandbox.pago_facil.url}/users/login"
    status, _, answer = await call("POST", url, json={"user": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD})
    assert (status, set(answer)) == (200, {"message", "error", "data"})
    assert set(answer["data"]) == {"access_token_jwt", "expires_in", "token_type"}
    assert (await call("GET", f"{sandbox.pago_facil.url}/trxs", token=answer["data"]["access_token_jwt"]))[0] == 200
    assert (await call("POST", url, json=CREDENTIALS))[0] == 400


async def test_pago_facil_refuses_in_its_own_words(sandbox: Sandbox, call: Caller) -> None:
    """Each step has its own status and words for a refused credential."""
    base = sandbox.pago_facil.url
    wrong = (400, {"error": "Wrong email or password."})
    json_type = {"Content-Type": "application/json"}
    bodies: tuple[dict[str, Any], ...] = (
        {"json": {**CREDENTIALS, "password": "x"}}, {"data": CREDENTIALS}, {"json": []}, {},
        {"data": b"{", "headers": json_type}, {"json": {"username": 1, "password": None}},
    )  # fmt: skip
    for body in bodies:
        status, _, answer = await call("POST", f"{base}/login", **body)
        assert (status, answer) == wrong
    status, _, answer = await call("POST", f"{base}/tokens/createToken", token="x")
    assert (status, answer) == (401, {"message": "Invalid Token"})
    assert (await call("POST", f"{base}/tokens/createToken"))[0] == 401
    status, _, answer = await call("POST", f"{base}/loginToken")
    assert (status, answer) == (400, {"error": "Invalid Authorization Header"})
    status, _, answer = await call("POST", f"{base}/loginToken", headers={"Authorization": "Basic eDp5"})
    assert (status, answer) == (400, {"error": "Invalid Authorization Header"})
    jwt = await login(sandbox, call)
    status, _, answer = await call("POST", f"{base}/loginToken", token=jwt)
    assert (status, answer) == (403, {"error": "Not a valid or expired token"})


async def test_exp_date_limits_the_jwt_by_the_servers_clock(sandbox: Sandbox, call: Caller) -> None:
    """expDate is absolute on the server's clock, shortens the JWT and never lengthens it."""
    sandbox.pago_facil.settings.clock_skew = 7200
    access, url = await created(sandbox, call), f"{sandbox.pago_facil.url}/loginToken"
    until = int(time.time() + 7200 + 600)
    _, _, answer = await call("POST", url, token=access, json={"expDate": until})
    assert 597 <= answer["expires_in"] <= 600
    assert claims(answer["access_token_jwt"])["exp"] == until
    _, _, answer = await call("POST", url, token=access, json={"expDate": until + 10**10})
    assert answer["expires_in"] == 31536000
    for bad in (time.time() + 60, "soon", True, 0, -1):
        assert (await call("POST", url, token=access, json={"expDate": bad}))[0] == 400
    short = time.time() + 7200 + 0.3
    _, _, answer = await call("POST", url, token=access, json={"expDate": short})
    jwt = answer["access_token_jwt"]
    assert 0 < answer["expires_in"] <= 0.3
    assert (await call("GET", f"{sandbox.pago_facil.url}/trxs", token=jwt))[0] == 200
    await asyncio.sleep(0.35)
    assert (await call("GET", f"{sandbox.pago_facil.url}/trxs", token=jwt))[0] == 401


async def test_each_step_has_its_lifetime(sandbox: Sandbox, call: Caller) -> None:
    """Lifetimes are set a step, or all at once."""
    sandbox.pago_facil.configure(lifetime=0.2, create_token_lifetime=60)
    base = sandbox.pago_facil.url
    jwt, access = await login(sandbox, call), await created(sandbox, call)
    await asyncio.sleep(0.25)
    assert (await call("POST", f"{base}/tokens/createToken", token=jwt))[0] == 401
    assert (await call("POST", f"{base}/loginToken", token=access))[0] == 200
    sandbox.pago_facil.settings.lifetime = 7
    assert sandbox.pago_facil.settings.create_token_lifetime == sandbox.pago_facil.settings.lifetime == 7


# --- what both share


async def test_a_token_dies_after_its_lifetime_whatever_the_clock_says(sandbox: Sandbox, call: Caller) -> None:
    """Skew moves dates and claims; a token lives its lifetime by the server's monotonic clock."""
    sandbox.configure(lifetime=0.4, clock_skew=-3600)
    started = time.monotonic()
    token, jwt = await peakly_token(sandbox, call), await login(sandbox, call)
    issued = time.monotonic()
    status, headers, _ = await call("GET", f"{sandbox.peakly.url}/api/x", token=token)
    assert status == 200
    assert abs(epoch(headers["Date"]) - (time.time() - 3600)) < 3
    assert abs(claims(jwt)["iat"] - (time.time() - 3600)) < 3
    sandbox.configure(clock_skew=3600)
    if time.monotonic() - started < 0.3:
        assert (await call("GET", f"{sandbox.peakly.url}/api/x", token=token))[0] == 200
    await asyncio.sleep(max(0.0, issued + 0.41 - time.monotonic()))
    assert (await call("GET", f"{sandbox.peakly.url}/api/x", token=token))[0] == 401
    assert (await call("GET", f"{sandbox.pago_facil.url}/trxs", token=jwt))[0] == 401


async def test_the_api_echoes_without_the_token(sandbox: Sandbox, call: Caller) -> None:
    """The echo tells method, path, query, type, length, text and headers, never the Authorization value."""
    token = await peakly_token(sandbox, call)
    status, headers, answer = await call(
        "PUT", f"{sandbox.peakly.url}/api/a/b?x=1&x=2", token=token, data="año", headers={"X-Trace": "7"}
    )
    assert (status, headers["Content-Type"]) == (200, "application/json;charset=UTF-8")
    assert (answer["method"], answer["path"], answer["query"]) == ("PUT", "/api/a/b", {"x": ["1", "2"]})
    assert (answer["text"], answer["length"]) == ("año", 4)
    assert (answer["content_type"], answer["headers"]["X-Trace"]) == ("text/plain; charset=utf-8", "7")
    assert token not in json.dumps(answer)
    _, _, answer = await call("POST", f"{sandbox.peakly.url}/api/x", token=token, data=io.BytesIO(b"x" * 2_000_000))
    assert (answer["length"], answer["text"]) == (2_000_000, None)
    _, _, answer = await call("POST", f"{sandbox.peakly.url}/api/x", token=token, data=b"\xff")
    assert (answer["length"], answer["text"]) == (1, None)
    _, _, answer = await call("POST", f"{sandbox.peakly.url}/api/x", token=token, data=b"go", expect100=True)
    assert answer["text"] == "go"


async def test_the_api_refuses_with_the_challenge_that_is_set(sandbox: Sandbox, call: Caller) -> None:
    """The API's 401 carries Peakly's words, a challenge that can be changed, and any size."""
    url = f"{sandbox.peakly.url}/api/x"
    status, headers, answer = await call("GET", url)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer == {"message": "Authorization has been denied for this request."}
    for challenge in ('Bearer error="insufficient_scope"', 'Basic realm="x"', None):
        sandbox.peakly.settings.www_authenticate = challenge
        _, headers, _ = await call("GET", url, token="wrong")
        assert headers.get("WWW-Authenticate") == challenge
    sandbox.peakly.settings.big_refusal = 3_000_000
    _, headers, _ = await call("GET", url)
    assert int(headers["Content-Length"]) >= 3_000_000
    status, headers, answer = await call("GET", f"{sandbox.pago_facil.url}/trxs")
    assert (status, "WWW-Authenticate" in headers, answer) == (401, False, {"message": "Invalid Token"})


async def test_resources_with_a_will_of_their_own(sandbox: Sandbox, call: Caller) -> None:
    """forbidden always refuses, redirect redirects, slow takes its time; mistakes are 400."""
    token, base = await peakly_token(sandbox, call), sandbox.peakly.url
    assert (await call("GET", f"{base}/api/forbidden", token=token))[0] == 401
    status, headers, _ = await call("GET", f"{base}/api/redirect?to=http://localhost:1/x", token=token)
    assert (status, headers["Location"]) == (307, "http://localhost:1/x")
    assert (await call("GET", f"{base}/api/redirect?to=/x&status=302", token=token))[0] == 302
    started = time.monotonic()
    assert (await call("GET", f"{base}/api/slow?seconds=0.2", token=token))[0] == 200
    assert time.monotonic() - started >= 0.2
    for bad in ("slow?seconds=x", "slow?seconds=-1", "slow?seconds=nan", "redirect", "redirect?to=/&status=200",
                "redirect?to=%0d%0aX:1", "ws"):  # fmt: skip
        assert (await call("GET", f"{base}/api/{bad}", token=token))[0] == 400, bad


async def test_a_websocket_needs_the_token_at_its_handshake(sandbox: Sandbox, call: Caller) -> None:
    """The WebSocket echo refuses without a token and echoes text and bytes with one."""
    url = f"{sandbox.pago_facil.url}/api/ws"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await call.http.ws_connect(url)
    assert refused.value.status == 401
    jwt = await login(sandbox, call)
    async with call.http.ws_connect(url, headers={"Authorization": f"Bearer {jwt}"}) as ws:
        await ws.send_str("hola")
        assert await ws.receive_str() == "hola"
        await ws.send_bytes(b"\x00")
        assert await ws.receive_bytes() == b"\x00"


async def test_a_websocket_message_that_cannot_be_read_ends_it(sandbox: Sandbox, call: Caller) -> None:
    """After text that is not UTF-8, the server closes with 1007 and echoes nothing."""
    jwt = await login(sandbox, call)
    url = f"{sandbox.pago_facil.url}/api/ws"
    async with call.http.ws_connect(url, headers={"Authorization": f"Bearer {jwt}"}) as ws:
        await ws.send_frame(b"\xff", aiohttp.WSMsgType.TEXT)
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.INVALID_TEXT)


async def test_a_body_that_is_too_large_is_refused(sandbox: Sandbox, call: Caller) -> None:
    """More than 1 MiB is 413, as JSON, and no token request."""
    status, _, answer = await call("POST", f"{sandbox.peakly.url}/token", data=io.BytesIO(b"x=" + b"y" * 2**20))
    assert (status, answer["message"]) == (413, HTTPStatus(413).phrase)
    assert sandbox.peakly.counts.token_requests == 0


async def test_dead_tokens_leave_the_book(sandbox: Sandbox) -> None:
    """Thousands of tokens that died take no room: the book is swept when it has grown, and keeps who lives."""
    book = Ledger()
    book.issue("lives", "access", lifetime=10_000.0, now=0.0)
    for number in range(10_000):
        book.issue(f"token {number}", "access", lifetime=1.0, now=float(number))
    assert len(entries_of(book)) < 4200
    assert book.alive("lives", {"access"}, 9_999.0)
    assert book.living(9_999.0) == {"access": 2}


async def test_revoking_kills_tokens_at_once(sandbox: Sandbox, call: Caller) -> None:
    """revoke() revokes all tokens of a system, or those of one step, and returns how many."""
    jwt, access = await login(sandbox, call), await created(sandbox, call)
    base = sandbox.pago_facil.url
    assert sandbox.pago_facil.revoke("createToken") == 1
    assert (await call("POST", f"{base}/loginToken", token=access))[0] == 403
    assert (await call("GET", f"{base}/trxs", token=jwt))[0] == 200
    assert sandbox.pago_facil.revoke() == 2
    assert (await call("GET", f"{base}/trxs", token=jwt))[0] == 401
    with pytest.raises(ValueError, match="unknown step"):
        sandbox.pago_facil.revoke("nope")
    await peakly_token(sandbox, call)
    assert sandbox.revoke() == 1


async def test_credentials_and_latency_can_be_changed(sandbox: Sandbox, call: Caller) -> None:
    """A changed password makes the old one wrong; latency delays each kind of request."""
    sandbox.configure(token_latency=0.2, api_latency=0.1)
    started = time.monotonic()
    token = await peakly_token(sandbox, call)
    assert time.monotonic() - started >= 0.2
    started = time.monotonic()
    await call("GET", f"{sandbox.peakly.url}/api/x", token=token)
    assert time.monotonic() - started >= 0.1
    sandbox.configure(token_latency=0, password="another")
    assert (await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD))[0] == 401
    assert (await call("POST", f"{sandbox.pago_facil.url}/login", json=CREDENTIALS))[0] == 400
    sandbox.configure(accept_any_username=True)
    anyone = {"grant_type": "password", "username": "tenant-7", "password": "another"}
    assert (await call("POST", f"{sandbox.peakly.url}/token", data=anyone))[0] == 200


async def test_answers_may_come_without_a_date(sandbox: Sandbox, call: Caller) -> None:
    """date_header=False leaves Date out of every answer."""
    sandbox.configure(date_header=False)
    _, headers, answer = await call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)
    assert "Date" not in headers
    status, headers, _ = await call("GET", f"{sandbox.peakly.url}/api/x", token=answer["access_token"])
    assert (status, "Date" in headers) == (200, False)


async def test_requests_are_counted(sandbox: Sandbox, call: Caller) -> None:
    """Counts tell token requests by step and API requests by outcome, and start anew on demand."""
    sandbox.peakly.settings.token_latency = 0.1
    token = (await asyncio.gather(*(peakly_token(sandbox, call) for _ in range(5))))[0]
    for value in (token, token, "wrong"):
        await call("GET", f"{sandbox.peakly.url}/api/x", token=value)
    counts = sandbox.peakly.counts
    assert (counts.token_requests, counts.by_step, counts.tokens_issued) == (5, {"password": 5}, 5)
    assert counts.token_peak == 5
    assert (counts.api_requests, counts.api_ok, counts.api_refused) == (3, 2, 1)
    sandbox.reset_counts()
    assert (sandbox.peakly.counts.token_requests, sandbox.peakly.counts.api_requests, len(sandbox.log)) == (0, 0, 0)
    assert (await call("GET", f"{sandbox.peakly.url}/api/x", token=token))[0] == 200


async def test_the_log_keeps_no_secret(sandbox: Sandbox, call: Caller) -> None:
    """The log records what was asked without query, headers and bodies; no repr shows a secret."""
    token = await peakly_token(sandbox, call)
    await call("GET", f"{sandbox.peakly.url}/api/x?token={token}", token=token)
    first, second = sandbox.log
    assert (first.system, first.kind, first.method, first.path) == ("peakly", "token", "POST", "/token")
    assert (first.status, first.step) == (200, "password")
    assert (second.kind, second.path, second.step) == ("api", "/api/x", None)
    assert abs(first.time - time.time()) < 5
    assert 0 <= first.seconds < 5
    shown = repr([sandbox, sandbox.log, sandbox.peakly, vars(sandbox.peakly), sandbox.state()])
    assert token not in shown
    assert DEFAULT_PASSWORD not in shown


async def test_the_log_says_why_a_request_was_refused(sandbox: Sandbox, call: Caller) -> None:
    """Each refusal by its code: of the API, of the token requests, and whose fault it was."""
    peakly, pago_facil = sandbox.peakly, sandbox.pago_facil
    peakly.configure(refresh_tokens=True, rotate_refresh_tokens=True)

    def why() -> str | None:
        return sandbox.log[-1].details.why

    async def api(token: str | None, path: str = "/api/x", **options: Any) -> str | None:
        await call("GET", f"{peakly.url}{path}", token=token, **options)
        return why()

    async def form(**fields: str) -> tuple[str | None, Any]:
        given = {"grant_type": "password", "username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD, **fields}
        _, _, answer = await call("POST", f"{peakly.url}/token", data=given)
        return why(), answer

    assert await api(None) == "no_token"
    assert await api(None, headers={"Authorization": "Basic x"}) == "no_bearer"
    assert await api("never-issued") == "unknown_token"
    refused, answer = await form()
    assert refused is None
    assert sandbox.log[-1].details.issued == peakly.tokens(2)[1].fingerprint
    assert await api(answer["access_token"]) is None
    assert sandbox.log[-1].details.echo
    assert await api(answer["access_token"], "/api/forbidden") == "forbidden_path"
    assert await api(answer["refresh_token"]) == "other_kind"
    peakly.revoke("access_token")
    assert await api(answer["access_token"]) == "revoked_token"
    peakly.settings.lifetime = 0.01
    _, short = await form()
    await asyncio.sleep(0.02)
    assert await api(short["access_token"]) == "expired_token"
    assert (await form(username="somebody"))[0] == "wrong_username"
    assert (await form(password="wrong"))[0] == "wrong_password"
    assert (await form(grant_type="magic"))[0] == "unsupported_grant"
    await call("POST", f"{peakly.url}/token", json={})
    assert why() == "no_form"
    for expected in (None, "reused_token"):
        assert (await form(grant_type="refresh_token", refresh_token=answer["refresh_token"]))[0] == expected
    assert (await form(grant_type="refresh_token", refresh_token="unknown"))[0] == "unknown_token"
    for path, token, expected in (
        ("login", None, "wrong_username"),
        ("tokens/createToken", None, "no_token"),
        ("tokens/createToken", "unknown", "unknown_token"),
        ("loginToken", None, "no_token"),
        ("loginToken", await login(sandbox, call), "other_kind"),
    ):
        await call("POST", f"{pago_facil.url}/{path}", token=token, json={})
        assert why() == expected, path
    access = await created(sandbox, call)
    await call("POST", f"{pago_facil.url}/loginToken", token=access, json={"expDate": 5})
    assert why() == "past_date"
    peakly.api_faults.server_error(times=1)
    peakly.token_faults.server_error(times=1)
    await api("x")
    assert sandbox.log[-1].details.fault == "server_error"
    await form()
    assert sandbox.log[-1].details.fault == "server_error"


async def test_the_log_is_bounded() -> None:
    """The log keeps the last requests only."""
    async with Sandbox(log_size=3) as sandbox, aiohttp.ClientSession() as http:
        for number in range(5):
            await Caller(http)("GET", f"{sandbox.peakly.url}/api/{number}")
        assert [record.path for record in sandbox.log] == ["/api/2", "/api/3", "/api/4"]


# --- the sandbox itself


def test_it_shares_no_code_with_the_library() -> None:
    """No file of the sandbox imports anything of asyncauth outside itself."""
    for path in Path(asyncauth.sandbox.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                named = [node.module or ""]
            ours = [name for name in named if name.split(".")[0] == "asyncauth"]
            assert all(f"{name}.".startswith("asyncauth.sandbox.") for name in ours), path


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", ""])  # noqa: S104 - it is refused
def test_only_loopback_unless_permitted(host: str) -> None:
    """A host that others can reach is refused unless it is permitted."""
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(host=host)
    Sandbox(host=host, allow_remote=True)


@pytest.mark.parametrize(
    "options",
    [
        {"lifetime": -1}, {"lifetime": float("nan")}, {"lifetime": True}, {"token_latency": "1"},
        {"username": ""}, {"clock_skew": float("inf")}, {"refresh_tokens": 1}, {"token_prefix": "a b"},
        {"token_prefix": "x" * 65},
    ],
)  # fmt: skip
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """A value that can't be used is a ValueError that names it."""
    with pytest.raises(ValueError, match=r"lifetime|token_latency|username|clock_skew|refresh_tokens|token_prefix"):
        Sandbox(**options)


def test_settings_change_all_or_nothing() -> None:
    """A bad name or value changes nothing and shows no value."""
    sandbox = Sandbox()
    with pytest.raises(ValueError, match="unknown setting 'lifetme'"):
        sandbox.peakly.configure(lifetime=3, lifetme=4)
    with pytest.raises(ValueError, match="big_refusal"):
        sandbox.configure(username="someone", big_refusal=-1)
    with pytest.raises(ValueError, match="password must be") as refused:
        sandbox.configure(password=["geheim"])
    assert "geheim" not in str(refused.value)
    with pytest.raises(ValueError, match="lifetime"):
        sandbox.peakly.settings.lifetime = -1
    with pytest.raises(ValueError, match="www_authenticate"):
        sandbox.peakly.settings.www_authenticate = "Bearer\r\nX: 1"
    assert sandbox.state() == Sandbox().state()


def test_a_sandbox_that_does_not_run_can_be_set_back() -> None:
    """reset() before the start: the first settings, and nothing that would need a loop."""
    sandbox = Sandbox(lifetime=60)
    sandbox.peakly.configure(lifetime=5)
    sandbox.peakly.reset()
    assert sandbox.peakly.settings.lifetime == 60
    assert not sandbox.peakly.accepting


async def test_it_starts_once_and_starts_again() -> None:
    """A running sandbox can't be entered; one that ended can, on the same fixed port."""
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.peakly.refuse_connections()
    async with sandbox:
        port = sandbox.peakly.port
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.start()
        assert sandbox.peakly.accepting
        with pytest.raises(OSError, match="in use"):
            await Sandbox(pago_facil_port=port).start()
    await sandbox.stop()
    async with Sandbox(peakly_port=port) as again, aiohttp.ClientSession() as http:
        assert again.peakly.url == f"http://127.0.0.1:{port}"
        assert (await Caller(http)("GET", f"{again.peakly.url}/api/x"))[0] == 401


@pytest.mark.parametrize("rounds", range(6))
def test_ending_leaves_no_connection_that_was_just_accepted(rounds: int) -> None:
    """A connection may come at any moment before the end, even in the loop's last rounds."""

    async def end(sandbox: Sandbox) -> None:
        with socket.create_connection(("127.0.0.1", sandbox.peakly.port)):
            for _ in range(rounds):
                await asyncio.sleep(0)
            await sandbox.stop()

    loop = asyncio.new_event_loop()  # closed at once, as `sandbox_in_thread` does
    with contextlib.closing(loop):
        sandbox = Sandbox()
        loop.run_until_complete(sandbox.start())
        loop.run_until_complete(end(sandbox))
        assert not asyncio.all_tasks(loop)
    gc.collect()  # what is left open warns


async def test_ending_waits_for_no_answer_and_leaves_nothing(call: Caller) -> None:
    """Leaving ends hanging requests, slow answers and WebSockets without an answer and leaves no task behind."""
    before = asyncio.all_tasks()
    async with Sandbox() as sandbox:
        token = await peakly_token(sandbox, call)
        sandbox.peakly.token_faults.hang()
        ws = await call.http.ws_connect(f"{sandbox.peakly.url}/api/ws", headers={"Authorization": f"Bearer {token}"})
        waiting = [
            asyncio.create_task(call("POST", f"{sandbox.peakly.url}/token", data=PASSWORD)),
            asyncio.create_task(call("GET", f"{sandbox.peakly.url}/api/slow?seconds=60", token=token)),
        ]
        counts = sandbox.peakly.counts
        while (counts.token_requests, counts.api_requests) != (2, 2):  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.01)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes)
    await ws.close()
    assert asyncio.all_tasks() == before
    assert [record.status for record in sandbox.log][-2:] == [None, None]


async def test_many_callers_at_once(sandbox: Sandbox) -> None:
    """A thousand callers with a connection each are all served."""
    allow_sockets(4_000)
    sandbox.peakly.settings.token_latency = 0.2
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        tokens = await asyncio.gather(*(peakly_token(sandbox, Caller(http)) for _ in range(1000)))
    assert len(set(tokens)) == sandbox.peakly.counts.tokens_issued == 1000


def test_it_serves_clients_on_other_loops() -> None:
    """In a thread of its own it serves one event loop after another, and its controls work from outside."""

    async def visit(sandbox: Sandbox) -> int:
        async with aiohttp.ClientSession() as http:
            call = Caller(http)
            token = await peakly_token(sandbox, call)
            assert sandbox.peakly.revoke() == 1
            sandbox.pago_facil.refuse_connections()
            with pytest.raises(aiohttp.ClientConnectorError):
                await login(sandbox, call)
            sandbox.pago_facil.accept_connections()
            await login(sandbox, call)
            status: int = (await call("GET", f"{sandbox.peakly.url}/api/x", token=token))[0]
            return status

    with sandbox_in_thread(lifetime=60) as sandbox:
        assert [asyncio.run(visit(sandbox)), asyncio.run(visit(sandbox))] == [401, 401]
    assert not sandbox.peakly.accepting
    with pytest.raises(ValueError, match="lifetime"), sandbox_in_thread(lifetime=-1):
        pass
