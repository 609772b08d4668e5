"""Managers that share a Redis, for each grant, while the Redis fails in every way at random: no call fails.

    make soak ARGS="--fleet"                        five minutes
    make soak ARGS="--fleet --seconds 30 --seed 7"  a shorter one, with the faults of that seed

The Redis is killed and started again, stands still, has no memory left, takes no writes, resets all connections. It
keeps what it was given: an entry that is gone is known to nobody but the process that wrote it last. The token endpoint
is up all the time, so no caller may get an error, and no refresh token may be sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
from engine_kit import GRANTS, Crew, crew
from redis_kit import RedisServer, aside, redis_server

from asyncauth.stores import RedisStore

LONGEST = 6.0
"""Seconds of the longest outage: well below the time that a caller waits."""

Fault = Callable[[RedisServer, float], Awaitable[None]]


async def _killed(redis: RedisServer, seconds: float) -> None:
    await aside(redis.kill)
    await asyncio.sleep(seconds)
    await aside(redis.start)


async def _stands_still(redis: RedisServer, seconds: float) -> None:
    redis.pause()
    await asyncio.sleep(seconds)
    redis.resume()


def _set(name: str, during: str, after: str) -> Fault:
    async def fault(redis: RedisServer, seconds: float) -> None:
        with redis.client() as client:
            client.config_set(name, during)
            await asyncio.sleep(seconds)
            client.config_set(name, after)

    return fault


async def _takes_no_writes(redis: RedisServer, seconds: float) -> None:
    with redis.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        await asyncio.sleep(seconds)
        client.execute_command("REPLICAOF", "NO", "ONE")


async def _resets(redis: RedisServer, _: float) -> None:
    with redis.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)


FAULTS: dict[str, Fault] = {
    "killed": _killed,
    "no memory": _set("maxmemory", "1", "0"),
    "resets connections": _resets,
    "stands still": _stands_still,
    "takes no writes": _takes_no_writes,
}


@attrs.define(eq=False)
class Result:
    """What came of a run."""

    crews: list[Crew]
    faults: Counter[str] = attrs.field(factory=Counter)

    @property
    def flawless(self) -> bool:
        return not any(each.failed or each.authority.reused for each in self.crews)

    def lines(self) -> list[str]:
        return [
            f"faults: {dict(sorted(self.faults.items()))}",
            *(
                f"{each.authority.grant}: {each.calls} calls, {len(each.failed)} failed, slowest {each.slowest:.2f} s;"
                f" {each.authority.requests} token requests, {each.authority.reused} refresh tokens reused"
                for each in self.crews
            ),
            *(failed for each in self.crews for failed in each.failed[:5]),
        ]


async def fleet_soak(seconds: float, seed: int) -> Result:
    """Run for so long, with the faults that the seed gives."""
    luck = random.Random(seed)  # noqa: S311 (a seed that can be given again)
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as redis:
        async with contextlib.AsyncExitStack() as stack:
            crews = [
                await stack.enter_async_context(crew(grant, lambda: RedisStore(redis.url), judge=False))
                for grant in GRANTS
            ]
            result, end = Result(crews), time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(luck.uniform(0.0, 2.0))
                name = luck.choice(sorted(FAULTS))
                result.faults[name] += 1
                await FAULTS[name](redis, luck.uniform(0.2, LONGEST))
            for each in crews:
                await each.shares_again(30.0)
    return result


def main(seconds: float, seed: int) -> int:
    result = asyncio.run(fleet_soak(seconds, seed))
    sys.stdout.write("\n".join(result.lines()) + "\n")
    return 0 if result.flawless else 1
