"""A health check for ``aiohttp.web``: whether a request made now would have a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncauth.manager import TokenManager
    from asyncauth.pool import ManagerPool

__all__ = ["health_handler"]


def health_handler(*managers: TokenManager | ManagerPool[Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that answers with the status of managers and pools, as JSON.

    ::

        app.router.add_get("/health/tokens", health_handler(manager))

    It answers 200 if all of them are `healthy <Status.healthy>`, else 503, with ``{"healthy": …, "managers": […]}``.
    It asks nothing of anybody: a token that nobody has wanted yet is no fault. No secret is in it, but accounts' and
    tenants' names may be in errors: it is for your own monitoring, not for everybody.

    Args:
        managers: Whose status it is, in the order of the answer.

    Raises:
        ConfigurationError: There are none.
    """
    if not managers:
        raise ConfigurationError("health_handler takes at least one TokenManager or ManagerPool")

    async def handler(request: web.Request) -> web.Response:  # noqa: ARG001 (aiohttp's)
        statuses = [manager.status() for manager in managers]
        healthy = all(status.healthy for status in statuses)
        body = {"healthy": healthy, "managers": [status.as_dict() for status in statuses]}
        return web.json_response(body, status=200 if healthy else 503, headers={"Cache-Control": "no-store"})

    return handler
