"""An exception out of nowhere, at each function that a call enters: the manager is usable afterwards.

`KeyboardInterrupt` in a notebook and an exception from a worker's signal handler arrive between any two instructions.
Here one is raised at the first line of the nth function of the package that one call enters. ``ASYNCAUTH_RUNS=10000``
tries every n (half a minute); by default some are tried, spread evenly from a random one on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeAlias

import pytest
from harness.loops import close_under_its_tasks

import asyncauth
from asyncauth import AuthError, ManagerPool, RefreshPolicy, Token, TokenManager
from asyncauth.testing import FakeProvider

RUNS = int(os.environ.get("ASYNCAUTH_RUNS", "10"))

PACKAGE = str(Path(asyncauth.__file__).parent)
OUTSIDE = tuple(f"{PACKAGE}/{folder}/" for folder in ("testing", "sandbox", "cli"))

Opened: TypeAlias = "TokenManager | ManagerPool[str]"
Call: TypeAlias = Callable[[Any], Coroutine[Any, Any, object]]

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.leaves_tasks(reason="an interruption may end whatever would have ended them"),
    # What was interrupted while it was opened is open, or half of it is.
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


class Signalled(BaseException):
    """What a worker's signal handler raises, to end a job that takes too long."""


class OneAtATime(FakeProvider):
    """A provider that counts how many fetches are in progress at once."""

    def __init__(self) -> None:
        super().__init__(latency=0.001)
        self.at_once = self._under_way = 0

    async def fetch(self, http: Any, previous: Token | None) -> Token:
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            return await super().fetch(http, previous)
        finally:
            self._under_way -= 1


class Interruption:
    """Raises an error at the first line of the nth function of the package that is entered inside of the block.

    A coroutine is entered each time it goes on. Number 0 is none.

    Attributes:
        happened: Whether there were as many.
        entered: How many there were until then.
    """

    def __init__(self, number: int, error: BaseException) -> None:
        self._number = number
        self._error = error
        self._before = sys.gettrace()  # coverage's
        self.happened = False
        self.entered = 0

    def __enter__(self) -> Self:
        gc.disable()  # what an earlier test has left is not a part of the call
        sys.settrace(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
        gc.enable()

    def _look(self, frame: FrameType, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGE) or file.startswith(OUTSIDE) or _in_finalizer(frame):
            return None
        self.entered += 1
        return self._interrupt if self.entered == self._number else None

    def _interrupt(self, frame: FrameType, event: str, argument: object) -> Any:
        if event != "line" or self.happened:
            return self._interrupt
        self.happened = True
        sys.settrace(None)
        raise self._error


def _in_finalizer(frame: FrameType | None) -> bool:
    """Return whether something else is ended just now, where nothing can be raised."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only a moment for what an interruption has ended."""
    monkeypatch.setattr("asyncauth._core.lifecycle._PATIENCE", 0.2)
    monkeypatch.setattr("asyncauth._core.waiters.GLANCE", 0.02)
    monkeypatch.setattr("asyncauth._core.flight_endings.PATIENCE", 0.2)


POLICY = RefreshPolicy(close_grace=0.0, deadline=1.0, rejection_cooldown=0.1)


def of_manager(provider: FakeProvider) -> TokenManager:
    return TokenManager(provider, policy=POLICY)


def of_pool(provider: FakeProvider) -> ManagerPool[str]:
    return ManagerPool(lambda _: provider, policy=POLICY)


async def token(opened: Opened) -> Token:
    manager = opened if isinstance(opened, TokenManager) else await opened.get("a")
    return await manager.token()


async def two_tokens(opened: Opened) -> object:
    return await asyncio.gather(token(opened), token(opened))


async def refresh(manager: TokenManager) -> object:
    return await manager.refresh()


async def enter(opened: Opened) -> None:
    async with opened:
        await token(opened)


async def close(opened: Opened) -> None:
    caller = asyncio.ensure_future(token(opened))
    await asyncio.sleep(0)
    await opened.close()
    with contextlib.suppress(AuthError):
        await caller


async def get(pool: ManagerPool[str]) -> object:
    return await pool.get("a")


def _quiet(_: object, context: dict[str, Any]) -> None:
    """Say nothing of tasks that an interruption has ended: pytest would show each."""


def interrupted(opened: Opened, call: Call, number: int, error: BaseException) -> int:
    """Make a call on a loop of its own, interrupted at its nth function; return how many it entered.

    Afterwards it is asked for a token by the same loop, and by another one.
    """
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_quiet)
    interruption = Interruption(number, error)
    task = loop.create_task(call(opened))
    with contextlib.suppress(type(error), AuthError), interruption:
        loop.run_until_complete(task)
    while not task.done():
        task.cancel()
        with contextlib.suppress(BaseException):  # what was interrupted, again, and maybe what stops the loop
            loop.run_until_complete(asyncio.wait((task,)))
    with contextlib.suppress(RuntimeError):  # what ended the run just before is still to be heard
        loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(usable(opened))
    close_under_its_tasks(loop)
    asyncio.run(usable(opened))
    return interruption.entered


async def usable(opened: Opened) -> None:
    """Fail unless it brings a token, once it is entered again if it was closed."""
    async with asyncio.timeout(10):
        await opened.__aenter__()
        assert (await token(opened)).value.startswith("token-")
        await opened.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, Signalled])
@pytest.mark.parametrize(
    ("make", "call"),
    [
        (of_manager, token),
        (of_manager, two_tokens),
        (of_manager, refresh),
        (of_manager, enter),
        (of_manager, close),
        (of_pool, get),
        (of_pool, two_tokens),
        (of_pool, enter),
        (of_pool, close),
    ],
)
def test_a_call_may_be_interrupted_at_any_function(
    make: Callable[[FakeProvider], Opened], call: Call, error: type[BaseException], *, on_uvloop: bool
) -> None:
    """The next caller gets a token, at the cost of a few requests, one at a time."""
    if on_uvloop and error is KeyboardInterrupt:
        pytest.skip("a uvloop that KeyboardInterrupt has ended stops its next runs early as well")
    entered = interrupted(make(OneAtATime()), call, 0, error())
    step = max(1, entered // RUNS)
    for number in range(1 + random.randrange(step), entered + 1, step):  # noqa: S311
        provider = OneAtATime()
        try:
            interrupted(make(provider), call, number, error())
        except BaseException as failure:  # noqa: BLE001 (told with the place)
            pytest.fail(f"interrupted at its function number {number}: {type(failure).__name__}: {failure}")
        assert provider.calls <= 4, number
        assert provider.at_once <= 1, number
    gc.collect()
