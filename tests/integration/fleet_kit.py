"""A fleet of real processes, and what a test does to it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from contract_kit import Side
from harness.canary import look

WORKER = Path(__file__).parent / "fleet" / "worker.py"


@attrs.define(eq=False)
class Process:
    """One worker."""

    popen: subprocess.Popen[str]
    errors: Any
    lines: queue.Queue[dict[str, Any]] = attrs.field(factory=queue.Queue)

    def read(self) -> None:
        """Collect its reports, on a thread of its own."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.put(json.loads(line))

    def report(self, seconds: float = 45.0) -> dict[str, Any]:
        """Return its next report."""
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no report in {seconds} s; it says: {self.said()}") from None

    def said(self) -> str:
        """Return what it logged."""
        self.errors.seek(0)
        return str(self.errors.read())

    def go(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        os.kill(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@attrs.define(eq=False)
class Fleet:
    """Several workers."""

    processes: list[Process]
    _began: float = 0.0

    def go(self) -> None:
        """Let all begin at once."""
        for process in self.processes:
            process.report()
        self._began = time.monotonic()
        for process in self.processes:
            process.go()

    def end(self) -> Outcome:
        """Return what became of all, when they have ended."""
        reports = [process.report() for process in self.processes]
        seconds = time.monotonic() - self._began
        for process in self.processes:
            assert process.popen.wait(10) == 0
            said = process.said()
            look("log", said)
            assert "Traceback" not in said, said
            assert "was never" not in said, said
        assert [report["left"] for report in reports] == [[]] * len(reports)
        return Outcome(reports, "".join(process.said() for process in self.processes), seconds)


@attrs.define(eq=False)
class Outcome:
    """What a fleet reports.

    Attributes:
        reports: Each process' own.
        log: What they logged.
        seconds: How long the last of them took.
    """

    reports: list[dict[str, Any]]
    log: str
    seconds: float

    @property
    def statuses(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for report in self.reports:
            total.update(report["statuses"])
        return dict(total)

    def total(self, name: str) -> int:
        return sum(report[name] for report in self.reports)


@contextlib.contextmanager
def fleet(side: Side, count: int, **settings: Any) -> Iterator[Fleet]:
    """Run so many workers against a system of the sandbox; none outlives the ``with`` block."""
    given = {
        "system": side.name,
        "url": side.server.url,
        "username": side.sandbox.username,
        "password": side.server.settings.password,
        **settings,
    }
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            errors = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            popen = subprocess.Popen(
                [sys.executable, "-W", "error", str(WORKER), json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            stack.enter_context(popen)
            stack.callback(popen.kill)
            process = Process(popen, errors)
            thread = threading.Thread(target=process.read, daemon=True)
            thread.start()
            processes.append(process)
        yield Fleet(processes)


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)
