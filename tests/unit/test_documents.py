"""What the documents say is shown by a test is: the tests and scenarios that they name exist."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KNOWN_BUGS = ROOT / "docs" / "known-bugs.md"
SCENARIOS = ROOT / "tests" / "scenarios"

NONE = "—"
"""In place of a bug's scenarios: only threads can show it."""

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


def _rows() -> list[list[str]]:
    """Return the cells of each row of the tables of known bugs: five where no scenario can show the bug, else six."""
    lines = KNOWN_BUGS.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    assert len({row[0] for row in rows}) == len(rows)
    return rows


def _bugs() -> dict[str, list[str]]:
    """Return the cells of each row of the table of known bugs that scenarios show, by the bug's id."""
    return {row[0].strip("`"): row for row in _rows() if len(row) == 6}


@pytest.mark.parametrize(
    ("document", "least"), [("SECURITY.md", 20), ("docs/known-bugs.md", 20), ("tests/README.md", 5)]
)
def test_the_tests_that_a_document_names_exist(document: str, least: int) -> None:
    """A promise whose test was renamed or dropped is noticed."""
    named = _NODE.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(named) > least
    missing = [f"{path}::{test}" for path, test in named if test not in _tests(path)]
    assert not missing


def test_every_known_bug_is_in_the_table() -> None:
    """The table has the bugs that the scenarios know, no more and no fewer, and a test or two for each."""
    schema = json.loads((SCENARIOS / "scenario.schema.json").read_text(encoding="utf-8"))
    in_scenarios = {bug for bug, row in _bugs().items() if row[-2] != NONE}
    assert in_scenarios == set(schema["$defs"]["bug"]["enum"])
    assert all(_NODE.search(row[-1]) and len(row) in {5, 6} for row in _rows())


def test_every_known_bug_names_its_scenarios() -> None:
    """The scenarios in a bug's row are those that name the bug."""
    naming: dict[str, set[str]] = {bug: set() for bug in _bugs()}
    for file in SCENARIOS.glob("*.json"):
        for scenario in json.loads(file.read_text(encoding="utf-8")).get("scenarios", ()):
            for bug in scenario.get("bugs", ()):
                naming[bug].add(scenario["name"])
    assert {bug: set(row[-2].split("<br>")) - {NONE} for bug, row in _bugs().items()} == naming


def test_readme_shows_what_was_measured() -> None:
    """README's table of speed is the one that the last full `make bench` has written."""
    measured = (ROOT / "benchmarks" / "results" / "headline.md").read_text(encoding="utf-8")
    assert measured.startswith("|")
    assert measured in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff has the name, version and licence of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = dict(re.findall(r"^(\w+): (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    assert [cited[each] for each in ("title", "version", "license")] == [
        project[each] for each in ("name", "version", "license")
    ]


def test_every_python_that_is_promised_is_tested() -> None:
    """The classifiers, `make test-all-pythons` and CI have the same Pythons; CI has those to come besides."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = {each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)}
    pythons = re.search(r"^PYTHONS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    matrix = re.search(r"^        python: (\[.+\])$", workflow, re.MULTILINE)
    assert pythons
    assert matrix
    assert set(pythons[1].split()) == promised
    assert promised < set(json.loads(matrix[1]))


@pytest.mark.parametrize(
    "file", [".github/workflows", ".pre-commit-config.yaml", ".ci/run", "CONTRIBUTING.md", "tests/README.md"]
)
def test_the_targets_that_are_called_exist(file: str) -> None:
    """What a workflow, a hook or a page calls is one of make's targets."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([\w%. -]+):(?!=)", makefile, re.MULTILINE) for name in line.split()}
    paths = sorted((ROOT / file).glob("*.yml")) if (ROOT / file).is_dir() else [ROOT / file]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    text += "".join(f"\nmake {each}" for each in re.findall(r'target: "([^"]+)"', text))
    called = {
        word
        for line in re.findall(r"(?:^|`|run: |entry: )make ((?:[a-z][\w.-]* ?)+)", text, re.MULTILINE)
        for word in line.split()
    }
    assert called, file
    assert not {each for each in called if each not in targets and not each.startswith("test-py")}


def test_the_arguments_of_quick_and_modes_name_what_exists() -> None:
    """A test that was renamed or dropped is noticed."""
    named = [line for name in ("quick", "core") for line in (ROOT / f"tests/{name}.args").read_text().split()]
    for path, _, test in (line.rpartition("=")[2].partition("::") for line in named):
        assert (ROOT / path).exists(), path
        assert not test or test in _tests(path), f"{path}::{test}"


def test_the_examples_of_the_tests_readme_are_real() -> None:
    """Its files, functions and scenarios exist under the names that it shows."""
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    for function in re.findall(r"^(?:async )?def (\w+)\(", text, re.MULTILINE):
        assert any(f"def {function}(" in source for source in sources.values()), function
    for path in re.findall(r"`(tests/[\w/]+\.\w+)", text):
        assert (ROOT / path).is_file(), path
    scenarios = "".join(path.read_text(encoding="utf-8") for path in SCENARIOS.glob("*.json"))
    for name in re.findall(r'"name": "(.+)"', text):
        assert f'"{name}"' in scenarios, name
