"""Values of an answer to which a provider's declaration gives a meaning. Pure."""

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

Values are compared as texts: ``0`` equals ``"0"`` and ``0.0``, ``False`` equals ``"false"``. In a ``str``, ``*`` stands
for any text. ``None``: none; in a mapping: ``null``, or a missing value.
"""

_NOTHING = "\0"
"""The text that stands for ``null`` in comparisons. No text in an answer equals it."""


@attrs.frozen
class Cases:
    """Values of an answer with a declared meaning.

    Attributes:
        codes: Patterns of error codes, which are looked for wherever servers write them (default: none).
        places: Paths, and patterns of the values there (default: none).
    """

    codes: tuple[str, ...] = ()
    places: tuple[tuple[Path, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, value: CasesLike, argument: str) -> Cases:
        """Return the cases that an argument describes.

        Raises:
            ConfigurationError: The argument is wrong.
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
            document: The content of its body.
            headers: Its headers.
        """
        if self.codes and any(fits(code, self.codes) for code in error_codes(document)):
            return True
        if not self.places:  # as mostly, so that no generator is made
            return False
        return any(fits(text_of(path.find(document, headers)), values) for path, values in self.places)


def patterns(value: Values, argument: str) -> tuple[str, ...]:
    """Return an argument's values as texts for comparisons.

    Raises:
        ConfigurationError: A value can't be compared.
    """
    several: bool = isinstance(value, Iterable) and not isinstance(value, str)
    texts = tuple(map(text_of, cast("Iterable[Value]", value) if several else (cast("Value", value),)))
    if not texts or None in texts:
        raise ConfigurationError(f"{argument} takes texts, numbers, True, False or None, or a mapping of paths to them")
    return cast("tuple[str, ...]", texts)


def text_of(value: object) -> str | None:
    """Return a JSON value as a text for comparisons; ``None``: it is an object or an array that is not empty."""
    if value is None or value in ([], {}):
        return _NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def fits(text: str | None, values: Collection[str]) -> bool:
    """Return whether a text matches one of the values, in which ``*`` stands for any text."""
    if text is None or text == _NOTHING:  # no pattern matches a missing value
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
