"""Tokens bound to a key (RFC 9449), at a server that nobody here wrote and that asks for nonces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import oidc_kit
import pytest

from asyncauth import BearerAuth, ClientCredentials, ConfigurationError, RefreshGrant, TokenManager

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def oidc() -> Iterator[oidc_kit.Oidc]:
    with oidc_kit.serving() as server:
        yield server


@pytest.fixture(params=[False, True], ids=["no nonces", "nonces"], autouse=True)
def nonces(request: pytest.FixtureRequest, oidc: oidc_kit.Oidc) -> bool:
    """Whether the server asks for a nonce in every proof."""
    asked: bool = request.param
    oidc.order("nonces", on=str(asked).lower())
    return asked


def bound(oidc: oidc_kit.Oidc) -> TokenManager:
    provider = RefreshGrant(
        issuer=oidc.issuer,
        refresh_token=oidc.refresh_token(),
        origins=oidc.issuer,
        dpop=True,
        **oidc_kit.PERSON,
    )
    return TokenManager(provider)


async def test_a_token_bound_to_a_key(oidc: oidc_kit.Oidc) -> None:
    """The token request carries a proof; where a nonce is asked for it is sent once more, and later ones have it."""
    manager = TokenManager(ClientCredentials(issuer=oidc.issuer, dpop=True, **oidc_kit.BASIC))
    await manager.token()
    before = oidc.seen["requests"]
    token = await manager.refresh()
    assert token.token_type == "DPoP"
    assert oidc.seen["requests"] == before + 1
    assert manager.status().failures == 0
    with pytest.raises(ConfigurationError, match="DPoP"):
        await manager.headers()


async def test_an_api_request_carries_a_proof(oidc: oidc_kit.Oidc) -> None:
    """The middleware proves the key with each request, with the nonce that the API asks for."""
    async with bound(oidc) as manager, aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        for _ in range(3):
            async with http.get(f"{oidc.issuer}/me?x=1") as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["sub"] == "ana"
        async with http.post(f"{oidc.issuer}/me", data={}) as response:
            assert response.status == 200, await response.text()
        assert manager.status().refreshes == 1
        assert manager.status().rejections == 0
        await manager.refresh()
        async with http.get(f"{oidc.issuer}/me") as response:
            assert response.status == 200
    assert oidc.seen["revoked"] == 0


async def test_the_token_is_worth_nothing_without_the_key(oidc: oidc_kit.Oidc) -> None:
    """Sent as a bearer token, or with no proof, it is refused."""
    async with bound(oidc) as manager, aiohttp.ClientSession() as http:
        token = await manager.token()
        for scheme in ("Bearer", "DPoP"):
            async with http.get(f"{oidc.issuer}/me", headers={"Authorization": f"{scheme} {token.value}"}) as response:
                assert response.status in {400, 401}
