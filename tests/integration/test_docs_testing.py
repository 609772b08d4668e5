"""What docs/testing.md and docs/es/pruebas.md show works: their files, run by a pytest of their own (some 5 s)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"en": DOCS / "testing.md", "es": DOCS / "es" / "pruebas.md"}
"""By language. A module's name is in one of them, so that one pytest can import all."""
_BLOCK = re.compile(r"^```python\n# (\w+)\.py\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
BLOCKS = {language: _BLOCK.findall(page.read_text(encoding="utf-8")) for language, page in PAGES.items()}


@pytest.mark.parametrize("language", PAGES)
def test_every_python_block_is_a_file(language: str) -> None:
    """Each block begins with its file's name, so that the test below runs all of them."""
    assert len(BLOCKS[language]) == PAGES[language].read_text(encoding="utf-8").count("```python") > 5


def test_the_files_pass(pytester: pytest.Pytester) -> None:
    """As printed, in pytest-asyncio's auto mode, with warnings as errors; each page's files in a folder of its own."""
    for language, files in BLOCKS.items():
        folder = pytester.mkdir(language)
        for name, text in files:
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
    done = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error"),
        *("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
    )
    outcomes = done.parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] > 30
