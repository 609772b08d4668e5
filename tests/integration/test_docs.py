"""What README and the pages of docs/ show is true: every code block runs as it is printed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
import redis
from docs_kit import CANNOT_RUN, DOCS, ELSEWHERE, ROOT, Terminal, blocks_of, commands_of, matches, pages
from docs_world import world

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pages show a POSIX shell")

REFERENCE = {
    "asyncauth": ("asyncauth",),
    "asyncauth.events": ("asyncauth.events",),
    "asyncauth.httpx": ("asyncauth.httpx",),
    "asyncauth.sandbox": ("asyncauth.sandbox",),
    "asyncauth.stores": ("asyncauth.stores",),
    "asyncauth.telemetry": ("asyncauth.telemetry.health", "asyncauth.telemetry.log", "asyncauth.telemetry.otel"),
    "asyncauth.testing": ("asyncauth.testing",),
}
"""By page: the modules whose names it has."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A machine on which the addresses that the pages print lead to the sandbox."""
    with world(tmp_path_factory.mktemp("world")) as variables:
        yield variables


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.pages
@pytest.mark.timeout(600)  # a page has many commands
@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_block_of_a_page_runs_as_printed(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """A reader who copies a page's blocks from top to bottom sees what the page shows."""
    _empty_the_redis(environment)
    with _ports_of(page):
        terminal = Terminal(tmp_path, dict(environment))
        try:
            terminal.run(page)
        finally:
            terminal.close()


def _empty_the_redis(environment: dict[str, str]) -> None:
    """Delete what an earlier page left in the Redis: a page begins without a token, as its reader does."""
    with redis.Redis(port=json.loads(environment["PLACES"])["localhost:6379"]) as client:
        client.flushall()


@contextlib.contextmanager
def _ports_of(page: Path) -> Iterator[None]:
    """Let one page at a time have the ports that it prints, on the whole machine."""
    with contextlib.ExitStack() as held:
        for port in sorted(set(re.findall(r"port (\d{4,5})", page.read_text(encoding="utf-8")))):
            name = f"asyncauth-docs-{os.getuid()}-{port}.lock"  # another user's file could not be opened
            lock = filelock.FileLock(Path(tempfile.gettempdir()) / name, timeout=120)
            held.enter_context(lock)
        yield


def test_a_file_that_a_page_gives_is_used() -> None:
    """A block with a file's name is run by a command of its page, or imported by one that is."""
    for page in pages():
        blocks = blocks_of(page.read_text(encoding="utf-8"))
        files = {
            Path(each.caption).stem: each.text
            for each in blocks
            if each.language == "python" and each.caption and not each.is_quoted
        }
        used = " ".join(command for each in blocks if each.language == "console" for command, _ in commands_of(each))
        for _ in files:
            used += " ".join(text for name, text in files.items() if name in used)
        assert [name for name in files if name not in used] == [], _name(page)


def test_pages_that_are_run_elsewhere_have_their_test() -> None:
    """A page that is left out here has a test of its own."""
    assert all(page.exists() and Path(__file__).with_name(test).exists() for page, test in ELSEWHERE.items())


def test_commands_that_are_not_run_are_shown() -> None:
    """The list of what can't be run holds only what a page shows."""
    shown = {
        command
        for page in pages()
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language == "console"
        for command, _ in commands_of(block)
    }
    assert set(CANNOT_RUN) <= shown


@pytest.mark.parametrize("page", REFERENCE)
def test_the_reference_has_every_public_name(page: str) -> None:
    """No public name is missing from the reference, none is there twice, and none that is not public."""
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. auto(?:class|function|exception|data):: (\w+)$", text, flags=re.MULTILINE)
    public = [name for module in REFERENCE[page] for name in importlib.import_module(module).__all__]
    assert sorted(shown) == sorted(public)


def test_every_page_of_the_reference_is_looked_at() -> None:
    """A new page of the reference is compared with its modules, too."""
    assert {path.stem for path in (DOCS / "reference").glob("*.md")} == set(REFERENCE)


def test_the_pictures_are_those_that_the_script_draws() -> None:
    """The diagrams in the repository are what ``make pictures`` makes."""
    drawn = runpy.run_path(str(DOCS / "pictures" / "draw.py"))["files"]()
    assert set(drawn) == set((DOCS / "pictures").glob("*.svg"))
    assert all(path.read_text(encoding="utf-8") == svg for path, svg in drawn.items())


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("200\n", "200\n", True),
        ("200\n", "201\n", False),
        ("", "", True),
        ("", "something\n", False),
        ("token … ends\n", "token 1234 ends\n", True),
        ("token … ends\n", "token 1234 starts\n", False),
        ("…\nend\n", "one\ntwo\nend\n", True),
        ("…\nend\n", "one\ntwo\n", False),
        ("200", "200\n", True),
    ],
)
def test_an_output_is_compared_whole(shown: str, seen: str, *, same: bool) -> None:
    """An ellipsis stands for any text; all else must be there, and nothing more."""
    assert matches(shown, seen) is same


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        ("1.0 s  102 requests, 0 failed\n", "0.9 s  98 requests, 0 failed\n", True),
        ("1.0 s  102 requests, 0 failed\n", "1.0 s  102 requests, 1 failed\n", False),
        ("0.7 ms\n", "12 ms\n", True),
        ("12 ms\n", "fast\n", False),
        ("at 2026-12-06T19:32:21Z\n", "at 2027-01-31T00:00:00Z\n", True),
        ("at 127.0.0.1 … ms\n", "at 127.0.0.1 in 3 ms\n", True),
        ("at 127.0.0.1 … ms\n", "at localhost in 3 ms\n", False),
    ],
)
def test_a_measured_output_is_compared_but_for_its_numbers(shown: str, seen: str, *, same: bool) -> None:
    """A number stands for any other, and all else for itself; nothing that went wrong passes for none."""
    assert matches(shown, seen, measured=True) is same
