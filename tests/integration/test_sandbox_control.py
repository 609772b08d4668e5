"""The sandbox's controls over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from harness.canary import PREFIX
from loopback import until

from asyncauth.sandbox import DEFAULT_PASSWORD, DEFAULT_USERNAME, Sandbox
from asyncauth.sandbox.__main__ import main

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORM = {"grant_type": "password", "username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(token_prefix=PREFIX) as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield http


async def order(http: aiohttp.ClientSession, url: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    method = options.pop("method", "GET" if body is None and not options else "POST")
    if body is not None:
        options["json"] = body
    async with http.request(method, url, **options) as response:
        return response.status, await response.json()


async def test_state_and_log_show_everything_but_secrets(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Both ports tell the state and the log of both systems, without password and tokens."""
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM) as response:
        token = (await response.json())["access_token"]
    for system in sandbox.systems.values():
        status, state = await order(http, f"{system.url}/_sandbox/state")
        assert status == 200
        assert state["peakly"]["counts"]["by_step"] == {"password": 1}
        assert state["peakly"]["living_tokens"] == {"access_token": 1}
        assert state["pago_facil"]["url"] == sandbox.pago_facil.url
        _, log = await order(http, f"{system.url}/_sandbox/log")
        assert [record["path"] for record in log["log"]] == ["/token"]
        shown = json.dumps([state, log])
        assert token not in shown
        assert DEFAULT_PASSWORD not in shown


async def test_settings_and_faults_over_http(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Settings change and faults are set, replaced and cleared through either port."""
    url = f"{sandbox.pago_facil.url}/_sandbox/settings"
    wish: dict[str, Any] = {
        "peakly": {
            "lifetime": 7,
            "password": "other",
            "token_faults": [{"kind": "hang", "times": 2}, {"kind": "too_many_requests", "retry_after": 3}],
            "api_faults": {"kind": "malformed"},
        },
        "pago_facil": {"lifetime": 9},
    }
    status, state = await order(http, url, wish)
    assert status == 200
    assert state["peakly"]["token_faults"] == wish["peakly"]["token_faults"]
    assert state["peakly"]["api_faults"] == [{"kind": "malformed"}]
    assert (sandbox.peakly.settings.lifetime, sandbox.peakly.settings.password) == (7, "other")
    assert sandbox.pago_facil.settings.login_lifetime == 9
    status, state = await order(http, url, {"peakly": {"token_faults": None, "api_faults": []}})
    assert (state["peakly"]["token_faults"], state["peakly"]["api_faults"]) == ([], [])


@pytest.mark.parametrize(
    "wish",
    [
        {"nope": {}}, {"peakly": 1}, {"peakly": {"lifetme": 1}}, {"peakly": {"lifetime": "1"}},
        {"peakly": {"lifetime": None}}, {"peakly": {"refresh_tokens": "yes"}},
        {"peakly": {"lifetime": 5}, "pago_facil": {"login_lifetime": -5}},
        {"peakly": {"lifetime": 5, "token_faults": {"kind": "nope"}}},
        {"peakly": {"api_faults": [{"kind": "missing_fields", "fields": ["x"]}]}},
        {"peakly": {"token_faults": {"kind": "answer"}}}, {"peakly": {"refuse_connections": "yes"}},
        {"peakly": {"lifetime": 5, "refuse_connections": -1}}, ["peakly"],
    ],
    ids=str,
)  # fmt: skip
async def test_a_mistake_is_400_and_changes_nothing(
    sandbox: Sandbox, http: aiohttp.ClientSession, wish: object
) -> None:
    """An order with a mistake in it tells the mistake and changes nothing at all."""
    before = sandbox.state()
    status, answer = await order(http, f"{sandbox.peakly.url}/_sandbox/settings", wish)
    assert status == 400
    assert answer["error"]
    assert sandbox.state() == before


async def test_connections_can_be_refused_and_accepted_over_http(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """The order to refuse is answered on the very port that closes; the other port opens it again."""
    status, state = await order(
        http, f"{sandbox.peakly.url}/_sandbox/settings", {"peakly": {"refuse_connections": True}}
    )
    assert (status, state["peakly"]["accepting"]) == (200, False)
    with pytest.raises(aiohttp.ClientConnectorError):
        await order(http, f"{sandbox.peakly.url}/_sandbox/state")
    url = f"{sandbox.pago_facil.url}/_sandbox/settings"
    await order(http, url, {"peakly": {"refuse_connections": False}})
    assert (await order(http, f"{sandbox.peakly.url}/_sandbox/state"))[0] == 200
    await order(http, url, {"peakly": {"refuse_connections": 0.1}})
    assert not sandbox.peakly.accepting
    await asyncio.sleep(0.15)
    assert sandbox.peakly.accepting


async def test_an_order_leaves_a_port_to_take_it_back_on(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Without a page, an order that would close the last port for good is refused; one for some seconds is not."""
    url = f"{sandbox.pago_facil.url}/_sandbox/settings"
    before = sandbox.state()
    both = {name: {"refuse_connections": True} for name in sandbox.systems}
    status, answer = await order(http, url, both)
    assert (status, sandbox.state()) == (400, before)
    assert "no port would be left" in answer["error"]
    assert (await order(http, url, {"peakly": {"refuse_connections": True}}))[0] == 200
    assert (await order(http, url, {"pago_facil": {"refuse_connections": True}}))[0] == 400
    assert (await order(http, url, {"pago_facil": {"refuse_connections": 0.05}}))[0] == 200
    await until(lambda: sandbox.pago_facil.accepting)


async def test_revoke_and_reset_over_http(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """revoke returns how many tokens it revoked; reset restores everything, or only the counts."""
    sandbox.peakly.settings.refresh_tokens = True
    async with http.post(f"{sandbox.peakly.url}/token", data=FORM):
        pass
    url = f"{sandbox.peakly.url}/_sandbox"
    assert await order(http, f"{url}/revoke", {"system": "peakly", "step": "access_token"}) == (
        200, {"revoked": {"peakly": 1}},
    )  # fmt: skip
    assert await order(http, f"{url}/revoke", {}) == (200, {"revoked": {"peakly": 1, "pago_facil": 0}})
    mistakes: tuple[dict[str, object], ...] = (
        {"system": "x"}, {"step": "login"}, {"system": "peakly", "step": "x"}, {"who": 1},
        {"system": "peakly", "step": 1}, {"system": []},
    )  # fmt: skip
    for bad in mistakes:
        assert (await order(http, f"{url}/revoke", bad))[0] == 400
    sandbox.peakly.token_faults.hang()
    assert (await order(http, f"{url}/reset", {"only": "faults"}))[0] == 400
    _, state = await order(http, f"{url}/reset", {"only": "counts"})
    assert state["peakly"]["counts"]["token_requests"] == 0
    assert state["peakly"]["token_faults"] == [{"kind": "hang"}]
    sandbox.pago_facil.refuse_connections()
    assert (await order(http, f"{url}/reset", headers={"Content-Type": "application/json"}))[0] == 200
    fresh = Sandbox(peakly_port=sandbox.peakly.port, pago_facil_port=sandbox.pago_facil.port, token_prefix=PREFIX)
    assert sandbox.peakly.settings == fresh.peakly.settings
    assert sandbox.peakly.token_faults.pending == ()
    assert sandbox.pago_facil.accepting


async def test_another_page_cannot_drive_it(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Orders need JSON and, if they name an origin, the sandbox's own."""
    url = f"{sandbox.peakly.url}/_sandbox/reset"
    host = f"evil.example:{sandbox.peakly.port}"
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": sandbox.pago_facil.url},
        {"Origin": f"http://{host}", "Host": host}, {"Sec-Fetch-Site": "cross-site"},
    ):  # fmt: skip
        assert (await order(http, url, {}, headers=headers))[0] == 403, headers
    assert (await order(http, url, {}, headers={"Origin": sandbox.peakly.url}))[0] == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert (await order(http, url, data=b"{}", headers={"Content-Type": kind}))[0] == 415
    json_type = {"Content-Type": "application/json"}
    assert (await order(http, url, data=b"{", headers=json_type))[0] == 400
    assert (await order(http, url, data=b"\xff", headers=json_type))[0] == 400
    assert (await order(http, url, data=io.BytesIO(b" " * 2_000_000), headers=json_type))[0] == 413
    assert (await order(http, url))[0] == 405
    assert (await order(http, f"{sandbox.peakly.url}/_sandbox/log", {}))[0] == 405
    assert (await order(http, f"{sandbox.peakly.url}/_sandbox/nope"))[0] == 404


STRANGE_HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "192.0.2.7",
    "",
)


@pytest.mark.parametrize("host", STRANGE_HOSTS)
async def test_a_rebound_name_reads_and_changes_nothing(
    sandbox: Sandbox, http: aiohttp.ClientSession, host: str
) -> None:
    """Under a name that somebody pointed at this machine every control is refused, on both ports, also one of none."""
    before = sandbox.state()
    for system in sandbox.systems.values():
        headers = {"Host": host.format(port=system.port)}
        for name in ("state", "log", "nothing"):
            assert (await order(http, f"{system.url}/_sandbox/{name}", headers=headers, method="GET"))[0] in {400, 403}
        for name in ("settings", "fault", "revoke", "abort", "reset"):
            assert (await order(http, f"{system.url}/_sandbox/{name}", {}, headers=headers))[0] in {400, 403}
        socket = {**headers, "Upgrade": "websocket", "Connection": "Upgrade"}
        assert (await order(http, f"{system.url}/_sandbox/log", headers=socket, method="GET"))[0] in {400, 403}
    assert sandbox.state() == before


async def test_this_machines_names_are_not_strange(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Any address and name of this machine's will do, with whatever port: one may have been forwarded."""
    for host in ("localhost:9", "LOCALHOST", "[::1]:80", "127.0.0.1"):
        url = f"{sandbox.peakly.url}/_sandbox/log"
        assert (await order(http, url, headers={"Host": host}, method="GET"))[0] == 200, host


async def test_other_pages_cannot_read(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A request that the browser marks as another page's is refused."""
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await order(http, f"{sandbox.peakly.url}/_sandbox/log", headers=headers, method="GET"))[0] == 403


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
async def test_the_command_serves_until_interrupted() -> None:
    """python -m asyncauth.sandbox prints URLs, credentials and an example, and ends cleanly on Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncauth.sandbox", "--lifetime", "60",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        banner = (await process.stdout.readuntil(b"Ctrl-C")).decode()
        peakly, pago_facil = (match.group() for match in re.finditer(r"http://127\S+?(?=\n)", banner[:200]))
        assert DEFAULT_USERNAME in banner
        assert DEFAULT_PASSWORD in banner
        assert "curl" in banner
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{peakly}/token", data=FORM) as response:
                assert (await response.json())["expires_in"] == 59
            assert (await order(http, f"{pago_facil}/_sandbox/state"))[0] == 200
            process.send_signal(signal.SIGINT)
            _, errors = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_the_command_tells_what_it_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A host that is not loopback, a bad lifetime and a taken port end in a sentence, not a traceback."""
    assert main(["--host", "192.0.2.1"]) == 2
    assert "loopback" in capsys.readouterr().err
    assert main(["--lifetime", "-1"]) == 2
    assert "lifetime" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--pago-facil-port", str(taken.getsockname()[1])]) == 1
    assert "can't listen" in capsys.readouterr().err
    assert main(["--host", "192.0.2.1", "--allow-remote"]) == 1
    assert "can't listen on 192.0.2.1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"$@" --peakly-port 99999', b"99999 is not a port"),
        ('"$@" --allow-remote --host ..', b"can't listen on .."),
        ('"$@" >&-', b"stdout is closed"),
    ],
)
def test_the_command_ends_with_a_line(line: str, words: bytes) -> None:
    """An impossible option causes one line of output, without a traceback."""
    command = [sys.executable, "-m", "asyncauth.sandbox"]
    ended = subprocess.run(["/bin/sh", "-c", line, "sh", *command], capture_output=True, check=False, timeout=30)
    assert ended.returncode in {1, 2}
    assert words in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"[" * 200_000, {}, "the body is not JSON"),
        (b"no gzip", {"Content-Encoding": "gzip"}, "the body can't be unpacked"),
    ],
)
async def test_a_body_that_can_not_be_read(
    sandbox: Sandbox, http: aiohttp.ClientSession, body: bytes, headers: dict[str, str], error: str
) -> None:
    """JSON without end, or what is not packed as it says, is the client's mistake."""
    headers = {"Content-Type": "application/json", **headers}
    url = f"{sandbox.peakly.url}/_sandbox/settings"
    async with http.post(url, data=body, headers=headers, skip_auto_headers=("Content-Encoding",)) as response:
        assert response.status == 400
        assert (await response.json())["error"] == error
