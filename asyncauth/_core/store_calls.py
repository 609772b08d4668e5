"""Calls to a store: each within a time limit, how long they take, and what is the matter with the store."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from asyncauth._base.printable import name_of
from asyncauth._core.store_lock import UNLOCK
from asyncauth._core.store_trouble import StoreTrouble, explained_call
from asyncauth._core.user_code import call_user
from asyncauth.clock import Clock, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth._core.emitter import Emitter
    from asyncauth.stores.base import TokenStore

__all__ = ["StoreCalls"]

_T = TypeVar("_T")

_TELL_EVERY = 60.0
"""Seconds between events of a trouble that lasts."""
_FORGETTING = 0.97
"""What each call leaves of the longest call before it: after eight refreshes a quarter."""
_CALLS = 5.0
"""Calls to the store that a refresh waits for: load, lock, load, mark, save."""
_AT_ONCE = 0.05
"""Seconds in which a free lock is had from a store on this machine."""


class StoreCalls:
    """One manager's calls to a store.

    Args:
        store: The caller's.
        clock: The manager's.
        time_limit: Seconds for a call.
        emitter: Where it tells of what happens.

    Attributes:
        trouble: What is wrong with the store; ``None``: nothing, as far as is known.
        failing: Whether the last save failed.
        stuck: Whether the lock could not be given back, and no process is known to have had it since.
    """

    __slots__ = ("_clock", "_emitter", "_longest_call", "_store", "_time_limit", "_told_at", "failing", "stuck",
                 "trouble")  # fmt: skip

    def __init__(self, store: TokenStore, clock: Clock, time_limit: float, emitter: Emitter) -> None:
        self._store = store
        self._clock = clock
        self._time_limit = time_limit
        self._emitter = emitter
        self._longest_call = 0.0
        self._told_at = -math.inf
        self.trouble: str | None = None
        self.failing = False
        self.stuck = False

    @property
    def strict(self) -> bool:
        """Whether trouble is to reach the caller."""
        try:
            return bool(getattr(self._store, "strict", False))
        except Exception:  # noqa: BLE001 (a store may be anybody's)
            return False

    @property
    def refresh_time(self) -> float:
        """The seconds that a refresh spends on calls to the store, if they are as slow as of late."""
        return _CALLS * self._longest_call

    @property
    def quick_lock(self) -> float:
        """The seconds in which a lock is had that nobody holds."""
        return min(max(_AT_ONCE, 3 * self._longest_call), self._time_limit)

    def opened(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a block that keeps the store open, if it is something that is opened."""
        return _Opened(self._store, self.call)

    async def call(self, what: str, call: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        """Return what a call to the store returns.

        Raises:
            StoreTrouble: It failed, or took longer than the time limit.
        """
        since = self._clock.monotonic()
        try:
            answer = await within(self._clock, self._time_limit, call_user(call, *arguments))
        except TimeoutError as error:
            words = explained_call(what, error, f"no answer within {self._time_limit:g} s")
            problem = StoreTrouble(f"{what}: no answer within {self._time_limit:g} s", explained=words)
        except Exception as error:  # noqa: BLE001 (whatever a store raises is store trouble)
            problem = StoreTrouble(f"{what}: {type(error).__name__}", explained=explained_call(what, error))
        else:
            self._longest_call = max(self._clock.monotonic() - since, _FORGETTING * self._longest_call)
            if what == UNLOCK:
                self.stuck = False
            return answer
        if what == UNLOCK:  # the others wait for the lock until it ends by itself
            self.stuck = True
            self.note(problem)
        raise problem

    def note(self, trouble: StoreTrouble) -> None:
        """Remember a trouble for ``status()``, and tell of it, once a minute while it lasts."""
        self.trouble = str(trouble)
        now = self._clock.monotonic()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._emitter.store_failed(self._placed(trouble))

    def note_unsaved(self, trouble: StoreTrouble) -> None:
        """Report that a new refresh token could not be saved yet."""
        self._emitter.refresh_token_unsaved(self._placed(trouble), lost=False)
        self._told_at = self._clock.monotonic()

    def note_lost(self, trouble: StoreTrouble) -> None:
        """Report that saving a new refresh token is given up."""
        self._emitter.refresh_token_unsaved(self._placed(trouble), lost=True)

    def note_success(self) -> None:
        """Forget the trouble: the store has served."""
        if self.trouble is not None and not self.failing and not self.stuck:
            self.trouble = None
            self._told_at = -math.inf
            self._emitter.store_recovered()

    def _placed(self, trouble: StoreTrouble) -> str:
        """Return what is wrong and what to do, after where the store is, if it says that."""
        place: object = None
        with contextlib.suppress(Exception):  # a store may be anybody's
            place = getattr(self._store, "place", None)
        return f"{name_of(place)}: {trouble.explained}" if isinstance(place, str) else trouble.explained


@attrs.define(eq=False)
class _Opened(contextlib.AbstractAsyncContextManager[None]):
    """A store that is open for a block.

    Not a generator: an entered manager stays in the block, and when its event loop is closed meanwhile, Python would
    warn that nothing awaits the generator's end.
    """

    store: Any  # what it is besides a store
    _call: Callable[..., Awaitable[object]]
    _loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> None:
        if hasattr(self.store, "__aenter__") and hasattr(self.store, "__aexit__"):
            await self._call("open", self.store.__aenter__)
            self._loop = asyncio.get_running_loop()

    async def __aexit__(self, *_: object) -> None:
        if self._loop is not None and not self._loop.is_closed():  # else this is the garbage collector
            with contextlib.suppress(StoreTrouble):
                await self._call("close", self.store.__aexit__, None, None, None)
