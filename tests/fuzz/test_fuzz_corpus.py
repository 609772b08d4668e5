"""What once failed, kept and tried each time: ``corpus/body`` are token answers, ``corpus/entry`` entries of stores.

A file's name says what is wrong with its content. Hypothesis prints the input that failed: write it to a file here,
then fix the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import fuzz_checks as check
import pytest

CORPUS = Path(__file__).parent / "corpus"
CHECKS: Mapping[str, Callable[[bytes], None]] = {"body": check.body, "entry": check.entry}
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_what_once_failed_fails_no_more(path: Path) -> None:
    """Each of these broke a promise once."""
    CHECKS[path.parent.name](path.read_bytes())


def test_nothing_in_the_corpus_is_left_out() -> None:
    """Every kind of case has files, and every file is of a kind that is tried."""
    assert {path.parent.name for path in FILES} == set(CHECKS)
