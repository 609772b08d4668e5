"""Litestar with several uvicorn workers: in each, ``lifespan`` opens the manager at startup, and closes it at the end.

Run:  uvicorn litestar_app:app --workers 4 --port 8000
Ask:  curl 'http://127.0.0.1:8000/clients?page=1'
      curl http://127.0.0.1:8000/health/ready      (503 when no token can be obtained; /health/live is always 200)
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response, asgi, get
from litestar.datastructures import State

from asyncauth import AuthError, Peakly, TokenManager, client_session
from asyncauth.stores import RedisStore
from asyncauth.telemetry.health import health_app

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    """Open the manager and the session, once per worker, and close them when the application ends."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    async with (
        TokenManager(provider, store=RedisStore(REDIS_URL)) as app.state.manager,
        client_session(app.state.manager, base_url=PEAKLY_URL, raise_for_status=True) as app.state.peakly,
    ):
        yield


def no_token(_: Request[Any, Any, State], __: AuthError) -> Response[dict[str, str]]:
    """Answer 503 when no token can be obtained: the client did nothing wrong, and may try again in a minute."""
    return Response({"detail": "the service has no access to Peakly at the moment"}, status_code=503)


@get("/clients")
async def clients(state: State, page: int = 1) -> Any:
    """Answer with one page of clients. The session adds the token to the request."""
    async with state.peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


def its_manager() -> TokenManager:
    """Return the manager for the health checks. It exists once the application has started."""
    manager: TokenManager = app.state.manager
    return manager


health = asgi("/health", is_mount=True)(health_app(its_manager))
app = Litestar([clients, health], lifespan=[lifespan], exception_handlers={AuthError: no_token})
