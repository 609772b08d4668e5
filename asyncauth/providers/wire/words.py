"""A server's error code and its short message, wherever its answer has them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from asyncauth._base.printable import printable
from asyncauth.providers.wire.document import fields_of
from asyncauth.providers.wire.error_codes import PROTOCOL_CODES

if TYPE_CHECKING:
    from asyncauth._base.redaction import Redactor

__all__ = ["cleaned", "error_codes", "parts", "server_message"]

_LONGEST_MESSAGE = 200
_MOST_READ = 1 << 14
"""The most characters of a message that are read."""
# Names of an answer's members, in lower case and without "_" and "-"; the most likely first.
_MESSAGES = (
    "errordescription", "message", "errormessage", "detail", "details", "msg", "errmsg", "errormsg", "reason", "title",
    "description", "errorsummary", "summary", "faultstring", "statusmessage", "defaultmessage", "value", "text",
    "mensaje", "descripcion", "detalle", "glosa", "motivo",
)  # fmt: skip
_CODES = ("error", "errorcode", "errcode", "code", "errortype", "faultcode", "type")
_ERRORS = (
    "message",
    "messages",
    "errormessages",
    "detail",
    "details",
    "errors",
    "error",
    "fault",
    "reason",
    "nonfielderrors",
)
"""Members that describe an error if they are a mapping, or a list of mappings or texts."""
_ON_TOP = frozenset({"type", "value", "text"})
_ELSEWHERE = _ON_TOP | {"code", "title", "description", "reason", "summary", "descripcion", "motivo"}
"""Names that mean something else at the top level of the answer, and in mappings that do not describe an error."""

_CODE = re.compile(r"(?!-?[0-9]+\Z)[\w.:#-]{0,99}\w", re.ASCII)
"""A code that is worth showing. A number says less than the message."""
_OTHER_NAMES = {"__type": "errorcode"}
"""Members that are treated as others: AWS has its codes in ``__type``."""
_DEEPEST = 5
"""Levels of an answer that are searched: SOAP 1.1 has its message on the fourth level, SOAP 1.2 on the fifth."""
_MOST = 64
"""The most members of one mapping, and parts of one level, that are searched."""


def server_message(document: object, redactor: Redactor, declared: str | None = None) -> tuple[str | None, str | None]:
    """Return the server's error code (RFC 6749 §5.2) and its short message, both safe to show.

    Args:
        document: The content of the answer's body.
        redactor: Removes what was sent, since a server may repeat it.
        declared: The message from its declared place; ``None`` (default): it is searched for.
    """
    code = next((each for each in error_codes(document) if _CODE.fullmatch(each)), None)
    text = declared or next((each for each in _messages(document) if each != code), None)
    # The protocol's own codes stay unchanged, since a refresh decides by them, and such a word never reveals a
    # credential. Without "auth", "authorization_pending" would count as a rejection.
    return code if code in PROTOCOL_CODES else cleaned(code, redactor), cleaned(text, redactor)


def error_codes(document: object) -> Iterator[str]:
    """Yield the error codes of an answer, also numbers, the most likely first."""
    for part in parts(document):
        if not isinstance(part, str):
            values = (part.get(name) for name in _CODES)
            yield from (str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))


def cleaned(text: object, redactor: Redactor) -> str | None:
    """Return a text without what was sent, without control characters, and short; ``None``: nothing is left."""
    if not isinstance(text, str):
        return None
    # The redactor reads the text as it will be shown.
    text = redactor.text(" ".join(printable(text[:_MOST_READ]).split()))
    return printable(text, _LONGEST_MESSAGE) or None


def _messages(document: object) -> Iterator[str]:
    """Yield possible messages of the server, the most likely first."""
    for part in parts(document):
        texts = [part] if isinstance(part, str) else [part.get(name) for name in _MESSAGES]
        yield from (text for text in texts if isinstance(text, str) and text.strip())


def parts(document: object) -> Iterator[Mapping[str, Any] | str]:
    """Yield the parts of an answer that may describe an error: the whole first, then level by level.

    A part is a text, or a mapping with names in lower case and without "_" and "-".
    """
    level: list[tuple[object, frozenset[str]]] = [(fields_of(document) or document, _ON_TOP)]
    for _ in range(_DEEPEST):
        below: list[tuple[object, frozenset[str]]] = []
        for part, hidden in level:
            first: object = part
            if isinstance(part, list) and part:
                first = cast("list[object]", part)[0]
            if isinstance(first, str):
                yield first
            elif isinstance(first, Mapping):
                members = islice(cast("Mapping[str, Any]", first).items(), _MOST)
                named = {_plain(name): value for name, value in members}
                yield {name: value for name, value in named.items() if name not in hidden}
                below += [(named.pop(name), frozenset()) for name in _ERRORS if name in named]
                below += [(value, _ELSEWHERE) for value in named.values() if isinstance(value, Mapping)]
        level = below[:_MOST]


def _plain(name: str) -> str:
    """Return a member's name in the form that is compared."""
    return _OTHER_NAMES.get(name) or name.lower().replace("_", "").replace("-", "")
