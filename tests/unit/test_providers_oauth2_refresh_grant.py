"""A refresh token that was obtained elsewhere: which is sent when, and which never again."""

from __future__ import annotations

from typing import Any

import pytest
from harness.canary import MARK
from oauth2_kit import URL, answer, basic
from provider_kit import NOW, MockedHttp, failure, fetch, keeps_quiet

from asyncauth import (
    AnswerFields,
    ConfigurationError,
    CredentialsRejected,
    ErrorFields,
    RefreshGrant,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock

CANARY = MARK
REFUSED = {"error": "invalid_grant"}


def grant(**options: Any) -> RefreshGrant:
    return RefreshGrant(**{"token_url": URL, "refresh_token": "given", **options})


def sent(http: MockedHttp) -> list[str]:
    return [each.form["refresh_token"] for each in http.sent]


async def test_the_given_one_is_first(mocked_http: MockedHttp) -> None:
    """With nothing before, the constructor's is sent, with client and scope."""
    mocked_http.answers(URL, answer(refresh_token="rt-1", refresh_token_expires_in=99))
    token = await fetch(grant(client_id="app", client_secret="secret", scope="read"))
    (request,) = mocked_http.sent
    assert request.form == {"grant_type": "refresh_token", "refresh_token": "given", "scope": "read"}
    assert basic(request) == ("app", "secret")
    assert token.refresh_token == "rt-1"
    assert token.extra["refresh_token_expires_in"] == 99


async def test_a_server_that_does_not_rotate(mocked_http: MockedHttp) -> None:
    """The given one stays in force, and is the one that goes out each time."""
    mocked_http.answers(URL, answer(), times=3)
    provider, token = grant(), None
    for _ in range(3):
        token = await fetch(provider, token)
        assert token.refresh_token == "given"
    assert sent(mocked_http) == ["given"] * 3


async def test_a_server_that_rotates(mocked_http: MockedHttp) -> None:
    """Each answer's replaces the one before; one without keeps it."""
    for fields in (answer(refresh_token="rt-1"), answer(refresh_token="rt-2"), answer(), answer(refresh_token="rt-3")):
        mocked_http.answers(URL, fields)
    provider, token = grant(), None
    for _ in range(4):
        token = await fetch(provider, token)
    assert sent(mocked_http) == ["given", "rt-1", "rt-2", "rt-2"]
    assert token is not None
    assert token.refresh_token == "rt-3"


@pytest.mark.parametrize("stored", ["stored", "grant"])
async def test_the_given_one_takes_over_from_a_stored_one(mocked_http: MockedHttp, stored: str) -> None:
    """``invalid_grant`` to the stored one, whatever that is: the constructor's, which is another."""
    mocked_http.answers(URL, REFUSED, status=400)
    mocked_http.answers(URL, answer(refresh_token="rt-9"))
    token = await fetch(grant(), Token("old", refresh_token=stored))
    assert sent(mocked_http) == [stored, "given"]
    assert token.refresh_token == "rt-9"


@pytest.mark.parametrize("rotations", [1, 3])
async def test_a_spent_ancestor_is_never_sent_again(mocked_http: MockedHttp, rotations: int) -> None:
    """Once an answer has rotated the given one it stays where it is, whatever becomes of its descendants."""
    provider, token = grant(), None
    for number in range(rotations):
        mocked_http.answers(URL, answer(refresh_token=f"rt-{number}"))
        token = await fetch(provider, token)
    mocked_http.answers(URL, REFUSED, status=400)
    error = await failure(provider, token)
    assert error.error == "invalid_grant"
    assert sent(mocked_http).count("given") == 1
    other = grant(refresh_token="newer")  # another process, with new settings and the same store
    mocked_http.answers(URL, REFUSED, status=400)
    mocked_http.answers(URL, answer())
    await fetch(other, token)
    assert sent(mocked_http)[-1] == "newer"


async def test_an_ancestor_is_not_sent_when_its_successor_is_lost(mocked_http: MockedHttp) -> None:
    """A token that lost the refresh token which the given one was rotated to: nothing can be sent."""
    mocked_http.answers(URL, answer(refresh_token="rt-1"))
    provider = grant()
    token = await fetch(provider)
    lost = Token(token.value, extra=token.extra)
    error = await failure(provider, lost)
    assert isinstance(error, CredentialsRejected)
    assert "rotated" in str(error)
    assert sent(mocked_http) == ["given"]


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (400, {"error": "invalid_scope"}, CredentialsRejected),
        (401, {"error": "invalid_client"}, CredentialsRejected),
        (401, {}, CredentialsRejected),
        (503, {}, TokenEndpointUnavailable),
    ],
)
async def test_only_invalid_grant_makes_way(
    mocked_http: MockedHttp, status: int, fields: dict[str, str], kind: type[Exception]
) -> None:
    """Whatever else goes wrong with the stored one says nothing of it."""
    mocked_http.answers(URL, fields, status=status)
    assert type(await failure(grant(), Token("old", refresh_token="stored"))) is kind
    assert sent(mocked_http) == ["stored"]


async def test_one_from_a_callable(mocked_http: MockedHttp) -> None:
    """It is asked for when it is needed, and compared before it is sent."""
    given = ["first", "first", "second", "second"]
    provider = grant(refresh_token=lambda: given.pop(0))
    mocked_http.answers(URL, answer(refresh_token="rt-1"))
    token = await fetch(provider)
    mocked_http.answers(URL, REFUSED, status=400)
    error = await failure(provider, token)
    keeps_quiet(error, "first", "rt-1")
    mocked_http.answers(URL, REFUSED, status=400)
    mocked_http.answers(URL, answer())
    await fetch(provider, token)
    assert sent(mocked_http) == ["first", "rt-1", "rt-1", "second"]


async def test_a_new_one_is_sent_after_another_process_lost_the_old(mocked_http: MockedHttp) -> None:
    """The store says that the last refresh token is dead: that is not sent again, and the new one in the settings is.

    Where the new one is rejected as well, no process sends either.
    """
    store, clock = MemoryStore(), FakeClock(wall=NOW)

    def process(refresh_token: str) -> TokenManager:
        return TokenManager(grant(refresh_token=refresh_token, account="ana"), store=store, clock=clock)

    mocked_http.answers(URL, answer(refresh_token="rt-1"))
    await process("given").token()
    await clock.advance(3600)
    mocked_http.answers(URL, REFUSED, status=400)
    with pytest.raises(CredentialsRejected, match="invalid_grant"):
        await process("given").token()
    for attempt in range(2):
        with pytest.raises(CredentialsRejected, match="that another process sent"):
            await process("given").token()  # the ancestor of what was rejected
        if attempt == 0:
            mocked_http.answers(URL, REFUSED, status=400)
        with pytest.raises(CredentialsRejected):
            await process("also dead").token()
    mocked_http.answers(URL, answer(refresh_token="rt-9"))
    assert (await process("new").token()).refresh_token == "rt-9"
    assert sent(mocked_http) == ["given", "rt-1", "also dead", "new"]


def test_what_a_store_must_know() -> None:
    """It has no other way to a token, and nobody knows whose it is unless told."""
    assert grant().needs_lock
    assert grant().identity is None
    assert grant(account="ana").identity != grant(account="eva").identity


def test_its_argument() -> None:
    """Refused by name, unseen."""
    with pytest.raises(ConfigurationError, match="refresh_token") as caught:
        grant(refresh_token=CANARY + "\n")
    keeps_quiet(caught.value, CANARY)


@pytest.mark.parametrize(
    ("errors", "fields", "tried"),
    [
        (None, {"status": "BAD_REFRESH_TOKEN"}, ["stored"]),
        (ErrorFields(rejected={"status": "BAD_REFRESH_TOKEN"}), {"status": "BAD_REFRESH_TOKEN"}, ["stored", "given"]),
        (ErrorFields(failed={"ok": False}), {"ok": False}, ["stored"]),
        (ErrorFields(failed={"ok": False}), {"ok": False, "error": "invalid_grant"}, ["stored", "given"]),
    ],
)
async def test_what_ends_a_refresh_token_can_be_declared(
    mocked_http: MockedHttp, errors: ErrorFields | None, fields: dict[str, object], tried: list[str]
) -> None:
    """What is declared to reject it does what ``invalid_grant`` does; an unspecific failure does not."""
    mocked_http.answers(URL, fields, status=400, times=2)
    assert isinstance(await failure(grant(errors=errors), Token("old", refresh_token="stored")), CredentialsRejected)
    assert sent(mocked_http) == tried


async def test_a_nested_answer(mocked_http: MockedHttp) -> None:
    """With the token's place declared, the refresh token beside it is found and rotated as usual."""
    for number in range(3):
        body = {"access_token": f"at-{number}", "refresh_token": f"rt-{number}", "expires_in": 60, "userid": 7}
        mocked_http.answers(URL, {"status": 0, "body": body})
    provider, token = grant(answer=AnswerFields(token="body.access_token", extra={"user": "userid"})), None
    for _ in range(3):
        token = await fetch(provider, token)
    assert token is not None
    assert sent(mocked_http) == ["given", "rt-0", "rt-1"]
    assert (token.value, token.refresh_token, token.lifetime, token.extra["user"]) == ("at-2", "rt-2", 60, 7)


def test_where_the_token_stands_is_part_of_the_identity() -> None:
    """One answer may have two tokens. How it is read otherwise changes nothing: the refresh token can't be had anew."""
    ids = {
        grant(account="ana").identity,
        grant(account="ana", answer=AnswerFields(token="authed_user.access_token")).identity,
        grant(account="ana", answer=AnswerFields(unit="ms", never=0), errors=ErrorFields(busy="x")).identity,
    }
    assert len(ids) == 2


@pytest.mark.parametrize("options", [{"answer": "access_token"}, {"errors": "invalid_grant"}])
def test_answer_and_errors_take_objects(options: dict[str, Any]) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigurationError, match="AnswerFields"):
        grant(**options)
