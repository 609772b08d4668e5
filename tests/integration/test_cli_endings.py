"""How commands end before their time: Ctrl-C, a reader that has gone, and what is left then."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from cli_kit import INSTALLED, Shell, credentials

from asyncauth.cli.doctor.store import look_into
from asyncauth.cli.stores import Chosen
from asyncauth.sandbox import Sandbox, sandbox_in_thread
from asyncauth.stores import FileStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with sandbox_in_thread() as running:
        for name, value in credentials(running).items():
            monkeypatch.setenv(name, value)
        yield running


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", INSTALLED, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Send SIGINT; return the exit code and stderr."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


class Hang:
    """An answer that never comes, and word of the request that waits for it."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    async def __call__(self, request: web.Request) -> web.Response | None:
        self._asked.set()
        await asyncio.Event().wait()
        return None

    def wait(self) -> None:
        """Return when a request waits."""
        assert self._asked.wait(30), "no request came"


@pytest.mark.parametrize("command", [("token", "peakly"), ("doctor", "peakly"), ("request", "/api/check")])
def test_ctrl_c_while_a_token_is_awaited(sandbox: Sandbox, command: tuple[str, str]) -> None:
    """SIGINT ends a command that waits for a token at once: exit code 130, nothing on stderr."""
    url, hang = sandbox.peakly.url, Hang()
    sandbox.peakly.token_faults.answer(hang)
    name, what = command
    arguments = [name, url + what, "--as", "peakly"] if name == "request" else [name, what]
    with start(*arguments, "--base-url", url, "--timeout", "50") as process:
        hang.wait()
        assert interrupt(process) == (130, "")


def test_ctrl_c_while_an_answer_is_awaited(sandbox: Sandbox) -> None:
    """SIGINT ends a request whose answer does not come."""
    url, hang = sandbox.peakly.url, Hang()
    sandbox.peakly.api_faults.answer(hang)
    with start("request", f"{url}/api/check", "--as", "peakly", "--base-url", url) as process:
        hang.wait()
        assert interrupt(process) == (130, "")


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_ctrl_c_while_a_store_is_awaited(command: str) -> None:
    """SIGINT ends a command whose Redis accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout=50&socket_connect_timeout=50"
        arguments = ["status", url] if command == "status" else ["doctor", "--store", url]
        with start(*arguments, "--timeout", "50") as process:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                assert connection.recv(1)
                assert interrupt(process) == (130, "")


async def test_a_probe_that_is_broken_off_leaves_no_trace(tmp_path: Path) -> None:
    """A doctor that is cancelled while it tries a folder leaves no file of its own there, whenever that is."""
    one, two = (Chosen(store, store, "store", folder=tmp_path) for store in (FileStore(tmp_path), FileStore(tmp_path)))
    for milliseconds in range(0, 30, 2):
        visit = asyncio.create_task(look_into(one, two, 5.0, offline=False))
        await asyncio.wait((visit,), timeout=milliseconds / 1000)
        visit.cancel()
        await asyncio.gather(visit, return_exceptions=True)
        assert os.listdir(tmp_path) == [], milliseconds  # noqa: PTH208


@pytest.mark.parametrize("command", ["doctor peakly --offline", "--help", "status ."])
def test_a_reader_that_has_gone(command: str) -> None:
    """When the reader of stdout closes it, the command ends without a message from Python."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-W", "error", INSTALLED, *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writing)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")


def test_ways_to_start(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """`asyncauth`, `python -m asyncauth` and `python -m asyncauth.cli` are one program."""
    answers = {
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
        for command in ([INSTALLED], [sys.executable, "-m", "asyncauth"], [sys.executable, "-m", "asyncauth.cli"])
    }
    assert len(answers) == 1
    assert answers.pop().startswith("Usage: asyncauth ")
    assert Shell(monkeypatch, capfdbinary).run("--version").out.startswith("asyncauth ")


def test_a_terminal_without_the_characters() -> None:
    """Where the terminal's encoding is ASCII, what it lacks becomes a question mark; the command succeeds."""
    ended = Shell.spawn("demo", "--seconds", "1", "--rate", "10", PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0")
    assert (ended.code, ended.err) == (0, "")
    assert "Pago F?cil" in ended.out
