"""redis-py's lock, for a holder that lives, and for a Redis user that may not run scripts.

redis-py gives a lock back, and extends it, by a script. Where the user may run none (ACL, some managed services and
proxies), the lock would be taken and not given back, and everybody would wait for its lease. The same is then done
with ``WATCH`` and ``MULTI``. Where neither is allowed, no lock is taken. Needs redis-py: imported when a store is made.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

from redis.exceptions import LockError, NoPermissionError, RedisError, ResponseError, WatchError

from asyncauth._base.printable import printable
from asyncauth.clock import boottime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Comparison", "RedisLease", "RedisLock"]

_LEASE = 10.0
"""Seconds that a lock outlives a holder that died."""
_EXTEND_EVERY = 3.0
_FAREWELL = 1.0
"""Seconds that giving a lock back may take: it ends by itself."""

_AGAIN = 0.3
"""Seconds between tries to give back a lock that Redis may have given after all."""

_log = logging.getLogger("asyncauth.stores")


class Comparison:
    """Changes a key if it still has a known value: in a script, or with ``WATCH`` and ``MULTI`` if none may be run.

    Args:
        place: What the store is called in the log.

    Attributes:
        works: Whether a change was allowed, so that the next one will be.
    """

    def __init__(self, place: str) -> None:
        self._place = printable(place)
        self._scripts = True
        self.works = False

    async def change(
        self,
        client: Any,
        name: str,
        value: bytes,
        *,
        script: Callable[[], Awaitable[bool]],
        otherwise: Callable[[Any], object],
    ) -> bool:
        """Change a key if it has the value; return whether it had.

        Args:
            client: redis-py's.
            name: The key.
            value: The value that was read or written.
            script: Compares and changes in a script, and returns whether the key had the value.
            otherwise: Queues the change in a transaction.

        Raises:
            redis.exceptions.RedisError: Redis failed, or the user may do neither.
        """
        if self._scripts:
            try:
                changed = await script()
            except ResponseError as error:
                if not _is_forbidden(error):
                    raise
            else:
                self.works = True
                return changed
        self.works = False
        changed = await _changed_in_transaction(client, name, value, otherwise)
        if self._scripts:
            self._scripts = False
            _log.warning(
                "%s: scripts are forbidden; WATCH compares locks and entries instead; no action needed", self._place
            )
        self.works = True
        return changed


def _is_forbidden(error: Exception) -> bool:
    """Return whether an answer says that a command may not be used, or that the server does not have it."""
    return isinstance(error, NoPermissionError) or str(error).lower().startswith("unknown command")


async def _changed_in_transaction(client: Any, name: str, value: bytes, change: Callable[[Any], object]) -> bool:
    async with client.pipeline(transaction=True) as pipeline:
        await pipeline.watch(name)
        found = await pipeline.get(name)
        same = (found.encode() if isinstance(found, str) else found) == value
        pipeline.multi()
        if same:
            change(pipeline)
        else:
            pipeline.get(name)  # changes nothing, and shows that a transaction is allowed
        try:
            await pipeline.execute()
        except WatchError:
            return False
    return bool(same)


class RedisLock:
    """redis-py's lock of one key, for one holder.

    Args:
        client: redis-py's.
        name: The lock's key.
        comparison: The store's.
    """

    def __init__(self, client: Any, name: str, comparison: Comparison) -> None:
        self._client = client
        self._name = name
        self._comparison = comparison
        # Its own token, so that a lock taken in the very moment of a cancellation can be given back.
        self._token = uuid.uuid4().hex.encode()
        self._lock = client.lock(name, timeout=_LEASE, thread_local=False)

    async def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held.

        The first time it is given back before it is taken, to see whether that will be possible.
        """
        if not self._comparison.works:
            await _unless_cancelled(self.release())
        return await _unless_cancelled(self._lock.acquire(blocking=False, token=self._token))

    async def extend(self) -> bool:
        """Begin the lease anew; return whether the lock was still held."""

        async def script() -> bool:
            return await _held(self._lock.extend(_LEASE, replace_ttl=True))

        return await _unless_cancelled(
            self._comparison.change(
                self._client,
                self._name,
                self._token,
                script=script,
                otherwise=lambda pipeline: pipeline.pexpire(self._name, round(1000 * _LEASE)),
            )
        )

    async def release_later(self) -> None:
        """Give the lock back as soon as Redis answers again, unless it has ended by itself before that.

        A Redis that stood still carries out what it was sent meanwhile: it may give the lock to nobody. One whose disk
        is full, or that is a replica, refuses to write for a while.
        """
        until = boottime() + _LEASE
        while boottime() < until:
            await asyncio.sleep(_AGAIN)
            try:
                await self.release()
            except (RedisError, OSError) as error:
                if _is_forbidden(error):
                    return
            else:
                return

    async def release(self) -> bool:
        """Give the lock back; return whether it was held."""

        async def script() -> bool:
            return await _held(self._lock.do_release(self._token))

        return await self._comparison.change(
            self._client,
            self._name,
            self._token,
            script=script,
            otherwise=lambda pipeline: pipeline.delete(self._name),
        )


async def _held(call: Awaitable[object]) -> bool:
    """Return whether the lock was still held when a call is made for it."""
    try:
        await call
    except LockError:
        return False
    return True


async def _unless_cancelled(call: Awaitable[bool]) -> bool:
    """Return what a call returns; raise a cancellation that it swallowed.

    redis-py loses one that arrives while it connects or sends: a task that waits for a lock would wait on, and one that
    extends one would go on.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    result = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


class RedisLease:
    """A lock that is held, and the task that extends it.

    Attributes:
        released: Whether Redis has answered that the lock is free of this holder.
    """

    __slots__ = ("_extending", "_lock", "_until", "released")

    def __init__(self, lock: RedisLock) -> None:
        self._lock = lock
        self.released = False
        self._until = 0.0
        self._extending: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether another process may hold the lock by now."""
        return boottime() >= self._until  # it runs out during suspend, too

    def begin(self, since: float) -> None:
        """Start to extend the lease, which began when its request was sent."""
        self._until = since + _LEASE
        self._extending = asyncio.ensure_future(self._extend())

    async def _extend(self) -> None:
        while not self.lost:
            await asyncio.sleep(_EXTEND_EVERY)
            before = boottime()
            try:
                async with asyncio.timeout(_EXTEND_EVERY):
                    held = await self._lock.extend()
            except (RedisError, OSError, TimeoutError):
                continue  # Redis may be back before the lease is over
            self._until = before + _LEASE if held else 0.0

    async def end(self) -> Exception | None:
        """Stop to extend, and give the lock back if it is held; return what went wrong. Then it ends by itself."""
        release = asyncio.ensure_future(self._release())
        try:
            # Not cancelled with the caller: the others would wait for the lease to run out.
            await asyncio.wait((release,), timeout=_FAREWELL)
        finally:
            release.cancel()
            (outcome,) = await asyncio.gather(release, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return TimeoutError()
        return outcome if isinstance(outcome, Exception) else None

    async def _release(self) -> None:
        if self._extending is not None:
            self._extending.cancel()
            await asyncio.gather(self._extending, return_exceptions=True)
        await self._lock.release()
        self.released = True
