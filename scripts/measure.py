"""Measures how large the package is, and how much of it one call uses. Prints a table, writes nothing.

    make measure

"Library" is the package without the command line and the sandbox. Lines are all lines, with empty ones.
"""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import asyncauth
from asyncauth import PasswordGrant, TokenManager
from asyncauth.sandbox import Sandbox, sandbox_in_thread

PACKAGE = Path(asyncauth.__file__).resolve().parent
TESTS = PACKAGE.parent / "tests"
BESIDE = ("cli", "sandbox")
_DOCUMENTED = frozenset({"_asdict", "_exit", "_replace"})
"""Names that begin with an underscore, and are public."""

_Graph = dict[str, set[str]]


def main() -> int:
    """Print the table."""
    package = {_name_of(path): path for path in PACKAGE.rglob("*.py")}
    library = [path for path in package.values() if path.relative_to(PACKAGE).parts[0] not in BESIDE]
    lines, file = max((len(_text(path).splitlines()), path) for path in library)
    methods, owner, holder = max((count, name, path) for path in library for name, count in _methods(path))
    functions = cold_token()
    files = {code.co_filename for code in functions}
    circles = list(circles_of(imports_of(package)))
    root = [name for name in package if "." not in name and "__" not in name]
    compat = [path for path in package.values() if path.stem.endswith("_compat")]
    ours = [path for path in package.values() if path not in compat]
    rows = [
        ("modules in the package's folder", str(len(root))),
        ("functions / files that a cold token() calls", f"{len(functions)} / {len(files)}"),
        ("longest file", f"{lines} lines ({_place(file)})"),
        ("longest class", f"{methods} methods ({owner} in {_place(holder)})"),
        ("accesses to another module's privates, package", str(sum(map(_foreign_privates, ours)))),
        ("accesses to another library's privates, *_compat.py", str(sum(map(_foreign_privates, compat)))),
        ("accesses to another module's privates, tests", str(sum(map(_foreign_privates, TESTS.rglob("*.py"))))),
        ("import circles, command line and sandbox included", "; ".join(map(" ".join, circles)) or "0"),
        ("lines of the library", f"{sum(len(_text(path).splitlines()) for path in library):,}"),
    ]
    width = max(len(what) for what, _ in rows)
    for what, value in rows:
        print(f"{what:{width}}  {value}")
    return 0


def cold_token() -> set[CodeType]:
    """Return the functions of the library that run when a manager obtains its first token: password grant, no store.

    Modules are imported before. Each function counts once, with its comprehensions and generators.
    """
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and code.co_name != "<module>":
            called.add(code)

    async def obtain(sandbox: Sandbox) -> None:
        for _ in range(2):  # the first round imports
            provider = PasswordGrant(
                token_url=f"{sandbox.peakly.url}/token", username=sandbox.username, password=sandbox.password
            )
            manager = TokenManager(provider)
            await asyncio.sleep(0)  # the loop lets go of the first round's manager, whose finalizer does not count
            called.clear()
            sys.setprofile(note)  # only in this thread: the sandbox has its own
            try:
                await manager.token()
            finally:
                sys.setprofile(None)

    with sandbox_in_thread() as sandbox:
        asyncio.run(obtain(sandbox))
    return called


def imports_of(modules: dict[str, Path]) -> _Graph:
    """Return the modules that each module imports, wherever the import stands."""
    graph: _Graph = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(_text(path))):
            found: list[str] = []
            if isinstance(node, ast.ImportFrom):
                above = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
                start = above[: len(above) - node.level + 1] if node.level else []
                whole = ".".join([*start, *([node.module] if node.module else [])])
                found = [f"{whole}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            for each in found:
                inner = each.removeprefix(f"{PACKAGE.name}.") if each.startswith(f"{PACKAGE.name}.") else None
                while inner is not None and inner and inner not in modules:  # an object in a module
                    inner = f"{inner}.__init__" if f"{inner}.__init__" in modules else inner.rpartition(".")[0]
                if inner:
                    graph[name].add(inner)
    return graph


def circles_of(graph: _Graph) -> Iterator[list[str]]:
    """Yield the groups of modules that import one another, directly or through others."""
    reached: _Graph = {}
    for name in graph:
        seen: set[str] = set()
        ahead = set(graph[name])
        while ahead:
            each = ahead.pop()
            seen.add(each)
            ahead |= graph[each] - seen
        reached[name] = seen
    told: set[str] = set()
    for name in sorted(graph):
        circle = sorted(other for other in reached[name] if name in reached[other])
        if name in reached[name] and name not in told:
            told.update(circle)
            yield circle


def _foreign_privates(path: Path) -> int:
    """Return how many times a file has ``x._name`` where the file itself gives no object this name.

    Does not count ``self``, ``cls``, ``super()`` or a class of the file as x, nor what the standard library documents.
    """
    tree = ast.parse(_text(path))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own = {each.name for each in classes} | {"self", "cls", "super()"}
    known = _DOCUMENTED.union(*map(_given_by, classes))
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in known
        and ast.unparse(node.value) not in own
        for node in ast.walk(tree)
    )


def _given_by(owner: ast.ClassDef) -> set[str]:
    """Return the names that a class gives its objects: methods, annotated attributes, and what it sets on ``self``."""
    names = {each.name for each in owner.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {ast.unparse(each.target) for each in owner.body if isinstance(each, ast.AnnAssign)}
    names |= {
        node.attr
        for node in ast.walk(owner)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    return names


def _methods(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each class of a file, and its number of methods and properties."""
    for node in ast.walk(ast.parse(_text(path))):
        if isinstance(node, ast.ClassDef):
            yield node.name, sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
