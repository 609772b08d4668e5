"""Installs dist/'s wheel with each extra alone, and with none, each in a new environment, and uses it there.

An import that works only if the development dependencies are installed fails, and so does an extra that lacks a
package. The extras are those of pyproject.toml; scripts/extras/ has a file for each, with two functions:

- ``use()`` uses the extra for its purpose;
- ``without()`` tries the same in the environment without extras, which must fail with an error that names the extra.

``use_base.py`` has a ``use()`` for no extra at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USES = ROOT / "scripts" / "extras"
BASE = "base"

_CALL = "import runpy, sys; runpy.run_path(sys.argv[1])[sys.argv[2]]()"
_LIMIT = 120.0
"""Seconds that one command may take."""


class Failure(Exception):
    """An extra failed its check."""


def run(*command: str | Path) -> tuple[int, str]:
    """Run a command; return its exit code and its output. It finds this environment's redis-server."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_LIMIT,
        env={**os.environ, "PATH": path},
    )
    return done.returncode, done.stdout


def called(python: Path, extra: str, function: str) -> tuple[int, str]:
    """Call a function of an extra's file with warnings as errors, and only installed packages on the path."""
    return run(python, "-I", "-W", "error", "-c", _CALL, USES / f"use_{extra}.py", function)


def installed(wheel: Path, extra: str, folder: Path) -> Path:
    """Return the Python of a new environment that has the wheel with one extra, or none."""
    place = folder / extra
    code, printed = run(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin" / "python"
    wanted = str(wheel) if extra == BASE else f"{wheel}[{extra}]"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet", "install")
    if not code:
        code, printed = run(*pip, wanted)
    if code:
        raise Failure(f"{extra} can't be installed:\n{printed}")
    return python


def check(wheel: Path, extra: str, folder: Path) -> Path:
    """Install an extra alone, and use it."""
    if not (USES / f"use_{extra}.py").exists():
        raise Failure(f"nothing uses the extra {extra}: write scripts/extras/use_{extra}.py")
    python = installed(wheel, extra, folder)
    code, printed = called(python, extra, "use")
    if code:
        raise Failure(f"{extra}: installed alone, it does not work:\n{printed}")
    return python


def check_without(base: Path, extra: str) -> None:
    """Try an extra's purpose where it is not installed: the error must say how to install it."""
    code, printed = called(base, extra, "without")
    if not code or f"pip install 'asyncauth[{extra}]'" not in printed:
        raise Failure(f"{extra}: where it is not installed, no error says how to get it:\n{printed}")


def main() -> None:
    """Check all extras, two at a time, since pip takes most of the time."""
    wheels = list((ROOT / "dist").glob("*.whl"))
    if not wheels:
        sys.exit("dist/ holds no wheel: make dist")
    extras: list[str] = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        try:
            pythons = list(pool.map(lambda extra: check(wheels[0], extra, folder), [BASE, *extras]))
            list(pool.map(lambda extra: check_without(pythons[0], extra), extras))
        except Failure as failure:
            sys.exit(str(failure))
    print(f"extras: {', '.join(extras)}: each works alone, and says so where it is missing; the base needs none")


if __name__ == "__main__":
    main()
