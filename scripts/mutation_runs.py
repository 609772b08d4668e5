"""Runs the tests on each change of a module, in a fork per change.

Run by mutation.py in a copy of the tree: python -P mutation_runs.py MODULE CHANGES RESULTS TEST …
CHANGES is a JSON file: [[line, the changed module's source], …]. RESULTS becomes one: whether each was caught, by what.

The first run changes nothing. It measures how long each test takes and which lines it executes. After it, a change is
tried with the tests that execute its line alone, those first that caught the most changes.

If a change concerns only functions and constants, the fork is one of a process that has collected the tests, and
replaces them there. This takes less than a tenth of the time. For other changes, the module is imported anew.
"""

from __future__ import annotations

import ast
import collections
import functools
import gc
import importlib
import importlib.util
import itertools
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType

import attrs
import coverage
import mutation_code
import pytest

NEEDED = (
    "aiohttp.test_utils",
    "attrs",
    "cattrs",
    "hypothesis",
    "blockbuster",
    "importlib.metadata",
    "_pytest.pytester",
)
"""What the tests import, whatever is changed."""
OPTIONS = ["-x", "-q", "--no-header", "--tb=no", "--hypothesis-profile=quick"]
OPTIONS += ["-W", "ignore:Module already imported so cannot be rewritten"]  # which only plugins need
OPTIONS += [part for plugin in ("randomly", "xdist", "cacheprovider") for part in ("-p", f"no:{plugin}")]
LONGEST_TEST, LONGEST_RUN = "--timeout=5", 30.0
"""How long one test, and all tests of a change, may take, in seconds. A change that takes longer counts as caught."""
QUICK = 0.1
"""The most seconds that a quick test takes. The others run last."""
MOST_MEMORY = 4 << 30
FIRST_TESTS, FIRST_FILES = 25, 2
"""How many tests of how many files a first run has. A second one, with the rest, follows if none of them fails."""


@attrs.frozen
class Change:
    """One change of the module.

    Attributes:
        number: Its number.
        source: The module's changed source.
        tests: The tests that execute what is changed.
        is_replaceable: Whether only functions and constants change, which can be replaced in an imported module.
    """

    number: int
    source: str
    tests: frozenset[str]
    is_replaceable: bool


class Module:
    """The module that is changed, and the changed lines and sources."""

    def __init__(self, module: str, sources: list[tuple[int, str]]) -> None:
        self.path = Path("asyncauth", f"{module}.py").resolve()
        self.name = f"asyncauth.{module.replace('/', '.')}"
        self.sources = sources
        self._source = self.path.read_text(encoding="utf-8")
        self.code = compile(self._source, self.path, "exec")

    def changes(self, by_line: Mapping[str, list[str]], every: Collection[str]) -> Iterator[Change]:
        """Yield the changes, with the tests that execute what they change; every test if none is known to."""
        tree = ast.parse(self._source)
        statements = mutation_code.statements(tree)
        outside = mutation_code.imported(self.code)
        for number, (line, changed) in enumerate(self.sources):
            on_import = mutation_code.imported(compile(changed, self.path, "exec")) != outside
            concerned = mutation_code.lines_concerned(tree, ast.parse(changed)) if on_import else set(statements[line])
            lines = concerned or mutation_code.lines_of_function(tree, line)
            tests = {test for each in lines for test in by_line.get(str(each), [])} & set(every)
            yield Change(number, changed, frozenset(tests or every), is_replaceable=bool(concerned))


@attrs.define
class Results:
    """How long each test takes, how many changes it caught, and the file of results."""

    file: Path
    seconds: dict[str, float]
    catches: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def ordered(self, tests: Iterable[str]) -> list[str]:
        """Return the likeliest first: those that have caught the most, then quick ones, in the order of their files."""
        files = {file: place for place, file in enumerate(dict.fromkeys(map(_file, self.seconds)))}

        def place(test: str) -> tuple[int, bool, int, float]:
            seconds = self.seconds[test]
            return -self.catches[test], seconds > QUICK, files[_file(test)], seconds

        return sorted(tests, key=place)

    def longest(self, tests: Iterable[str]) -> float:
        """Return how long some tests may take: more than without a change, on a machine that is busy."""
        return max(LONGEST_RUN, 4 * sum(self.seconds.get(test, 0.0) for test in tests))

    def note(self, change: Change, by: str) -> None:
        """Add the result of a change, which a test caught or, if `by` is empty, none did."""
        self.catches[by] += bool(by)
        with self.file.open("a", encoding="utf-8") as results:
            results.write(json.dumps([change.number, by]) + "\n")


class Selection:
    """A plugin of pytest that runs the given tests in the given order, and notes the first that fails."""

    def __init__(self, tests: list[str], failed: Path) -> None:
        self._place = {test: place for place, test in enumerate(tests)}
        self._failed = failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        chosen = [item for item in items if item.nodeid in self._place]
        items[:] = sorted(chosen, key=lambda item: self._place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed:
            self._failed.write_text(report.nodeid, encoding="utf-8")


class Replacements:
    """A plugin of pytest that runs the collected tests: first without a change, then on each change, in a fork each."""

    def __init__(self, module: Module, results: Results, known: Path) -> None:
        self._module = module
        self._results = results
        self._known = known
        self._log = known.with_name("log")
        self._living = list[FunctionType]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try each change."""
        importlib.import_module(self._module.name)  # or its functions could not be found, where tests import it late
        gc.collect()
        self._living = mutation_code.living_in(str(self._module.path))
        gc.freeze()  # forks do not touch what they only read
        items = {item.nodeid: item for item in session.items}
        self._broken(items, self._module.code, [*items])
        self._results.seconds, by_line = json.loads(self._known.read_text(encoding="utf-8"))
        if broken := items.keys() - self._results.seconds.keys():
            print("left out, as they fail without any change:", *sorted(broken), file=sys.stderr)
        for change in self._module.changes(by_line, self._results.seconds):
            if change.is_replaceable:
                changed = compile(change.source, self._module.path, "exec")
                self._results.note(change, self._broken(items, changed, self._results.ordered(change.tests)))
        return True

    def _broken(self, items: Mapping[str, pytest.Item], changed: CodeType, tests: list[str]) -> str:
        """Return the first of some tests that fails with the changed code; "" if none does."""
        before = self._module.code
        work = functools.partial(self._run, items, tests)
        if changed is before:
            work = functools.partial(self._look, work)
        elif mutation_code.imported(changed) == mutation_code.imported(before):
            work = functools.partial(mutation_code.with_code, self._living, before, changed, work)
        else:
            work = functools.partial(mutation_code.with_values, self._module.name, self._living, changed, work)
        self._log.write_text("", encoding="utf-8")
        if in_fork(work, self._results.longest(tests) if changed is not before else 30 * LONGEST_RUN) == 0:
            return ""
        passed = len(self._log.read_text(encoding="utf-8").splitlines())
        return [*tests, "importing it"][passed]

    def _run(
        self, items: Mapping[str, pytest.Item], tests: list[str], note: Callable[[str], object] | None = None
    ) -> int:
        """Run tests up to the first that fails, or all of them if they are noted, and write down those that pass."""
        with self._log.open("w", buffering=1, encoding="utf-8") as log:
            for test, following in itertools.zip_longest(tests, tests[1:], fillvalue=""):
                item = items[test]
                item.config.pluginmanager.getplugin("capturemanager").read_global_capture()
                if note is not None:
                    note(test)
                failed = item.session.testsfailed
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=items.get(following))
                if item.session.testsfailed == failed:
                    log.write(f"{test}\n")
                elif note is None:
                    return 1
        return 0

    def _look(self, run: Callable[..., int]) -> int:
        """Run the tests, and write down for how long each runs, and which lines of the module it executes."""
        recorded = coverage.Coverage(data_file=None, include=[str(self._module.path)], config_file=False)
        began = list[tuple[str, float]]()

        def note(test: str) -> None:
            recorded.switch_context(test)
            began.append((test, time.perf_counter()))

        with recorded.collect():
            code = run(note=note)
        began.append(("", time.perf_counter()))
        passed = set(self._log.read_text(encoding="utf-8").splitlines())
        seconds = {test: ended - since for (test, since), (_, ended) in itertools.pairwise(began) if test in passed}
        by_line = recorded.get_data().contexts_by_lineno(str(self._module.path))
        self._known.write_text(json.dumps([seconds, by_line]), encoding="utf-8")
        return code


def main(module: str, changes: str, results: str, *tests: str) -> int:
    """Try each change; return 1 if the tests cannot be collected."""
    for needed in NEEDED:
        importlib.import_module(needed)
    changed = Module(module, json.loads(Path(changes).read_text(encoding="utf-8")))
    known, failed = (Path(changes).with_name(name) for name in ("known.json", "failed"))
    plugin = Replacements(changed, Results(Path(results), {}), known)
    in_fork(
        lambda: pytest.main([*OPTIONS, LONGEST_TEST, *tests], plugins=[plugin]),
        LONGEST_RUN * (30 + len(changed.sources)),
        quiet=True,
    )
    if not known.exists():
        return 1
    seconds, by_line = json.loads(known.read_text(encoding="utf-8"))
    noted = Results(Path(results), seconds)
    sys.dont_write_bytecode = True
    Path(importlib.util.cache_from_source(str(changed.path))).unlink(missing_ok=True)
    for change in changed.changes(by_line, seconds):
        if change.is_replaceable:
            continue
        changed.path.write_text(change.source, encoding="utf-8")
        failed.unlink(missing_ok=True)
        order = noted.ordered(change.tests)
        caught = any(
            in_fork(functools.partial(_run, part, failed), noted.longest(part), quiet=True) for part in _parts(order)
        )
        by = failed.read_text(encoding="utf-8") if failed.exists() else "importing it"
        noted.note(change, by if caught else "")
    return 0


def in_fork(work: Callable[[], int], limit: float, *, quiet: bool = False) -> int:
    """Return the exit code of work that is done in a fork; -1 if it takes longer than `limit` seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)  # to be killed with what it starts; in the session, or its niceness would be its own
            nowhere = os.open(os.devnull, os.O_RDWR)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            for stream in range(2 * quiet):
                os.dup2(nowhere, stream)
            code = work()
        except BaseException:  # noqa: BLE001 (the fork ends here, whatever it is)
            traceback.print_exc()
        finally:
            os._exit(code)
    ends = time.monotonic() + limit
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(done[1])


def _run(tests: list[str], failed: Path) -> int:
    files = dict.fromkeys(map(_file, tests))
    return int(pytest.main([*OPTIONS, LONGEST_TEST, *files], plugins=[Selection(tests, failed)]))


def _parts(tests: list[str]) -> Iterator[list[str]]:
    """Yield the tests in two parts: a few of few files, and the rest."""
    files = list(dict.fromkeys(map(_file, tests)))[:FIRST_FILES]
    first = [test for test in tests if _file(test) in files][:FIRST_TESTS]
    rest = [test for test in tests if test not in set(first)]
    yield from (part for part in (first, rest) if part)


def _file(test: str) -> str:
    return test.partition("::")[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
