"""Reading a token endpoint's answer: plain functions, no I/O."""

from __future__ import annotations

from email.utils import formatdate

import attrs
import pytest

from asyncauth import InvalidTokenResponse
from asyncauth.providers.wire.classify import Answer
from asyncauth.providers.wire.response import TokenResponse

NOW = 1_700_000_000.0


def reply(server_now: float | None = NOW, **fields: object) -> TokenResponse:
    headers = {} if server_now is None else {"Date": formatdate(server_now, usegmt=True)}
    fields = {"access_token": "t", **fields}
    return TokenResponse(Answer(status=200, headers=headers, fields=fields), fields, NOW)


@pytest.mark.parametrize("lifetime", [1, 60, 3600.5])
def test_the_lifetime_counts_from_the_request(lifetime: float) -> None:
    """The token's times are by our own clock, from when the request was sent."""
    token = reply().token("access_token", durations=[lifetime])
    assert token.issued_at == NOW
    assert token.expires_at == NOW + lifetime


def test_instants_go_by_the_servers_now() -> None:
    """An instant is reckoned from the server's now, else from ours."""
    assert reply(NOW + 7200).token("access_token", instants=[NOW + 7260]).lifetime == 60
    assert reply(None).token("access_token", instants=[NOW + 60]).lifetime == 60


def test_a_null_beside_something_readable_is_no_error() -> None:
    """``null`` beside another time says nothing; alone it is an error; a missing field is none."""
    assert reply(expires_in=None).token("access_token", durations=[60], times=("expires_in",)).lifetime == 60
    assert reply().token("access_token", times=("expires_in",)).lifetime is None
    with pytest.raises(InvalidTokenResponse, match="'expires_in' is null"):
        reply(expires_in=None).token("access_token", times=("expires_in",))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Bearer", "Bearer"),
        ("bEARER", "Bearer"),
        ("DPoP", "DPoP"),
        ("dpop", "DPoP"),
        ("bot", "Bearer"),
        ("BearerToken", "Bearer"),
        ("JWT", "Bearer"),
        ("", "Bearer"),
        ("Bearer\r\nX: 1", "Bearer"),
        ("a b", "Bearer"),
        ("ñ", "Bearer"),
        ("x" * 33, "Bearer"),
        (None, "Bearer"),
        ([], "Bearer"),
    ],
)
def test_token_types(sent: object, kept: str) -> None:
    """A label of the server's own and nonsense mean Bearer, and the label stays readable."""
    token = reply(token_type=sent).token("access_token")
    assert token.token_type == kept
    assert token.extra["token_type"] == sent


@pytest.mark.parametrize("kind", ["N_A", "n_a", "mac", "MAC", "PoP"])
def test_types_that_are_no_bearer_tokens(kind: str) -> None:
    """Sending one as a bearer token is an error, unless the provider says how it is sent."""
    with pytest.raises(InvalidTokenResponse, match=r"token_type is (N_A|mac|pop), which is not sent as Bearer: give"):
        reply(token_type=kind).token("access_token")
    assert reply(token_type=kind).token("access_token", any_type=True).token_type == "Bearer"


def test_scope_and_extra() -> None:
    """Scope is kept if it is text; the other fields are the token's ``extra``, without the secrets among them."""
    token = reply(scope="a b", refresh_token="r", user="ana").token("access_token")
    assert token.scope == "a b"
    assert dict(token.extra) == {"scope": "a b", "user": "ana"}
    assert reply(scope=["a"]).token("access_token").scope is None


def test_the_repr_shows_nothing() -> None:
    """An answer holds the token: its repr shows none of it."""
    assert "the-token" not in repr(reply(access_token="the-token"))


@pytest.mark.parametrize("seconds", [1e-9, 5e-324])
def test_a_lifetime_too_short_to_be_told_is_none(seconds: float) -> None:
    """A lifetime that a float of today's date can't hold was over on arrival."""
    with pytest.raises(InvalidTokenResponse, match="expired on arrival"):
        reply().token("access_token", durations=[seconds])


def test_a_scope_that_repeats_what_was_sent_is_none() -> None:
    """It would show in the token's repr."""
    answer = attrs.evolve(reply(scope="read my-password"), sent=("my-password",))
    assert answer.token("access_token").scope is None
