"""Faults of every kind at the token endpoint: cold, and while a token is still usable."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from contract_kit import PAGO_FACIL, PEAKLY, QUICK, STEPS, client, serving, status_of, until

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InvalidTokenResponse,
    RefreshPolicy,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth.sandbox import FaultPlan

TRANSIENT: dict[str, Callable[[FaultPlan, int | None], None]] = {
    "disconnect": lambda plan, times: plan.disconnect(times=times),
    "reset": lambda plan, times: plan.reset(times=times),
    "hang": lambda plan, times: plan.hang(times=times),
    "slow drip": lambda plan, times: plan.slow_drip(30.0, times=times),
    "500": lambda plan, times: plan.server_error(500, times=times),
    "503": lambda plan, times: plan.server_error(503, times=times),
    "429": lambda plan, times: plan.too_many_requests(times=times),
}
UNREADABLE: dict[str, Callable[[FaultPlan, int | None], None]] = {
    "malformed": lambda plan, times: plan.malformed(times=times),
    "no token": lambda plan, times: plan.missing_fields("access_token", "access_token_jwt", times=times),
    "forged headers": lambda plan, times: plan.replace_fields(
        {"access_token": "a\r\nb: c", "access_token_jwt": "a\r\nb: c"}, times=times
    ),
    "dead on arrival": lambda plan, times: plan.replace_fields({"expires_in": 0}, times=times),
    "no number": lambda plan, times: plan.replace_fields({"expires_in": "abc"}, times=times),
    "redirect": lambda plan, times: plan.redirect("http://127.0.0.1:1/token", times=times),
}
EVERY = {**TRANSIENT, **UNREADABLE}


def error_of(kind: str) -> type[AuthError]:
    return TokenEndpointUnavailable if kind in TRANSIENT else InvalidTokenResponse


@pytest.mark.parametrize("kind", TRANSIENT)
async def test_cold_a_passing_fault_is_waited_out(kind: str) -> None:
    """Two transient faults are retried within the one flight: 20 cold callers all get the third try's token."""
    with serving() as side:
        TRANSIENT[kind](side.server.token_faults, 2)
        policy = RefreshPolicy(backoff=0.02, deadline=20.0 if kind not in {"hang", "slow drip"} else 1.2)
        async with side.manager(policy) as manager:
            callers = asyncio.gather(*(manager.token() for _ in range(20)), return_exceptions=True)
            if kind in {"hang", "slow drip"}:
                # A single try may take half of the deadline: the second one ends with it.
                assert {type(each) for each in await callers} == {TokenEndpointUnavailable}
                await manager.token()
            else:
                assert len(set(await callers)) == 1
            assert manager.status().last_error is None
        assert side.asked == side.rounds(3)
        assert side.server.counts.token_peak <= 2


@pytest.mark.parametrize("kind", TRANSIENT)
async def test_cold_a_lasting_fault_fails_by_the_deadline(kind: str) -> None:
    """A transient fault that lasts fails the flight by its deadline, the same for every caller; nothing is sent."""
    with serving() as side:
        TRANSIENT[kind](side.server.token_faults, None)
        policy = RefreshPolicy(backoff=0.05, backoff_limit=0.05, deadline=0.4)
        async with client(manager := side.manager(policy)) as http:
            async with asyncio.timeout(10):
                calls = (status_of(http, side.url()) for _ in range(20))
                errors = await asyncio.gather(*calls, return_exceptions=True)
            assert {(type(error), str(error)) for error in errors} == {(TokenEndpointUnavailable, str(errors[0]))}
            assert "[peakly token, http://" in str(errors[0])
            side.server.token_faults.clear()
            await manager.token()  # the wait outlives the flight; it does not outlive the outage by much
        assert side.server.counts.api_requests == 0


async def test_cold_refused_connections_are_waited_out() -> None:
    """With the port closed for a while, a caller gets its token once the port is back."""
    with serving() as side:
        side.server.refuse_connections(seconds=0.4)
        async with side.manager() as manager:
            await manager.token()
            assert manager.status().failures >= 2
        assert side.asked == side.rounds(1)


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", [PEAKLY, PAGO_FACIL])
async def test_cold_an_answer_that_cant_be_read_is_raised_at_once(name: str, kind: str) -> None:
    """An answer that can't be used fails its flight at once, and the next flight waits the backoff."""
    with serving(name) as side:
        step = side.last_step
        fault = UNREADABLE[kind]
        async with side.manager(RefreshPolicy(backoff=30.0, backoff_limit=30.0)) as manager:
            # Until the fault is in force for the last step alone, the chain's other steps would meet it.
            await manager.token()
            manager.invalidate(await manager.token())
            fault(side.server.token_faults, None)
            asked = side.asked
            errors = await asyncio.gather(*(manager.token() for _ in range(20)), return_exceptions=True)
            for _ in range(5):
                errors += await asyncio.gather(manager.token(), return_exceptions=True)
            assert {type(error) for error in errors} == {InvalidTokenResponse}
            assert len({str(error) for error in errors}) == 1
            assert side.asked - asked == {step: 1}
            side.server.token_faults.clear()
            assert await manager.refresh() == await manager.token()


async def test_a_slow_answer_that_comes_in_time_is_taken() -> None:
    """An answer that drips for 300 ms is a good answer."""
    with serving() as side:
        side.server.token_faults.slow_drip(0.3)
        assert await side.manager().token()
        assert side.asked == side.rounds(1)


@pytest.mark.parametrize("kind", EVERY)
async def test_a_fault_while_a_token_is_usable_goes_unnoticed(kind: str) -> None:
    """While the token in hand is usable nobody waits and nobody fails; status() tells; then it is renewed."""
    clock = FakeClock(wall=time.time())
    policy = RefreshPolicy(renew_at=0.5, jitter=0.0, deadline=10.0)
    with serving(lifetime=3600.0) as side:
        manager = TokenManager(side.provider(), policy=policy, clock=clock)
        async with client(manager) as http:
            assert await status_of(http, side.url()) == 200
            first = manager.current
            await clock.advance(1799.0)  # renewal is due in a second
            EVERY[kind](side.server.token_faults, None)
            statuses = set[int]()

            async def go_on() -> None:
                statuses.add(await status_of(http, side.url()))
                await clock.advance(0.05)

            async with asyncio.timeout(60):
                while manager.status().last_error is None:
                    await go_on()
                trouble = str(manager.status().last_error)
                side.server.token_faults.clear()
                while manager.status().refreshing:
                    await go_on()
            assert trouble.startswith(error_of(kind).__name__)
            assert statuses == {200}
            assert manager.status().waits == 1
            assert await manager.refresh() != first
            assert await status_of(http, side.url()) == 200
            assert manager.status().last_error is None


@pytest.mark.parametrize("name", [PEAKLY, PAGO_FACIL])
async def test_a_refused_credential_withholds_no_usable_token(name: str) -> None:
    """A password that stops working is tried once; the token in hand serves to its end, and then the error comes."""
    with serving(name, lifetime=1.0) as side:
        async with client(manager := side.manager(RefreshPolicy(renew_at=0.5, backoff=0.02))) as http:
            assert await status_of(http, side.url()) == 200
            before = side.asked
            # Of the chain, the first step alone: those after it die of its refusal.
            side.server.token_faults.wrong_credentials(step=STEPS[name][0])
            if name == PAGO_FACIL:
                side.server.revoke("createToken")
                side.server.revoke("login")
            statuses: set[int] = set()
            while manager.current is not None:
                try:
                    statuses.add(await status_of(http, side.url()))
                except CredentialsRejected:
                    assert manager.current is None  # it ran out between the look and the request
                await asyncio.sleep(0.02)
            assert statuses == {200}
            for _ in range(10):
                with pytest.raises(CredentialsRejected):
                    await status_of(http, side.url())
            assert (side.asked - before)[STEPS[name][0]] == 1
            side.server.token_faults.clear()
            await manager.refresh()
            assert await status_of(http, side.url()) == 200


async def test_a_fault_in_the_middle_of_the_chain_names_its_step() -> None:
    """What goes wrong at createToken is reported as createToken's; refresh() tries again at once, there too."""
    with serving(PAGO_FACIL) as side:
        side.server.token_faults.server_error(step="createToken", retry_after=120, times=1)
        async with side.manager() as manager:
            for _ in range(10):
                with pytest.raises(TokenEndpointUnavailable) as caught:
                    await manager.token()
                assert (caught.value.step, caught.value.status) == ("createToken", 503)
            assert side.asked == {"login": 1, "createToken": 1}
            await manager.refresh()
        assert side.asked == {"login": 1, "createToken": 2, "loginToken": 1}


@pytest.mark.parametrize("step", STEPS[PAGO_FACIL])
async def test_a_step_that_hangs_is_named(step: str) -> None:
    """A step that answers nothing until the deadline is named in the error, as one that answers badly is."""
    with serving(PAGO_FACIL) as side:
        side.server.token_faults.hang(step=step)
        clock = FakeClock(wall=time.time())
        manager = TokenManager(side.provider(), clock=clock)
        waiting = asyncio.ensure_future(manager.token())
        await until(lambda: side.asked[step] == 1)
        await clock.advance(30.0)
        with pytest.raises(TokenEndpointUnavailable) as caught:
            await waiting
        assert (caught.value.step, caught.value.provider) == (step, "pago-facil")
        assert caught.value.endpoint is not None
        await manager.close()


async def test_a_callers_chain_repeats_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password at the chain's first step causes one warning, not one per call and step."""
    with serving(PAGO_FACIL) as side:
        async with TokenManager(side.provider(password="wrong"), policy=QUICK) as manager:
            for _ in range(20):
                with pytest.raises(CredentialsRejected):
                    await manager.token()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_an_outage_of_one_step_is_waited_out_by_the_chain() -> None:
    """A passing outage of any step of the chain is retried where it happened, and the callers get their token."""
    with serving(PAGO_FACIL) as side:
        for step in STEPS[PAGO_FACIL]:
            side.server.token_faults.server_error(step=step, times=2)
        async with side.manager(QUICK) as manager:
            await asyncio.gather(*(manager.token() for _ in range(20)))
        assert side.asked == side.rounds(3)
