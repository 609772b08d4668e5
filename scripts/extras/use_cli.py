"""The command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from asyncauth.cli.__main__ import main
from asyncauth.sandbox import sandbox_in_thread


def use() -> None:
    """Obtain a token by the command."""
    with sandbox_in_thread() as sandbox:
        variables = {
            "PEAKLY_USERNAME": sandbox.username,
            "PEAKLY_PASSWORD": sandbox.password,
        }
        command = [str(Path(sys.executable).parent / "asyncauth"), "token", "peakly", "--base-url", sandbox.peakly.url]
        subprocess.run(command, env={**os.environ, **variables}, check=True, timeout=60)
        assert sandbox.peakly.counts.token_requests == 1


def without() -> None:
    """Run the command."""
    sys.exit(main())
