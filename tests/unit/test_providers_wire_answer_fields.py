"""Where an answer has the token and what goes with it, as it is declared."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from asyncauth import AnswerFields, ConfigurationError, InvalidTokenResponse, Token
from asyncauth.providers.wire.classify import Answer, Kind, Verdict, classify
from asyncauth.providers.wire.document import fields_of
from asyncauth.providers.wire.response import TokenResponse

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
HOUR = 3600.0


def response(document: object, **headers: str) -> TokenResponse:
    named = CIMultiDict({"Date": DATE, **{name.replace("_", "-"): value for name, value in headers.items()}})
    fields = fields_of(document)
    return TokenResponse(Answer(status=200, headers=named, fields=fields, document=document), fields or {}, NOW)


def read(fields: AnswerFields, document: object, **headers: str) -> Token:
    return fields.reader.read(response(document, **headers))


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("seconds", 3600),
        ("ms", 3_600_000),
        ("ms", "3600000"),
        ("minutes", 60),
        ("hours", 1),
        ("hours", "1.0"),
        ("days", 1 / 24),
        ("hh:mm:ss", "1:00:00"),
        ("hh:mm:ss", " 00:59:60.0 "),
        ("hh:mm:ss", "0.01:00:00"),
        ("epoch_seconds", NOW + HOUR),
        ("epoch_seconds", (NOW + HOUR) * 1000),
        ("epoch_ms", (NOW + HOUR) * 1000),
        ("epoch_ms", NOW + HOUR),
        ("http_date", "Tue, 14 Nov 2023 23:13:20 GMT"),
        ("iso8601", "2023-11-14T20:13:20.000-03:00"),
    ],
)
def test_units(unit: Any, value: object) -> None:
    """Every unit gives the same hour."""
    token = read(AnswerFields(lifetime="left", unit=unit), {"access_token": "at-1", "left": value})
    assert token.lifetime == pytest.approx(HOUR)


def test_a_reading_of_a_clock() -> None:
    """Hours may be more than a day, and days may stand before them."""
    clock = AnswerFields(lifetime="left", unit="hh:mm:ss")
    assert read(clock, {"access_token": "at-1", "left": "177:05:38"}).lifetime == 177 * 3600 + 5 * 60 + 38
    assert read(clock, {"access_token": "at-1", "left": "7.09:05:38.5"}).lifetime == 177 * 3600 + 5 * 60 + 38.5


@pytest.mark.parametrize("value", ["", "1:00", "1:0:0", "-1:00:00", "0:00:00", 3600, None, "1" * 70 + ":00:00"])
def test_no_reading_of_a_clock(value: object) -> None:
    """It is an error that names the field."""
    with pytest.raises(InvalidTokenResponse, match="left"):
        read(AnswerFields(lifetime="left", unit="hh:mm:ss"), {"access_token": "a.token", "left": value})


@pytest.mark.parametrize(
    ("unit", "value"),
    [("seconds", 1_700_003_600), ("seconds", "1700003600000"), ("ms", 1_700_003_600_000), ("hours", 3e5)],
)
def test_a_lifetime_that_looks_like_an_epoch(unit: Any, value: object) -> None:
    """No token lives for 31 years: the error says what the number looks like."""
    with pytest.raises(InvalidTokenResponse, match=r"expires_in is [0-9]+: that looks like a Unix time"):
        read(AnswerFields(unit=unit), {"access_token": "a.token", "expires_in": value})


@pytest.mark.parametrize(
    ("options", "document", "lifetime"),
    [
        ({"default_lifetime": 60}, {}, 60.0),
        ({"default_lifetime": 60}, {"expires_in": None}, 60.0),
        ({"default_lifetime": 60}, {"expires_in": 90}, 90.0),
        ({"default_lifetime": 60, "lifetime": None}, {"expires_in": 90}, 60.0),
        ({"never": 0}, {"expires_in": 0}, None),
        ({"never": 0}, {"expires_in": "0"}, None),
        ({"never": (0, -1, "never")}, {"expires_in": "never"}, None),
        ({"never": (0, -1), "default_lifetime": 60}, {"expires_in": -1}, None),
        ({"never": None}, {"expires_in": None}, None),
        ({"never": 0}, {"expires_in": 90}, 90.0),
        ({"lifetime": None}, {"expires_in": 90}, None),
        ({}, {}, None),
    ],
)
def test_what_stands_in_for_a_lifetime(
    options: dict[str, Any], document: dict[str, Any], lifetime: float | None
) -> None:
    """A default where the answer says nothing, and values that mean that the token does not end."""
    assert read(AnswerFields(**options), {"access_token": "at-1", **document}).lifetime == lifetime


def test_a_jwt_knows_better_than_a_default() -> None:
    """What the token itself says of its end counts first, also where the answer says that it never ends."""
    claims = base64.urlsafe_b64encode(json.dumps({"iat": NOW, "exp": NOW + 90}).encode()).decode().rstrip("=")
    document = {"access_token": f"e30.{claims}.x", "expires_in": 0}
    assert read(AnswerFields(never=0), document).lifetime == 90
    assert read(AnswerFields(default_lifetime=60, lifetime=None), document).lifetime == 90


@pytest.mark.parametrize("value", [0, "0", -1, "never", None])
def test_zero_is_not_for_ever_unless_it_is_declared(value: object) -> None:
    """Nor is anything else."""
    with pytest.raises(InvalidTokenResponse):
        read(AnswerFields(), {"access_token": "a.token", "expires_in": value})


@pytest.mark.parametrize(
    ("options", "document", "headers"),
    [
        ({"token": "$"}, "at-1", {}),
        ({"token": "header:X-Token"}, None, {"x_token": "at-1"}),
        ({"token": "header:Authorization"}, None, {"authorization": "Bearer at-1"}),
        ({"token": "cookie:SID"}, {"SID": "no"}, {"set_cookie": "SID=at-1; Path=/; HttpOnly"}),
        ({}, {"access_token": "bearer  at-1", "expires_in": 60}, {}),
        ({"token": "header:X-Token", "lifetime": "token.life"}, {"token": {"life": 60}}, {"x_token": "at-1"}),
        ({"token": "body.access_token"}, {"status": 0, "body": {"access_token": "at-1", "expires_in": 60}}, {}),
        ({}, "access_token=at-1&expires_in=60&scope=&token_type=bearer", {}),
        ({"token": "r.credentials.token", "lifetime": "left", "unit": "hh:mm:ss"},
         {"r": {"credentials": {"token": "at-1", "left": "0:01:00"}}}, {}),
    ],
)  # fmt: skip
def test_where_a_token_can_stand(options: dict[str, Any], document: object, headers: dict[str, str]) -> None:
    """As the whole body, in a header, nested, in a form, in XML."""
    token = read(AnswerFields(**options), document, **headers)
    assert (token.value, token.lifetime) in {("at-1", 60.0), ("at-1", None)}
    assert "at-1" not in str(token.extra)


@pytest.mark.parametrize(
    ("options", "document"),
    [
        ({"token": "$"}, {"access_token": "a.b.c"}),
        ({"token": "$"}, None),
        ({"token": "$"}, "Invalid credentials"),
        ({"token": "header:X-Token"}, {"access_token": "a.b.c"}),
        ({"token": "data.token"}, {"token": "a.b.c"}),
        ({}, "a.b.c"),
        ({}, {"access_token": ["a.b.c"]}),
    ],
)
def test_no_token_stands_there(options: dict[str, Any], document: object) -> None:
    """It is an error that names the place and nothing of what stands there."""
    with pytest.raises(InvalidTokenResponse) as caught:
        read(AnswerFields(**options), document)
    assert AnswerFields(**options).token in caught.value.message
    assert "a.b.c" not in caught.value.message


def test_what_goes_with_a_nested_token_stands_beside_it() -> None:
    """A plain name counts beside the token first, then in the answer itself."""
    nested = {"access_token": "at-1", "refresh_token": "rt-1", "scope": "a", "token_type": "dpop", "expires_in": 60}
    answer = response({"scope": "b", "expires_in": 0, "user": "ana", "body": nested})
    reader = AnswerFields(token="body.access_token").reader
    token = reader.read(answer, reader.refreshed(answer))
    assert (token.value, token.refresh_token, token.scope, token.token_type) == ("at-1", "rt-1", "a", "DPoP")
    assert token.lifetime == 60
    assert dict(token.extra) == {"scope": "a", "expires_in": 60, "user": "ana", "token_type": "dpop"}
    outer = response({"scope": "b", "refresh_token": "rt-1", "expires_in": 60, "body": {"access_token": "at-1"}})
    assert (reader.read(outer).scope, reader.read(outer).lifetime, reader.refreshed(outer)) == ("b", 60, "rt-1")


@pytest.mark.parametrize(
    ("path", "document", "value"),
    [
        ("refreshToken", {"refreshToken": "rt-1"}, "rt-1"),
        ("a.b", {"a": {"b": "rt-1"}}, "rt-1"),
        ("a.b", {}, None),
        ("refresh_token", {"refresh_token": False}, None),
        ("refresh_token", {"refresh_token": " "}, None),
    ],
)
def test_the_refresh_token(path: str, document: dict[str, Any], value: str | None) -> None:
    """It is found where it is declared to stand, and kept nowhere else."""
    reader = AnswerFields(refresh_token=path).reader
    answer = response({"access_token": "at-1", **document})
    assert reader.refreshed(answer) == value
    assert "rt-1" not in str(reader.read(answer).extra)
    assert answer.ignored == []


def test_an_unusable_refresh_token_is_noted() -> None:
    """It costs no access token."""
    answer = response({"access_token": "at-1", "refresh_token": "r\nt"})
    assert AnswerFields().reader.refreshed(answer) is None
    assert answer.ignored == ["'refresh_token' holds characters that can't travel in a header"]


def test_what_else_to_keep() -> None:
    """Values from anywhere in the answer, by names of one's own."""
    ticket = "<ticket><token>at-1</token><sign>si-gn</sign></ticket>"
    fields = AnswerFields(
        token="Envelope.return.ticket.token", extra={"sign": "Envelope.return.ticket.sign", "no": "Envelope.x"}
    )
    token = read(fields, {"Envelope": {"return": ticket}})
    assert (token.value, dict(token.extra)) == ("at-1", {"sign": "si-gn"})


@pytest.mark.parametrize(
    ("options", "status", "document", "kind"),
    [
        ({"token": "$"}, 200, "at-1", Kind.SUCCESS),
        ({"token": "$"}, 201, "at-1", Kind.SUCCESS),
        ({"token": "$"}, 200, None, Kind.UNREADABLE),
        ({"token": "$"}, 200, ["at-1"], Kind.UNREADABLE),
        ({"token": "$"}, 401, "at-1", Kind.REJECTED),
        ({"token": "$"}, 404, "at-1", Kind.UNREADABLE),
        ({"token": "header:X-Token"}, 204, None, Kind.SUCCESS),
        ({"token": "header:X-Other"}, 204, None, Kind.UNREADABLE),
        ({"token": "token"}, 200, "at-1", Kind.UNREADABLE),
    ],
)
def test_what_counts_as_a_success(options: dict[str, Any], status: int, document: object, kind: Kind) -> None:
    """An answer without members is one if a header or the whole body is the token."""
    answer = Answer(
        status=status, headers={"X-Token": "at-1"}, fields=fields_of(document), body=b"x", document=document
    )
    assert classify(answer, AnswerFields(**options).reader.verdict) == Verdict(kind)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token": "a..b"}, "token is a path"),
        ({"lifetime": "a["}, "lifetime is a path"),
        ({"refresh_token": ""}, "refresh_token is a path"),
        ({"unit": "fortnights"}, "unit is one of"),
        ({"default_lifetime": 0}, "default_lifetime takes"),
        ({"default_lifetime": True}, "default_lifetime takes"),
        ({"default_lifetime": "60"}, "default_lifetime takes"),
        ({"default_lifetime": float("nan")}, "default_lifetime takes"),
        ({"never": object()}, "never takes"),
        ({"extra": "sign"}, "extra takes"),
        ({"extra": {1: "sign"}}, "extra takes"),
        ({"extra": {"sign": "a..b"}}, "extra is a path"),
    ],
)
def test_what_cant_be_declared(options: dict[str, Any], words: str) -> None:
    """An argument that can't be read is refused by its name, when it is given."""
    with pytest.raises(ConfigurationError, match=words):
        AnswerFields(**options)


def test_it_shows_and_compares_what_was_declared() -> None:
    """Two that say the same are equal; the repr is what one would write."""
    assert AnswerFields(token="a.b") == AnswerFields(token="a.b") != AnswerFields()
    assert "reader" not in repr(AnswerFields())
