"""Shell completion: what each shell gets, where it is installed, and that bash completes by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import INSTALLED

BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None or sys.platform != "linux", reason="needs bash, and its name in /proc")

WHERE = {
    "bash": (".bash_completions/asyncauth.sh", ".bashrc"),
    "zsh": (".zfunc/_asyncauth", ".zshrc"),
    "fish": (".config/fish/completions/asyncauth.fish", None),
}


def environ(home: Path, **more: str) -> dict[str, str]:
    path = f"{Path(INSTALLED).parent}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "PYTHONWARNINGS": "error", **more}


def under(shell: str, home: Path, line: str) -> str:
    """Return what a command prints that is run from a process that is called as the shell is.

    Which shell it is typer finds out from the parent process' name: a bash of that name will do.
    """
    assert BASH is not None
    program = home / "bin" / shell
    program.parent.mkdir(exist_ok=True)
    if not program.exists():
        shutil.copy(BASH, program)
    done = subprocess.run(
        [program, "-c", f"{line}; exit $?"], capture_output=True, text=True, check=False, timeout=30, env=environ(home)
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def script_of_bash(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What bash reads once, when it starts."""
    return under("bash", tmp_path_factory.mktemp("home"), "asyncauth --show-completion")


@pytest.mark.parametrize("shell", WHERE)
def test_show_completion(shell: str, tmp_path: Path) -> None:
    """--show-completion prints a script for the shell it is called from."""
    script = under(shell, tmp_path, "asyncauth --show-completion")
    assert f"complete_{shell}" in script
    assert "_ASYNCAUTH_COMPLETE" in script


@pytest.mark.parametrize("shell", WHERE)
def test_install_completion(shell: str, tmp_path: Path) -> None:
    """--install-completion puts the script where the shell reads it."""
    said = under(shell, tmp_path, "asyncauth --install-completion")
    script, settings = WHERE[shell]
    assert f"{shell} completion installed in" in said
    assert "_ASYNCAUTH_COMPLETE" in (tmp_path / script).read_text()
    assert settings is None or Path(script).parent.name in (tmp_path / settings).read_text()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("asyncauth d", {"demo", "doctor"}),
        ("asyncauth st", {"status"}),
        ("asyncauth token p", {"peakly", "pago-facil"}),
        ("asyncauth token peakly --sh", {"--show"}),
    ],
)
def test_bash_completes(tmp_path: Path, script_of_bash: str, line: str, expected: set[str]) -> None:
    """In bash, the script that is shown completes commands, systems and options."""
    assert BASH is not None
    words = line.split()
    program = (
        f"{script_of_bash}\n"
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}\n"
        "IFS=' '; _asyncauth_completion asyncauth; IFS=$'\\n'; echo \"${COMPREPLY[*]}\"\n"
    )
    done = subprocess.run(
        [BASH, "-c", program], capture_output=True, text=True, check=False, timeout=30, env=environ(tmp_path)
    )
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "asyncauth do"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "asyncauth do", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_what_the_other_shells_ask(tmp_path: Path, shell: str, variables: dict[str, str]) -> None:
    """Asked as zsh's and fish's scripts ask, the command answers with what would complete the word."""
    done = subprocess.run(
        [INSTALLED],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environ(tmp_path, _ASYNCAUTH_COMPLETE=f"complete_{shell}", **variables),
    )
    assert "doctor" in done.stdout
    assert "demo" not in done.stdout
    assert done.stderr == ""
