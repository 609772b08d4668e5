"""What docs/testing.md shows works: its files, run by a pytest of their own (some 5 s)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_every_python_block_is_a_file() -> None:
    """Each block begins with its file's name, so that the test below runs all of them."""
    assert len(BLOCKS) == PAGE.count("```python") > 5


def test_the_files_pass(pytester: pytest.Pytester) -> None:
    """As printed, in pytest-asyncio's auto mode, with warnings as errors."""
    pytester.makepyfile(**dict(BLOCKS))
    done = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error"),
        *("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
    )
    outcomes = done.parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] > 20
