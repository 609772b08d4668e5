"""Addresses without a token that was in their query."""

from __future__ import annotations

import pytest

from asyncauth._http.address import without_parameter

KEY = "?key=abcdef"


@pytest.mark.parametrize(
    ("address", "ending", "left"),
    [
        ("https://a.example/x?key=abcdef", KEY, "https://a.example/x"),
        ("https://a.example/x?key=abcdef&n=1", KEY, "https://a.example/x?n=1"),
        ("https://a.example/x?n=1&key=%61bcdef#end", KEY, "https://a.example/x?n=1#end"),
        ("https://a.example/abcdef?other=abcdef", KEY, "https://a.example/?other="),
        ("https://a.example/1?key=1&n=1", "?key=1", "https://a.example/1?n=1"),
        ("https://a.example/x", KEY, "https://a.example/x"),
    ],
)
def test_what_is_left_of_an_address(address: str, ending: str, left: str) -> None:
    """The parameter goes however it is written, and its value wherever it stands, unless that may be any word."""
    assert without_parameter(address, ending) == left
