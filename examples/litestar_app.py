"""Litestar under uvicorn with several workers: the token lives as long as the application does (``lifespan``).

Run:  uvicorn litestar_app:app --workers 4 --port 8000
Ask:  curl 'http://127.0.0.1:8000/clients?page=1'
      curl http://127.0.0.1:8000/health/ready      (503 when no token can be had; /health/live is always 200)
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
    """Open what the handlers use, and close it when the application ends: once per worker."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    async with (
        TokenManager(provider, store=RedisStore(REDIS_URL)) as app.state.manager,
        client_session(app.state.manager, base_url=PEAKLY_URL, raise_for_status=True) as app.state.peakly,
    ):
        yield


def no_token(_: Request[Any, Any, State], __: AuthError) -> Response[dict[str, str]]:
    """Answer 503 where no token can be had: the client did nothing wrong, and it may be over in a minute."""
    return Response({"detail": "the service has no access to Peakly at the moment"}, status_code=503)


@get("/clients")
async def clients(state: State, page: int = 1) -> Any:
    """Answer with one page of clients. It knows nothing of tokens."""
    async with state.peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()


def its_manager() -> TokenManager:
    """Return what the health checks look at, once the application has begun."""
    manager: TokenManager = app.state.manager
    return manager


health = asgi("/health", is_mount=True)(health_app(its_manager))
app = Litestar([clients, health], lifespan=[lifespan], exception_handlers={AuthError: no_token})
