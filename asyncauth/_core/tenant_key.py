"""The key of a pool's tenant: anything hashable; with a store, something that has the same name in every process."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from typing import TYPE_CHECKING, Any, cast

import attrs

from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["check_key", "name_of"]


def check_key(key: object) -> None:
    """Check that a key can be a tenant's.

    Raises:
        ConfigurationError: It is not hashable.
    """
    try:
        hash(key)
    except TypeError:
        kind = type(key).__name__
    else:
        return
    raise ConfigurationError(f"a tenant's key is hashable, such as a str or a tuple of them, and this {kind} is not")


def name_of(key: Hashable) -> str:
    """Return what tells a tenant from all others, and is the same in every process.

    It is made of all that the key consists of, never of a class's own ``repr``: that may leave a field out, and two
    tenants with one name would share a token.

    Raises:
        ConfigurationError: Nothing says what the key consists of.
    """
    for kind, spelled in _SPELLED:
        if isinstance(key, kind):
            return spelled(key)
    name = "" if type(key) is tuple else _class_of(key)
    return f"{name}({', '.join(map(name_of, _parts_of(key)))},)"


def _parts_of(key: Any) -> tuple[Hashable, ...]:
    """Return what a key consists of.

    Raises:
        ConfigurationError: Nothing says it.
    """
    if isinstance(key, tuple):
        return cast("tuple[Hashable, ...]", key)
    if dataclasses.is_dataclass(key):
        return tuple(getattr(key, field.name) for field in dataclasses.fields(key))
    kind: Any = cast("type[object]", type(key))
    if attrs.has(kind):
        return tuple(getattr(key, field.name) for field in attrs.fields(kind))
    raise ConfigurationError(
        "a store needs keys that are the same in every process: str, numbers, UUIDs, enums, or tuples, frozen sets"
        f" and data classes of them, not {kind.__name__}"
    )


def _class_of(key: object) -> str:
    return f"{type(key).__module__}.{type(key).__qualname__}"


_SPELLED: tuple[tuple[type[Any], Callable[[Any], str]], ...] = (
    (enum.Enum, lambda key: f"{_class_of(key)}.{key.name}"),
    (type(None), repr),
    (bool, repr),
    # Not by a key's own repr: that of a subclass may show nothing of it.
    (str, str.__repr__),
    (bytes, bytes.__repr__),
    (int, int.__repr__),
    (float, float.__repr__),
    (uuid.UUID, lambda key: f"UUID({key})"),
    (frozenset, lambda key: f"frozenset({sorted(map(name_of, key))})"),  # its own order is another in each process
)
"""How each kind of key without parts of its own is spelled."""
