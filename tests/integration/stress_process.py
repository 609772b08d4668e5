"""Four threads that use one manager, or pool, in every way and on loops that stand still between runs.

``python stress_process.py SEED ROUNDS [--eager]``. It prints what it counted, as JSON: how many fetches began while
another was under way, and what was raised that is not an `AuthError`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import faulthandler
import itertools
import json
import random
import sys
import threading
import time
import traceback
import warnings
from typing import Any, TypeAlias

from asyncauth import AuthError, ManagerPool, RefreshPolicy, Token, TokenManager
from asyncauth.testing import FakeProvider

Opened: TypeAlias = "TokenManager | ManagerPool[str]"

luck = random.Random()  # noqa: S311 (no secret, and seeded by `main`)

THREADS = 4
POLICY = RefreshPolicy(close_grace=0.001, deadline=5.0)


class Watched(FakeProvider):
    """A provider that looks whether it is asked twice at once.

    A fetch on a loop that stands still between two runs can't be ended before that runs again. It counts when it is
    answered after another has begun, rather than being cancelled.
    """

    def __init__(self) -> None:
        super().__init__(lifetime=1000.0)
        self.overlaps = 0
        self.begun = 0
        self._guard = threading.Lock()
        self._waiting: set[asyncio.Future[None]] = set()  # for their answers
        self._superseded: set[asyncio.Future[None]] = set()

    async def fetch(self, http: Any, previous: Token | None) -> Token:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        with self._guard:
            self.begun += 1
            self._superseded |= {each for each in self._waiting if not each.done()}
            self._waiting.add(answered)
        loop.call_later(luck.choice([0.0002, 0.0005, 0.002]), _answer, answered)
        try:
            await answered
            with self._guard:
                self.overlaps += answered in self._superseded
            return await super().fetch(http, previous)
        finally:
            with self._guard:
                self._waiting.discard(answered)
                self._superseded.discard(answered)


def _answer(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)


async def manager_of(opened: Opened) -> TokenManager:
    return opened if isinstance(opened, TokenManager) else await opened.get("a")


class Stress:
    """Everything that the threads share."""

    def __init__(self, seed: int, rounds: int, *, eager: bool) -> None:
        luck.seed(seed)
        self.provider = Watched()
        self.raised: collections.Counter[str] = collections.Counter()
        self._eager = eager
        self._numbers = itertools.count()
        self._rounds = rounds
        self._opened: Opened = (
            TokenManager(self.provider, policy=POLICY)
            if seed % 2
            else ManagerPool(lambda _: self.provider, policy=POLICY)
        )

    def run(self) -> None:
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(self._opened.close())

    def _work(self) -> None:
        while next(self._numbers) < self._rounds:
            loop = asyncio.new_event_loop()
            if self._eager:
                loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
            loop.set_exception_handler(self._unheard)
            for _ in range(luck.randrange(1, 12)):
                next(self._numbers)
                self._once(loop)
                if luck.random() < 0.2:
                    time.sleep(luck.choice([0.0, 0.001, 0.003]))  # it stands still
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            loop.close()

    def _once(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with contextlib.suppress(AuthError):
                loop.run_until_complete(self._use())
        except Exception as error:  # noqa: BLE001 (told)
            self.raised[f"{type(error).__name__}: {error} {traceback.extract_tb(error.__traceback__)[-1]}"] += 1

    async def _use(self) -> None:
        opened = self._opened
        match luck.choice([0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5]):
            case 0:
                async with opened:
                    await (await manager_of(opened)).token()
            case 1:
                async with opened:
                    await (await manager_of(opened)).refresh()
            case 2:
                await (await manager_of(opened)).refresh()
            case 3:
                await opened.close()
            case 4:
                manager = await manager_of(opened)
                if (current := manager.current) is not None:
                    manager.invalidate(current)
                await manager.token()
            case _:  # its refresh is still under way when the loop stands still
                manager = await manager_of(opened)
                caller = asyncio.ensure_future(manager.refresh())
                caller.add_done_callback(self._heard)
                for _ in range(luck.randrange(6)):
                    await asyncio.sleep(0)

    def _heard(self, caller: asyncio.Future[Token]) -> None:
        error = None if caller.cancelled() else caller.exception()
        if error is not None and not isinstance(error, AuthError):
            self.raised[f"{type(error).__name__}: {error}"] += 1

    def _unheard(self, _: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, AuthError):
            return
        told = f"{context['message']}: {error!r}"
        if error is not None:
            told += f" {traceback.extract_tb(error.__traceback__)[-1:]}"
        self.raised[told] += 1


def main(seed: int, rounds: int, *, eager: bool) -> None:
    warnings.simplefilter("ignore", ResourceWarning)  # of a session on a loop that ended while it stood still
    stress = Stress(seed, rounds, eager=eager)
    stress.run()
    provider = stress.provider
    json.dump({"overlaps": provider.overlaps, "fetches": provider.begun, "raised": dict(stress.raised)}, sys.stdout)


if __name__ == "__main__":
    rounds = int(sys.argv[2])
    faulthandler.dump_traceback_later(100 + rounds / 100, exit=True)
    main(int(sys.argv[1]), rounds, eager="--eager" in sys.argv)
