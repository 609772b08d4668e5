"""A pool against the sandbox: how often tenants ask the token endpoint, how many at a time, and for which tenant."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from contract_kit import PAGO_FACIL, PEAKLY, Side, allow_sockets, serving, until
from core_kit import cache_of
from inside_kit import connections_of

from asyncauth import ManagerPool, PagoFacilJWT, Peakly, RefreshPolicy, TokenEndpointUnavailable


def pool_of(side: Side, **settings: Any) -> ManagerPool[str]:
    """Return a pool of the side's tenants; everybody with the password is let in."""
    side.server.configure(accept_any_username=True)
    make: Any = Peakly if side.name == PEAKLY else PagoFacilJWT.from_password
    password, url = side.server.settings.password, side.server.url
    return ManagerPool(lambda key: make(username=key, password=password, base_url=url), **settings)


async def token_of(pool: ManagerPool[str], key: str) -> str:
    return (await (await pool.get(key)).token()).value


@pytest.mark.parametrize(("name", "tenants"), [(PEAKLY, 1_000), (PAGO_FACIL, 300)])
@pytest.mark.parametrize("entered", [True, False])
async def test_cold_tenants_take_turns(name: str, tenants: int, *, entered: bool) -> None:
    """1,000 tenants without a token at once: never more than 20 token requests at a time, one for each tenant."""
    if not entered:
        tenants //= 10
    with serving(name, token_latency=0.01) as side:
        pool = pool_of(side, limit=20)
        if entered:
            await pool.__aenter__()
        tokens = await asyncio.gather(*(token_of(pool, f"tenant-{n % tenants}") for n in range(2 * tenants)))
        await pool.close()
        counts = side.server.counts
        assert 10 <= counts.token_peak <= 20
        assert side.asked == side.rounds(tenants)
        assert len(set(tokens)) == tenants
        assert tokens[:tenants] == tokens[tenants:]


async def test_a_queue_longer_than_the_deadline_is_served_to_its_end() -> None:
    """The wait for a slot counts neither towards a refresh's deadline nor towards the endpoint's measured duration."""
    with serving(token_latency=0.1, lifetime=100.0) as side:
        policy = RefreshPolicy(deadline=2.0, jitter=0.0)
        async with pool_of(side, limit=1, policy=policy) as pool:
            await asyncio.gather(*(token_of(pool, f"tenant-{n}") for n in range(30)))
            assert side.asked == side.rounds(30)
            last = (await pool.get("tenant-29")).status()
            assert last.next_refresh_in is not None
            assert last.next_refresh_in > 75  # at 80 % of 99 s, not earlier


async def test_a_queue_before_a_dead_endpoint_is_given_up() -> None:
    """When nobody is answered, those who wait for their turn fail as well, and were never sent."""
    with serving(token_latency=60.0) as side:
        policy = RefreshPolicy(deadline=0.4, backoff=0.01)
        async with pool_of(side, limit=2, policy=policy) as pool:
            ended = await asyncio.gather(*(token_of(pool, f"tenant-{n}") for n in range(200)), return_exceptions=True)
            assert {type(each) for each in ended} == {TokenEndpointUnavailable}
            assert side.server.counts.token_requests < 20


async def test_close_ends_a_long_queue_at_once() -> None:
    """close() gives its grace only to requests in progress: callers that wait for a slot get the error at once."""
    with serving(token_latency=0.3) as side:
        pool = pool_of(side, limit=2)
        await pool.__aenter__()
        callers = [asyncio.ensure_future(token_of(pool, f"tenant-{n}")) for n in range(100)]
        await until(lambda: side.server.counts.token_requests == 2)
        await pool.close()
        ended = Counter(type(each).__name__ for each in await asyncio.gather(*callers, return_exceptions=True))
        assert ended == {"str": 2, "ManagerClosed": 98}
        assert side.server.counts.token_requests == 2


async def test_each_tenants_requests_carry_its_own_token() -> None:
    """One session, a middleware a request: every tenant's requests carry its token and no other's."""
    allow_sockets(2_000)
    with serving() as side:
        async with pool_of(side, limit=20) as pool, aiohttp.ClientSession() as http:
            tenants = [f"tenant-{n}" for n in range(50)]
            own = dict(zip(tenants, await asyncio.gather(*(token_of(pool, key) for key in tenants)), strict=True))
            seen: dict[str, set[str]] = {key: set() for key in tenants}

            async def ask(key: str) -> int:
                async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
                    seen[key].add(request.headers["Authorization"])
                    return await handler(request)

                async with http.get(side.url(), middlewares=(pool.auth(key), note)) as response:
                    await response.read()
                    return response.status

            statuses = await asyncio.gather(*(ask(key) for key in tenants * 10))
            assert Counter(statuses) == {200: 500}
            assert seen == {key: {f"Bearer {own[key]}"} for key in tenants}
        assert side.asked == side.rounds(50)


async def test_auth_looks_its_manager_up_at_each_request() -> None:
    """A tenant's middleware outlives its manager: closed and forgotten, the manager is made anew for the request."""
    with serving() as side:
        async with pool_of(side, max_size=1) as pool, aiohttp.ClientSession(middlewares=(pool.auth("a"),)) as http:
            for times in range(1, 4):
                async with http.get(side.url()) as response:
                    assert response.status == 200
                await token_of(pool, "b")
                assert side.asked == side.rounds(2 * times)


async def test_auth_obtains_a_new_token_after_a_refusal() -> None:
    """A tenant whose token is refused gets another one; the other tenants keep theirs."""
    with serving() as side:
        async with pool_of(side) as pool, aiohttp.ClientSession(middlewares=(pool.auth("a"),)) as http:
            other = await token_of(pool, "b")
            for _ in range(2):
                async with http.get(side.url()) as response:
                    assert response.status == 200
                side.server.revoke()
            assert side.asked == side.rounds(3)
            assert await token_of(pool, "b") == other


async def test_auth_leaves_other_origins_alone() -> None:
    """A request to an origin that is not the tenant's passes without a token."""
    with serving() as side, serving() as elsewhere:
        async with (
            pool_of(side) as pool,
            aiohttp.ClientSession(middlewares=(pool.auth("a"),)) as http,
            http.get(elsewhere.url()) as response,
        ):
            assert response.status == 401
        assert not side.asked
        assert elsewhere.server.counts.api_refused == 1


async def test_all_tenants_share_one_session_that_keeps_no_cookies() -> None:
    """One session, and so one connector, for all tenants' token requests; none for a pool that has ended."""
    with serving() as side:
        async with pool_of(side, limit=4) as pool:
            await asyncio.gather(*(token_of(pool, f"tenant-{n}") for n in range(100)))
            (entry,) = cache_of(pool).runtime.sessions.entries
            assert entry.session is not None
            assert isinstance(entry.session.cookie_jar, aiohttp.DummyCookieJar)
            _, (idle,) = connections_of(entry.session)
            assert idle <= 4
            session = entry.session
        assert session.closed
