"""Thousands of lifetimes of 50 ms under load, with faults at random: no request fails that need not, nothing grows.

    make soak                     a few minutes
    make soak ARGS="--seed 7"     the same faults again, in the same order

Four managers (two of them with one Redis between them, one with Pago Fácil's chain) serve callers on one event loop
after another, each of which ends in the middle of things. Meanwhile the token endpoint fails, hangs, breaks off,
answers nonsense and is gone for longer than a refresh may take; tokens are revoked, the API refuses, connections are
aborted, Redis is killed and started again, callers are cancelled.

A request may fail only where the contract says so; see `Soak._excuse`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
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


def measured() -> Measure:
    gc.collect()
    descriptors = Path("/proc/self/fd")
    sockets = 0
    for each in descriptors.iterdir():
        with contextlib.suppress(OSError):
            sockets += str(each.readlink()).startswith("socket:")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Measure(len(gc.get_objects()), pages * 4096, threading.active_count(), sockets)


@attrs.define(eq=False)
class Soak:
    """A run, and what became of it.

    Attributes:
        outcomes: How many requests ended in which way.
        unexcused: Those that the contract does not allow.
        measures: After each loop.
        left: Tasks that were there when a loop had closed all that it had opened.
    """

    sandbox: Sandbox
    redis: RedisServer
    luck: random.Random
    managers: list[TokenManager] = attrs.field(factory=list)
    mishaps: list[Mishap] = attrs.field(factory=list)
    happened: Counter[str] = attrs.field(factory=Counter)
    outcomes: Counter[str] = attrs.field(factory=Counter)
    unexcused: list[str] = attrs.field(factory=list)
    measures: list[Measure] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        peakly, pago = self.sandbox.peakly, self.sandbox.pago_facil
        peakly.configure(lifetime=LIFETIME, refresh_tokens=True, truncate_expires_in=False)
        pago.configure(login_lifetime=2.0, create_token_lifetime=2.0, login_token_lifetime=LIFETIME)
        account: dict[str, Any] = {"username": self.sandbox.username, "password": self.sandbox.password}
        store = RedisStore(self.redis.url)
        for mine in (None, store, store):
            self.managers.append(TokenManager(Peakly(**account, base_url=peakly.url), store=mine, policy=POLICY))
        chain = PagoFacilJWT.from_password(**account, base_url=pago.url)
        self.managers.append(TokenManager(chain, policy=POLICY))

    @property
    def lifetimes(self) -> int:
        return sum(system.counts.tokens_issued for system in self.sandbox.systems.values())

    def run(self, seconds: float) -> None:
        """Run one event loop after another, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asyncio.run(self._loop(min(self.luck.uniform(1.0, 4.0), max(1.0, end - time.monotonic()))))
            self.measures.append(measured())
        asyncio.run(self._close())

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
            await asyncio.sleep(seconds)
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
        self._mend()

    def _mend(self) -> None:
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
        No token: the endpoint was gone for longer than a refresh may take; or it answered what can't be read, which is
        told at once, or with a token that had ended before it was there. An endpoint that fails for a while, hangs
        once or breaks off excuses nothing, nor does Redis.
        A broken connection: the API's was aborted.
        """
        kinds = {each.kind for each in self.mishaps if each.touches(start - 0.2, end)}
        if isinstance(outcome, int):
            return outcome == 401 and (bool(kinds & {"revocation", "forbidden"}) or end - start > MARGIN)
        if isinstance(outcome, InvalidTokenResponse):
            return "nonsense" in kinds or "spent on arrival" in str(outcome)
        if isinstance(outcome, TokenEndpointUnavailable):
            return "outage" in kinds
        return not isinstance(outcome, AuthError) and "abort" in kinds

    async def _trouble(self) -> None:
        while True:
            await asyncio.sleep(self.luck.uniform(0.05, 0.4))
            kind = self.luck.choice(sorted(_TROUBLE))
            self.happened[kind] += 1
            self.mishaps[:] = [each for each in self.mishaps if not each.end or each.end[0] > time.monotonic() - 60]
            mishap = Mishap(kind, time.monotonic())
            self.mishaps.append(mishap)
            async with contextlib.aclosing(_TROUBLE[kind](self)) as work:
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


Trouble = Callable[[Soak], AsyncGenerator[None]]


def _failing(plan: Callable[[Any], None], most: float = 0.4) -> Trouble:
    async def work(soak: Soak) -> AsyncGenerator[None]:
        systems = soak.sandbox.systems.values()
        for system in systems:
            plan(system.token_faults)
        await asyncio.sleep(soak.luck.uniform(0.02, most))
        for system in systems:
            system.token_faults.clear()
        yield

    return work


async def _outage(soak: Soak) -> AsyncGenerator[None]:
    for system in soak.sandbox.systems.values():
        system.token_faults.server_error()
    await asyncio.sleep(POLICY.deadline + 0.5 if soak.luck.random() < 0.2 else 0.5)
    soak._mend()
    yield


async def _revocation(soak: Soak) -> AsyncGenerator[None]:
    step = soak.luck.choice(["access_token", None])
    soak.sandbox.peakly.revoke(step)
    soak.sandbox.pago_facil.revoke("loginToken" if step else None)
    yield


async def _forbidden(soak: Soak) -> AsyncGenerator[None]:
    for system in soak.sandbox.systems.values():
        system.api_faults.unauthorized(times=soak.luck.randrange(1, 6))
    await asyncio.sleep(0.1)
    for system in soak.sandbox.systems.values():
        system.api_faults.clear()
    yield


async def _abort(soak: Soak) -> AsyncGenerator[None]:
    for system in soak.sandbox.systems.values():
        system.abort_connections()
    await asyncio.sleep(0.05)
    yield


async def _redis(soak: Soak) -> AsyncGenerator[None]:
    await asyncio.to_thread(soak.redis.kill)
    try:
        await asyncio.sleep(soak.luck.uniform(0.0, 0.5))
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
    "outage": _outage,
    "redis": _redis,
    "reset": _failing(lambda plan: plan.disconnect()),
    "revocation": _revocation,
    "slow": _failing(lambda plan: plan.slow_drip(0.02, times=2)),
    "too many": _failing(lambda plan: plan.too_many_requests(0)),
}


def soak(seconds: float, seed: int) -> Soak:
    """Run for so long, with the faults that the seed gives."""
    with sandbox_in_thread(**CANARIES) as sandbox, redis_server() as redis:
        run = Soak(sandbox, redis, random.Random(seed))  # noqa: S311 (a seed that can be given again)
        run.run(seconds)
    return run


def grown(values: list[int]) -> float:
    """Return by how much the last third is above the second, as a fraction: the first is for caches to fill."""
    third = len(values) // 3
    before, after = sorted(values[third : 2 * third]), sorted(values[2 * third :])
    return after[len(after) // 2] / before[len(before) // 2] - 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the soak.")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    logging.getLogger("asyncauth").setLevel(logging.CRITICAL)  # it tells of each trouble: that is no news here
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    run = soak(given.seconds, given.seed)
    first, last = run.measures[0], run.measures[-1]
    enough = len(run.measures) >= 9
    objects, resident = (
        (grown([each.objects for each in run.measures]), grown([each.resident for each in run.measures]))
        if enough
        else (0.0, 0.0)
    )
    lines = [
        f"{run.lifetimes} tokens of {LIFETIME * 1000:.0f} ms, on {len(run.measures)} event loops",
        f"requests: {dict(run.outcomes)}",
        f"troubles: {dict(sorted(run.happened.items()))}",
        f"failed without an excuse: {len(run.unexcused)}",
        *run.unexcused[:20],
        f"first loop: {first}",
        f"last loop:  {last}",
        f"last third above the second: objects {objects:+.2%}, resident memory {resident:+.2%}",
        f"tasks left: {run.left}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    flat = objects < 0.02 and last.threads <= first.threads and last.sockets <= first.sockets
    return 0 if flat and not run.unexcused and not run.left else 1


if __name__ == "__main__":
    sys.exit(main())
