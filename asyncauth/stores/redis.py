"""A store in Redis or Valkey: for processes on any number of machines."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import math
import re
import time
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

import attrs

from asyncauth._base.forks import at_fork, leave_to_parent, new_guard
from asyncauth.clock import boottime
from asyncauth.entry import LONGEST, remains, time_to_live
from asyncauth.errors import ConfigurationError
from asyncauth.stores.base import is_key
from asyncauth.stores.codec import LARGEST_ENTRY, Reader, dumps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from asyncauth.entry import Entry
    from asyncauth.stores.redis_client import ClientMaker
    from asyncauth.stores.redis_lock import RedisLease, RedisLock
    from asyncauth.token import Token

__all__ = ["RedisStore"]

_POLL = 0.05
"""Seconds between checks of a lock that another process holds."""
_ABSENT = -2
"""The time-to-live that Redis reports for a missing key."""
_AT_ONCE = 1000
"""Keys per ``SCAN`` call."""
_SKEW = 1.0
"""Seconds that two wall clocks may differ and still count as equal: calls to Redis take a part of that themselves."""
_GLOB = re.compile(r"[\\*?\[\]^-]")

# Replaces or deletes an entry, if it is still the one that was read.
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""


@attrs.define(eq=False)
class _Here:
    """One loop's client, and how many users it has."""

    client: Any
    users: int = 0
    releasing: set[asyncio.Task[None]] = attrs.field(factory=set[asyncio.Task[None]])


class RedisStore:
    """Keeps tokens in Redis 6.2 or newer, or Valkey, with redis-py and its lock.

    Each entry has a time-to-live, so none stays for ever. The tokens are not encrypted; to encrypt them, wrap the store
    in an `EncryptedStore`.

    Args:
        url_or_client: A URL with ``redis://``, ``rediss://`` (TLS) or ``unix://``, or a ``redis.asyncio`` client of
            yours (Sentinel, Cluster, your own pool). For a URL, the store opens one client per event loop. It stays
            open while a manager or pool with this store is entered on that loop, otherwise for the length of each
            refresh. Your own client stays open, and can be used only on its own loop.
        prefix: The prefix of all keys (default ``"asyncauth:"``).
        strict: Whether callers receive a ``StoreError`` if Redis can't be used; ``False`` (default): the manager
            continues without it.

    Raises:
        ConfigurationError: The extra is not installed, or the argument is neither a URL nor a client.
    """

    def __init__(self, url_or_client: Any, *, prefix: str = "asyncauth:", strict: bool = False) -> None:
        self.prefix = prefix
        self.strict = strict
        self._given = url_or_client
        self._maker: ClientMaker | None = None
        del url_or_client  # contains a password, which a traceback with local variables must not show
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix= takes a str, not {type(prefix).__name__}")
        if importlib.util.find_spec("redis") is None:
            raise ConfigurationError("RedisStore needs redis-py", advice="pip install 'asyncauth[redis]'")
        if isinstance(self._given, str):
            if not self._given.startswith(("redis://", "rediss://", "unix://")):
                raise ConfigurationError("RedisStore takes a URL such as 'redis://localhost:6379/0', or a client")
            from asyncauth.stores.redis_client import ClientMaker  # noqa: PLC0415 (an extra)

            self._maker = ClientMaker(self._given)
            self._check_url()
        elif not hasattr(self._given, "pipeline") or not inspect.iscoroutinefunction(
            getattr(self._given, "aclose", None)
        ):
            raise ConfigurationError("RedisStore takes a URL, or a client of redis.asyncio")
        self._loops: dict[asyncio.AbstractEventLoop, _Here] = {}
        self._used = self._of_parent = False
        self._guard = new_guard()
        self._reader = Reader(f"Redis {prefix!r}")
        from asyncauth.stores.redis_lock import Comparison  # noqa: PLC0415 (an extra)

        self._comparison = Comparison(f"Redis {prefix!r}")
        at_fork(self, RedisStore._after_fork)

    def _after_fork(self) -> None:
        """Leave the connections to the parent process."""
        if self._loops:
            leave_to_parent(self._loops)
        self._loops = {}
        self._of_parent = self._used and not isinstance(self._given, str)

    # Connections, open only while needed

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._of_parent:
            raise ConfigurationError(
                "RedisStore's client has connections of the parent process",
                advice="make client and store after the fork",
            )
        self._used = True
        with self._guard:
            for ended in [known for known in self._loops if known.is_closed()]:
                del self._loops[ended]
            here = self._loops.get(loop)
            if here is None:
                here = self._loops[loop] = _Here(self._new_client())
            here.users += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        with self._guard:
            here = self._loops[loop]
            here.users -= 1
            if here.users:
                return
            del self._loops[loop]
        for task in here.releasing:
            task.cancel()
        await asyncio.gather(*here.releasing, return_exceptions=True)
        if isinstance(self._given, str):
            with contextlib.suppress(Exception):  # broken connections are closed
                try:
                    await here.client.aclose()
                except asyncio.CancelledError:
                    await here.client.aclose()  # cancelled before it began: the connections are still open
                    raise

    def _new_client(self) -> Any:
        return self._given if self._maker is None else self._maker.client()

    def _check_url(self) -> None:
        """Raise if redis-py can't use the URL. redis-py's own errors may contain the password."""
        flawed = False
        try:
            self._new_client().connection_pool.make_connection()
        except Exception:  # noqa: BLE001 (a ValueError, a TypeError for an unknown option, …)
            flawed = True
        if flawed:
            raise ConfigurationError(
                "RedisStore can't use this URL", advice="is its port a number, and each option redis-py's?"
            )

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[Any, None]:
        """Yield the running event loop's redis-py client, for inspecting the server."""
        loop = asyncio.get_running_loop()
        await self.__aenter__()
        try:
            yield self._loops[loop].client
        finally:
            # On a closed loop, the garbage collector runs this. Another loop may be running.
            if not loop.is_closed():
                await self.__aexit__(None, None, None)

    # The store's methods

    async def load(self, key: str) -> Token | None:
        """Return the token under a key; ``None``: there is none, or it is unreadable.

        Redis' own clock decides its age, even if the writer's wall clock was wrong.
        """
        name = self.prefix + key
        async with self.client() as client:
            pipeline = client.pipeline(transaction=False)
            # one byte more than an entry has, so a larger one is not read whole
            pipeline.getrange(name, 0, LARGEST_ENTRY)
            pipeline.pttl(name)
            raw, milliseconds = await pipeline.execute()
        entry = None if milliseconds == _ABSENT else self._read(key, raw)
        if entry is None or milliseconds < 0:
            return entry
        # Saving set the time-to-live to the entry's whole life less its age then, so what is missing is its age now.
        age = max(0.0, _life(entry) - milliseconds / 1000)
        # how far our clock is ahead of the writer's, within the duration of the calls
        ahead = time.time() - age - entry.issued_at
        return entry.moved(ahead) if abs(ahead) >= _SKEW else entry

    async def keys(self) -> list[str]:
        """Return the keys that have an entry, in order. Only reads (``SCAN``), and does not block Redis."""
        pattern = _GLOB.sub(r"\\\g<0>", self.prefix) + "*"
        found: set[str] = set()
        async with self.client() as client:
            async for name in client.scan_iter(match=pattern, count=_AT_ONCE):
                text = name if isinstance(name, str) else name.decode("utf-8", "replace")
                found.add(text[len(self.prefix) :])
        return sorted(key for key in found if is_key(key))  # without the locks

    async def save(self, key: str, token: Token) -> None:
        """Keep a token for as long as it is of use."""
        life, age = _life(token), time.time() - token.issued_at
        if not 0 <= age < life:
            age = 0.0  # written by a clock that differs from ours
        name, milliseconds = self.prefix + key, math.floor(1000 * (life - age))
        async with self.client() as client:
            if milliseconds > 0:
                await client.set(name, dumps(token), px=milliseconds)
            else:
                await client.delete(name)  # the entry that it replaces must go: its refresh token may be spent

    async def delete(self, key: str, token: Token) -> None:
        """Replace the entry with what remains of it, if it is this token's."""
        name = self.prefix + key
        async with self.client() as client:
            raw = await client.getrange(name, 0, LARGEST_ENTRY)
            stored = self._read(key, raw) if raw else None
            if stored is None or stored.value != token.value:
                return
            left = remains(stored)
            kept = "" if left is None else dumps(left)

            async def script() -> bool:
                return bool(await client.eval(_SWAP, 1, name, raw, kept))

            await self._comparison.change(
                client,
                name,
                raw.encode() if isinstance(raw, str) else raw,
                script=script,
                otherwise=lambda pipeline: pipeline.set(name, kept, keepttl=True) if kept else pipeline.delete(name),
            )

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[RedisLease, None]:
        """Hold a key's lock: only one task of one process at a time does. The lease is extended while the task runs.

        If the lock could not be released, leaving raises the reason; the lock then expires after 10 s.
        """
        from asyncauth.stores.redis_lock import RedisLease, RedisLock  # noqa: PLC0415 (an extra)

        problem: Exception | None = None
        async with self.client() as client:
            lock = RedisLock(client, f"{self.prefix}{key}:lock", self._comparison)
            lease = RedisLease(lock)
            try:
                sent_at = boottime()
                while not await lock.acquire():
                    await asyncio.sleep(_POLL)
                    sent_at = boottime()
                lease.begin(sent_at)
                yield lease
            finally:
                try:
                    problem = await lease.end()
                finally:  # also when the caller is cancelled
                    self._see_to_release(lock, lease)
        if problem is not None:
            raise problem

    def _see_to_release(self, lock: RedisLock, lease: RedisLease) -> None:
        """Keep trying to release a lock that is not released yet, while the store is open on the running loop."""
        if lease.released:
            return
        here = self._loops[asyncio.get_running_loop()]
        task = asyncio.ensure_future(lock.release_later())
        here.releasing.add(task)
        task.add_done_callback(here.releasing.discard)

    def _read(self, key: str, raw: Any) -> Entry | None:
        return self._reader.read(key, raw)

    @property
    def place(self) -> str:
        """The URL without user, password and query, for the log; the type of a client."""
        if not isinstance(self._given, str):
            return type(self._given).__name__
        parts = urlsplit(self._given)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        database = parts.path if parts.path[1:].isdecimal() else ""  # anything else may be a part of a password
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{database}"

    def __repr__(self) -> str:
        kind = self._given.split(":", 1)[0] + "://…" if isinstance(self._given, str) else type(self._given).__name__
        return f"<RedisStore {kind} {self.prefix!r}>"

    def __reduce__(self) -> NoReturn:
        msg = "a RedisStore cannot be pickled: make one in the process that uses it"
        raise TypeError(msg)


def _life(token: Token) -> float:
    """Return how many seconds an entry is kept in total."""
    return min(time_to_live(token, token.issued_at), LONGEST)  # Redis rejects far larger numbers
