"""The HTTP sessions that token requests use: a manager's own, one a loop, never the API's.

Behind hundreds of slow API calls on one connector a token request would wait for seconds. The sessions keep no
cookies: one tenant's login must not carry another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
import attrs

from asyncauth._base.forks import at_fork, leave_to_parent
from asyncauth._base.loops import LoopRef
from asyncauth._http.aiohttp_compat import loop_of
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

__all__ = ["LoopEntry", "Sessions", "SharedSessions", "run_each"]


_Block: TypeAlias = weakref.ref[asyncio.Task[Any]] | None
"""Who entered: a task, which leaves again if it is no fixture. ``None`` = something that is no task."""


@attrs.define(eq=False)
class LoopEntry:
    """A loop on which the manager was entered, by which blocks, and its session there, if it was needed."""

    loop: LoopRef = attrs.field(factory=LoopRef)
    blocks: list[_Block] = attrs.field(factory=list[_Block])
    session: aiohttp.ClientSession | None = None

    async def run(self, work: Callable[[LoopEntry], Coroutine[Any, Any, None]]) -> None:
        """Do something with the entry on its loop: when it runs again, if it stands still; never, if it was closed."""
        await self.loop.run(partial(work, self))


def _block() -> _Block:
    task = asyncio.current_task()
    return None if task is None else weakref.ref(task)


def _can_leave(block: _Block) -> bool:
    task = None if block is None else block()
    return task is not None and not task.done()


async def run_each(entries: Iterable[LoopEntry], work: Callable[[LoopEntry], Coroutine[Any, Any, None]]) -> None:
    """Do something with each entry on its loop: to the last one, also when the caller is cancelled meanwhile."""
    async with contextlib.AsyncExitStack() as rest:
        for entry in entries:
            rest.push_async_callback(entry.run, work)


class Sessions:
    """Where a manager is entered, and the sessions it has there.

    Guarded by the manager's lock where several threads may meet; the sessions are touched on their own loops only.
    """

    __slots__ = ("__weakref__", "_entries", "_http", "_left_over", "_timeout")

    def __init__(self, http: aiohttp.ClientSession | None, timeout: float) -> None:
        self._http = http
        # aiohttp rounds its limits up to whole seconds, which infinity has not.
        self._timeout = aiohttp.ClientTimeout(total=timeout if math.isfinite(timeout) else None)
        self._entries: dict[asyncio.AbstractEventLoop, LoopEntry] | None = None
        self._left_over: tuple[_Block, ...] = ()  # those that were inside when all was closed, and have yet to leave
        at_fork(self, Sessions._after_fork)

    def _after_fork(self) -> None:
        """Leave the parent process's entries to it, with the sessions that they hold."""
        if self._entries:
            leave_to_parent(self._entries)
        self._entries, self._left_over = None, ()

    def entered_here(self) -> bool:
        """Return whether the manager is entered on the running loop."""
        entries = self._entries  # read once: another thread may close
        if entries is None:
            return False
        try:
            return asyncio.get_running_loop() in entries
        except RuntimeError:  # asked by a flight that is closed as garbage, after its loop
            return False

    def entered(self) -> bool:
        """Return whether the manager is entered anywhere."""
        return any(not entry.loop.of_parent_process for entry in list((self._entries or {}).values()))

    def unclosed(self) -> bool:
        """Return whether there is something left to close, so that whoever forgets it is to be warned."""
        return self.entered()

    def hand_on(self, work: Callable[[], object]) -> None:
        """Call ``work`` on a running loop where the manager is entered, if there is one."""
        for entry in list((self._entries or {}).values()):
            if entry.loop.alive and entry.loop.call_soon(work):
                return

    def enter(self) -> None:
        """Count an entry on the running loop."""
        loop = asyncio.get_running_loop()
        if self._entries is None:
            self._entries = {}
        for ended in [known for known, entry in self._entries.items() if entry.loop.lost]:
            del self._entries[ended]  # left without an exit: nothing can be closed on it any more
        self._entries.setdefault(loop, LoopEntry()).blocks.append(_block())

    def leave(self) -> LoopEntry | None:
        """Count an exit on the running loop; return the entry if it was the last one there.

        Whoever was inside when all was closed leaves nothing to those who have entered since, and are inside.
        """
        loop, block, entries = asyncio.get_running_loop(), _block(), self._entries
        entry = None if entries is None else entries.get(loop)
        if block in self._left_over and (entry is None or block not in entry.blocks):
            left = list(self._left_over)
            left.remove(block)
            self._left_over = tuple(left)
            if entry is None or any(map(_can_leave, entry.blocks)):
                return None
        if entry is None or entries is None:
            return None
        entry.blocks.remove(block if block in entry.blocks else entry.blocks[-1])
        return None if entry.blocks else entries.pop(loop)

    def leave_all(self) -> list[LoopEntry]:
        """Forget every entry, and return them."""
        entries = list((self._entries or {}).values())
        self._entries = None
        inside = [*self._left_over, *(block for entry in entries for block in entry.blocks)]
        self._left_over = tuple(each for each in inside if _can_leave(each))
        return entries

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        """Give a session for one refresh on the running loop.

        The caller's own (``http=``) on its loop; else one that lives as long as the manager is entered here; else
        one for this refresh alone.
        """
        loop = asyncio.get_running_loop()
        http = self._http
        if http is not None and loop_of(http) is loop:
            if http.closed:
                raise ConfigurationError("the session given as http= is closed: keep it open as long as the manager")
            yield http
            return
        entries = self._entries  # read once: another thread may close
        entry = None if entries is None else entries.get(loop)
        if entry is None:
            session = self._new()
            try:
                yield session
            finally:
                if loop.is_closed():  # this is the garbage collector, and nothing can be waited for
                    session.detach()
                else:
                    await session.close()
            return
        shared = entry.session
        if shared is None:
            shared = entry.session = self._new()
        yield shared

    def _new(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # No limit: a request that queued inside of aiohttp would look like a slow token endpoint.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )


class SharedSessions(Sessions):
    """A pool's, as its managers see them: entering, leaving and closing are the pool's business alone."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Sessions) -> None:
        self._owner = owner

    def entered_here(self) -> bool:
        """Return whether the pool is entered on the running loop."""
        return self._owner.entered_here()

    def unclosed(self) -> bool:
        """Return ``False``: there is nothing that a manager would have to close."""
        return False

    def hand_on(self, work: Callable[[], object]) -> None:
        """Call ``work`` on a running loop where the pool is entered, if there is one."""
        self._owner.hand_on(work)

    def enter(self) -> None:
        """Do nothing."""

    def leave(self) -> LoopEntry | None:
        """Return that no loop was left."""
        return None

    def leave_all(self) -> list[LoopEntry]:
        """Return that no loop was left."""
        return []

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        """Give the pool's session on the running loop."""
        async with self._owner.session() as session:
            yield session
