"""Each public name stands in tests/typing, where both type checkers see it as users' code does."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "typing").glob("*.py"))
MODULES = ["asyncauth", "asyncauth.stores", "asyncauth.testing", "asyncauth.sandbox", "asyncauth.httpx"]


def _imported() -> set[tuple[str, str]]:
    """Return what the files import: module and name."""
    return {
        (node.module, alias.name)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_is_seen_by_the_type_checkers(module: str) -> None:
    """A name without a use there could lose its type, and nobody would notice."""
    names = {(module, name) for name in importlib.import_module(module).__all__}
    assert sorted(names - _imported()) == []
