"""Refresh tokens that rotate, at a server that revokes the whole family when it sees a used one again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import aiohttp
import oidc_kit
import pytest
from core_kit import engine_of

from asyncauth import CredentialsRejected, ManagerClosed, RefreshGrant, RefreshPolicy, Token, TokenManager
from asyncauth.stores import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def oidc() -> Iterator[oidc_kit.Oidc]:
    with oidc_kit.serving() as server:
        yield server


def grant(oidc: oidc_kit.Oidc, refresh_token: str | None = None, **options: Any) -> RefreshGrant:
    first = oidc.refresh_token() if refresh_token is None else refresh_token
    return RefreshGrant(issuer=oidc.issuer, refresh_token=first, **oidc_kit.PERSON, **options)


async def test_the_family_lives_on(oidc: oidc_kit.Oidc) -> None:
    """Each renewal sends the refresh token that the last one brought."""
    before = oidc.seen["revoked"]
    manager = TokenManager(grant(oidc))
    tokens = [await manager.token()] + [await manager.refresh() for _ in range(5)]
    assert len({token.refresh_token for token in tokens}) == 6
    assert len({token.value for token in tokens}) == 6
    assert oidc.seen["revoked"] == before


async def test_public_clients_too(oidc: oidc_kit.Oidc) -> None:
    """A client that has no secret names itself."""
    first = oidc.refresh_token("public-client")
    provider = RefreshGrant(issuer=oidc.issuer, refresh_token=first, client_id="public-client", client_auth="none")
    manager = TokenManager(provider)
    await manager.token()
    assert (await manager.refresh()).refresh_token != first


async def test_two_hundred_callers_never_reuse_a_refresh_token(oidc: oidc_kit.Oidc) -> None:
    """200 callers who ask, refuse, refresh and are cancelled, for rounds on end: no token request reuses one."""
    manager = TokenManager(grant(oidc), policy=RefreshPolicy(rejection_cooldown=0.1))
    before = oidc.seen
    luck = random.Random(6819)  # noqa: S311

    async def call() -> None:
        for _ in range(5):
            await asyncio.sleep(luck.random() * 0.05)
            token = await (manager.refresh() if luck.random() < 0.2 else manager.token())
            if luck.random() < 0.3:
                manager.invalidate(token)

    async with manager:
        tasks = [asyncio.create_task(call()) for _ in range(200)]
        for task in luck.sample(tasks, 100):
            await asyncio.sleep(0.002)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        last = await manager.refresh()
    after = oidc.seen
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert not failures
    assert any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert last.refresh_token
    assert after["refusals"] == before["refusals"]
    assert after["revoked"] == before["revoked"]
    assert after["grants"] - before["grants"] == manager.status().refreshes > 1


async def test_a_fleet_never_reuses_a_refresh_token(oidc: oidc_kit.Oidc, tmp_path: Path) -> None:
    """Ten managers with one store and one refresh token, 200 callers: each rotation is everybody's."""
    before, first = oidc.seen, oidc.refresh_token()
    luck = random.Random(6749)  # noqa: S311

    async def call(manager: TokenManager) -> None:
        for _ in range(3):
            await asyncio.sleep(luck.random() * 0.1)
            token = await (manager.refresh() if luck.random() < 0.1 else manager.token())
            if luck.random() < 0.2:
                manager.invalidate(token)

    store = FileStore(tmp_path / "tokens")
    async with contextlib.AsyncExitStack() as stack:
        managers = [
            await stack.enter_async_context(TokenManager(grant(oidc, first, account="ana"), store=store))
            for _ in range(10)
        ]
        tasks = [asyncio.create_task(call(managers[number % 10])) for number in range(200)]
        for task in luck.sample(tasks, 50):
            await asyncio.sleep(0.002)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await managers[0].refresh()
    after = oidc.seen
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert after["refusals"] == before["refusals"]
    assert after["revoked"] == before["revoked"]
    assert after["grants"] - before["grants"] == sum(manager.status().refreshes for manager in managers)
    assert sum(manager.status().adoptions for manager in managers) > 0


async def test_cancelled_callers_lose_no_rotated_token(oidc: oidc_kit.Oidc) -> None:
    """Every caller is cancelled during a renewal; its token is kept all the same."""
    before = oidc.seen["revoked"]
    async with TokenManager(grant(oidc)) as manager:
        await manager.token()
        for _ in range(20):
            task = asyncio.create_task(manager.refresh())
            await asyncio.sleep(random.random() * 0.004)  # noqa: S311
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ManagerClosed):
                await task
        await manager.refresh()
    assert oidc.seen["revoked"] == before


async def test_a_reused_refresh_token_is_refused_for_good(oidc: oidc_kit.Oidc) -> None:
    """What the server does when it happens; the given token is the ancestor of the refused one, and is not sent."""
    first = oidc.refresh_token()
    manager, thief = TokenManager(grant(oidc, first)), TokenManager(grant(oidc, first))
    stolen = await thief.token()
    with pytest.raises(CredentialsRejected) as caught:
        await manager.token()
    assert caught.value.error == "invalid_grant"
    before = oidc.seen["requests"]
    with pytest.raises(CredentialsRejected, match="refresh_token") as caught:
        await thief.refresh()
    assert caught.value.error == "invalid_grant"
    assert oidc.seen["requests"] == before + 1
    for secret in (first, stolen.value, stolen.refresh_token):
        assert str(secret) not in str(caught.value)


async def test_a_new_refresh_token_in_the_settings_is_used(oidc: oidc_kit.Oidc) -> None:
    """The stored one is refused, and the constructor's is another: it takes over."""
    stored = Token("old", expires_at=0, refresh_token="unknown to the server")
    async with asyncio.timeout(10):
        manager = TokenManager(grant(oidc))
        engine_of(manager).state.cached = type(engine_of(manager).state.cached)(stored)
        token = await manager.token()
    assert token.refresh_token != stored.refresh_token


def test_threads_never_reuse_a_refresh_token(oidc: oidc_kit.Oidc) -> None:
    """Eight threads without an event loop ask, refresh and refuse at the same time: no refresh token is sent twice."""
    manager = TokenManager(grant(oidc), policy=RefreshPolicy(rejection_cooldown=0.1))
    before, running = oidc.seen, threading.active_count()
    start = threading.Barrier(8)

    def call(number: int) -> None:
        luck = random.Random(number)  # noqa: S311
        start.wait(10)
        for _ in range(6):
            token = manager.blocking.refresh() if luck.random() < 0.3 else manager.blocking.token()
            if luck.random() < 0.3:
                manager.invalidate(token)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(8)))
    after = oidc.seen
    assert (after["refusals"], after["revoked"]) == (before["refusals"], before["revoked"])
    assert after["grants"] - before["grants"] == manager.status().refreshes > 1
    assert threading.active_count() == running


async def is_active(oidc: oidc_kit.Oidc, token: str) -> bool:
    """Return what the server's introspection says of a token (RFC 7662)."""
    form = {**oidc_kit.PERSON, "token": token}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{oidc.issuer}/token/introspection", data=form) as response,
    ):
        answer: dict[str, Any] = await response.json()
    return bool(answer["active"])


async def test_a_logout_revokes_both_tokens(oidc: oidc_kit.Oidc, tmp_path: Path) -> None:
    """The endpoint is discovered; what another process has rotated meanwhile is what is revoked; the entry goes."""
    first, store = grant(oidc, account="ana"), FileStore(tmp_path)
    manager, other = TokenManager(first, store=store), TokenManager(first, store=store)
    await other.token()
    await manager.token()
    token = await other.refresh()
    assert await is_active(oidc, token.value)
    assert await is_active(oidc, token.refresh_token or "")
    revocation = await manager.revoke()
    assert revocation.complete
    assert {each.kind for each in revocation.revoked} == {"refresh_token", "access_token"}
    assert not await is_active(oidc, token.value)
    assert not await is_active(oidc, token.refresh_token or "")
    assert await store.keys() == []
    with pytest.raises(CredentialsRejected):
        await other.refresh()
