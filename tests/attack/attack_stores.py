"""Attacks by way of the store: accounts named so as to get another's entry, and entries written by somebody else."""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import fuzz_checks as check
import hostile
from attack_kit import Try, attack, awaited, samples
from cryptography.fernet import Fernet
from harness.canary import secret

from asyncauth import (
    ClientCredentials,
    ConfigurationError,
    JWTBearer,
    PagoFacilJWT,
    PasswordGrant,
    Peakly,
    Provider,
    RefreshGrant,
    Token,
    TokenExchange,
)
from asyncauth.stores import EncryptedStore, MemoryStore

_URL = "https://login.example.com/token"
_NAMES = (
    "bob", 'bob {"scope": ["admin"]}', 'bob scope=["admin"]', "bob scope=admin", 'bob"', "bob\\", "bob,admin",
    "bob admin",
    'bob {"audience": ["a"]}', "client app", "app bob", 'bob", "scope": "admin', "bob#", "bob|admin", "bob\u00a0admin",
)  # fmt: skip
_SCOPES = (None, "admin", "a b", ("a", "b"), ("a b",), 'admin"]}', "bob")


def _providers() -> dict[str, Callable[..., Provider]]:
    def oauth(kind: Any, **fixed: Any) -> Callable[..., Provider]:
        def make(**given: Any) -> Provider:
            made: Provider = kind(token_url=_URL, **{"client_id": "app", **fixed, **given})
            return made

        return make

    password = secret("password")
    return {
        "password": oauth(PasswordGrant, password=password),
        "client": oauth(ClientCredentials, client_secret=password),
        "refresh": oauth(RefreshGrant, refresh_token=password),
        "assertion": oauth(JWTBearer, assertion=password),
        "signed": oauth(JWTBearer, private_key=lambda: password),
        "exchange": oauth(TokenExchange, subject_token=password),
        "peakly": lambda **given: Peakly(password=password, **given),
        "pago": lambda **given: PagoFacilJWT.from_password(password=password, **given),
    }


def _arguments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ways to make a provider, no two of which are the same account with the same rights."""
    for name in _NAMES:
        for scope in _SCOPES:
            yield "password", {"username": name, "scope": scope}
        for client in ("app", "bob", "app bob", "x"):
            yield "password", {"username": name, "client_id": client, "scope": "s"}
        yield "peakly", {"username": name}
        for lifetime in (None, 60, 3600):
            yield "pago", {"username": name, "lifetime": lifetime}
        for account in _NAMES[:6]:
            yield "refresh", {"account": account, "client_id": name}
            yield "assertion", {"account": account, "client_id": name}
        yield "exchange", {"account": name}
        for audience in ("a", "b"):
            yield "exchange", {"account": name, "audience": audience}
            yield "client", {"client_id": name, "audience": audience}
        for issuer, subject in itertools.product(_NAMES[:6], repeat=2):
            if name == "bob":
                yield "signed", {"assertion_issuer": issuer, "subject": subject}
                yield (
                    "signed",
                    {"assertion_issuer": issuer, "subject": subject, "assertion_audience": "https://aud.example"},
                )


@attack("accounts named so as to get another's token")
def identities(luck: random.Random, scale: int) -> Iterator[Try]:
    """Different arguments, different keys in the store."""
    makers, seen = _providers(), dict[str, str]()
    ways = list(_arguments())
    for kind, given in luck.sample(ways, len(ways) if scale > 1 else 150):
        yield f"{kind} {given}", functools.partial(_identified, makers[kind], kind, given, seen)


def _identified(make: Callable[..., Provider], kind: str, given: dict[str, Any], seen: dict[str, str]) -> None:
    try:
        identity = make(**given).identity
    except ConfigurationError:
        return  # no such account
    if identity is None:
        return  # nothing is shared
    # A scope is a set of words, however it is given.
    scope = given.get("scope")
    words = scope.split() if isinstance(scope, str) else [] if scope is None else " ".join(scope).split()
    meant = f"{kind} {json.dumps({**given, 'scope': words}, sort_keys=True)}"
    assert seen.setdefault(identity, meant) == meant, f"the key of {seen[identity]}"


@attack("entries of a store that somebody else has written")
def entries(luck: random.Random, scale: int) -> Iterator[Try]:
    """Each is a token that can be used as it is, or absent."""
    for text in samples(hostile.entries, 60 * scale, luck):
        yield f"{text[:60]!r}", functools.partial(check.entry, text)


_KEY = "ab" * 32
_NOW = 1_700_000_000.0


@attack("sealed entries that were tampered with")
def sealed(luck: random.Random, scale: int) -> Iterator[Try]:
    """What is not as it was sealed is absent; times outside of the seal make nothing live longer."""
    text = Fernet(key := Fernet.generate_key()).encrypt(b"x")
    for position in luck.sample(range(len(text) - 2), min(len(text) - 2, 5 * scale)):
        yield f"byte {position} flipped", lambda at=position: awaited(_tampered(key, lambda seal: _flip(seal, at)))  # type: ignore[misc]
    changes: dict[str, Callable[[Token], Token]] = {
        "times moved on": lambda seal: attrs.evolve(seal, issued_at=_NOW + 9000, expires_at=_NOW + 9060),
        "no end": lambda seal: attrs.evolve(seal, expires_at=None),
        "a later end": lambda seal: attrs.evolve(seal, expires_at=_NOW + 10**9),
        "issued later": lambda seal: attrs.evolve(seal, issued_at=_NOW + 59),
        "in the clear": lambda seal: Token("theirs", issued_at=_NOW, expires_at=_NOW + 60),
        "sealed with their key": lambda seal: attrs.evolve(
            seal, value=Fernet(Fernet.generate_key()).encrypt(b"x").decode()
        ),
        "sealed, and no entry": lambda seal: attrs.evolve(seal, value=Fernet(key).encrypt(b"[]").decode()),
        "empty": lambda seal: attrs.evolve(seal, value="x"),
    }
    for name, change in changes.items():
        yield name, lambda change=change: awaited(_tampered(key, change))  # type: ignore[misc]
    yield "another account's", lambda: awaited(_copied(key))


def _flip(token: Token, position: int) -> Token:
    value = bytearray(token.value.encode())
    value[position] = ord("A") if value[position] != ord("A") else ord("B")
    return attrs.evolve(token, value=value.decode())


def _token() -> Token:
    return Token(secret("sealed"), issued_at=_NOW, expires_at=_NOW + 60, refresh_token=secret("refresh"))


async def _tampered(key: bytes, change: Callable[[Token], Token]) -> None:
    inner, token = MemoryStore(), _token()
    store = EncryptedStore(inner, key)
    await store.save(_KEY, token)
    seal = await inner.load(_KEY)
    assert seal is not None
    await inner.save(_KEY, change(seal))
    found = await store.load(_KEY)
    if found is not None:
        assert found.value == token.value
        assert found.expires_at is not None
        assert found.expires_at <= _NOW + 60, "it lives longer than it was sealed for"


async def _copied(key: bytes) -> None:
    inner = MemoryStore()
    store = EncryptedStore(inner, key)
    await store.save(_KEY, _token())
    seal = await inner.load(_KEY)
    assert seal is not None
    await inner.save("cd" * 32, seal)
    assert await store.load("cd" * 32) is None
