"""``asyncauth logout``: what a store holds for an account is revoked and deleted, and what stays valid is said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from cli_kit import Shell, credentials
from harness.canary import CANARIES, secret

from asyncauth import ClientCredentials, Peakly, TokenManager
from asyncauth.sandbox import Sandbox, sandbox_in_thread
from asyncauth.stores import FileStore

CLIENT_SECRET = secret("client-secret")
TOKEN = secret("client-token")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread(**CANARIES) as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(monkeypatch, capfdbinary)


@pytest.fixture
def asked(sandbox: Sandbox) -> list[dict[str, str]]:
    """Peakly's endpoint as that of an OAuth server, for tokens and revocations; the forms that came."""
    came: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        came.append({name: str(value) for name, value in (await request.post()).items()})
        return web.json_response({} if "token" in came[-1] else {"access_token": TOKEN, "expires_in": 3600})

    sandbox.peakly.token_faults.answer(answer)
    return came


def client(sandbox: Sandbox) -> ClientCredentials:
    return ClientCredentials(
        token_url=f"{sandbox.peakly.url}/token", client_id="reports", client_secret=CLIENT_SECRET, scope="read"
    )


def test_an_oauth_clients_tokens_are_revoked(
    shell: Shell, sandbox: Sandbox, asked: list[dict[str, str]], tmp_path: Path
) -> None:
    """The program's own options find the entry. The server revokes its tokens, and the entry is deleted."""
    store = FileStore(tmp_path)
    token = TokenManager(client(sandbox), store=store).blocking.token()
    shell.set(CLIENT_ID="reports", CLIENT_SECRET=CLIENT_SECRET, ASYNCAUTH_STORE=str(tmp_path))
    url = f"{sandbox.peakly.url}/token"
    ended = shell.run("logout", "--token-url", url, "--revocation-url", url, "--scope", "read")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"store          {tmp_path}",
        f"access token   client-credentials {token.fingerprint} revoked",
        "entry          deleted",
    ]
    assert asked[-1] == {"token": TOKEN, "token_type_hint": "access_token"}
    assert asyncio.run(store.keys()) == []
    again = shell.run("logout", "--token-url", url, "--revocation-url", url, "--scope", "read")
    assert (again.code, again.err) == (1, "")
    assert again.out.splitlines()[1:] == ["entry          none with a valid token"]


def test_what_stays_valid_is_said(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    """Peakly has no endpoint for it: the entry goes all the same, and the token's end is printed."""
    place = sandbox.peakly.url
    store = FileStore(tmp_path)
    provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=place)
    TokenManager(provider, store=store).blocking.token()
    shell.set(**credentials(sandbox))
    ended = shell.run("logout", "peakly", "--base-url", place, "--store", str(tmp_path))
    assert ended.code == 1
    assert re.search(
        r"^access token +peakly \w{8} STAYS VALID, until \d{4}-\S+: .*Peakly has no way", ended.out, re.MULTILINE
    )
    assert ended.out.splitlines()[-1] == "entry          deleted"
    assert asyncio.run(store.keys()) == []


def test_as_json(shell: Shell, sandbox: Sandbox, tmp_path: Path) -> None:
    """The same for machines, through the whole chain."""
    place = ("pago-facil", "--base-url", sandbox.pago_facil.url, "--store", str(tmp_path))
    shell.set(**credentials(sandbox))
    (tmp_path / "cli_logout_shop.py").write_text(f"""
from asyncauth import PagoFacilJWT, TokenManager
from asyncauth.stores import FileStore

login = dict(username={sandbox.username!r}, password={sandbox.password!r}, base_url={sandbox.pago_facil.url!r})
manager = TokenManager(PagoFacilJWT.from_password(**login), store=FileStore({str(tmp_path)!r}))
alone = TokenManager(PagoFacilJWT.from_password(**login))
""")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        assert shell.run("token", "cli_logout_shop:manager").code == 0
        ended = shell.run("logout", *place, "--json")
        assert ended.code == 1
        facts = json.loads(ended.out)
        assert (facts["store"], facts["entry"], facts["complete"]) == (str(tmp_path), "deleted", False)
        assert [each["kind"] for each in facts["tokens"]] == ["access_token"] * 3
        own = shell.run("logout", "cli_logout_shop:alone")
        assert (own.code, own.out) == (1, "no token is known: nothing was revoked\n")
        second = shell.run("logout", "cli_logout_shop:manager", "--store", str(tmp_path))
    assert (second.code, second.err) == (
        2,
        "asyncauth: --store is not for a manager: cli_logout_shop:manager has a store of its own, or none\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("peakly",), 2, "which store holds the tokens? Name it with --store, or set ASYNCAUTH_STORE"),
        (("peakly", "--store", "nowhere"), 1, "there is no folder"),
        (("pago-facil", "--store", "."), 2, "does not say which account to log out: set username and password instead"),
        (("peakly", "--revocation-url", "https://x.example"), 2, "need --issuer or --token-url"),
        (
            ("--issuer", "https://x.example", "--revocation-url", "http://x.example"),
            2,
            "--revocation-url is plain http",
        ),
    ],
)
def test_what_cannot_work_is_said(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One line names what to write instead."""
    shell.set(PEAKLY_USERNAME="me", PEAKLY_PASSWORD="p", PAGO_FACIL_ACCESS_TOKEN="t", CLIENT_ID="a", CLIENT_SECRET="b")
    ended = shell.run("logout", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
