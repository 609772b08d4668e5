"""Health checks: alive is not ready, and what is not ready becomes ready by itself."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from fastapi import FastAPI

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    ManagerPool,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.telemetry.health import Checked, health_app, health_handler, live_handler, readiness
from asyncauth.testing import FakeClock, FakeProvider

ALIVE = {"alive": True, "process": os.getpid()}
REJECTED = CredentialsRejected("no")


@pytest.fixture
def provider(asyncauth_clock: FakeClock) -> FakeProvider:
    return FakeProvider(clock=asyncauth_clock)


@pytest.fixture
def manager(provider: FakeProvider, asyncauth_clock: FakeClock) -> TokenManager:
    return TokenManager(provider, clock=asyncauth_clock)


async def fail(manager: TokenManager) -> None:
    with pytest.raises((CredentialsRejected, TokenEndpointUnavailable)):
        await manager.token()


async def ask(app: Any, path: str, *, method: str = "GET") -> tuple[int, Any]:
    """Return what an ASGI application answers, as its server would."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    start, *rest = sent
    headers = dict(start["headers"])
    assert headers.get(b"cache-control") == b"no-store" or start["status"] == 404
    body = b"".join(each["body"] for each in rest)
    return start["status"], json.loads(body) if body else None


async def test_nobody_is_asked_while_all_is_well(manager: TokenManager, provider: FakeProvider) -> None:
    """A manager whose token was not requested yet counts as healthy, and requests none. The answer shows no secret."""
    status, body = await readiness(manager)
    assert (status, body["healthy"], body["managers"][0]["state"]) == (200, True, "empty")
    assert provider.calls == 0
    token = await manager.token()
    status, body = await readiness(manager)
    assert (status, body["managers"][0]["state"]) == (200, "fresh")
    assert token.value not in json.dumps(body)
    assert provider.calls == 1


async def test_without_a_token_it_is_not_ready_and_says_why(manager: TokenManager, provider: FakeProvider) -> None:
    """503 with the error; a rejected credential is not sent once more for that."""
    provider.answers = [REJECTED]
    await fail(manager)
    status, body = await readiness(manager, lambda: manager)
    assert (status, body["healthy"]) == (503, False)
    assert [each["last_error"] for each in body["managers"]] == ["CredentialsRejected: no [fake]"] * 2
    assert provider.calls == 1


async def test_it_becomes_ready_without_any_request(
    manager: TokenManager, provider: FakeProvider, asyncauth_clock: FakeClock
) -> None:
    """A process out of rotation gets no requests: the check itself is what makes it try again, once per cool-down."""
    provider.answers = [REJECTED, REJECTED]
    await fail(manager)
    answers = []
    for _ in range(20):
        await asyncauth_clock.advance(10)
        answers.append(((await readiness(manager))[0], provider.calls))
    assert answers == [(503, 1)] * 5 + [(503, 2)] * 12 + [(200, 3)] * 3


async def test_a_check_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that takes longer than the check waits is there for the next one."""
    monkeypatch.setattr("asyncauth.telemetry.health._PATIENCE", 0.01)
    clock, comes = FakeClock(), asyncio.Event()
    provider = FakeProvider(clock=clock, answers=[REJECTED])
    manager = TokenManager(provider, clock=clock)
    await fail(manager)
    await clock.advance(60)

    async def later() -> Token:
        await comes.wait()
        return provider.token()

    provider.answers = [later]
    assert (await readiness(manager))[0] == 503
    comes.set()
    await clock.advance(0)
    assert (await readiness(manager))[0] == 200
    assert provider.calls == 2


async def test_a_pool_is_ready_when_one_tenant_has_a_token(asyncauth_clock: FakeClock) -> None:
    """One tenant's wrong password does not make a service unready; it is unready while all of them are wrong."""
    answers: dict[str, list[Any]] = {"acme": [REJECTED], "umbrella": [REJECTED]}
    pool = ManagerPool[str](
        lambda tenant: FakeProvider(clock=asyncauth_clock, answers=answers[tenant], identity=tenant),
        clock=asyncauth_clock,
    )
    assert (await readiness(pool))[0] == 200
    for tenant in answers:
        await fail(await pool.get(tenant))
    status, body = await readiness(pool)
    assert (status, sorted(body["managers"][0]["failing"])) == (503, ["acme", "umbrella"])
    await asyncauth_clock.advance(60)
    status, body = await readiness(pool)
    assert (status, body["managers"][0]["failing"]) == (200, {})
    await pool.close()


async def test_handlers_of_aiohttp(manager: TokenManager, provider: FakeProvider) -> None:
    """One is ready or not; the other is alive whatever becomes of tokens. Neither is kept by a cache."""
    request = make_mocked_request("GET", "/")
    ready = health_handler(manager)
    assert (await ready(request)).status == 200
    provider.answers = [REJECTED]
    await fail(manager)
    answers: list[web.Response] = [await ready(request), await live_handler(request)]
    assert [answer.status for answer in answers] == [503, 200]
    assert json.loads(answers[0].text or "")["managers"][0]["last_error"] == "CredentialsRejected: no [fake]"
    assert json.loads(answers[1].text or "") == ALIVE
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


async def test_an_app_for_fastapi(manager: TokenManager, provider: FakeProvider) -> None:
    """Mounted in an app whose manager is made later; unknown paths get a 404."""
    app = FastAPI()
    app.mount("/health", health_app(lambda: app.state.manager))
    app.state.manager = manager
    assert await ask(app, "/health/live") == (200, ALIVE)
    assert (await ask(app, "/health/ready"))[0] == 200
    assert (await ask(app, "/health/"))[0] == 404
    provider.answers = [REJECTED]
    await fail(manager)
    status, body = await ask(app, "/health/ready")
    assert (status, body["managers"][0]["last_error"]) == (503, "CredentialsRejected: no [fake]")
    assert await ask(app, "/health/ready", method="HEAD") == (503, None)
    assert await ask(app, "/health/live") == (200, ALIVE)


async def test_an_app_refuses_websockets(manager: TokenManager) -> None:
    """Its server answers 403."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await health_app(manager)({"type": "websocket", "path": "/live"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


@pytest.mark.parametrize("make", [health_handler, health_app])
def test_a_check_of_nothing_is_refused(make: Any) -> None:
    """It would always say that all is well."""
    nothing: list[Checked] = []
    with pytest.raises(ConfigurationError, match="at least one"):
        make(*nothing)
