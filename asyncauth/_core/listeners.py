"""Who listens to events. Each is told beside the refresh, by a queue of its own, never in its way."""

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
    """Hands each event to the queues of those who listen. Safe to use from any thread.

    Args:
        owner: Whose listeners these are, as a pool's are its managers', and as a chain's are those of its steps: only
            the owner waits for them and ends their tasks. ``None`` (default): it is the owner.
    """

    __slots__ = ("_guard", "_owner", "_queues")

    def __init__(self, owner: Listeners | None = None) -> None:
        self._owner = owner
        if owner is None:
            self._queues: tuple[ListenerQueue, ...] = ()  # replaced as a whole: read without a lock
            self._guard = new_guard()

    @property
    def queues(self) -> tuple[ListenerQueue, ...]:
        """One per listener, in the order in which they were added."""
        return self._queues if self._owner is None else self._owner.queues

    def add(self, listener: Listener) -> None:
        """Tell a listener of events from now on. One that is there already is not added again.

        Raises:
            ConfigurationError: It can't be called; or it is a coroutine function, and no event loop is running.
        """
        if self._owner is not None:
            self._owner.add(listener)
            return
        if not callable(listener):
            raise ConfigurationError(f"a listener is a function of one event, not {type(listener).__name__}")
        queue = ListenerQueue(listener)
        with self._guard:
            # One that was added on a loop that has ended may be added again, on another.
            known = tuple(each for each in self._queues if not each.gone)
            if not any(_same(each.listener, listener) for each in known):
                known = (*known, queue)
            self._queues = known

    def remove(self, listener: Listener) -> None:
        """Tell a listener nothing more, not even what it is behind with."""
        if self._owner is not None:
            self._owner.remove(listener)
            return
        with self._guard:
            removed = [each for each in self._queues if _same(each.listener, listener)]
            self._queues = tuple(each for each in self._queues if each not in removed)
        for queue in removed:
            queue.clear()

    def tell(self, event: Event) -> None:
        """Have everybody told. Returns at once."""
        for queue in self.queues:
            queue.put(event)

    async def settle(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds, which end what tells them on this loop.

        Called by a listener, it does not wait for that one. Does nothing unless this is the owner.
        """
        if self._owner is not None:
            return
        try:
            await self.catch_up(grace)
        finally:
            for queue in self._queues:
                await queue.end()

    async def catch_up(self, grace: float) -> None:
        """Return when everybody has been told, or after ``grace`` seconds. Called by a listener: the others have."""
        telling = [asyncio.wrap_future(told) for told in (queue.told() for queue in self.queues) if told]
        try:
            if telling:
                await asyncio.wait(telling, timeout=grace)
        finally:
            for told in telling:
                told.cancel()


def _same(one: object, other: object) -> bool:
    """Return whether two listeners are one: a bound method is another object each time it is looked up."""
    if isinstance(one, types.MethodType | types.BuiltinMethodType):
        return type(one) is type(other) and one == other
    return one is other  # objects that compare equal, as empty collectors do, are still two
