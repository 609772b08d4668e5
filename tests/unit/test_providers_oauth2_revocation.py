"""Token revocation at an authorization server (RFC 7009), without sockets."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from harness.canary import MARK, also
from oauth2_kit import PEM, URL, basic, jwt_part
from provider_kit import NOW, MockedHttp, keeps_quiet

from asyncauth import (
    AuthError,
    ClientCredentials,
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    PasswordGrant,
    Peakly,
    RevokingProvider,
    TokenEndpointUnavailable,
)
from asyncauth._core.try_state import TryState, set_try
from asyncauth.testing import FakeClock

REVOKE = "https://login.example.com/revoke"
ISSUER = "https://login.example.com"
METADATA = f"{ISSUER}/.well-known/oauth-authorization-server"
TOKEN = f"{MARK}-token"


def client(**options: Any) -> ClientCredentials:
    given = {"token_url": URL, "revocation_url": REVOKE, "client_id": "app", "client_secret": f"{MARK}-secret"}
    return ClientCredentials(**{**given, **options})


def serves(mocked_http: MockedHttp, **changes: object) -> None:
    """Answer the next GET for the metadata."""
    fields = {"issuer": ISSUER, "token_endpoint": URL, "revocation_endpoint": REVOKE, **changes}
    text = json.dumps({name: value for name, value in fields.items() if value is not None})
    mocked_http.mock.get(METADATA, body=text, callback=mocked_http.note)


async def revoke(provider: RevokingProvider) -> None:
    set_try(TryState(FakeClock(wall=NOW)))
    async with aiohttp.ClientSession() as http:
        await provider.revoke(http, TOKEN, "refresh_token")


async def failure(provider: RevokingProvider) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await revoke(provider)
    keeps_quiet(caught.value, MARK)
    return caught.value


@pytest.mark.parametrize("body", [b"", b"{}", b"true", b"OK"])
async def test_the_token_goes_as_a_form_with_the_clients_authentication(mocked_http: MockedHttp, body: bytes) -> None:
    """One POST with token and hint; the answer's body means nothing (RFC 7009 §2.1, §2.2)."""
    mocked_http.answers(REVOKE, body=body)
    await revoke(client())
    (sent,) = mocked_http.sent
    assert sent.form == {"token": TOKEN, "token_type_hint": "refresh_token"}
    assert basic(sent) == ("app", f"{MARK}-secret")


async def test_every_way_to_authenticate_is_the_token_requests(mocked_http: MockedHttp) -> None:
    """In the form, by an assertion for the server, or by the name alone."""
    mocked_http.answers(REVOKE, {}, times=4)
    await revoke(client(client_auth="client_secret_post"))
    await revoke(client(client_auth="private_key_jwt", private_key=PEM, client_secret=None))
    await revoke(client(client_auth="private_key_jwt", private_key=PEM, client_secret=None, issuer=ISSUER))
    await revoke(client(client_auth="none", client_secret=None))
    post, by_address, by_issuer, public = (sent.form for sent in mocked_http.sent)
    assert post["client_secret"] == f"{MARK}-secret"
    assert jwt_part(also(by_address["client_assertion"]), 1)["aud"] == REVOKE
    assert jwt_part(also(by_issuer["client_assertion"]), 1)["aud"] == ISSUER
    assert public == {"client_id": "app", "token": TOKEN, "token_type_hint": "refresh_token"}


async def test_no_proof_goes_with_it(mocked_http: MockedHttp) -> None:
    """DPoP proves a key to token endpoints and APIs; a revocation needs none (RFC 9449)."""
    mocked_http.answers(REVOKE, {})
    await revoke(client(dpop=True))
    assert "DPoP" not in mocked_http.sent[0].headers


async def test_the_endpoint_is_found_by_the_issuer(mocked_http: MockedHttp) -> None:
    """The metadata that tells the token endpoint tells this one, also where the token endpoint was given."""
    serves(mocked_http)
    mocked_http.answers(REVOKE, {}, times=2)
    provider = client(issuer=ISSUER, revocation_url=None)
    await revoke(provider)
    await revoke(provider)
    assert [sent.url for sent in mocked_http.sent] == [METADATA, REVOKE, REVOKE]


async def test_an_endpoint_that_has_moved_is_found_again(mocked_http: MockedHttp) -> None:
    """A 404 has the metadata read anew."""
    serves(mocked_http)
    serves(mocked_http, revocation_endpoint=f"{REVOKE}/v2")
    mocked_http.answers(REVOKE, status=404, body=b"")
    mocked_http.answers(f"{REVOKE}/v2", {})
    await revoke(client(issuer=ISSUER, token_url=None, revocation_url=None))
    assert [sent.url for sent in mocked_http.sent] == [METADATA, REVOKE, METADATA, f"{REVOKE}/v2"]


async def test_a_server_that_has_none_says_so(mocked_http: MockedHttp) -> None:
    """Metadata without the endpoint: the error names what is missing."""
    for path in ("oauth-authorization-server", "openid-configuration"):
        text = json.dumps({"issuer": ISSUER, "token_endpoint": URL})
        mocked_http.mock.get(f"{ISSUER}/.well-known/{path}", body=text)
    error = await failure(client(issuer=ISSUER, revocation_url=None))
    assert "has no 'revocation_endpoint'" in str(error)


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (lambda: client(revocation_url=None), "give revocation_url=, or issuer="),
        (lambda: PasswordGrant(token_url=URL, username="ana", password=MARK), "give revocation_url=, or issuer="),
        (lambda: Peakly(username="ana", password=MARK), "Peakly has no way to revoke a token"),
    ],
    ids=["client", "password", "peakly"],
)
async def test_without_an_address_it_says_what_to_give(provider: Any, said: str) -> None:
    """Nothing is sent, and the error says what would help, if anything would."""
    error = await failure(provider())
    assert isinstance(error, ConfigurationError)
    assert said in str(error)


@pytest.mark.parametrize(
    ("status", "fields", "kind", "code"),
    [
        (400, {"error": "unsupported_token_type"}, CredentialsRejected, "unsupported_token_type"),
        (401, {"error": "invalid_client"}, CredentialsRejected, "invalid_client"),
        (200, {"error": "invalid_client"}, CredentialsRejected, "invalid_client"),
        (503, {}, TokenEndpointUnavailable, None),
        (429, {}, TokenEndpointUnavailable, None),
        (302, {}, InvalidTokenResponse, None),
        (404, {}, InvalidTokenResponse, None),
    ],
)
async def test_what_a_failure_means(
    mocked_http: MockedHttp, status: int, fields: Any, kind: type[AuthError], code: str | None
) -> None:
    """As at the token endpoint; place and step are told, and no secret."""
    mocked_http.answers(REVOKE, {**fields, "error_description": TOKEN}, status=status)
    error = await failure(client())
    assert type(error) is kind
    assert (error.step, error.endpoint, error.error) == ("revocation", REVOKE, code)


@pytest.mark.parametrize(
    ("url", "kind"), [("http://login.example.com/revoke", InsecureTransport), ("nowhere", ConfigurationError)]
)
def test_an_address_that_cannot_work_is_refused(url: str, kind: type[AuthError]) -> None:
    """When the provider is made, and not at the logout."""
    with pytest.raises(kind):
        client(revocation_url=url)
