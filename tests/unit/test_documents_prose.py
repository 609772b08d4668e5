"""`make lint` finds what makes a reader read a sentence twice, and little else."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "check_prose.py"))
CHECK = SCRIPT["Check"].read()


def rules_of(text: str) -> list[str]:
    """Return the rules that a page with this text breaks."""
    return [finding.rule for finding in CHECK.look("page.md", SCRIPT["of_page"](text))]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("There is one timer a loop.", "per"),
        ("At most two token requests a lifetime are made.", "per"),
        ("This is no URL.", "is no"),
        ("The lifetime has ended.", "ended life"),
        ("A new one does not mend the credential.", "mend"),
        ("A spurned credential", "spurned"),
        ("A `Retry-After` is kept to.", "kept to"),
        ("the so-manieth time", "so-manieth"),
        ("It asks nothing of anybody.", "asks nothing of"),
        ("another token than ours", "another than"),
        ("Tell whoever runs it.", "whoever"),
        ("Who waits is told.", "who waits"),
        ("It is shown in the dark.", "metaphor"),
        ("`None` = there is none", "None ="),
        ("Its loop ended under it.", "under it"),
        (f"It {'goes on and ' * 20}ends.", "long sentence"),
    ],
)
def test_each_rule_finds_what_it_is_for(text: str, rule: str) -> None:
    """The guide's own examples, and what is like them."""
    assert set(rules_of(text)) == {rule}


@pytest.mark.parametrize(
    "text",
    [
        "One timer per event loop, and hundreds of requests a second.",
        "There is no store, and it is no longer than 40 s.",
        "A field that is asked once in a process of its own.",
        "Who needs a store? Who waits?",
        "`None`: no limit.",
        "```python\nwhoever = 1\n```",
        "| a cell | whose neighbour |\n|---|---|\n" + "| ten words stand in each of these cells, no more | " * 6,
        "A short one. " * 30,
        "See [another page](whoever.md) or `whoever`.",
    ],
)
def test_plain_words_pass(text: str) -> None:
    """Few false alarms: a check that cries at good sentences is soon ignored."""
    assert rules_of(text) == []


def test_docstrings_comments_and_shown_texts_are_prose() -> None:
    """Each with the line where it stands; identifiers and code are not."""
    code = (
        '"""Whoever."""\n\nwhoever = 1  # whoever\n\n\ndef whoever_else():\n    raise ValueError("tell whoever asks")\n'
    )
    found = list(CHECK.look("a.py", SCRIPT["of_code"](code, shown=True)))
    assert [(each.kind, each.line) for each in found] == [("docstring", 1), ("comment", 3), ("text", 7)]
    assert len(list(CHECK.look("a.py", SCRIPT["of_code"](code, shown=False)))) == 2


def test_a_docstring_begins_with_a_verb() -> None:
    """A function's does; a class, a property and a test suite for users have none to begin with."""
    code = (
        'def f():\n    """What is under way."""\n\n@property\ndef g():\n    """The name."""\n\nclass A:\n    """A."""\n'
    )
    assert [(each.line, each.text) for each in SCRIPT["verbless"](code)] == [(1, "What is under way.")]
    assert list(SCRIPT["verbless"]('def f():\n    """Return the closes in progress."""\n')) == []
    assert all((ROOT / name).is_file() for name in CHECK.without_verbs)


def test_each_exception_has_a_reason_and_is_needed() -> None:
    """What was rewritten since is excused no more."""
    for each in CHECK.allowed:
        assert len(each["reason"].split()) > 2
        assert each["text"] in (ROOT / each["file"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("subject", "flawed"),
    [
        ("Draw the latency plot as lines", False),
        ("Feed the parser in pieces", False),
        ("Read `expires_in: 0` as expired", False),
        ("Benchmarks: lines", True),
        ("docs: fix a link", True),
        ("fix a link", True),
        ("Fixed a link", True),
        ("Fixing a link", True),
        ("Fix a link.", True),
        (f"Fix {'a link and ' * 7}more", True),
    ],
)
def test_a_commit_says_what_it_does(subject: str, *, flawed: bool) -> None:
    """`make subjects` finds a topic with a colon, another form of the verb, and what is too long."""
    flaws_of = runpy.run_path(str(ROOT / "scripts" / "check_subjects.py"))["flaws_of"]
    assert bool(flaws_of(subject)) is flawed


def test_make_lint_runs_the_check() -> None:
    """It is a part of what is run before each commit."""
    recipe = re.search(r"^lint: .*?(?=^\S)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert recipe
    assert "scripts/check_prose.py" in recipe[0]
