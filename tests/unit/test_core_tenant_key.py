"""What a tenant is called in a store: the same in every process, and another for every other tenant."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from typing import NamedTuple

import attrs
import pytest

from asyncauth import ConfigurationError
from asyncauth._core.tenant_key import check_key, name_of


class Plan(enum.Enum):
    FREE = "free"
    PAID = "paid"


class Word(str):
    """A string that shows nothing of itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "…"


class Place(NamedTuple):
    country: str
    number: int


@dataclasses.dataclass(frozen=True)
class Customer:
    country: str
    secret: str = dataclasses.field(repr=False)


@attrs.frozen
class Account:
    country: str
    secret: str = attrs.field(repr=False)


KEYS = [
    *(None, True, 7, 7.5, "7", b"7", "None", "(1,)", Word("a"), Word("b"), Plan.FREE, Plan.PAID),
    *(uuid.UUID(int=1), uuid.UUID(int=2), (), (1,), (1, 2), ((1, 2),), frozenset({1}), frozenset({1, 2})),
    *(Place("CL", 1), Place("CL", 2), ("CL", 1), Customer("CL", "a"), Customer("CL", "b")),
    *(Account("CL", "a"), Account("CL", "b"), (Account("CL", "a"), Plan.FREE)),
]


def test_no_two_tenants_have_one_name() -> None:
    """Whatever their classes show of them: a field that is left out of a repr tells two of them apart."""
    for key in KEYS:
        check_key(key)
    assert len({name_of(key) for key in KEYS}) == len(KEYS)


def test_a_name_is_the_same_in_every_process() -> None:
    """It depends on nothing but what the key consists of."""
    names = [f"tenant-{number}" for number in range(50)]
    assert name_of(frozenset(names)) == name_of(frozenset(reversed(names)))
    assert name_of(Account("CL", "a")) == f"{__name__}.Account('CL', 'a',)"


@pytest.mark.parametrize("key", [object(), (1, object()), frozenset({object()}), len], ids=lambda _: "key")
def test_a_key_without_a_name(key: object) -> None:
    """A key that differs from others only by its address, or by its own repr, cannot be a key in a store."""
    with pytest.raises(ConfigurationError, match="the same in every process"):
        name_of(key)


def test_a_key_that_is_not_hashable() -> None:
    """With or without a store."""
    with pytest.raises(ConfigurationError, match="hashable"):
        check_key([])
