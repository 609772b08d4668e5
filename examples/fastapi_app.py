"""FastAPI with several uvicorn workers: in each, ``lifespan`` opens the manager at startup, and closes it at the end.

Run:  uvicorn fastapi_app:app --workers 4 --port 8000
Ask:  curl 'http://127.0.0.1:8000/clients?page=1'
      curl http://127.0.0.1:8000/health/ready      (503 when no token can be obtained; /health/live is always 200)
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from asyncauth import AuthError, Peakly, TokenManager, client_session
from asyncauth.stores import RedisStore
from asyncauth.telemetry.health import health_app

PEAKLY_URL = os.environ.get("PEAKLY_URL", "https://api.peakly.co")
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the manager and the session, once per worker, and close them when the application ends."""
    provider = Peakly(
        username=os.environ["PEAKLY_USERNAME"], password=os.environ["PEAKLY_PASSWORD"], base_url=PEAKLY_URL
    )
    async with (
        TokenManager(provider, store=RedisStore(REDIS_URL)) as app.state.manager,
        client_session(app.state.manager, base_url=PEAKLY_URL, raise_for_status=True) as app.state.peakly,
    ):
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/health", health_app(lambda: app.state.manager))


@app.exception_handler(AuthError)
async def no_token(request: Request, error: AuthError) -> JSONResponse:  # noqa: ARG001 (FastAPI's)
    """Answer 503 when no token can be obtained: the client did nothing wrong, and may try again in a minute."""
    return JSONResponse({"detail": "the service has no access to Peakly at the moment"}, status_code=503)


@app.get("/clients")
async def clients(request: Request, page: int = 1) -> Any:
    """Answer with one page of clients. The session adds the token to the request."""
    async with request.app.state.peakly.get("/api/Ventas/Clientes/Page", params={"page": page, "rows": 50}) as response:
        return await response.json()
