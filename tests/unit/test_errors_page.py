"""docs/errors.md has each error that a user can meet, and none that there is not: read from the code's own calls."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import asyncauth
from asyncauth import errors

PACKAGE = Path(asyncauth.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")

CLASSES = {*errors.__all__, "StoreTrouble", "Problem", "ResourceWarning", "TypeError", "RuntimeError", "ImportError"}
"""Those of the table. The sandbox's ``ValueError``s are answers to settings, and name the setting."""
MAKERS = {
    "_lasting": "InvalidTokenResponse",
    "quoting": "InvalidTokenResponse",
    "Trouble": "TokenEndpointUnavailable",
    "ModuleNotFoundError": "ImportError",
}
"""What makes an error under another name."""


_KNOWN = (ast.Constant, ast.JoinedStr, ast.IfExp)


def templates(node: ast.expr | None, *scopes: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression can be, with … for what varies.

    Args:
        node: The expression.
        scopes: Where the names in it may be assigned, the nearest first.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = ["…" if isinstance(part, ast.FormattedValue) else str(part.value) for part in node.values]  # type: ignore[attr-defined]
        yield re.sub("…+", "…", "".join(parts))
    elif isinstance(node, ast.IfExp):
        yield from templates(node.body, *scopes)
        yield from templates(node.orelse, *scopes)
    elif isinstance(node, ast.Name):
        for scope in scopes:
            texts = [
                each.value
                for each in ast.walk(scope)
                if isinstance(each, ast.Assign) and _last(each.targets[0]) == node.id and isinstance(each.value, _KNOWN)
            ]
            for text in texts:
                yield from templates(text, *scopes)
            if texts:
                return


def whole(call: ast.Call, *scopes: ast.AST) -> Iterator[str]:
    """Yield the texts of the error that a call makes: its message, and what to do after a colon."""
    advice = next((each.value for each in call.keywords if each.arg == "advice"), None)
    for text in templates(call.args[0], *scopes):
        if advice is None:
            yield text
        for to_do in () if advice is None else tuple(templates(advice, *scopes)) or ("…",):
            yield f"{text}: {to_do}"


def _last(node: ast.expr) -> str:
    """Return a name, or the last part of a dotted one."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def classes(call: ast.Call, scope: ast.AST) -> set[str]:
    """Return the error classes that a call makes one of."""
    name = _last(call.func)
    if name == "_warn":
        return {_last(call.args[1])}
    if name == "kind":  # chosen the line before
        chosen = (
            each.value for each in ast.walk(scope) if isinstance(each, ast.Assign) and _last(each.targets[0]) == "kind"
        )
        return CLASSES & {node.id for each in chosen for node in ast.walk(each) if isinstance(node, ast.Name)}
    return CLASSES & {MAKERS.get(name, name)}


@functools.cache
def in_the_code() -> set[tuple[str, str]]:
    """Return each error's class and message."""
    found: set[tuple[str, str]] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for scope in (tree, *scopes):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call):
                    kinds = classes(node, scope) if node.args else ()
                    found |= {(kind, text) for kind in kinds for text in (whole(node, scope, tree) if kinds else ())}
    return {(kind, text) for kind, text in found if " " in text}


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
