"""Durations as people read them."""

from __future__ import annotations

import pytest

from asyncauth._base.durations import in_seconds, in_words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.01, "less than 0.1 s"),
        (0.05, "0.1 s"),
        (0.8, "0.8 s"),
        (5.0, "5 s"),
        (5.04, "5.0 s"),
        (9.96, "10.0 s"),
        (10.4, "10 s"),
        (689.6, "690 s"),
        (-0.8, "-0.8 s"),
    ],
)
def test_digits_that_matter(seconds: float, shown: str) -> None:
    """A tenth is shown where it matters, and what is left of a short token is never 0 s while something is."""
    assert in_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.8, "0.8 s"), (59.0, "59 s"), (690.0, "11.5 min"), (1_209_599.0, "14.0 d"), (94_608_000.0, "3.0 years")],
)
def test_the_largest_unit_that_fits(seconds: float, shown: str) -> None:
    """A lifetime is read in the unit that people would say it in."""
    assert in_words(seconds) == shown
