"""Tests that run in a process of their own, under a harness of their own: what becomes of them is another test's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]

_CONFTEST = """
from pathlib import Path
from harness.frames import TESTS
TESTS.append(Path(__file__).parent / "tests")
"""


def outcomes(folder: Path, conftest: str, tests: Mapping[str, str], *options: str) -> dict[str, str]:
    """Run tests; return what became of each: ``PASSED``, or ``FAILED``, or ``ERROR`` if only its end was wrong.

    Args:
        folder: An empty one.
        conftest: The text of their ``conftest.py``.
        tests: The text of each one's file, by its name.
        options: For pytest.
    """
    (folder / "conftest.py").write_text(f"{_CONFTEST}{conftest}")
    (folder / "tests").mkdir()
    names = {}
    for number, (name, body) in enumerate(tests.items()):
        names[f"test_{number}.py"] = name
        (folder / "tests" / f"test_{number}.py").write_text(body)
    plain = ("-p", "no:randomly", "-p", "no:cacheprovider", "-c", os.devnull, "-W", "ignore", *options)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", *plain, "--rootdir", str(folder), str(folder)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        check=False,
        text=True,
        timeout=250,  # seconds: it ends what hangs, and leaves a busy machine its time
    )
    results = re.findall(r"^(PASSED|FAILED|ERROR) .*?(test_\d+\.py)", ended.stdout, re.MULTILINE)
    assert {file for _, file in results} == set(names), ended.stdout + ended.stderr
    # A test that passed and whose end was wrong is told of twice: as passed, and as an error.
    return {names[file]: word for word, file in sorted(results, key=lambda each: each[0] != "PASSED")}
