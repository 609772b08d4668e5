"""The content of an answer's body: JSON, XML, a form or a text, in the charset that the answer names. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
"""The charsets that are supported besides UTF-8. Python decodes them in time proportional to the body."""
_NAMED_WITHIN = 200
"""Characters of ``Content-Type``, and bytes of an XML document, in which a charset is looked for."""
_FORM = re.compile(r"[A-Za-z_][\w.-]{0,63}=[\x21-\x7e]{0,65536}", re.ASCII)
"""A form of at most 64 KiB, since decoding a form takes longer than decoding JSON."""
_MOST_FIELDS = 256


def read_document(body: bytes, content_type: str | None) -> object:
    """Return the content of a body: a JSON object or array, an XML document as a mapping, or a text.

    Tries UTF-8 first: more servers name a charset that they do not use than really use another one.

    Args:
        body: The decompressed body.
        content_type: The ``Content-Type`` header, of which only the charset matters; ``None``: there is none.

    Returns:
        ``None`` if the body is empty, HTML, damaged, or in an unsupported charset.
    """
    try:
        text: str | None = body.decode()
    except ValueError:
        text = None
    if text is None or "\0" in text:  # UTF-16 would have many
        text = _in_named_charset(body, content_type)
    return None if text is None else read_text(text.removeprefix("\ufeff"))


def read_text(text: str) -> object:
    """Return the content of a text, as `read_document` does. A JSON string becomes its text."""
    text = text.strip()
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):  # not JSON, numbers too large, nested too deeply
        if text.startswith("<"):
            return parse_xml(text)
        return text if text and not text.startswith(("{", "[")) else None
    if isinstance(value, str):
        return value or None
    return cast("object", value) if value is None or isinstance(value, (dict, list)) else text


def fields_of(document: object) -> Mapping[str, Any] | None:
    """Return the members of a document, which may be a form; ``None``: it has none."""
    if isinstance(document, (dict, Mapping)):  # for a dict, the abstract class is not asked
        return cast("Mapping[str, Any]", document)
    if not isinstance(document, str) or _FORM.fullmatch(document) is None:
        return None
    try:
        return dict(parse_qsl(document, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:  # it has more fields
        return None


def _in_named_charset(body: bytes, content_type: str | None) -> str | None:
    """Return a body's text in the charset that the answer names; ``None``: it is not in that, or not supported."""
    start = body[:_NAMED_WITHIN].decode("latin-1")
    named = _CHARSET.search((content_type or "")[:_NAMED_WITHIN]) or _CHARSET.search(start)
    if named is None or not _CHARSETS.fullmatch(named[1]):
        return None
    try:
        text = body.decode(named[1])
    except (ValueError, LookupError):
        return None
    return None if "\0" in text else text
