"""Mutation testing of the modules that make decisions: changes each in many ways, and checks whether a test fails.

    make mutation                       every module; 15 min of CPU
    make mutation ARGS="policy _core/flight"  some of them
    make mutation ARGS=--again          only the last run's survivors, after tests were written for them

Cosmic Ray makes the changes, in copies of the tree. A change for which no test fails is a survivor: either a test is
missing, or `mutation_survivors.toml` says why the change makes no difference. A survivor without an explanation there
fails the run. The score and the explanations are written to docs/mutation.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import attrs
import cosmic_ray.commands
import cosmic_ray.mutating
import cosmic_ray.plugins
from cosmic_ray.work_db import WorkDB, use_db

ROOT = Path(__file__).resolve().parent.parent
SURVIVORS = Path(__file__).with_name("mutation_survivors.toml")
SCORES = Path(__file__).with_name("mutation_scores.json")
RUNS = str(Path(__file__).with_name("mutation_runs.py"))
PAGE = ROOT / "docs" / "mutation.md"
NEEDED = (
    "asyncauth",
    "tests",
    "examples",
    "docs",
    "pyproject.toml",
    "pytest_asyncauth.py",
    "README.md",
    "CHANGELOG.md",
)

TESTS: dict[str, list[str]] = {
    module: [f"tests/{test}.py" for test in tests]
    for module, tests in tomllib.loads(Path(__file__).with_name("mutation_tests.toml").read_text("utf-8")).items()
}
"""The tests that must catch a change of a module."""

ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Div", "Mod_Mul")
COMPARISONS = (
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    *("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_GtE", "GtE_Lt", "Gt_LtE", "LtE_Gt"),
)
"""For each operator, its opposite and its neighbour. Tests that catch these catch the other replacements, too."""
LEFT_OUT = [
    rf"core/ReplaceBinaryOperator_(?!({'|'.join(ARITHMETIC)})$).*",
    rf"core/ReplaceComparisonOperator_(?!({'|'.join(COMPARISONS)})$).*",
]


@attrs.frozen(order=True)
class Survivor:
    """A change for which no test failed."""

    module: str
    line: int
    code: str
    changed: str
    operator: str


@attrs.frozen
class Score:
    """The results for one module."""

    module: str
    killed: int
    survivors: tuple[Survivor, ...]

    @property
    def total(self) -> int:
        """The number of changes."""
        return self.killed + len(self.survivors)


def main() -> int:
    """Run the command line's arguments; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}; all of them if none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="try only the last run's survivors")
    parser.add_argument("--page", action="store_true", help="only write the page again, from the last scores")
    arguments = parser.parse_args()
    if unknown := set(arguments.modules) - set(TESTS):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    scores = _stored()
    if arguments.again and (missing := set(arguments.modules or TESTS) - set(scores)):
        parser.error(f"no last run of {', '.join(sorted(missing))}")
    if not arguments.page:
        before = scores if arguments.again else {}
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for score in pool.map(lambda module: _score(module, before.get(module)), arguments.modules or TESTS):
                scores = _stored() | {score.module: score}  # another run may have written in the meantime
                _store(scores)
                print(f"{score.module}: {score.killed} of {score.total} changes caught", flush=True)
    return _report([scores[module] for module in TESTS if module in scores], arguments.modules or TESTS)


def _score(module: str, before: Score | None) -> Score:
    """Change a module in every way, or only as in the last run's survivors, and return the score."""
    source = (ROOT / "asyncauth" / f"{module}.py").read_text(encoding="utf-8")
    changes = list(_changes(module, source))
    if before is not None:
        if missing := set(before.survivors) - {change for change, _ in changes}:
            raise SystemExit(f"asyncauth/{module}.py has changed since its last run, line {min(missing).line}: run it")
        changes = [(change, changed) for change, changed in changes if change in before.survivors]
    with tempfile.TemporaryDirectory(prefix=f"mutation-{module.replace('/', '-')}-") as folder:
        copy = Path(folder, "tree")
        copy.mkdir()
        for name in NEEDED:
            _copy(ROOT / name, copy / name)
        texts = Path(folder, "changes.json")
        texts.write_text(json.dumps([[change.line, changed] for change, changed in changes]), encoding="utf-8")
        results = Path(folder, "results.jsonl")
        paths = (str(copy), str(copy / "tests"), str(Path(RUNS).parent))
        done = subprocess.run(
            [sys.executable, "-P", RUNS, module, str(texts), str(results), *TESTS[module]],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        for line in done.stderr.splitlines():
            if line.startswith("left out"):
                print(f"{module}: {line}")
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        caught_by: dict[int, str] = dict(json.loads(line) for line in lines)
    if done.returncode or len(caught_by) != len(changes):
        left = len(changes) - len(caught_by)
        raise SystemExit(f"the tests of {module} could not be run on {left} changes:\n{done.stderr[-2000:]}")
    survivors = sorted(change for number, (change, _) in enumerate(changes) if not caught_by[number])
    total = len(changes) if before is None else before.total
    return Score(module, total - len(survivors), tuple(survivors))


def _changes(module: str, source: str) -> Iterator[tuple[Survivor, str]]:
    """Yield each change of a module, as a survivor that it may become, with the changed source."""
    lines = source.splitlines()
    with (
        tempfile.TemporaryDirectory() as folder,
        use_db(str(Path(folder, "changes.sqlite")), WorkDB.Mode.create) as database,
    ):
        cosmic_ray.commands.init([ROOT / "asyncauth" / f"{module}.py"], database, {})
        mutations = [mutation for item in database.pending_work_items for mutation in item.mutations]
    for each in sorted(mutations, key=lambda each: (each.start_pos, each.operator_name, each.occurrence)):
        line, column = each.start_pos
        code = lines[line - 1]
        if any(re.match(pattern, each.operator_name) for pattern in LEFT_OUT):
            continue
        if code == "if TYPE_CHECKING:" or code[column:].startswith("*,"):
            continue  # not run by Python; no multiplication, but the end of the positional parameters
        operator = cosmic_ray.plugins.get_operator(each.operator_name)(**each.operator_args)
        try:
            changed = cosmic_ray.mutating.mutate_code(source, operator, each.occurrence)
            compile(changed, module, "exec")
        except (AttributeError, SyntaxError):
            continue  # it replaces no exception that has a dot in its name; some changes are not valid Python
        diff = list(difflib.unified_diff(lines, changed.splitlines(), n=0))[2:]
        added = " ".join(text[1:].strip() for text in diff if text.startswith("+"))
        yield Survivor(module, line, code.strip(), added, each.operator_name.removeprefix("core/")), changed


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "_build", "*.png")
        shutil.copytree(source, target, ignore=ignored)
    elif source.exists():
        shutil.copy(source, target)


def _stored() -> dict[str, Score]:
    if not SCORES.exists():
        return {}
    stored: list[dict[str, Any]] = json.loads(SCORES.read_text(encoding="utf-8"))
    return {
        each["module"]: Score(each["module"], each["killed"], tuple(Survivor(**one) for one in each["survivors"]))
        for each in stored
    }


def _store(scores: dict[str, Score]) -> None:
    ordered = [attrs.asdict(scores[module]) for module in TESTS if module in scores]
    SCORES.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def _report(scores: list[Score], shown: Container[str]) -> int:
    """Write the page; show which of these modules' survivors have no explanation; return 1 if any have none."""
    reasons = _reasons()
    killed, total = sum(score.killed for score in scores), sum(score.total for score in scores)
    lines = [
        "# Mutation score",
        "",
        "`make mutation` changes each module that makes decisions in many ways, one change at a time, and runs the",
        "module's tests. A change for which no test fails is a survivor. Each survivor needs a new test, or an",
        "explanation here; missing ones are marked. `scripts/mutation.py` writes this page from its last run. A change",
        "takes about 0.35 s of CPU (CPython 3.11).",
        "",
        "| module | changes | caught | survivors |",
        "|---|---|---|---|",
        *(f"| `{each.module}.py` | {each.total} | {each.killed} | {len(each.survivors)} |" for each in scores),
        f"| all | {total} | {killed} ({100 * killed / max(1, total):.1f} %) | {total - killed} |",
        "",
        *_without_score(scores),
        "## Survivors",
        "",
    ]
    unexplained, unused = 0, {key for key in reasons if any(key[0] == score.module for score in scores)}
    for score in scores:
        for each in score.survivors:
            why = reasons.get((each.module, each.code, each.changed)) or reasons.get((each.module, each.code, ""))
            unused -= {(each.module, each.code, each.changed), (each.module, each.code, "")}
            unexplained += why is None
            if why is None and each.module in shown:
                print(f"not explained: asyncauth/{each.module}.py:{each.line} {each.operator}")
                print(f"    {each.code}\n  → {each.changed}")
            lines += [f"- `{each.module}.py`: `{each.code}` → `{each.changed}`: {why or '**still to be done**'}"]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for module, code, changed in sorted(each for each in unused if each[0] in shown):
        print(f"explained, but caught or no longer there: asyncauth/{module}.py: {code} → {changed or 'anything'}")
    return 1 if unexplained else 0


def _without_score(scores: list[Score]) -> list[str]:
    """Return the page's lines about modules that are still to be run."""
    missing = [f"`{module}.py`" for module in TESTS if module not in {score.module for score in scores}]
    return [f"Without a score: {', '.join(missing)}.", ""] if missing else []


def _reasons() -> dict[tuple[str, str, str], str]:
    """Return why survivors make no difference, by module, line and changed line (empty: any change of the line)."""
    if not SURVIVORS.exists():
        return {}
    entries = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["survivor"]
    return {(each["module"], each["code"], each.get("changed", "")): each["why"] for each in entries}


if __name__ == "__main__":
    sys.exit(main())
