"""Real processes that share a rotating refresh token over a real Redis: it is never lost, whatever the store does.

Each test is an outage of `rotation_kit`, shorter where that shows the same. No request fails whose caller could have
waited; no spent refresh token is sent; and all are served again soon after the store is back.
"""

from __future__ import annotations

import asyncio

import pytest
from cryptography.fernet import Fernet
from redis_kit import needs_redis
from rotation_kit import (
    OUTAGES,
    Grant,
    Outage,
    Outcome,
    World,
    away,
    fleet,
    lost_write,
    met,
    partition,
    read_only,
    snapshot,
)

pytestmark = [pytest.mark.fleet, needs_redis]

SOON = 1.5 + 2.0
"""Seconds in which everybody is served again: the promise, and what Redis and two idle cores add to it."""
LEASE = 10.0
"""Seconds that a lock outlives an outage in which it could not be given back."""

BOTH = pytest.mark.parametrize("grant", ["refresh", "password"])


def survived(outcome: Outcome, soon: float = SOON) -> None:
    """Check that nothing was lost."""
    assert outcome.failed == [], outcome.log
    assert outcome.reused == 0, outcome.log
    assert outcome.back_after < soon + outcome.late, outcome.log
    assert "Traceback" not in outcome.log


@BOTH
@pytest.mark.parametrize(
    "outage",
    [away(3.0), lost_write, read_only, OUTAGES["OOM 6 s"], OUTAGES["LOADING 6 s"], OUTAGES["MISCONF 6 s"]],
    ids=["away", "lost write", "READONLY", "OOM", "LOADING", "MISCONF"],
)
async def test_a_store_that_fails_fails_nobody(outage: Outage, grant: Grant) -> None:
    """Callers wait for it, or are served without it, and the refresh token that counts afterwards is the last one."""
    survived(await met(outage, grant, calm=6.0), LEASE if outage is read_only else SOON)


async def test_a_restart_from_a_snapshot_brings_no_refresh_token_back() -> None:
    """The store falls back by two rotations: those who know better send the last one."""
    outcome = await met(snapshot, "refresh", calm=8.0, lifetime=8.0)
    survived(outcome)
    assert outcome.asked >= 5


async def test_a_partition_while_a_refresh_token_is_rotated() -> None:
    """Its new one can't be saved for 12 s: nobody sends the spent one, and everybody is served within the deadline."""
    survived(await met(partition, "refresh", calm=3.0))


async def test_a_process_that_is_killed_while_it_sends_the_refresh_token() -> None:
    """The server never got it: another process sends it once more, when the mark is 20 s old."""
    outcome = await met(OUTAGES["killed"], "refresh", calm=24.0)
    assert (outcome.failed, outcome.reused) == ([], 0), outcome.log


@pytest.mark.parametrize("sealed", [False, True])
async def test_skewed_clocks_cost_one_token_request_at_most(*, sealed: bool) -> None:
    """Three machines whose clocks differ by 180 s make as many token requests as one.

    With sealed entries they make no more than three machines without a store: by a clock that is behind, nobody but
    the one who wrote a sealed entry can tell that its token lives on.
    """
    more = {"key": Fernet.generate_key().decode()} if sealed else {}

    async def nothing(world: World) -> None:
        await world.rotated()
        world.authority.requests.clear()
        world.over()

    straight = await met(nothing, "refresh", calm=12.0, **more)
    skewed = await met(nothing, "refresh", calm=12.0, ahead=[-90.0, 0.0, 90.0], **more)
    survived(skewed)
    assert skewed.asked <= (3 * straight.asked if sealed else straight.asked) + 1


async def test_two_wrong_passwords_are_sent_once_each() -> None:
    """By processes that start at once, and by those that crash and start again; the right one is served meanwhile."""
    passwords = ["wrong", "wrong as well", "right", "wrong", "wrong as well"]
    # The right one's token serves all of them: it begins when both wrong ones were sent.
    each = [{"password": password, "waits": password == "right"} for password in passwords]
    for _ in range(2):
        async with fleet("password", processes=5, each=each) as world:
            for number in (2, 3):
                async with asyncio.timeout(30):
                    while sum(grant == "password" for _, grant in world.authority.requests) < number:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                if number == 2:
                    begin = world.processes[passwords.index("right")].stdin
                    assert begin is not None
                    begin.write(b"\n")
            await asyncio.sleep(3.0)
            world.over()
            outcome = await world.end()
        sent = [grant for _, grant in world.authority.requests if grant == "password"]
        assert len(sent) == 3, outcome.log
        assert {each.split(":")[0] for each in outcome.failed} == {"CredentialsRejected"}
