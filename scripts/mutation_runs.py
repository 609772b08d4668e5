"""Runs the tests on each change of a module, in a fork per change.

Run by mutation.py in a copy of the tree: python -P mutation_runs.py MODULE CHANGES RESULTS TEST …
CHANGES is a JSON file: [[line, the changed module's source], …]. RESULTS becomes one: whether each was caught, by what.

The first run changes nothing. It measures how long each test takes and which lines it executes. After it, a change is
tried with the tests that execute its line alone, those first that caught the most changes, then the quickest.

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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
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
LONGEST_TEST, LONGEST_RUN = "--timeout=15", 90.0
"""How long a change may take, in seconds. One that takes longer counts as caught."""
MOST_MEMORY = 4 << 30
FIRST_TESTS, FIRST_FILES = 25, 2
"""How many tests of how many files a first run has. A second one, with the rest, follows if none of them fails."""


@attrs.frozen
class Change:
    """One change of the module: its number, the module's changed source, and the tests that execute its line."""

    number: int
    source: str
    tests: frozenset[str]


@attrs.define
class Results:
    """How long each test takes, how many changes it caught, and the file of results."""

    file: Path
    seconds: dict[str, float]
    catches: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def ordered(self, tests: Iterable[str]) -> list[str]:
        """Return the likeliest first."""
        return sorted(tests, key=lambda test: (-self.catches[test], self.seconds[test]))

    def note(self, change: Change, by: str) -> None:
        """Add the result of a change, which a test caught or, if `by` is empty, none did."""
        self.catches[by] += 1
        with self.file.open("a", encoding="utf-8") as results:
            results.write(json.dumps([change.number, by]) + "\n")


class Recorder:
    """A plugin of pytest that notes, for each test, the lines of one module that it executes and its time."""

    def __init__(self, file: Path) -> None:
        self.coverage = coverage.Coverage(data_file=None, include=[str(file)], config_file=False)
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test."""
        self.coverage.switch_context(item.nodeid)
        started = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - started
            self.coverage.switch_context("")


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
    """A plugin of pytest that runs the collected tests on each change, in a fork per change."""

    def __init__(self, file: str, before: CodeType, changes: list[Change], results: Results, log: Path) -> None:
        self._file = file
        self._name = "asyncauth" + file.rpartition("/asyncauth")[2].removesuffix(".py").replace("/", ".")
        self._before = before
        self._changes = changes
        self._results = results
        self._log = log
        self._living = list[FunctionType]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try each change."""
        gc.collect()
        self._living = mutation_code.living_in(self._file)
        gc.freeze()  # forks do not touch what they only read
        items = {item.nodeid: item for item in session.items}
        broken = self._broken(items, self._before, self._results.ordered(items), most=len(items))
        if broken:
            print("left out, as they fail in a fork:", *broken, file=sys.stderr)
        able = items.keys() - set(broken)
        for change in self._changes:
            changed = compile(change.source, self._file, "exec")
            by = self._broken(items, changed, self._results.ordered(change.tests & able), most=1)
            self._results.note(change, by[0] if by else "")
        return True

    def _broken(self, items: Mapping[str, pytest.Item], changed: CodeType, tests: list[str], *, most: int) -> list[str]:
        """Return the tests that fail with the changed code: at most so many."""

        def run() -> int:
            with self._log.open("w", buffering=1, encoding="utf-8") as log:
                mutation_code.replace(self._living, self._before, changed)
                if mutation_code.imported(changed) != mutation_code.imported(self._before):
                    mutation_code.replace_values(self._name, self._living, changed)
                failures = 0
                for test, following in itertools.zip_longest(tests, tests[1:], fillvalue=""):
                    item = items[test]
                    item.config.pluginmanager.getplugin("capturemanager").read_global_capture()
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=items.get(following))
                    failed = item.session.testsfailed > failures
                    failures = item.session.testsfailed
                    log.write(f"{'failed' if failed else 'passed'} {test}\n")
                    if failed and failures >= most:
                        break
            return 0

        self._log.write_text("", encoding="utf-8")
        ended = in_fork(run, LONGEST_RUN * most) == 0
        log = self._log.read_text(encoding="utf-8").splitlines()
        broken = [test for outcome, _, test in (line.partition(" ") for line in log) if outcome == "failed"]
        return broken if ended else [*broken, [*tests, "importing it"][len(log)]]


def main(module: str, changes: str, results: str, *tests: str) -> int:
    """Try each change; return 1 if a test fails without one."""
    for needed in NEEDED:
        importlib.import_module(needed)
    path = Path("asyncauth", f"{module}.py").resolve()
    source = path.read_text(encoding="utf-8")
    before = compile(source, str(path), "exec")
    outside = mutation_code.imported(before)
    known, failed, log = (Path(changes).with_name(name) for name in ("known.json", "failed", "log"))
    if in_fork(lambda: _look(path, tests, known), 10 * LONGEST_RUN, quiet=True) != 0:
        print("a test fails without any change", file=sys.stderr)
        return 1
    seconds, by_line = json.loads(known.read_text(encoding="utf-8"))
    noted = Results(Path(results), seconds)
    tree = ast.parse(source)
    lines_of = mutation_code.statements(tree)
    inside, others = list[Change](), list[Change]()
    for number, (line, changed) in enumerate(json.loads(Path(changes).read_text(encoding="utf-8"))):
        try:
            on_import = mutation_code.imported(compile(changed, str(path), "exec")) != outside
        except SyntaxError:
            noted.note(Change(number, changed, frozenset()), "compiling it")
            continue
        lines = lines_of.get(line, range(line, line + 1))
        concerned = mutation_code.lines_concerned(tree, ast.parse(changed)) if on_import else set(lines)
        run_by = {
            test
            for each in concerned or mutation_code.lines_of_function(tree, line)
            for test in by_line.get(str(each), [])
        }
        change = Change(number, changed, frozenset(run_by - {""} or seconds))  # "": while it was imported
        (inside if concerned else others).append(change)
    replacements = Replacements(str(path), before, inside, noted, log)
    if inside:
        in_fork(
            lambda: pytest.main([*OPTIONS, LONGEST_TEST, *tests], plugins=[replacements]),
            LONGEST_RUN * len(inside),
            quiet=True,
        )
    sys.dont_write_bytecode = True
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    for change in others:
        path.write_text(change.source, encoding="utf-8")
        failed.unlink(missing_ok=True)
        order = noted.ordered(change.tests)
        caught = any(in_fork(functools.partial(_run, part, failed), LONGEST_RUN, quiet=True) for part in _parts(order))
        by = failed.read_text(encoding="utf-8") if failed.exists() else "importing it"
        noted.note(change, by if caught else "")
    path.write_text(source, encoding="utf-8")
    return 0


def in_fork(work: Callable[[], int], limit: float, *, quiet: bool = False) -> int:
    """Return the exit code of work that is done in a fork; -1 if it takes longer than `limit` seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            for stream in range(3 * quiet):
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


def _look(file: Path, tests: Iterable[str], known: Path) -> int:
    recorder = Recorder(file)
    recorder.coverage.start()
    code = pytest.main([*OPTIONS, *tests], plugins=[recorder])
    recorder.coverage.stop()
    by_line = recorder.coverage.get_data().contexts_by_lineno(str(file))
    known.write_text(json.dumps([recorder.seconds, by_line]), encoding="utf-8")
    return int(code)


def _run(tests: list[str], failed: Path) -> int:
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return int(pytest.main([*OPTIONS, LONGEST_TEST, *files], plugins=[Selection(tests, failed)]))


def _parts(tests: list[str]) -> Iterator[list[str]]:
    """Yield the tests in two parts: a few of few files, and the rest."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))[:FIRST_FILES]
    first = [test for test in tests if test.partition("::")[0] in files][:FIRST_TESTS]
    rest = [test for test in tests if test not in set(first)]
    yield from (part for part in (first, rest) if part)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
