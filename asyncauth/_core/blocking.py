"""Tokens for code that has no event loop: Django, Flask, scripts, the tasks of a queue."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from asyncauth._core.flight_endings import leave_all
from asyncauth._core.provider_members import origins_of
from asyncauth._core.revoke import log_out
from asyncauth._core.short_loop import collect_unfinished, finish, short_loop
from asyncauth._core.trial import Use
from asyncauth.clock import boottime
from asyncauth.errors import AuthError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from yarl import URL

    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.engine import TokenEngine
    from asyncauth._core.short_loop import Unfinished
    from asyncauth.status import Revocation
    from asyncauth.token import Token

__all__ = ["Blocking", "obtain"]

_T = TypeVar("_T")


class Blocking:
    """A manager's token for code without an event loop, from ``TokenManager.blocking``.

    ::

        manager = TokenManager(Peakly(username=..., password=...))  # once per process
        response = requests.get(url, headers=manager.blocking.headers(url), timeout=10)

    While the token is fresh, a call does no I/O and makes no event loop. Any other call runs its own event loop, and
    leaves no thread, connection or task behind. The only exception is a thread that still resolves a host name or waits
    for a disk at the deadline, since nothing can interrupt it. A call therefore waits for the work that it starts, even
    for the renewal of a token that is still usable: otherwise the renewal might be cut off after it sent a refresh
    token. If that renewal fails, the call returns the token that is still usable. Before a call returns, the listeners
    receive its events, for at most `RefreshPolicy.close_grace`.

    Concurrency: any number of threads and event loops may use one manager at the same time, with blocking calls and
    with ``await``. They make one token request together. A forked process keeps using its parent's token.

    If a call is interrupted (``Ctrl+C``, or an exception from a signal handler), a token request in progress has
    `RefreshPolicy.close_grace` to finish.

    The manager need not be entered, and there is nothing to close.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: TokenEngine) -> None:
        self._engine = engine

    def token(self) -> Token:
        """Return a usable token.

        If the token is fresh, the call returns at once. If it is stale, the call first renews it, and returns a token
        whether that succeeds or fails. It returns at once if another thread or event loop is renewing the token, or if
        the last renewal has just failed. If the token is spent, all callers wait for the same refresh.

        Raises:
            ConfigurationError: An event loop is running in this thread.
            AuthError: See `TokenManager.token`.
        """
        self._refuse_loop("token()")
        return obtain(self._engine).token

    def headers(self, url: str | URL | None = None) -> dict[str, str]:
        """Return ``{"Authorization": "Bearer …"}`` with a usable token, as `TokenManager.headers` does.

        Args:
            url: The whole URL of the request that the headers are for. If its origin is not one of
                `TokenManager.origins`, the result is ``{}``, and no token is obtained. ``None`` (default): the URL is
                not checked, so make sure that the headers go to these origins only.

        Raises:
            ConfigurationError: An event loop is running in this thread; or see `TokenManager.headers`.
            AuthError: See `TokenManager.headers`.
        """
        self._refuse_loop("headers()")
        engine = self._engine
        header = engine.options.header_for(url, origins_of(engine.provider))
        return {} if header is None else {header: obtain(engine).authorization}

    def refresh(self) -> Token:
        """Obtain a new token now, and return it, as `TokenManager.refresh` does.

        Raises:
            ConfigurationError: An event loop is running in this thread.
            AuthError: See `TokenManager.refresh`.
        """
        self._refuse_loop("refresh()")
        return _run(self._engine, self._engine.refresh)

    def revoke(self) -> Revocation:
        """Log out, as `TokenManager.revoke` does.

        Raises:
            ConfigurationError: An event loop is running in this thread.
        """
        self._refuse_loop("revoke()")
        return _run(self._engine, partial(log_out, self._engine))

    def __repr__(self) -> str:
        return f"{self._engine!r}.blocking"

    def _refuse_loop(self, call: str) -> None:
        """Raise `ConfigurationError` where an event loop is running, which would stand still meanwhile."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise ConfigurationError(
            f"blocking.{call} would stop the event loop that is running in this thread",
            advice=f"write 'await manager.{call}'; or call it in another thread, as asyncio.to_thread() does",
        )


def obtain(engine: TokenEngine, use: Use = Use.BY_HAND) -> CachedToken:
    """Return a usable token: what everything that hands one out without an event loop calls.

    Args:
        engine: The manager's.
        use: What it is for, see `TokenEngine.obtain`.
    """
    store_client = engine.store_client
    if store_client is not None and store_client.save_due:
        _run(engine, store_client.save_again)
    cached = engine.state.cached
    if use is Use.BY_HAND and boottime() < cached.fast_until:
        return cached
    guard = engine.runtime.guard
    with guard:
        at_hand = None if engine.closing else engine.at_hand(use)
    while at_hand is None:
        _run(engine, engine.obtain)
        with guard:
            at_hand = engine.at_hand(use, stale=True)
    return at_hand


def _run(engine: TokenEngine, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run some work on an event loop of its own; return what it returns when nothing else is under way there."""
    # With a factory the runner leaves the thread's current event loop alone, which is another one or none.
    with asyncio.Runner(loop_factory=short_loop) as runner:
        unfinished = collect_unfinished(runner.get_loop())
        patience: float | None = engine.runtime.policy.close_grace
        try:
            result = runner.run(work())
            patience = None
        except AuthError:
            patience = None
            raise
        finally:
            try:
                runner.run(_finish(engine, unfinished, patience))
            finally:
                unfinished.clear()  # after an interruption: what is left would keep the loop in memory
        return result


async def _finish(engine: TokenEngine, unfinished: list[Unfinished], patience: float | None) -> None:
    """End what is under way on the running loop, and have listeners told of it."""
    await leave_all(patience)
    await finish(unfinished, patience)
    await engine.runtime.listeners.catch_up(engine.runtime.policy.close_grace)
