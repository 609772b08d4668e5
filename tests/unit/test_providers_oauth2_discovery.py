"""Endpoints found by the issuer's metadata (RFC 8414, OpenID Connect Discovery)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp
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
    RefreshGrant,
    Token,
    TokenEndpointUnavailable,
)

ISSUER = "https://login.example.com/tenant one/v2".replace(" ", "%20")
OAUTH = "https://login.example.com/.well-known/oauth-authorization-server/tenant%20one/v2"
OIDC = f"{ISSUER}/.well-known/openid-configuration"
OIDC_LAST = "https://login.example.com/.well-known/openid-configuration/tenant%20one/v2"
OAUTH_FIRST = f"{ISSUER}/.well-known/oauth-authorization-server"
PLACES = (OAUTH, OIDC, OIDC_LAST, OAUTH_FIRST)
TOKEN = "https://tokens.example.com/t?p=1"

Serve = Callable[..., None]


@pytest.fixture
def serve(mocked_http: MockedHttp) -> Serve:
    """Return a function that answers a GET with metadata, with changes, or with something else."""

    def serve(url: str, *, status: int = 200, body: str | None = None, **changes: object) -> None:
        fields = {"issuer": ISSUER, "token_endpoint": TOKEN, **changes}
        text = json.dumps({name: value for name, value in fields.items() if value is not ...}) if body is None else body
        mocked_http.mock.get(url, status=status, body=text, callback=mocked_http.note)

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


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"status": 404},
        {"status": 403},
        {"status": 503},
        {"body": "<html>"},
        {"body": "[]"},
        {"issuer": "https://evil.example"},
        {"token_endpoint": ...},
        {"token_endpoint": 1},
        {"token_endpoint": "/token"},
        {"token_endpoint": "http://login.example.com/token"},
    ],
    ids=str,
)
@pytest.mark.parametrize("serving", range(4))
async def test_each_place_is_tried(
    mocked_http: MockedHttp, serve: Serve, elsewhere: dict[str, Any], serving: int
) -> None:
    """Where a place has no metadata that serves, the next one is asked (RFC 8414 §3.1 and §5; OpenID Connect §4)."""
    for place in PLACES[:serving]:
        serve(place, **elsewhere)
    serve(PLACES[serving])
    mocked_http.answers(TOKEN, answer())
    await fetch(client())
    assert [sent.url for sent in mocked_http.sent] == [*PLACES[: serving + 1], TOKEN]


async def test_a_server_that_cannot_be_reached_is_asked_once(mocked_http: MockedHttp) -> None:
    """Its other places can't be reached, either."""
    mocked_http.mock.get(OAUTH, exception=aiohttp.ServerDisconnectedError(), callback=mocked_http.note)
    error = await failure(client())
    assert isinstance(error, TokenEndpointUnavailable)
    assert len(mocked_http.sent) == 1


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (({"status": 404}, {"issuer": "https://evil.example"}), InvalidTokenResponse, "another issuer's"),
        (({"token_endpoint": ...}, {"status": 404}), InvalidTokenResponse, "no 'token_endpoint'"),
        (({"token_endpoint": ...}, {"status": 503}), TokenEndpointUnavailable, "can't answer now"),
        (({"status": 503}, {"token_endpoint": ...}), TokenEndpointUnavailable, "can't answer now"),
    ],
)
async def test_the_error_tells_of_the_place_that_came_closest(
    mocked_http: MockedHttp,
    serve: Serve,
    found: tuple[dict[str, Any], dict[str, Any]],
    kind: type[AuthError],
    words: str,
) -> None:
    """Metadata that does not serve says more than none, and a server that may answer later more than that."""
    for place, answered in zip(PLACES, (*found, {"status": 404}, {"status": 404}), strict=True):
        serve(place, **answered)
    error = await failure(client())
    assert isinstance(error, kind)
    assert words in str(error)
    assert len(mocked_http.sent) == 4


@pytest.mark.parametrize("path", ["", "/"])
async def test_an_issuer_without_a_path(mocked_http: MockedHttp, serve: Serve, path: str) -> None:
    """The slash at the end is part of its name, and not of where the metadata is (RFC 8414 §3.1)."""
    issuer = f"https://login.example.com{path}"
    serve("https://login.example.com/.well-known/oauth-authorization-server", issuer=issuer)
    mocked_http.answers(TOKEN, answer())
    await fetch(client(issuer))


@pytest.mark.parametrize("other", [ISSUER + "/", ISSUER.upper(), "https://evil.example", None, ...], ids=str)
async def test_the_issuer_must_match(mocked_http: MockedHttp, serve: Serve, other: object) -> None:
    """Metadata of another name is not used, wherever it stands (RFC 8414 §3.3)."""
    for place in PLACES:
        serve(place, issuer=other)
    error = await failure(client())
    assert isinstance(error, InvalidTokenResponse)
    assert "another issuer's" in str(error)
    assert error.step == "discovery"
    assert error.endpoint == OAUTH
    assert len(mocked_http.sent) == 4


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
    for place in PLACES:
        serve(place, **changes)
    error = await failure(client())
    assert isinstance(error, kind)
    assert "token_endpoint" in str(error)
    assert [sent.url for sent in mocked_http.sent] == list(PLACES)


async def test_no_metadata_anywhere(mocked_http: MockedHttp, serve: Serve) -> None:
    """The error says what to give instead."""
    for place in PLACES:
        serve(place, status=404)
    error = await failure(client())
    assert isinstance(error, InvalidTokenResponse)
    assert "token_url=" in str(error)
    assert error.status == 404


async def test_a_server_that_is_down_is_asked_again(mocked_http: MockedHttp, serve: Serve) -> None:
    """Trouble is transient, and not remembered as "no metadata"."""
    for place in PLACES:
        serve(place, status=503)
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
    assert len(mocked_http.sent) == 2
    for place in (OAUTH, *PLACES):
        serve(place)
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


# --- Metadata that was good once

NEW = "https://tokens.example.com/v2/token"
GONE = [404, 405, 301, 307]


@pytest.mark.parametrize("status", GONE)
async def test_an_endpoint_that_moved_is_found_again(mocked_http: MockedHttp, serve: Serve, status: int) -> None:
    """What says that it is not there has the metadata read anew, and the new address asked, in the same fetch."""
    serve(OAUTH)
    mocked_http.answers(TOKEN, answer())
    provider = client()
    await fetch(provider)
    mocked_http.answers(TOKEN, status=status, body=b"moved", headers={"Location": NEW})
    serve(OAUTH, token_endpoint=NEW)
    mocked_http.answers(NEW, answer(), times=2)
    await fetch(provider)
    await fetch(provider)
    assert [sent.url for sent in mocked_http.sent] == [OAUTH, TOKEN, TOKEN, OAUTH, NEW, NEW]


async def test_a_refresh_token_is_sent_to_the_new_address(mocked_http: MockedHttp, serve: Serve) -> None:
    """The old one, which had nothing at its address, has not used it up."""
    serve(OAUTH)
    mocked_http.answers(TOKEN, status=404, body=b"moved")
    serve(OAUTH, token_endpoint=NEW)
    mocked_http.answers(NEW, answer())
    provider = RefreshGrant(issuer=ISSUER, refresh_token=MARK, client_id="app")
    await fetch(provider, Token("at-0", refresh_token="rt-0"))
    assert [sent.form["refresh_token"] for sent in mocked_http.sent if sent.url in {TOKEN, NEW}] == ["rt-0", "rt-0"]


async def test_an_endpoint_that_did_not_move_is_asked_once(mocked_http: MockedHttp, serve: Serve) -> None:
    """If the metadata, read anew, names the same address, its answer stands."""
    serve(OAUTH)
    mocked_http.answers(TOKEN, status=404, body=b"gone")
    serve(OAUTH)
    error = await failure(client())
    assert isinstance(error, InvalidTokenResponse)
    assert (error.status, error.endpoint) == (404, "https://tokens.example.com/t")
    assert len(mocked_http.sent) == 3


@pytest.mark.parametrize("given", [{"status": 415, "body": b"no"}, {"body": b"<html>"}], ids=str)
async def test_other_trouble_reads_no_metadata(mocked_http: MockedHttp, serve: Serve, given: dict[str, Any]) -> None:
    """An endpoint that answers, however oddly, is where it was."""
    serve(OAUTH)
    mocked_http.answers(TOKEN, **given)
    assert isinstance(await failure(client()), InvalidTokenResponse)
    assert len(mocked_http.sent) == 2


async def test_a_given_endpoint_that_is_gone_reads_no_metadata(mocked_http: MockedHttp) -> None:
    """With ``token_url`` there is nothing to find again, issuer or not."""
    mocked_http.answers(TOKEN, status=404, body=b"gone")
    assert (await failure(client(token_url=TOKEN))).status == 404
    assert len(mocked_http.sent) == 1


async def test_the_other_endpoint_may_have_moved(mocked_http: MockedHttp, serve: Serve) -> None:
    """The device grant's first endpoint is found again as well."""
    old, new = "https://login.example.com/device", "https://login.example.com/v2/device"
    serve(OAUTH, device_authorization_endpoint=old)
    mocked_http.answers(old, status=404, body=b"moved")
    serve(OAUTH, device_authorization_endpoint=new)
    mocked_http.answers(new, {"error": "invalid_client"}, status=401)
    error = await failure(DeviceCode(issuer=ISSUER, client_id="app", show=print))
    assert isinstance(error, CredentialsRejected)
    assert [sent.url for sent in mocked_http.sent] == [OAUTH, old, OAUTH, new]
