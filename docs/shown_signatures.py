"""What the reference shows of a signature: values and public names, where the source has names of its own."""

from __future__ import annotations

import inspect
import operator
import re
import sys
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Types that a signature names for its own module, written out.
_TYPES = {
    "_App": "Callable[..., Awaitable[None]]",
    "_Url": "str | URL | Pattern[str]",
}
_GIVEN = frozenset({"Blocking"})
"""Classes that users get from the library and never make: their constructors are not shown."""
_FIELD = re.compile(r"attr_dict\['(\w+)'\]\.default")
_PRIVATE = re.compile(r"(?:~?(?:\w+\.)+)?(?<!\w)(_[A-Za-z]\w*)\b(?!\.)")
_CONSTANT = re.compile(r"(?<== )((?:\w+\.)?[A-Z][A-Z_]+)\b")


def _shown(value: object) -> str:
    """Return how a default reads: an attrs object that was made without arguments as a call, the rest by its repr."""
    if attrs.has(type(value)):
        return f"{type(value).__name__}()"
    return repr(value)


def _default_of(cls: type, field: str) -> str:
    """Return a field's default; ``...`` where each object gets a new one."""
    default = attrs.fields_dict(cls)[field].default
    return "..." if default is attrs.NOTHING or isinstance(default, attrs.Factory) else _shown(default)  # type: ignore[arg-type]


def show_values(  # noqa: PLR0917 (Sphinx calls it so)
    app: Sphinx,  # noqa: ARG001
    what: str,
    name: str,  # noqa: ARG001
    thing: Any,
    options: Any,  # noqa: ARG001
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None] | None:
    """Give the signature with values in place of the names that only the module itself knows."""
    if signature is None:
        return None
    if what == "class" and thing.__name__ in _GIVEN:
        return "", None
    if what == "class" and attrs.has(thing):
        signature = _FIELD.sub(lambda match: _default_of(thing, match[1]), signature).replace("NOTHING", "...")
    module = sys.modules[inspect.unwrap(thing).__module__]

    def spelled(match: re.Match[str]) -> str:
        return _TYPES.get(match[1]) or _shown(operator.attrgetter(match[1])(module))

    signature = _CONSTANT.sub(spelled, signature)
    return _PRIVATE.sub(spelled, signature), _PRIVATE.sub(spelled, returned) if returned else returned
