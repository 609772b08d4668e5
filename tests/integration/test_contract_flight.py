"""One flight: however many ask, and whatever becomes of them, one token request is made and its token is kept."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import aiohttp
import pytest
from contract_kit import PAGO_FACIL, QUICK, SYSTEMS, client, serving, status_of, until

from asyncauth import AuthError, CredentialsRejected, RefreshPolicy, TokenEndpointUnavailable, TokenManager


@pytest.mark.parametrize("name", SYSTEMS)
async def test_ten_thousand_callers_on_a_cold_cache_make_one_token_request(name: str) -> None:
    """10,000 concurrent callers without a token cost one token request, and all get its token."""
    with serving(name, token_latency=0.2) as side:
        async with side.manager() as manager:
            tokens = await asyncio.gather(*(manager.token() for _ in range(10_000)))
        assert len({token.value for token in tokens}) == 1
        assert side.asked == side.rounds(1)


async def test_a_thousand_cold_requests_make_one_token_request() -> None:
    """1,000 concurrent requests on a cold cache cost one token request, and all are answered 200."""
    with serving(token_latency=0.2) as side:
        async with client(side.manager()) as http:
            statuses = await asyncio.gather(*(status_of(http, side.url()) for _ in range(1_000)))
        assert Counter(statuses) == {200: 1_000}
        assert side.asked == side.rounds(1)


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("name", SYSTEMS)
async def test_the_first_caller_is_cancelled(name: str, *, entered: bool) -> None:
    """The caller that started the refresh may be cancelled: the others get the token of that same request."""
    with serving(name, token_latency=0.3) as side:
        manager = side.manager()
        if entered:
            await manager.__aenter__()
        first = asyncio.create_task(manager.token())
        await until(lambda: side.asked)
        others = [asyncio.create_task(manager.token()) for _ in range(50)]
        await asyncio.sleep(0)
        first.cancel()
        tokens = await asyncio.gather(*others)
        assert first.cancelled()
        assert len({token.value for token in tokens}) == 1
        assert side.asked == side.rounds(1)
        await manager.close()


async def test_every_caller_is_cancelled() -> None:
    """With all callers gone the refresh goes on, and what it brings is there for the next one."""
    with serving(token_latency=0.3) as side:
        async with side.manager() as manager:
            callers = [asyncio.create_task(manager.token()) for _ in range(10)]
            await until(lambda: side.asked)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
            assert manager.current is None
            await until(lambda: manager.current)
            await manager.token()
        assert side.asked == side.rounds(1)


@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_requests_own_timeout_leaves_the_refresh_alive(name: str) -> None:
    """If a request's total timeout fires during the refresh, only that request fails. The next uses the new token."""
    with serving(name, token_latency=0.5) as side:
        async with client(side.manager()) as http:
            with pytest.raises(TimeoutError):
                await status_of(http, side.url(), timeout=aiohttp.ClientTimeout(total=0.1))
            assert await status_of(http, side.url()) == 200
        assert side.asked == side.rounds(1)
        assert side.server.counts.api_requests == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_wrong_password_is_tried_once(name: str, *, at_once: bool) -> None:
    """30 calls with a wrong password cost one token request; each gets an error of its own, and no call is made."""
    with serving(name) as side:
        manager = TokenManager(side.provider(password="wrong"), policy=QUICK)
        errors: list[object] = []
        async with client(manager) as http:
            calls = [status_of(http, side.url()) for _ in range(30)]
            if at_once:
                errors += await asyncio.gather(*calls, return_exceptions=True)
            else:
                for call in calls:
                    errors += await asyncio.gather(call, return_exceptions=True)
        assert all(type(error) is CredentialsRejected for error in errors)
        assert len({id(error) for error in errors}) == 30
        step = "login" if name == PAGO_FACIL else "token"
        assert {getattr(error, "step", None) for error in errors} == {step}
        assert side.server.counts.token_requests == 1
        assert side.server.counts.api_requests == 0


async def test_a_failing_endpoint_is_not_asked_once_a_caller() -> None:
    """With the endpoint down, 200 concurrent callers share the tries of one flight, and fail alike."""
    with serving() as side:
        side.server.token_faults.server_error()
        policy = RefreshPolicy(backoff=0.2, backoff_limit=0.2, deadline=0.5)
        async with side.manager(policy) as manager:
            errors = await asyncio.gather(*(manager.token() for _ in range(200)), return_exceptions=True)
        assert {type(error) for error in errors} == {TokenEndpointUnavailable}
        assert len({str(error) for error in errors}) == 1
        assert all(isinstance(error, AuthError) and error.__cause__ is None for error in errors)
        assert len({id(error) for error in errors}) == 200
        assert side.server.counts.token_peak == 1
        assert side.server.counts.token_requests <= 0.5 / 0.02 + 1


async def test_rotated_refresh_tokens_survive_concurrency_and_cancellation() -> None:
    """However callers pile up and are cancelled, no refresh token is sent twice and none is lost."""
    dice = random.Random(7)  # noqa: S311 (no secret)
    with serving(refresh_tokens=True, token_latency=0.02) as side:
        async with side.manager() as manager:
            await manager.token()
            for _ in range(25):
                callers = [asyncio.create_task(manager.refresh()) for _ in range(8)]
                await asyncio.sleep(dice.choice((0.0, 0.01, 0.02)))
                for caller in dice.sample(callers, dice.choice((1, 7, 8))):
                    caller.cancel()
                await asyncio.wait(callers)
            await manager.refresh()
        counts = side.server.counts
        assert counts.refresh_reuse == 0
        assert side.asked["password"] == 1
        assert side.asked["refresh_token"] >= 10


async def test_a_refresh_token_whose_answer_was_lost_is_not_sent_again() -> None:
    """When no answer came to a refresh token it may be spent: the password is used instead, and nothing is reused."""
    with serving(refresh_tokens=True) as side:
        async with side.manager() as manager:
            await manager.token()
            side.server.token_faults.disconnect(times=1, processed=True, step="refresh_token")
            await manager.refresh()
            await manager.refresh()
        assert side.server.counts.refresh_reuse == 0
        assert side.asked == {"password": 2, "refresh_token": 2}


async def test_rotation_by_the_clock_under_load() -> None:
    """Renewed by the clock while 20 callers ask, a rotating refresh token is used once a renewal."""
    with serving(refresh_tokens=True, lifetime=1.0, token_latency=0.05) as side:
        async with side.manager() as manager:

            async def ask() -> None:
                for _ in range(40):
                    await manager.token()
                    await asyncio.sleep(0.05)

            await asyncio.gather(*(ask() for _ in range(20)))
        assert side.server.counts.refresh_reuse == 0
        assert side.asked["password"] == 1
        assert 2 <= side.asked["refresh_token"] == manager.status().refreshes - 1


async def test_a_chain_that_waits_out_a_refusal_says_so() -> None:
    """Of a chain made in one call the last manager's status tells that a step before it is being waited out."""
    with serving(PAGO_FACIL) as side:
        side.server.token_faults.wrong_credentials(step="login")
        async with side.manager() as manager:
            with pytest.raises(CredentialsRejected):
                await manager.token()
            assert manager.status().cooling_down
