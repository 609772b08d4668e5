"""The connections of a Redis store that was given a URL. Needs redis-py: imported when a store is made."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from asyncauth.clock import boottime

__all__ = ["IDLE", "ClientMaker"]

IDLE = 30.0
"""Seconds after which an unused connection is closed: whatever stands between may have dropped it without a word."""
_CONTEXT_AGE = 60.0
"""Seconds for which connections share what was read of certificate files: a file may be replaced."""
_CONNECTIONS = 20
"""Connections of one client, if the URL names no ``max_connections``: as many as a pool makes token requests."""
_PATIENCE = 1.0
"""Seconds that Redis may take for one answer, if the URL names no ``socket_timeout``."""


class ClientMaker:
    """Makes clients for a URL, which share what is expensive to make.

    Args:
        url: As redis-py takes it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._context: Any = None
        self._context_until = 0.0

    def client(self) -> Redis:
        """Return a client that opens connections when it is used. Any thread.

        Raises:
            ValueError: redis-py can't use the URL. Or a ``TypeError``, or whatever else it raises; texts may hold the
                password.
        """
        # No waiting between tries: a caller has a second for a call, and then does without the store. A caller that
        # waits for the lock has longer, but must notice as soon that Redis no longer answers.
        defaults = {
            "retry": Retry(NoBackoff(), 1),
            "socket_timeout": _PATIENCE,
            "socket_connect_timeout": _PATIENCE,
            "max_connections": _CONNECTIONS,
        }
        make: Any = getattr(_Pool, "from_url")  # noqa: B009 (loosely typed there)
        pool: _Pool = make(self._url, **defaults)
        pool.maker = self
        return Redis.from_pool(pool)

    def share_context(self, connection: Any) -> None:
        """Have a TLS connection use the certificates that another one has read: that takes 20 ms each time."""
        own = getattr(connection, "ssl_context", None)
        if own is None:
            return
        if boottime() >= self._context_until:
            self._context, self._context_until = own, boottime() + _CONTEXT_AGE
        connection.ssl_context = self._context


class _Pool(ConnectionPool):
    """A pool that makes calls wait for a free connection, and hands out none that was idle for long.

    redis-py's own pool that waits loses a connection when a call is cancelled.

    Attributes:
        maker: Who made it.
    """

    maker: ClientMaker

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        base: Any = super()  # loosely typed there
        base.__init__(*args, **kwargs)
        self._slots = asyncio.Semaphore(self.max_connections)
        self._taken: set[Any] = set()
        self._idle_since: dict[Any, float] = {}

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        await self._slots.acquire()
        try:
            connection: Any = await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]
        except BaseException:
            self._slots.release()
            raise
        self._taken.add(connection)
        return connection

    def make_connection(self) -> Any:
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        self.maker.share_context(connection)
        return connection

    async def ensure_connection(self, connection: Any) -> None:
        await self._close_idle()
        self._idle_since.pop(connection, None)
        await super().ensure_connection(connection)

    async def release(self, connection: Any) -> None:
        self._idle_since[connection] = boottime()
        try:
            await super().release(connection)
        finally:
            if connection in self._taken:  # else it could not be connected, and was never handed out
                self._taken.remove(connection)
                self._slots.release()

    async def _close_idle(self) -> None:
        """Close what has long been idle. The next user of such a connection opens it again."""
        for connection, since in list(self._idle_since.items()):  # the longest idle first
            if boottime() < since + IDLE:
                break
            del self._idle_since[connection]
            await connection.disconnect(nowait=True)
