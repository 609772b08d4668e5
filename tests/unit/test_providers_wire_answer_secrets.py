"""Which texts of an answer no error may show: plain functions, no I/O."""

from __future__ import annotations

import time

from asyncauth.providers.wire.answer_secrets import secrets_of


def test_the_secrets_of_an_answer_are_known_by_their_names() -> None:
    """At any depth; what else an answer says can be quoted by an error."""
    fields = {
        "access_token": "at-12345",
        "data": {"session": [{"value": "se-12345"}]},
        "refresh_token_expires_in": "never ends",
        "token_type": "BearerToken",
        "id_token": "short",
        "scope": "all-of-it",
        "message": "what happened",
        "expires": 3600,
    }
    assert sorted(secrets_of(fields)) == ["at-12345", "se-12345"]


def test_a_name_without_end_costs_no_time() -> None:
    """A name is looked at for each text below it: of 1 MiB, half of it a name, that would take half an hour."""
    texts: dict[str, object] = {str(number): "at-12345" for number in range(1_000)}
    as_usual = _seconds_for({"x" * 200: texts, "y" * 200: ["at-12345"] * 1_000})
    assert _seconds_for({"x" * 100_000: texts, "y" * 100_000: ["at-12345"] * 1_000}) < 20 * as_usual


def test_an_answer_full_of_secrets_costs_no_time() -> None:
    """An answer of 1 MiB has room for 47,000 of them: to look for each in a message would take half a minute."""
    assert len(list(secrets_of({"tokens": ["at-12345"] * 1_000}))) == 100


def _seconds_for(fields: object) -> float:
    began = time.process_time()
    assert not list(secrets_of(fields))
    return time.process_time() - began
