"""Mutation testing of the modules that make decisions: changes each in many ways, and checks whether a test fails.

    make mutation                       every module; an hour or more
    make mutation ARGS="policy _core/flight"  some of them
    make mutation ARGS=--again          only the last run's survivors, after tests were written for them

Cosmic Ray makes the changes, in copies of the tree. A change for which no test fails is a survivor: either a test is
missing, or `mutation_survivors.toml` says why the change makes no difference. A survivor without an explanation there
fails the run. The score and the explanations are written to docs/mutation.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import attrs
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parent.parent
SURVIVORS = Path(__file__).with_name("mutation_survivors.toml")
SCORES = Path(__file__).with_name("mutation_scores.json")
PAGE = ROOT / "docs" / "mutation.md"
NEEDED = ("asyncauth", "tests", "examples", "scripts", "docs", "pyproject.toml", "README.md", "CHANGELOG.md")

UNIT = "tests/unit"
TESTS = {
    "manager": [
        f"{UNIT}/test_manager.py",
        f"{UNIT}/test_manager_life.py",
        f"{UNIT}/test_manager_background.py",
        f"{UNIT}/test_manager_failures.py",
        f"{UNIT}/test_manager_api_401.py",
        f"{UNIT}/test_manager_credential_rejected.py",
        f"{UNIT}/test_manager_loops.py",
        f"{UNIT}/test_manager_endings.py",
        f"{UNIT}/test_core_lifecycle.py",
        f"{UNIT}/test_events.py",
        f"{UNIT}/test_core_store_client.py",
        f"{UNIT}/test_core_store_client_trouble.py",
        f"{UNIT}/test_pool.py",
        "tests/scenarios",
        "tests/integration/test_sessions.py",
    ],
    "_core/flight": [
        f"{UNIT}/test_core_flight.py",
        f"{UNIT}/test_manager_life.py",
        f"{UNIT}/test_manager_loops.py",
        f"{UNIT}/test_manager_endings.py",
        f"{UNIT}/test_core_lifecycle.py",
        f"{UNIT}/test_manager.py",
        f"{UNIT}/test_events.py",
    ],
    "_core/lifecycle": [f"{UNIT}/test_core_lifecycle.py", f"{UNIT}/test_manager_endings.py", "tests/scenarios"],
    "_base/loops": [
        f"{UNIT}/test_base_loops.py",
        f"{UNIT}/test_core_flight_endings.py",
        f"{UNIT}/test_core_lifecycle.py",
        f"{UNIT}/test_manager_endings.py",
        f"{UNIT}/test_manager_loops.py",
    ],
    "_core/failures": [
        f"{UNIT}/test_core_failures.py",
        "tests/property/test_failure_waits.py",
        f"{UNIT}/test_manager_credential_rejected.py",
        f"{UNIT}/test_manager_failures.py",
        f"{UNIT}/test_manager_api_401.py",
    ],
    "_core/api_401s": [
        f"{UNIT}/test_core_failures.py",
        f"{UNIT}/test_core_trial.py",
        f"{UNIT}/test_manager_api_401.py",
        f"{UNIT}/test_auth_flow.py",
        "tests/property/test_failure_waits.py",
    ],
    "auth_flow": [
        f"{UNIT}/test_auth_flow.py",
        f"{UNIT}/test_middleware_origins.py",
        f"{UNIT}/test_middleware_repeats.py",
        "tests/integration/test_dpop_requests.py",
    ],
    "middleware": [
        f"{UNIT}/test_middleware_repeats.py",
        "tests/integration/test_middleware.py",
        f"{UNIT}/test_middleware_origins.py",
        "tests/integration/test_contract_replay.py",
        "tests/integration/test_dpop_requests.py",
    ],
    "providers/wire/classify": [
        f"{UNIT}/test_providers_wire_classify.py",
        f"{UNIT}/test_providers_wire_endpoint.py",
        f"{UNIT}/test_providers_declared.py",
    ],
    "expiry": [f"{UNIT}/test_expiry.py", "tests/property/test_expiry_properties.py"],
    "policy": [f"{UNIT}/test_policy.py", "tests/property/test_windows.py", f"{UNIT}/test_core_failures.py"],
    "_http/challenge": [f"{UNIT}/test_http_challenge.py", "tests/property/test_challenge_properties.py"],
}
"""The tests that must catch a change of a module, the most likely first."""

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
    return _report([scores[module] for module in TESTS if module in scores])


def _score(module: str, before: Score | None) -> Score:
    """Change a module in every way, or only as in the last run's survivors, and return the score."""
    with tempfile.TemporaryDirectory(prefix=f"mutation-{module.replace('/', '-')}-") as folder:
        copy = Path(folder, "tree")
        copy.mkdir()
        for name in NEEDED:
            _copy(ROOT / name, copy / name)
        tests = [test for test in TESTS[module] if (copy / test).exists()]
        options = "-x -q -p no:randomly -p no:xdist -p no:cacheprovider --timeout 20 --no-header --tb no"
        config = Path(folder, "config.toml")
        config.write_text(
            "[cosmic-ray]\n"
            f'module-path = "asyncauth/{module}.py"\n'
            "timeout = 120.0\n"
            "excluded-modules = []\n"
            f'test-command = "{sys.executable} -m pytest {options} {" ".join(tests)}"\n'
            '[cosmic-ray.distributor]\nname = "local"\n'
            f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n",
            encoding="utf-8",
        )
        session = str(Path(folder, "session.sqlite"))
        tools = Path(sys.executable).parent
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}

        def run(*command: str) -> None:
            tool = [str(tools / command[0]), *command[1:]]
            done = subprocess.run(tool, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(command[:2])} failed for {module}:\n{done.stdout}{done.stderr}")

        run("cosmic-ray", "init", str(config), session)
        run("cr-filter-operators", session, str(config))
        source = (ROOT / "asyncauth" / f"{module}.py").read_text(encoding="utf-8").splitlines()
        if before is not None:
            _leave_out_noticed(session, source, before)
        run("cosmic-ray", "baseline", str(config))
        run("cosmic-ray", "exec", str(config), session)
        score = _read(module, session, source)
        return score if before is None else attrs.evolve(score, killed=before.total - len(score.survivors))


def _leave_out_noticed(session: str, source: list[str], before: Score) -> None:
    """Leave out the changes that the last run's tests caught."""
    for each in before.survivors:
        if source[each.line - 1].strip() != each.code:
            raise SystemExit(f"asyncauth/{each.module}.py has changed since its last run: run all of it")
    survived = {(each.line, each.operator) for each in before.survivors}
    with use_db(session, WorkDB.Mode.open) as database:
        for item in list(database.pending_work_items):
            (mutation,) = item.mutations
            if (mutation.start_pos[0], mutation.operator_name.removeprefix("core/")) not in survived:
                database.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", "_build", "*.png")
        shutil.copytree(source, target, ignore=ignored)
    elif source.exists():
        shutil.copy(source, target)


def _read(module: str, session: str, source: list[str]) -> Score:
    """Return a session's score."""
    killed, survivors = 0, list[Survivor]()
    with use_db(session, WorkDB.Mode.open) as database:
        for item, result in database.completed_work_items:
            if result.worker_outcome.value == "skipped":
                continue
            if result.test_outcome is not TestOutcome.SURVIVED:
                killed += 1
                continue
            (mutation,) = item.mutations
            line = mutation.start_pos[0]
            if source[line - 1] == "if TYPE_CHECKING:":
                continue  # not run by Python
            added = [text[1:].strip() for text in result.diff.splitlines() if text[:1] == "+" and text[:3] != "+++"]
            operator = mutation.operator_name.removeprefix("core/")
            survivors.append(Survivor(module, line, source[line - 1].strip(), " ".join(added), operator))
    return Score(module, killed, tuple(sorted(survivors)))


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


def _report(scores: list[Score]) -> int:
    """Write the page; return 1 if a survivor has no explanation."""
    reasons = _reasons()
    killed, total = sum(score.killed for score in scores), sum(score.total for score in scores)
    lines = [
        "# Mutation score",
        "",
        "`make mutation` changes each module that makes decisions in many ways, one change at a time, and runs the",
        "module's tests. A change for which no test fails is a survivor. Each survivor needs a new test, or an",
        "explanation here; missing ones are marked. `scripts/mutation.py` writes this page from its last run.",
        "",
        "| module | changes | caught | survivors |",
        "|---|---|---|---|",
        *(f"| `{each.module}.py` | {each.total} | {each.killed} | {len(each.survivors)} |" for each in scores),
        f"| all | {total} | {killed} ({100 * killed / max(1, total):.1f} %) | {total - killed} |",
        "",
        "## Survivors",
        "",
    ]
    unexplained = 0
    for score in scores:
        for each in score.survivors:
            why = reasons.get((each.module, each.code, each.changed)) or reasons.get((each.module, each.code, ""))
            unexplained += why is None
            if why is None:
                print(f"not explained: asyncauth/{each.module}.py:{each.line} {each.operator}")
                print(f"    {each.code}\n  → {each.changed}")
            lines += [f"- `{each.module}.py`: `{each.code}` → `{each.changed}`: {why or '**still to be done**'}"]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if unexplained else 0


def _reasons() -> dict[tuple[str, str, str], str]:
    """Return why survivors make no difference, by module, line and changed line (empty: any change of the line)."""
    if not SURVIVORS.exists():
        return {}
    entries = tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))["survivor"]
    return {(each["module"], each["code"], each.get("changed", "")): each["why"] for each in entries}


if __name__ == "__main__":
    sys.exit(main())
