"""The command line's parts that need no server."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import typer
from harness.canary import MARK, secret

from asyncauth import Peakly, Token, TokenEndpointUnavailable
from asyncauth._base.printable import printable
from asyncauth.cli import app, outcome
from asyncauth.cli.__main__ import main
from asyncauth.cli.demo.load import Tally, quantile
from asyncauth.cli.shown import as_json
from asyncauth.cli.systems import System
from asyncauth.cli.target import Given
from asyncauth.cli.token import _facts


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_there_is_one_line(missing: str) -> None:
    """Without the extra the command says in one line what to install, and exits with 1."""
    program = f"import sys; sys.modules[{missing!r}] = None\nfrom asyncauth.cli.__main__ import main\nsys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert f"needs {missing}" in ended.stderr
    assert "pip install 'asyncauth[cli]'" in ended.stderr


def test_ctrl_c_before_a_command_has_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during the imports ends with 130 as well, and without a traceback."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    assert main() == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["demo", "-h"], *([each, "--help"] for each in ("token", "request", "sandbox", "status", "doctor"))],
)
def test_help(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has help with examples, that tells its exit codes."""
    monkeypatch.setattr(sys, "argv", ["asyncauth", *arguments])
    assert app.run() == 0
    text = capsys.readouterr().out
    assert re.search(r"Exit codes:\s+0", text)
    assert f"asyncauth {arguments[0] if len(arguments) > 1 else 'COMMAND'}" in text.partition("Usage:")[2][20:]


@pytest.mark.parametrize(
    "variable",
    ["PEAKLY_USERNAME", "PEAKLY_PASSWORD"]
    + [f"PAGO_FACIL_{name}" for name in ("ACCESS_TOKEN", "JWT", "USERNAME", "PASSWORD")],
)
@pytest.mark.parametrize("command", ["token", "request", "doctor"])
def test_help_names_the_variables(
    command: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help names every environment variable that credentials are read from."""
    monkeypatch.setattr(sys, "argv", ["asyncauth", command, "--help"])
    app.run()
    assert variable in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["token", "--nonsense"], ["request"], ["demo", "--seconds", "0"]])
def test_wrong_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage ends with 2 and leaves stdout empty."""
    monkeypatch.setattr(sys, "argv", ["asyncauth", *arguments])
    assert app.run() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage:" in captured.err


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the name and version."""
    monkeypatch.setattr(sys, "argv", ["asyncauth", "--version"])
    assert app.run() == 0
    assert capsys.readouterr().out.startswith("asyncauth ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyError("a secret"), 1, "asyncauth: this is a bug in asyncauth: KeyError (--verbose shows where)\n"),
        (PermissionError(13, "Permission denied", "/etc/x"), 1, "asyncauth: Permission denied\n"),
        (outcome.Problem("two\nlines"), 2, "asyncauth: two lines\n"),
        (TokenEndpointUnavailable("down"), 3, "asyncauth: TokenEndpointUnavailable: down\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_commands_end(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a command raises becomes an exit code and a line without a traceback or an unknown error's text."""

    def fail() -> int:
        raise error

    with pytest.raises(typer.Exit) as ended:
        outcome.conclude(fail, verbose=False)
    assert ended.value.exit_code == code
    assert ended.value.__context__ is None
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([1.0], 0.99, 1.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0], 0.51, 2.0), ([1.0, 2.0], 0.0, 1.0)],
)
def test_quantile(values: list[float], share: float, expected: float | None) -> None:
    """A quantile is one of the values: the first that the share of them does not exceed."""
    assert quantile(values, share) == expected


def test_quantile_of_a_hundred() -> None:
    """The 99th of a hundred is not yet the slowest."""
    assert quantile([float(number) for number in range(1, 101)], 0.99) == 99.0


def test_recent_latencies() -> None:
    """A tally's recent latencies are those since the last look."""
    tally = Tally("system", "http://127.0.0.1")
    tally.latencies.extend([0.3, 0.1])
    assert tally.recent() == [0.1, 0.3]
    assert tally.recent() == []


def test_nothing_from_elsewhere_commands_the_terminal() -> None:
    """Control characters, changes of direction and what can't be encoded: blanks in text, escapes in JSON."""
    text = "a\x1b[2J\x9b31m\x7f\u202e\udcff é"
    assert printable(text) == "a [2J 31m    é"
    assert as_json([text], indent=None) == r'["a\u001b[2J\u009b31m\u007f\u202e\udcff é"]'
    assert json.loads(as_json([text])) == [text]


def test_what_the_server_says_of_a_token_does_not_show_it() -> None:
    """A scope or token type in which the server repeats the token is shown without it."""
    value = secret("token")
    obtained = Token(value, issued_at=0.0, expires_at=None, token_type=MARK, scope=f"read {value}")
    given = Given(Peakly(username="ana", password="x"), "password", "x")
    facts = _facts(System.PEAKLY, given, obtained)
    assert (facts["token_type"], facts["scope"]) == ("…", "read …")
