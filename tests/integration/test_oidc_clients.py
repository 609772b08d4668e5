"""Client authentication, discovery and parameters, against a server that nobody here wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import oidc_kit
import pytest

from asyncauth import ClientCredentials, CredentialsRejected, InvalidTokenResponse, TokenManager

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def oidc() -> Iterator[oidc_kit.Oidc]:
    with oidc_kit.serving() as server:
        yield server


def client(oidc: oidc_kit.Oidc, kind: str) -> dict[str, Any]:
    """Return the arguments of a client of each kind."""
    return {
        "client_secret_basic": oidc_kit.BASIC,
        "client_secret_post": oidc_kit.POST,
        "private_key_jwt": {"client_id": "jwt-client", "private_key": oidc.client_key},
    }[kind]


@pytest.mark.parametrize("kind", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
async def test_each_client_authentication_obtains_a_token(oidc: oidc_kit.Oidc, kind: Any) -> None:
    """Discovered endpoint, each way to authenticate; a secret full of what form-encoding changes."""
    provider = ClientCredentials(issuer=oidc.issuer, client_auth=kind, **client(oidc, kind))
    token = await TokenManager(provider).token()
    assert token.token_type == "Bearer"
    assert token.lifetime == pytest.approx(3600, abs=1)
    assert token.refresh_token is None


async def test_a_given_endpoint_is_not_discovered(oidc: oidc_kit.Oidc) -> None:
    """With ``token_url`` there is one request, the token request."""
    before = oidc.seen["requests"]
    await TokenManager(ClientCredentials(token_url=f"{oidc.issuer}/token", **oidc_kit.BASIC)).token()
    assert oidc.seen["requests"] == before + 1


async def test_metadata_is_read_once(oidc: oidc_kit.Oidc) -> None:
    """Discovery costs its requests the first time, and none later."""
    manager = TokenManager(ClientCredentials(issuer=oidc.issuer, **oidc_kit.BASIC))
    await manager.token()
    before = oidc.seen["requests"]
    await manager.refresh()
    assert oidc.seen["requests"] == before + 1


async def test_an_issuer_of_another_name_is_refused(oidc: oidc_kit.Oidc) -> None:
    """The metadata's issuer must be the given one to the last character."""
    manager = TokenManager(ClientCredentials(issuer=f"{oidc.issuer}/", **oidc_kit.BASIC))
    with pytest.raises(InvalidTokenResponse, match="another issuer's"):
        await manager.token()


async def test_scope_and_resource(oidc: oidc_kit.Oidc) -> None:
    """Scope and resource (RFC 8707) reach the server, and what it granted comes back."""
    provider = ClientCredentials(issuer=oidc.issuer, scope=["read", "write"], resource=oidc_kit.API, **oidc_kit.BASIC)
    token = await TokenManager(provider).token()
    assert token.scope == "read write"
    assert token.lifetime == pytest.approx(600, abs=1)


async def test_a_resource_that_the_server_does_not_know(oidc: oidc_kit.Oidc) -> None:
    """``invalid_target`` is permanent, and says so."""
    provider = ClientCredentials(issuer=oidc.issuer, resource="https://other.example/", **oidc_kit.BASIC)
    with pytest.raises(CredentialsRejected) as caught:
        await TokenManager(provider).token()
    assert caught.value.error == "invalid_target"


@pytest.mark.parametrize("kind", ["client_secret_basic", "client_secret_post"])
async def test_a_wrong_secret_is_tried_once(oidc: oidc_kit.Oidc, kind: Any) -> None:
    """``invalid_client`` is remembered: a hundred callers cost one request."""
    options = {**client(oidc, kind), "client_secret": "wrong"}
    manager = TokenManager(ClientCredentials(token_url=f"{oidc.issuer}/token", client_auth=kind, **options))
    before = oidc.seen["requests"]
    for _ in range(100):
        with pytest.raises(CredentialsRejected) as caught:
            await manager.token()
        assert caught.value.error == "invalid_client"
        assert "wrong" not in str(caught.value)
    assert oidc.seen["requests"] == before + 1


async def test_a_session_of_the_callers(oidc: oidc_kit.Oidc) -> None:
    """A session that raises for statuses serves as well: discovery and token request mind it not."""
    async with aiohttp.ClientSession(raise_for_status=True, headers={"X-Other": "1"}) as http:
        provider = ClientCredentials(issuer=oidc.issuer, client_auth="client_secret_post", **oidc_kit.POST)
        assert (await TokenManager(provider, http=http).token()).value
