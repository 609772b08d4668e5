"""The form in which stores write entries: JSON with a version."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from typing import TYPE_CHECKING, Any, cast

import attrs
from cattrs.preconf.json import make_converter

from asyncauth._base.printable import is_visible_ascii, printable
from asyncauth.entry import Entry, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.token import Token

__all__ = ["LARGEST_ENTRY", "Reader", "dumps", "loads"]

SCHEMA = 1
"""The version of the form that is written. An entry of any other counts as absent."""
DEEPEST_EXTRA = 64
"""Levels of lists and objects, one in another, that are kept of a field: more can't be read back in every stack."""
LARGEST_ENTRY = 1 << 20
"""The most bytes of an entry that are read. Anyone who can write to the store could make it larger."""
LARGEST_EXTRA = 1 << 18
"""Characters of `Token.extra` that are written at most, so that an entry can be read again when it is sealed, too."""

_log = logging.getLogger("asyncauth.stores")


@attrs.frozen(kw_only=True)
class _Written:
    """An entry as it is written: version 1."""

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
# Exact types: cattrs' own would take the number 5 for the string "5".


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
    """Return an entry in its written form: JSON, in the clear. A plain token is an entry without marks.

    Of `Token.extra` only what JSON can hold is written, and is not nested absurdly, up to 256 KiB, the shortest fields
    first: a provider of somebody's own may put anything there, and so may a server.
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
    """Return how many characters of JSON a value takes; ``None``: JSON can't hold it."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return len(text) if _is_flat(value, DEEPEST_EXTRA + 1) else None


def _is_flat(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested at most so many levels deep."""
    if not isinstance(value, (dict, list, tuple)):
        return True
    held = cast("dict[str, object] | list[object] | tuple[object, ...]", value)
    inner = held.values() if isinstance(held, dict) else held
    return levels > 0 and all(_is_flat(each, levels - 1) for each in inner)


def loads(text: str | bytes) -> Entry:
    """Return the entry that `dumps` wrote.

    Raises:
        ValueError: It is not an entry of this version, or damaged. The text names no content.
    """
    entry = None
    with contextlib.suppress(Exception):  # cattrs' errors hold what they could not read
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
    """Reads what a store holds, and says once for each entry that it counts as absent.

    Args:
        place: What the store is called in the log.
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
        """Log that an entry counts as absent, unless that was done since it was last read."""
        if key not in self._told:
            self._told.add(key)
            _log.warning("%s: entry %s… is treated as absent: %s", self._place, key[:8], flaw)

    def forget(self, key: str) -> None:
        """Take note that the entry can be read: the next flaw is news again."""
        self._told.discard(key)
