"""The format in which stores write entries: JSON with a version."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from typing import TYPE_CHECKING, Any, cast

import attrs
from cattrs.preconf.json import make_converter

from asyncauth._base.printable import printable
from asyncauth.entry import Entry, Rejection
from asyncauth.token import is_visible_ascii

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.token import Token

__all__ = ["LARGEST_ENTRY", "Reader", "dumps", "loads"]

SCHEMA = 1
"""The version of the format. An entry of any other version counts as absent."""
DEEPEST_EXTRA = 64
"""Levels of nested lists and objects that are kept of a field. Deeper ones may exceed a reader's recursion limit."""
LARGEST_ENTRY = 1 << 20
"""The most bytes of an entry that are read. Anyone who can write to the store could make it larger."""
LARGEST_EXTRA = 1 << 18
"""The most characters of `Token.extra` that are written, so that even a sealed entry is small enough to be read."""

_log = logging.getLogger("asyncauth.stores")


@attrs.frozen(kw_only=True)
class _Written:
    """An entry in its written form: version 1."""

    v: int
    value: str
    expires_at: float | None
    issued_at: float
    token_type: str
    refresh_token: str | None
    scope: str | None
    extra: dict[str, Any]
    rotations: int
    in_use_since: float | None
    rejections: tuple[Rejection, ...]


_FIELDS = tuple(field.name for field in attrs.fields(_Written) if field.name != "v")

_converter = make_converter(forbid_extra_keys=True)
# Exact types: cattrs' own hooks would accept the number 5 for the string "5".


def _exactly(value: object, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value


def _number(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("number")
    return float(value)


_converter.register_structure_hook(str, _exactly)
_converter.register_structure_hook(int, _exactly)
_converter.register_structure_hook(float, _number)


def dumps(token: Token) -> str:
    """Return an entry in its written form: JSON, unencrypted. A plain token is an entry without marks.

    Of `Token.extra`, only fields that JSON can represent, nested at most 64 levels deep, are written, up to 256 KiB,
    the shortest fields first. Users' own providers and servers may put anything there.
    """
    entry = Entry.of(token)
    fields = {name: getattr(entry, name) for name in _FIELDS}
    fields["extra"] = _writable(entry.extra)
    return json.dumps(_converter.unstructure(_Written(v=SCHEMA, **fields)), separators=(",", ":"))


def _writable(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are written."""
    lengths = {name: length for name, value in extra.items() if (length := _length({name: value})) is not None}
    room = LARGEST_EXTRA
    for name in sorted(lengths, key=lengths.__getitem__):
        room -= lengths[name]
        if room < 0:
            del lengths[name]
    return {name: extra[name] for name in lengths}


def _length(value: object) -> int | None:
    """Return how many characters of JSON a value takes; ``None``: JSON can't represent it."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return len(text) if _is_flat(value, DEEPEST_EXTRA + 1) else None


def _is_flat(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested at most ``levels`` deep."""
    if not isinstance(value, (dict, list, tuple)):
        return True
    held = cast("dict[str, object] | list[object] | tuple[object, ...]", value)
    inner = held.values() if isinstance(held, dict) else held
    return levels > 0 and all(_is_flat(each, levels - 1) for each in inner)


def loads(text: str | bytes) -> Entry:
    """Return the entry that `dumps` wrote.

    Raises:
        ValueError: It is damaged, or not an entry of this version. The text quotes no content.
    """
    entry = None
    with contextlib.suppress(Exception):  # cattrs' errors quote the value that they could not read
        if len(text) <= LARGEST_ENTRY:
            read = _converter.structure(json.loads(text), _Written)
            (read.refresh_token or "").encode()  # a lone surrogate can't be sent
            if read.v == SCHEMA:
                entry = Entry(**{name: getattr(read, name) for name in _FIELDS})
    if (
        entry is None
        or (entry.holds_nothing or not (entry.value or entry.lifetime == 0.0))
        or not is_visible_ascii(entry.value)
        or not (entry.token_type.isascii() and entry.token_type.replace("-", "").isalnum())
    ):
        msg = "an entry that is damaged, or of another version"
        raise ValueError(msg)
    return entry


class Reader:
    """Reads a store's entries, and logs once for each entry that it counts as absent.

    Args:
        place: The store's name in the log.
    """

    def __init__(self, place: str) -> None:
        self._place = printable(place)
        self._told: set[str] = set()

    def read(self, key: str, text: str | bytes) -> Entry | None:
        """Return the entry of a key; ``None``: it is damaged, or of another version."""
        try:
            entry = loads(text)
        except ValueError as error:
            self.tell(key, str(error))
            return None
        self.forget(key)
        return entry

    def tell(self, key: str, flaw: str) -> None:
        """Log that an entry counts as absent, once until it is readable again."""
        if key not in self._told:
            self._told.add(key)
            _log.warning(
                "%s: entry %s… is treated as absent: %s; if this repeats,"
                " do all processes have one version and its keys?",
                self._place,
                key[:8],
                flaw,
            )

    def forget(self, key: str) -> None:
        """Record that the entry is readable, so that its next flaw is logged again."""
        self._told.discard(key)
