"""What an answer's body holds: JSON, XML, a form or a text, in the charset that it names. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

from asyncauth.providers.wire.xml_document import parse_xml

__all__ = ["fields_of", "read_document", "read_text"]

_CHARSET = re.compile(r"""\b(?:charset|encoding)\s?=\s?["']?([\w.:-]{1,40})""", re.ASCII | re.IGNORECASE)
_CHARSETS = re.compile(
    r"utf-?(?:16|32)(?:-?[lb]e)?|latin-?1|iso-?8859-?(?:[1-9]|1[013-6])|(?:windows-?|cp)125[0-8]"
    r"|gb2312|gbk|gb18030|big5|shift[_-]jis|euc-jp|euc-kr|koi8-[ru]",
    re.IGNORECASE,
)
"""The charsets that are read besides UTF-8. The time that Python needs to decode them grows as the body does."""
_NAMED_WITHIN = 200
"""Characters of ``Content-Type``, and bytes of an XML document, in which a charset is looked for."""
_FORM = re.compile(r"[A-Za-z_][\w.-]{0,63}=[\x21-\x7e]{0,65536}", re.ASCII)
"""A form of up to 64 KiB: decoding one takes longer than decoding JSON."""
_MOST_FIELDS = 256


def read_document(body: bytes, content_type: str | None) -> object:
    """Return what a body holds: a JSON object or array, an XML document as a mapping, or a text.

    UTF-8 is tried first: more servers name a charset that they do not use than use another one.

    Args:
        body: The body, unpacked.
        content_type: The ``Content-Type`` header; ``None``: there is none. Only its charset counts.

    Returns:
        ``None`` if the body is empty, HTML, damaged, or in a charset that is not read.
    """
    text = _decoded(body, content_type)
    return None if text is None else read_text(text)


def read_text(text: str) -> object:
    """Return what a text holds, as `read_document` does. A JSON string is the text inside."""
    text = text.strip()
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):  # not JSON, absurd numbers, nested too deeply
        if text.startswith("<"):
            return parse_xml(text)
        return text if text and not text.startswith(("{", "[")) else None
    if isinstance(value, str):
        return value or None
    return cast("object", value) if value is None or isinstance(value, (dict, list)) else text


def fields_of(document: object) -> Mapping[str, Any] | None:
    """Return the members of a document, which may be a form; ``None``: it has none."""
    if isinstance(document, Mapping):
        return cast("Mapping[str, Any]", document)
    if not isinstance(document, str) or _FORM.fullmatch(document) is None:
        return None
    try:
        return dict(parse_qsl(document, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:  # it has more
        return None


def _decoded(body: bytes, content_type: str | None) -> str | None:
    """Return a body's text, or ``None`` if it is in no charset that is read."""
    for name in _charsets(body, content_type):
        try:
            text = body.decode(name)
        except (ValueError, LookupError):
            continue
        if "\0" not in text:  # as there would be many in UTF-16
            return text
    return None


def _charsets(body: bytes, content_type: str | None) -> Iterator[str]:
    """Yield the charsets to try: UTF-8, then the one that an answer names. Few answers take as long as the second."""
    yield "utf-8-sig"
    start = body[:_NAMED_WITHIN].decode("latin-1")
    named = _CHARSET.search((content_type or "")[:_NAMED_WITHIN]) or _CHARSET.search(start)
    if named is not None and _CHARSETS.fullmatch(named[1]):
        yield named[1]
