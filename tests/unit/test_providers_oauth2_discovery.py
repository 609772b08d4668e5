"""Endpoints found by the issuer's metadata (RFC 8414, OpenID Connect Discovery)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from harness.canary import MARK, also
from joserfc.jwk import OKPKey
from oauth2_kit import answer, jwt_part
from provider_kit import MockedHttp, failure, fetch

from asyncauth import (
    AuthError,
    ClientCredentials,
    CredentialsRejected,
    DeviceCode,
    InsecureTransport,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)

ISSUER = "https://login.example.com/tenant one/v2".replace(" ", "%20")
OAUTH = "https://login.example.com/.well-known/oauth-authorization-server/tenant%20one/v2"
OIDC = f"{ISSUER}/.well-known/openid-configuration"
TOKEN = "https://tokens.example.com/t?p=1"

Serve = Callable[..., None]


@pytest.fixture
def serve(mocked_http: MockedHttp) -> Serve:
    """Return a function that answers a GET with metadata, with changes, or with something else."""

    def serve(url: str, *, status: int = 200, body: str | None = None, **changes: object) -> None:
        fields = {"issuer": ISSUER, "token_endpoint": TOKEN, **changes}
        text = json.dumps({name: value for name, value in fields.items() if value is not ...}) if body is None else body
        mocked_http._mock.get(url, status=status, body=text, callback=mocked_http._note)

    return serve


def client(issuer: str = ISSUER, **options: Any) -> ClientCredentials:
    return ClientCredentials(issuer=issuer, client_id="app", client_secret=MARK, **options)


async def test_the_endpoint_is_found_once(mocked_http: MockedHttp, serve: Serve) -> None:
    """The metadata is read when it is first needed, with no secret, following nothing, and then never again."""
    serve(OAUTH)
    mocked_http.answers(TOKEN, answer(), times=2)
    provider = client()
    await fetch(provider)
    await fetch(provider)
    metadata, first, second = mocked_http.sent
    assert metadata.url == OAUTH
    assert "Authorization" not in metadata.headers
    assert metadata.options["allow_redirects"] is False
    assert metadata.options["middlewares"] == ()
    assert first.url == second.url == TOKEN


@pytest.mark.parametrize("elsewhere", [{"status": 404}, {"status": 403}, {"body": "<html>"}, {"body": "[]"}], ids=str)
async def test_openid_connects_place_is_second(
    mocked_http: MockedHttp, serve: Serve, elsewhere: dict[str, Any]
) -> None:
    """Where the one has nothing that can be metadata the other is asked."""
    serve(OAUTH, **elsewhere)
    serve(OIDC)
    mocked_http.answers(TOKEN, answer())
    await fetch(client())
    assert [sent.url for sent in mocked_http.sent] == [OAUTH, OIDC, TOKEN]


@pytest.mark.parametrize("path", ["", "/"])
async def test_an_issuer_without_a_path(mocked_http: MockedHttp, serve: Serve, path: str) -> None:
    """The slash at the end is part of its name, and not of where the metadata is (RFC 8414 §3.1)."""
    issuer = f"https://login.example.com{path}"
    serve("https://login.example.com/.well-known/oauth-authorization-server", issuer=issuer)
    mocked_http.answers(TOKEN, answer())
    await fetch(client(issuer))


@pytest.mark.parametrize("other", [ISSUER + "/", ISSUER.upper(), "https://evil.example", None, ...], ids=str)
async def test_the_issuer_must_match(mocked_http: MockedHttp, serve: Serve, other: object) -> None:
    """Metadata of another name is not used, and nobody else is asked (RFC 8414 §3.3)."""
    serve(OAUTH, issuer=other)
    error = await failure(client())
    assert isinstance(error, InvalidTokenResponse)
    assert "another issuer's" in str(error)
    assert error.step == "discovery"
    assert error.endpoint == OAUTH
    assert len(mocked_http.sent) == 1


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"token_endpoint": ...}, InvalidTokenResponse),
        ({"token_endpoint": 1}, InvalidTokenResponse),
        ({"token_endpoint": "/token"}, AuthError),
        ({"token_endpoint": "http://login.example.com/token"}, InsecureTransport),
    ],
)
async def test_an_endpoint_that_cant_be_used(
    mocked_http: MockedHttp, serve: Serve, changes: dict[str, object], kind: type[AuthError]
) -> None:
    """The secret goes to no endpoint that is missing, relative, or plain http."""
    serve(OAUTH, **changes)
    error = await failure(client())
    assert isinstance(error, kind)
    assert "token_endpoint" in str(error)
    assert len(mocked_http.sent) == 1


async def test_no_metadata_anywhere(mocked_http: MockedHttp, serve: Serve) -> None:
    """The error says what to give instead."""
    serve(OAUTH, status=404)
    serve(OIDC, status=404)
    error = await failure(client())
    assert isinstance(error, InvalidTokenResponse)
    assert "token_url=" in str(error)
    assert error.status == 404


async def test_a_server_that_is_down_is_asked_again(mocked_http: MockedHttp, serve: Serve) -> None:
    """Trouble is transient, and not remembered as "no metadata"."""
    serve(OAUTH, status=503)
    serve(OAUTH)
    mocked_http.answers(TOKEN, answer())
    provider = client()
    assert isinstance(await failure(provider), TokenEndpointUnavailable)
    await fetch(provider)


async def test_given_endpoints_win(mocked_http: MockedHttp) -> None:
    """With ``token_url`` beside it, the issuer is asked for nothing."""
    mocked_http.answers(TOKEN, answer())
    await fetch(client(token_url=TOKEN))
    assert len(mocked_http.sent) == 1


async def test_the_device_endpoint_is_found_too(mocked_http: MockedHttp, serve: Serve) -> None:
    """Both of the device grant's endpoints come from one reading of the metadata."""
    serve(OAUTH, device_authorization_endpoint="https://login.example.com/device")
    mocked_http.answers("https://login.example.com/device", {"error": "invalid_client"}, status=401)
    error = await failure(DeviceCode(issuer=ISSUER, client_id="app", show=print))
    assert isinstance(error, CredentialsRejected)
    serve(OAUTH)
    error = await failure(DeviceCode(issuer=ISSUER, client_id="app", show=print))
    assert "device_authorization_endpoint" in str(error)


ED25519 = json.dumps({**OKPKey.generate_key("Ed25519").as_dict(private=True), "kid": "k1"})
also(json.loads(ED25519)["d"])


@pytest.mark.parametrize(
    ("supported", "options", "algorithm"),
    [
        (["ES256", "EdDSA"], {}, "EdDSA"),
        (["Ed25519", "EdDSA"], {}, "Ed25519"),
        (["ES256"], {}, "Ed25519"),
        ("EdDSA", {}, "Ed25519"),
        (..., {}, "Ed25519"),
        (["EdDSA"], {"algorithm": "Ed25519", "dpop_algorithm": "Ed25519"}, "Ed25519"),
        (["Ed25519"], {"algorithm": "EdDSA", "dpop_algorithm": "EdDSA"}, "EdDSA"),
    ],
)
async def test_the_name_of_an_algorithm(
    mocked_http: MockedHttp, serve: Serve, supported: object, options: dict[str, Any], algorithm: str
) -> None:
    """An Ed25519 key signs by the name that the server's metadata has (RFC 9864), unless the name was given."""
    lists = ("token_endpoint_auth_signing_alg_values_supported", "dpop_signing_alg_values_supported")
    serve(OAUTH, **dict.fromkeys(lists, supported))
    mocked_http.answers(TOKEN, answer(token_type="DPoP"), times=2)
    provider = ClientCredentials(
        issuer=ISSUER,
        client_id="app",
        client_auth="private_key_jwt",
        private_key=ED25519,
        dpop_key=ED25519,
        **options,
    )
    await fetch(provider)
    await fetch(provider)
    for sent in mocked_http.sent[1:]:
        assertion, proof = sent.form["client_assertion"], sent.headers["DPoP"]
        assert jwt_part(assertion, 0) == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
        assert jwt_part(proof, 0).keys() == {"alg", "typ", "jwk"}  # the jwk names the key: some servers refuse a kid
        assert jwt_part(proof, 0)["alg"] == algorithm
        assert jwt_part(proof, 0)["jwk"].keys() == {"kty", "crv", "x"}
