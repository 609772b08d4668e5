"""What a tenant costs in a pool of 100,000: memory, time, and its renewal beside one in a pool of 100.

Run: python benchmarks/pool.py [tenants] [--lines]

No server: the provider gives a random token of 40 characters at once, so that what is left is the library's own.
Renewals are made by the pools' timer, on a clock that is moved on here. CPU time; interleaved rounds; medians.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import statistics
import sys
import time
import tracemalloc

import aiohttp

from asyncauth import ManagerPool, RefreshPolicy, Token

MANY, FEW = 100_000, 100
TIMED = 5_000
ROUNDS, RENEWALS = 15, 500
LIFETIMES = (3000.0, 3600.0)
SPREAD = 600.0
"""Seconds over which about as many renewals as there are tenants fall due."""
POLICY = RefreshPolicy(idle_timeout=None)


class Clock:
    """A clock that stands still until it is moved on. Each reading is a float of its own, as a real clock's is."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._sleepers: dict[asyncio.Future[None], float] = {}

    def wall(self) -> float:
        return self._now + 1_700_000_000.0

    def monotonic(self) -> float:
        return self._now + 0.0

    async def sleep(self, seconds: float) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = self._now + seconds
        try:
            await sleeper
        finally:
            del self._sleepers[sleeper]

    def move(self, seconds: float) -> None:
        self._now += seconds
        for sleeper, due in self._sleepers.items():
            if due <= self._now and not sleeper.done():
                sleeper.set_result(None)


class Instant:
    """The provider of all tenants: what a user's own costs is not measured."""

    name = "instant"
    origins = ("https://api.example.com",)
    identity = "instant"

    def __init__(self, clock: Clock) -> None:
        self.calls = 0
        self._clock = clock

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        self.calls += 1
        now = self._clock.wall()
        lifetime = random.uniform(*LIFETIMES)  # noqa: S311 (no secret)
        return Token(secrets.token_hex(20), issued_at=now, expires_at=now + lifetime)


class Tenants:
    """A pool, and tenants with a token each."""

    def __init__(self, tenants: int) -> None:
        self.keys = list(range(1_000, 1_000 + tenants))
        self.clock = Clock()
        self.provider = Instant(self.clock)
        self.pool: ManagerPool[int] = ManagerPool(
            lambda _: self.provider, max_size=None, idle_timeout=None, policy=POLICY, clock=self.clock
        )

    async def fill(self) -> float:
        """Give every tenant its token; return CPU seconds a tenant."""
        before = time.process_time()
        for start in range(0, len(self.keys), FEW):
            await asyncio.gather(*map(self._first_token, self.keys[start : start + FEW]))
        return (time.process_time() - before) / len(self.keys)

    async def _first_token(self, key: int) -> None:
        await (await self.pool.get(key)).token()

    async def renew(self) -> float:
        """Move the clock on until enough tokens were renewed; return CPU seconds a renewal."""
        calls, before = self.provider.calls, time.process_time()
        while self.provider.calls < calls + RENEWALS:
            self.clock.move(SPREAD * FEW / len(self.keys))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            while self.pool._cache.busy:  # noqa: ASYNC110, SLF001 (a turn of the loop is what is measured)
                await asyncio.sleep(0)
        return (time.process_time() - before) / (self.provider.calls - calls)


async def main(many: int, *, lines: bool) -> None:
    few, big, timed = Tenants(FEW), Tenants(many), Tenants(TIMED)
    async with few.pool, big.pool, timed.pool:
        await few.fill()
        spent = await timed.fill()
        gc.collect()
        gc.disable()  # for the time that tracing takes; what it would have freed is freed before the reading
        tracemalloc.start()
        await big.fill()
        gc.enable()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        snapshot = tracemalloc.take_snapshot() if lines else None
        tracemalloc.stop()
        print(f"memory: {taken / many:,.0f} bytes a tenant, of {many:,} in one pool, each with its token")
        print(f"time:   {spent * 1e6:,.0f} µs a tenant, from get() to its first token ({FEW} at once)")
        print(f"tasks:  {len(asyncio.all_tasks()) - 1}, the timers of three pools")
        for line in snapshot.statistics("lineno")[:25] if snapshot else ():
            print(f"        {line.size / many:6.1f} bytes in {line.count / many:4.2f} objects  {line.traceback}")
        for tenants in (few, big):
            tenants.clock.move(LIFETIMES[0] * 0.74)
        rounds = [(await few.renew(), await few.renew(), await big.renew()) for _ in range(ROUNDS)]
        base, again, cost = (statistics.median(each) for each in zip(*rounds[1:], strict=True))
        print(f"renewal among {FEW:>7,}: {base * 1e6:5.1f} µs; the same again: {again / base:4.2f} x")
        print(f"renewal among {many:>7,}: {cost * 1e6:5.1f} µs = {cost / base:4.2f} x")


if __name__ == "__main__":
    asyncio.run(main(next((int(each) for each in sys.argv[1:] if each.isdigit()), MANY), lines="--lines" in sys.argv))
