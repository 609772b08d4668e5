"""What stands in headers, tokens and stores: read, ignored or refused in words, whatever it is."""

from __future__ import annotations

import fuzz_checks as check
import hostile
from hypothesis import given

examples = check.examples


@examples(400)
@given(hostile.all_dates | hostile.retry_afters)
def test_a_moment_is_a_finite_number_or_none(text: str) -> None:
    """HTTP dates in their three forms and what nearly is one, ISO dates, numbers: finite, nothing, or an AuthError."""
    check.date(text)


@examples(300)
@given(hostile.jwts | hostile.texts)
def test_what_looks_like_a_jwt_has_finite_times_or_none(token: str) -> None:
    """A token that can't be decoded is an opaque token, and never an error."""
    check.jwt(token)


@examples(300)
@given(hostile.challenges)
def test_a_challenge_is_a_yes_or_a_no(lines: list[str]) -> None:
    """Whatever stands in WWW-Authenticate, a 401 is explained by the token or it is not."""
    check.challenges(lines)


@examples(300)
@given(hostile.entries)
def test_an_entry_of_a_store_is_a_token_or_absent(text: str) -> None:
    """Whatever is found in a store, it is a token that can be used as it is, or counts as absent."""
    check.entry(text)
