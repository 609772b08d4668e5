"""An XML answer as a mapping. Pure; rejects dangerous XML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["parse_xml"]

_DEEPEST = 32
_MOST_ELEMENTS = 5000


def parse_xml(text: str) -> Mapping[str, Any] | None:
    """Return an XML document as a mapping with one member, the root element.

    An element with a text becomes that text. Any other becomes a mapping of its attributes and child elements; a name
    that occurs more than once becomes a list. Namespace prefixes are removed.

    Args:
        text: The document.

    Returns:
        ``None`` if it is not well-formed, is HTML, has a document type (which could define entities), or has more than
        5,000 elements or 32 levels.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")  # whatever the document says, since the text was already decoded
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError):
        return None
    return None if "html" in map(str.lower, reader.root) else reader.root


class _Reader:
    """Builds the mapping from the parser's events."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._open: list[tuple[dict[str, Any], list[str]]] = [(self.root, [])]
        self._elements = 0

    def start(self, _: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self._open) > _DEEPEST or self._elements > _MOST_ELEMENTS:
            raise ValueError
        members = {_local(name): value for name, value in attributes.items() if not name.startswith("xmlns")}
        self._open.append((members, []))

    def text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def end(self, name: str) -> None:
        members, texts = self._open.pop()
        value: Any = "".join(texts).strip() or members or ""
        parent, name = self._open[-1][0], _local(name)
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]


def _local(name: str) -> str:
    """Return a name without its namespace prefix."""
    return name.rpartition(":")[2]
