"""How few token requests a run can do with: checked by hand-made examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncauth.cli.demo.least import least, paced, spans


@pytest.mark.parametrize(
    ("seconds", "revoked_at", "expected"),
    [
        (20.0, [], [20.0]),
        (20.0, [5.0], [5.0, 15.0]),
        (20.0, [15.0, 5.0], [5.0, 10.0, 5.0]),
        (20.0, [20.0], [20.0]),  # too late to cost anything
        (2.0, [5.0], [2.0]),
    ],
)
def test_spans(seconds: float, revoked_at: list[float], expected: list[float]) -> None:
    """A revocation cuts the run in two; one after its end does not."""
    assert spans(seconds, revoked_at) == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0.1, 1), (5.0, 1), (5.1, 2), (20.0, 4), (20.1, 5)],
)
def test_least_of_one_step(length: float, expected: int) -> None:
    """Tokens laid end to end: one more for whatever is left over."""
    assert least([5.0], [length]) == [expected]


def test_least_of_a_chain() -> None:
    """An access token of 7 s gives a last JWT of 5 s just before its end, so it serves for 12 s."""
    assert least([5.0, 7.0], [12.0]) == [3, 1]
    assert least([5.0, 7.0], [12.5]) == [3, 2]


def test_a_revocation_costs_every_step_anew() -> None:
    """After a revocation each step's token is needed once more, however long it would have lived."""
    assert least([5.0, 60.0, 30.0], [5.0, 15.0]) == [1 + 3, 2, 2]


def test_paced() -> None:
    """A client that renews at 80 % asks every 4 s for a token of 5 s; the step before it only when it is asked."""
    assert paced([5.0, 10.0], [20.0], 0.8) == [5, 3]


@given(
    st.lists(st.floats(1, 100), min_size=1, max_size=3),
    st.lists(st.floats(0.1, 300), min_size=1, max_size=3),
    st.floats(0.5, 1.0),
)
def test_the_least_is_the_least(lives: list[float], lengths: list[float], share: float) -> None:
    """No way of renewing takes fewer requests than the least, in any step."""
    assert all(few <= many for few, many in zip(least(lives, lengths), paced(lives, lengths, share), strict=True))
