"""A process whose refreshes are interrupted by signals at random moments; it ends well if it is usable afterwards.

``python interrupted_process.py SEED ROUNDS``. Half of the signals raise `KeyboardInterrupt`, as Ctrl-C does in a
notebook, half an exception of the program's own, as a worker's time limit does.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import random
import signal
import sys
from types import FrameType
from typing import Any, TypeAlias

from asyncauth import AuthError, ManagerPool, RefreshPolicy, TokenEndpointUnavailable, TokenManager
from asyncauth.testing import FakeProvider

Opened: TypeAlias = "TokenManager | ManagerPool[str]"

luck = random.Random()  # noqa: S311 (no secret, and seeded by `main`)

LONGEST = 0.002
"""Seconds until a signal: about what a round takes."""
PATIENCE = 20.0
"""Seconds within which the manager must serve again: its deadline, and what it gives a flight that does not end."""
POLICY = RefreshPolicy(deadline=1.0, close_grace=0.01)


class OutOfTime(BaseException):
    """A job's time limit is over."""


class Alarm:
    """What the signal does, while it is armed."""

    armed = False


def interrupt(*_: int | FrameType | None) -> None:
    if Alarm.armed:
        raise luck.choice([KeyboardInterrupt, OutOfTime])


async def manager_of(opened: Opened) -> TokenManager:
    return opened if isinstance(opened, TokenManager) else await opened.get("a")


async def work(opened: Opened, *, closes: bool) -> None:
    """Use it, in one of the ways it is used."""
    match luck.randrange(4 if closes else 2):
        case 0:
            manager = await manager_of(opened)
            await asyncio.gather(*(manager.refresh() for _ in range(3)))
        case 1:
            manager = await manager_of(opened)
            manager.invalidate(await manager.token())
            await manager.token()
        case 2:
            async with opened:
                await (await manager_of(opened)).refresh()
        case _:
            await opened.close()
            async with opened:
                await (await manager_of(opened)).token()


def interrupted(loop: asyncio.AbstractEventLoop, opened: Opened, *, closes: bool) -> None:
    """Use it once, for as long as no signal comes."""
    task = loop.create_task(work(opened, closes=closes))
    try:
        Alarm.armed = True
        # Again after a while: the first may have come where nothing can be raised, or have cost asyncio a callback.
        signal.setitimer(signal.ITIMER_REAL, luck.uniform(0.00001, LONGEST), 0.2)
        loop.run_until_complete(task)
        Alarm.armed = False
    except (KeyboardInterrupt, OutOfTime, asyncio.CancelledError, AuthError, RuntimeError):
        Alarm.armed = False


async def serves(opened: Opened, *, closes: bool) -> None:
    """Fail unless it brings a token.

    An interruption may cost asyncio a callback, for which a refresh waits until its deadline. Callers that join it get
    an error, until it is given up; then they are served.
    """
    async with asyncio.timeout(PATIENCE):
        if closes:
            await opened.__aenter__()
        with contextlib.suppress(TokenEndpointUnavailable):
            await (await manager_of(opened)).refresh()
        while True:
            with contextlib.suppress(TokenEndpointUnavailable):
                await (await manager_of(opened)).token()
                break
        if closes:
            await opened.close()


def quiet(_: object, context: dict[str, Any]) -> None:
    """Say nothing of the tasks that were interrupted."""


def still_works(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether asyncio itself has survived: an interruption between two of its lines may end a loop."""
    for _ in range(5):  # what ended earlier runs may still be to be heard
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0.001), 1))
            return True
    return False


def main(seed: int, rounds: int) -> None:
    luck.seed(seed)
    provider = FakeProvider(latency=0.0005)
    opened: Opened = (
        TokenManager(provider, policy=POLICY) if seed % 2 else ManagerPool(lambda _: provider, policy=POLICY)
    )
    closes = seed % 4 > 1  # which would end what an interruption has left
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(quiet)
    signal.signal(signal.SIGALRM, interrupt)
    for _ in range(rounds):
        try:  # no suppress(), which is a function that can be interrupted
            interrupted(loop, opened, closes=closes)
        except (KeyboardInterrupt, OutOfTime):  # one that came just when it had ended
            Alarm.armed = False
        if luck.random() < 0.1 or not still_works(loop):
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(quiet)
    signal.setitimer(signal.ITIMER_REAL, 0)
    asyncio._set_running_loop(None)  # noqa: SLF001 (which an interruption may have kept asyncio from doing)
    for task in asyncio.all_tasks(loop):  # one of them may be about to close it
        task.cancel()
    before = provider.calls
    if still_works(loop):
        loop.run_until_complete(serves(opened, closes=closes))
    asyncio.run(serves(opened, closes=closes))
    # Those who were interrupted may still ask for theirs on the first loop.
    assert provider.calls - before <= 20, f"{provider.calls - before} requests for a few tokens"
    sys.stdout.write("usable\n")


if __name__ == "__main__":
    faulthandler.dump_traceback_later(45)
    main(int(sys.argv[1]), int(sys.argv[2]))
