"""Where in an answer a value stands."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from asyncauth import ConfigurationError
from asyncauth.providers.wire.path import Path

TICKET = "<ticket><credentials><token>at-1</token></credentials></ticket>"


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("token", {"token": "at-1"}),
        ("$.token", {"token": "at-1"}),
        ("$token", {"token": "at-1"}),
        ("a.b[1].c", {"a": {"b": [{}, {"c": "at-1"}]}}),
        ("a['.b'][\"c d\"]", {"a": {".b": {"c d": "at-1"}}}),
        ("header:X-Token", {"header:X-Token": "no"}),
        ("cookie:SID", {"cookie:SID": "no"}),
        ("$", "at-1"),
        ("access_token", "access_token=at-1&token_type=bearer"),
        ("Envelope.Body.return.ticket.credentials.token", {"Envelope": {"Body": {"return": TICKET}}}),
        ("body.token", {"body": '{"token": "at-1"}'}),
        ("body[0]", {"body": '["at-1"]'}),
    ],
)
def test_a_value_is_found(text: str, document: object) -> None:
    """In objects, lists, headers, forms, texts that hold JSON or XML, and as the whole body."""
    headers = CIMultiDict({"X-Token": "at-1"})
    for line in ("SID=old", 'SID="at-1"; Path=/; HttpOnly', "Other=x; SID=y", "nothing"):
        headers.add("Set-Cookie", line)
    path = Path.of(text, "token")
    assert path.value(document, headers) == path.find(document, headers) == "at-1"


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("token", None),
        ("token", {}),
        ("token", "token"),
        ("a.b", {"a": "b"}),
        ("a.b", {"a": [1]}),
        ("a[0]", {"a": {"0": 1}}),
        ("a[2]", {"a": [1]}),
        ("header:Y", {}),
        ("cookie:SID", {}),
    ],
)
def test_nothing_stands_there(text: str, document: object) -> None:
    """What is missing is a ``LookupError``, whatever stands there instead."""
    path = Path.of(text, "token")
    assert path.find(document, {}) is None
    with pytest.raises(LookupError):
        path.value(document, {})


@pytest.mark.parametrize("text", ["", ".", "a..b", "a[", "a[x]", "[0]", "$[0]", "a.['", 7, None])
def test_a_path_that_cant_be_read(text: object) -> None:
    """It is refused, by the argument's name."""
    with pytest.raises(ConfigurationError, match="token is a path"):
        Path.of(text, "token")  # type: ignore[arg-type]


def test_a_header_needs_a_name_that_one_can_have() -> None:
    """A path that is not a valid header's is read as the name of a member."""
    assert Path.of("header:a b", "token").header is None
    assert Path.of("header:x-token", "token").header == "x-token"


def test_beside() -> None:
    """A plain name can be looked for beside another value."""
    assert Path.of("left", "x").beside(Path.of("a.b[0].token", "x")).steps == ("a", "b", 0, "left")
    assert Path.of("left", "x").beside(Path.of("token", "x")).steps == ("left",)
