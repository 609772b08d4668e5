"""docs/errors.md has each error that a user can meet, and none that there is not: read from the code's own calls."""

from __future__ import annotations

import re

from errors_kit import ACCEPTS, CLASSES, PACKAGE, in_the_code, without_advice

PAGE = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")


def in_the_table() -> set[tuple[str, str]]:
    """Return the class of each row's section, and its message."""
    found: set[tuple[str, str]] = set()
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"`(\w+)`", section.partition("\n")[0])
        for message in re.findall(r"^\| `+ ?(.+?) ?`+ \|", section, flags=re.MULTILINE):
            found |= {(kind, message) for kind in kinds}
    return found


def test_each_error_is_in_the_table() -> None:
    """What the code can say, the table explains."""
    assert sorted(in_the_code() - in_the_table()) == []


def test_each_row_is_in_the_code() -> None:
    """The table explains nothing that can't be met any more."""
    assert sorted(in_the_table() - in_the_code()) == []


def test_each_error_says_what_to_do() -> None:
    """Every place that makes one: with ``advice=``, or the message says what an argument takes."""
    assert [(kind, text) for kind, text in without_advice() if kind != "ConfigurationError"] == []
    assert [text for _, text in without_advice() if not ACCEPTS.search(text)] == []


RETRIES = {"safe", "pointless", "account", "login"}
"""What the last column of a table of errors of a running program says of a retry; the page explains each."""
WITHOUT_RETRY = {
    "ConfigurationError",
    "StoreTrouble",
    "ResourceWarning",
    "TypeError",
    "RuntimeError",
    "ImportError",
    "Problem",
}
"""What is not raised to a running program, or comes before anything is sent."""


def test_each_row_says_what_it_means_and_what_to_do() -> None:
    """No cell is empty, and what a program can meet says whether a retry can do harm."""
    seen = set()
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        kinds = set(re.findall(r"`(\w+)`", section.partition("\n")[0]))
        for row in re.findall(r"^\| `+.*$", section, flags=re.MULTILINE) if kinds & CLASSES else ():
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert all(cells), row
            if kinds <= WITHOUT_RETRY:
                assert len(cells) == 3, row
            else:
                assert len(cells) == 4, row
                seen.add(cells[3])
    assert seen == RETRIES == set(re.findall(r"^\| (\w+) \| (?:It|Some|Safe)", PAGE, flags=re.MULTILINE))


def test_what_a_user_sees_leads_to_every_section() -> None:
    """The first table has a link to each class, in the order of the page."""
    first = PAGE.partition("## What do you see?")[2].partition("\n## ")[0]
    sections = re.findall(r"^## (.*`\w+`.*)$", PAGE, flags=re.MULTILINE)
    linked = re.findall(r"\(#([\w-]+)\)", first)
    assert sorted(linked) == sorted(re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in sections)
