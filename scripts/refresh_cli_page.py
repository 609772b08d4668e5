"""Writes the commands' current help into docs/cli.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
BLOCK = re.compile(r"^```console\n\$ (asyncauth (?:\w+ )?--help)\n.*?^```$", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Replace each block that shows a command's help."""

    def shown(block: re.Match[str]) -> str:
        command = [sys.executable, "-m", *block[1].split()]
        environ = {**os.environ, "COLUMNS": "100", "TERM": "dumb"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
        return f"```console\n$ {block[1]}\n{done.stdout.rstrip()}\n```"

    PAGE.write_text(BLOCK.sub(shown, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
