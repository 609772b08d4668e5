"""Health checks for orchestrators and load balancers: whether a process lives, and whether it can do its work.

They are two. A process without a token is alive: starting it anew would bring no token, and would ask the token
endpoint once more. But it may be taken out of rotation until it has one.
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
"""What is looked at: a manager, a pool, or a function that returns one, for those that are made later."""

_Message: TypeAlias = MutableMapping[str, Any]
_App: TypeAlias = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application."""

_PATIENCE = 0.5
"""Seconds that a check waits for a token that is missing: probes wait for a second by default."""


async def readiness(*checked: Checked) -> tuple[int, dict[str, Any]]:
    """Return a status code and a JSON body that say whether requests made now would have a token.

    For any framework. The status is 200 if all managers and pools are `healthy <Status.healthy>`, else 503; the body is
    ``{"healthy": …, "process": …, "managers": […]}``, with the number of the process that answers. No I/O while they
    are: a token that nobody has requested yet counts as healthy. A manager that is not tries again first, as for any
    caller, so no sooner than its cool-down allows; this waits for up to 0.5 s. Otherwise a process that gets no
    requests because it is not ready would never be ready again.

    No secret is in the body, but accounts' and tenants' names may be in errors: it is for your own monitoring, not for
    everybody.

    Args:
        checked: Whose status it is, in the order of the body.

    Raises:
        ConfigurationError: There are none.
    """
    _check(checked)
    found = [each() if callable(each) else each for each in checked]
    await asyncio.gather(*(_try(each) for each in found if not each.status().healthy))
    statuses = [each.status() for each in found]
    healthy = all(status.healthy for status in statuses)
    body = {"healthy": healthy, "process": os.getpid(), "managers": [status.as_dict() for status in statuses]}
    return 200 if healthy else 503, body


def health_handler(*checked: Checked) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler of ``aiohttp.web`` that answers as `readiness` says.

    ::

        app.add_routes([web.get("/health/live", live_handler), web.get("/health/ready", health_handler(manager))])

    Args:
        checked: See `readiness`.

    Raises:
        ConfigurationError: There are none.
    """
    _check(checked)

    async def handler(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp's)
        status, body = await readiness(*checked)
        return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})

    return handler


async def live_handler(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp's)
    """Answer 200: the event loop runs. A handler of ``aiohttp.web``.

    Tokens have no part in it, so that an orchestrator does not restart a process for the lack of one.
    """
    return web.json_response(_alive(), headers={"Cache-Control": "no-store"})


def health_app(*checked: Checked) -> _App:
    """Return an ASGI application that answers ``/live`` with 200, and ``/ready`` as `readiness` says.

    For FastAPI, Starlette, and whatever else mounts ASGI applications::

        app.mount("/health", health_app(lambda: app.state.manager))

    Any other path is answered with 404.

    Args:
        checked: See `readiness`.

    Raises:
        ConfigurationError: There are none.
    """
    _check(checked)

    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":  # a WebSocket: a server answers 403
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
    """Have a token requested as for any caller, and wait for it for a while; the refresh goes on without the caller."""
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
