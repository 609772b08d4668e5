"""What the command line's tests share: the command in this process, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from harness.canary import look

from asyncauth.cli import app

if TYPE_CHECKING:
    import pytest

    from asyncauth.sandbox import Sandbox

INSTALLED = str(Path(sys.executable).with_name("asyncauth"))
"""The command as a user has it."""
_READ = ("ASYNCAUTH_", "PEAKLY_", "PAGO_FACIL_", "CLIENT_")
"""How the names of the variables begin that the command reads."""


@attrs.frozen
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def has_none_of(self, *secrets: str) -> bool:
        """Return whether no secret is in what it printed."""
        return not any(secret in self.out or secret in self.err for secret in secrets)


def credentials(sandbox: Sandbox) -> dict[str, str]:
    """Return environment variables with the sandbox's username and password for both systems."""
    return {
        f"{system}_{name}": value
        for system in ("PEAKLY", "PAGO_FACIL")
        for name, value in (("USERNAME", sandbox.username), ("PASSWORD", sandbox.password))
    }


class Shell:
    """Runs commands with these environment variables and no others that the command reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self._patch = monkeypatch
        self._captured = capfdbinary
        for name in [name for name in os.environ if name.startswith(_READ)]:
            monkeypatch.delenv(name)

    def set(self, **environ: str) -> None:
        """Set environment variables."""
        for name, value in environ.items():
            self._patch.setenv(name, value)

    def run(self, *arguments: str, stdin: bytes = b"") -> Ended:
        """Run a command in this process."""
        self._patch.setattr(sys, "argv", ["asyncauth", *arguments])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = app.run()
        sys.stdout.flush()
        out, err = self._captured.readouterr()
        return Ended(code, out.decode(), err.decode())

    @staticmethod
    def spawn(*arguments: str, stdin: bytes = b"", **environ: str) -> Ended:
        """Run a command as a process of its own, in which warnings are errors."""
        ended = subprocess.run(
            [sys.executable, "-W", "error", INSTALLED, *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=250,  # seconds: it ends what hangs
            env={**os.environ, **environ},
        )
        out, err = ended.stdout.decode(), ended.stderr.decode()
        look("stdout", out)
        look("stderr", err)
        return Ended(ended.returncode, out, err)
