"""Every fault of the sandbox, as a plain client meets it."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from harness.canary import PREFIX

from asyncauth.sandbox import DEFAULT_PASSWORD, DEFAULT_USERNAME, Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORM = {"grant_type": "password", "username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}
LOGIN = {"username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(token_prefix=PREFIX) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield http


class Got:
    """One answer, read to its end."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def token(sandbox: Sandbox, http: aiohttp.ClientSession) -> Got:
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM, allow_redirects=False) as response:
        return Got(response, await response.read())


async def login(sandbox: Sandbox, http: aiohttp.ClientSession) -> Got:
    async with http.post(f"{sandbox.pago_facil.url}/login", json=LOGIN, allow_redirects=False) as response:
        return Got(response, await response.read())


async def api(sandbox: Sandbox, http: aiohttp.ClientSession, value: str, path: str = "/api/x") -> Got:
    headers = {"Authorization": f"Bearer {value}"}
    async with http.get(sandbox.peakly.url + path, headers=headers, allow_redirects=False) as response:
        return Got(response, await response.read())


async def test_refused_connections_come_back_on_the_same_port(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The socket really closes, kept-alive connections die, and the port is the same afterwards."""
    await token(sandbox, http)
    port = sandbox.peakly.port
    sandbox.peakly.refuse_connections()
    assert not sandbox.peakly.accepting
    with pytest.raises(aiohttp.ClientOSError):  # the kept-alive connection, which may be found dead in use
        await token(sandbox, http)
    for _ in range(3):
        with pytest.raises(aiohttp.ClientConnectorError):
            await token(sandbox, http)
    assert (await login(sandbox, http)).status == 200
    sandbox.peakly.accept_connections()
    sandbox.peakly.accept_connections()
    assert (await token(sandbox, http)).status == 200
    assert sandbox.peakly.port == port
    for _ in range(20):
        sandbox.peakly.refuse_connections()
        sandbox.peakly.accept_connections()
    await asyncio.sleep(0.05)  # for the client to see that its connection is dead
    assert (await token(sandbox, http)).status == 200
    assert sandbox.peakly.counts.token_requests == 3


async def test_connections_may_be_refused_for_a_while(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """With seconds given, the listener comes back by itself; a later order replaces the earlier."""
    sandbox.peakly.refuse_connections(seconds=0.05)
    sandbox.peakly.refuse_connections(seconds=0.3)
    await asyncio.sleep(0.15)
    with pytest.raises(aiohttp.ClientConnectorError):
        await token(sandbox, http)
    await asyncio.sleep(0.25)
    assert (await token(sandbox, http)).status == 200


async def test_ending_while_connections_are_refused() -> None:
    """A sandbox that refuses connections ends as cleanly as any."""
    async with Sandbox() as sandbox:
        sandbox.peakly.refuse_connections(seconds=60)
        sandbox.pago_facil.refuse_connections()


async def test_kept_alive_connections_can_be_aborted(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """abort_connections() ends what is open and accepts what is new."""
    sandbox.peakly.token_faults.hang(times=1)
    waiting = asyncio.create_task(token(sandbox, http))
    await asyncio.sleep(0.05)
    sandbox.peakly.abort_connections()
    with pytest.raises(aiohttp.ClientError):
        await waiting
    assert (await token(sandbox, http)).status == 200


async def test_reset_in_the_middle_of_the_answer(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Headers and half of a real answer arrive, then the connection is reset; the token was issued."""
    sandbox.peakly.token_faults.reset(times=1)
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM) as response:
        assert response.status == 200
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await response.read()
    assert sandbox.peakly.counts.tokens_issued == 1
    value = (await token(sandbox, http)).json["access_token"]
    sandbox.peakly.api_faults.reset(times=1)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        await api(sandbox, http, value)
    assert (await api(sandbox, http, value)).status == 200
    assert [record.status for record in sandbox.log] == [None, 200, None, 200]


@pytest.mark.parametrize("processed", [False, True])
async def test_hanging_and_disconnecting(sandbox: Sandbox, http: aiohttp.ClientSession, *, processed: bool) -> None:
    """Neither answers a byte; processed says whether the request took effect."""
    faults = sandbox.peakly.token_faults
    faults.hang(times=1, processed=processed)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(token(sandbox, http), 0.2)
    faults.disconnect(times=1, processed=processed)
    # A fresh session: aiohttp sends a request again by itself when a reused connection has died.
    async with aiohttp.ClientSession() as fresh:
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await token(sandbox, fresh)
    assert sandbox.peakly.counts.tokens_issued == (2 if processed else 0)
    assert (await token(sandbox, http)).status == 200
    assert sandbox.peakly.counts.token_requests == 3


async def test_server_errors_are_html(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A 5xx has an HTML body, the status asked for and Retry-After where it is wanted."""
    sandbox.peakly.token_faults.server_error(times=1)
    sandbox.peakly.token_faults.server_error(502, retry_after=2, times=1)
    first, second = await token(sandbox, http), await token(sandbox, http)
    assert (first.status, first.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert b"<html>" in first.body
    assert "Retry-After" not in first.headers
    assert (second.status, second.headers["Retry-After"]) == (502, "2")
    assert (await token(sandbox, http)).status == 200


async def test_too_many_requests(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """429 carries Retry-After in seconds, as a date of the server's clock, or as any text given."""
    sandbox.peakly.settings.clock_skew = 5000
    faults = sandbox.peakly.token_faults
    for wait in (1000000, 0.5, "Wed, 21 Oct 2015 07:28:00 GMT", None):
        faults.clear()
        faults.too_many_requests(wait)
        got = await token(sandbox, http)
        assert (got.status, got.headers.get("Retry-After")) == (429, None if wait is None else str(wait))
    faults.clear()
    faults.too_many_requests(60, as_date=True)
    got = await token(sandbox, http)
    retry, date = (parsedate_to_datetime(got.headers[name]).timestamp() for name in ("Retry-After", "Date"))
    assert retry - date in {60, 59}


async def test_malformed_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """200 with incomplete JSON, for tokens and for the API."""
    sandbox.peakly.token_faults.malformed(times=1)
    sandbox.peakly.api_faults.malformed(times=1)
    for got in (await token(sandbox, http), await api(sandbox, http, "x")):
        assert (got.status, got.headers["Content-Type"]) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            _ = got.json


async def test_fields_can_be_missing_or_replaced(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Fields are taken out or replaced, inside data where the answer is wrapped; refusals stay as they are."""
    sandbox.peakly.token_faults.missing_fields("expires_in", ".issued", ".expires", times=1)
    assert set((await token(sandbox, http)).json) == {"access_token", "token_type", "organizacionActual", "userName"}
    for value in (0, "abc", None, "3600", 3600.5):
        sandbox.pago_facil.token_faults.replace_fields({"expires_in": value}, times=1)
        got = await login(sandbox, http)
        assert got.json["expires_in"] == value
        assert "Date" in got.headers
    sandbox.pago_facil.token_faults.replace_fields({"expires_in": math.nan})
    assert math.isnan((await login(sandbox, http)).json["expires_in"])
    new = {"user": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}
    sandbox.pago_facil.token_faults.clear()
    sandbox.pago_facil.token_faults.missing_fields("access_token_jwt")
    async with http.post(f"{sandbox.pago_facil.url}/users/login", json=new) as response:
        assert set((await response.json())["data"]) == {"expires_in", "token_type"}
    async with http.post(f"{sandbox.pago_facil.url}/loginToken") as response:
        assert response.status == 400


async def test_wrong_credentials_and_unauthorized(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Right credentials are refused in each endpoint's words, or with the system's 401."""
    sandbox.peakly.token_faults.wrong_credentials(times=1)
    sandbox.peakly.token_faults.unauthorized(times=1)
    first, second = await token(sandbox, http), await token(sandbox, http)
    assert (first.status, first.json) == (401, {"message": "Usuario/Contraseña invalidos"})
    assert (second.status, second.json["message"]) == (401, "Authorization has been denied for this request.")
    sandbox.pago_facil.token_faults.wrong_credentials(times=1)
    assert (await login(sandbox, http)).status == 400
    value = (await token(sandbox, http)).json["access_token"]
    sandbox.peakly.api_faults.unauthorized()
    got = await api(sandbox, http, value)
    assert (got.status, got.headers["WWW-Authenticate"]) == (401, "Bearer")
    sandbox.peakly.api_faults.clear()
    assert (await api(sandbox, http, value)).status == 200


async def test_redirects(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The token endpoint and the API redirect where they are told to."""
    sandbox.peakly.token_faults.redirect("http://localhost:1/steal", times=1)
    got = await token(sandbox, http)
    assert (got.status, got.headers["Location"]) == (307, "http://localhost:1/steal")
    sandbox.peakly.api_faults.redirect("/other", status=308)
    assert (await api(sandbox, http, "x")).status == 308


async def test_slow_drip(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The headers come at once, the right body takes the seconds given."""
    sandbox.peakly.token_faults.slow_drip(0.3, times=1)
    started = time.monotonic()
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM) as response:
        await response.content.readany()
        assert time.monotonic() - started < 0.25
        await response.read()
    assert time.monotonic() - started >= 0.29
    sandbox.pago_facil.token_faults.slow_drip(0)
    assert (await login(sandbox, http)).json["expires_in"] == 86400


@pytest.mark.parametrize("kind", ["reset", "slow_drip"])
async def test_what_has_no_whole_answer(sandbox: Sandbox, http: aiohttp.ClientSession, kind: str) -> None:
    """A WebSocket that has ended can't drip any more, and is reset."""
    value = (await token(sandbox, http)).json["access_token"]
    getattr(sandbox.peakly.api_faults, kind)(times=1)
    async with http.ws_connect(f"{sandbox.peakly.url}/api/ws", headers={"Authorization": f"Bearer {value}"}) as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
    assert (await api(sandbox, http, value)).status == 200


async def test_the_api_may_say_when_to_come_back(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Its Retry-After as a date is by its own clock, which may be wrong."""
    sandbox.peakly.configure(clock_skew=86_400)
    value = (await token(sandbox, http)).json["access_token"]
    sandbox.peakly.api_faults.too_many_requests(60, as_date=True)
    got = await api(sandbox, http, value)
    assert got.status == 429
    again = parsedate_to_datetime(got.headers["Retry-After"]).timestamp()
    assert again - time.time() == pytest.approx(86_460, abs=10)


async def test_unauthorized_befalls_a_good_token(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The API's 401 on demand is the one that it answers to a bad token."""
    value = (await token(sandbox, http)).json["access_token"]
    sandbox.peakly.api_faults.unauthorized(times=1)
    demanded, bad, good = [await api(sandbox, http, each) for each in (value, "bad", value)]
    assert (demanded.status, demanded.body) == (bad.status, bad.body)
    assert demanded.headers["WWW-Authenticate"] == bad.headers["WWW-Authenticate"]
    assert (demanded.status, good.status) == (401, 200)


async def test_an_answer_of_ones_own_that_is_a_stream(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """What aiohttp has to finish is left to it, also where answers come without a date."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.StreamResponse(status=418)

    sandbox.peakly.configure(date_header=False)
    sandbox.peakly.token_faults.answer(answer)
    assert (await token(sandbox, http)).status == 418


async def test_a_port_that_is_lost_while_connections_are_refused(
    sandbox: Sandbox, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for refusals learns that the port could not be kept; it is taken again when it is free."""

    def taken(host: str, port: int) -> NoReturn:
        raise OSError(errno.EADDRINUSE, "taken")

    with monkeypatch.context() as patch:
        patch.setattr("asyncauth.sandbox.listener._bound", taken)
        with pytest.raises(OSError, match="taken"):
            await asyncio.to_thread(sandbox.peakly.refuse_connections)
    with pytest.raises(aiohttp.ClientConnectorError):
        await token(sandbox, http)
    sandbox.peakly.accept_connections()
    assert (await token(sandbox, http)).status == 200


async def test_ending_after_the_port_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that could not keep its port ends as any other."""

    def taken(host: str, port: int) -> NoReturn:
        raise OSError(errno.EADDRINUSE, "taken")

    async with Sandbox() as sandbox:
        monkeypatch.setattr("asyncauth.sandbox.listener._bound", taken)
        with pytest.raises(OSError, match="taken"):
            sandbox.peakly.refuse_connections()
    assert not sandbox.peakly.accepting


async def test_an_answer_of_ones_own(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A callable sees the request and answers it, or lets the sandbox answer."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response | None:
        body = await request.text()
        seen.append(request.path)
        assert "grant_type=password" in body
        return None if len(seen) > 1 else web.json_response({"own": True}, status=418, headers={"Age": "9"})

    sandbox.peakly.token_faults.answer(answer)
    first, second = await token(sandbox, http), await token(sandbox, http)
    assert (first.status, first.json, first.headers["Age"]) == (418, {"own": True}, "9")
    assert second.status == 200
    assert seen == ["/token", "/token"]


async def test_faults_queue_and_fit_by_step_and_path(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A request gets the first fault that fits it; each serves its number of requests."""
    faults = sandbox.pago_facil.token_faults
    faults.server_error(times=2, step="login")
    faults.too_many_requests(times=1)
    faults.unauthorized(step="createToken")
    assert [(await login(sandbox, http)).status for _ in range(4)] == [503, 503, 429, 200]
    assert [fault.kind for fault in faults.pending] == ["unauthorized"]
    async with http.post(f"{sandbox.pago_facil.url}/tokens/createToken") as response:
        assert response.status == 401
    value = (await token(sandbox, http)).json["access_token"]
    sandbox.peakly.api_faults.server_error(path="/api/broken")
    assert (await api(sandbox, http, value, "/api/broken/1")).status == 503
    assert (await api(sandbox, http, value)).status == 200


@pytest.mark.parametrize(
    "spec",
    [
        "hang", {}, {"kind": "nope"}, {"kind": 1}, {"kind": "hang", "tmes": 1}, {"kind": "hang", "times": 0},
        {"kind": "hang", "times": True}, {"kind": "hang", "step": ""}, {"kind": "hang", "status": 500},
        {"kind": "hang", "processed": 1}, {"kind": "server_error", "status": 404},
        {"kind": "server_error", "status": "500"}, {"kind": "redirect"},
        {"kind": "redirect", "location": "/\r\nX: 1"}, {"kind": "redirect", "location": "/", "status": 304},
        {"kind": "too_many_requests", "retry_after": -1}, {"kind": "too_many_requests", "retry_after": "\n"},
        {"kind": "too_many_requests", "retry_after_date": True}, {"kind": "slow_drip", "seconds": "1"},
        {"kind": "missing_fields"}, {"kind": "missing_fields", "fields": "x"},
        {"kind": "missing_fields", "fields": [1]}, {"kind": "replace_fields"},
        {"kind": "replace_fields", "values": []}, {"kind": "answer"}, {"kind": "hang", "answer": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_faults_are_refused(spec: object) -> None:
    """A fault that makes no sense is a ValueError when it is made, not a surprise when it is due."""
    with pytest.raises(ValueError, match=r"\w"):
        Fault.from_json(spec)


def test_a_plan_refuses_what_its_requests_cannot_suffer() -> None:
    """Token faults don't fit the API; nothing is added then."""
    plan = Sandbox().peakly.api_faults
    with pytest.raises(ValueError, match="token endpoints"):
        plan.add(Fault(kind="hang"), Fault(kind="wrong_credentials"))
    assert plan.pending == ()
    whole = {"kind": "too_many_requests", "times": 3, "retry_after": 5, "retry_after_date": True}
    assert Fault.from_json(whole).as_json() == whole
    assert FaultPlan().take() is None
