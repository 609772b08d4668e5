"""Installs a dependency group of pyproject.toml; if that fails, each package that can be installed, one by one.

Run: python scripts/install_group.py GROUP PIP-OPTION …
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(group: str, *options: str) -> None:
    """Install the group, and print what is left out."""
    pip = [sys.executable, "-m", "pip", "install", *options]
    if subprocess.run([*pip, "--group", group], cwd=ROOT, check=False).returncode == 0:
        return
    requirements: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    for requirement in requirements:
        if subprocess.run([*pip, requirement], cwd=ROOT, check=False).returncode:
            print(f"left out, for it can't be installed: {requirement}")


if __name__ == "__main__":
    main(*sys.argv[1:])
