"""Health checks for orchestrators and load balancers: whether a process is alive, and whether it is ready.

These are two checks. A process without a token is alive: restarting it would bring no token, and would cost another
token request. But it may be taken out of rotation until it has a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web

from asyncauth.errors import AuthError, ConfigurationError
from asyncauth.manager import TokenManager

if TYPE_CHECKING:
    from asyncauth.pool import ManagerPool

__all__ = ["health_app", "health_handler", "live_handler", "readiness"]

Checked: TypeAlias = "TokenManager | ManagerPool[Any] | Callable[[], TokenManager | ManagerPool[Any]]"
"""A manager, a pool, or a function that returns one that is made later."""

_Message: TypeAlias = MutableMapping[str, Any]
_App: TypeAlias = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application."""

_PATIENCE = 0.5
"""Seconds that a check waits for a missing token: probes wait for 1 s by default."""


async def readiness(*checked: Checked) -> tuple[int, dict[str, Any]]:
    """Return a status code and a JSON body: whether a request made now would have a token.

    For any framework. The status is 200 if all managers and pools are `healthy <Status.healthy>`, else 503. The body is
    ``{"healthy": …, "process": …, "managers": […]}``, with the process' number. While all are healthy, this does no
    I/O: a token that was not requested yet counts as healthy. An unhealthy manager first tries again, as for any
    caller, so no sooner than its cool-down allows; this waits at most 0.5 s for it. Otherwise, a process that gets no
    requests because it is not ready would never become ready again.

    The body contains no secret, but errors may contain names of accounts and tenants: show it to your own monitoring,
    not to the public.

    Args:
        checked: Managers and pools, in the order of the body.

    Raises:
        ConfigurationError: No manager or pool was given.
    """
    _check(checked)
    found = [each() if callable(each) else each for each in checked]
    await asyncio.gather(*(_try(each) for each in found if not each.status().healthy))
    statuses = [each.status() for each in found]
    healthy = all(status.healthy for status in statuses)
    body = {"healthy": healthy, "process": os.getpid(), "managers": [status.as_dict() for status in statuses]}
    return 200 if healthy else 503, body


def health_handler(*checked: Checked) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler for ``aiohttp.web`` that answers with the result of `readiness`.

    ::

        app.add_routes([web.get("/health/live", live_handler), web.get("/health/ready", health_handler(manager))])

    Args:
        checked: See `readiness`.

    Raises:
        ConfigurationError: No manager or pool was given.
    """
    _check(checked)

    async def handler(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp passes it)
        status, body = await readiness(*checked)
        return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})

    return handler


async def live_handler(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp passes it)
    """Answer 200, since the event loop runs. A handler for ``aiohttp.web``.

    It does not depend on tokens, so that an orchestrator does not restart a process that lacks one.
    """
    return web.json_response(_alive(), headers={"Cache-Control": "no-store"})


def health_app(*checked: Checked) -> _App:
    """Return an ASGI application that answers ``/live`` with 200, and ``/ready`` with the result of `readiness`.

    For FastAPI, Starlette, and other frameworks that mount ASGI applications::

        app.mount("/health", health_app(lambda: app.state.manager))

    Any other path is answered with 404.

    Args:
        checked: See `readiness`.

    Raises:
        ConfigurationError: No manager or pool was given.
    """
    _check(checked)

    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":  # a WebSocket: the server answers 403
            await receive()
            await send({"type": "websocket.close"})
            return
        path = scope["path"].rstrip("/").rpartition("/")[2]
        if path == "live":
            status, body = 200, _alive()
        elif path == "ready":
            status, body = await readiness(*checked)
        else:
            status, body = 404, {"error": "there are /live and /ready"}
        headers = [(b"content-type", b"application/json; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        content = b"" if scope["method"] == "HEAD" else json.dumps(body).encode()
        await send({"type": "http.response.body", "body": content})

    return app


def _alive() -> dict[str, Any]:
    return {"alive": True, "process": os.getpid()}


def _check(checked: Iterable[Checked]) -> None:
    if not list(checked):
        raise ConfigurationError("a health check takes at least one TokenManager or ManagerPool")


async def _try(checked: TokenManager | ManagerPool[Any]) -> None:
    """Request a token as any caller would, and wait at most `_PATIENCE` for it; the refresh continues afterwards."""
    if isinstance(checked, TokenManager):
        await _try_manager(checked)
    else:
        await asyncio.gather(*(_try_tenant(checked, key) for key in checked.status().failing))


async def _try_tenant(pool: ManagerPool[Any], key: Any) -> None:
    with contextlib.suppress(AuthError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await (await pool.get(key)).token()


async def _try_manager(manager: TokenManager) -> None:
    with contextlib.suppress(AuthError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await manager.token()
