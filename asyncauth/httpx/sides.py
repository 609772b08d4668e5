"""How requests are sent and tokens obtained: with an event loop, or without one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from asyncauth._core.blocking import obtain
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import httpx

    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.engine import TokenEngine
    from asyncauth._core.trial import Use

__all__ = ["ASYNC", "BLOCKING", "Side", "require_asyncio", "run"]

_T = TypeVar("_T")


class Side(Protocol):
    """How requests are sent and tokens obtained: with coroutines, or with functions that block."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        """Send a request unchanged."""
        ...

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        """Return a usable token."""
        ...

    async def pause(self, engine: TokenEngine, seconds: float) -> None:
        """Wait."""
        ...

    async def read(self, response: httpx.Response) -> None:
        """Read an answer's body to its end, and discard it."""
        ...

    async def close(self, response: httpx.Response) -> None:
        """Close an answer."""
        ...


class _Async:
    """With an event loop."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await transport.handle_async_request(request)
        return response

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        require_asyncio()
        return await engine.obtain(use)

    async def pause(self, engine: TokenEngine, seconds: float) -> None:
        # By the manager's clock or the event loop's, whichever is first: a test's clock may stand still.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await engine.runtime.clock.sleep(seconds)

    async def read(self, response: httpx.Response) -> None:
        async for _ in cast("httpx.AsyncByteStream", response.stream):
            pass

    async def close(self, response: httpx.Response) -> None:
        await response.aclose()


ASYNC: Final = _Async()


def require_asyncio() -> None:
    """Raise `ConfigurationError` if no asyncio event loop is running: httpx's clients run on trio, too."""
    if not _is_asyncio_here():
        raise ConfigurationError("asyncauth needs asyncio, but no asyncio event loop is running here")


class _Blocking:
    """Without an event loop: these coroutines block instead of waiting."""

    async def send(self, transport: Any, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = transport.handle_request(request)
        return response

    async def obtain(self, engine: TokenEngine, use: Use) -> CachedToken:
        if _is_asyncio_here():
            raise ConfigurationError(
                "an httpx.Client would stop the event loop that is running in this thread",
                advice="use async_client; or call it in another thread, as asyncio.to_thread() does",
            )
        return obtain(engine, use)

    async def pause(self, engine: TokenEngine, seconds: float) -> None:  # noqa: ARG002 (its clock does not sleep here)
        time.sleep(seconds)  # noqa: ASYNC251 (no event loop is running)

    async def read(self, response: httpx.Response) -> None:
        for _ in cast("httpx.SyncByteStream", response.stream):
            pass

    async def close(self, response: httpx.Response) -> None:
        response.close()


BLOCKING: Final = _Blocking()


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        value: _T = result.value
        return value
    coroutine.close()
    raise ConfigurationError("refused= takes a plain function here: an httpx.Client has no event loop to wait on")


def _is_asyncio_here() -> bool:
    """Return whether an event loop of asyncio is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
