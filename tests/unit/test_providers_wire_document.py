"""What a body holds: JSON, XML, a form or a text, in whatever charset it says."""

from __future__ import annotations

import pytest

from asyncauth.providers.wire.document import fields_of, read_document, read_text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {}),
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        ('{"ñ": "é"}'.encode(), {"ñ": "é"}),
        (b"", None),
        (b"[]", None),
        (b"\xff", None),
        (b"{'a': 1}", None),
        (b'{"a": 1} x', None),
        (b'{"a":' * 50_000, None),
    ],
)
def test_members(body: bytes, fields: object) -> None:
    """A body is a JSON object in UTF-8, or nothing; never an exception."""
    assert fields_of(read_document(body, None)) == fields


@pytest.mark.parametrize(
    ("body", "content_type", "document"),
    [
        (b'{"a": 1}', None, {"a": 1}),
        (b'[{"a": 1}]', None, [{"a": 1}]),
        (b'"a.b.c"\n', "application/json", "a.b.c"),
        (b" a.b.c\n", "text/plain", "a.b.c"),
        (b"12.5", None, "12.5"),
        (b"true", None, "true"),
        (b"NaN", None, "NaN"),
        (b"null", None, None),
        (b'""', None, None),
        (b"  ", None, None),
        (b"{'a': 1}", None, None),
        (b'{"a": 1', "application/json", None),
        (b"<a><b>1</b></a>", "text/xml", {"a": {"b": "1"}}),
        (b"<p>Blocked<br>", "text/html", None),
        (b"a=1&b=%C3%A9", "application/x-www-form-urlencoded", "a=1&b=%C3%A9"),
        ('{"a": "é"}'.encode(), "application/json", {"a": "é"}),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=ISO-8859-1", {"a": "é"}),
        ('{"a": "é"}'.encode(), "application/json; charset=ISO-8859-1", {"a": "é"}),
        ('{"a": "€"}'.encode("cp1252"), 'application/json;Charset="windows-1252"', {"a": "€"}),
        ('{"a": "无效"}'.encode("gbk"), "application/json; charset=GBK", {"a": "无效"}),
        ('{"a": "é"}'.encode("utf-16"), "application/json; charset=utf-16", {"a": "é"}),
        ('{"a": "é"}'.encode("utf-16-le"), "application/json; charset=utf-16le", {"a": "é"}),
        ('{"a": "é"}'.encode("utf-16"), "application/json", None),
        ('{"a": "é"}'.encode("latin-1"), "application/json", None),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=utf-8", None),
        ('{"a": "é"}'.encode("latin-1"), "application/json; charset=nonsense", None),
        (b"\xff", "application/json; charset=utf-16le", None),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"), "text/xml", {"a": "é"}),
        ('<?xml version="1.0" encoding="utf-16"?><a>é</a>'.encode("utf-16"), "text/xml; charset=utf-16", {"a": "é"}),
        (b"+AGE-", "text/plain; charset=utf-7", "+AGE-"),
        (b"\xffxn--", "text/plain; charset=idna", None),
        (b"\xff", "text/plain; charset=unicode_escape", None),
        (b"\xff", "text/plain; charset=utf32le", None),
    ],
)
def test_a_body_is_read(body: bytes, content_type: str | None, document: object) -> None:
    """UTF-8 first, then the charset that is named, if it is one of those that are read."""
    assert read_document(body, content_type) == document


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({"a": 1}, {"a": 1}),
        ([], None),
        (None, None),
        ("access_token=at-1&expires_in=3600&scope=a%20b+c&x=", {
            "access_token": "at-1", "expires_in": "3600", "scope": "a b c", "x": "",
        }),
        ("a.b.c", None),
        ("an error = here", None),
        ("=a", None),
        ("a=" + "&b=1" * 300, None),
        ("a=" + "x" * 65_536, {"a": "x" * 65_536}),
        ("a=" + "x" * 65_537, None),
    ],
)  # fmt: skip
def test_the_members_of_a_document(document: object, fields: object) -> None:
    """A mapping has members, and so does a form of up to 256 fields."""
    assert fields_of(document) == fields


def test_a_text_inside_is_read_likewise() -> None:
    """An answer may hold another one as a text."""
    assert read_text(' {"a": "<b/>"} ') == {"a": "<b/>"}
    assert read_text("<b>1</b>") == {"b": "1"}
