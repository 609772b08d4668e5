"""Kept fresh: nobody waits for a renewal, nobody notices an outage, and lifetimes are the server's own."""

from __future__ import annotations

import asyncio
import time

import attrs
import pytest
from contract_kit import PAGO_FACIL, PEAKLY, QUICK, SYSTEMS, Side, client, serving, status_of, until

from asyncauth import PagoFacil, PagoFacilLogin, RefreshPolicy, TokenEndpointUnavailable, TokenManager

WATCHED = RefreshPolicy(renew_at=0.5, jitter=0.0, backoff=0.05, backoff_limit=0.1)
"""Renewal is due at half the lifetime, and is tried about every 50 ms while the endpoint is out."""


async def test_a_slow_endpoint_and_short_lived_tokens_slow_nobody_down() -> None:
    """With token requests of 500 ms and tokens of 4 s, no request after the first waits for a whole one; none fails.

    Where the machine stands still for longer than a renewal is early, some may: none fails, and no more token requests
    are made than ever.
    """
    took: dict[str, list[float]] = {PEAKLY: [], PAGO_FACIL: []}
    statuses: set[int] = set()
    late = 0.0
    with serving(lifetime=4.0, token_latency=0.5) as side:
        sides = [side, attrs.evolve(side, name=PAGO_FACIL)]
        managers = [each.manager() for each in sides]
        async with client(*managers) as http:

            async def call(to: Side) -> None:
                started = time.perf_counter()
                statuses.add(await status_of(http, to.url()))
                took[to.name].append(time.perf_counter() - started)

            for each in sides:
                await call(each)
            first = {name: times.pop() for name, times in took.items()}
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                begun = time.perf_counter()
                for tick in range(6 * 40):
                    await asyncio.sleep(max(0.0, begun + tick / 40 - time.perf_counter()))
                    late = max(late, time.perf_counter() - begun - tick / 40)
                    for each in sides:
                        group.create_task(call(each))
        lasted = time.perf_counter() - begun
    assert statuses == {200}
    assert all(seconds >= 0.5 for seconds in first.values())
    for each in sides:
        # At most two per lifetime. Peakly's is 3 s: its server announces one second less.
        assert 3 <= each.asked[each.last_step] <= 2 * (lasted + 0.5) / 3 + 1
    if late <= 0.15:
        assert {name: max(times) for name, times in took.items() if max(times) >= 0.5} == {}


async def test_an_idle_manager_answers_its_next_call_at_once() -> None:
    """Idle for several lifetimes, a manager still has a token: the next call does not wait for one."""
    with serving(lifetime=3.0, token_latency=0.25) as side:
        sides = [side, attrs.evolve(side, name=PAGO_FACIL)]
        managers = [each.manager() for each in sides]
        async with client(*managers) as http:
            begun = time.perf_counter()
            for each in sides:
                await status_of(http, each.url())
            await until(lambda: all(each.asked[each.last_step] >= 3 for each in sides), 30.0)
            for each in sides:
                assert await status_of(http, each.url()) == 200
            lasted = time.perf_counter() - begun
        assert [manager.status().waits for manager in managers] == [1, 1]
        for each in sides:
            assert each.server.counts.api_refused == 0
            # At most two per lifetime. Peakly's is 2 s: its server announces one second less.
            assert each.asked[each.last_step] <= 2 * lasted / 2 + 1


async def test_idle_timeout_ends_the_renewal_for_nobody() -> None:
    """A manager that nobody uses for its idle timeout makes no more token requests."""
    with serving(lifetime=1.0) as side:
        async with side.manager(RefreshPolicy(idle_timeout=0.2)) as manager:
            await manager.token()
            await asyncio.sleep(1.5)
            assert manager.current is None
            assert side.asked == side.rounds(1)
            await manager.token()
        assert side.asked == side.rounds(2)


@pytest.mark.parametrize("fault", ["server_error", "disconnect"])
async def test_nobody_notices_an_outage_while_the_token_lives(fault: str) -> None:
    """An outage of the token endpoint from before a renewal is due until shortly before the end: no call waits."""
    with serving(lifetime=2.5) as side:
        side.server.configure(truncate_expires_in=False)
        async with client(manager := side.manager(WATCHED)) as http:
            await status_of(http, side.url())
            before = manager.current
            begun = time.monotonic()
            getattr(side.server.token_faults, fault)()
            statuses, troubled = set(), False
            while time.monotonic() < begun + 2.6:
                statuses.add(await status_of(http, side.url()))
                status = manager.status()
                troubled |= status.last_error is not None and status.state == "stale"
                if time.monotonic() > begun + 1.7:
                    side.server.token_faults.clear()
                await asyncio.sleep(0.02)
            assert manager.status().waits == 1
            assert manager.status().failures >= 2
            assert manager.status().last_error is None
            assert manager.current not in {before, None}
        assert statuses == {200}
        assert troubled
        assert side.server.counts.api_refused == 0


async def test_nobody_notices_refused_connections_while_the_token_lives() -> None:
    """With the port closed the token in hand is handed out, and renewed once the port is back."""
    with serving(lifetime=3.0) as side:
        side.server.configure(truncate_expires_in=False)
        async with side.manager(WATCHED) as manager:
            first = await manager.token()
            side.server.refuse_connections()
            await until(lambda: manager.status().failures >= 3)
            assert await manager.token() is first
            side.server.accept_connections()
            await until(lambda: manager.current is not first)
            assert (await manager.token()).value != first.value
            assert manager.status().waits == 1


@pytest.mark.parametrize(("seconds", "as_date", "skew"), [(1.0, False, 0.0), (2.0, True, 7200.0)])
async def test_retry_after_is_kept(seconds: float, skew: float, *, as_date: bool) -> None:
    """Told when to come back, 50 cold callers wait until then together, and get the next try's token."""
    with serving(clock_skew=skew) as side:
        side.server.token_faults.too_many_requests(seconds, as_date=as_date, times=1)
        async with side.manager() as manager:
            tokens = await asyncio.gather(*(manager.token() for _ in range(50)))
        assert len({token.value for token in tokens}) == 1
        refused, granted = [record.time for record in side.sandbox.log]
        # A date counts whole seconds.
        assert granted - refused >= seconds - (1.0 if as_date else 0.0) - 0.05


async def test_a_long_retry_after_holds_for_everybody_but_a_refresh_by_hand() -> None:
    """Told to come back after the deadline, callers fail at once and ask nobody; only refresh() tries."""
    with serving() as side:
        side.server.token_faults.server_error(retry_after=120, times=1)
        async with side.manager() as manager:
            for _ in range(20):
                with pytest.raises(TokenEndpointUnavailable) as caught:
                    await manager.token()
                assert caught.value.retry_after is not None
                assert 115 < caught.value.retry_after <= 120
            assert side.asked == side.rounds(1)
            assert manager.status().cooling_down
            by_hand = await manager.refresh()
            assert await manager.token() == by_hand
        assert side.asked == side.rounds(2)


async def test_retry_after_is_kept_in_the_background() -> None:
    """A renewal honours `Retry-After`, while callers continue with the current token."""
    with serving(lifetime=4.0) as side:
        side.server.configure(truncate_expires_in=False)
        async with side.manager(attrs.evolve(WATCHED, deadline=0.5)) as manager:
            first = await manager.token()
            side.server.token_faults.too_many_requests(1, times=1)
            while manager.current is first:
                await manager.token()
                await asyncio.sleep(0.02)
            assert manager.status().waits == 1
        _, refused, granted = [record.time for record in side.sandbox.log]
        assert granted - refused >= 0.95


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
@pytest.mark.parametrize("name", SYSTEMS)
async def test_a_servers_wrong_clock_changes_no_lifetime(name: str, skew: float) -> None:
    """With the server's clock two hours off either way, a token of 1,000 s has 1,000 s."""
    with serving(name, lifetime=1000.0, clock_skew=skew) as side:
        async with client(manager := side.manager()) as http:
            assert await status_of(http, side.url()) == 200
            token = await manager.token()
        assert token.expires_at is not None
        assert 998 <= token.expires_at - time.time() <= 1000
        assert abs(token.issued_at - time.time()) < 5


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_absolute_expiries_go_by_the_servers_date(skew: float) -> None:
    """An epoch or a bare date is read by the clock of the server that wrote it, even if that is two hours off."""
    with serving(lifetime=1000.0, clock_skew=skew) as side:
        side.server.token_faults.missing_fields("expires_in", ".issued")
        login = PagoFacilLogin(
            username=side.sandbox.username, password=side.sandbox.password, base_url=side.sandbox.pago_facil.url
        )
        epoch = PagoFacil(jwt=TokenManager(login), base_url=side.sandbox.pago_facil.url)
        for provider in (side.provider(), epoch):
            token = await TokenManager(provider, policy=QUICK).token()
            assert token.expires_at is not None
            assert 998 <= token.expires_at - time.time() <= 1001
