"""``asyncauth sandbox``, as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cli_kit import Shell

from asyncauth import Peakly, TokenManager
from asyncauth.sandbox.__main__ import main

if TYPE_CHECKING:
    from asyncio.subprocess import Process


async def start(*arguments: str) -> Process:
    """Start the command; warnings are errors in it."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "asyncauth.cli", "sandbox", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(monkeypatch, capfdbinary)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
async def test_it_serves_until_it_is_ended(number: signal.Signals) -> None:
    """One line of JSON tells the addresses once they answer; ended, it says nothing and leaves its ports free."""
    process = await start("--json", "--lifetime", "60", "--clock-skew", "-5")
    try:
        assert process.stdout is not None
        facts = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert set(facts) == {"page", "peakly", "pago_facil", "username", "password"}
        peakly = Peakly(username=facts["username"], password=facts["password"], base_url=facts["peakly"])
        async with TokenManager(peakly) as manager:
            assert 50 < ((await manager.token()).lifetime or 0) <= 60
        async with aiohttp.ClientSession() as http, http.get(f"{facts['page']}events") as events:
            assert events.status == 200
            process.send_signal(number)  # with a listener that is still there
            out, errors = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, out, errors) == (0, b"", b"")
        for url in (facts["page"], facts["peakly"], facts["pago_facil"]):
            port = int(url.rstrip("/").rpartition(":")[2])
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


_CLIENT = """
import asyncio, json, logging, socket, sys
import aiohttp
from asyncauth import InsecureTransport, PagoFacilJWT, Peakly, client_session

facts = json.loads(sys.argv[1])
logging.basicConfig(stream=sys.stderr, format="%(message)s")
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda host, *args, **kwargs: lookup("127.0.0.1" if host == "sandbox" else host, *args, **kwargs)

def named(url):
    return url.replace("0.0.0.0", "sandbox")

account = {"username": facts["username"], "password": facts["password"]}

async def main():
    try:
        Peakly(**account, base_url=named(facts["peakly"]))
    except InsecureTransport as error:
        assert "insecure_hosts=('sandbox',)" in str(error)
    hosts = {"insecure_hosts": ("sandbox",)}
    peakly = Peakly(**account, base_url=named(facts["peakly"]), **hosts)
    pago_facil = PagoFacilJWT.from_password(**account, base_url=named(facts["pago_facil"]), **hosts)
    async with client_session(peakly, pago_facil) as http:
        for url in (named(facts["peakly"]) + "/api/x", named(facts["pago_facil"]) + "/x"):
            async with http.get(url) as answer:
                print(answer.status)

asyncio.run(main())
"""
"""A container's name service knows the sandbox by its name; nothing else of a container is needed to be another one."""


async def test_it_serves_the_clients_of_other_machines() -> None:
    """By a name, in the clear, as between containers; the clients say once that this can be read."""
    process = await start("--json", "--no-page", "--host", "0.0.0.0", "--allow-remote")  # noqa: S104
    try:
        assert process.stdout is not None
        facts = await asyncio.wait_for(process.stdout.readline(), 30)
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", _CLIENT, facts.decode(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(client.communicate(), 30)
        assert (client.returncode, out.split()) == (0, [b"200", b"200"]), errors
        (warning,) = errors.splitlines()
        assert warning.startswith(b"plain http to sandbox, as insecure_hosts= permits: tokens and credentials can be ")
    finally:
        process.kill()
        await process.communicate()


async def test_people_are_told_where_it_is() -> None:
    """Without --json the addresses, the credentials and an example are shown."""
    process = await start()
    try:
        assert process.stdout is not None
        banner = (await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C"), 30)).decode()
        assert "page         http://127.0.0.1:" in banner
        assert "curl" in banner
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--host", "192.0.2.1"], 2, "(--allow-remote) permits that"),
        (["--lifetime", "-1"], 2, "lifetime must be"),
        (["--port", "99999"], 2, "--port"),
        (["--host", "..", "--allow-remote"], 2, "not a host name"),
        (["--host", "192.0.2.1", "--allow-remote"], 1, "can't listen on 192.0.2.1: "),
    ],
)
def test_what_it_cannot_do_is_a_line(shell: Shell, arguments: list[str], code: int, words: str) -> None:
    """Wrong usage ends with 2 and says what is wrong, without a traceback."""
    ended = shell.run("sandbox", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_taken_port_is_a_line(shell: Shell) -> None:
    """A page's port that somebody has ends with 1 and a line, in both commands."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = shell.run("sandbox", "--port", port)
        assert main(["--page", "--page-port", port]) == 1
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert (
        f"can't listen on 127.0.0.1: port {port} is in use: end the program that has it, or choose another" in ended.err
    )
