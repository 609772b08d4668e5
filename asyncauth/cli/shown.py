"""JSON as a terminal may get it: a server's or a store's control characters would command it."""

from __future__ import annotations

import json

__all__ = ["as_json"]


def as_json(facts: object, *, indent: int | None = 2) -> str:
    """Return JSON as people read it, in which characters that can't be seen, or encoded, are escaped."""
    text = json.dumps(facts, indent=indent, ensure_ascii=False)
    return "".join(each if each == "\n" or each.isprintable() else json.dumps(each)[1:-1] for each in text)
