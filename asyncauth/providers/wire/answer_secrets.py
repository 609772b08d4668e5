"""Which texts of a token endpoint's answer are secret, by their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import cast

__all__ = ["secrets_of"]

_SECRET_NAME = re.compile(
    r"(?!.*(?:type|expire|issued|lifetime|scope|_in$))(?:.*(?:token|jwt|secret|session|ticket|assertion|password|key))",
    re.IGNORECASE,
)
"""A pattern of the names of an answer's fields that contain a secret."""
_SHORTEST_SECRET = 8
_LONGEST_NAME = 200
"""The characters of a name that are searched, from its end: a name of 1 MiB would be searched for each of its texts."""
_MOST_SECRETS = 100
"""The most secrets of one answer that are searched for. Each takes 0.3 ms to prepare."""


def secrets_of(fields: object) -> Iterator[str]:
    """Yield the texts of an answer whose names mean that they are secret, at any depth; at most 100.

    Args:
        fields: The answer's JSON.
    """
    return islice(_secrets_of(fields), _MOST_SECRETS)


def _secrets_of(fields: object) -> Iterator[str]:
    unseen = [("", fields)]
    while unseen:
        name, value = unseen.pop()
        if isinstance(value, str):
            if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.match(name):
                yield value
        elif isinstance(value, Mapping):
            named = cast("Mapping[str, object]", value)
            unseen += [(f"{name}.{inner}"[-_LONGEST_NAME:], each) for inner, each in named.items()]
        elif isinstance(value, list):
            unseen += [(name, each) for each in cast("list[object]", value)]
