"""What a change of a module changes: the code of functions alone, which can be replaced, or what importing it runs."""

from __future__ import annotations

import ast
import gc
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from types import CodeType, FunctionType
from typing import Any

CONSTANTS = (int, float, str, bytes, tuple, frozenset, re.Pattern, datetime)


def statements(tree: ast.Module) -> dict[int, range]:
    """Return, for each line, the lines of its innermost statement, without those of the statements in it."""
    lines = dict[int, range]()
    for node in ast.walk(tree):  # from the outside to the inside
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            body: list[ast.stmt] = getattr(node, "body", [])
            first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            first = min([first, *(each.lineno for each in decorators)])
            last = max(first, body[0].lineno - 1) if body else max(first, getattr(node, "end_lineno", first))
            lines.update(dict.fromkeys(range(first, last + 1), range(first, last + 1)))
    return lines


def functions(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """Return the code of a module's functions and methods, by qualified name and first line, without nested ones."""
    found = dict[tuple[str, int], CodeType]()
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found |= {(each.co_qualname, each.co_firstlineno): each} if _is_function(each) else functions(each)
    return found


def imported(code: CodeType) -> CodeType:
    """Return what importing a module runs: its code and that of its classes, without that of its functions.

    To be compared, not run: without positions, since that of a ``def`` says in which column its last line ends.
    """
    rest = (
        (None if _is_function(each) else imported(each)) if isinstance(each, CodeType) else each
        for each in code.co_consts
    )
    return code.replace(co_consts=tuple(rest), co_linetable=b"")


def living_in(file: str) -> list[FunctionType]:
    """Return all function objects of a module that are in memory."""
    return [each for each in gc.get_objects() if isinstance(each, FunctionType) and each.__code__.co_filename == file]


def with_code(living: Iterable[FunctionType], before: CodeType, changed: CodeType, work: Callable[[], int]) -> int:
    """Give the functions of an imported module the changed module's code, and do some work."""
    old = functions(before)
    new = {key: code for key, code in functions(changed).items() if code != old[key]}
    for each in living:
        code = new.get((each.__code__.co_qualname, each.__code__.co_firstlineno))
        if code is not None:
            each.__code__ = code
    return work()


def with_values(name: str, living: Iterable[FunctionType], changed: CodeType, work: Callable[[], int]) -> int:
    """Give an imported module the changed module's constants and its functions' defaults, and do some work."""
    module = sys.modules[name]
    space = {key: value for key, value in vars(module).items() if key.startswith("__")}
    exec(changed, space)  # noqa: S102 (the module itself, with one change)
    file = changed.co_filename
    new = {(each.__code__.co_qualname, each.__code__.co_firstlineno): each for each in living_in(file)}
    old = set(map(id, living))
    for each in living:
        twin = new.get((each.__code__.co_qualname, each.__code__.co_firstlineno))
        if twin is not None and id(twin) not in old:
            each.__defaults__, each.__kwdefaults__ = twin.__defaults__, twin.__kwdefaults__
    for key, value in vars(module).copy().items():
        if not isinstance(value, CONSTANTS) or key not in space:
            continue  # what tests have put there has no part in the module's source
        if type(space[key]) is not type(value) or space[key] != value:
            for other in list(sys.modules.values()):
                if vars(other).get(key) is value:
                    setattr(other, key, space[key])
    return work()


def lines_concerned(before: ast.Module, changed: ast.Module) -> set[int] | None:
    """Return the lines that use what was changed, if that is a constant or a default; `None` for anything else."""
    outer: ast.Module | ast.ClassDef = before
    old, new = _difference(before, changed)
    while isinstance(old, ast.ClassDef) and isinstance(new, ast.ClassDef):
        outer = old
        old, new = (None, None) if _is_headed_otherwise(old, new) else _difference(old, new)
    if type(old) is not type(new):
        return None
    if isinstance(old, ast.FunctionDef | ast.AsyncFunctionDef):
        runs = _is_headed_otherwise(old, new) or old.name in _called_on_import(before)
        return None if runs else set(range(old.lineno, (old.end_lineno or old.lineno) + 1))
    if outer is before and isinstance(old, ast.AnnAssign | ast.Assign):
        targets = old.targets if isinstance(old, ast.Assign) else [old.target]
        names = {each.id for each in targets if isinstance(each, ast.Name)}
        bodies = [each.body for each in ast.walk(before) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = _uses(names, (node for body in bodies for each in body for node in ast.walk(each)))
        if inside < _uses(names, ast.walk(before)):
            return None
        if all(name.startswith("_") for name in names):
            return {node.lineno for node in inside}
        return {0}  # and those of other modules: a line that no test is known to execute
    return None


def lines_of_function(tree: ast.Module, line: int) -> set[int]:
    """Return the lines of the innermost function around a line, which may be one of its decorators'."""
    lines = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(each.lineno for each in (node, *node.decorator_list))
            own = range(first, (node.end_lineno or node.lineno) + 1)
            lines = set(own) if line in own else lines
    return lines


def _called_on_import(tree: ast.Module) -> set[str]:
    """Return the functions whose defaults importing a module makes use of."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {node for each in functions for part in each.body for node in ast.walk(part)}
    calls = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and node not in inside}
    return {each.id for each in calls if isinstance(each, ast.Name)}


def _uses(names: set[str], nodes: Iterable[ast.AST]) -> set[ast.Name]:
    return {
        node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names
    }


def _difference(
    before: ast.Module | ast.ClassDef, changed: ast.Module | ast.ClassDef
) -> tuple[ast.stmt | None, ast.stmt | None]:
    """Return the one statement that differs."""
    pairs = [pair for pair in zip(before.body, changed.body, strict=False) if ast.dump(pair[0]) != ast.dump(pair[1])]
    return pairs[0] if len(pairs) == 1 and len(before.body) == len(changed.body) else (None, None)


def _is_headed_otherwise(before: ast.stmt | None, changed: ast.stmt | None) -> bool:
    """Return whether a function's or class's decorators, name or bases differ."""

    def heading(node: Any) -> list[Any]:
        return [node.name, *(ast.dump(each) for each in (*node.decorator_list, *getattr(node, "bases", [])))]

    return heading(before) != heading(changed)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)
