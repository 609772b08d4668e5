"""The lock of an entry in a store: the wait for it, and what is held then."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from asyncauth._base.loops import LoopRef
from asyncauth._core.store_trouble import StoreTrouble, explained_call
from asyncauth.clock import Clock, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from asyncauth.stores.base import TokenStore

__all__ = ["UNLOCK", "LockHandle", "LockWait"]

UNLOCK = "unlock"
"""What giving a lock back is called."""


class LockHandle:
    """An entry's lock while it is held, on the running loop.

    Args:
        lease: What entering the lock gave.
        leave: Leaves the lock.
        call: Makes a call to the store.
    """

    __slots__ = ("_call", "_lease", "_leave", "_loop", "_released")

    def __init__(
        self,
        lease: object,
        leave: Callable[[None, None, None], Coroutine[Any, Any, object]],
        call: Callable[..., Awaitable[object]],
    ) -> None:
        self._lease = lease
        self._leave = leave
        self._call = call
        self._loop = LoopRef()
        self._released = False

    @property
    def lost(self) -> bool:
        """Whether another process may hold it by now."""
        try:
            return self._released or bool(getattr(self._lease, "lost", False))
        except Exception:  # noqa: BLE001 (a lease may be anybody's)
            return True

    @property
    def ends_with_holder(self) -> bool:
        """Whether it lasts as long as its holder: then no other process can be refreshing while it is held."""
        return self._lease is None

    @property
    def here(self) -> bool:
        """Whether it is held on the running loop."""
        return self._loop.here

    async def release(self) -> None:
        """Give it back, unless that was done before."""
        if self._loop.closed:  # this is the garbage collector
            self.abandon()
        elif not self._released:
            self._released = True
            with contextlib.suppress(StoreTrouble):
                await self._call(UNLOCK, self._leave, None, None, None)

    def abandon(self) -> None:
        """Give it back if its loop was closed, as far as that can be done without waiting. From any thread.

        A lock in memory or of a file can be, and would be held for ever; one on a server ends with its lease.
        """
        if self._released or not self._loop.closed:
            return
        self._released = True
        with contextlib.suppress(Exception):  # StopIteration is its end
            leaving = self._leave(None, None, None)
            try:
                leaving.send(None)
            finally:
                leaving.close()


class LockWait:
    """The wait for an entry's lock, which may be interrupted and goes on meanwhile.

    Args:
        store: Whose lock it is.
        key: The entry's.
        clock: The manager's.
        call: Makes a call to the store.
        handle: The lock, if it is held already.

    Attributes:
        handle: The lock; ``None``: it is not held.
        waited: Seconds that it was waited for.
    """

    __slots__ = ("_call", "_clock", "_entering", "_key", "_lock", "_store", "handle", "waited")

    def __init__(
        self,
        store: TokenStore,
        key: str,
        clock: Clock,
        call: Callable[..., Awaitable[object]],
        handle: LockHandle | None,
    ) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._call = call
        self._lock: AbstractAsyncContextManager[Any] | None = None
        self._entering: asyncio.Future[Any] | None = None
        self.handle = handle
        self.waited = 0.0

    async def had_within(self, seconds: float) -> LockHandle | None:
        """Return the lock; ``None``: it was not to be had so quickly, and is still being waited for.

        Raises:
            StoreTrouble: It can't be had at all.
        """
        if self.handle is not None:
            return self.handle
        since = self._clock.monotonic()
        try:
            if self._lock is None or self._entering is None:
                self._lock = self._store.lock(self._key)
                self._entering = asyncio.ensure_future(self._lock.__aenter__())
            with contextlib.suppress(TimeoutError):
                await within(self._clock, seconds, asyncio.wait((self._entering,)))
            if not self._entering.done():
                return None
            if self._entering.cancelled():
                raise InterruptedError  # noqa: TRY301 (a CancelledError would look like one of the caller's)
            lease = self._entering.result()
        except Exception as error:  # noqa: BLE001 (whatever a store raises is store trouble)
            problem = StoreTrouble(f"lock: {type(error).__name__}", explained=explained_call("lock", error))
        else:
            leave: Any = self._lock.__aexit__  # a coroutine's, as a rule
            self.handle = LockHandle(lease, leave, self._call)
            self._lock = self._entering = None
            return self.handle
        finally:
            self.waited += self._clock.monotonic() - since
        raise problem

    async def end(self) -> None:
        """Give the lock back, or wait for it no longer."""
        lock, entering = self._lock, self._entering
        if self.handle is not None:
            await self.handle.release()
        elif lock is not None and entering is not None and not entering.get_loop().is_closed():
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
            if not entering.cancelled() and entering.exception() is None:  # had in this very moment
                with contextlib.suppress(StoreTrouble):
                    await self._call(UNLOCK, lock.__aexit__, None, None, None)
