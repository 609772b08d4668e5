"""How a declared provider renews its token: by a request of its own, in the credential's place, or with itself."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from core_kit import engine_of
from harness.canary import MARK
from provider_kit import NOW, MockedHttp, failure, fetch, keeps_quiet

from asyncauth import (
    AnswerFields,
    ConfigurationError,
    CredentialsRejected,
    DeclaredProvider,
    InsecureTransport,
    RefreshRequest,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.try_state import TryState, set_try
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock

URL = "https://api.acme.example/session"
REFRESH = "https://api.acme.example/refresh"
SECRET = f"{MARK}-secret"


def acme(**options: Any) -> DeclaredProvider:
    given = {"name": "acme", "url": URL, "credential": {"secret": SECRET}, "sent_as": "json", "account": "ana"}
    return DeclaredProvider(**{**given, "refresh": RefreshRequest(url=REFRESH, field="refresh"), **options})


def alone(**options: Any) -> DeclaredProvider:
    given = {"credential": {"refresh_token": SECRET}, "sent_as": "form", "fields": {"grant": "r"}, **options}
    return acme(refresh=RefreshRequest(), **given)


def answer(number: int, **changes: object) -> dict[str, object]:
    return {"access_token": f"at-{number}", "refresh_token": f"rt-{number}", "expires_in": 60, **changes}


def held(refresh_token: str | None = "rt-0") -> Token:
    return Token("at-0", issued_at=NOW, expires_at=NOW + 60, refresh_token=refresh_token)


async def test_a_request_of_its_own(mocked_http: MockedHttp) -> None:
    """The credential brings the first token; each renewal sends the refresh token that the last answer brought."""
    mocked_http.answers(URL, answer(1))
    mocked_http.answers(REFRESH, answer(2))
    mocked_http.answers(REFRESH, answer(3))
    provider = acme(headers={"X-Key": "k"})
    first = await fetch(provider)
    second = await fetch(provider, first)
    third = await fetch(provider, second)
    assert [sent.json for sent in mocked_http.sent] == [{"secret": SECRET}, {"refresh": "rt-1"}, {"refresh": "rt-2"}]
    assert {sent.headers["X-Key"] for sent in mocked_http.sent} == {"k"}
    assert third.refresh_token == "rt-3"
    assert "rt-3" not in str(third.extra)
    assert not engine_of(TokenManager(provider)).options.needs_lock


async def test_one_that_is_not_replaced_stays(mocked_http: MockedHttp) -> None:
    """An answer without a refresh token, or with none that can be one, leaves the last one in force."""
    for nothing in (None, "", False, 0):
        mocked_http.answers(REFRESH, answer(2, refresh_token=nothing))
        assert (await fetch(acme(), held())).refresh_token == "rt-0"


async def test_without_refresh_none_is_kept(mocked_http: MockedHttp) -> None:
    """A provider that does not say how to send a refresh token sends its credential, and keeps none."""
    mocked_http.answers(URL, answer(1))
    token = await fetch(acme(refresh=None), held())
    assert token.refresh_token is None
    assert mocked_http.sent[0].json == {"secret": SECRET}


async def test_a_rejected_one_makes_way_for_the_credential(mocked_http: MockedHttp) -> None:
    """A rejection of the refresh token costs one request more; one of the client's would be repeated, and is not."""
    mocked_http.answers(REFRESH, {"message": "gone"}, status=401)
    mocked_http.answers(URL, answer(1))
    assert (await fetch(acme(), held())).value == "at-1"
    assert [sent.url for sent in mocked_http.sent] == [REFRESH, URL]
    mocked_http.answers(REFRESH, {"error": "invalid_client"}, status=401)
    assert (await failure(acme(), held())).error == "invalid_client"
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize(
    ("options", "query", "form", "body", "headers"),
    [
        ({"field": "r"}, {}, None, {"r": "rt-0"}, {}),
        ({"field": "a.r", "fields": {"a": {"b": 1}}}, {}, None, {"a": {"b": 1, "r": "rt-0"}}, {}),
        ({"field": "r", "sent_as": "form", "fields": {"n": 1}}, {}, {"n": "1", "r": "rt-0"}, None, {}),
        ({"field": "r", "sent_as": "query"}, {"r": "rt-0"}, None, None, {}),
        ({"field": "bearer:"}, {}, None, None, {"Authorization": "Bearer rt-0"}),
        ({"field": "header:X-R", "fields": {"n": 1}}, {}, None, {"n": 1}, {"X-R": "rt-0"}),
        ({"field": "r", "credentials": "header:X-Key"}, {}, None, {"r": "rt-0"}, {"X-Key": f"{MARK}-key"}),
        ({"field": "r", "credentials": ["secret"]}, {}, None, {"r": "rt-0", "secret": SECRET}, {}),
    ],
)
async def test_how_it_travels(
    mocked_http: MockedHttp, *, options: dict[str, Any], query: Any, form: Any, body: Any, headers: dict[str, str]
) -> None:
    """In any place that a credential can have, with those of the provider's credentials that are named."""
    mocked_http.answers(f"{REFRESH}?r=rt-0" if query else REFRESH, answer(1))
    both = {"secret": SECRET, "header:X-Key": f"{MARK}-key"}
    await fetch(acme(credential=both, refresh=RefreshRequest(url=REFRESH, **options)), held())
    (sent,) = mocked_http.sent
    assert sent.query == query
    assert headers.items() <= sent.headers.items()
    assert headers.get("X-Key") or "X-Key" not in sent.headers
    if form is not None:
        assert sent.form == form
    elif body is not None:
        assert sent.json == body
    else:
        assert sent.body == b""


async def test_another_method(mocked_http: MockedHttp) -> None:
    """Without ``url`` and ``method`` it goes where the provider's own request goes, as that does."""
    mocked_http.mock.put(REFRESH, payload=answer(1))
    mocked_http.answers(URL, answer(2))
    assert (await fetch(acme(refresh=RefreshRequest(url=REFRESH, field="r", method="put")), held())).value == "at-1"
    assert (await fetch(acme(refresh=RefreshRequest(field="r")), held())).value == "at-2"


async def test_a_refresh_token_elsewhere(mocked_http: MockedHttp) -> None:
    """The answer has it where `AnswerFields` says, and the token's extra fields don't have it."""
    places = AnswerFields(token="data.token", refresh_token="data.renew", lifetime=None)
    mocked_http.answers(URL, {"data": {"token": "at-1", "renew": "rt-1"}, "n": 1})
    token = await fetch(acme(answer=places))
    assert (token.value, token.refresh_token, token.extra) == ("at-1", "rt-1", {"n": 1})


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ({"exception": aiohttp.ServerDisconnectedError()}, True),
        ({"body": b"<html>"}, True),
        ({"fields": {}, "status": 503}, False),
    ],
)
@pytest.mark.parametrize("provider", [acme(), alone()], ids=["before a grant", "alone"])
async def test_an_answer_that_was_lost(
    mocked_http: MockedHttp, provider: DeclaredProvider, options: dict[str, Any], *, lost: bool
) -> None:
    """If the server may have replaced it, and there is another way, the refresh token is not sent again."""
    mocked_http.answers(URL if provider.needs_lock else REFRESH, **options)
    state = TryState(FakeClock(wall=NOW))
    set_try(state)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await provider.fetch(http, held())
    assert state.unanswered is lost
    assert state.spends_refresh_token is not provider.needs_lock


# --- The only credential


async def test_in_the_credentials_place(mocked_http: MockedHttp) -> None:
    """The credential is the first refresh token; the last answer's goes in its place; a store needs the lock."""
    mocked_http.answers(URL, answer(1))
    mocked_http.answers(URL, answer(2, refresh_token=None))
    provider = alone()
    first = await fetch(provider)
    second = await fetch(provider, first)
    forms = [sent.form for sent in mocked_http.sent]
    assert forms == [{"grant": "r", "refresh_token": SECRET}, {"grant": "r", "refresh_token": "rt-1"}]
    assert second.refresh_token == "rt-1"
    assert engine_of(TokenManager(provider)).options.needs_lock


async def test_a_spent_one_is_not_sent_again(mocked_http: MockedHttp) -> None:
    """Once it was rotated, the first one stays where it is, also in another process that has the token from a store."""
    mocked_http.answers(URL, answer(1))
    first = await fetch(alone())
    mocked_http.answers(URL, {"message": "no such token"}, status=401, times=2)
    error = await failure(alone(), first)
    assert isinstance(error, CredentialsRejected)
    assert len(mocked_http.sent) == 2
    assert "rt-1" not in str(error)
    await failure(alone(), Token("at", extra=first.extra))  # its refresh token is lost
    assert len(mocked_http.sent) == 2


async def test_the_last_one_from_a_store_counts(mocked_http: MockedHttp) -> None:
    """A process that starts anew sends the refresh token that is in the store, and not the first one."""
    store, clock = MemoryStore(), FakeClock(wall=NOW)
    for number in (1, 2):
        mocked_http.answers(URL, answer(number))
        async with TokenManager(alone(), store=store, clock=clock) as manager:
            assert (await manager.token()).value == f"at-{number}"
        await clock.advance(120)
    assert [sent.form["refresh_token"] for sent in mocked_http.sent] == [SECRET, "rt-1"]


async def test_another_first_one_is_sent(mocked_http: MockedHttp) -> None:
    """A new credential counts when the last refresh token is rejected."""
    mocked_http.answers(URL, {"message": "no such token"}, status=401)
    mocked_http.answers(URL, answer(3))
    token = await fetch(alone(credential={"refresh_token": lambda: f"{MARK}-new"}), held())
    assert [sent.form["refresh_token"] for sent in mocked_http.sent] == ["rt-0", f"{MARK}-new"]
    assert token.refresh_token == "rt-3"


async def test_a_server_that_does_not_rotate(mocked_http: MockedHttp) -> None:
    """The first one stays the one in force; when it is rejected it is not sent twice."""
    mocked_http.answers(URL, answer(1, refresh_token=None))
    first = await fetch(alone())
    assert first.refresh_token == SECRET
    mocked_http.answers(URL, {"message": f"{SECRET} was revoked"}, status=401)
    error = await failure(alone(), first)
    assert len(mocked_http.sent) == 2
    keeps_quiet(error, MARK)


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [(401, {"error": "invalid_client"}, CredentialsRejected), (503, {}, TokenEndpointUnavailable)],
)
async def test_what_does_not_end_it(mocked_http: MockedHttp, status: int, fields: Any, kind: type[Exception]) -> None:
    """A rejected client and a busy server leave the refresh token as it is: the first one is not sent."""
    mocked_http.answers(URL, fields, status=status)
    assert type(await failure(alone(), held())) is kind
    assert len(mocked_http.sent) == 1


async def test_one_of_several(mocked_http: MockedHttp) -> None:
    """``replaces`` says which of several credentials is the refresh token; the others go along."""
    several = {"client_secret": f"{MARK}-client", "refresh_token": SECRET}
    provider = acme(credential=several, sent_as="form", refresh=RefreshRequest(replaces="refresh_token"))
    mocked_http.answers(URL, answer(1))
    mocked_http.answers(URL, answer(2))
    await fetch(provider, await fetch(provider))
    assert [sent.form for sent in mocked_http.sent] == [several, {**several, "refresh_token": "rt-1"}]


async def test_a_token_that_renews_itself(mocked_http: MockedHttp) -> None:
    """The token is its own refresh token: the last one is sent for the next."""
    itself = AnswerFields(refresh_token="access_token")
    given = {"credential": {"access_token": SECRET}, "sent_as": "query", "fields": {"g": "i"}}
    provider = acme(refresh=RefreshRequest(), answer=itself, **given)
    mocked_http.answers(f"{URL}?access_token={SECRET}&g=i", answer(1))
    mocked_http.answers(f"{URL}?access_token=at-1&g=i", answer(2))
    token = await fetch(provider, await fetch(provider))
    assert (token.value, token.refresh_token) == ("at-2", "at-2")
    assert provider.needs_lock


# --- Arguments


@pytest.mark.parametrize(
    ("refresh", "words"),
    [
        ("refresh_token", "RefreshRequest, not str"),
        (RefreshRequest(url=REFRESH), "replaces="),
        (RefreshRequest(credentials=["secret"]), "replaces="),
        (RefreshRequest(replaces="x"), "replaces"),
        (RefreshRequest(field="r", replaces="secret"), "not both"),
        (RefreshRequest(field=5), "str"),  # type: ignore[arg-type]
        (RefreshRequest(field="r", credentials=["x"]), "credentials="),
        (RefreshRequest(field="r", credentials=5), "credentials="),  # type: ignore[arg-type]
        (RefreshRequest(field="r", url="nowhere"), "refresh url"),
        (RefreshRequest(field="r", method="GET /"), "method="),
        (RefreshRequest(field="r", sent_as="cookie"), "sent_as"),  # type: ignore[arg-type]
        (RefreshRequest(field="r", fields={"r": 1}), "fields="),
        (RefreshRequest(field="header:X Y"), "header"),
        (RefreshRequest(field=""), "field is empty"),
    ],
)
def test_arguments_that_cant_work(refresh: Any, words: str) -> None:
    """Refused by name when the provider is made."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        acme(refresh=refresh)
    keeps_quiet(caught.value, MARK)


def test_plain_http_is_refused() -> None:
    """The refresh token goes as safely as the credential."""
    with pytest.raises(InsecureTransport):
        acme(refresh=RefreshRequest(url="http://api.acme.example/refresh", field="r"))


def test_plain_http_to_a_named_host() -> None:
    """Hosts that the provider names hold for its refresh request, too."""
    there = RefreshRequest(url="http://sandbox/refresh", field="r")
    assert acme(url="http://sandbox/session", insecure_hosts="sandbox", refresh=there).origins == ("http://sandbox",)
