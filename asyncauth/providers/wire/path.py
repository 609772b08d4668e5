"""The path of a value in an answer: ``data.token``, ``header:Token``, ``cookie:ID``, ``$``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import attrs

from asyncauth.errors import ConfigurationError
from asyncauth.providers.wire.document import fields_of, read_text

__all__ = ["Path"]

_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(-?[0-9]+)\]|\[(?:'([^']+)'|"([^"]+)")\]""")
_OUTSIDE = re.compile(r"(header|cookie):([!#$%&'*+.^_`|~0-9A-Za-z-]+)")
"""A header or a cookie. The names of both consist of the same characters (RFC 9110 §5.6.2, RFC 6265 §4.1.1)."""


@attrs.frozen
class Path:
    """The path of a value in an answer.

    Attributes:
        text: The path as written: ``access_token``, ``data.token``, ``items[0].token``, ``['.expires']``, optionally
            after ``$.``. In XML, the steps are names of elements and attributes. ``$`` is the whole body,
            ``header:Token`` a header, and ``cookie:ID`` a cookie that the answer sets.
        steps: The names and indexes on the way; none: the whole body, a header or a cookie.
        header: The header's name; ``None`` (default): the value is not a header.
        cookie: The cookie's name; ``None`` (default): the value is not a cookie.
    """

    text: str
    steps: tuple[str | int, ...]
    header: str | None = None
    cookie: str | None = None

    @classmethod
    def of(cls, text: str, argument: str) -> Path:
        """Return a path.

        Raises:
            ConfigurationError: The text is not a path.
        """
        outside = _OUTSIDE.fullmatch(text) if isinstance(text, str) else None
        if outside is not None:
            return cls(text, (), **{outside[1]: outside[2]})
        if text == "$":
            return cls(text, ())
        steps = _steps(text) if isinstance(text, str) else ()
        if not steps:
            raise ConfigurationError(
                f"{argument} is a path such as 'data.token', 'items[0].token', \"['.expires']\", 'header:Token' or '$'"
            )
        return cls(text, steps)

    def beside(self, other: Path) -> Path:
        """Return the same steps, starting next to another path's value."""
        return attrs.evolve(self, steps=(*other.steps[:-1], *self.steps))

    def value(self, document: object, headers: Mapping[str, str]) -> Any:
        """Return the value at the path. A text on the way that contains JSON, XML or a form is parsed.

        Args:
            document: The content of the body.
            headers: The answer's headers; names in any case.

        Raises:
            LookupError: There is no value.
        """
        if self.header is not None:
            return headers[self.header]
        if self.cookie is not None:
            return _cookies(headers)[self.cookie]
        value: Any = document
        for step in self.steps:
            if isinstance(value, str):
                value = read_text(value)
                value = fields_of(value) or value
            kind: Any = list if isinstance(step, int) else Mapping
            if not isinstance(value, kind):
                raise LookupError(self.text)  # noqa: TRY004 (as for a missing name or index)
            value = value[step]
        return value

    def find(self, document: object, headers: Mapping[str, str]) -> Any:
        """Return the value at the path, as `value` does; ``None``: there is none, or it is ``null``."""
        if len(self.steps) == 1 and isinstance(document, dict):  # as for most paths
            return cast("dict[str | int, Any]", document).get(self.steps[0])
        try:
            return self.value(document, headers)
        except LookupError:
            return None


def _steps(text: str) -> tuple[str | int, ...]:
    """Return the names and indexes of a path in a JSON document, a name first; none if it is not a path."""
    rest = text.removeprefix("$").removeprefix(".")
    steps: list[str | int] = []
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        if match is None:
            return ()
        steps.append(int(match[2]) if match[2] else match[1] or match[3] or match[4])
        position = match.end()
    return tuple(steps) if steps and isinstance(steps[0], str) else ()


def _cookies(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values of the cookies that an answer sets; of several with the same name, the last.

    Source: RFC 6265 §5.2.
    """
    pairs = (line.partition(";")[0].partition("=") for name, line in headers.items() if name.lower() == "set-cookie")
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}
