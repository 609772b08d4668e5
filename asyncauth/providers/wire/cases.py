"""Values of an answer that mean something, as a provider declares them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias, cast

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.wire.path import Path
from asyncauth.providers.wire.words import error_codes

__all__ = ["Cases", "CasesLike", "Value", "Values", "fits", "patterns", "text_of"]

Value: TypeAlias = str | float | bool | None
Values: TypeAlias = Value | Iterable[Value]
CasesLike: TypeAlias = Values | Mapping[str, Values]
"""Error codes, or a mapping of paths to the values that count there.

Values are compared as texts: ``0`` is ``"0"`` and ``0.0``, ``False`` is ``"false"``. In a ``str``, ``*`` stands for any
text. ``None``: none; inside a mapping: ``null``, or that nothing stands there.
"""

_NOTHING = "\0"
"""What ``null`` is compared as. No text of an answer is this one."""


@attrs.frozen
class Cases:
    """Values of an answer that mean something.

    Attributes:
        codes: Patterns of error codes, which are looked for wherever servers write them.
        places: Paths, and patterns of what may stand there.
    """

    codes: tuple[str, ...] = ()
    places: tuple[tuple[Path, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, value: CasesLike, argument: str) -> Cases:
        """Return what an argument describes.

        Raises:
            ConfigurationError: It can't be read.
        """
        if isinstance(value, Mapping):
            places = cast("Mapping[str, Values]", value).items()
            return cls(places=tuple((Path.of(path, argument), patterns(held, argument)) for path, held in places))
        return cls() if value is None else cls(codes=patterns(value, argument))

    def __bool__(self) -> bool:
        return bool(self.codes or self.places)

    def match(self, document: object, headers: Mapping[str, str]) -> bool:
        """Return whether an answer has one of the values.

        Args:
            document: What its body holds.
            headers: Its headers.
        """
        if self.codes and any(fits(code, self.codes) for code in error_codes(document)):
            return True
        return any(fits(text_of(path.find(document, headers)), values) for path, values in self.places)


def patterns(value: Values, argument: str) -> tuple[str, ...]:
    """Return the texts that an argument's values are compared as.

    Raises:
        ConfigurationError: One can't be compared.
    """
    several: bool = isinstance(value, Iterable) and not isinstance(value, str)
    texts = tuple(map(text_of, cast("Iterable[Value]", value) if several else (cast("Value", value),)))
    if not texts or None in texts:
        raise ConfigurationError(f"{argument} takes texts, numbers, True, False or None, or a mapping of paths to them")
    return cast("tuple[str, ...]", texts)


def text_of(value: object) -> str | None:
    """Return a JSON value as it is compared; ``None``: it is an object or an array that is not empty."""
    if value is None or value in ([], {}):
        return _NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def fits(text: str | None, values: Collection[str]) -> bool:
    """Return whether a text is one of the values, in which ``*`` stands for any text."""
    if text is None or text == _NOTHING:  # no pattern fits nothing
        return text in values
    return any(_fits(text, value) for value in values)


def _fits(text: str, pattern: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
