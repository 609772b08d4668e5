"""Attacks in time: callers that are cancelled at any step, and a server that wants to be polled without end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import math
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
from attack_kit import Try, attack, awaited
from fuzz_checks import Canned, driven
from harness.canary import secret
from hostile import Answer

from asyncauth import AuthError, DeviceCode, RefreshPolicy, TokenManager
from asyncauth._core.try_state import TryState, set_try
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeProvider


@attack("cancellation at each step")
def cancelled(luck: random.Random, scale: int) -> Iterator[Try]:
    """The next caller has a token, nobody hangs, and one fetch is enough."""
    for store in (False, True):
        for what in ("token", "refresh", "headers", "close"):
            for step in range(0, 40, 8 if scale == 1 else 1):
                yield f"{what} at step {step}", lambda way=(what, step, store): awaited(_cancelled(*way))  # type: ignore[misc]


async def _cancelled(what: str, step: int, store: bool) -> None:  # noqa: FBT001 (a try's parameters)
    provider = FakeProvider(latency=0.001)
    provider.identity = "attacked"
    manager = TokenManager(provider, store=MemoryStore() if store else None, policy=RefreshPolicy(close_grace=0.05))
    async with manager:
        others = [asyncio.create_task(manager.token()) for _ in range(3)]
        victim = asyncio.create_task(getattr(manager, what)())
        for _ in range(step):
            await asyncio.sleep(0)
        victim.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await victim
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        if what == "close":
            await manager.close()
            await manager.__aenter__()
        else:
            assert not [each for each in outcomes if isinstance(each, BaseException)]
        assert (await manager.token()).value
        assert provider.calls <= 3


class _Enough(BaseException):
    """So many polls are enough to see how far apart they are."""


class _Polled:
    """A clock that notes how long each poll was waited for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
        if len(self.naps) >= 20:
            raise _Enough


@attrs.define
class _Server:
    """Starts a device authorization, and says "not yet" from then on."""

    started: Answer
    pending: Answer
    asked: int = 0
    trust_env: bool = False

    @contextlib.asynccontextmanager
    async def request(self, *_: object, **__: object) -> AsyncIterator[Any]:
        self.asked += 1
        async with Canned(self.started if self.asked == 1 else self.pending).request() as response:
            yield response


_INTERVALS = ("1e-9", "0.5", "0", "-1", "1e308", "1e999", "NaN", '"0.001"', '"x"', "null", "true", "[]", "5", "86400")
_LIVES = ("600", "1e-9", "0", "-1", "1e308", "1e999", "null", '"60"')


@attack("device polls without a pause, or without an end")
def polls(luck: random.Random, scale: int) -> Iterator[Try]:
    """Polls are a second apart at least, and each wait ends with the code at the latest."""
    for interval in _INTERVALS:
        for life in _LIVES:
            for status, error in ((400, "authorization_pending"), (400, "slow_down"), (503, "server_error")):
                act = functools.partial(_polled, interval, life, status, error)
                yield f"interval {interval}, expires_in {life}, {error}", act


def _polled(interval: str, life: str, status: int, error: str) -> None:
    started = (
        f'{{"device_code": "dc", "user_code": "u", "verification_uri": "https://a.example",'
        f' "interval": {interval}, "expires_in": {life}}}'
    )
    server = _Server(Answer(200, (), started.encode()), Answer(status, (), f'{{"error": "{error}"}}'.encode()))
    clock = _Polled()
    provider = DeviceCode(
        token_url="https://a.example/t", device_authorization_url="https://a.example/d", client_id="cli",
        client_secret=secret("client"), show=lambda _: None,
    )  # fmt: skip

    def ask() -> None:
        set_try(TryState(clock))
        with contextlib.suppress(AuthError, _Enough):
            driven(provider.fetch(server, None))  # type: ignore[arg-type]

    contextvars.copy_context().run(ask)
    lives = _seconds(life)
    assert all(nap >= 1.0 for nap in clock.naps), clock.naps
    assert all(nap <= max(1.0, lives) for nap in clock.naps), clock.naps


def _seconds(text: str) -> float:
    try:
        number = float(text.strip('"'))
    except ValueError:
        return 600.0
    return number if math.isfinite(number) and number > 0 else 600.0
