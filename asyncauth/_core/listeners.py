"""The listeners of a manager or pool. Each has its own queue, so it can neither slow down nor break a refresh."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING

from asyncauth._base.forks import new_guard
from asyncauth._core.listener_queue import Listener, ListenerQueue
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncauth.events import Event

__all__ = ["Listener", "Listeners"]


class Listeners:
    """Puts each event into the listeners' queues. Safe to use from any thread.

    A pool shares one with its engines, and an engine with those upstream: `Runtime.owns_listeners` says who ends them.

    Attributes:
        queues: One per listener, in the order in which they were added. If there is none, and nothing logs at
            ``DEBUG``, as is usual, events that nobody would receive are not made.
    """

    __slots__ = ("_guard", "queues")

    def __init__(self) -> None:
        self.queues: tuple[ListenerQueue, ...] = ()  # replaced as a whole: read without a lock
        self._guard = new_guard()

    def add(self, listener: Listener) -> None:
        """Add a listener: it receives later events. Does nothing if it was added already.

        Raises:
            ConfigurationError: It can't be called; or it is a coroutine function, and no event loop is running.
        """
        if not callable(listener):
            raise ConfigurationError(f"add_listener takes a function of one event, not {type(listener).__name__}")
        queue = ListenerQueue(listener)
        with self._guard:
            # A listener whose event loop was closed may be added again on another one.
            known = tuple(each for each in self.queues if not each.gone)
            if not any(_same(each.listener, listener) for each in known):
                known = (*known, queue)
            self.queues = known

    def remove(self, listener: Listener) -> None:
        """Remove a listener, with its pending events."""
        with self._guard:
            removed = [each for each in self.queues if _same(each.listener, listener)]
            self.queues = tuple(each for each in self.queues if each not in removed)
        for queue in removed:
            queue.clear()

    def tell(self, event: Event) -> None:
        """Put an event into every queue. Returns at once."""
        for queue in self.queues:
            queue.put(event)

    async def settle(self, grace: float) -> None:
        """Return when all events are delivered, or after ``grace`` seconds. Ends the tasks on this loop that deliver.

        If a listener calls this, it does not wait for that listener.
        """
        try:
            await self.catch_up(grace)
        finally:
            for queue in self.queues:
                await queue.end()

    async def catch_up(self, grace: float) -> None:
        """Return when all events are delivered, or after ``grace`` seconds. A listener may call it."""
        telling = [asyncio.wrap_future(told) for told in (queue.told() for queue in self.queues) if told]
        try:
            if telling:
                await asyncio.wait(telling, timeout=grace)
        finally:
            for told in telling:
                told.cancel()


def _same(one: object, other: object) -> bool:
    """Return whether two listeners are the same: a bound method is a new object each time it is looked up."""
    if isinstance(one, types.MethodType | types.BuiltinMethodType):
        return type(one) is type(other) and one == other
    return one is other  # objects that compare equal, as empty collectors do, are still two
