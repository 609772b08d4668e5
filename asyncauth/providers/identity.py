"""The identity of a provider's token: one canonical JSON object of named parts, without secrets.

Pure. Two providers have the same identity exactly if their parts are the same, whatever text these contain. A shared
store hands one provider's token to another with the same identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

__all__ = ["Part", "hashed", "identity_of", "nested"]

Part: TypeAlias = "str | float | Sequence[Part] | Mapping[str, Part] | None"


def identity_of(**parts: Part) -> str:
    """Return the identity for these parts: JSON with sorted keys, in ASCII, without blanks.

    Args:
        **parts: The parts that make one token differ from another, by name. ``None``: left out.
    """
    return _canonical({name: _spelled(part) for name, part in parts.items() if part is not None})


def nested(identity: str) -> Part:
    """Return an identity as a part of another one.

    An identity from `identity_of` is nested as an object. A user's provider may return any string, which stays a
    string, even if it is JSON in another form: two forms are two identities.
    """
    try:
        parts = cast("Part", json.loads(identity))
        return parts if isinstance(parts, Mapping) and _canonical(parts) == identity else identity
    except (ValueError, RecursionError):
        return identity


def hashed(value: object) -> str:
    """Return the SHA-256, as 64 hex digits, of a value that JSON can represent.

    It replaces values in an identity that may be long or personal, such as claims.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _spelled(part: Part) -> Part:
    """Return a part with each text in a form that differs from all others in JSON.

    In JSON's ASCII form, two surrogates look like the one character that they encode. A text with surrogates (Python
    decodes bytes that are not text to such) becomes a list, which no other text is.
    """
    if isinstance(part, str):
        return ["surrogatepass", part.encode("utf-8", "surrogatepass").hex()] if _has_surrogates(part) else part
    if isinstance(part, Sequence):
        return [_spelled(each) for each in part]
    return part


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
