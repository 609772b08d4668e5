"""The demo's summary for people."""

from __future__ import annotations

import attrs
import pytest

from asyncauth.cli.demo.crew import Row
from asyncauth.cli.demo.display import Plain, Screen
from asyncauth.cli.demo.report import Aftermath, Report, TokenRequests

REPORT = Report(
    seconds=20.0,
    rate=300.0,
    workers=4,
    adopted=9,
    interrupted=False,
    requests=6002,
    failed=0,
    reasons={},
    abandoned=0,
    waited=41,
    first=[0.03, 0.05],
    p50=0.0028,
    p99=0.4,
    max=0.46,
    mishaps=[
        Aftermath(name, "something happens", 5.0, 1.0, 3, 0.4) for name in ("revocation", "outage", "slow endpoint")
    ],
    token_requests=[TokenRequests("Peakly token", 2.0, 12, 10, 13)],
    without_token=2,
)


def test_the_summary_is_short() -> None:
    """Ten lines at most, the first says requests and failures; --verbose has the steps and the explanations."""
    lines = REPORT.lines()
    assert lines[0] == "requests        6002, failed 0"
    assert len(lines) == 10
    assert all(len(line) <= 100 for line in lines)
    assert lines[-2] == "workers         4 processes, which took 9 tokens from their shared store"
    more = REPORT.lines(verbose=True)
    assert more[:9] == lines[:9]
    assert any(line.startswith("  Peakly token            12, minimum 10") for line in more)
    assert any(line.startswith("A request waits when there is no usable token") for line in more)


def test_a_run_that_was_ended_by_hand() -> None:
    """The first line says so, and why requests failed."""
    ended = attrs.evolve(
        REPORT, interrupted=True, seconds=3.14, failed=2, reasons={"Peakly: 500": 2}, abandoned=1, mishaps=[], workers=1
    )
    assert ended.lines()[0] == (
        "requests        6002, failed 2 (Peakly: 500: 2), abandoned 1; ended by Ctrl-C after 3.1 s"
    )
    assert len(ended.lines()) == 6


class _Stream:
    """A stream that keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


@pytest.mark.parametrize(("waiting", "waiting_for", "shown"), [(0, None, "waiting 0"), (7, 0.8, "waiting 7 for 0.8 s")])
def test_each_row_says_how_many_wait(waiting: int, waiting_for: float | None, shown: str) -> None:
    """Callers that wait are counted in each row, none of them as well."""
    row = Row("Peakly", "spent", None, 3, 1, waiting, waiting_for, requests=9, failed=0)
    stream = _Stream()
    Plain(stream).update(1.0, [row])  # type: ignore[arg-type]
    assert shown in stream.text
    assert Screen.interval < Plain.interval
