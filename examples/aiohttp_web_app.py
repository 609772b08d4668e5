"""aiohttp.web: ``cleanup_ctx`` opens the manager when the application starts, and closes it when it ends.

Run:  python aiohttp_web_app.py 8080     (start it several times: all processes share the port and the token)
Ask:  curl 'http://127.0.0.1:8080/clients?page=1'
      curl http://127.0.0.1:8080/health/ready      (503 when no token can be obtained; /health/live is always 200)
"""

import os
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from asyncauth import AuthError, Peakly, TokenManager, client_session
from asyncauth.stores import RedisStore
from asyncauth.telemetry.health import health_handler, live_handler

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

MANAGER = web.AppKey("manager", TokenManager)
PEAKLY = web.AppKey("peakly", aiohttp.ClientSession)


async def peakly(app: web.Application) -> AsyncIterator[None]:
    """Open the manager and the session that the handlers use, and close them when the application ends."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    async with (
        TokenManager(provider, store=RedisStore(REDIS_URL)) as app[MANAGER],
        client_session(app[MANAGER], base_url=PEAKLY_URL, raise_for_status=True) as app[PEAKLY],
    ):
        yield


@web.middleware
async def no_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 503 when no token can be obtained: the client did nothing wrong, and may try again in a minute."""
    try:
        return await handler(request)
    except AuthError:
        return web.json_response({"detail": "the service has no access to Peakly at the moment"}, status=503)


async def clients(request: web.Request) -> web.Response:
    """Answer with one page of clients. The session adds the token to the request."""
    page = request.query.get("page", "1")
    async with request.app[PEAKLY].get("/api/Ventas/Clientes/Page", params={"page": page, "rows": "50"}) as response:
        return web.json_response(await response.json())


def application() -> web.Application:
    """Return the application."""
    app = web.Application(middlewares=[no_token])
    app.cleanup_ctx.append(peakly)
    app.add_routes(
        [
            web.get("/clients", clients),
            web.get("/health/live", live_handler),
            web.get("/health/ready", health_handler(lambda: app[MANAGER])),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), reuse_port=True)
