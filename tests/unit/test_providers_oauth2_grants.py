"""What each grant sends, and what becomes of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from harness.canary import MARK
from joserfc import jwt
from oauth2_kit import EC, PEM, URL, answer, basic, jwt_part, pairs
from provider_kit import NOW, MockedHttp, failure, fetch, keeps_quiet

from asyncauth import (
    AnswerFields,
    ClientCredentials,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    JWTBearer,
    PasswordGrant,
    RefreshGrant,
    Token,
    TokenEndpointUnavailable,
    TokenExchange,
    TokenManager,
)
from asyncauth._core.try_state import TryState, set_try
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth.providers.oauth2.provider import OAuthProvider

CANARY = MARK


def password(**options: Any) -> PasswordGrant:
    return PasswordGrant(**{"token_url": URL, "username": "ana", "password": "pw-0", **options})


def held(**changes: Any) -> Token:
    return Token("at-0", **{"issued_at": NOW, "expires_at": NOW + 60, "refresh_token": "rt-0", **changes})


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("invalid_scope", "the scope"),
        ("invalid_target", "audience and resource"),
        ("unsupported_grant_type", "the token endpoint's address, and which grants the server offers"),
    ],
)
async def test_a_rejection_that_says_nothing_of_the_credential(mocked_http: MockedHttp, code: str, check: str) -> None:
    """The error names what to check, and sends nobody after a password that may be right."""
    mocked_http.answers(URL, {"error": code}, status=400)
    error = await failure(password())
    assert isinstance(error, CredentialsRejected)
    assert error.message == "the server rejected the request, not the password"
    assert error.advice == f"check {check}"


# --- Password


async def test_a_password(mocked_http: MockedHttp) -> None:
    """Without a client, with a public one, and with a confidential one (RFC 6749 §4.3)."""
    mocked_http.answers(URL, answer(), times=3)
    await fetch(password(scope="read"))
    await fetch(password(client_id="app"))
    await fetch(password(client_id="app", client_secret="secret"))
    form = {"grant_type": "password", "username": "ana", "password": "pw-0"}
    bare, public, confidential = mocked_http.sent
    assert bare.form == {**form, "scope": "read"}
    assert public.form == {**form, "client_id": "app"}
    assert confidential.form == form
    assert basic(confidential) == ("app", "secret")
    assert "Authorization" not in {**bare.headers, **public.headers}


def test_a_secret_without_a_client() -> None:
    """A secret needs somebody whose it is."""
    with pytest.raises(ConfigurationError, match="client_id") as caught:
        password(client_secret=CANARY)
    keeps_quiet(caught.value, CANARY)


# --- Refresh tokens, for all grants


async def test_a_refresh_token_goes_first(mocked_http: MockedHttp) -> None:
    """It is sent with the client's authentication, and without the scope: that stays as it was (RFC 6749 §6)."""
    mocked_http.answers(URL, answer(refresh_token="rt-1", refresh_expires_in=1800))
    provider = password(client_id="app", client_secret="secret", scope="read", resource="urn:a", extra={"t": "1"})
    token = await fetch(provider, held())
    (sent,) = mocked_http.sent
    assert basic(sent) == ("app", "secret")
    assert sent.form == {"grant_type": "refresh_token", "refresh_token": "rt-0", "resource": "urn:a", "t": "1"}
    assert token.refresh_token == "rt-1"
    assert token.extra["refresh_expires_in"] == 1800


async def test_one_that_is_not_replaced_stays(mocked_http: MockedHttp) -> None:
    """No new refresh token in the answer: the old one is in force still."""
    mocked_http.answers(URL, answer())
    assert (await fetch(password(), held())).refresh_token == "rt-0"


@pytest.mark.parametrize(
    "code", ["invalid_grant", "invalid_scope", "unauthorized_client", "unsupported_grant_type", ""]
)
async def test_a_refused_one_makes_way_for_the_grant(mocked_http: MockedHttp, code: str) -> None:
    """A refusal of the refresh token costs one request more."""
    mocked_http.answers(URL, {"error": code}, status=400)
    mocked_http.answers(URL, answer())
    token = await fetch(password(), held())
    assert [sent.form["grant_type"] for sent in mocked_http.sent] == ["refresh_token", "password"]
    assert token.refresh_token is None


@pytest.mark.parametrize("secret", ["secret", "client"])
async def test_a_refused_client_is_not_tried_twice(mocked_http: MockedHttp, secret: str) -> None:
    """``invalid_client`` to the refresh token: the grant would be refused as well, and is not sent."""
    mocked_http.answers(URL, {"error": "invalid_client"}, status=401)
    error = await failure(password(client_id="app", client_secret=secret), held())
    assert error.error == "invalid_client"
    assert len(mocked_http.sent) == 1
    keeps_quiet(error, "rt-0", "secret_", "pw-0")


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ({"exception": aiohttp.ServerDisconnectedError()}, True),
        ({"exception": TimeoutError()}, True),
        ({"body": b"<html>"}, True),
        ({"fields": {"access_token": "at", "expires_in": 0, "refresh_token": "rt-1"}}, True),
        ({"fields": {}, "status": 503}, False),
        ({"fields": {}, "status": 404}, False),
    ],
    ids=["cut", "silence", "unreadable", "spent on arrival", "busy", "elsewhere"],
)
async def test_an_answer_that_was_lost(mocked_http: MockedHttp, options: dict[str, Any], lost: bool) -> None:  # noqa: FBT001
    """If the server may have rotated it and nobody knows to what, the refresh token is not sent again."""
    mocked_http.answers(URL, **options)
    attempt = TryState(FakeClock(wall=NOW))
    set_try(attempt)
    async with aiohttp.ClientSession() as http:
        with pytest.raises((TokenEndpointUnavailable, InvalidTokenResponse)):
            await password().fetch(http, held())
    assert (attempt.spends_refresh_token and attempt.unanswered) is lost


# --- JWT bearer


async def test_an_assertion_that_is_given(mocked_http: MockedHttp) -> None:
    """It travels as it is (RFC 7523 §2.1)."""
    mocked_http.answers(URL, answer())
    await fetch(JWTBearer(token_url=URL, assertion="a.b.c", scope="read"))
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert mocked_http.sent[0].form == {"grant_type": grant, "assertion": "a.b.c", "scope": "read"}


async def test_an_assertion_that_is_signed_here(mocked_http: MockedHttp) -> None:
    """A new one for each request, with the claims that the server needs (RFC 7523 §3)."""
    mocked_http.answers(URL, answer(), times=2)
    provider = JWTBearer(
        token_url=URL,
        private_key=PEM,
        key_id="k1",
        assertion_issuer="robot@example.com",
        subject="ana@example.com",
        assertion_lifetime=3600,
        claims={"scope": "read"},
    )
    await fetch(provider)
    await fetch(provider)
    first, second = (sent.form["assertion"] for sent in mocked_http.sent)
    claims = jwt.decode(first, EC, algorithms=["ES256"]).claims
    assert claims.pop("jti") != jwt_part(second, 1)["jti"]
    assert claims == {
        "iss": "robot@example.com",
        "sub": "ana@example.com",
        "aud": URL,
        "iat": NOW - 2,
        "exp": NOW - 2 + 3600,
        "scope": "read",
    }
    assert jwt_part(first, 0)["kid"] == "k1"


async def test_one_key_for_assertion_and_client(mocked_http: MockedHttp) -> None:
    """With ``private_key_jwt`` the client proves itself with the same key, in an assertion of its own."""
    mocked_http.answers(URL, answer())
    await fetch(
        JWTBearer(token_url=URL, client_id="app", client_auth="private_key_jwt", private_key=PEM, subject="ana")
    )
    form = mocked_http.sent[0].form
    assert jwt_part(form["assertion"], 1)["sub"] == "ana"
    assert jwt_part(form["assertion"], 1)["iss"] == "app"
    assert jwt_part(form["client_assertion"], 1)["sub"] == "app"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "assertion="),
        ({"private_key": PEM}, "assertion_issuer"),
        ({"private_key": MARK, "client_id": "app"}, "private_key"),
        ({"assertion": f"{MARK}\n"}, "assertion"),
        ({"assertion": MARK, "assertion_lifetime": 0}, "assertion_lifetime"),
        ({"assertion": MARK, "assertion_lifetime": None}, "assertion_lifetime"),
        ({"assertion": MARK, "assertion_lifetime": "60"}, "assertion_lifetime"),
        ({"assertion": MARK, "assertion_lifetime": float("nan")}, "assertion_lifetime"),
        ({"private_key": PEM, "client_id": "app", "claims": "x"}, "claims="),
        ({"private_key": PEM, "client_id": "app", "claims": 5}, "claims="),
        ({"private_key": PEM, "client_id": "app", "claims": {"x": object()}}, "claims="),
        ({"private_key": PEM, "client_id": "app", "claims": {1: 1, "x": 1}}, "claims="),
        ({"private_key": PEM, "client_id": "app", "claims": {"iss": "me"}}, "assertion_issuer="),
    ],
)
def test_assertions_that_cant_work(options: dict[str, Any], words: str) -> None:
    """Refused by name when the provider is made."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        JWTBearer(token_url=URL, **options)
    keeps_quiet(caught.value, MARK, "PRIVATE")


async def test_a_key_that_turns_out_to_be_none(mocked_http: MockedHttp) -> None:
    """A callable that returns no key is an error that says so, shows nothing of it, and sends nothing."""
    error = await failure(JWTBearer(token_url=URL, client_id="app", private_key=lambda: MARK, account="ana"))
    assert isinstance(error, ConfigurationError)
    assert "private_key" in str(error)
    keeps_quiet(error, MARK)
    assert mocked_http.sent == []


def test_whose_token_an_assertion_is_for() -> None:
    """Signed here its identity is known; a given one needs ``account=``."""
    signed: Callable[..., JWTBearer] = lambda **more: JWTBearer(token_url=URL, private_key=PEM, client_id="app", **more)  # noqa: E731
    known = {signed(**each).identity for each in ({}, {"subject": "a"}, {"subject": "b"}, {"claims": {"scope": "x"}})}
    assert len(known) == 4
    assert None not in known
    assert JWTBearer(token_url=URL, assertion="x").identity is None
    assert JWTBearer(token_url=URL, assertion="x", account="ana").identity is not None


# --- Token exchange


async def test_a_token_exchange(mocked_http: MockedHttp) -> None:
    """Subject, actor and their kinds travel as the form's fields (RFC 8693 §2.1)."""
    mocked_http.answers(URL, answer(issued_token_type="urn:x"))
    provider = TokenExchange(
        token_url=URL,
        subject_token="subject",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        actor_token="actor",
        requested_token_type="urn:x",
        audience=("one", "two"),
        client_id="app",
        client_secret="secret",
    )
    token = await fetch(provider)
    kind = "urn:ietf:params:oauth:token-type:"
    assert pairs(mocked_http.sent[0]) == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "subject"),
        ("subject_token_type", f"{kind}jwt"),
        ("actor_token", "actor"),
        ("actor_token_type", f"{kind}access_token"),
        ("requested_token_type", "urn:x"),
        ("audience", "one"),
        ("audience", "two"),
    ]
    assert basic(mocked_http.sent[0]) == ("app", "secret")
    assert token.extra["issued_token_type"] == "urn:x"
    assert token.authorization == "Bearer at-1"


async def test_a_chain_of_managers(mocked_http: MockedHttp) -> None:
    """A subject token that the server refuses is invalidated at its manager, obtained anew, and tried once more."""
    upstream = FakeProvider(clock=FakeClock(wall=NOW))
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=400)
    mocked_http.answers(URL, answer())
    manager = TokenManager(TokenExchange(token_url=URL, subject_token=upstream, client_id="app", client_auth="none"))
    assert (await manager.token()).value == "at-1"
    assert [sent.form["subject_token"] for sent in mocked_http.sent] == ["token-1", "token-2"]


def test_whose_token_an_exchange_is_for() -> None:
    """An upstream says it; strings don't, and one string among them is enough not to know."""
    known = FakeProvider(identity="me")
    assert "me" in str(TokenExchange(token_url=URL, subject_token=known).identity)
    assert TokenExchange(token_url=URL, subject_token="x").identity is None
    assert TokenExchange(token_url=URL, subject_token=known, actor_token="x").identity is None
    assert TokenExchange(token_url=URL, subject_token="x", client_id="a", client_secret=known).identity is None
    assert TokenExchange(token_url=URL, subject_token="x", account="me").identity is not None


# --- Token types, and how the API takes the token


GRANTS: dict[str, Callable[..., OAuthProvider]] = {
    "client credentials": lambda **given: ClientCredentials(client_id="app", client_secret="secret", **given),
    "password": lambda **given: PasswordGrant(username="ana", password="secret", **given),
    "refresh token": lambda **given: RefreshGrant(refresh_token="rt-1", **given),
    "assertion": lambda **given: JWTBearer(assertion="secret", **given),
    "exchange": lambda **given: TokenExchange(subject_token="secret", **given),
}


@pytest.mark.parametrize("grant", GRANTS)
@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {"Authorization": "Bearer at-1"}),
        ({"scheme": "Zoho-oauthtoken"}, {"Authorization": "Zoho-oauthtoken at-1"}),
        ({"scheme": ""}, {"Authorization": "at-1"}),
        ({"carried_as": "header:X-Api-Token"}, {"X-Api-Token": "at-1"}),
        ({"carried_as": "cookie:SESSION"}, {"Cookie": "SESSION=at-1"}),
    ],
)
async def test_how_the_api_takes_the_token(
    mocked_http: MockedHttp, grant: str, options: dict[str, Any], headers: dict[str, str]
) -> None:
    """Each grant takes both arguments; a label in the answer changes nothing."""
    mocked_http.answers(URL, answer(token_type="bot"))
    assert await TokenManager(GRANTS[grant](token_url=URL, **options)).headers() == headers


@pytest.mark.parametrize("options", [{"scheme": "MAC"}, {"carried_as": "cookie:SESSION"}])
async def test_a_type_that_is_no_bearer_token(mocked_http: MockedHttp, options: dict[str, Any]) -> None:
    """It is an error that says what to give, unless it is declared how the token is carried (RFC 8693 §2.2.1)."""
    mocked_http.answers(URL, answer(token_type="N_A"), times=2)
    error = await failure(password())
    assert error.message == "token_type is N_A, which is not sent as Bearer"
    assert error.advice == "give scheme=, if the API takes it anyway"
    assert (await fetch(password(**options))).value == "at-1"


@pytest.mark.parametrize("options", [{"scheme": ""}, {"carried_as": "cookie:SESSION"}])
def test_a_bound_token_is_carried_one_way(options: dict[str, Any]) -> None:
    """DPoP has a header and a scheme of its own (RFC 9449 §7.1)."""
    with pytest.raises(ConfigurationError, match="a DPoP token goes into the Authorization header"):
        password(dpop=True, **options)


@pytest.mark.parametrize(("dpop", "kind"), [(False, "DPoP"), (True, "Bearer"), (True, ...)])
async def test_a_token_of_the_wrong_kind(mocked_http: MockedHttp, dpop: bool, kind: object) -> None:  # noqa: FBT001
    """A bound token without a key cannot be used, and a bearer token is not what was requested: both are refused."""
    mocked_http.answers(URL, answer(token_type=kind))
    error = await failure(password(dpop=dpop))
    assert isinstance(error, InvalidTokenResponse)
    assert "DPoP" in str(error)


async def test_a_nonce_for_the_proof(mocked_http: MockedHttp) -> None:
    """A server that asks for a nonce gets the request once more with it; the next one has it from the start."""
    mocked_http.answers(URL, {"error": "use_dpop_nonce"}, status=400, headers={"DPoP-Nonce": "n1"})
    mocked_http.answers(URL, answer(token_type="DPoP"), headers={"DPoP-Nonce": "n2"})
    mocked_http.answers(URL, answer(token_type="DPoP"))
    provider = password(dpop_key=PEM)
    token = await fetch(provider)
    await fetch(provider)
    assert token.authorization == "DPoP at-1"
    proofs = [jwt.decode(sent.headers["DPoP"], EC, algorithms=["ES256"]) for sent in mocked_http.sent]
    assert [proof.claims.get("nonce") for proof in proofs] == [None, "n1", "n2"]
    assert {(proof.claims["htm"], proof.claims["htu"]) for proof in proofs} == {("POST", URL)}
    assert len({proof.claims["jti"] for proof in proofs}) == 3
    assert proofs[0].header == {"alg": "ES256", "typ": "dpop+jwt", "jwk": EC.as_dict(private=False)}


@pytest.mark.parametrize("nonce", [{}, {"DPoP-Nonce": "n"}])
async def test_a_refusal_is_no_request_for_a_nonce(mocked_http: MockedHttp, nonce: dict[str, str]) -> None:
    """A nonce beside a refusal is for next time: the password is not sent twice. One nonce is enough, too."""
    mocked_http.answers(URL, {"error": "invalid_grant"}, status=400, headers=nonce)
    assert isinstance(await failure(password(dpop=True)), CredentialsRejected)
    assert len(mocked_http.sent) == 1
    mocked_http.answers(URL, {"error": "use_dpop_nonce"}, status=400, headers={"DPoP-Nonce": "n1"}, times=3)
    error = await failure(password(dpop=True))
    assert error.error == "use_dpop_nonce"
    assert len(mocked_http.sent) == 3


def test_a_copy_has_its_own_times() -> None:
    """A token with a refresh token shows none of it."""
    assert "rt-0" not in repr(attrs.evolve(held()))


@pytest.mark.parametrize(
    "corrected", [{"unit": "ms"}, {"never": 3600}, {"default_lifetime": 60, "lifetime": None}, {"extra": {"id": "id"}}]
)
async def test_an_answer_that_is_read_otherwise(mocked_http: MockedHttp, corrected: dict[str, Any]) -> None:
    """What a wrong declaration put into a store, the corrected one does not take out of it."""
    store, clock = MemoryStore(), FakeClock(wall=NOW)
    for number, told in enumerate([{}, corrected, corrected]):
        mocked_http.answers(URL, answer(access_token=f"at-{number}", expires_in=3600))
        provider = password(answer=AnswerFields(**told))
        async with TokenManager(provider, store=store, clock=clock) as manager:
            assert (await manager.token()).value == f"at-{min(number, 1)}"
    assert password(answer=AnswerFields()).identity == password().identity
