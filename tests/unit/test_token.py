"""The token: what it shows, what it hides."""

from __future__ import annotations

import base64
import copy
import hashlib
import math
from typing import Any

import attrs
import pytest

from asyncauth import Token
from asyncauth.token import digest, fingerprint, with_times


def test_repr_shows_times_and_a_fingerprint_and_no_secret() -> None:
    """A token in a log line is recognised, and can't be used."""
    token = Token(
        "secret-value",
        issued_at=0,
        expires_at=3600,
        refresh_token="secret-refresh",
        scope="read",
        extra={"user": "secret-user"},
    )
    for shown in (repr(token), str(token), f"{token}", f"{[token]}"):
        assert "secret" not in shown
        assert token.fingerprint in shown
        assert "1970-01-01T01:00:00Z" in shown
        assert "refresh_token=…" in shown
        assert "scope='read'" in shown
    assert "refresh_token" not in repr(Token("x"))


@pytest.mark.parametrize(
    ("epoch", "shown"), [(None, "unknown"), (1e20, "100000000000000000000"), (math.inf, "inf"), (math.nan, "nan")]
)
def test_repr_shows_any_time(epoch: float | None, shown: str) -> None:
    """A time beyond the calendar does not break the repr."""
    assert f"expires_at={shown}" in repr(Token("x", expires_at=epoch))


@pytest.mark.parametrize(
    ("kind", "header"),
    [("Bearer", "Bearer x"), ("bearer", "Bearer x"), ("BEARER", "Bearer x"), ("dpop", "DPoP x"), ("MAC", "MAC x")],
)
def test_authorization_is_the_headers_value(kind: str, header: str) -> None:
    """Bearer is written as everybody writes it; other types as the server names them."""
    assert Token("x", token_type=kind).authorization == header


def test_lifetime_is_the_difference_of_its_times() -> None:
    """Unknown where the end is unknown; zero is data."""
    assert Token("x", issued_at=10, expires_at=70).lifetime == 60
    assert Token("x", issued_at=10, expires_at=10).lifetime == 0
    assert Token("x", issued_at=10).lifetime is None


def test_digests_tell_secrets_apart_within_the_process() -> None:
    """Equal secrets have equal digests; they are keyed, so no dictionary finds the secret."""
    assert digest("a") == digest("a") != digest("b")
    assert len(digest("a")) == 32
    assert digest("\ud800")  # no encoding fault for what a wild string may hold


def test_a_fingerprint_is_the_same_everywhere() -> None:
    """A token's fingerprint is the start of its SHA-256: one token can be followed through all processes' logs."""
    value = "a-token-of-at-least-20-characters"
    assert Token(value).fingerprint == fingerprint(value) == hashlib.sha256(value.encode()).hexdigest()[:8]
    assert len(fingerprint("\ud800" * 20)) == 8  # no encoding fault


def test_the_fingerprint_of_a_short_token_cannot_be_searched_for() -> None:
    """A token that may be guessable shows no hash that guesses could be compared with, up to 19 characters."""
    for length in (1, 19):
        value = "7" * length
        assert fingerprint(value) == digest(value)[:8] != hashlib.sha256(value.encode()).hexdigest()[:8]


@pytest.mark.parametrize("kind", ["Basic", "basic"])
def test_the_fingerprint_of_a_password_cannot_be_searched_for(kind: str) -> None:
    """Nor does one of type ``Basic``, however long: people choose what it is made of."""
    value = base64.b64encode(b"shop:a password that people choose").decode()
    assert Token(value, token_type=kind).fingerprint == digest(value)[:8] != fingerprint(value)


def test_token_is_immutable_to_its_depth() -> None:
    """A token that is shared between tasks can't be changed by one of them."""
    given = {"a": 1}
    token = Token("x", extra=given)
    given["a"] = 2
    assert token.extra == {"a": 1}
    with pytest.raises(TypeError):
        token.extra["a"] = 3  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        token.value = "y"  # type: ignore[misc]
    assert copy.copy(token) is token
    assert copy.deepcopy([token])[0] is token
    assert hash(token) == hash(copy.deepcopy(token))


def test_the_repr_is_short_whatever_a_server_grants() -> None:
    """A scope of a megabyte, or a token type from somebody's store, makes no log line of a megabyte."""
    shown = repr(Token("secret", token_type="x" * 10_000, scope="read " * 100_000))
    assert len(shown) < 500
    assert "scope='read read" in shown


def test_the_repr_hides_a_token_that_the_server_repeats() -> None:
    """The access token and the refresh token are in no part of it, whatever the server says of them."""
    for secret in ("access-token-1234", "refresh-token-1234"):
        token = Token("access-token-1234", refresh_token="refresh-token-1234", scope=secret, token_type=secret)
        assert "-1234" not in repr(token)


def test_other_times_leave_the_rest_of_a_token_as_it_is() -> None:
    """Neither a field nor the class of a user's own token is lost when the manager sets its times."""

    @attrs.frozen(repr=False)
    class Mine(Token):
        region: str = attrs.field(default="", kw_only=True)

    fields: dict[str, Any] = {"token_type": "DPoP", "refresh_token": "refresh-1", "scope": "read", "extra": {"n": 1}}
    for token in (Token("access-1", **fields), Mine("access-1", region="north", **fields)):
        moved = with_times(token, 5.0, 9.0)
        assert moved == attrs.evolve(token, issued_at=5.0, expires_at=9.0)
        assert type(moved) is type(token)


@pytest.mark.parametrize(
    ("moved", "expires_at", "same"),
    [
        (0.0, 15.0, True),
        (0.0005, 15.0, True),
        (-0.0005, 15.0, True),
        (0.001, 15.0, False),
        (-0.001, 15.0, False),
        (0.0, None, False),
    ],
)
def test_a_token_whose_times_hardly_differ_stays_the_same(
    moved: float, expires_at: float | None, *, same: bool
) -> None:
    """Its provider read the same clock a moment before its manager: less than a millisecond does not count."""
    token = Token("access-1", issued_at=0.0, expires_at=15.0)
    again = with_times(token, moved, expires_at)
    assert (again is token) == same
    assert same or (again.issued_at, again.expires_at) == (moved, expires_at)
