"""``asyncauth token``: facts about a token, from credentials that never stand on the command line."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from cli_kit import Shell, credentials
from harness.canary import CANARIES, PREFIX

from asyncauth.sandbox import Sandbox, sandbox_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_thread(**CANARIES) as running:
        yield running


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(monkeypatch, capfdbinary)


@pytest.fixture
def able(shell: Shell, sandbox: Sandbox) -> Shell:
    shell.set(**credentials(sandbox))
    return shell


@pytest.mark.parametrize("command", [("token", "peakly"), ("request", "https://api.peakly.co/x")])
def test_a_closed_stdout_is_no_success(command: tuple[str, ...]) -> None:
    """Where nothing can be printed the exit code is 1, and the one line names the cause."""
    line = [sys.executable, "-m", "asyncauth.cli", *command]
    ended = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *line], stderr=subprocess.PIPE, check=False, timeout=50)
    assert (ended.returncode, ended.stderr) == (1, b"asyncauth: stdout is closed: nothing could be printed\n")


@pytest.mark.parametrize("system", ["peakly", "pago-facil"])
def test_times_and_fingerprint_are_printed(able: Shell, sandbox: Sandbox, system: str) -> None:
    """`token` prints when the token ends and its fingerprint, and neither the token nor the password."""
    ended = able.spawn("token", system, "--base-url", sandbox.systems[system.replace("-", "_")].url)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"^fingerprint +[0-9a-f]{8}$", ended.out, re.MULTILINE)
    assert re.search(r"^expires at +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", ended.out, re.MULTILINE)
    assert ended.has_none_of(sandbox.password)
    assert not re.search(r"[\w-]{40,}", ended.out)


@pytest.mark.shows_secrets("stdout", reason="--show")
def test_the_token_itself_is_printed_with_show_only(able: Shell, sandbox: Sandbox) -> None:
    """--show adds the token itself; without it no field holds it."""
    place = ("--base-url", sandbox.peakly.url, "--json")
    quiet, shown = able.run("token", "peakly", *place), able.run("token", "peakly", *place, "--show")
    facts = json.loads(shown.out)
    assert len(facts.pop("access_token")) == 128 + len(PREFIX)
    assert facts.keys() == json.loads(quiet.out).keys()
    assert not re.search(r"[\w-]{40,}", quiet.out)


def test_lifetime_of_peakly(able: Shell, sandbox: Sandbox) -> None:
    """The lifetime is the one that the server states, in seconds."""
    sandbox.configure(lifetime=7201)
    ended = able.run("token", "peakly", "--base-url", sandbox.peakly.url)
    assert re.search(r"^lifetime +7200 s \(2\.0 h\)$", ended.out, re.MULTILINE)


@pytest.mark.shows_secrets("stdout", reason="--show")
def test_pago_facil_access_token_comes_first(able: Shell, sandbox: Sandbox) -> None:
    """With an access token in the environment only loginToken is asked, and no new access token is minted."""
    place = ("--base-url", sandbox.pago_facil.url, "--json")
    login = json.loads(able.run("token", "pago-facil", *place, "--show").out)["access_token"]
    able.set(PAGO_FACIL_JWT=login)
    by_jwt = able.run("token", "pago-facil", *place)
    assert json.loads(by_jwt.out)["credential"] == "the JWT in PAGO_FACIL_JWT"
    assert by_jwt.has_none_of(login)
    assert dict(sandbox.pago_facil.counts.by_step) == {"login": 1, "createToken": 2, "loginToken": 2}
    able.set(PAGO_FACIL_ACCESS_TOKEN="no-such-token")
    refused = able.run("token", "pago-facil", *place)
    assert refused.code == 3
    assert sandbox.pago_facil.counts.by_step["login"] == 1


def test_a_wrong_password_is_one_line(able: Shell, sandbox: Sandbox) -> None:
    """A refused password ends with 3, one line that names the step, and without the password."""
    able.set(PEAKLY_PASSWORD="hunter2hunter2")
    ended = able.run("token", "peakly", "--base-url", sandbox.peakly.url)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert ended.err.startswith("asyncauth: CredentialsRejected: the server rejected the password [peakly token, http")
    assert ended.has_none_of("hunter2hunter2")
    assert sandbox.peakly.counts.token_requests == 1


def test_no_credentials(shell: Shell, sandbox: Sandbox) -> None:
    """Without credentials and without a terminal the missing variables are named, and the exit code is 2."""
    shell.set(PEAKLY_USERNAME="somebody", PEAKLY_PASSWORD="")
    ended = shell.run("token", "peakly", "--base-url", sandbox.peakly.url)
    assert ended.code == 2
    assert ended.err == "asyncauth: no credentials for Peakly: set PEAKLY_PASSWORD\n"


def test_an_unreachable_endpoint_gives_up_in_time(able: Shell) -> None:
    """--timeout bounds how long an endpoint that is down is tried; the exit code is 3."""
    started = time.monotonic()
    ended = able.run("token", "peakly", "--base-url", "http://127.0.0.1:1", "--timeout", "0.5")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert "TokenEndpointUnavailable" in ended.err
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--environment", "nowhere"),
            2,
            "peakly has no environment 'nowhere': write production or qa, or give --base-url",
        ),
        (("--environment", "qa", "--base-url", "http://127.0.0.1"), 2, "exclude each other"),
        (("--base-url", "api.peakly.co"), 2, "--base-url must be absolute"),
        (
            ("--base-url", "http://api.peakly.co"),
            2,
            "--base-url is plain http to api.peakly.co, so a token or password",
        ),
        (("--scope", "read"), 2, "need --issuer or --token-url"),
    ],
)
def test_arguments_that_cannot_work(able: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    """An argument that can't work is one line that says why, before anything is sent."""
    ended = able.run("token", "peakly", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert said in ended.err


@pytest.mark.shows_secrets("stdout", reason="--show")
def test_verbose_logs_without_secrets(able: Shell, sandbox: Sandbox) -> None:
    """--verbose shows the library's log on stderr, and no secret is in it."""
    sandbox.peakly.token_faults.server_error(times=1)
    ended = able.run("token", "peakly", "--base-url", sandbox.peakly.url, "--verbose", "--show", "--json")
    assert ended.code == 0
    assert "token request failed: TokenEndpointUnavailable" in ended.err
    assert json.loads(ended.out)["access_token"] not in ended.err
    assert sandbox.password not in ended.err


def test_nothing_is_logged_unasked(able: Shell, sandbox: Sandbox) -> None:
    """A failure on the way to a token leaves stderr empty if there is a token in the end."""
    sandbox.peakly.token_faults.server_error(times=1)
    ended = able.spawn("token", "peakly", "--base-url", sandbox.peakly.url)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_prompt_hides_the_password(shell: Shell, sandbox: Sandbox) -> None:
    """On a terminal username and password are asked for, and the password is not echoed."""
    import pty

    command = [sys.executable, "-m", "asyncauth.cli", "token", "peakly", "--base-url", sandbox.peakly.url]
    answers = [(b"username: ", sandbox.username), (b"password: ", sandbox.password)]
    # A fork beside the sandbox's thread: the child does nothing but exec.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.execv(command[0], command)  # noqa: S606 (our own program)
    seen, until = b"", time.monotonic() + 30
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # the other side is closed
                break
        if answers and answers[0][0] in seen:
            os.write(terminal, answers.pop(0)[1].encode() + b"\n")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"as typed" in seen
    assert sandbox.password.encode() not in seen
