"""redis-py's lock, extended by its holder, which also works for a Redis user that may not run scripts.

redis-py releases and extends a lock with a script. If the user may run none (ACL, some managed services and proxies),
the lock would be taken and never released, and all processes would wait for its lease. In that case, the same is done
with ``WATCH`` and ``MULTI``. If these are not allowed either, no lock is taken. Needs redis-py, so it is imported when
a store is made.
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
"""Seconds until a lock expires after its holder ended."""
_EXTEND_EVERY = 3.0
_FAREWELL = 1.0
"""Seconds that releasing a lock may take; it expires anyway."""

_AGAIN = 0.3
"""Seconds between tries to release a lock that Redis may have granted after all."""

_log = logging.getLogger("asyncauth.stores")


class Comparison:
    """Changes a key if it has a known value: with a script, or with ``WATCH`` and ``MULTI`` if scripts are forbidden.

    Args:
        place: The store's name in the log.

    Attributes:
        works: Whether the last change was allowed, so that the next one will be, too.
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
            client: A redis-py client.
            name: The key.
            value: The value that was read or written.
            script: Compares and changes in a script, and returns whether the key had the value.
            otherwise: Queues the change in a transaction.

        Raises:
            redis.exceptions.RedisError: Redis failed, or the user may use neither way.
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
    """Return whether an answer means that a command is forbidden, or that the server does not have it."""
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
            pipeline.get(name)  # changes nothing, but shows that a transaction is allowed
        try:
            await pipeline.execute()
        except WatchError:
            return False
    return bool(same)


class RedisLock:
    """redis-py's lock of one key, for one holder.

    Args:
        client: A redis-py client.
        name: The lock's key.
        comparison: The store's `Comparison`.
    """

    def __init__(self, client: Any, name: str, comparison: Comparison) -> None:
        self._client = client
        self._name = name
        self._comparison = comparison
        # A token made here, so that a lock that is granted just when the task is cancelled can be released.
        self._token = uuid.uuid4().hex.encode()
        self._lock = client.lock(name, timeout=_LEASE, thread_local=False)

    async def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held.

        The first time, it is released before it is taken, to check whether releasing is possible.
        """
        if not self._comparison.works:
            await _unless_cancelled(self.release())
        return await _unless_cancelled(self._lock.acquire(blocking=False, token=self._token))

    async def extend(self) -> bool:
        """Restart the lease; return whether the lock was still held."""

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
        """Release the lock as soon as Redis answers again, unless it expires before that.

        When a Redis that was stopped continues, it carries out what it was sent meanwhile, so it may grant the lock to
        a holder that is gone. A Redis whose disk is full, or that is a replica, rejects writes for a while.
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
        """Release the lock; return whether it was held."""

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
    """Return whether the lock was still held when a call was made for it."""
    try:
        await call
    except LockError:
        return False
    return True


async def _unless_cancelled(call: Awaitable[bool]) -> bool:
    """Return the result of a call; raise a cancellation that the call swallowed.

    redis-py loses a cancellation that arrives while it connects or sends. The task would then continue to wait for a
    lock, or to extend it.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    result = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


class RedisLease:
    """A held lock, and the task that extends it.

    Attributes:
        released: Whether Redis has confirmed that this holder no longer has the lock.
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
        return boottime() >= self._until  # the lease runs out during suspend, too

    def begin(self, since: float) -> None:
        """Start to extend the lease, which began at ``since``, when its request was sent."""
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
                continue  # Redis may answer again before the lease ends
            self._until = before + _LEASE if held else 0.0

    async def end(self) -> Exception | None:
        """Stop extending, and release the lock if it is held; return the error, if any. The lock then expires."""
        release = asyncio.ensure_future(self._release())
        try:
            # Not cancelled with the caller: the others would wait until the lease ends.
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
