"""Token answers of every shape, read by every provider: a usable token or an honest error, nothing else."""

from __future__ import annotations

import fuzz_checks as check
import hostile
import pytest
from hypothesis import given

examples = check.examples


names = list(check.PROVIDERS)
by_halves = pytest.mark.parametrize("providers", [names[::2], names[1::2]], ids=["one half", "the other"])


@by_halves
@examples(120)
@given(answer=hostile.answers)
def test_an_answer_is_a_usable_token_or_an_honest_error(providers: list[str], answer: hostile.Answer) -> None:
    """Whatever comes, every provider gives a token that can be sent, held and stored, or an AuthError."""
    check.answer(answer, providers)


@by_halves
@examples(120)
@given(body=hostile.members())
def test_a_good_answer_with_odd_fields_is_a_usable_token_or_an_honest_error(providers: list[str], body: bytes) -> None:
    """Any type in any field, nested, doubled, huge or encoded otherwise: a usable token or an AuthError."""
    check.body(body, providers)


@pytest.mark.parametrize("body", hostile.HUGE, ids=lambda body: f"{body[:12]!r} of {len(body)}")
def test_an_absurd_body_is_a_usable_token_or_an_honest_error(body: bytes) -> None:
    """A megabyte of brackets, digits, lists or one token, ten megabytes of nothing, a byte order mark: likewise."""
    check.body(body)
