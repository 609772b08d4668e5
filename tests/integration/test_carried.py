"""Tokens that go elsewhere than into ``Authorization: Bearer``, over real sockets: all that holds for Bearer holds."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from harness.crash_reports import crash_report, every_frame
from loopback import Api, ClosingConnector, echo_socket, nothing_left, redirect_to
from yarl import URL

from asyncauth import BearerAuth, InsecureTransport, ManagerPool, TokenEndpointUnavailable, TokenManager
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@attrs.frozen
class Place:
    """A place that a token can be carried in.

    Attributes:
        carried_as: As it is declared.
        scheme: The same.
        read: What a server reads of it.
        taken: What a request has that sets the place by hand, to ``mine``.
        beside: What a request has besides that must stay, and where the server sees it.
    """

    carried_as: str
    scheme: str | None
    read: Callable[[web.Request], str | None]
    taken: dict[str, Any]
    beside: dict[str, Any]


def _header(name: str, before: str = "") -> Callable[[web.Request], str | None]:
    def read(request: web.Request) -> str | None:
        value = request.headers.get(name)
        return None if value is None or not value.startswith(before) else value.removeprefix(before)

    return read


PLACES = {
    "header": Place(
        "header:X-Api-Token",
        None,
        _header("X-Api-Token"),
        {"headers": {"x-api-token": "mine"}},
        {"headers": {"Authorization": "Basic x"}},
    ),
    "scheme": Place(
        "header:Authorization",
        "Zoho-oauthtoken",
        _header("Authorization", "Zoho-oauthtoken "),
        {"headers": {"Authorization": "Zoho-oauthtoken mine"}},
        {"headers": {"X-Api-Token": "x"}},
    ),
    "no scheme": Place(
        "header:Authorization",
        "",
        _header("Authorization"),
        {"headers": {"Authorization": "mine"}},
        {"headers": {"X-Api-Token": "x"}},
    ),
    "cookie": Place(
        "cookie:B1SESSION",
        None,
        lambda request: request.cookies.get("B1SESSION"),
        {"cookies": {"B1SESSION": "mine"}},
        {"cookies": {"ROUTEID": "node1"}, "headers": {"Authorization": "Basic x"}},
    ),
    "query": Place(
        "query:access_token",
        None,
        lambda request: request.query.get("access_token"),
        {"params": {"access_token": "mine"}},
        {"params": {"page": "1"}, "headers": {"Authorization": "Basic x"}},
    ),
}


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest_asyncio.fixture
async def api(place: Place) -> AsyncIterator[Api]:
    """An API that takes the first two tokens of a fake provider where the place says."""
    async with Api("token-1", "token-2", "mine").serve() as api:
        api.carried = place.read
        yield api


@pytest_asyncio.fixture
async def other(place: Place) -> AsyncIterator[Api]:
    """An API of somebody else, that takes everything."""
    async with Api().serve() as api:
        api.good, api.carried = None, place.read
        yield api


def fake(origin: str, place: Place) -> FakeProvider:
    kind: type[FakeProvider] = type("Fake", (FakeProvider,), {"carried_as": place.carried_as, "scheme": place.scheme})
    return kind(origins=(origin,))


@pytest_asyncio.fixture
async def provider(api: Api, place: Place) -> FakeProvider:
    return fake(api.url, place)


@pytest_asyncio.fixture
async def manager(provider: FakeProvider) -> AsyncIterator[TokenManager]:
    async with TokenManager(provider) as manager:
        yield manager


@pytest_asyncio.fixture
async def http(manager: TokenManager) -> AsyncIterator[aiohttp.ClientSession]:
    # Loopback has no name, and cookies of addresses are kept by such a jar alone.
    async with aiohttp.ClientSession(
        middlewares=(BearerAuth(manager),), cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as http:
        yield http


async def status_of(http: aiohttp.ClientSession, url: str, **options: Any) -> int:
    async with http.get(url, **options) as response:
        await response.read()
        return response.status


async def test_the_token_is_carried(api: Api, http: aiohttp.ClientSession, place: Place) -> None:
    """It is where the API reads it, beside what the request has already, and in WebSockets as well."""
    api.routes["/ws"] = echo_socket
    assert await status_of(http, f"{api.url}/x", **place.beside) == 200
    async with http.ws_connect(f"{api.url}/ws") as ws:
        await ws.send_str("hello")
        assert await ws.receive_str(timeout=5) == "hello"
    assert api.tokens == ["token-1", "token-1"]
    for name, value in place.beside.get("headers", {}).items():
        assert api.got[0].headers.getall(name) == [value]
    if "cookies" in place.beside:
        assert sorted(api.got[0].headers["Cookie"].split("; ")) == ["B1SESSION=token-1", "ROUTEID=node1"]


@pytest.mark.parametrize("place", [place for name, place in PLACES.items() if name != "query"])
async def test_headers_by_hand(api: Api, manager: TokenManager) -> None:
    """What `headers()` gives is taken by the API, without any middleware."""
    async with aiohttp.ClientSession() as http:
        assert await status_of(http, f"{api.url}/x", headers=await manager.headers()) == 200


async def test_what_the_caller_set_is_not_overridden(
    api: Api, http: aiohttp.ClientSession, place: Place, provider: FakeProvider
) -> None:
    """The request passes untouched, and costs no token."""
    assert await status_of(http, f"{api.url}/x", **place.taken) == 200
    assert api.tokens == ["mine"]
    assert provider.calls == 0


async def test_no_token_for_another_origin(api: Api, other: Api, http: aiohttp.ClientSession) -> None:
    """A request to another port passes untouched; a redirect there takes no token along, and brings it back."""
    assert await status_of(http, f"{other.url}/x") == 200
    api.routes["/away"] = redirect_to(f"{other.url}/there")
    other.routes["/there"] = redirect_to(f"{api.url}/back")
    api.routes["/back"] = redirect_to("/home")
    assert await status_of(http, f"{api.url}/away") == 200
    assert [token or None for token in other.tokens] == [None, None]
    assert api.tokens == ["token-1"] * 3


@pytest.mark.parametrize("body", [None, b"body", "text", {"json": 1}])
async def test_a_401_is_repeated_with_a_new_token(
    api: Api, http: aiohttp.ClientSession, provider: FakeProvider, body: Any
) -> None:
    """The refused token is taken off whole, and the body is sent again whole."""
    assert await status_of(http, f"{api.url}/x") == 200
    api.good = {"token-2"}
    data = {"json": body} if isinstance(body, dict) else {"data": body}
    async with http.post(f"{api.url}/x", **data) as response:
        assert response.status == 200
    assert api.tokens == ["token-1", "token-1", "token-2"]
    assert api.got[1].body == api.got[2].body
    assert provider.calls == 2


async def test_the_callers_401(api: Api, http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """A challenge that says it is not the token's fault costs no token; nor does one that no token can be had for."""
    api.good, api.challenges = set(), ['Bearer error="insufficient_scope"']
    assert await status_of(http, f"{api.url}/x") == 401
    assert provider.calls == 1
    api.challenges, provider.answers = (), [TokenEndpointUnavailable("down", retry_after=3000)]
    assert await status_of(http, f"{api.url}/x") == 401


async def test_no_token_no_request(api: Api, http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """A request whose token can't be had is not sent."""
    provider.answers = [TokenEndpointUnavailable("down", retry_after=3000)]
    with pytest.raises(TokenEndpointUnavailable):
        await http.get(f"{api.url}/x")
    assert api.tokens == []


async def test_nothing_of_the_token_is_left(api: Api, http: aiohttp.ClientSession, place: Place) -> None:
    """Neither the response, nor the error that is made of it, nor the session's cookies show it."""
    url = f"{api.url}/x?b=%2F&a=x+y"
    async with http.get(url) as response:
        assert response.url == response.real_url == response.request_info.url == URL(url)
        shown = [response, response.request_info, response.request_info.headers]
        response.status = 500
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            response.raise_for_status()
    shown += [caught.value, str(caught.value), [*http.cookie_jar]]
    assert not any("token-1" in repr(each) for each in shown)
    assert api.tokens == ["token-1"]
    assert api.got[0].path == "/x"


@pytest.mark.parametrize("fault", ["refused", "closing", "timeout", "odd answer"])
async def test_no_error_shows_the_token(api: Api, place: Place, fault: str) -> None:
    """Whatever becomes of a request, what aiohttp says of it, and the frames that it leaves, hold no token."""

    async def hang(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    addresses = {
        "refused": f"http://127.0.0.1:{port}",
        "odd answer": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
    }
    url = addresses.get(fault, api.url)
    connector = ClosingConnector("while") if fault == "closing" else None
    if connector is not None:
        connector.closes = True

    async def too_slow(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if fault == "timeout":
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {request.url}")
        return await handler(request)

    try:
        async with (
            TokenManager(fake(url, place)) as manager,
            aiohttp.ClientSession(middlewares=(BearerAuth(manager), too_slow), connector=connector) as http,
        ):
            with pytest.raises(aiohttp.ClientError) as caught:
                await http.get(f"{url}/x?page=1")
    finally:
        server.close()
        await server.wait_closed()
    assert "token-1" not in repr(caught.value) + str(caught.value)
    assert "token-1" not in crash_report(caught.value)
    assert not any("token-1" in f"{variables!r}" for _, variables in every_frame(caught.value))
    if fault == "timeout":
        assert str(caught.value).endswith("/x?page=1")


async def test_not_by_way_of_a_proxy_in_the_clear(place: Place) -> None:
    """A plain http request by way of a proxy on another machine is not sent."""
    async with (
        TokenManager(fake("http://localhost", place)) as manager,
        aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
    ):
        with pytest.raises(InsecureTransport, match="through the proxy"):
            await http.get("http://localhost/x", proxy="http://proxy.example.com:3128")


@pytest.mark.parametrize("place", [PLACES["cookie"]])
async def test_cookies_of_the_jar_stay(api: Api, http: aiohttp.ClientSession) -> None:
    """Those of other names go along, and one of the token's name is not overridden."""
    http.cookie_jar.update_cookies({"ROUTEID": "node1"}, URL(api.url))
    assert await status_of(http, f"{api.url}/x", headers={"Cookie": "a=1"}) == 200
    assert sorted(api.got[0].headers["Cookie"].split("; ")) == ["B1SESSION=token-1", "ROUTEID=node1", "a=1"]
    http.cookie_jar.update_cookies({"B1SESSION": "mine"}, URL(api.url))
    assert await status_of(http, f"{api.url}/x") == 200
    assert api.tokens == ["token-1", "mine"]


@pytest.mark.parametrize("place", [PLACES["cookie"]])
async def test_a_cookie_that_is_sent_back(api: Api, http: aiohttp.ClientSession) -> None:
    """A server that repeats the token with each answer does not keep the next one from being sent; its others stay."""

    async def echo(request: web.Request) -> web.StreamResponse:
        answer = web.Response()
        answer.set_cookie("ROUTEID", "node1")
        answer.set_cookie("B1SESSION", request.cookies["B1SESSION"], httponly=True, path="/")
        return answer

    api.routes["/echo"] = echo
    assert await status_of(http, f"{api.url}/echo") == 200
    assert {cookie.key: cookie.value for cookie in http.cookie_jar} == {"ROUTEID": "node1"}
    api.good = {"token-2"}
    assert await status_of(http, f"{api.url}/echo") == 200
    assert api.tokens == ["token-1", "token-1", "token-2"]


@pytest.mark.parametrize("place", [PLACES["cookie"]])
async def test_a_cookie_that_the_server_replaces(api: Api, http: aiohttp.ClientSession) -> None:
    """One with another value is the server's own, and is kept."""

    async def replace(request: web.Request) -> web.StreamResponse:
        answer = web.Response()
        answer.set_cookie("B1SESSION", "mine")
        return answer

    api.routes["/replace"] = replace
    assert await status_of(http, f"{api.url}/replace") == 200
    assert await status_of(http, f"{api.url}/x") == 200
    assert api.tokens == ["token-1", "mine"]


async def test_two_places_in_one_session(api: Api, other: Api, place: Place) -> None:
    """Each manager's tokens are carried its own way, whichever comes first."""
    other.good, plain = {"token-1"}, FakeProvider(origins=(other.url,))
    other.carried = Api().carried
    async with TokenManager(fake(api.url, place)) as one, TokenManager(plain) as two:
        for managers in ((one, two), (two, one)):
            async with aiohttp.ClientSession(middlewares=(BearerAuth(*managers),)) as http:
                assert await status_of(http, f"{api.url}/x") == 200
                assert await status_of(http, f"{other.url}/x") == 200
    assert (api.tokens, other.tokens) == (["token-1"] * 2, ["token-1"] * 2)


async def test_the_tenants_of_a_pool(api: Api, place: Place) -> None:
    """Their tokens are carried the same way."""
    pool: ManagerPool[str] = ManagerPool(lambda _: fake(api.url, place))
    async with pool, aiohttp.ClientSession() as http:
        for tenant in ("a", "b"):
            assert await status_of(http, f"{api.url}/x", middlewares=(pool.auth(tenant),)) == 200
    assert api.tokens == ["token-1"] * 2


@pytest.mark.parametrize("place", [PLACES["query"]])
@pytest.mark.parametrize(
    ("there", "kept"),
    [
        ("?page=1&access_token={}", "?page=1"),
        ("?access_token={}", ""),
        ("?access_token={}&page=1#part?x", "?page=1"),
        ("?page=1&%61ccess_token={}", "?page=1"),
        ("?access_token={0}&access_token={0}", "?"),
        ("?page=1#access_token={}", "?page=1"),
        (
            "?return_to=https%3A%2F%2Fa.example%2F%3Fx%3D1%26access_token%3D{}",
            "?return_to=https%3A%2F%2Fa.example%2F%3Fx%3D1",
        ),
        ("?return_to=%252Fx%253Faccess_token%253D{}%2526page%253D1", "?return_to=%252Fx%253Fpage%253D1"),
        ("?t={}", "?t="),
        ("?page=1", "?page=1"),
        ("", ""),
    ],
)
async def test_a_redirect_that_repeats_the_query(
    api: Api, other: Api, http: aiohttp.ClientSession, there: str, kept: str
) -> None:
    """Many servers redirect ``/x`` to ``/x/`` with the query it came with: the token stays out of it."""
    with_token = there.format("token-1")
    api.routes["/x"] = redirect_to(f"/x/{with_token}")
    api.routes["/away"] = redirect_to(f"{other.url}/there{with_token}")
    async with http.get(f"{api.url}/x?page=1") as response:
        assert response.status == 200
        assert response.url == URL(f"{api.url}/x/{kept}")
        assert "token-1" not in repr([*response.history, response.history[0].headers])
    async with http.get(f"{api.url}/away?page=1") as response:
        assert response.url == URL(f"{other.url}/there{kept}")
    assert api.tokens == ["token-1"] * 3
    assert other.tokens == [None]


@pytest.mark.parametrize("place", [PLACES["query"]])
@pytest.mark.parametrize("header", ["Location", "URI"])
async def test_a_redirect_that_has_the_token_elsewhere(
    api: Api, other: Api, http: aiohttp.ClientSession, header: str
) -> None:
    """In the path, or in the other header that aiohttp follows: no other origin gets the token."""

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={header: f"{other.url}/login/token%2D1?access_token=token-1"})

    api.routes["/x"] = away
    async with http.get(f"{api.url}/x") as response:
        assert response.url == URL(f"{other.url}/login/")
    assert other.tokens == [None]


@pytest.mark.parametrize("place", [PLACES["query"]])
async def test_a_middleware_that_looks_first(api: Api, manager: TokenManager) -> None:
    """aiohttp keeps what a response is first asked for; further out it shows no token nevertheless."""

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        assert "token-1" in repr((response.request_info, response.headers))
        return response

    api.routes["/x"] = redirect_to("/y?access_token=token-1")
    async with (
        aiohttp.ClientSession(middlewares=(BearerAuth(manager), look)) as http,
        http.get(f"{api.url}/x", allow_redirects=False) as response,
    ):
        assert "token-1" not in repr((response.request_info, response.headers))
        assert response.headers["Location"] == "/y"
