"""Reads the errors that the package can raise from its own calls: their classes, messages and advice."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import asyncauth
from asyncauth import errors

PACKAGE = Path(asyncauth.__file__).parent

CLASSES = {*errors.__all__, "StoreTrouble", "Problem", "ResourceWarning", "TypeError", "RuntimeError", "ImportError"}
"""Those of the table. The sandbox's ``ValueError``s are answers to settings, and name the setting."""
MAKERS = {
    "_lasting": "InvalidTokenResponse",
    "quoting": "InvalidTokenResponse",
    "Trouble": "TokenEndpointUnavailable",
    "ModuleNotFoundError": "ImportError",
}
"""What makes an error under another name."""

ACCEPTS = re.compile(r" (takes?|must|needs|is one of|names|such as) ")
"""What a message about an argument says if it needs no advice: what the argument takes."""


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
            yield f"{text}: {to_do}" if to_do else text


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
def trees() -> list[ast.Module]:
    """Return the parsed modules in which an error may be made."""
    makers = re.compile("|".join({*CLASSES, *MAKERS, "_warn"}))
    sources = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    return [ast.parse(source) for source in sources if makers.search(source)]


@functools.cache
def in_the_code() -> set[tuple[str, str]]:
    """Return each error's class and message."""
    found: set[tuple[str, str]] = set()
    for tree in trees():
        scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for scope in (tree, *scopes):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call):
                    kinds = classes(node, scope) if node.args else ()
                    found |= {(kind, text) for kind in kinds for text in (whole(node, scope, tree) if kinds else ())}
    return {(kind, text) for kind, text in found if " " in text}


@functools.cache
def without_advice() -> list[tuple[str, str]]:
    """Return class and message of each call of an `AuthError`'s constructor that does not say what to do."""
    found: list[tuple[str, str]] = []
    for call in (node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call)):
        kind = _last(call.func)
        makes_one = kind in errors.__all__ or kind == "quoting"
        if makes_one and not any(each.arg == "advice" for each in call.keywords):
            found.append((kind, ast.unparse(call.args[0]) if call.args else ""))
    return found
