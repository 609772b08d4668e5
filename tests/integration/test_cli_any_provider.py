"""The command line for any provider: an OAuth client's, and one of the user's own by ``module:attribute``."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cli_kit import Ended, Shell
from harness.canary import secret

from asyncauth.sandbox import Sandbox, sandbox_in_thread

CLIENT_SECRET = secret("client-secret")
TOKEN = secret("client-token")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread() as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    shell = Shell(monkeypatch, capfdbinary)
    shell.set(CLIENT_ID="reports", CLIENT_SECRET=CLIENT_SECRET)
    return shell


@pytest.fixture
def grants(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Peakly's endpoint as that of an OAuth server; the grants that came, each with how the client authenticated."""
    came: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        basic = request.headers.get("Authorization")
        came.append(
            {**form, "basic": None if basic is None else base64.b64decode(basic.removeprefix("Basic ")).decode()}
        )
        return web.json_response({"access_token": TOKEN, "expires_in": 3600, "scope": "read"})

    sandbox.peakly.token_faults.answer(answer)
    return came


@pytest.fixture
def own(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with a provider, a manager and a chain."""
    (tmp_path / "cli_shop.py").write_text(f"""
from asyncauth import PagoFacil, PagoFacilJWT, Peakly, TokenManager
from asyncauth.stores import FileStore

with_password = dict(username={sandbox.username!r}, password={sandbox.password!r})
peakly = Peakly(base_url={sandbox.peakly.url!r}, **with_password)
manager = TokenManager(peakly, store=FileStore({str(tmp_path / "tokens")!r}))
chain = PagoFacilJWT.from_password(base_url={sandbox.pago_facil.url!r}, **with_password)
minting = PagoFacil(jwt="a.b.c", base_url={sandbox.pago_facil.url!r})
wrong = Peakly(username="me", password="wr0ng-wr0ng", base_url={sandbox.peakly.url!r})
number = 7


class Bare:
    name, origins, identity = "bare", (), "bare"

    async def fetch(self, http, previous):
        return await peakly.fetch(http, previous)


bare = Bare()
""")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "cli_shop"
    sys.modules.pop("cli_shop", None)


def marks(ended: Ended) -> dict[str, tuple[str, str]]:
    """Return mark and text of each subject, of several the last."""
    return {each["subject"]: (each["mark"], each["says"]) for each in json.loads(ended.out)["findings"]}


# An OAuth client


def test_a_clients_token(shell: Shell, sandbox: Sandbox, grants: list[dict[str, Any]]) -> None:
    """--token-url obtains a token by the client credentials grant, as the options say; no secret is printed."""
    url = f"{sandbox.peakly.url}/token"
    ended = shell.run("token", "--token-url", url, "--scope", "read", "--scope", "write", "--audience", "api", "--json")
    facts = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (facts["system"], facts["credential"]) == ("client", "id and secret in CLIENT_ID and CLIENT_SECRET")
    assert (facts["scope"], facts["origins"]) == ("read", [])
    (grant,) = grants
    assert (grant["grant_type"], grant["scope"], grant["audience"]) == ("client_credentials", "read write", "api")
    assert grant["basic"] == f"reports:{CLIENT_SECRET}"
    shell.run("token", "--token-url", url, "--client-auth", "client_secret_post")
    assert (grants[1]["basic"], grants[1]["client_id"]) == (None, "reports")


def test_a_request_with_a_clients_token(shell: Shell, sandbox: Sandbox, grants: list[dict[str, Any]]) -> None:
    """`request --token-url` sends the token to the URL's origin."""

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.json_response({"sent": request.headers["Authorization"] == f"Bearer {TOKEN}"})

    sandbox.pago_facil.api_faults.answer(echo)
    url = f"{sandbox.peakly.url}/token"
    ended = shell.run("request", f"{sandbox.pago_facil.url}/api/transactions", "--token-url", url)
    assert (ended.code, ended.err, json.loads(ended.out)) == (0, "", {"sent": True})
    assert len(grants) == 1


def test_the_doctor_of_a_client(shell: Shell, sandbox: Sandbox, grants: list[dict[str, Any]]) -> None:
    """`doctor --token-url` looks at id and secret, at the way there, and tries the login once."""
    ended = shell.run("doctor", "--token-url", f"{sandbox.peakly.url}/token", "--json")
    found = marks(ended)
    assert ended.code == 0
    assert found["client credentials"] == ("ok", "CLIENT_ID and CLIENT_SECRET are well-formed")
    assert found["client login"] == ("ok", "accepted, with a token that is valid for 1.0 h")
    assert all(found[f"client {each}"][0] == "ok" for each in ("TCP", "HTTP", "clock"))
    assert found["client clock"][1] == "agrees with 127.0.0.1's clock"
    assert len(grants) == 1


def test_a_login_that_fails_for_another_reason_than_the_credential(shell: Shell, sandbox: Sandbox) -> None:
    """A server that does not offer the grant: the line sends nobody after a secret, and warns of no locked account."""
    ended = shell.run("doctor", "--token-url", f"{sandbox.peakly.url}/token", "--json")
    (login,) = [each for each in json.loads(ended.out)["findings"] if each["subject"] == "client login"]
    assert (ended.code, login["mark"]) == (1, "fail")
    assert "the server rejected the request, not the client_secret" in login["says"]
    assert login["do"] == "correct what is requested; the credential may be right"


def test_an_issuer_that_tells_nothing(shell: Shell, sandbox: Sandbox) -> None:
    """An issuer without metadata is a failure of the login, that names where it was looked for."""
    ended = shell.run("doctor", "--issuer", sandbox.peakly.url, "--json")
    assert ended.code == 1
    assert marks(ended)["client login"][0] == "fail"


@pytest.mark.parametrize("command", ["token", "request", "doctor"])
def test_plain_http_to_a_container(shell: Shell, command: str) -> None:
    """--token-url by plain http to another machine is wrong usage, and says how a container is permitted."""
    more = ["https://api.example.com/x"] if command == "request" else []
    ended = shell.run(command, *more, "--token-url", "http://login:8080/token")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "--token-url is plain http" in ended.err
    assert "use https://login:8080 (or permit it, in a network of containers, with --insecure-host login)" in ended.err
    there = ("--token-url", "http://login.invalid:8080/token", "--insecure-host", "login.invalid", "--timeout", "0.2")
    permitted = shell.run(command, *more, *there)
    assert permitted.code == (1 if command == "doctor" else 3)  # it is asked, and there is no such host


# One's own


@pytest.mark.parametrize("attribute", ["peakly", "manager", "chain"])
def test_the_token_of_ones_own(shell: Shell, own: str, attribute: str) -> None:
    """`token module:attribute` obtains the token of a provider, a manager or a chain."""
    ended = shell.run("token", f"{own}:{attribute}", "--json")
    facts = json.loads(ended.out)
    assert (ended.code, facts["system"], facts["credential"]) == (0, f"{own}:{attribute}", f"that of {own}:{attribute}")


def test_a_manager_shares_its_stores_token(shell: Shell, sandbox: Sandbox, own: str) -> None:
    """A manager with a store shows the token that is there: two commands make one token request."""
    first = json.loads(shell.run("token", f"{own}:manager", "--json").out)
    sys.modules.pop(own)  # as another process
    second = json.loads(shell.run("token", f"{own}:manager", "--json").out)
    assert first["fingerprint"] == second["fingerprint"]
    assert sandbox.peakly.counts.token_requests == 1


def test_a_request_of_ones_own(shell: Shell, sandbox: Sandbox, own: str) -> None:
    """`request --as module:attribute` sends the token to its origins, and to no other."""
    assert shell.run("request", f"{sandbox.peakly.url}/api/check", "--as", f"{own}:peakly").code == 0
    refused = shell.run("request", f"{sandbox.pago_facil.url}/api/check", "--as", f"{own}:manager")
    assert (refused.code, refused.out) == (2, "")
    assert f"may not be sent to {sandbox.pago_facil.url}: only to {sandbox.peakly.url}\n" in refused.err
    nowhere = shell.run("request", f"{sandbox.peakly.url}/api/check", "--as", f"{own}:bare")
    assert "it has no origins" in nowhere.err
    plain = shell.run("request", "http://api.example.com/x", "--as", f"{own}:manager")
    assert (plain.code, "use https://api.example.com\n" in plain.err) == (2, True)
    assert sandbox.peakly.counts.token_requests == 1


@pytest.mark.parametrize(("attribute", "system"), [("peakly", "peakly"), ("chain", "pago_facil")])
def test_an_api_that_knows_the_password(shell: Shell, sandbox: Sandbox, own: str, attribute: str, system: str) -> None:
    """An API that repeats the token or one's own provider's password shows neither."""
    said: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        said.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.Response(text=f"{said[0]} {sandbox.password}")

    side = sandbox.systems[system]
    side.api_faults.answer(answer)
    ended = shell.run("request", f"{side.url}/api/check", "--as", f"{own}:{attribute}")
    assert (ended.code, ended.out) == (0, "[withheld] [withheld]")


@pytest.mark.parametrize("attribute", ["peakly", "manager"])
def test_the_doctor_of_ones_own(shell: Shell, sandbox: Sandbox, own: str, attribute: str) -> None:
    """`doctor module:attribute` looks at the way to the token endpoint and obtains one new token."""
    shell.run("token", f"{own}:manager")  # which the store has from now on
    sys.modules.pop(own)  # as another process
    ended = shell.run("doctor", f"{own}:{attribute}", "--json")
    found = marks(ended)
    assert ended.code == 0
    assert found[f"{own}:{attribute} login"][0] == found[f"{own}:{attribute} TCP"][0] == "ok"
    mark, says = found.get(f"{own}:{attribute} store", ("", ""))
    assert (mark, "tokens: not checked; name it with --store" in says) == (
        ("skip", True) if attribute == "manager" else ("", False)
    )
    assert sandbox.peakly.counts.token_requests == 2


@pytest.mark.parametrize(("attribute", "requests"), [("chain", 1), ("minting", 0)])
def test_the_doctor_makes_nothing_that_lasts(
    shell: Shell, sandbox: Sandbox, own: str, attribute: str, requests: int
) -> None:
    """For a user's own chain of Pago Fácil, only the login is tried, and a JWT is not sent."""
    ended = shell.run("doctor", f"{own}:{attribute}", "--json")
    assert (ended.code, sandbox.pago_facil.counts.token_requests) == (0, requests)
    mark, says = marks(ended)[f"{own}:{attribute} login"]
    assert mark == ("ok" if requests else "skip")
    assert requests or "createToken would create an access token that is valid for years" in says


def test_the_doctor_of_a_provider_that_says_little(shell: Shell, own: str) -> None:
    """A provider without token_endpoint: the way there is not looked at, the login is tried."""
    found = marks(shell.run("doctor", f"{own}:bare", "--json"))
    assert found[f"{own}:bare server"] == ("skip", "not checked: its provider has no token_endpoint")
    assert found[f"{own}:bare login"][0] == "ok"
    assert marks(shell.run("doctor", f"{own}:bare", "--json", "--offline"))[f"{own}:bare"][0] == "skip"


def test_a_wrong_password_of_ones_own(shell: Shell, sandbox: Sandbox, own: str) -> None:
    """A rejected credential is tried once by the doctor, and ends `token` with 3."""
    ended = shell.run("doctor", f"{own}:wrong", "--json")
    assert (ended.code, sandbox.peakly.counts.token_requests) == (1, 1)
    assert marks(ended)[f"{own}:wrong login"][0] == "fail"
    assert shell.run("token", f"{own}:wrong").code == 3
    assert ended.has_none_of("wr0ng-wr0ng")


def test_what_is_not_a_provider(shell: Shell, own: str) -> None:
    """Anything else is wrong usage, in the library's own words."""
    for command in ("token", "doctor"):
        ended = shell.run(command, f"{own}:number")
        assert (ended.code, ended.out) == (2, "")
        assert "TokenManager takes a provider, such as Peakly(…), not int" in ended.err


@pytest.mark.parametrize("command", ["token", "doctor"])
def test_a_manager_that_is_late(shell: Shell, sandbox: Sandbox, own: str, command: str) -> None:
    """--timeout holds for one's own manager as well, whatever its policy says."""
    sandbox.configure(token_latency=60)
    if command == "token":
        ended = shell.run(command, f"{own}:manager", "--timeout", "0.1")
        assert (ended.code, ended.err) == (3, f"asyncauth: {own}:manager gave no token within 0.1 s\n")
    else:  # it looks at the network first, which has as long for each step, on however busy a machine
        ended = shell.run(command, f"{own}:manager", "--timeout", "1")
        assert (ended.code, "no answer within 1 s" in ended.out) == (1, True)
