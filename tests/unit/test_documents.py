"""What the documents say is shown by a test is: the tests and scenarios that they name exist."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOWN_BUGS = ROOT / "docs" / "known-bugs.md"
SCENARIOS = ROOT / "tests" / "scenarios"

_NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def _tests(path: str) -> frozenset[str]:
    """Return the names of the tests that pytest finds in a file."""
    file = ROOT / path
    if not (file.is_file() and file.name.startswith("test_")):
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, functions) and node.name.startswith("test_"))


def _bugs() -> dict[str, list[str]]:
    """Return the cells of each row of the table of known bugs, by the bug's id."""
    lines = KNOWN_BUGS.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0].strip("`"): row for row in rows}


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/known-bugs.md"])
def test_the_tests_that_a_document_names_exist(document: str) -> None:
    """A promise whose test was renamed or dropped is noticed."""
    named = _NODE.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(named) > 20
    missing = [f"{path}::{test}" for path, test in named if test not in _tests(path)]
    assert not missing


def test_every_known_bug_is_in_the_table() -> None:
    """The table has the bugs that the scenarios know, no more and no fewer, and a test or two for each."""
    schema = json.loads((SCENARIOS / "scenario.schema.json").read_text(encoding="utf-8"))
    assert set(_bugs()) == set(schema["$defs"]["bug"]["enum"])
    assert all(_NODE.search(row[-1]) for row in _bugs().values())


def test_every_known_bug_names_its_scenarios() -> None:
    """The scenarios in a bug's row are those that name the bug."""
    naming: dict[str, set[str]] = {bug: set() for bug in _bugs()}
    for file in SCENARIOS.glob("*.json"):
        for scenario in json.loads(file.read_text(encoding="utf-8")).get("scenarios", ()):
            for bug in scenario.get("bugs", ()):
                naming[bug].add(scenario["name"])
    assert {bug: set(row[-2].split("<br>")) for bug, row in _bugs().items()} == naming


def test_readme_shows_what_was_measured() -> None:
    """README's table of speed is the one that the last full `make bench` has written."""
    measured = (ROOT / "benchmarks" / "results" / "headline.md").read_text(encoding="utf-8")
    assert measured.startswith("|")
    assert measured in (ROOT / "README.md").read_text(encoding="utf-8")
