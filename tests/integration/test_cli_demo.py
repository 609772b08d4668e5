"""``asyncauth demo``: the main job, its report, and how it ends."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from typing import Any

import pytest
from cli_kit import Shell

from asyncauth.sandbox import DEFAULT_PASSWORD


def test_a_short_run_as_json() -> None:
    """A run of 3 s with all its faults fails no request, and prints its report and nothing else to stdout."""
    ended = Shell.spawn("demo", "--seconds", "3", "--json")
    report: dict[str, Any] = json.loads(ended.out)
    assert (ended.code, report["passed"], report["failed"], report["reasons"]) == (0, True, 0, {})
    assert report["requests"] == 902  # the schedule's, and each system's first
    assert [mishap["name"] for mishap in report["mishaps"]] == ["revocation", "outage", "slow endpoint"]
    tokens = report["token_requests"]
    assert tokens["least"] <= tokens["made"] - tokens["without_token"]
    # What renewing in time costs beyond the least, what jitter brings forward, and two repeats after the revocation.
    assert tokens["made"] - tokens["without_token"] <= tokens["paced"] + 8
    assert 0 < report["latency"]["p50"] <= report["latency"]["p99"] <= report["latency"]["max"]
    assert "endpoints are down" in ended.err
    assert ended.has_none_of(DEFAULT_PASSWORD)


def test_plain_lines_without_a_terminal() -> None:
    """Without a terminal there are lines, one a second or so, and the report; no control characters."""
    ended = Shell.spawn("demo", "--seconds", "3", "--rate", "50")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert sum("requests, 0 failed" in line for line in lines) in range(2, 6)
    assert all("waiting " in line for line in lines if "requests, 0 failed" in line)
    (first,) = (number for number, line in enumerate(lines) if line.startswith("requests        152, failed 0"))
    assert len(lines) - first <= 10  # the summary, which it begins
    assert "\x1b" not in ended.out
    assert ended.has_none_of(DEFAULT_PASSWORD)


def requests_in(line: str) -> int:
    """Return how many requests a line of the progress counts. Fails at the end of the progress."""
    assert line, "it has ended by itself"
    found = re.search(r"(\d+) requests, \d+ failed", line)
    return 0 if found is None else int(found[1])


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_with_the_report_so_far() -> None:
    """SIGINT ends a run early with the report so far, exit code 130, and no traceback."""
    options = ["--seconds", "40", "--rate", "20", "--json"]  # a rate that the slowest machine keeps up with
    command = [sys.executable, "-W", "error", "-X", "dev", "-m", "asyncauth.cli", "demo", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        while requests_in(process.stderr.readline()) < 3:  # each system's first, and one on schedule
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    report: dict[str, Any] = json.loads(out)
    assert (process.returncode, report["interrupted"], report["failed"]) == (130, True, 0)
    assert 2 < report["requests"] < 40 * 20
    assert "20 requests per second" in first
    assert "Traceback" not in err
    assert "Warning" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_live_table_on_a_terminal() -> None:
    """On a terminal a table is drawn anew, with a line for each manager, the chain's others included."""
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "asyncauth.cli", "demo", "--seconds", "2", "--rate", "40"]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(command, stdout=terminal, stdin=terminal, env=environ) as process:
        os.close(terminal)
        seen = b""
        while process.poll() is None or select.select([controller], [], [], 0.1)[0]:
            try:
                seen += os.read(controller, 65536)
            except OSError:  # the other side is closed
                break
    os.close(controller)
    text = seen.decode()
    assert process.returncode == 0
    assert "\x1b[" in text
    for word in (
        "token manager",
        "createToken",
        "login",
        "fresh",
        "every token of both systems is revoked",
        "waiting",
        "p99",
    ):
        assert word in text
