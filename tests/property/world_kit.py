"""Event loops that a test steps: it decides which callback of which loop runs next, and no real time passes.

A `World` has one clock and any number of loops, each of some process. It runs one callback at a time, so a test can do
something between any two of them: cancel a task, close a manager, end a loop, let a process die. When nothing can run,
the clock moves on to the next timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from harness.loops import forgive, running

from asyncauth.testing import FakeClock

T = TypeVar("T")

_MOST_STEPS = 100_000
"""Callbacks without an end of what is waited for: something spins."""

Order = Callable[[int], int]
"""Given how many callbacks are ready, returns the place of the one to run: 0 = as asyncio does."""


def as_asyncio(ready: int) -> int:
    """Run callbacks in the order in which they became ready."""
    return 0


class LoopTime(FakeClock):
    """A ``FakeClock`` whose sleepers sleep by their loop's clock, as they do by the machine's.

    The loops' clock stands still while the machine is suspended; this one runs on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop_time = self._now
        self._suspended = 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def move(self, loop_time: float) -> None:
        """Go on to a moment of the loops' clock."""
        self.loop_time = max(self.loop_time, loop_time)
        self._now = self.loop_time + self._suspended

    def suspend(self, seconds: float) -> None:
        """Let time pass that no loop sees."""
        self._suspended += seconds
        self.move(self.loop_time)


class StepLoop(asyncio.BaseEventLoop):
    """An event loop of which a `World` runs one callback at a time.

    Attributes:
        process: Whose it is.
        alive: Whether it runs, as far as anybody can see; a callback is run only then.
        paused: Whether its process stands still for now.
        stands_since: When it stopped to run, for now or for ever, by the loops' clock.
    """

    def __init__(self, world: World, process: str) -> None:
        self.world = world
        self.process = process
        self.alive = True
        self.paused = False
        self.stands_since = float("inf")
        super().__init__()
        self.set_exception_handler(lambda _, context: self._complain(context))

    def _complain(self, context: dict[str, Any]) -> None:
        if self.alive and not self.world.littered:
            self.world.complaints.append(context)

    def time(self) -> float:
        return self.world.clock.loop_time

    def is_running(self) -> bool:
        return self.alive

    def _write_to_self(self) -> None:
        """Wake nobody: the world looks at all loops."""

    # What asyncio keeps private, read here alone

    @property
    def ready(self) -> int:
        """How many callbacks can run."""
        queue = self._ready  # type: ignore[attr-defined]
        while queue and queue[0].cancelled():
            queue.popleft()
        return len(queue)

    def take(self, place: int) -> asyncio.Handle:
        """Return a callback that can run, which is not listed any more."""
        queue = self._ready  # type: ignore[attr-defined]
        handle: asyncio.Handle = queue[place]
        del queue[place]
        return handle

    def run_handle(self, handle: asyncio.Handle) -> None:
        """Run a callback."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook)  # type: ignore[attr-defined]
        try:
            with running(self):
                handle._run()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    @property
    def next_timer(self) -> float | None:
        """When the next timer is due, by the loops' clock."""
        timers = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        return timers[0].when() if timers else None

    def ring(self) -> None:
        """Make the callbacks ready whose time has come."""
        while (due := self.next_timer) is not None and due <= self.time():
            self._ready.append(heapq.heappop(self._scheduled))  # type: ignore[attr-defined]

    # The network: see network_kit

    async def sock_connect(self, sock: Any, address: Any) -> None:
        sock.close()
        await self.world.network.connect(self)

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        return self.world.network.connection(self, protocol_factory())


class World:
    """A clock, loops, and whatever network they are given.

    Attributes:
        order: Which of the ready callbacks runs next.
        hook: Called before each callback with its number; what it does happens between two callbacks.
        steps: How many callbacks have run.
        complaints: What loops were told by ``call_exception_handler``: nothing ever should be.
        most_ready: How many callbacks were ready at once, at most.
    """

    def __init__(self, order: Order = as_asyncio) -> None:
        self.clock = LoopTime()
        self.order = order
        self.hook: Callable[[int], None] | None = None
        self.steps = 0
        self.most_ready = 0
        self.loops: list[StepLoop] = []
        self.complaints: list[dict[str, Any]] = []
        self.network: Any = None
        self._left: list[asyncio.Task[Any]] = []
        gc.disable()  # what a dead process leaves behind ends when nobody looks: in `bury`
        gc.freeze()  # so that `bury` looks at what came after this alone: the whole heap takes a tenth of a second

    def loop(self, process: str = "one") -> StepLoop:
        """Return a new loop of a process."""
        self.loops.append(StepLoop(self, process))
        return self.loops[-1]

    # Running

    def step(self, until: float = float("inf")) -> bool:
        """Run one callback, after moving the clock on if none is ready; return whether there was one.

        Args:
            until: The clock is not moved beyond this moment of the loops' clock.
        """
        running = [loop for loop in self.loops if loop.alive and not loop.paused]
        for loop in running:
            loop.ring()
        ready = [(loop, place) for loop in running for place in range(loop.ready)]
        if not ready:
            timers = [due for loop in running if (due := loop.next_timer) is not None]
            if not timers or min(timers) > until:
                return False
            self.clock.move(min(timers))
            for loop in running:
                loop.ring()
            ready = [(loop, place) for loop in running for place in range(loop.ready)]
        self.most_ready = max(self.most_ready, len(ready))
        if self.hook is not None:
            self.hook(self.steps)
        self.steps += 1
        loop, place = ready[self.order(len(ready))]
        if loop.alive and place < loop.ready:  # the hook may have ended it
            handle = loop.take(place)
            if not handle.cancelled():
                loop.run_handle(handle)
        return True

    def inside(self, loop: StepLoop, call: Callable[[], T]) -> T:
        """Return what a plain function returns, called on a loop."""
        with running(loop):
            return call()

    def start(self, loop: StepLoop, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin some work on a loop."""
        return self.inside(loop, lambda: loop.create_task(work))

    def settle(self) -> None:
        """Run whatever can run without time."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Move the clock, and run whatever becomes due on the way."""
        until, first = self.clock.loop_time + seconds, self.steps
        while self.step(until):
            assert self.steps - first < _MOST_STEPS, "something spins"
        self.clock.move(until)

    def run(self, loop: StepLoop, work: Coroutine[Any, Any, T], *, most: float = 120.0) -> T:
        """Return what some work returns. It has ``most`` seconds of the world's time."""
        task = self.start(loop, work)
        self.finish(task, most=most)
        return task.result()

    def finish(self, *tasks: asyncio.Task[Any], most: float = 120.0) -> None:
        """Return when these tasks are done, which they are within ``most`` seconds of the world's time."""
        until, first = self.clock.loop_time + most, self.steps
        while not all(task.done() for task in tasks):
            assert self.step(until), f"somebody waits for ever: {[task for task in tasks if not task.done()]}"
            assert self.steps - first < _MOST_STEPS, "something spins"

    # Endings

    def end(self, loop: StepLoop) -> None:
        """End a loop as ``asyncio.run`` does: cancel all its tasks, run until they have ended, close it."""
        if loop.is_closed():
            return
        left = _tasks(loop)
        for task in left:
            self.inside(loop, task.cancel)
        self.finish(*left)
        self.settle()
        self.close(loop)

    def close(self, loop: StepLoop) -> None:
        """Close a loop on which nothing is left."""
        self._stop(loop)
        loop.close()

    def abandon(self, loop: StepLoop) -> None:
        """Close a loop without a chance for its tasks."""
        self._leave(loop)
        self.close(loop)

    def die(self, process: str) -> None:
        """Let a process die as by ``kill -9``: nothing of it runs any more, and what it did stays done."""
        for loop in self.loops:
            if loop.process == process:
                self._leave(loop)
                self._stop(loop)

    def _stop(self, loop: StepLoop) -> None:
        loop.alive, loop.stands_since = False, min(loop.stands_since, self.clock.loop_time)

    def bury(self) -> None:
        """Close what is left. What processes that died leave behind, they leave to the garbage collector: here."""
        for loop in self.loops:
            if not loop.is_closed():
                self._leave(loop)
                self.close(loop)
        self.loops.clear()
        _end(self._left)
        self._left.clear()
        self.network = self.hook = None
        forget_the_dead()
        gc.enable()  # what was frozen stays so, or the next collection searches the whole heap

    def _leave(self, loop: StepLoop) -> None:
        """Keep a loop's tasks from the garbage collector, which would end them at moments of its own choice."""
        for task in _tasks(loop):
            forgive(task)
            self._left.append(task)

    @property
    def littered(self) -> bool:
        """Whether tasks were left behind, whose ends are told at any moment."""
        return bool(self._left)

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that have not ended, on loops that are alive."""
        return {task for loop in self.loops if loop.alive for task in asyncio.all_tasks(loop)}


def _tasks(loop: StepLoop) -> list[asyncio.Task[Any]]:
    """Return a loop's tasks, the oldest first."""
    return sorted(asyncio.all_tasks(loop), key=lambda task: (len(task.get_name()), task.get_name()))


def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """End what tasks that will not go on are in the middle of."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        for task in tasks:
            with contextlib.suppress(BaseException):
                task.get_coro().close()
    finally:
        sys.unraisablehook = hook


def forget_the_dead() -> None:
    """Collect what was left behind on purpose, and ignore the warnings about it."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook
