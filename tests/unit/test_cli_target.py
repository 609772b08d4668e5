"""Whose token a command works with: what may be said together, and where credentials are found."""

from __future__ import annotations

import os
from typing import Any

import pytest

from asyncauth import ConfigurationError
from asyncauth.cli.addresses import secure_url
from asyncauth.cli.credentials import CLIENT, Credentials
from asyncauth.cli.outcome import Problem
from asyncauth.cli.stores import choose
from asyncauth.cli.systems import System
from asyncauth.cli.target import Target

ISSUER, TOKEN_URL = "https://login.example.com", "https://login.example.com/token"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ASYNCAUTH_", "PEAKLY_", "PAGO_FACIL_", "CLIENT_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("there is no system 'nobody': write peakly, pago-facil, or module:attribute", {"whose": "nobody"}),
        ("give no other name", {"whose": "peakly", "issuer": ISSUER}),
        ("exclude each other", {"issuer": ISSUER, "token_url": TOKEN_URL}),
        ("need --issuer or --token-url", {"whose": "peakly", "scope": ["read"]}),
        ("need --issuer or --token-url", {"whose": "shop:peakly", "audience": "api"}),
        ("are only for peakly and pago-facil", {"issuer": ISSUER, "base_url": ISSUER}),
        ("are only for peakly and pago-facil", {"whose": "shop:peakly", "environment": "qa"}),
        ("give your own provider insecure_hosts=", {"whose": "shop:peakly", "insecure_hosts": ["shop"]}),
    ],
)
def test_what_does_not_go_together(said: str, options: dict[str, Any]) -> None:
    """Options that do not fit are reported before anything is sent or imported."""
    with pytest.raises(Problem, match=said):
        Target(**options)


def test_a_host_that_is_none() -> None:
    """--insecure-host takes a name, not a URL."""
    with pytest.raises(ConfigurationError, match="without scheme, port or wildcard"):
        Target(whose="peakly", insecure_hosts=["http://shop"])


def test_nobody_is_named() -> None:
    """Without any name the line says all that can be named."""
    with pytest.raises(Problem, match=r"whose token\? Name peakly or pago-facil, module:attribute .* --token-url"):
        Target().given()


def test_an_oauth_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """--token-url makes a client credentials provider of what the environment holds."""
    monkeypatch.setenv("CLIENT_ID", "reports")
    monkeypatch.setenv("CLIENT_SECRET", "s3cret-s3cret")
    target = Target(token_url="http://login/token", scope=["read", "write"], insecure_hosts=["login"])
    given = target.given(origins=("https://api.example.com",))
    assert (target.name, given.credential) == ("client", "id and secret in CLIENT_ID and CLIENT_SECRET")
    assert given.source.origins == ("https://api.example.com",)
    assert '"scope":["read","write"]' in str(given.source.identity).replace(" ", "")
    assert "s3cret" not in repr(given)


def test_an_oauth_client_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named."""
    monkeypatch.setenv("CLIENT_ID", "reports")
    with pytest.raises(Problem, match="no credentials for the OAuth client: set CLIENT_SECRET"):
        Target(issuer=ISSUER).given()


@pytest.mark.parametrize(
    ("environment", "value", "found_as"),
    [
        ({"PEAKLY_USERNAME": "plain"}, "plain", "PEAKLY_USERNAME"),
        ({"ASYNCAUTH_PEAKLY_USERNAME": "prefixed"}, "prefixed", "ASYNCAUTH_PEAKLY_USERNAME"),
        ({"PEAKLY_USERNAME": "plain", "ASYNCAUTH_PEAKLY_USERNAME": "prefixed"}, "plain", "PEAKLY_USERNAME"),
        ({"PEAKLY_USERNAME": "", "ASYNCAUTH_PEAKLY_USERNAME": "prefixed"}, "prefixed", "ASYNCAUTH_PEAKLY_USERNAME"),
        ({"PEAKLY_USERNAME": ""}, "", "PEAKLY_USERNAME"),
    ],
)
def test_one_set_of_variables(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], value: str, found_as: str
) -> None:
    """The plain variable is read first, the prefixed one where it is not set; outputs name the one that was found."""
    for name, each in environment.items():
        monkeypatch.setenv(name, each)
    credentials = Credentials.found(System.PEAKLY, None)
    assert credentials.values["PEAKLY_USERNAME"] == value
    assert credentials.where("PEAKLY_USERNAME") == found_as


def test_a_clients_variables() -> None:
    """A client's id and secret are its login."""
    assert Credentials(CLIENT, {}).used == ("CLIENT_ID", "CLIENT_SECRET")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://api.example.com:81", r"use https://api\.example\.com:81$"),
        ("http://login:8080", r"use https://login:8080 \(or permit it, .*--insecure-host login\)$"),
        ("http://10.0.0.7", r"use https://10\.0\.0\.7 \(or permit it"),
    ],
)
def test_plain_http(url: str, said: str) -> None:
    """The line says what to write; how to permit it is only said of what may be a container."""
    with pytest.raises(Problem, match=said):
        secure_url(url, "--base-url")
    assert str(secure_url("http://127.0.0.1", "--base-url")) == "http://127.0.0.1"


@pytest.mark.parametrize(
    "text",
    ["redis:/localhost", "redis:localhost", "rediss//localhost", "redis/localhost:6379", "localhost:6379", "http://x"],
)
def test_a_store_with_a_typo(text: str) -> None:
    """What was to be a URL is not taken for a folder, and is not repeated: it may hold a password."""
    with pytest.raises(Problem, match="a store is a folder, or a URL that begins with redis://") as raised:
        choose(text, prefix="asyncauth:", encrypted=False, keyring=None)
    assert text not in str(raised.value).replace("redis://", "")


@pytest.mark.parametrize("text", ["tokens", "./redis:/localhost", "var//tokens", "/var/lib/redis:/x", "redis"])
def test_a_store_that_is_a_folder(text: str) -> None:
    """A path is a folder, whatever is in it."""
    chosen = choose(text, prefix="asyncauth:", encrypted=False, keyring=None)
    assert chosen is not None
    assert chosen.folder is not None
