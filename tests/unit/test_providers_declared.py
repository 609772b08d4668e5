"""A provider that is declared: each way to send a credential, and to say how long a token lives."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from harness.canary import MARK
from provider_kit import HOUR, NOW, MockedHttp, failure, fetch, http_date, keeps_quiet

from asyncauth import (
    AnswerFields,
    ConfigurationError,
    CredentialsRejected,
    DeclaredProvider,
    ErrorFields,
    InvalidTokenResponse,
    RefreshRequest,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock

URL = "https://api.acme.example/v1/session"
CANARY = MARK


def acme(at: str | None = "secret", credential: Any = CANARY, **options: Any) -> DeclaredProvider:
    """Return a provider.

    Args:
        at: Where its credential goes; ``None``: it needs no name.
        credential: Its credential, or a mapping of several.
        **options: Other arguments.
    """
    given = credential if at is None or isinstance(credential, dict) else {at: credential}
    return DeclaredProvider(**{"name": "acme", "url": URL, "credential": given, "sent_as": "json", **options})


async def test_ten_lines(mocked_http: MockedHttp) -> None:
    """The docstring's example, for an API that the library does not know."""
    provider = DeclaredProvider(
        name="acme",
        url="https://api.acme.example/v1/session",
        credential={"secret": CANARY},
        sent_as="json",
        fields={"key": "my-key"},
        answer=AnswerFields(token="data.session", lifetime="data.valid_until", unit="iso8601"),
    )
    until = "2023-11-14T23:13:20Z"
    mocked_http.answers(URL, {"data": {"session": "at-1", "valid_until": until}, "status": "ok"})
    token = await fetch(provider)
    assert mocked_http.sent[0].json == {"key": "my-key", "secret": CANARY}
    assert token.authorization == "Bearer at-1"
    assert token.lifetime == HOUR
    assert token.extra["status"] == "ok"
    assert "at-1" not in str(token.extra)
    assert provider.origins == ("https://api.acme.example",)
    TokenManager(provider)


@pytest.mark.parametrize(
    ("options", "headers", "form", "body"),
    [
        ({"sent_as": "form", "fields": {"n": 1}}, {}, {"n": "1", "secret": CANARY}, None),
        ({"sent_as": "json", "fields": {"n": 1}}, {}, None, {"n": 1, "secret": CANARY}),
        ({"sent_as": "bearer", "at": None}, {"Authorization": f"Bearer {CANARY}"}, None, None),
        ({"sent_as": "bearer", "at": None, "fields": {"n": 1}}, {}, None, {"n": 1}),
        (
            {"sent_as": "basic", "at": "ana"},
            {"Authorization": f"Basic {base64.b64encode(f'ana:{MARK}'.encode()).decode()}"},
            None,
            None,
        ),
        (
            {"sent_as": "header", "at": "Authorization", "credential": f"Digest a={MARK}, b=1"},
            {"Authorization": f"Digest a={MARK}, b=1"},
            None,
            None,
        ),
        (
            {"sent_as": "header", "at": "X-Key", "headers": {"X-Other": "1"}},
            {"X-Key": CANARY, "X-Other": "1"},
            None,
            None,
        ),
    ],
)
async def test_how_the_credential_travels(
    mocked_http: MockedHttp, options: dict[str, Any], headers: dict[str, str], form: Any, body: Any
) -> None:
    """In a form, JSON, Bearer, Basic or a header of its own, and nowhere else."""
    mocked_http.answers(URL, {"access_token": "at-1"})
    await fetch(acme(**options))
    (sent,) = mocked_http.sent
    assert headers.items() <= sent.headers.items()
    if form is not None:
        assert sent.form == form
    elif body is not None:
        assert sent.json == body
    else:
        assert sent.body == b""


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("seconds", 3600),
        ("seconds", "3600"),
        ("epoch_seconds", NOW + HOUR),
        ("epoch_seconds", str(int(NOW + HOUR))),
        ("epoch_ms", (NOW + HOUR) * 1000),
        ("http_date", http_date(NOW + HOUR)),
        ("iso8601", "2023-11-14T23:13:20+00:00"),
        ("iso8601", "2023-11-14T20:13:20-03:00"),
        ("iso8601", "2023-11-14 23:13:20"),
        ("iso8601", "20231114T231320.000Z"),
    ],
)
@pytest.mark.parametrize("ours", [NOW, NOW + 7200])
async def test_units(mocked_http: MockedHttp, unit: Any, value: object, ours: float) -> None:
    """Each unit gives the same hour, by the server's clock and not by ours; without a zone it is UTC."""
    mocked_http.answers(URL, {"access_token": "at-1", "life": value})
    token = await fetch(acme(answer=AnswerFields(lifetime="life", unit=unit)), clock=FakeClock(wall=ours))
    assert token.lifetime == HOUR


@pytest.mark.parametrize("unit", ["seconds", "epoch_seconds", "epoch_ms", "http_date", "iso8601"])
@pytest.mark.parametrize("value", ["abc", "", None, True, [], {}, 0, -1, "NaN", 1e400])
async def test_a_lifetime_that_cant_be_read(mocked_http: MockedHttp, unit: Any, value: object) -> None:
    """It is an error that names the field: neither a token nor "for ever"."""
    mocked_http.answers(URL, {"access_token": "at-1", "data": {"life": value}})
    error = await failure(acme(answer=AnswerFields(lifetime="data.life", unit=unit)))
    assert isinstance(error, InvalidTokenResponse)
    assert "life" in str(error) or "expired on arrival" in str(error)


@pytest.mark.parametrize("lifetime", [None, "expires_in", "data.expires_in"])
async def test_an_unknown_lifetime(mocked_http: MockedHttp, lifetime: str | None) -> None:
    """Where nothing says it, it is unknown."""
    mocked_http.answers(URL, {"access_token": "at-1"})
    assert (await fetch(acme(answer=AnswerFields(lifetime=lifetime)))).lifetime is None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("token", {"token": "at-1"}),
        ("$.token", {"token": "at-1"}),
        ("data.token", {"data": {"token": "at-1"}}),
        ("items[1].token", {"items": [{}, {"token": "at-1"}]}),
        ("items[-1]", {"items": ["x", "at-1"]}),
        ("['.odd.name']", {".odd.name": "at-1"}),
        ('data[".odd.name"]', {"data": {".odd.name": "at-1"}}),
        ("a.b.c.d", {"a": {"b": {"c": {"d": "at-1"}}}}),
    ],
)
async def test_paths(mocked_http: MockedHttp, path: str, fields: dict[str, object]) -> None:
    """The token is found wherever it is, and what held it is kept nowhere else."""
    mocked_http.answers(URL, {**fields, "user": "ana"})
    token = await fetch(acme(answer=AnswerFields(token=path)))
    assert token.value == "at-1"
    assert token.extra == {"user": "ana"}


@pytest.mark.parametrize("fields", [{}, {"data": None}, {"data": "x"}, {"data": []}, {"data": {"token": 1}}])
async def test_no_token_there(mocked_http: MockedHttp, fields: dict[str, object]) -> None:
    """The error names the path."""
    mocked_http.answers(URL, fields)
    error = await failure(acme(answer=AnswerFields(token="data.token")))
    assert isinstance(error, InvalidTokenResponse)
    assert "data.token" in str(error)


async def test_what_means_refused(mocked_http: MockedHttp) -> None:
    """The declared statuses, and no others; an ``error`` in a 200 only in the protocol's own words."""
    provider = acme(errors=ErrorFields(refusals=(401, 422)))
    for status, refused in ((401, True), (422, True), (400, False), (403, False)):
        mocked_http.answers(URL, {"message": f"{CANARY} is wrong"}, status=status)
        error = await failure(provider)
        assert isinstance(error, CredentialsRejected) is refused
        assert error.provider == "acme"
        keeps_quiet(error, CANARY)
    for code, refused in (("invalid_client", True), ("nope", False)):
        mocked_http.answers(URL, {"error": code})
        assert isinstance(await failure(provider), CredentialsRejected) is refused


def basic(user: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{MARK}'.encode()).decode()}"}


@pytest.mark.parametrize(
    ("options", "query", "headers", "body"),
    [
        ({"sent_as": "query", "at": "key"}, {"key": CANARY}, {}, b""),
        (
            {"sent_as": "query", "at": "key", "fields": {"n": 1, "a b": "&="}},
            {"n": "1", "a b": "&=", "key": CANARY},
            {},
            b"",
        ),
        ({"sent_as": "form", "at": "query:key", "fields": {"n": 1}}, {"key": CANARY}, {}, b"n=1"),
        ({"sent_as": "form", "at": "basic:ana", "fields": {"n": 1}}, {}, basic("ana"), b"n=1"),
        (
            {"sent_as": "json", "at": "bearer:", "fields": {"n": 1}},
            {},
            {"Authorization": f"Bearer {CANARY}"},
            {"n": 1},
        ),
        ({"sent_as": "query", "at": "header:X-Key", "fields": {"n": 1}}, {"n": "1"}, {"X-Key": CANARY}, b""),
        ({"at": "auth.password"}, {}, {}, {"auth": {"password": CANARY}}),
        (
            {"at": "auth.password", "fields": {"auth": {"user": "ana", "password": None}, "n": 1}},
            {},
            {},
            {"auth": {"user": "ana", "password": CANARY}, "n": 1},
        ),
        ({"at": "a[1].b", "fields": {"a": [0, {"c": 1}]}}, {}, {}, {"a": [0, {"c": 1, "b": CANARY}]}),
        ({"at": "a[-1]", "fields": {"a": ["db", None]}}, {}, {}, {"a": ["db", CANARY]}),
        ({"at": "['a.b']"}, {}, {}, {"a.b": CANARY}),
        ({"sent_as": "text", "at": None}, {}, {"Content-Type": "text/plain; charset=utf-8"}, CANARY.encode()),
        ({"sent_as": "text", "at": "k", "fields": "{n} {k}."}, {}, {}, f"{{n}} {CANARY}.".encode()),
        ({"sent_as": "text", "at": "basic:ana", "fields": "{n}"}, {}, basic("ana"), b"{n}"),
        (
            {"sent_as": "xml", "at": "k", "fields": "<k>{k}</k>", "headers": {"SOAPAction": "login"}},
            {},
            {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": "login"},
            f"<k>{CANARY}</k>".encode(),
        ),
    ],
)
async def test_other_places(
    mocked_http: MockedHttp, options: dict[str, Any], query: dict[str, str], headers: dict[str, str], body: Any
) -> None:
    """In the query, beside fields that travel another way, at a path of a JSON body, in a text: there alone."""
    mocked_http.answers(re.compile(".*"), {"access_token": "at-1"})
    await fetch(acme(url=f"{URL}?v=1", **options))
    (sent,) = mocked_http.sent
    assert sent.query == {"v": "1", **query}
    assert headers.items() <= sent.headers.items()
    if isinstance(body, dict):
        assert sent.json == body
    else:
        assert sent.body == body
    shown = f"{sent.url} {sent.body!r} {dict(sent.headers)}"
    assert shown.count(MARK) == (0 if "Basic" in shown else 1)


async def test_several_credentials(mocked_http: MockedHttp) -> None:
    """Each goes where its name says; one of a callable is asked for each time; a rejection names them all."""
    mocked_http.answers(URL, {"access_token": "at-1"})
    mocked_http.answers(URL, {"message": f"{MARK}-1 {MARK}-2 {MARK}-3"}, status=401)
    numbers = iter("34")
    provider = acme(
        credential={
            "password": f"{MARK}-1",
            "header:X-Key": f"{MARK}-2",
            "basic:ana": lambda: f"{MARK}-{next(numbers)}",
        },
        sent_as="form",
    )
    assert "ana" in (provider.identity or "")
    await fetch(provider)
    (sent,) = mocked_http.sent
    assert sent.form == {"password": f"{MARK}-1"}
    assert sent.headers["X-Key"] == f"{MARK}-2"
    assert base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")).decode() == f"ana:{MARK}-3"
    error = await failure(provider)
    assert "the server rejected the password and X-Key" in str(error)
    keeps_quiet(error, MARK)


async def test_a_text_with_several_credentials(mocked_http: MockedHttp) -> None:
    """Each is put in once and escaped, also one that looks like another's name."""
    mocked_http.answers(URL, {"access_token": "at-1"})
    await fetch(acme(credential={"a": "{b}<&", "b": "\"x'\n"}, sent_as="xml", fields="<a b='{b}'>{a}{a}</a>"))
    assert mocked_http.sent[0].body == b"<a b='&quot;x&#x27;\n'>{b}&lt;&amp;{b}&lt;&amp;</a>"


async def test_a_server_that_repeats_a_text(mocked_http: MockedHttp) -> None:
    """What stands between the tags is taken out of errors; their names are the protocol's."""
    mocked_http.answers(URL, {"message": f"<partnerKey> {MARK}-1 is wrong: {MARK}"}, status=401)
    error = await failure(acme(sent_as="xml", at="k", fields=f"<partnerKey>{MARK}-1</partnerKey><k>{{k}}</k>"))
    assert error.error_description == "<partnerKey> … is wrong: …"


KEYS = [f"{MARK}-{number}" for number in range(6)]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "fields": {"message": f"no: {' '.join(KEYS)}."}},
        {"status": 503, "fields": {"message": f"no: {' '.join(KEYS)}."}},
        {"fields": {"access_token": "at-1", "expires_in": f"no: {' '.join(KEYS)}."}},
    ],
    ids=["rejected", "busy", "unreadable"],
)
async def test_a_server_that_repeats_what_is_declared(mocked_http: MockedHttp, answer: dict[str, Any]) -> None:
    """A key may stand in the address, in other fields at any depth, and in headers: no error shows one."""
    url = f"{URL}?key={KEYS[0]}&v=1"
    mocked_http.answers(url, **answer)
    provider = acme(
        url=url,
        fields={"a": KEYS[1], "b": [{"c": KEYS[2]}, 7, None, True], "d": (KEYS[3],)},
        headers={"X-Key": KEYS[4], "X-Other": KEYS[5]},
    )
    error = await failure(provider)
    keeps_quiet(error, MARK)
    if error.error_description:
        assert error.error_description == "no: … … … … … …."


async def test_an_ordinary_word_that_is_declared(mocked_http: MockedHttp) -> None:
    """The server's words stay readable, although a field has one of them as its value."""
    mocked_http.answers(URL, {"message": "wrong password or username"}, status=401)
    error = await failure(acme(fields={"grant_type": "password", "v": 1, "to": "me"}))
    assert error.error_description == "wrong password or username"


async def test_a_method(mocked_http: MockedHttp) -> None:
    """An API may want a method other than POST."""
    mocked_http.mock.get(URL + "?v=1", payload={"access_token": "at-1"})
    provider = acme(method="get", url=URL + "?v=1", sent_as="header", at="X-Key")
    assert (await fetch(provider)).value == "at-1"
    assert "v=1" not in repr(provider)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name"),
        ({"sent_as": "query", "at": None}, "the credential's parameter"),
        ({"sent_as": "query", "at": ""}, "parameter is empty"),
        ({"sent_as": "form", "at": "header:X Key"}, "header"),
        ({"sent_as": "form", "at": "basic:a:b"}, "colon"),
        ({"sent_as": "form", "at": "json:x"}, "one body"),
        ({"sent_as": "basic", "at": "ana", "headers": {"authorization": "x"}}, "authorization"),
        ({"at": "a.b", "fields": {"a": "x"}}, "fields="),
        ({"at": "a.b", "fields": {"a": {"b": ""}}}, "fields="),
        ({"at": "a[1]", "fields": {"a": [None]}}, "fields="),
        ({"at": "a[0]"}, "fields="),
        ({"at": "a..b"}, "name is a path"),
        ({"sent_as": "text", "fields": {"a": 1}, "at": None}, "fields="),
        ({"sent_as": "text", "fields": "{n}", "at": "k"}, "fields="),
        ({"credential": {"a": CANARY, "json:a": CANARY}, "at": None}, "same place"),
        ({"credential": {"a": CANARY, "b": ""}, "at": None}, "b is empty"),
        ({"credential": {"a": CANARY, "b": CANARY}, "sent_as": "text", "at": None}, "fields="),
        ({"credential": {"bearer:": CANARY, "basic:ana": CANARY}, "at": None}, "authorization"),
        ({"credential": {"header:X": CANARY + " ", "b": CANARY}, "at": None}, "white space"),
        ({"url": "nowhere"}, "url"),
        ({"credential": ""}, "secret is empty"),
        ({"sent_as": "cookie"}, "sent_as"),
        ({"sent_as": []}, "sent_as"),
        ({"at": None}, "field"),
        ({"sent_as": "bearer"}, "no name"),
        ({"sent_as": "form", "at": "bearer:x"}, "no name"),
        ({"sent_as": "basic", "at": None}, "the credential's user name"),
        ({"sent_as": "basic", "at": "a:b"}, "colon"),
        ({"sent_as": "header", "at": "X Key"}, "header"),
        ({"sent_as": "header", "at": "X-Key", "credential": CANARY + "é"}, "header"),
        ({"sent_as": "header", "at": "X-Key", "credential": CANARY + "\t1"}, "header"),
        ({"sent_as": "bearer", "at": None, "credential": CANARY + " 1"}, "header"),
        ({"fields": {"secret": "x"}}, "secret"),
        ({"fields": {"x": object()}}, "JSON"),
        ({"fields": {1: 1, "x": 1}}, "JSON"),
        ({"fields": 5}, "fields="),
        ({"fields": "x"}, "fields="),
        ({"headers": "x"}, "headers="),
        ({"headers": {"X": 5}}, "headers="),
        ({"headers": {"X Y": "5"}}, "headers="),
        ({"headers": {"X": "5\r\nY: 6"}}, "headers="),
        ({"method": None}, "method="),
        ({"method": "GET /"}, "method="),
        ({"origins": "https://a.example/path"}, "origins"),
    ],
)
def test_arguments_that_cant_work(options: dict[str, Any], words: str) -> None:
    """Refused by name when the provider is made, and no frame shows the credential."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        acme(**options)
    keeps_quiet(caught.value, CANARY)


ANSWERS = [
    AnswerFields(token="token"),
    AnswerFields(lifetime="left"),
    AnswerFields(lifetime=None),
    AnswerFields(unit="ms"),
    AnswerFields(default_lifetime=60),
    AnswerFields(never=0),
    AnswerFields(never=(0, -1)),
    AnswerFields(extra={"sign": "sign"}),
]


def test_its_identity() -> None:
    """A name for whose token it is, and everything else that makes one token differ from another."""
    assert acme().identity is None
    ids = [
        acme(account="ana").identity,
        acme(account="eva").identity,
        acme(account="ana", fields={"scope": "x"}).identity,
        acme(account="ana", url=URL + "?p=1").identity,
        acme(account="ana", at="a.secret").identity,
        acme(account="ana", credential={"secret": "a", "key": "b"}).identity,
        acme(sent_as="basic", at="ana").identity,
        *(acme(account="ana", answer=each).identity for each in ANSWERS),
    ]
    assert len(set(ids)) == len(ids)
    assert None not in ids


def test_its_identity_has_the_request_that_renews() -> None:
    """What that asks for makes a token another one, just as the first request does."""
    fields = {"scope": "admin"}
    renewals = [
        None,
        RefreshRequest(field="token"),
        RefreshRequest(field="token", fields=fields),
        RefreshRequest(field="token", sent_as="form"),
        RefreshRequest(field="token", url=URL + "/other"),
        RefreshRequest(field="token", method="PUT"),
        RefreshRequest(),
    ]
    ids = [acme(account="ana", refresh=each).identity for each in renewals]
    assert len(set(ids)) == len(ids)
    assert acme(account="ana", refresh=RefreshRequest(field="token", fields=fields)).identity == ids[2]


def test_a_refresh_token_alone_is_found_again() -> None:
    """It can't be had anew: who reads the answer otherwise by now still gets it, but no other token's."""
    alone = [acme(account="ana", refresh=RefreshRequest(), answer=each).identity for each in (None, *ANSWERS)]
    assert len(set(alone)) == 2
    assert alone[1] != alone[0]


def test_its_identity_has_each_upstream() -> None:
    """Also of two that errors call alike: the token is another one if either is."""
    upstreams = [acme(account=account) for account in ("ana", "eva")]
    ids = [
        acme(credential={"header:X": first, "query:X": second}).identity for first in upstreams for second in upstreams
    ]
    assert len(set(ids)) == len(ids)


# --- How the API takes the token


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {"Authorization": "Bearer at-1"}),
        ({"scheme": "Zoho-oauthtoken"}, {"Authorization": "Zoho-oauthtoken at-1"}),
        ({"scheme": ""}, {"Authorization": "at-1"}),
        ({"carried_as": "header:X-Api-Token"}, {"X-Api-Token": "at-1"}),
        ({"carried_as": "header:X-Api-Token", "scheme": "Token"}, {"X-Api-Token": "Token at-1"}),
        ({"carried_as": "cookie:B1SESSION"}, {"Cookie": "B1SESSION=at-1"}),
    ],
)
async def test_how_the_api_takes_the_token(
    mocked_http: MockedHttp, options: dict[str, Any], headers: dict[str, str]
) -> None:
    """In the header or cookie that is declared; the token is the same in a shared store, however it is carried."""
    mocked_http.answers(URL, {"access_token": "at-1", "token_type": "label"})
    provider = acme(account="me", **options)
    assert await TokenManager(provider).headers() == headers
    assert provider.identity == acme(account="me").identity


@pytest.mark.parametrize("options", [{"scheme": "MAC"}, {"carried_as": "header:X-Api-Token"}])
async def test_a_type_that_is_no_bearer_token(mocked_http: MockedHttp, options: dict[str, Any]) -> None:
    """It is an error that says what to give, unless it is declared how the token is carried."""
    mocked_http.answers(URL, {"access_token": "at-1", "token_type": "mac"}, times=2)
    assert "give scheme=" in str(await failure(acme()))
    assert (await fetch(acme(**options))).value == "at-1"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"carried_as": "X-Api-Token"}, "carried_as= names a place and its name"),
        ({"carried_as": "cookie:S", "scheme": "Bearer"}, "scheme= is for headers only"),
    ],
)
def test_a_place_that_cant_be(options: dict[str, Any], says: str) -> None:
    """It is refused when the provider is made."""
    with pytest.raises(ConfigurationError, match=says):
        acme(**options)


async def test_a_provider_without_a_credential(mocked_http: MockedHttp) -> None:
    """A cloud's metadata service wants none, and is reached by plain http on the machine's own network."""
    url = "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"
    provider = DeclaredProvider(
        name="metadata",
        url=url,
        credential={},
        sent_as="query",
        fields={"scopes": "storage"},
        headers={"Metadata-Flavor": "Google"},
        method="GET",
        insecure_hosts="169.254.169.254",
        origins="https://storage.googleapis.com",
    )
    mocked_http.mock.get(f"{url}?scopes=storage", payload={"access_token": "at-1", "expires_in": 3600})
    assert (await fetch(provider)).lifetime == HOUR
    assert provider.identity is None
    mocked_http.mock.get(f"{url}?scopes=storage", status=403, payload={"error": "no such account"})
    error = await failure(provider)
    assert isinstance(error, CredentialsRejected)
    assert (error.message, error.advice) == ("the server rejected the request", "check it")


async def test_everything_about_the_answer_can_be_declared(mocked_http: MockedHttp) -> None:
    """``answer=`` says what a success looks like, and ``errors=`` what failures do."""
    answer = AnswerFields(token="a.token", default_lifetime=HOUR)
    provider = acme(answer=answer, errors=ErrorFields(failed={"ok": False}, busy="later", message="why"))
    mocked_http.answers(URL, {"a": {"token": "at-1"}})
    assert (await fetch(provider)).lifetime == HOUR
    mocked_http.answers(URL, {"ok": False, "why": f"{CANARY} is wrong"})
    error = await failure(provider)
    assert isinstance(error, CredentialsRejected)
    assert error.error_description == "… is wrong"
    mocked_http.answers(URL, {"ok": False, "error": "later"}, status=403)
    assert isinstance(await failure(provider), TokenEndpointUnavailable)


@pytest.mark.parametrize(
    ("errors", "status", "rejected"),
    [
        (None, 403, True),
        (None, 422, False),
        (ErrorFields(message="why"), 403, True),
        (ErrorFields(refusals=(418,)), 418, True),
        (ErrorFields(refusals=(418,)), 403, False),
    ],
)
async def test_which_statuses_reject(
    mocked_http: MockedHttp, errors: ErrorFields | None, status: int, *, rejected: bool
) -> None:
    """400, 401 and 403, unless others are declared."""
    mocked_http.answers(URL, {}, status=status)
    assert isinstance(await failure(acme(errors=errors)), CredentialsRejected) is rejected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"answer": {"token": "a"}}, "answer= takes an AnswerFields"),
        ({"errors": {"busy": "a"}}, "answer= takes an AnswerFields"),
    ],
)
def test_answer_and_errors_that_cant_work(options: dict[str, Any], words: str) -> None:
    """They are objects of their own, and say all of it."""
    with pytest.raises(ConfigurationError, match=words):
        acme(**options)
