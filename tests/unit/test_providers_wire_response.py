"""Reading a token endpoint's answer: plain functions, no I/O."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

import pytest
from harness.canary import MARK

from asyncauth import InvalidTokenResponse
from asyncauth._base.redaction import Redactor
from asyncauth.providers.wire.response import TokenResponse, parse, secrets_of, server_message

NOW = 1_700_000_000.0


def said(fields: Mapping[str, object], secrets: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return the code and the message that are shown of an answer to these secrets."""
    return server_message(fields, Redactor(secrets))


def reply(server_now: float | None = NOW, **fields: object) -> TokenResponse:
    return TokenResponse({"access_token": "t", **fields}, sent_at=NOW, server_now=server_now)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {}),
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        ('{"ñ": "é"}'.encode(), {"ñ": "é"}),
        (b"", None),
        (b"[]", None),
        (b"\xff", None),
        (b"{'a': 1}", None),
        (b'{"a": 1} x', None),
        (b'{"a":' * 50_000, None),
    ],
)
def test_parse(body: bytes, fields: object) -> None:
    """A body is a JSON object in UTF-8, or nothing; never an exception."""
    assert parse(body) == fields


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


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({}, None, None),
        ({"error": "invalid_grant"}, "invalid_grant", None),
        ({"error": "invalid_grant", "error_description": "No."}, "invalid_grant", "No."),
        ({"error": "invalid_grant", "message": "No."}, "invalid_grant", "No."),
        ({"error": "Wrong email or password."}, None, "Wrong email or password."),
        ({"error": "Wrong email.", "message": "No."}, None, "No."),
        ({"message": "No."}, None, "No."),
        ({"error": 7, "message": ["No."]}, None, None),
        ({"error": True}, None, None),
        ({"error": [[1]]}, None, None),
        ({"error": "", "message": ""}, None, None),
        ({"message": " \n\t "}, None, None),
        ({"message": "a \r\n b"}, None, "a b"),
    ],
)
def test_the_servers_words(fields: dict[str, object], code: str | None, text: str | None) -> None:
    """A code is a code, a sentence is a message wherever it stands, and anything else is nothing."""
    assert said(fields, ()) == (code, text)


@pytest.mark.parametrize("secret", [MARK, "a b", "ñandú", '"quoted"', "\\", "</b>"])
def test_secrets_are_taken_out(secret: str) -> None:
    """What was sent is taken out of code and message, wherever it stands."""
    fields = {"error": secret, "message": f"{secret}, not {secret}"}
    assert all(secret not in (part or "") for part in said(fields, (secret,)))


@pytest.mark.parametrize(
    "code",
    [
        "access_denied",
        "authorization_pending",
        "expired_token",
        "invalid_client",
        "invalid_grant",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "use_dpop_nonce",
    ],
)
def test_a_code_that_decides_is_left_whole(code: str) -> None:
    """A credential that is a piece of a protocol's code, or all of it, does not change what the server said."""
    for secret in (code, code[0], code.partition("_")[0]):
        assert said({"error": code, "error_description": f"not {secret}"}, (secret,))[0] == code
        assert said({"error": f"{code}x"}, (secret,))[0] != f"{code}x"
    assert said({"error": code, "error_description": f"no {code}"}, (code,)) == (code, "no …")


@pytest.mark.parametrize(
    "spell",
    [
        lambda secret: quote(secret, safe=""),
        quote,
        quote_plus,
        lambda secret: re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")),
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
        lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape,
        lambda secret: html.escape(secret).replace("&#x27;", "&#039;"),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
        lambda secret: quote_plus(base64.b64encode(secret.encode()).decode()),
    ],
)
@pytest.mark.parametrize("secret", ["hunter 2+2/é&<\"'\\>?", "ñandú🦤%2F~", "A B/C=Ñ", "\\u00e9-%c3%a9 "])
def test_no_spelling_of_a_secret_stays(secret: str, spell: Callable[[str], str]) -> None:
    """A server that echoes the request, in whatever spelling, puts no secret into an error."""
    for echo in (spell(secret), f"grant_type=password&password={spell(secret)}&x=1", f"[{spell(secret)}] {secret}"):
        parts = said({"error": echo, "error_description": echo}, (secret,))
        assert all(spell(secret) not in (part or "") and secret not in (part or "") for part in parts)
    assert said({"message": f"no: {spell(secret)}."}, (secret,)) == (None, "no: ….")


def test_the_longest_secret_goes_first() -> None:
    """A secret that is the beginning of another one leaves nothing of that one."""
    assert said({"message": "is pass-word-2"}, ("pass", "pass-word-2")) == (None, "is …")


def test_an_endless_message_costs_little() -> None:
    """A message of a megabyte is looked at only in part, and no part of a secret stays at its cut."""
    secret, started = "-".join("abcdefgh" * 10), time.process_time()
    _, text = said({"message": f"{secret} " * 20_000}, (secret, "x" * 5000))
    assert time.process_time() - started < 1
    assert text is not None
    assert "a-b" not in text


@pytest.mark.parametrize("length", [199, 200, 201, 10_000])
def test_messages_are_short(length: int) -> None:
    """A message has at most 200 characters; a longer one ends in an ellipsis."""
    _, text = said({"message": "x" * length}, ())
    assert text is not None
    assert len(text) == min(length, 200)
    assert text.endswith("…") == (length > 200)


@pytest.mark.parametrize("seconds", [1e-9, 5e-324])
def test_a_lifetime_too_short_to_be_told_is_none(seconds: float) -> None:
    """A lifetime that a float of today's date can't hold was over on arrival."""
    with pytest.raises(InvalidTokenResponse, match="expired on arrival"):
        reply().token("access_token", durations=[seconds])


@pytest.mark.parametrize("length", [255, 256, 257, 70_000, 900_000])
def test_a_long_secret_is_recognised_by_its_beginning(length: int) -> None:
    """However long what was sent is, and wherever the answer was cut, no part of it is shown."""
    secret = "Ab+9" * (length // 4) + "x" * (length % 4)
    for echo in (secret, base64.b64encode(secret.encode()).decode(), quote_plus(secret)):
        assert said({"message": f"no: {echo}"}, (secret,)) == (None, "no: …")


@pytest.mark.parametrize("length", [5_000, 500_000])
def test_a_message_that_nearly_repeats_a_long_secret_costs_little(length: int) -> None:
    """A server that gave us a long token can't stop the event loop with a message that nearly holds it."""
    started = time.process_time()
    said({"message": "x" * 1_000_000}, ("x" * length + "y",))
    assert time.process_time() - started < 0.1


def test_a_scope_that_repeats_what_was_sent_is_none() -> None:
    """It would show in the token's repr."""
    answer = TokenResponse({"access_token": "at-1", "scope": "read my-password"}, NOW, NOW, ("my-password",))
    assert answer.token("access_token").scope is None


def test_the_secrets_of_an_answer_are_known_by_their_names() -> None:
    """At any depth; what else an answer says can be quoted by an error."""
    fields = {
        "access_token": "at-12345",
        "data": {"session": [{"value": "se-12345"}]},
        "refresh_token_expires_in": "never ends",
        "token_type": "BearerToken",
        "id_token": "short",
        "scope": "all-of-it",
        "message": "what happened",
        "expires": 3600,
    }
    assert sorted(secrets_of(fields)) == ["at-12345", "se-12345"]
