"""What a class of a user's own must have: the error names the class and what to write in it."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import pytest

from asyncauth import ConfigurationError, Peakly, Token, TokenManager
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeProvider


class Source:
    """A provider of a user's own."""

    name: Any = "source"
    origins: Any = ("https://api.example.com",)
    identity: Any = None

    async def fetch(self, http: Any, previous: Any) -> Token:
        return Token("token-1")


def lacking(*names: str) -> Any:
    """Return a provider without some of its members."""
    members = {name: value for name, value in vars(Source).items() if name not in (*names, "__dict__", "__weakref__")}
    return type("Source", (), members)()


def with_fetch(fetch: Any) -> Any:
    return type("Source", (Source,), {"fetch": fetch})()


@pytest.mark.parametrize("name", ["name", "origins", "identity", "fetch"])
def test_a_member_that_is_missing_is_named(name: str) -> None:
    """The class comes first, then what it lacks, and what a provider has."""
    with pytest.raises(ConfigurationError, match=f"^Source has no {name}: a provider has name, origins, identity and"):
        TokenManager(lacking(name))


def test_several_that_are_missing_are_named_at_once() -> None:
    """Nobody is told one after another."""
    with pytest.raises(ConfigurationError, match=r"^Source has no origins and no identity: "):
        TokenManager(lacking("origins", "identity"))


@pytest.mark.parametrize("thing", [5, "peakly", None, object()])
def test_what_is_no_provider_at_all(thing: Any) -> None:
    """It is asked for a provider, not for members."""
    with pytest.raises(ConfigurationError, match="TokenManager takes a provider, such as Peakly"):
        TokenManager(thing)
    with pytest.raises(ConfigurationError, match=r"takes a provider, not its class: write Peakly\(…\)"):
        TokenManager(Peakly)  # type: ignore[arg-type]


async def no_previous(self: Any, http: Any) -> Token:
    return Token("token-1")


async def no_arguments(self: Any) -> Token:
    return Token("token-1")


async def by_name_alone(self: Any, *, http: Any, previous: Any) -> Token:
    return Token("token-1")


async def too_many(self: Any, http: Any, previous: Any, url: str) -> Token:
    return Token("token-1")


@pytest.mark.parametrize("fetch", [no_previous, no_arguments, by_name_alone, too_many, "fetch", None])
def test_a_fetch_that_cant_be_called(fetch: Any) -> None:
    """It is refused when the manager is made, not at the first request by a place in the library."""
    says = "Source.fetch can't be called with a session and the previous token: write 'async def fetch(self, http, pre"
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        TokenManager(with_fetch(fetch))


async def by_any_name(self: Any, session: Any, last: Any = None, *more: Any, **options: Any) -> Token:
    return Token("token-1")


@pytest.mark.parametrize(
    "fetch",
    [
        by_any_name,
        staticmethod(lambda http, previous: by_any_name(None, http, previous)),
        mock.AsyncMock(return_value=Token("token-1")),
        mock.Mock(side_effect=by_any_name, spec=()),
    ],
)
async def test_a_fetch_that_can_be_called(fetch: Any) -> None:
    """Whatever takes two positional arguments will do, and a double in a test as well."""
    assert (await TokenManager(with_fetch(fetch)).token()).value == "token-1"


def test_what_has_no_signature_is_left_to_the_call() -> None:
    """Of a function whose signature can't be read nothing is known."""
    TokenManager(with_fetch(type("Odd", (), {"__call__": lambda *_: None, "__signature__": 5})()))


async def test_a_fetch_that_is_not_async() -> None:
    """The error names the class, and how the method is written."""
    manager = TokenManager(with_fetch(lambda self, http, previous: Token("token-1")))
    says = "Source.fetch must be an async function [source]: write 'async def fetch(self, http, previous)'"
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        await manager.token()


@pytest.mark.parametrize(
    ("origins", "says"),
    [
        ("api.example.com", "origins must be absolute, such as 'https://api.example.com'"),
        (("https://api.example.com", "api-2.example.com"), "such as 'https://api-2.example.com'"),
        (["10.0.0.1:8443"], "such as 'https://10.0.0.1:8443'"),
        (["localhost:8000"], "such as 'http://localhost:8000'"),
        (["api.example.com/v1"], "such as 'https://api.example.com'"),
        (("https://api.example.com/v1",), "origins takes only scheme, host and port: 'https://api.example.com'"),
        ([5], "origins is not a URL: write one such as 'https://api.example.com'"),
        (5, "the provider's origins are int, not a tuple of str"),
    ],
)
def test_origins_are_absolute(origins: Any, says: str) -> None:
    """An origin without its scheme, or with a path, is refused when the manager is made, with the right spelling."""
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        TokenManager(FakeProvider(origins=origins))


@pytest.mark.parametrize("missing", ["load", "save", "delete", "lock"])
def test_a_store_that_lacks_a_method_is_named(missing: str) -> None:
    """The class comes first, then what it lacks."""
    kind = type("Shelf", (MemoryStore,), {missing: None})
    with pytest.raises(
        ConfigurationError, match=rf"^Shelf has no {missing}\(\): a store has load, save, delete and lock"
    ):
        TokenManager(FakeProvider(), store=kind())


@pytest.mark.parametrize("store", [{}, "redis://localhost", MemoryStore])
def test_what_is_no_store_at_all(store: Any) -> None:
    """It is asked for a store, not for methods."""
    with pytest.raises(ConfigurationError, match=r"store= takes a TokenStore, such as FileStore\('tokens'\)"):
        TokenManager(FakeProvider(), store=store)


def test_a_store_and_no_identity() -> None:
    """A class of a user's own is to set it; there is no argument for it, as the library's providers have."""
    with pytest.raises(
        ConfigurationError, match="a token of Source can't be shared: its identity is None: set it"
    ) as own:
        TokenManager(Source(), store=MemoryStore())
    assert "account" not in str(own.value)
