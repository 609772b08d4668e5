"""`refused=` and `repeat=`: APIs that refuse a token otherwise than with 401, and what is sent again."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from loopback import Api, echo_socket

from asyncauth import BearerAuth, ConfigurationError, ManagerPool, TokenManager, client_session, wrap_session
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API that answers 200 to everything, but for the routes of a test."""
    async with Api().serve() as api:
        api.good = None
        yield api


def forbids(api: Api, *dead: str, status: int = 403, payload: Any = None) -> None:
    """Have the API refuse these tokens, by a status or by what it says."""

    async def route(request: web.Request) -> web.StreamResponse:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        good = token not in dead
        await asyncio.sleep(float(request.query.get("after", 0)))
        if payload is not None:
            return web.json_response({"data": {}} if good else payload)
        return web.Response(status=200 if good else status)

    api.routes["/x"] = route


def manager_for(api: Api) -> TokenManager:
    return TokenManager(FakeProvider(origins=(api.url,)))


def is_403(response: aiohttp.ClientResponse) -> bool | None:
    return response.status == 403 or None


async def knows_graphql(response: aiohttp.ClientResponse) -> bool | None:
    if response.content_type != "application/json":
        return None
    errors = (await response.json()).get("errors", [])
    return any(error["extensions"]["code"] == "UNAUTHENTICATED" for error in errors)


async def call(http: aiohttp.ClientSession, url: str, method: str = "GET", **options: Any) -> int:
    async with http.request(method, url, **options) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("how", ["BearerAuth", "client_session", "wrap_session", "pool"])
async def test_a_403_that_refuses_the_token(api: Api, how: str) -> None:
    """Whatever the session is made with: a new token, and the request again, whole."""
    forbids(api, "token-1")
    manager = manager_for(api)
    await manager.token()
    manager.accepted(await manager.token())
    pool: ManagerPool[str] = ManagerPool(lambda _: FakeProvider(origins=(api.url,)))
    async with aiohttp.ClientSession() as plain:
        if how == "BearerAuth":
            http = aiohttp.ClientSession(middlewares=(BearerAuth(manager, refused=is_403),))
        elif how == "client_session":
            http = client_session(manager, refused=is_403)
        elif how == "wrap_session":
            http = wrap_session(plain, manager, refused=is_403)
        else:
            tenant = await pool.get("acme")
            tenant.accepted(await tenant.token())
            http = aiohttp.ClientSession(middlewares=(pool.auth("acme", refused=is_403),))
        async with http:
            assert await call(http, f"{api.url}/x", "POST", data=b"body") == 200
    assert [(got.bearer, got.body) for got in api.got] == [("token-1", b"body"), ("token-2", b"body")]
    await pool.close()


async def test_staggered_403s_cost_one_token_request(api: Api) -> None:
    """Each answer is about the token that its request carried: late ones for the old token cost nothing."""
    forbids(api, "token-1")
    manager = manager_for(api)
    manager.accepted(await manager.token())
    async with client_session(manager, refused=is_403) as http:
        answers = (call(http, f"{api.url}/x?after={0.02 * number}") for number in range(12))
        assert set(await asyncio.gather(*answers)) == {200}
    assert manager.status().refreshes == 2


async def test_an_error_in_a_200(api: Api) -> None:
    """A function may read the body: the caller reads it again."""
    refusal = {"errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}]}
    forbids(api, "token-1", payload=refusal)
    manager = manager_for(api)
    manager.accepted(await manager.token())
    async with client_session(manager, refused=knows_graphql) as http:
        for _ in range(2):
            async with http.post(f"{api.url}/x", json={"query": "{me}"}) as response:
                assert await response.json() == {"data": {}}
    assert api.bearers == ["token-1", "token-2", "token-2"]


async def test_an_error_in_every_200(api: Api) -> None:
    """If both tries are refused, the caller gets the answer and can read it. A cool-down limits the token requests."""
    refusal = {"errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}]}
    forbids(api, "token-1", "token-2", "token-3", payload=refusal)
    manager = manager_for(api)
    manager.accepted(await manager.token())
    async with client_session(manager, refused=knows_graphql) as http:
        for _ in range(5):
            async with http.post(f"{api.url}/x", json={"query": "{me}"}) as response:
                assert await response.json() == refusal
    assert manager.status().refreshes == 2


@pytest.mark.parametrize(("verdict", "sent"), [(False, 1), (None, 2)])
async def test_a_401_that_a_function_knows_better(api: Api, verdict: bool | None, sent: int) -> None:  # noqa: FBT001
    """``False``: it is the caller's; ``None``: the built-in rule decides."""
    forbids(api, "token-1", status=401)
    manager = manager_for(api)
    manager.accepted(await manager.token())
    async with client_session(manager, refused=lambda _: verdict) as http:
        await call(http, f"{api.url}/x")
    assert len(api.got) == sent


class Broken(Exception):
    """A user's."""


@pytest.mark.parametrize("plain", [True, False])
async def test_what_a_function_raises(api: Api, *, plain: bool) -> None:
    """It is the caller's error, as it was raised, but for a token that the API repeated; the answer is closed."""

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"not good: {request.headers['Authorization']}")

    def raises(response: aiohttp.ClientResponse) -> bool:
        raise Broken("a plain one")

    async def reads(response: aiohttp.ClientResponse) -> bool:
        raise Broken(await response.text())

    api.routes["/x"] = echo
    connector = aiohttp.TCPConnector(limit=1)
    refused: Callable[..., Any] = raises if plain else reads
    async with client_session(manager_for(api), refused=refused, connector=connector) as http:
        for _ in range(3):
            async with asyncio.timeout(10):
                with pytest.raises(Broken) as caught:
                    await http.get(f"{api.url}/x")
            assert "token-" not in "".join(traceback.format_exception(caught.value))
            assert str(caught.value) == ("a plain one" if plain else "not good: Bearer ")


async def test_a_function_that_returns_something_else(api: Api) -> None:
    """The error says so."""

    def wrong(response: aiohttp.ClientResponse) -> Any:
        return response.status

    async with client_session(manager_for(api), refused=wrong) as http:
        with pytest.raises(ConfigurationError, match="refused= must return"):
            await http.get(api.url)


async def test_a_websocket_is_not_asked_about(api: Api) -> None:
    """Its handshake has no body that could be read."""
    api.routes["/ws"] = echo_socket
    async with (
        client_session(manager_for(api), refused=knows_graphql) as http,
        http.ws_connect(f"{api.url}/ws") as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("repeat", ["all", "safe", "none"])
async def test_what_is_sent_again(api: Api, repeat: Any, method: str) -> None:
    """What may not be sent again is answered with the 401, and the next request carries a new token."""
    forbids(api, "token-1", status=401)
    manager = manager_for(api)
    manager.accepted(await manager.token())
    again = repeat == "all" or (repeat, method) == ("safe", "GET")
    async with client_session(manager, repeat=repeat) as http:
        assert await call(http, f"{api.url}/x", method) == (200 if again else 401)
        assert await call(http, f"{api.url}/x", method) == 200
    assert api.bearers == (["token-1", "token-2", "token-2"] if again else ["token-1", "token-2"])


async def test_what_may_not_be_sent_again_carries_a_proven_token(api: Api) -> None:
    """As a body does that can be sent only once: the old token, until another request has proven the new one."""
    manager = manager_for(api)
    async with client_session(manager, repeat="safe") as http:
        await call(http, api.url)
        await manager.refresh()
        for method in ("POST", "GET", "POST"):
            await call(http, api.url, method)
    assert api.bearers == ["token-1", "token-1", "token-2", "token-2"]


async def test_an_own_authorization_stays(api: Api) -> None:
    """With rules as well: what the caller set is not overridden, and no function is asked."""

    def never(_: aiohttp.ClientResponse) -> bool:
        raise AssertionError

    async with client_session(manager_for(api), refused=never) as http:
        await call(http, api.url, headers={"Authorization": "Bearer mine"})
    assert api.bearers == ["mine"]


async def test_a_trace_tells_which_token_a_request_carried(api: Api) -> None:
    """aiohttp's own: the headers as they are sent, the fingerprint of each sending's token."""
    from asyncauth import Token

    carried: list[str] = []

    async def sent(_: object, __: object, params: aiohttp.TraceRequestHeadersSentParams) -> None:
        carried.append(Token(params.headers["Authorization"].removeprefix("Bearer ")).fingerprint)

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(sent)
    forbids(api, "token-1", status=401)
    manager = manager_for(api)
    manager.accepted(first := await manager.token())
    async with client_session(manager, trace_configs=[trace]) as http:
        await call(http, f"{api.url}/x")
    assert carried == [first.fingerprint, (await manager.token()).fingerprint]
