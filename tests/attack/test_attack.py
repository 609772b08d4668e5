"""The short form of `make attack`: each class of attack, a few times."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Whose kits the attacks use, where this folder is run alone.
sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("fuzz", "integration"))
from attack_kit import ATTACKS, Attack, Outcome, Try, attempted
from attack_run import table

SECURITY = Path(__file__).parents[2] / "SECURITY.md"


@pytest.mark.shows_secrets("log", reason="what a broken try has shown is counted, and fails it")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_promise_holds_against_a_few_tries(attack: Attack, request: pytest.FixtureRequest) -> None:
    """No try breaks through. `make attack` makes many times as many."""
    luck = random.SystemRandom().randrange(10**6)
    outcome = attempted(attack, scale=1, seconds=10.0, luck=luck)
    assert outcome.tried > 0
    assert outcome.shown == [], f"luck {luck}"


def _tries(luck: random.Random, scale: int) -> Iterator[Try]:
    def fail(error: BaseException) -> None:
        raise error

    def spin() -> None:
        while True:
            pass

    yield "held", lambda: None
    yield "an assertion", functools.partial(fail, AssertionError("seen"))
    yield "an exit", functools.partial(fail, SystemExit(0))
    if scale > 1:
        yield "without end", spin


def test_what_breaks_through_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion, any other exception, and a try that takes too long; the next ones are made all the same."""
    monkeypatch.setattr("attack_kit.LONGEST", 0.2)
    outcome = attempted(Attack("a class", _tries), scale=2, seconds=60.0, luck=0)
    assert (outcome.tried, outcome.held) == (4, 1)
    assert [line.split(":")[0] for line in outcome.broke] == ["an assertion", "an exit", "without end"]


def test_a_class_ends_in_time() -> None:
    """No try is begun when the time is over."""
    assert attempted(Attack("a class", _tries), scale=1, seconds=0.0, luck=0).tried == 1


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_class_that_is_cut_short_leaves_nothing_open(attack: Attack) -> None:
    """Its tries are not made: what they would share is closed all the same."""
    with contextlib.closing(attack.tries(random.Random(0), 1)) as tries:  # type: ignore[type-var]  # noqa: S311
        next(tries)
    gc.collect()  # what is left open warns


def test_the_table() -> None:
    """Each class has a row, and all together one."""
    rows = table([Outcome("one", 1500, ["x"]), Outcome("other", 2)]).splitlines()[2:]
    assert rows == ["| one | 1,500 | 1,499 |", "| other | 2 | 2 |", "| **all** | 1,502 | 1,501 |"]


def test_the_classes_in_the_document_are_those_that_there_are() -> None:
    """SECURITY.md's table of attacks has each class, and no other."""
    part = SECURITY.read_text(encoding="utf-8").partition("## Attacks that are tried")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([^|*]+?) \| [\d,]+ \|", part, re.MULTILINE) == [each.name for each in ATTACKS]
