"""Attacks by a token endpoint, or by someone between it and the client: answers, bytes, connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Iterator
from typing import Any

import fuzz_checks as check
import hostile
from attack_kit import Try, attack, awaited, samples
from contract_kit import serving
from harness.canary import MARK
from test_fuzz_wire import Server
from wire_kit import FRAMINGS, Spoil, every, wire_to

from asyncauth import AuthError, Peakly, RefreshPolicy, TokenManager


@attack("hostile token answers")
def answers(luck: random.Random, scale: int) -> Iterator[Try]:
    """Every provider makes a usable token or an honest error of each."""
    for answer in samples(hostile.answers, 20 * scale, luck):
        yield f"{answer.status} {answer.body[:60]!r}", functools.partial(check.answer, answer)
    for body in (*samples(hostile.members(), 20 * scale, luck), *hostile.HUGE[:: 1 if scale > 1 else 5]):
        yield f"{body[:60]!r}", functools.partial(check.body, body)


@attack("dates, waits, JWTs and challenges")
def texts(luck: random.Random, scale: int) -> Iterator[Try]:
    """Each is a finite number, a plain yes or no, or an honest error."""
    readers: tuple[tuple[Any, Any], ...] = (
        (hostile.all_dates | hostile.retry_afters, check.date),
        (hostile.jwts, check.jwt),
        (hostile.challenges, check.challenges),
    )
    for strategy, read in readers:
        for text in samples(strategy, 30 * scale, luck):
            yield f"{text[:60]!r}", functools.partial(read, text)


@attack("hostile bytes on the wire")
def wires(luck: random.Random, scale: int) -> Iterator[Try]:
    """There is an end to each, and nothing is waited for."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as left:  # also left if the time is over before the tries
        server = Server(runner)
        listening = runner.run(server.start())
        left.callback(lambda: runner.run(listening.wait_closed()))
        left.callback(listening.close)
        for raw in (*samples(hostile.all_wires, 20 * scale, luck), *hostile.HOSTILE_WIRES[:: 1 if scale > 1 else 5]):

            def send(raw: bytes = raw) -> None:
                runner.run(server.check(raw))

            yield f"{raw[:60]!r}", send


@attack("connections that break")
def breaks(luck: random.Random, scale: int) -> Iterator[Try]:
    """A caller gets an honest error, and a token as soon as the connection holds."""
    policy = RefreshPolicy(deadline=0.3, backoff=0.02, backoff_limit=0.02)
    ways = [
        *every(("accept", "request", "headers", "body"), ("reset", "close", "garbage", "hang")),
        *map(Spoil, FRAMINGS),
    ]
    for spoil in luck.sample(ways, min(len(ways), 3 * scale)):
        yield str(spoil), lambda spoil=spoil: awaited(_broken(spoil, policy))  # type: ignore[misc]


async def _broken(spoil: Spoil, policy: RefreshPolicy) -> None:
    with serving() as side:
        async with wire_to(side.server.port) as wire:
            url, password = f"http://127.0.0.1:{wire.port}", side.server.settings.password
            manager = TokenManager(Peakly(username="demo", password=password, base_url=url), policy=policy)
            wire.spoil(spoil, for_ever=True)
            for _ in range(2):
                try:
                    await manager.token()
                except AuthError as error:
                    assert MARK not in f"{error!s}{error!r}"
                else:
                    raise AssertionError("a token came out of a broken answer")
            wire.spoil()
            manager = TokenManager(
                Peakly(username=side.sandbox.username, password=password, base_url=url), policy=RefreshPolicy()
            )
            assert (await manager.token()).value
