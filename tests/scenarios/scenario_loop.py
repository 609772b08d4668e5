"""An event loop in a thread of its own: what ``asyncio.run()`` is to a program, a step at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LIMIT", "Loop", "settled"]

_T = TypeVar("_T")

LIMIT = 40.0
"""Real seconds after which something hangs. Nothing that works comes near."""

_ROUNDS = 64


async def settled() -> None:
    """Return when whatever can run without time or I/O has run."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


class Loop:
    """Runs coroutines on one event loop, one after another; tasks that they leave go on."""

    def __init__(self) -> None:
        begun = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(begun,), daemon=True)
        self._thread.start()
        begun.wait()

    def _main(self, begun: threading.Event) -> None:
        asyncio.run(self._serve(begun))

    async def _serve(self, begun: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._own = asyncio.current_task()
        begun.set()
        await self._ended.wait()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what a coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return what is running, apart from ourselves."""

        async def tasks() -> set[asyncio.Task[Any]]:
            return asyncio.all_tasks() - {self._own, asyncio.current_task()}

        return self.run(tasks())

    def end(self) -> None:
        """End the loop as ``asyncio.run()`` does: what still runs is cancelled."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(LIMIT)
