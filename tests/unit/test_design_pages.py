"""The modules, classes, functions and files that the pages of docs/design name exist, and none is missing."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "asyncauth"
DESIGN = ROOT / "docs" / "design"
ARCHITECTURE = DESIGN / "architecture.md"
DECISIONS = sorted((DESIGN / "adr").glob("0*.md"))

LONGEST_DECISION = 60
"""Lines."""
CONTRIBUTORS_PAGES = {"mutation", "known-bugs", "project/contributing", "project/measured"}

_REFERENCE = re.compile(r"`([\w.]+)`(?:\s+\(| \| )`([\w/]+\.py)`")
_MEMBER = re.compile(r"`(?:\w+\.)?([A-Z][a-z]\w+\.\w+)(?:\(\))?`")
_PATH = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|md|json|toml))`")
_STEP = re.compile(r"^\d+\. .*(?:\n   .*)*", re.MULTILINE)


def _pages() -> list[Path]:
    return sorted(DESIGN.rglob("*.md"))


def _name(page: Path) -> str:
    return str(page.relative_to(DESIGN))


def _section(title: str) -> str:
    """Return a section of the page of the architecture, from its heading to the next one of the same level."""
    _, _, after = ARCHITECTURE.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    assert after, title
    return after.partition("\n## ")[0]


def _first_cells(text: str) -> list[str]:
    """Return the first cell of each row of the tables in a text, without the tables' heads."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n?)*)", text, flags=re.MULTILINE)
    return [line.split("|")[1].strip() for table in tables for line in table.splitlines()]


@cache
def _defined(path: Path) -> frozenset[str]:
    """Return what a file defines: functions, classes, and their methods and fields as ``Class.member``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    found.add(f"{node.name}.{each.name}")
                elif isinstance(each, ast.AnnAssign):
                    found.add(f"{node.name}.{ast.unparse(each.target)}")
    return frozenset(found)


def _all_defined() -> frozenset[str]:
    return frozenset(name for path in PACKAGE.rglob("*.py") for name in _defined(path))


def test_the_tree_has_every_module() -> None:
    """The page lists each module of the package once, and nothing else. A folder with only a docstring is left out."""
    modules = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__init__" or len(ast.parse(path.read_text(encoding="utf-8")).body) > 1
    }
    listed = [cell.strip("`") for cell in _first_cells(_section("The modules"))]
    assert sorted(listed) == sorted(modules)


@pytest.mark.parametrize("page", _pages(), ids=_name)
def test_what_a_page_names_exists(page: Path) -> None:
    """What a page places in a file, ```name` (`file`)``, is defined there, and ``Class.member`` is a class's member."""
    text = page.read_text(encoding="utf-8")
    for name, file in _REFERENCE.findall(text):
        path = PACKAGE / file
        assert path.is_file(), file
        assert name in _defined(path), f"{name} in {file}"
    assert not set(_MEMBER.findall(text)) - _all_defined()


@pytest.mark.parametrize("page", _pages(), ids=_name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    """A path on a page is one in the package, in the repository, or beside the page."""
    for path in _PATH.findall(page.read_text(encoding="utf-8")):
        assert any((place / path).exists() for place in (PACKAGE, ROOT, page.parent)), path


def test_every_step_of_a_walk_names_its_function() -> None:
    """A reader of a walk can open the code of each step."""
    steps = _STEP.findall(_section("The walk of a request"))
    assert len(steps) > 15
    assert not [step for step in steps if not _REFERENCE.search(step)]


def test_the_picture_shows_classes_that_exist() -> None:
    """Each class in the picture of the objects is one of the package, and has its row in the table below."""
    section = _section("The objects")
    shown = set(re.findall(r"\b[A-Z][a-z]\w+", section.partition("```text\n")[2].partition("```")[0]))
    rows = [cell.strip("`") for cell in _first_cells(section)]
    assert shown <= _all_defined()
    assert sorted({*shown, "classify"}) == sorted(rows)


def test_the_glossary_has_each_term_once() -> None:
    """A term is explained in one place."""
    terms = [term.lower() for term in _first_cells((DESIGN / "glossary.md").read_text(encoding="utf-8"))]
    assert len(terms) > 40
    assert len(terms) == len(set(terms))


@pytest.mark.parametrize("page", DECISIONS, ids=_name)
def test_a_decision_has_the_usual_form(page: Path) -> None:
    """A decision is one short page: context, decision, consequences, and what else was considered."""
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_DECISION
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "What else was considered",
    ]


def test_the_index_lists_every_decision() -> None:
    """The index has a row for each decision, in order, by its number and title."""
    index = (DESIGN / "adr" / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w-]+\.md)\) \| (.*?) \|", index, flags=re.MULTILINE)
    titles = {page.name: page.read_text(encoding="utf-8").partition("\n")[0] for page in DECISIONS}
    assert [(name, f"# {number}: {title}") for number, name, title in rows] == list(titles.items())
    assert [int(name[:4]) for name in titles] == list(range(1, len(titles) + 1))


def test_users_meet_no_page_for_contributors() -> None:
    """The navigation holds pages for users alone, and one sentence of the first page leads contributors to theirs."""
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    parts = re.findall(r"```\{toctree\}\n(.*?)```", page, flags=re.DOTALL)
    entries = {line.rstrip(">").rpartition("<")[2] for part in parts for line in part.splitlines()}
    assert not {entry for entry in entries if entry in CONTRIBUTORS_PAGES or entry.startswith(("design/", "*"))}
    assert page.count("project/contributing") == 1
