"""Values of an answer that mean something."""

from __future__ import annotations

import time
from typing import Any

import pytest

from asyncauth import ConfigurationError
from asyncauth.providers.wire.cases import Cases, fits


def matches(declared: Any, document: object, **headers: str) -> bool:
    return Cases.of(declared, "busy").match(document, headers)


@pytest.mark.parametrize(
    ("declared", "document"),
    [
        ("ratelimited", {"error": "ratelimited"}),
        (("a", "b"), {"error": {"code": "b"}}),
        ("b", "error=b"),
        ({"b"}, {"errors": [{"code": "b"}]}),
        (99991400, {"code": 99991400, "msg": "limit"}),
        ((4, 5), {"errcode": "5"}),
        ("*alreadyAuthenticated", {"Envelope": {"Body": {"Fault": {"faultcode": "ns1:coe.alreadyAuthenticated"}}}}),
        ({"status": 601}, {"status": 601}),
        ({"status": (522, 601)}, {"status": "601"}),
        ({"status": 601}, {"status": 601.0}),
        ({"ok": False}, {"ok": False}),
        ({"ok": True}, "ok=true"),
        ({"data": None}, {"data": None}),
        ({"data": None}, {}),
        ({"data": None}, {"data": []}),
        ({"error.message": "TOO_MANY_*"}, {"error": {"message": "TOO_MANY_ATTEMPTS : wait"}}),
        ({"a": 1, "b": 2}, {"b": 2}),
        ({"header:X-State": "busy"}, None),
        ({"$": "busy*"}, "busy, come back"),
        ({"x": 1.5}, {"x": 1.5}),
    ],
)
def test_it_matches(declared: object, document: object) -> None:
    """Codes wherever servers write them, or values at a path, compared as texts."""
    assert matches(declared, document, **{"X-State": "busy"})


@pytest.mark.parametrize(
    ("declared", "document"),
    [
        (None, {"error": None}),
        ("ratelimited", {"error": "ratelimited!"}),
        ("ratelimited", {"message": "ratelimited"}),
        ("RateLimited", {"error": "ratelimited"}),
        ({"status": 601}, {}),
        ({"ok": False}, {"ok": 0}),
        ({"ok": 0}, {"ok": False}),
        ({"data": None}, {"data": [1]}),
        ({"data": "*"}, {"data": {"x": 1}}),
        ({"data": "*"}, {"data": None}),
        ({"data": "*"}, {"data": []}),
        ({"data": "*"}, {}),
        ({"data": "null"}, {}),
        ({"x": 1.5}, {"x": "1,5"}),
    ],
)
def test_it_does_not_match(declared: object, document: object) -> None:
    """Nothing but what is declared."""
    assert not matches(declared, document)


@pytest.mark.parametrize("declared", [(), {"x": ()}, [None, object()], {"x": [[1]]}, object(), {"x": object()}])
def test_what_cant_be_compared(declared: object) -> None:
    """An argument without a value, or with one that no answer can have, is refused."""
    with pytest.raises(ConfigurationError, match="busy takes"):
        matches(declared, {})


def test_a_path_that_cant_be_read() -> None:
    """It is refused by the argument's name."""
    with pytest.raises(ConfigurationError, match="busy is a path"):
        matches({"a..b": 1}, {})


def test_only_what_is_declared_counts_as_something() -> None:
    """``None`` declares nothing."""
    assert not Cases.of(None, "busy")
    assert Cases.of(0, "busy")
    assert Cases.of({"x": None}, "busy")


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "ab*", True),
        ("abc", "*bc", True),
        ("abc", "*", True),
        ("", "*", True),
        ("abc", "a*c", True),
        ("abc", "a*b*c", True),
        ("abc", "a*x*c", False),
        ("abc", "abc*abc", False),
        ("aXbXc", "a*b*c", True),
        ("abcb", "*c*b", True),
        ("ab", "a*b*b", False),
        ("a.c", "a?c", False),
    ],
)
def test_an_asterisk_stands_for_any_text(text: str, pattern: str, *, expected: bool) -> None:
    """And no other character is special."""
    assert fits(text, (pattern,)) is expected


def test_a_long_text_costs_little() -> None:
    """Many asterisks and a text that nearly fits take no more time than the text is long."""
    started = time.process_time()
    assert not fits("a" * 1_000_000, ("*a" * 50 + "*b",))
    assert not fits("ab" * 500_000, ("*ab" * 50 + "*c*",))
    assert time.process_time() - started < 0.2
