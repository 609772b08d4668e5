"""Removes a token from an address: servers that redirect may repeat it there, renamed or re-encoded."""

from __future__ import annotations

import re
from urllib.parse import unquote

from asyncauth._base.patterns import pattern

__all__ = ["without_parameter"]

_SHORTEST_KNOWN = 6
"""The fewest characters by which a token is recognised anywhere in an address."""
_LETTER = pattern(r"%(?:25)*([0-9A-Fa-f]{2})|.", re.DOTALL)
_BEGINS = ("?", "&", "#", "")
_ENDS = ("&", "#", "")
"""The characters before and after a query parameter."""


def without_parameter(address: str, ending: str) -> str:
    """Return an address without a query parameter, and without its value, if the value is long enough.

    Args:
        address: The address.
        ending: The parameter as it was appended to the request's URL: it begins with ``?`` or ``&``. The address may
            encode it differently.
    """
    name, _, value = map(unquote, ending[1:].partition("="))
    letters = _letters(address)
    plain, named = "".join(letter for letter, _, _ in letters), f"{name}="
    wanted = "".join(letter for letter, _, _ in _letters(value))
    kept: list[str] = []
    done = copied = 0
    at = plain.find(wanted)
    while at >= 0:
        start, end = at, at + len(wanted)
        before, after = at - len(named), plain[end : end + 1]
        is_parameter = plain.endswith(named, done, at) and plain[before - 1 : before] in _BEGINS and after in _ENDS
        if is_parameter:
            start, end = (before, end + 1) if after == "&" else (max(before - 1, done), end)
        if is_parameter or len(value) >= _SHORTEST_KNOWN:
            kept.append(address[copied : letters[start][1]])
            done, copied = end, letters[end - 1][2]
        at = plain.find(wanted, max(end, at + 1))
    return "".join((*kept, address[copied:]))


def _letters(text: str) -> list[tuple[str, int, int]]:
    """Return the characters of a text, decoded any number of times, each with its start and end in the text."""
    return [
        (chr(int(each[1], 16)) if each[1] else each[0], each.start(), each.end()) for each in _LETTER().finditer(text)
    ]
