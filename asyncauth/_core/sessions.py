"""The HTTP sessions for token requests: a manager's own, one per event loop, never the API's session.

Behind hundreds of slow API calls on one connector a token request would wait for seconds. The sessions keep no
cookies: one tenant's login must not carry another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp

from asyncauth._base.forks import at_fork, leave_to_parent
from asyncauth._base.loops import LoopRef
from asyncauth._core.user_code import call_user, sanitize
from asyncauth._http.aiohttp_compat import loop_of
from asyncauth.clock import SYSTEM_CLOCK, within
from asyncauth.errors import ConfigurationError, ManagerClosed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterable

__all__ = ["Http", "LoopEntry", "Sessions", "SharedSessions", "close_here", "own_session", "run_each"]

Http: TypeAlias = aiohttp.ClientSession | Callable[[], aiohttp.ClientSession | Awaitable[aiohttp.ClientSession]]
"""What ``http=`` takes: a session, or a function that makes one per event loop."""

LONGEST_HEADER = 1 << 16
"""Bytes of one header of an answer. aiohttp's own limit of 8,190 is less than some servers' policies and cookies."""

_log = logging.getLogger("asyncauth.manager")


_Block: TypeAlias = weakref.ref[asyncio.Task[Any]] | None
"""The task that entered a manager, and leaves it unless it is a fixture's. ``None``: it was entered outside a task."""


class LoopEntry:
    """An event loop on which the manager is entered: the ``async with`` blocks there, and the session, if needed.

    Args:
        loop: The loop; ``None`` (default): the running one.
    """

    __slots__ = ("__weakref__", "_closed", "_keeping", "_kept", "_keys", "_making", "blocks", "loop", "session")

    def __init__(self, loop: LoopRef | None = None) -> None:
        self.loop = LoopRef() if loop is None else loop
        self.blocks: list[_Block] = []
        self.session: aiohttp.ClientSession | None = None
        self._making = asyncio.Lock()
        self._closed = False
        self._kept = contextlib.AsyncExitStack()
        self._keeping = asyncio.Lock()
        self._keys: dict[int, object] | None = {}

    async def open(self, make: Callable[[], Awaitable[aiohttp.ClientSession]]) -> aiohttp.ClientSession:
        """Return the session, which is made unless another caller has just made it.

        Raises:
            ManagerClosed: `close` was called while it was being made.
        """
        async with self._making:
            if self.session is None or self.session.closed:
                session = await make()
                if self._closed:
                    await session.close()
                    raise ManagerClosed(
                        "the manager was closed while a session for its token requests was being made",
                        advice="end its callers before it is closed",
                    )
                self.session = session
            return self.session

    async def keep(self, key: object, opened: Callable[[], contextlib.AbstractAsyncContextManager[None]]) -> None:
        """Open something, and keep it open until `close`. Does nothing if that was done before, or is being done.

        Args:
            key: What it is.
            opened: Returns the context that it is opened by.
        """
        keys = self._keys
        if keys is None or id(key) in keys:
            return
        keys[id(key)] = key
        try:
            async with self._keeping:
                if self._keys is keys:
                    await self._kept.enter_async_context(opened())
        except BaseException:
            del keys[id(key)]
            raise

    async def close(self) -> None:
        """Close the session, if one was made, and whatever was kept open; keep nothing that is being made or opened."""
        self._closed, self._keys = True, None
        try:
            async with self._keeping:  # after whatever is being opened
                await self._kept.aclose()
        finally:
            if self.session is not None:
                await self.session.close()

    async def run(self, work: Callable[[LoopEntry], Coroutine[Any, Any, None]]) -> None:
        """Do something with the entry on its loop, as soon as the loop runs. Does nothing if the loop was closed."""
        await self.loop.run(partial(work, self))


def _block() -> _Block:
    task = asyncio.current_task()
    return None if task is None else weakref.ref(task)


def _can_leave(block: _Block) -> bool:
    task = None if block is None else block()
    return task is not None and not task.done()


async def run_each(entries: Iterable[LoopEntry], work: Callable[[LoopEntry], Coroutine[Any, Any, None]]) -> None:
    """Do something with each entry on its loop. Continues with the other entries if the caller is cancelled."""
    async with contextlib.AsyncExitStack() as rest:
        for entry in entries:
            rest.push_async_callback(entry.run, work)


def own_session(timeout: float, **options: Any) -> aiohttp.ClientSession:
    """Return a session for token requests.

    Args:
        timeout: Seconds for a request, if nothing else ends it sooner. Infinity: no limit.
        **options: Further arguments of ``aiohttp.ClientSession``.
    """
    return aiohttp.ClientSession(
        # No limit: a request that queued inside of aiohttp would look like a slow token endpoint.
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        # aiohttp rounds its limits up to whole seconds, which infinity has not.
        timeout=aiohttp.ClientTimeout(total=timeout if math.isfinite(timeout) else None),
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
        **options,
    )


async def close_here(session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    """Close a session that was made for one refresh on a loop."""
    if loop.is_closed():  # this is the garbage collector, and nothing can be waited for
        session.detach()
    else:
        await session.close()


def _check_cookies(session: aiohttp.ClientSession) -> None:
    """Refuse a session that keeps cookies. Raises `ConfigurationError`."""
    if not isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        raise ConfigurationError(
            "http= would carry one tenant's cookies to another",
            advice="make it with cookie_jar=aiohttp.DummyCookieJar()",
        )


_LONGEST_MAKING = 60.0
"""Seconds that a function given as ``http=`` may take."""


class Sessions:
    """The event loops on which a manager is entered, and its sessions there.

    The manager's lock guards what several threads use. Each session is used only on its own loop.

    Args:
        http: What the caller gave.
        timeout: Seconds for a request of a session of the manager's own.
        several_tenants: Whether more than one tenant's token requests are sent with them.

    Raises:
        ConfigurationError: The session keeps cookies, and there are several tenants.
    """

    __slots__ = ("__weakref__", "_entries", "_http", "_left_out", "_left_over", "_several_tenants", "_timeout")

    def __init__(self, http: Http | None, timeout: float, *, several_tenants: bool = False) -> None:
        if several_tenants and isinstance(http, aiohttp.ClientSession):
            _check_cookies(http)
        self._http = http
        self._timeout = timeout
        self._several_tenants = several_tenants
        self._left_out = False  # whether it was logged that the given session is not used on another loop
        self._entries: dict[asyncio.AbstractEventLoop, LoopEntry] | None = None
        self._left_over: tuple[_Block, ...] = ()  # blocks that were inside when all was closed, and have not left yet
        at_fork(self, Sessions._after_fork)

    @property
    def entries(self) -> list[LoopEntry]:
        """What there is on each event loop."""
        return list((self._entries or {}).values())

    def _after_fork(self) -> None:
        """Leave the parent process's entries to it, with the sessions that they hold."""
        if self._entries:
            leave_to_parent(self._entries)
        self._entries, self._left_over = None, ()

    def upstream(self, timeout: float) -> Sessions:
        """Return the sessions of an upstream provider's token requests, made in the same way.

        Args:
            timeout: Seconds for a request.
        """
        return Sessions(self._http, timeout)

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
        return any(not entry.loop.of_parent_process for entry in self.entries)

    def entry_here(self) -> LoopEntry | None:
        """Return the entry of the running loop; ``None``: the manager is not entered there."""
        entries = self._entries  # read once: another thread may close
        return None if entries is None else entries.get(asyncio.get_running_loop())

    def unclosed(self) -> bool:
        """Return whether the manager still has to be closed, so that a ``ResourceWarning`` is due without that."""
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

        A block that was inside when everything was closed does not end an entry that other blocks have made since.
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
        entries = self.entries
        self._entries = None
        inside = [*self._left_over, *(block for entry in entries for block in entry.blocks)]
        self._left_over = tuple(each for each in inside if _can_leave(each))
        return entries

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        """Give a session for some requests on the running loop, see `obtain`."""
        loop = asyncio.get_running_loop()
        session, own = await self.obtain()
        try:
            yield session
        finally:
            if own:
                await close_here(session, loop)

    def open_here(self) -> aiohttp.ClientSession | None:
        """Return the session that is open on the running loop; ``None``: ask `obtain`."""
        entry = None if isinstance(self._http, aiohttp.ClientSession) else self.entry_here()
        session = None if entry is None else entry.session
        return None if session is None or session.closed else session

    async def obtain(self) -> tuple[aiohttp.ClientSession, bool]:
        """Return a session for one refresh on the running loop, and whether `close_here` is to end it afterwards.

        The caller's own (``http=``) on its loop; else one that lives as long as the manager is entered here; else
        one for this refresh alone.

        Raises:
            ConfigurationError: What was given as ``http=`` can't be used.
            AuthError: The function given as ``http=`` failed.
            ManagerClosed: The manager was closed while it was at work.
        """
        loop = asyncio.get_running_loop()
        http = self._http
        if isinstance(http, aiohttp.ClientSession):
            if loop_of(http) is loop:
                if http.closed:
                    raise ConfigurationError(
                        "the session given as http= is closed", advice="keep it open as long as the manager"
                    )
                return http, False
            self._note_left_out()
        entry = self.entry_here()
        if entry is not None:
            return await entry.open(self._new), False
        return await self._new(), True

    def _note_left_out(self) -> None:
        if not self._left_out:
            self._left_out = True
            _log.warning(
                "the session given as http= belongs to another event loop: token requests on this one are sent without"
                " its proxy, certificates and headers; give http= a function that makes a session per event loop"
            )

    async def _new(self) -> aiohttp.ClientSession:
        """Return a new session: by the given function, or one of the manager's own."""
        make = self._http
        if make is None or isinstance(make, aiohttp.ClientSession):
            return own_session(self._timeout)
        try:
            made = call_user(make)
            session: object = await self._made(made) if inspect.isawaitable(made) else made
        except Exception as error:  # noqa: BLE001 (a user's code may raise anything)
            problem = sanitize(error, "the function given as http=")
        else:
            if not isinstance(session, aiohttp.ClientSession):
                kind = type(session).__name__
                del made, session  # whatever it is: a traceback that shows locals must not show it
                raise ConfigurationError(
                    f"the function given as http= must return an aiohttp.ClientSession, not {kind}"
                )
            if session.closed or loop_of(session) is not asyncio.get_running_loop():
                raise ConfigurationError(
                    "the function given as http= must make a new session each time: it returned one that is closed, or"
                    " that belongs to another event loop"
                )
            return await self._checked(session)
        raise problem

    async def _made(self, made: Awaitable[object]) -> object:
        """Wait for what the given function makes, as long as for a token request, and for a minute at most.

        It runs apart: a ``CancelledError`` of its own would look like a cancellation of the refresh.
        """
        return await within(SYSTEM_CLOCK, min(self._timeout, _LONGEST_MAKING), made)

    async def _checked(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        try:
            if self._several_tenants:
                _check_cookies(session)
        except ConfigurationError:
            await session.close()
            raise
        return session


class SharedSessions(Sessions):
    """A pool's sessions, for its managers, which can neither enter, leave nor close them."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Sessions) -> None:
        self._owner = owner

    def upstream(self, timeout: float) -> SharedSessions:  # noqa: ARG002 (the pool's have their own)
        """Return these: a chain's requests share the pool's sessions."""
        return self

    def entered_here(self) -> bool:
        """Return whether the pool is entered on the running loop."""
        return self._owner.entered_here()

    def entry_here(self) -> LoopEntry | None:
        """Return the pool's entry of the running loop."""
        return self._owner.entry_here()

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

    def open_here(self) -> aiohttp.ClientSession | None:
        """Return the pool's session on the running loop, if it is open."""
        return self._owner.open_here()

    async def obtain(self) -> tuple[aiohttp.ClientSession, bool]:
        """Return the pool's session on the running loop."""
        return await self._owner.obtain()
