"""``module:attribute``: a provider or manager of the user's own, and what is said where it can't be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncauth import TokenManager
from asyncauth.cli.outcome import Problem
from asyncauth.cli.own import load

MODULE = """
import os

from asyncauth import ManagerPool, Peakly, TokenManager

peakly = Peakly(username="me", password="s3cret-s3cret")
manager = TokenManager(peakly)
kind = Peakly
number = 7
pool = ManagerPool(lambda tenant: peakly)


class holder:
    inner = peakly


def made():
    return Peakly(username="made", password="s3cret-s3cret")


def unset():
    return os.environ["SHOP_PASSWORD"]


def wrong():
    raise ValueError("s3cret-s3cret")


def lacking():
    return Peakly(username="", password="s3cret-s3cret")


def clear():
    return Peakly(username="me", password="s3cret-s3cret", base_url="http://peakly")


def ends():
    raise SystemExit(3)


def dies():
    raise Unknown("s3cret-s3cret")


def needs():
    import no_such_package


def asks(tenant):
    return peakly


class Unknown(BaseException):
    pass


class Awaited:
    def __await__(self):
        yield


class Broken:
    name = fetch = property(lambda self: dies())

    def __call__(self):
        return peakly

    @property
    def inner(self):
        dies()


broken = Broken()
awaited = Awaited()


async def late():
    return peakly
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the current folder, which is not on Python's path."""
    (tmp_path / "own_shop.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import no_such_package\n")
    (tmp_path / "own_unreadable.py").write_text("\ndef (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("own_shop", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("attribute", ["peakly", "manager", "made", "holder.inner"])
def test_what_can_be_named(attribute: str) -> None:
    """A provider, a manager, what a function makes, and an attribute of an attribute."""
    found = load(f"own_shop:{attribute}")
    assert isinstance(found, TokenManager) is (attribute == "manager")
    assert found.origins == ("https://api.peakly.co",)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("own_shop:", "is not module:attribute, such as shop:peakly"),
        (":peakly", "is not module:attribute"),
        ("own_shop.py:peakly", "'own_shop.py:peakly' names a file: write the module, own_shop:peakly"),
        ("shops/own.py:peakly", "names a file: write the module, shops.own:peakly"),
        ("no_such_shop:peakly", "there is no module no_such_shop, neither installed nor in "),
        ("own_broken:peakly", "own_broken can't be imported: it needs no_such_package"),
        ("own_shop:nothing", "own_shop has no attribute nothing; it has broken, manager, peakly"),
        ("own_shop:kind", "own_shop:kind is a class: name an object"),
        ("own_shop:late", "is async: name a plain function"),
        ("own_shop:pool", "is a ManagerPool: name a function that returns the manager of one tenant"),
        ("own_shop:unset", "own_shop:unset() can't be loaded: the environment variable SHOP_PASSWORD is not set at "),
        ("own_shop:wrong", "own_shop:wrong() can't be loaded: ValueError at "),
        ("own_shop:lacking", "own_shop:lacking() can't be loaded: username takes a str that is not empty, not empty"),
        ("own_shop:clear", "own_shop:clear() can't be loaded: base_url is plain http to peakly"),
        ("own_shop:dies", "own_shop:dies() can't be loaded: Unknown at "),
        ("own_shop:needs", "own_shop:needs() can't be loaded: it needs no_such_package, which is not installed"),
        ("own_shop:asks", "own_shop:asks() can't be loaded: TypeError"),
        ("own_shop:broken", "own_shop:broken can't be loaded: "),
        ("own_shop:broken.inner", "own_shop:broken.inner can't be loaded: Unknown at "),
        ("own_shop:awaited", "is async: name a plain function"),
        ("own_unreadable:peakly", "own_unreadable.py:2"),
        ("own_shop:ends", "own_shop:ends() can't be loaded: SystemExit at "),
    ],
)
def test_what_cannot_be_had(text: str, said: str) -> None:
    """One line says why, and where; an unknown error's text is not shown, for it may hold a secret."""
    with pytest.raises(Problem) as raised:
        load(text)
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.usefixtures("shop")
def test_no_frame_of_the_module_is_kept() -> None:
    """What went wrong in the module is not the error's context: its frames may hold credentials."""
    with pytest.raises(Problem) as raised:
        load("own_shop:wrong")
    assert raised.value.__context__ is None
