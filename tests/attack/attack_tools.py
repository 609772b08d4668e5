"""Attacks on what runs on a developer's machine: the sandbox's controls, and the command line's output."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator

import aiohttp
from aiohttp import web
from attack_kit import Try, attack, readings
from cli_kit import INSTALLED, credentials
from harness.canary import CANARIES, found

from asyncauth.sandbox import Sandbox, sandbox_in_thread

_HOSTS = (
    "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
    "127.0.0.1:{port}@evil.example",
    "localhost.evil.example", "192.0.2.7", "[2001:db8::1]", "2130706433", "0x7f000001", "0", "127.1.evil.example",
    "", " ",
    "localhost,evil.example", "evil.example,localhost", "127.0.0.1:x", "[::1", "\u0131ocalhost", "xn--lcalhost-jk4c",
)  # fmt: skip
_READS = ("_sandbox/state", "_sandbox/log", "_sandbox/nothing")
_ORDERS = ("_sandbox/settings", "_sandbox/fault", "_sandbox/revoke", "_sandbox/abort", "_sandbox/reset")
_OTHER_PAGES = (
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://127.0.0.1"},
)  # fmt: skip


@attack("the sandbox under a strange Host, or for another web page")
def sandbox_hosts(luck: random.Random, scale: int) -> Iterator[Try]:
    """The sandbox answers nothing and obeys nothing, on any port, for any request."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as left:  # also left if the time is over before the tries
        sandbox = runner.run(_started())
        left.callback(lambda: runner.run(sandbox.stop()))
        assert sandbox.page_url is not None
        bases = [f"{system.url}/" for system in sandbox.systems.values()] + [sandbox.page_url]
        for base in bases:
            own = [*_READS, *_ORDERS, *(("events", "description", "", "page.js") if base == sandbox.page_url else ())]
            for host in _HOSTS[:: 1 if scale > 1 else 5]:
                for path in own:
                    headers = {"Host": host.format(port=base.rstrip("/").rpartition(":")[2])}

                    def ask(url: str = base + path, headers: dict[str, str] = headers) -> None:
                        runner.run(_refused(sandbox, url, headers))

                    yield f"{path} under {host!r}", ask
            for headers in _OTHER_PAGES:
                for path in _ORDERS:

                    def order(url: str = base + path, headers: dict[str, str] = headers) -> None:
                        runner.run(_refused(sandbox, url, headers))

                    yield f"{path} with {headers}", order


async def _started() -> Sandbox:
    sandbox = Sandbox(page=True)
    await sandbox.start()
    return sandbox


async def _refused(sandbox: Sandbox, url: str, headers: dict[str, str]) -> None:
    before = sandbox.state()
    orders = url.rpartition("/")[2] in {each.rpartition("/")[2] for each in _ORDERS}
    async with aiohttp.ClientSession() as http:
        method, body = ("POST", {"peakly": {"lifetime": 5}}) if orders else ("GET", None)
        for extra in ({},) if orders else ({}, {"Connection": "Upgrade", "Upgrade": "websocket"}):
            async with http.request(method, url, json=body, headers={**headers, **extra}) as response:
                assert 400 <= response.status < 500, response.status
                assert "counts" not in await response.text()
    assert sandbox.state() == before


def _spelled(token: str) -> dict[str, str]:
    return {
        "as it is": token,
        "percent-encoded": urllib.parse.quote(token, safe="").replace("-", "%2D"),
        "every letter percent-encoded": "".join(f"%{byte:02X}" for byte in token.encode()),
        "as JSON's escapes": "".join(f"\\u{ord(each):04x}" for each in token),
        "in base64": base64.b64encode(token.encode()).decode(),
        "with its scheme": f"Bearer {token}",
    }


@attack("APIs that make the command line print the token")
def command_line(luck: random.Random, scale: int) -> Iterator[Try]:
    """Neither reason, nor headers, nor a redirect's URL bring it out; the body is what was asked for."""
    ways = [(where, how) for where in ("reason", "header", "url") for how in _spelled("")]
    for where, how in luck.sample(ways, len(ways) if scale > 1 else 1):
        for options in (("--json",), ("-L",), ()) if scale > 1 else (("--json", "-L"),):
            yield f"{where}, {how}, {options}", lambda way=(where, how, options): _printed(*way)  # type: ignore[misc]


def _printed(where: str, how: str, options: tuple[str, ...]) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        said = _spelled(request.headers["Authorization"].removeprefix("Bearer "))[how]
        match where:
            case "reason":
                return web.Response(status=418, reason=said)
            case "header":
                return web.Response(headers={"X-Echo": said})
        if request.query_string:
            return web.Response(status=404)
        return web.Response(status=302, headers={"Location": f"/api?{said}"})

    with sandbox_in_thread(**CANARIES) as sandbox:
        url = sandbox.peakly.url
        sandbox.peakly.api_faults.answer(echo, times=3)
        ended = subprocess.run(
            [sys.executable, INSTALLED, "request", f"{url}/api", "--as", "peakly", "--base-url", url, *options],
            env={**os.environ, **credentials(sandbox)},
            capture_output=True,
            check=False,
            timeout=250,  # seconds: it ends what hangs
        )
        printed = ended.stdout.decode() + ended.stderr.decode()
        assert "Traceback" not in printed
        for text in readings(printed):
            assert found(text) is None, text[:200]
