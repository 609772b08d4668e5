"""Refused by the API (401): one new token repairs everything it can, and nothing costs a login a request."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest
from contract_kit import PAGO_FACIL, STEPS, SYSTEMS, allow_sockets, client, serving, status_of

if TYPE_CHECKING:
    from aiohttp import web

pytestmark = pytest.mark.usefixtures("known_soon")

CROWD = 1_000


@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_thousand_concurrent_refusals_cost_one_token_request(name: str) -> None:
    """1,000 requests refused at the same time after a revocation: one token request, and all are answered 200."""
    allow_sockets(4 * CROWD)
    arrived = 0
    everybody = asyncio.Event()  # on the server's loop from its first use on

    async def assemble(request: web.Request) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == CROWD:
            everybody.set()
        await everybody.wait()

    with serving(name) as side:
        async with client(side.manager(), limit=0) as http:
            assert await status_of(http, side.url()) == 200
            asked = side.asked
            side.server.revoke(side.last_step if name == PAGO_FACIL else None)
            side.server.api_faults.answer(assemble, times=CROWD)
            statuses = await asyncio.gather(*(status_of(http, side.url()) for _ in range(CROWD)))
        assert Counter(statuses) == {200: CROWD}
        assert side.server.counts.api_refused == CROWD
        assert side.asked - asked == {side.last_step: 1}


@pytest.mark.parametrize("name", SYSTEMS)
async def test_staggered_refusals_cost_one_token_request(name: str) -> None:
    """Late refusals of the old token, over 300 ms, find it replaced: they cost no token request of their own."""

    async def linger(request: web.Request) -> None:
        await asyncio.sleep(float(request.query["after"]))

    with serving(name, token_latency=0.02) as side:
        async with client(side.manager(), limit=0) as http:
            assert await status_of(http, side.url()) == 200
            asked = side.asked
            side.server.revoke(side.last_step if name == PAGO_FACIL else None)
            side.server.api_faults.answer(linger)
            urls = [side.url(f"/api/echo?after={number * 0.003:.3f}") for number in range(100)]
            statuses = await asyncio.gather(*(status_of(http, url) for url in urls))
        assert set(statuses) == {200}
        assert side.server.counts.api_refused == 100
        assert side.asked - asked == {side.last_step: 1}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", SYSTEMS)
async def test_an_api_that_always_refuses_costs_no_login_a_request(name: str, *, at_once: bool) -> None:
    """100 calls of an API that answers 401 whatever the token: at most 3 token requests; the callers get the 401."""
    with serving(name) as side:
        side.server.api_faults.unauthorized()
        async with client(side.manager()) as http:
            if at_once:
                statuses = await asyncio.gather(*(status_of(http, side.url()) for _ in range(100)))
            else:
                statuses = [await status_of(http, side.url()) for _ in range(100)]
        assert set(statuses) == {401}
        assert all(side.asked[step] <= 3 for step in STEPS[name])


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_forbidden_resource_costs_no_login_a_request(name: str, *, at_once: bool) -> None:
    """60 calls of one resource that answers 401 where 403 is meant, among allowed ones: at most 4 token requests."""
    with serving(name) as side:
        async with client(side.manager()) as http:

            async def calls() -> tuple[int, int, int]:
                allowed = await status_of(http, side.url())
                forbidden = await status_of(http, side.url("/api/forbidden"))
                return allowed, forbidden, await status_of(http, side.url("/api/other"))

            if at_once:
                statuses = set(await asyncio.gather(*(calls() for _ in range(60))))
            else:
                statuses = {await calls() for _ in range(60)}
        assert statuses == {(200, 401, 200)}
        assert all(side.asked[step] <= 4 for step in STEPS[name])


async def test_the_whole_chain_is_repaired() -> None:
    """With every step's token revoked at once, the request that finds out is answered 200, and so are all others."""
    with serving(PAGO_FACIL) as side:
        async with client(side.manager()) as http:
            assert await status_of(http, side.url()) == 200
            assert side.asked == side.rounds(1)
            assert side.server.revoke() == 3
            statuses = await asyncio.gather(*(status_of(http, side.url()) for _ in range(50)))
            assert set(statuses) == {200}
            # loginToken and createToken learn that their credential is dead by being refused once.
            assert side.asked == {"login": 2, "createToken": 3, "loginToken": 3}
            assert await status_of(http, side.url()) == 200
        assert side.asked == {"login": 2, "createToken": 3, "loginToken": 3}


@pytest.mark.parametrize("step", STEPS[PAGO_FACIL])
async def test_each_step_of_the_chain_is_repaired(step: str) -> None:
    """With one step's token revoked, refresh() and requests succeed, and only what was lost is obtained anew."""
    with serving(PAGO_FACIL) as side:
        async with client(manager := side.manager()) as http:
            await manager.token()
            side.server.revoke(step)
            assert await status_of(http, side.url()) == 200
            await manager.refresh()
            assert await status_of(http, side.url()) == 200
        most = {"login": 1, "createToken": 1, "loginToken": 2}
        if step == "createToken":
            most = {"login": 1, "createToken": 2, "loginToken": 3}
        elif step == "loginToken":
            most = {"login": 1, "createToken": 1, "loginToken": 3}
        assert side.asked == most


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer",
        None,
        'Bearer realm="api"',
        'Bearer error="invalid_token", error_description="The token expired"',
        'Negotiate, Bearer error="invalid_token"',
        'OAuth2 realm="WSO2 API Manager", error="invalid_token"',
        "OAuth realm='OAuth API', error='invalid_token'",
        'BASIC realm="Service-now"',
        "Token",
    ],
)
@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_refusal_that_the_token_explains_is_recovered(name: str, challenge: str | None) -> None:
    """A bare Bearer challenge, none at all, invalid_token or another scheme: one new token, and the answer is 200."""
    with serving(name) as side:
        side.server.configure(www_authenticate=challenge)
        async with client(side.manager()) as http:
            await status_of(http, side.url())
            side.server.revoke(side.last_step if name == PAGO_FACIL else None)
            assert await status_of(http, side.url()) == 200
        assert side.asked[side.last_step] == 2
        assert side.server.counts.api_requests == 3


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="api", error="insufficient_scope", scope="invoices:write"',
        'Bearer error="invalid_request"',
        'Bearer error="insufficient_user_authentication", acr_values="mfa"',
        'Bearer error="insufficient_claims", claims="eyJ9"',
        'Basic realm="proxy", Bearer error="insufficient_scope"',
    ],
)
async def test_a_refusal_that_no_token_mends_is_not_retried(challenge: str) -> None:
    """insufficient_scope and its like go to the caller: no token request, no second try, the token stays."""
    with serving() as side:
        side.server.configure(www_authenticate=challenge)
        async with client(manager := side.manager()) as http:
            token = await manager.token()
            statuses = [await status_of(http, side.url("/api/forbidden")) for _ in range(10)]
            assert manager.current is token
            assert await status_of(http, side.url()) == 200
        assert set(statuses) == {401}
        assert side.asked == side.rounds(1)
        assert side.server.counts.api_requests == 11


@pytest.mark.parametrize("name", SYSTEMS)
async def test_websockets_are_authorized_and_recover(name: str) -> None:
    """ws_connect carries the token, and after a revocation connects with a new one."""
    with serving(name) as side:
        async with client(side.manager()) as http:
            for revoked in (False, True):
                if revoked:
                    side.server.revoke()
                async with http.ws_connect(side.url("/api/ws").replace("http://", "ws://")) as socket:
                    await socket.send_str("hello")
                    assert await socket.receive_str() == "hello"
            side.server.api_faults.unauthorized()
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(side.url("/api/ws"))
        # One after the revocation; then the old token, the new one, and that once more: it may not be known yet.
        assert side.server.counts.api_refused == 4
