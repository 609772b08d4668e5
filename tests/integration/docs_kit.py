"""The code blocks of a page, run as they are printed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATIENCE = 120.0
"""Seconds that one command may take on a machine that has a lot to do."""

CANNOT_RUN = {
    "asyncauth demo": "takes 20 s; test_cli_demo.py runs it",
}
"""Commands that pages show and that are not run with them, and why. An installation is checked and not run, either:
there is no index here that has asyncauth."""

QUOTED = {"Naive", "Before"}
"""Captions of code that is not asyncauth's, and so is not run with its page; test_docs_incidents.py looks at it."""

_WARNINGS = ["-W", "error"]
if version("aiohttp") < "3.13":  # which does not wait for the end of a TLS connection when a session is closed
    _WARNINGS += ["-W", "ignore:unclosed <socket:ResourceWarning", "-W", "ignore:unclosed transport:ResourceWarning"]

_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<directive>\{[\w-]+\})? *(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"0*[1-9]\d*(?:\\\.\d+)?|0\\\.\d+")
"""One that is not 0, in an escaped text."""
_OPTION = re.compile(r":(\w+): ?(.*)\n")
_INSTALL = re.compile(r"pip install '?asyncauth(?:\[(?P<extras>[\w,]+)\])?'?(?: [\w-]+)*")
_CHANGES_THE_SHELL = ("export ", "cd ")


@attrs.frozen
class Block:
    """A fenced block: the language it is in, its text, its caption, and the line where it begins."""

    language: str
    text: str
    caption: str = ""
    line: int = 0

    @property
    def is_output(self) -> bool:
        """Whether it shows what the block before it prints."""
        return self.language in {"", "text"} and not self.caption

    @property
    def is_quoted(self) -> bool:
        """Whether it is somebody else's code."""
        return self.caption in QUOTED


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page that show code or text; directives that arrange or include are left out."""
    found = []
    for match in _FENCE.finditer(page):
        if match["directive"] not in {None, "{code-block}"}:
            continue
        text, options = match["text"], dict[str, str]()
        while match["directive"] and (option := _OPTION.match(text)):
            options[option[1]] = option[2].strip()
            text = text[option.end() :]
        line = page.count("\n", 0, match.start()) + 1
        found.append(Block(match["language"], text.lstrip("\n"), options.get("caption", ""), line))
    return found


ELSEWHERE = {
    DOCS / "howto" / "containers.md": "test_docs_containers.py",
    DOCS / "howto" / "find-your-api.md": "test_recipes.py",
    DOCS / "howto" / "other-clients.md": "test_docs_other_clients.py",
    DOCS / "testing.md": "test_docs_testing.py",
    DOCS / "es" / "pruebas.md": "test_docs_testing.py",
}
"""Pages whose code a test of their own runs: as plain processes, with other servers, by a pytest."""

MEASURED = {DOCS / "cli.md"}
"""Pages whose outputs hold times and counts of one run, and versions; their helps are compared by test_cli_page.py."""


def pages() -> list[Path]:
    """Return the pages with code that is run here, README first."""
    written = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
    return [page for page in written if page not in ELSEWHERE and blocks_of(page.read_text(encoding="utf-8"))]


def matches(shown: str, seen: str, *, measured: bool = False) -> bool:
    """Return whether an output is the one shown: ``…`` stands for any text, on a line of its own for any lines.

    Where it is measured, a number stands for any number; only 0 is 0 (``0 failed``).
    """
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "…" else ".*?".join(map(re.escape, line.split("…"))) + "\n"
        for line in shown.splitlines()
    )
    if measured:
        pattern = _NUMBER.sub(r"\\d+(?:\\.\\d+)?", pattern)
    return re.fullmatch(pattern, seen if seen.endswith("\n") or not seen else f"{seen}\n") is not None


def commands_of(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that follows it."""
    commands: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), ""))
            continue
        assert commands, "a console block begins with '$ '"
        command, output = commands[-1]
        if command.endswith("\\") and not output:
            commands[-1] = (f"{command}\n{line.removeprefix('> ')}", "")
        else:
            commands[-1] = (command, f"{output}{line}\n")
    return commands


@attrs.define(eq=False)
class Terminal:
    """Where a page's blocks are run: a folder, the reader's environment variables, and what was left running.

    A Python block is a program of its own or, with a caption, the file of that name. A console block is typed line by
    line; the commands of one whose caption speaks of a terminal are left running there until the page ends.
    """

    folder: Path
    environment: dict[str, str]
    typed: list[str] = attrs.field(factory=list[str])
    """What changed the shell itself, for the commands that come after."""
    running: list[subprocess.Popen[bytes]] = attrs.field(factory=list[subprocess.Popen[bytes]])
    measured: bool = False
    """Whether the page is one of `MEASURED`."""

    def run(self, page: Path) -> None:
        """Run a page's blocks from top to bottom.

        Raises:
            AssertionError: One did not do what the page says.
        """
        blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if not block.is_quoted]
        self.measured = page in MEASURED
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            try:
                self._run(block, following.text if following is not None and following.is_output else "")
            except AssertionError as error:
                raise AssertionError(f"{page.relative_to(ROOT)}:{block.line}: {error}") from None

    def _run(self, block: Block, shown: str) -> None:
        if block.language == "console":
            for command, output in commands_of(block):
                self._type(command, output, elsewhere="terminal" in block.caption.lower())
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "python" and block.caption:
            (self.folder / block.caption).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            assert self._expect([sys.executable, *_WARNINGS, "-c", block.text], shown) == 0, "it fails"
        else:
            assert block.language in {"", "text"}, f"nobody runs {block.language}"

    def _type(self, command: str, shown: str, *, elsewhere: bool) -> None:
        if command in CANNOT_RUN or (self.measured and command.endswith(" --help")):
            return
        if "pip install" in command:
            check_installation(command)
        elif command.startswith(_CHANGES_THE_SHELL):
            self.typed.append(command)
        elif elsewhere:
            self._leave_running(command, shown)
        else:
            code = self._expect(["/bin/bash", "-c", "\n".join([*self.typed, command])], shown)
            assert shown or code == 0, f"it fails: {command}"

    def _expect(self, command: list[str], shown: str) -> int:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        there = f"the page shows\n\n{shown}\nand it is\n\n{done.stdout}"
        assert matches(shown, done.stdout, measured=self.measured), there
        return done.returncode

    def _leave_running(self, command: str, shown: str) -> None:
        log = self.folder / f"terminal-{len(self.running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/bin/bash", "-c", "\n".join([*self.typed, f"exec {command}"])],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.running.append(process)
        end = time.monotonic() + PATIENCE
        while not matches(shown, log.read_text(), measured=self.measured):
            there = f"the page shows\n\n{shown}\nand it is\n\n{log.read_text()}"
            assert process.poll() is None, there
            assert time.monotonic() < end, there
            time.sleep(0.02)

    def close(self) -> None:
        """End what was left running, as Ctrl-C does."""
        for process in self.running:
            process.send_signal(signal.SIGINT)
        for process in self.running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_installation(command: str) -> None:
    """Check that there is what a page tells to install.

    Raises:
        AssertionError: There is no such extra, or it is something else than asyncauth that is installed.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = _INSTALL.search(command)
    assert found, f"not the installation of asyncauth: {command}"
    extras = set((found["extras"] or "").split(",")) - {""}
    assert extras <= set(project["optional-dependencies"]), f"there is no such extra: {command}"
