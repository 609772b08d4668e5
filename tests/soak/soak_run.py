"""Thousands of lifetimes of 50 ms under load, with faults at random: no request fails that need not, nothing grows.

    make soak                     a few minutes
    make soak ARGS="--seed 7"     the same faults again, in the same order; when they strike is up to the machine
    make soak ARGS="--seconds 30" a shorter one: growth is judged roughly alone
    make soak ARGS="--fleet"      several managers that share a Redis instead, see soak_fleet.py

Four managers serve callers on one event loop after another: two share a Redis, and one has Pago Fácil's chain. Each
loop ends in the middle of their work. Meanwhile the token endpoint fails, hangs, breaks off, answers nonsense and
disappears, sometimes for longer than a refresh may take. Tokens are revoked, the API refuses them, connections are
aborted, Redis is killed and started again, and callers are cancelled.

A request may fail only where the contract says so; see `Soak._excuse`. What a slow machine is the excuse for may be a
part of all requests only; see `Soak.late`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import soak_fleet
from harness.canary import CANARIES
from redis_kit import RedisServer, redis_server

from asyncauth import (
    AuthError,
    BearerAuth,
    InvalidTokenResponse,
    PagoFacilJWT,
    Peakly,
    RefreshPolicy,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.sandbox import Sandbox, sandbox_in_thread
from asyncauth.stores import RedisStore

LIFETIME = 0.05
MARGIN = LIFETIME / 10
"""How long before its end a token counts as spent: a request that takes longer may come too late with it."""
POLICY = RefreshPolicy(deadline=6.0, backoff=0.02, backoff_limit=0.1, close_grace=0.1)
CALLERS = 3
"""A manager."""
ENOUGH = 9
"""Event loops, of which the last third can be compared with the second."""
ROUGHLY = 0.3
"""By what part there may be more after the last loop than after the first: some of a run is still going on there."""
LATE = 0.1
"""The part of all requests that may fail because the machine was slow."""
CLOSING = 2.0
"""Seconds that the sandbox, in its own thread, may take to close its ends of connections that are gone."""


@attrs.frozen
class Mishap:
    """Something that went wrong, and when (monotonic seconds); it goes on until ``end`` is known."""

    kind: str
    start: float
    end: list[float] = attrs.field(factory=list)

    def touches(self, start: float, end: float) -> bool:
        return self.start <= end and (not self.end or start <= self.end[0])


@attrs.frozen
class Measure:
    """What there is when a loop has ended."""

    objects: int
    resident: int
    threads: int
    sockets: int


def open_sockets() -> int:
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(each.readlink()).startswith("socket:")
    return found


def measured(first: Measure | None = None) -> Measure:
    """Measure; if there are more sockets than there were first, count them again until those that close have."""
    gc.collect()
    sockets, until = open_sockets(), time.monotonic() + CLOSING
    while first is not None and sockets > first.sockets and time.monotonic() < until:
        time.sleep(0.01)
        sockets = open_sockets()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    objects = len(gc.get_objects()) + gc.get_freeze_count()  # under pytest, what is older than the test is frozen
    return Measure(objects, pages * 4096, threading.active_count(), sockets)


@attrs.define(eq=False)
class Soak:
    """A run, and what became of it.

    Attributes:
        outcomes: How many requests ended in which way.
        troubled: The faults, in order.
        slow: How many were excused by the machine's slowness alone: a 401 to a request that took longer than its
            token had left, and answers that came later than their tokens live, until the deadline.
        unexcused: Those that the contract does not allow.
        measures: After each loop.
        left: Tasks that were there when a loop had closed all that it had opened.
    """

    sandbox: Sandbox
    redis: RedisServer
    luck: random.Random
    troubles: Iterator[tuple[str, random.Random]]
    store: RedisStore = attrs.field(init=False)
    managers: list[TokenManager] = attrs.field(factory=list)
    mishaps: list[Mishap] = attrs.field(factory=list)
    troubled: list[str] = attrs.field(factory=list)
    outcomes: Counter[str] = attrs.field(factory=Counter)
    slow: int = 0
    unexcused: list[str] = attrs.field(factory=list)
    measures: list[Measure] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)
    until: float = 0.0

    def __attrs_post_init__(self) -> None:
        peakly, pago = self.sandbox.peakly, self.sandbox.pago_facil
        peakly.configure(lifetime=LIFETIME, refresh_tokens=True, truncate_expires_in=False)
        pago.configure(login_lifetime=2.0, create_token_lifetime=2.0, login_token_lifetime=LIFETIME)
        account: dict[str, Any] = {"username": self.sandbox.username, "password": self.sandbox.password}
        self.store = RedisStore(self.redis.url)
        for mine in (None, self.store, self.store):
            self.managers.append(TokenManager(Peakly(**account, base_url=peakly.url), store=mine, policy=POLICY))
        chain = PagoFacilJWT.from_password(**account, base_url=pago.url)
        self.managers.append(TokenManager(chain, policy=POLICY))

    @property
    def lifetimes(self) -> int:
        return sum(system.counts.tokens_issued for system in self.sandbox.systems.values())

    @property
    def late(self) -> float:
        """The part of all requests that only the machine's slowness excuses."""
        return self.slow / max(1, self.outcomes.total())

    def run(self, seconds: float, least: int) -> None:
        """Run one event loop after another, for so long; see `soak`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or (not self.unexcused and min(self.outcomes["200"], self.lifetimes) <= least):
            asyncio.run(self._loop(min(self.luck.uniform(1.0, 4.0), max(1.0, end - time.monotonic()))))
            asyncio.run(self._use_store())
            self.measures.append(measured(*self.measures[:1]))
        asyncio.run(self._close())

    async def _use_store(self) -> None:
        """Have the store let go of the connections of a loop that ended in the middle: it does when it is next used."""
        async with self.store:
            pass

    async def _close(self) -> None:
        for manager in self.managers:
            await manager.close()
        self.left += [repr(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    async def _loop(self, seconds: float) -> None:
        async with contextlib.AsyncExitStack() as stack:
            tasks: list[asyncio.Task[Any]] = []
            for number, manager in enumerate(self.managers):
                if number % 2 == 0:  # the others are never entered, and have nothing to close
                    await stack.enter_async_context(manager)
                http = await stack.enter_async_context(aiohttp.ClientSession(middlewares=(BearerAuth(manager),)))
                server = self.sandbox.pago_facil if number == 3 else self.sandbox.peakly
                tasks += [asyncio.create_task(self._call(http, f"{server.url}/api/echo")) for _ in range(CALLERS)]
                tasks.append(asyncio.create_task(self._hurry(manager)))
            tasks.append(asyncio.create_task(self._trouble()))
            self.until = time.monotonic() + seconds
            while (rest := self.until - time.monotonic()) > 0:  # noqa: ASYNC110 (an outage puts it off)
                await asyncio.sleep(rest)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for mishap in self.mishaps:
                if not mishap.end:
                    mishap.end.append(time.monotonic() + POLICY.deadline)
            if self.luck.random() < 0.5:  # this loop ends while a refresh is under way
                unawaited = [asyncio.create_task(manager.refresh()) for manager in self.managers]
                await asyncio.sleep(0)
                for task in unawaited:
                    task.cancel()
        self.mend()

    def mend(self) -> None:
        for system in self.sandbox.systems.values():
            system.token_faults.clear()
            system.api_faults.clear()
            system.accept_connections()

    async def _call(self, http: aiohttp.ClientSession, url: str) -> None:
        while True:
            start = time.monotonic()
            outcome: BaseException | int
            try:
                async with http.get(url) as response:
                    await response.read()
                    outcome = response.status
            except (aiohttp.ClientError, OSError) as error:
                outcome = error
            self._note(outcome, start, time.monotonic())
            await asyncio.sleep(0.002)

    async def _hurry(self, manager: TokenManager) -> None:
        """Be a caller that gives up, again and again."""
        while True:
            with contextlib.suppress(TimeoutError, AuthError):
                # No wait_for: up to Python 3.11 it may swallow the cancellation that ends this task.
                async with asyncio.timeout(self.luck.uniform(0.0, 0.02)):
                    await manager.token()
            await asyncio.sleep(self.luck.uniform(0.0, 0.05))

    def _note(self, outcome: BaseException | int, start: float, end: float) -> None:
        name = str(outcome) if isinstance(outcome, int) else type(outcome).__name__
        self.outcomes[name] += 1
        if outcome != 200 and not self._excuse(outcome, start, end):
            near = [each.kind for each in self.mishaps if each.touches(start - 1, end)]
            self.unexcused.append(f"{name} ({outcome}) after {end - start:.3f} s; shortly before: {near}")

    def _excuse(self, outcome: BaseException | int, start: float, end: float) -> bool:
        """Whether the contract allows a request to fail so.

        A 401: the token was revoked, or the API refuses all; or the request took longer than the token had left.
        No token: the endpoint was gone for longer than a refresh may take. Or its answer could not be read, which is
        reported at once. Or it sent a token that had already expired. An endpoint that fails for less than a
        refresh may take, hangs once or breaks off excuses nothing, nor does Redis.
        A broken connection: the API's was aborted.

        A fault excuses until each manager has had a token again; one that a loop's end cuts off, for a deadline more.
        """
        kinds = {each.kind for each in self.mishaps if each.touches(start - 0.2, end)}
        if isinstance(outcome, TokenEndpointUnavailable):
            took = re.search(r"the answer came too late: .* the answer took (\S+) s", str(outcome))
            excused, slow = "long outage" in kinds, took is not None and float(took[1]) >= LIFETIME - 2 * MARGIN
        elif isinstance(outcome, InvalidTokenResponse):
            excused, slow = "nonsense" in kinds, False
        elif isinstance(outcome, int):
            excused = outcome == 401 and bool(kinds & {"revocation", "forbidden"})
            slow = outcome == 401 and end - start > MARGIN
        else:
            return not isinstance(outcome, AuthError) and "abort" in kinds
        self.slow += slow and not excused
        return excused or slow

    async def _trouble(self) -> None:
        while True:
            await asyncio.sleep(self.luck.uniform(0.05, 0.4))
            kind, luck = next(self.troubles)
            self.troubled.append(kind)
            self.mishaps[:] = [each for each in self.mishaps if not each.end or each.end[0] > time.monotonic() - 60]
            mishap = Mishap(kind, time.monotonic())
            self.mishaps.append(mishap)
            async with contextlib.aclosing(_TROUBLE[kind](self, luck)) as work:
                async for _ in work:
                    pass
            # What it did is over when each manager has had a token again.
            await asyncio.gather(*(self._served(manager) for manager in self.managers))
            mishap.end.append(time.monotonic())

    async def _served(self, manager: TokenManager) -> None:
        while True:
            with contextlib.suppress(AuthError):
                await manager.refresh()
                return
            await asyncio.sleep(0.05)


Trouble = Callable[[Soak, random.Random], AsyncGenerator[None]]


def _failing(plan: Callable[[Any], None], most: float = 0.4) -> Trouble:
    async def work(soak: Soak, luck: random.Random) -> AsyncGenerator[None]:
        systems = soak.sandbox.systems.values()
        for system in systems:
            plan(system.token_faults)
        await asyncio.sleep(luck.uniform(0.02, most))
        for system in systems:
            system.token_faults.clear()
        yield

    return work


def _outage(seconds: float) -> Trouble:
    async def work(soak: Soak, _: random.Random) -> AsyncGenerator[None]:
        soak.until = max(soak.until, time.monotonic() + seconds)  # no longer, or outages could go on for ever
        for system in soak.sandbox.systems.values():
            system.token_faults.server_error()
        await asyncio.sleep(seconds)
        soak.mend()
        yield

    return work


async def _revocation(soak: Soak, luck: random.Random) -> AsyncGenerator[None]:
    step = luck.choice(["access_token", None])
    soak.sandbox.peakly.revoke(step)
    soak.sandbox.pago_facil.revoke("loginToken" if step else None)
    yield


async def _forbidden(soak: Soak, luck: random.Random) -> AsyncGenerator[None]:
    for system in soak.sandbox.systems.values():
        system.api_faults.unauthorized(times=luck.randrange(1, 6))
    await asyncio.sleep(0.1)
    for system in soak.sandbox.systems.values():
        system.api_faults.clear()
    yield


async def _abort(soak: Soak, _: random.Random) -> AsyncGenerator[None]:
    for system in soak.sandbox.systems.values():
        system.abort_connections()
    await asyncio.sleep(0.05)
    yield


async def _redis(soak: Soak, luck: random.Random) -> AsyncGenerator[None]:
    await asyncio.to_thread(soak.redis.kill)
    try:
        await asyncio.sleep(luck.uniform(0.0, 0.5))
        yield
    finally:
        await asyncio.to_thread(soak.redis.start)


_TROUBLE: dict[str, Trouble] = {
    "abort": _abort,
    "broken off": _failing(lambda plan: plan.reset()),
    "errors": _failing(lambda plan: plan.server_error()),
    "forbidden": _forbidden,
    "hang": _failing(lambda plan: plan.hang(times=1)),
    "hang after it took effect": _failing(lambda plan: plan.hang(times=1, processed=True)),
    "nonsense": _failing(lambda plan: plan.malformed()),
    "long outage": _outage(POLICY.deadline + 0.5),
    "outage": _outage(0.5),
    "redis": _redis,
    "reset": _failing(lambda plan: plan.disconnect()),
    "revocation": _revocation,
    "slow": _failing(lambda plan: plan.slow_drip(0.02, times=2)),
    "too many": _failing(lambda plan: plan.too_many_requests(0)),
}


def troubles(seed: int) -> Iterator[tuple[str, random.Random]]:
    """Yield faults, each with luck of its own: nobody else draws from it, so the order is the seed's alone."""
    luck = random.Random(seed)  # noqa: S311 (a seed that can be given again)
    kinds = sorted(_TROUBLE)
    weights = [1 if kind == "long outage" else 5 for kind in kinds]
    while True:
        own = random.Random(luck.random())  # noqa: S311 (the same)
        yield own.choices(kinds, weights)[0], own


def soak(seconds: float, seed: int, least: int = 0) -> Soak:
    """Run with the faults that the seed gives, for so long.

    A busy machine gets the time that it needs for more than ``least`` requests with a 200, and as many lifetimes.
    """
    with sandbox_in_thread(**CANARIES) as sandbox, redis_server() as redis:
        run = Soak(sandbox, redis, random.Random(seed), troubles(seed))  # noqa: S311 (the same)
        run.run(seconds, least)
    return run


def grown(values: list[int]) -> float:
    """Return by how much the last third is above the second, as a fraction: the first is for caches to fill."""
    third = len(values) // 3
    before, after = sorted(values[third : 2 * third]), sorted(values[2 * third :])
    return after[len(after) // 2] / before[len(before) // 2] - 1


def growth(measures: list[Measure]) -> list[str]:
    """Return what grew: roughly, from the first loop to the last; and, where there are enough loops, at all."""
    found = []
    # The sandbox, which is in this process, keeps what it has issued, and the allocator does not give all pages back.
    for name, little in (("objects", 0.02), ("resident", 0.15)):
        values = [getattr(each, name) for each in measures]
        if values[-1] > values[0] * (1 + ROUGHLY):
            found.append(f"{name}: {values[0]} after the first loop, {values[-1]} after the last")
        if len(values) >= ENOUGH and grown(values) > little:
            found.append(f"{name}: the last third is {grown(values):.2%} above the second")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the soak.")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--fleet", action="store_true")
    given = parser.parse_args()
    logging.getLogger("asyncauth").setLevel(logging.CRITICAL)  # it would report each fault that this run injects
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    if given.fleet:
        return soak_fleet.main(given.seconds, given.seed)
    run = soak(given.seconds, given.seed)
    first, last, loops = run.measures[0], run.measures[-1], len(run.measures)
    grew = growth(run.measures)
    lines = [
        f"{run.lifetimes} tokens of {LIFETIME * 1000:.0f} ms, on {loops} event loops",
        f"requests: {dict(run.outcomes)}",
        f"troubles: {dict(sorted(Counter(run.troubled).items()))}",
        f"failed because the machine was slow: {run.late:.2%} (at most {LATE:.0%})",
        f"failed without an excuse: {len(run.unexcused)}",
        *run.unexcused[:20],
        f"first loop: {first}",
        f"last loop:  {last}",
        f"grew: {grew or 'nothing'}",
        *([f"slow growth: not judged, it takes {ENOUGH} loops"] if loops < ENOUGH else []),
        f"tasks left: {run.left}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    flat = not grew and last.threads <= first.threads and last.sockets <= first.sockets
    return 0 if flat and run.late <= LATE and not run.unexcused and not run.left else 1


if __name__ == "__main__":
    sys.exit(main())
