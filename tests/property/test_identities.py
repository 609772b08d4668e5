"""Whose token it is: arguments that make another token make another identity, whatever text is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asyncauth import (
    AnswerFields,
    ClientCredentials,
    ConfigurationError,
    DeclaredProvider,
    DeviceCode,
    JWTBearer,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    PasswordGrant,
    Peakly,
    Provider,
    RefreshGrant,
    TokenExchange,
)
from asyncauth._core.tenant_key import name_of
from asyncauth.provider import key_of
from asyncauth.testing import FakeProvider

URL = "https://login.example.com/token"
SECRET = "s3cret"

# What a sloppy join would mistake for its own: the parts' names, quotes, braces, blanks; and values that are not texts.
PIECES = [
    "bob", " ", '"', "{", "}", "\\", ":", ",", "=", "'", "scope", '{"scope":["admin"]}', "client_id", "account=",
    "upstream=(", ")", "for", "x", "é", "😀", "\ud83d", "\ude00", "\\ud83d", "null", "[]",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=4).map("".join)
uris = st.sampled_from(["urn:a", "urn:b", "urn:a,urn:b"])
urls = st.sampled_from([URL, f"{URL}/other", f"{URL}?p=1", f"{URL}?p=2", "https://other.example.com/token"])
several = st.none() | texts | st.lists(texts, min_size=1, max_size=2).map(tuple)
words = st.none() | st.lists(st.sampled_from(["read", "write", '"]}']), min_size=1, max_size=3).map(tuple)
jsons = st.none() | st.dictionaries(st.sampled_from(["a", "b", "iat"]), st.integers(0, 1) | texts, max_size=2)
lifetimes = st.none() | st.floats(1.0, 1e10) | st.integers(1, 10**10)
upstreams = st.builds(lambda text: FakeProvider(identity=text), texts | st.just('{"a":1}') | st.just('{"a": 1}'))

answers = st.builds(
    AnswerFields,
    token=st.sampled_from(["access_token", "data.token"]),
    lifetime=st.sampled_from([None, "expires_in", "data.left"]),
    unit=st.sampled_from(["seconds", "iso8601"]),
    default_lifetime=st.sampled_from([None, 60, 60.5]),
    never=st.sampled_from([(), 0, (0, -1)]),
    extra=st.sampled_from([{}, {"a": "sign"}, {"a": "b.sign"}]),
)

OAUTH = {
    "token_url": urls,
    "client_id": st.none() | texts,
    "scope": words,
    "audience": several,
    "resource": st.none() | uris | st.lists(uris, min_size=1, max_size=2).map(tuple),
    "extra": st.none() | st.dictionaries(st.sampled_from(["x", "y"]), texts, max_size=2),
    "answer": st.none() | answers,
}
FIXED = {"client_auth": "none"}
HOSTS = {"environment": st.sampled_from(["production", "development"]), "base_url": st.none() | urls}

KINDS: dict[str, tuple[Callable[..., Provider], dict[str, Any], dict[str, Any]]] = {
    "client credentials": (ClientCredentials, {**OAUTH, "client_id": texts}, FIXED),
    "password": (PasswordGrant, {**OAUTH, "username": texts}, {**FIXED, "password": SECRET}),
    "refresh token": (
        RefreshGrant,
        {**OAUTH, "account": texts, "answer": st.none() | answers.map(lambda each: AnswerFields(token=each.token))},
        {**FIXED, "refresh_token": SECRET},
    ),
    "assertion": (JWTBearer, {**OAUTH, "account": texts}, {**FIXED, "assertion": SECRET}),
    "signed assertion": (
        JWTBearer,
        {
            **OAUTH,
            "account": st.none() | texts,
            "assertion_issuer": texts,
            "subject": st.none() | texts,
            "assertion_audience": st.none() | texts,
            "claims": jsons,
        },
        {**FIXED, "private_key": lambda: SECRET},
    ),
    "exchange": (
        TokenExchange,
        {
            **OAUTH,
            "account": texts,
            "subject_token": st.just(SECRET) | upstreams,
            "subject_token_type": texts,
            "actor_token": st.none() | st.just(SECRET) | upstreams,
            "actor_token_type": texts,
            "requested_token_type": st.none() | texts,
        },
        FIXED,
    ),
    "device": (
        DeviceCode,
        {**OAUTH, "client_id": texts, "account": texts},
        {**FIXED, "show": print, "device_authorization_url": URL},
    ),
    "peakly": (
        Peakly,
        {"username": texts, "environment": st.sampled_from(["production", "qa"]), "base_url": st.none() | urls},
        {"password": SECRET},
    ),
    "login": (
        PagoFacilLogin,
        {**HOSTS, "username": texts, "generation": st.sampled_from([1, 2])},
        {"password": SECRET},
    ),
    "createToken": (PagoFacil, {**HOSTS, "account": st.none() | texts, "jwt": upstreams}, {}),
    "loginToken": (
        PagoFacilJWT,
        {**HOSTS, "account": st.none() | texts, "access_token": upstreams, "lifetime": lifetimes},
        {},
    ),
    "declared": (
        DeclaredProvider,
        {
            "name": texts,
            "url": urls,
            "sent_as": st.sampled_from(["form", "json", "header"]),
            "credential": st.sampled_from(["key", "secret"]).map(lambda name: {name: SECRET}),
            "fields": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 1) | texts, max_size=2),
            "headers": st.none() | st.dictionaries(st.sampled_from(["X-A", "X-B"]), texts, max_size=2),
            "method": st.sampled_from(["POST", "GET"]),
            "answer": st.none() | answers,
            "account": texts,
        },
        {},
    ),
}


def list_of(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def json_of(value: Any) -> str:
    return json.dumps(value or {}, sort_keys=True, ensure_ascii=False)


# What an argument asks for, where two spellings ask for the same, or another argument has its say.
ASKED: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "scope": lambda value, _: sorted(part for each in list_of(value) for part in each.split()),
    "audience": lambda value, _: list_of(value),
    "resource": lambda value, _: list_of(value),
    "extra": lambda value, _: json_of(value),
    "fields": lambda value, _: json_of(value),
    "answer": lambda value, _: value or AnswerFields(),
    "headers": lambda value, _: json_of(value),
    "claims": lambda value, _: json_of(value),
    "subject": lambda value, given: value or given["assertion_issuer"],
    "assertion_audience": lambda value, given: value or given["token_url"],
    "actor_token_type": lambda value, given: None if given["actor_token"] is None else value,
    "environment": lambda value, given: value if given["base_url"] is None else None,
}


def asked(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a set of arguments asks for."""
    found = {name: ASKED[name](value, arguments) if name in ASKED else value for name, value in arguments.items()}
    upstream = {name: ("upstream", each.identity) for name, each in found.items() if isinstance(each, FakeProvider)}
    return {**found, **upstream}


def identity(make: Callable[..., Provider], arguments: dict[str, Any]) -> str | None:
    """Return a provider's identity; `assume` away arguments that no provider takes."""
    try:
        return make(**arguments).identity
    except ConfigurationError:
        assume(False)
        raise


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_other_arguments_make_another_identity(kind: str, data: st.DataObject) -> None:
    """Two sets of arguments have one identity exactly if they ask for the same token."""
    make, varied, fixed = KINDS[kind]
    strategy = st.fixed_dictionaries(varied)
    one = data.draw(strategy)
    changed = data.draw(st.sets(st.sampled_from(sorted(varied)), max_size=2))
    two = {**one, **{name: data.draw(varied[name]) for name in sorted(changed)}}
    first, second = identity(make, {**one, **fixed}), identity(make, {**two, **fixed})
    assert first is not None
    assert (first == second) == (asked(one) == asked(two))
    assert identity(make, {**one, **fixed}) == first
    assert SECRET not in first
    assert first.isascii()
    assert json.dumps(json.loads(first), sort_keys=True, separators=(",", ":")) == first


@given(st.lists(st.tuples(texts, st.none() | texts), min_size=2, max_size=2))
def test_other_tenants_have_another_key(two: list[tuple[str, str | None]]) -> None:
    """A key belongs to one identity and one tenant, or to one identity alone."""
    (one, ones), (other, others) = two
    assert (key_of(one, tenant=ones) == key_of(other, tenant=others)) == (two[0] == two[1])


@given(texts, texts)
def test_an_upstreams_identity_is_nested_whole(one: str, other: str) -> None:
    """A user's provider may give any string: another one makes another chain."""
    chains = [PagoFacil(jwt=FakeProvider(identity=each)).identity for each in (one, other)]
    assert (chains[0] == chains[1]) == (one == other)


def test_a_user_called_as_an_identity_reads_gets_no_other_users_token() -> None:
    """A user who may choose a name cannot choose to get another user's token."""
    grant: Callable[..., PasswordGrant] = lambda **more: PasswordGrant(token_url=URL, password="p", **more)  # noqa: E731
    assert grant(username='bob {"scope": ["admin"]}').identity != grant(username="bob", scope="admin").identity


def test_a_set_of_names_is_the_same_in_every_process() -> None:
    """Its order is not: with each process an identity of its own, each would log in by itself."""
    names = {f"name-{number}" for number in range(20)}
    made = ClientCredentials(token_url=URL, client_id="c", client_secret="s", audience=names).identity
    assert made == ClientCredentials(token_url=URL, client_id="c", client_secret="s", audience=sorted(names)).identity
    assert name_of((1, frozenset(names))) == f"(1, frozenset({[repr(each) for each in sorted(names)]}),)"


def test_an_issuer_is_not_a_token_endpoint() -> None:
    """The endpoint that discovery finds may differ from the one at the issuer's own address."""
    located = ClientCredentials(token_url=URL, client_id="c", client_secret="s").identity
    assert located != ClientCredentials(issuer=URL, client_id="c", client_secret="s").identity
