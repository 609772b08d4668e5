"""Where a request carries its token: what can be declared, and that the place is left as it was."""

from __future__ import annotations

import re

import pytest
from multidict import CIMultiDict
from yarl import URL

from asyncauth import ConfigurationError, Token
from asyncauth._http.carrier import IN_AUTHORIZATION, PLAIN, Carrier

API = URL("https://api.example.com/things?b=%2F&a=x+y")


@pytest.mark.parametrize(
    ("carried_as", "scheme", "carrier"),
    [
        (IN_AUTHORIZATION, None, PLAIN),
        ("header:authorization", None, PLAIN),
        (IN_AUTHORIZATION, "", Carrier(scheme="")),
        (IN_AUTHORIZATION, "Zoho-oauthtoken", Carrier(scheme="Zoho-oauthtoken")),
        ("header:X-Api-Token", None, Carrier("header", "X-Api-Token")),
        ("header:X-Serverless-Authorization", "Bearer", Carrier("header", "X-Serverless-Authorization", "Bearer")),
        ("cookie:B1SESSION", None, Carrier("cookie", "B1SESSION")),
        ("cookie:Authorization", None, Carrier("cookie", "Authorization")),
        ("query:access_token", None, Carrier("query", "access_token")),
        ("query:a:b", None, Carrier("query", "a:b")),
    ],
)
def test_what_can_be_declared(carried_as: str, scheme: str | None, carrier: Carrier) -> None:
    """A place and its name, and for a header a scheme; equal declarations are one object."""
    assert Carrier.of(carried_as, scheme) == carrier
    assert Carrier.of(carried_as, scheme) is Carrier.of(carried_as, scheme)


@pytest.mark.parametrize(
    ("carried_as", "scheme", "says"),
    [
        (None, None, "takes a str such as 'header:X-Api-Token', not NoneType"),
        (("header", "X"), None, "takes a str such as 'header:X-Api-Token', not tuple"),
        ("X-Api-Token", None, "names a place and its name: 'header:X-Api-Token', 'cookie:SESSION'"),
        ("body:token", None, "names a place and its name"),
        ("Header:X-Api-Token", None, "names a place and its name"),
        ("header:", None, "needs the header's name after 'header:'"),
        ("header:X Api", None, "without blanks and colons"),
        ("header:X:Y", None, "without blanks and colons"),
        ("header:X-Api\r\nX", None, "without blanks and colons"),
        ("cookie:", None, "needs the cookie's name after 'cookie:'"),
        ("cookie:a=b", None, "needs the cookie's name after 'cookie:'"),
        ("query:", None, "needs the parameter's name after 'query:'"),
        ("query:  ", None, "needs the parameter's name after 'query:'"),
        ("query:a\nb", None, "needs the parameter's name after 'query:'"),
        ("header:Cookie", None, "takes 'cookie:NAME' for a cookie"),
        ("header:host", None, "can't be the header host"),
        ("header:Content-Length", None, "can't be the header Content-Length"),
        ("cookie:SESSION", "Bearer", "scheme= is for headers only: leave it out for a token in a cookie"),
        ("query:token", "", "scheme= is for headers only: leave it out for a token in a query"),
        (IN_AUTHORIZATION, "two words", "scheme= takes one word such as 'Token', or '' for none"),
        (IN_AUTHORIZATION, "a\r\nb", "scheme= takes one word"),
        (IN_AUTHORIZATION, 1, "scheme= takes a str such as 'Token', '' or None, not int"),
    ],
)
def test_what_cant_be_declared(carried_as: object, scheme: object, says: str) -> None:
    """It is refused before anything is sent, and the message says what to write."""
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Carrier.of(carried_as, scheme)


@pytest.mark.parametrize(
    ("carried_as", "scheme", "headers"),
    [
        (IN_AUTHORIZATION, None, {"Authorization": "MAC t-1"}),
        (IN_AUTHORIZATION, "", {"Authorization": "t-1"}),
        (IN_AUTHORIZATION, "Token", {"Authorization": "Token t-1"}),
        ("header:X-Api-Token", None, {"X-Api-Token": "t-1"}),
        ("header:X-Api-Token", "", {"X-Api-Token": "t-1"}),
        ("header:X-Api-Token", "Token", {"X-Api-Token": "Token t-1"}),
        ("cookie:SESSION", None, {"Cookie": "SESSION=t-1"}),
        ("query:t", None, {}),
    ],
)
def test_what_a_request_carries(carried_as: str, scheme: str | None, headers: dict[str, str]) -> None:
    """In ``Authorization`` the token's own scheme comes first, unless another or none is declared."""
    carrier = Carrier.of(carried_as, scheme)
    text, header = carrier.text(Token("t-1", token_type="MAC")), carrier.header
    assert ({} if header is None else {header: text}) == headers


@pytest.mark.parametrize(
    ("carried_as", "before", "while_"),
    [
        ("header:X-Token", [], [("X-Token", "t-1")]),
        ("header:X-Token", [("Authorization", "Basic x")], [("Authorization", "Basic x"), ("X-Token", "t-1")]),
        ("cookie:S", [], [("Cookie", "S=t-1")]),
        ("cookie:S", [("Cookie", "a=1; b=2")], [("Cookie", "a=1; b=2; S=t-1")]),
        ("cookie:S", [("Cookie", "s=1; xS=2; S1=S")], [("Cookie", "s=1; xS=2; S1=S; S=t-1")]),
        ("query:t", [("Cookie", "t=1"), ("t", "1")], [("Cookie", "t=1"), ("t", "1")]),
    ],
)
def test_headers_are_left_as_they_were(
    carried_as: str, before: list[tuple[str, str]], while_: list[tuple[str, str]]
) -> None:
    """What is put on is taken off again, twice without harm, and whatever else was there stays to the letter."""
    carrier, headers = Carrier.of(carried_as, None), CIMultiDict(before)
    assert not carrier.is_taken(headers, API)
    carrier.put_on(headers, carrier.text(Token("t-1")))
    assert list(headers.items()) == while_
    for _ in range(2):
        carrier.take_off(headers)
        assert list(headers.items()) == before


def test_several_lines_of_cookies_become_one() -> None:
    """No line gets lost, and a blank one adds nothing."""
    headers = CIMultiDict([("Cookie", "a=1"), ("Cookie", " "), ("cookie", "b=2")])
    Carrier.of("cookie:S", None).put_on(headers, "S=t-1")
    assert headers.getall("Cookie") == ["a=1; b=2; S=t-1"]


@pytest.mark.parametrize(
    ("carried_as", "headers", "url", "taken"),
    [
        ("header:X-Token", {"x-token": ""}, API, True),
        ("header:X-Token", {"Authorization": "Bearer x"}, API, False),
        ("cookie:S", {"Cookie": "a=1;S =2"}, API, True),
        ("cookie:S", {"Cookie": "a=1; S=2"}, API, True),
        ("cookie:S", {"Cookie": "a=S"}, API, False),
        ("cookie:S", {"S": "1"}, API, False),
        ("query:a", {}, API, True),
        ("query:t", {}, API, False),
        ("query:t", {}, URL("https://api.example.com/?t"), True),
    ],
)
def test_a_place_that_the_caller_took(carried_as: str, headers: dict[str, str], url: URL, *, taken: bool) -> None:
    """It is the caller's own, by the place's own rules for names."""
    assert Carrier.of(carried_as, None).is_taken(CIMultiDict(headers), url) is taken


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.example.com", "https://api.example.com?t=a%2B%2F%26%3D%25"),
        ("https://api.example.com/x?b=%2F&a=x+y", "https://api.example.com/x?b=/&a=x+y&t=a%2B%2F%26%3D%25"),
    ],
)
def test_a_query_is_kept_to_the_letter(url: str, sent: str) -> None:
    """The parameter comes last, encoded, and nothing before it is written anew: it may be signed."""
    carrier, token = Carrier.of("query:t", None), Token("a+/&=%")
    assert f"{URL(url)}{carrier.added_to(URL(url), carrier.text(token))}" == sent
    assert PLAIN.added_to(URL(url), PLAIN.text(token)) == ""


@pytest.mark.parametrize("value", ["a;b", "a,b", 'a"b', "a\\b"])
def test_what_cant_stand_in_a_cookie(value: str) -> None:
    """It would end the cookie, or begin another one; in a header it is allowed."""
    token = Token(value)
    flaw = Carrier.of("cookie:S", None).flaw(token)
    assert flaw is not None
    assert value not in flaw
    assert PLAIN.flaw(token) is Carrier.of("query:t", None).flaw(token) is None


def test_a_carrier_shows_its_place() -> None:
    """As it is declared, for logs."""
    assert str(Carrier.of("query:access_token", None)) == "query:access_token"
