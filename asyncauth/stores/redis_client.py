"""The connections of a Redis store with a URL. Needs redis-py, so it is imported when a store is made."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from asyncauth.clock import boottime

__all__ = ["IDLE", "ClientMaker"]

IDLE = 30.0
"""Seconds after which an unused connection is closed: a firewall or proxy may have dropped it silently."""
_CONTEXT_AGE = 60.0
"""Seconds for which connections share the certificates that one of them read, since the files may be replaced."""
_CONNECTIONS = 20
"""Connections per client if the URL has no ``max_connections``: as many as a pool makes token requests at once."""
_PATIENCE = 1.0
"""Seconds that Redis may take for one answer if the URL has no ``socket_timeout``."""


class ClientMaker:
    """Makes clients for a URL. They share what is slow to make.

    Args:
        url: A URL in redis-py's form.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._context: Any = None
        self._context_until = 0.0

    def client(self) -> Redis:
        """Return a client that opens connections on use. Usable in any thread.

        Raises:
            ValueError: redis-py can't use the URL. It may also raise a ``TypeError``, or others. Their texts may
                contain the password.
        """
        # No pause between tries: a call to the store may take one second, after which the caller continues without the
        # store. A caller that waits for the lock has longer, but must learn as soon that Redis no longer answers.
        defaults = {
            "retry": Retry(NoBackoff(), 1),
            "socket_timeout": _PATIENCE,
            "socket_connect_timeout": _PATIENCE,
            "max_connections": _CONNECTIONS,
        }
        make: Any = getattr(_Pool, "from_url")  # noqa: B009 (loosely typed in redis-py)
        pool: _Pool = make(self._url, **defaults)
        pool.maker = self
        return Redis.from_pool(pool)

    def share_context(self, connection: Any) -> None:
        """Let a TLS connection use the certificates that another one read: reading them takes 20 ms each time."""
        own = getattr(connection, "ssl_context", None)
        if own is None:
            return
        if boottime() >= self._context_until:
            self._context, self._context_until = own, boottime() + _CONTEXT_AGE
        connection.ssl_context = self._context


class _Pool(ConnectionPool):
    """A pool that makes calls wait for a free connection, and never hands out one that was idle for long.

    redis-py's own blocking pool loses a connection when a call is cancelled.

    Attributes:
        maker: The maker of this pool's client.
    """

    maker: ClientMaker

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        base: Any = super()  # loosely typed in redis-py
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
            if connection in self._taken:  # else connecting failed, and it was never handed out
                self._taken.remove(connection)
                self._slots.release()

    async def _close_idle(self) -> None:
        """Close connections that were idle for long. They are reopened on use."""
        for connection, since in list(self._idle_since.items()):  # the longest idle first
            if boottime() < since + IDLE:
                break
            del self._idle_since[connection]
            await connection.disconnect(nowait=True)
