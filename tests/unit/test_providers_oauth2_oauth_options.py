"""The arguments that all grants share: seen by tools, refused by name, and in no frame."""

from __future__ import annotations

import inspect
import re
from typing import Any

import attrs
import pytest
from harness.canary import MARK
from oauth2_kit import PEM, URL
from provider_kit import keeps_quiet

from asyncauth import (
    ClientCredentials,
    ConfigurationError,
    DeviceCode,
    JWTBearer,
    OAuthOptions,
    PasswordGrant,
    Peakly,
    RefreshGrant,
    TokenExchange,
)
from asyncauth.providers.oauth2.oauth_options import Given

CANARY = MARK
SHARED: dict[str, Any] = {
    "token_url": f"{URL}?key={CANARY}",
    "client_secret": CANARY,
    "private_key": PEM,
    "dpop_key": PEM,
    "extra": {"key": CANARY},
}
GRANTS: dict[type, dict[str, Any]] = {
    ClientCredentials: {"client_id": "app"},
    PasswordGrant: {"username": "ana", "password": CANARY},
    RefreshGrant: {"refresh_token": CANARY},
    JWTBearer: {"assertion": CANARY},
    TokenExchange: {"subject_token": CANARY, "actor_token": CANARY},
    DeviceCode: {"client_id": "app", "device_authorization_url": URL, "show": print},
}
DEFAULTS = dict.fromkeys(OAuthOptions.__annotations__) | {
    "client_auth": "client_secret_basic",
    "carried_as": "header:Authorization",
    "dpop": False,
}

every_grant = pytest.mark.parametrize("grant", GRANTS, ids=lambda grant: grant.__name__)


@every_grant
def test_a_signature_names_every_argument(grant: type) -> None:
    """`inspect.signature`, and so an IDE or a command line built on it, shows each with its default and its type."""
    parameters = inspect.signature(grant).parameters
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert parameters["scope"].annotation == "Several | None"
    assert parameters.keys() >= GRANTS[grant].keys()
    assert "options" not in parameters
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_a_subclass_has_a_signature_of_its_own() -> None:
    """A provider that is built on a grant shows what it takes itself."""
    assert [*inspect.signature(Peakly).parameters][:2] == ["username", "password"]
    assert "token_url" not in inspect.signature(Peakly).parameters


def test_the_type_and_what_is_taken_agree() -> None:
    """Each argument that the type declares arrives, as that type, and none besides."""
    given = {field.name: field.type for field in attrs.fields(Given) if field.name != "secrets"}
    declared = {name: hint.__forward_arg__ for name, hint in OAuthOptions.__annotations__.items()}
    secret = {"client_secret", "private_key", "dpop_key"}
    assert {name: hint for name, hint in declared.items() if name not in secret} == given
    assert secret < declared.keys()


@every_grant
def test_each_argument_is_described(grant: type) -> None:
    """The shared ones in `OAuthOptions`, and a grant's own in its class."""
    assert grant.__doc__
    assert OAuthOptions.__doc__
    for name in inspect.signature(grant).parameters:
        described = OAuthOptions.__doc__ if name in DEFAULTS else grant.__doc__
        assert re.search(rf"^ +{name}: ", described, re.MULTILINE), name


@every_grant
@pytest.mark.parametrize(
    ("name", "words"), [("client_secert", "did you mean client_secret="), ("zzz", "it takes .*token_url, issuer")]
)
def test_an_argument_that_there_is_not(grant: type, name: str, words: str) -> None:
    """It is refused by the class' name and its own, with the closest one; the value might be a secret."""
    with pytest.raises(TypeError, match=f"^{grant.__name__} takes no argument '{name}': {words}") as caught:
        grant(**GRANTS[grant], **SHARED, **{name: CANARY})
    keeps_quiet(caught.value, CANARY, "PRIVATE")


@every_grant
@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": 5},
        {"issuer": "nowhere"},
        {"token_url": f"nowhere?key={CANARY}"},
        {"origins": "nowhere"},
        {"client_auth": "tls"},
        {"extra": {"client_secret": CANARY}},
        {"extra": {"key": CANARY, "n": 1}},
        {"dpop_key": f"no key: {CANARY}"},
        {"client_id": " "},
    ],
    ids=["scope", "issuer", "token_url", "origins", "client_auth", "reserved", "extra", "dpop_key", "client_id"],
)
def test_no_frame_of_a_constructor_shows_a_secret(grant: type, wrong: dict[str, Any]) -> None:
    """A constructor that fails keeps them out of its error and of what a traceback with locals shows."""
    with pytest.raises(ConfigurationError) as caught:
        grant(**{**GRANTS[grant], **SHARED, **wrong})
    keeps_quiet(caught.value, CANARY, "PRIVATE")
