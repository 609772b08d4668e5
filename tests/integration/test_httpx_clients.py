"""httpx's clients as asyncauth makes them: what they own, which way they go, and that no secret comes out of them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from harness.canary import MARK, secret
from harness.crash_reports import crash_report, every_frame
from httpx_kit import KINDS, Caller, Kind, closing, fake_manager
from inside_kit import transport_of
from loopback import Api
from proxy_kit import ForwardProxy
from test_dpop_requests import Api as DPoPApi

from asyncauth import AuthError, ClientCredentials, ConfigurationError, InsecureTransport, RefreshPolicy, TokenManager
from asyncauth.httpx import AsyncBearerTransport, async_client, client
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeProvider, static_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    """An API that takes everything."""
    async with Api().serve() as api:
        api.good = None
        yield api


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- Arguments


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {}, "at least one"),
        ((static_manager("x", origins="https://a.example"),), {"store": MemoryStore()}, "store= is for providers"),
        ((static_manager("x", origins="https://a.example"),), {"refused": 403}, "refused= takes a function"),
        ((static_manager("x", origins="https://a.example"),), {"repeat": "never"}, "repeat= takes"),
        ((FakeProvider(origins=("https://a.example",)),), {"policy": RefreshPolicy()}, "policy= is an argument of"),
        ((FakeProvider(origins=()),), {}, "has no origins"),
        ((FakeProvider(origins=("https://a.example",)),), {"proxy": "socks5://127.0.0.1:1"}, "SOCKS"),
    ],
)
def test_what_cannot_work_is_refused_at_once(kind: Kind, arguments: Any, options: Any, words: str) -> None:
    """When the client is made."""
    with pytest.raises(ConfigurationError, match=words):
        kind.make(*arguments, **options)


def test_it_is_httpxs_own_client(kind: Kind) -> None:
    """Nothing but its transports differs, so whatever takes one of httpx's takes it."""
    http = kind.make(static_manager("x", origins="https://a.example"), base_url="https://a.example/v1", timeout=3)
    assert type(http) is kind.client
    assert str(http.base_url) == "https://a.example/v1/"
    assert http.timeout.connect == 3
    assert "BearerTransport <httpx" in repr(transport_of(http))


def test_without_the_extra_an_error_names_it() -> None:
    """``import asyncauth`` works without httpx; ``asyncauth.httpx`` says how to get it."""
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import asyncauth\n"
        "try:\n    import asyncauth.httpx\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "asyncauth.httpx needs httpx: pip install 'asyncauth[httpx]'\n"


# --- What it sends requests with


def _answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text=f"{request.headers.get('Authorization')} {request.content!r}")


async def test_a_transport_of_the_users_own(kind: Kind) -> None:
    """It gets the request with the token, whose body it may read at once; so do the mounted ones."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return _answer(request)

    mine, mounted = httpx.MockTransport(answer), httpx.MockTransport(answer)
    manager = static_manager("t", origins=("https://a.example", "https://b.example"))
    mounts = {"https://b.example": mounted, "https://nowhere.example": None}
    async with closing(kind.caller(manager, transport=mine, mounts=mounts)) as caller:
        for host in ("a", "b", "c"):
            response = await caller.request("POST", f"https://{host}.example/", content=b"x")
            assert response.text == f"{None if host == 'c' else 'Bearer t'} b'x'"
    assert not [each for each in seen if "Authorization" in each.headers]  # any more


async def test_a_transport_that_fails_in_its_own_way(kind: Kind) -> None:
    """Its error reaches the caller as it is."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    manager = static_manager("t", origins="https://a.example")
    async with closing(kind.caller(manager, transport=httpx.MockTransport(fail))) as caller:
        with pytest.raises(ZeroDivisionError):
            await caller.get("https://a.example/")


async def test_a_client_that_somebody_else_makes(kind: Kind, api: Api) -> None:
    """The transport goes into any client."""
    manager = static_manager("t", origins=api.url)
    async with closing(Caller(kind, kind.client(transport=kind.transport(manager)))) as caller:
        assert await caller.status(api.url) == 200
    with pytest.raises(ConfigurationError, match="at least one"):
        kind.transport()
    assert api.bearers == ["t"]


async def test_a_transport_within_another(kind: Kind, api: Api) -> None:
    """Each for its own system; an error of the inner one is that error."""
    inner = kind.transport(TokenManager(FakeProvider(origins=(api.url,), answers=[ConfigurationError("never")])))
    outer = kind.transport(static_manager("t", origins="https://a.example"), transport=inner)
    async with closing(Caller(kind, kind.client(transport=outer))) as caller:
        with pytest.raises(ConfigurationError) as caught:
            await caller.get(api.url)
        assert isinstance(caught.value, httpx.RequestError)
    assert api.got == []


async def test_without_asyncio() -> None:
    """httpx's AsyncClient runs on trio as well: asyncauth says that it does not."""
    request = httpx.Request("GET", "https://a.example/")
    manager = TokenManager(FakeProvider(origins=("https://a.example",)))
    transports = AsyncBearerTransport(manager), transport_of(async_client(FakeProvider(origins=("https://a.example",))))

    def run() -> None:
        for transport in transports:
            with pytest.raises(ConfigurationError, match="asyncio"):
                transport.handle_async_request(request).send(None)

    await asyncio.to_thread(run)


# --- Proxies


async def test_plain_http_goes_through_no_proxy_elsewhere(
    kind: Kind, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token goes through a proxy on another machine, which could read it. Requests without a token may."""
    manager = static_manager("t", origins=api.url)
    elsewhere = "http://proxy.example:3128"
    callers = [
        kind.caller(manager, proxy=elsewhere),
        kind.caller(manager, mounts={"http://": kind.network(proxy=elsewhere)}),
    ]
    monkeypatch.setenv("http_proxy", elsewhere)
    callers.append(kind.caller(manager))
    for each in callers:
        async with closing(each) as caller:
            with pytest.raises(InsecureTransport, match="no_proxy"):
                await caller.get(api.url)
    async with closing(kind.caller(manager, trust_env=False)) as caller:
        assert await caller.status(api.url) == 200
    assert api.bearers == ["t"]


async def test_a_proxy_of_this_machine(kind: Kind, api: Api) -> None:
    """It may be used; so may one elsewhere for what goes through TLS, of which it sees the target alone."""
    proxy = ForwardProxy()
    async with proxy.serve():
        async with closing(kind.caller(static_manager("t", origins=api.url), proxy=proxy.url)) as caller:
            assert await caller.status(api.url) == 200
        secure = static_manager("t", origins="https://127.0.0.1:1")
        async with closing(kind.caller(secure, proxy=proxy.url)) as caller:
            with pytest.raises(httpx.TransportError):
                await caller.get("https://127.0.0.1:1/x")
    assert proxy.asked == [f"GET {api.url}/", "CONNECT 127.0.0.1:1"]
    assert api.bearers == ["t"]


@pytest.mark.parametrize("how", ["argument", "credentials", "environment", "none"])
async def test_token_requests_go_the_same_way(kind: Kind, api: Api, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a manager that is made for a client go through its proxy, or the environment's."""

    async def token(_: web.Request) -> web.StreamResponse:
        return web.json_response({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})

    api.routes["/token"] = token
    proxy = ForwardProxy(credentials="bWU6d29yZA==" if how == "credentials" else None)
    grant = ClientCredentials(
        token_url=f"{api.url}/token", client_id="me", client_secret=secret("client"), origins="https://127.0.0.1:1"
    )
    async with proxy.serve():
        options: dict[str, Any] = {"trust_env": how == "environment"}
        if how == "argument":
            options["proxy"] = proxy.url
        elif how == "credentials":
            options["proxy"] = httpx.Proxy(proxy.url, auth=("me", "word"))
        elif how == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        async with closing(kind.caller(grant, **options)) as caller:
            with pytest.raises(httpx.TransportError) as caught:
                await caller.get("https://127.0.0.1:1/x")
            assert not isinstance(caught.value, AuthError)
    asked = [each for each in proxy.asked if "token" in each]
    assert asked == ([] if how == "none" else [f"POST {api.url}/token"])
    assert len(api.got) == 1


# --- What it owns


@pytest.mark.parametrize("how", ["with", "close"])
async def test_managers_made_for_a_client(api: Api, how: str) -> None:
    """They are kept fresh from its first use on, and closed with it, whichever of its transports is closed first."""
    provider = FakeProvider(origins=(api.url,))
    store = MemoryStore()
    http = async_client(provider, store=store, mounts={"https://": httpx.AsyncHTTPTransport()})
    if how == "with":
        async with http:
            assert (await http.get(api.url)).status_code == 200
            assert (await http.get(api.url)).status_code == 200
    else:
        assert (await http.get(api.url)).status_code == 200
        await http.aclose()
    assert provider.calls == 1
    assert len(await store.keys()) == 1
    with pytest.raises(RuntimeError, match="closed"):
        await http.get(api.url)


async def test_managers_that_were_given_stay_open(kind: Kind, api: Api) -> None:
    """They are the caller's to close."""
    async with TokenManager(FakeProvider(origins=(api.url,))) as manager:
        async with closing(kind.caller(manager)) as caller:
            await caller.get(api.url)
        assert await manager.token()


# --- Secrets


async def test_event_hooks_see_no_token(kind: Kind, api: Api) -> None:
    """Neither before the request nor after it; a hook may authorize the request by itself."""
    seen: list[str] = []

    def request_hook(request: httpx.Request) -> None:
        seen.append(f"{request.headers.raw}{request.extensions}")

    def response_hook(response: httpx.Response) -> None:
        seen.append(f"{response.request.headers.raw}{response.headers.raw}{response.extensions}")

    async def later_request(request: httpx.Request) -> None:
        request_hook(request)

    async def later_response(response: httpx.Response) -> None:
        response_hook(response)

    hooks = (request_hook, response_hook) if kind.blocking else (later_request, later_response)
    event_hooks = {"request": [hooks[0]], "response": [hooks[1]]}
    manager = static_manager(secret("hooked"), origins=api.url)
    async with closing(kind.caller(manager, event_hooks=event_hooks)) as caller:
        response = await caller.get(api.url)
    assert len(seen) == 2
    assert MARK not in f"{seen}{vars(response.request)}{response.request.headers.raw}"
    assert MARK in str(api.bearers)


@pytest.mark.parametrize("carried_as", ["header:Authorization", "header:X-Api-Token", "cookie:S", "query:access_token"])
@pytest.mark.parametrize("trouble", ["abort", "garbage", "status"])
async def test_no_error_shows_a_token(
    kind: Kind, api: Api, carried_as: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in its text, nor in its request, nor in what a crash reporter records of frames, whatever went wrong."""
    caplog.set_level(logging.DEBUG)

    async def break_it(request: web.Request) -> web.StreamResponse:
        if trouble == "status":
            return web.Response(status=500)
        assert request.transport is not None
        if trouble == "garbage":
            request.transport.write(b"\x00\x01 garbage\r\n\r\n")
        request.transport.close()
        return web.Response()

    api.routes["/x"] = break_it
    manager = fake_manager(api.url, carried_as=carried_as)
    token = await manager.token()
    async with closing(kind.caller(manager)) as caller:
        with pytest.raises(httpx.HTTPError) as caught:
            (await caller.get(f"{api.url}/x?q=1")).raise_for_status()
        error = caught.value
    texts = [
        f"{error!r}{error}{vars(error)}{error.request.headers.raw}{error.request.url}",
        crash_report(error),
        *(f"{place}{variables!r}" for place, variables in every_frame(error) if "test_httpx" not in place),
    ]
    assert not [text for text in texts if token.value in text]
    assert str(error.request.url) == f"{api.url}/x?q=1"


async def test_a_function_that_quotes_the_token(kind: Kind, api: Api) -> None:
    """An API that repeats what it was sent, and a function that shows it: the error does not."""
    token = secret("quoted")

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"X-Echo": "1"}, text="x")

    def refused(response: httpx.Response) -> bool:
        raise ValueError(f"no {token} here")

    api.routes["/x"] = echo
    async with closing(kind.caller(static_manager(token, origins=api.url), refused=refused)) as caller:
        with pytest.raises(ValueError, match="no  here"):
            await caller.get(f"{api.url}/x")


# --- DPoP


@pytest_asyncio.fixture
async def bound() -> AsyncIterator[DPoPApi]:
    """An API that checks every proof."""
    api = DPoPApi()
    app = web.Application()
    app.router.add_post("/token", api.token)
    app.router.add_route("*", "/call", api.call)
    app.router.add_get("/moved", api.moved)
    async with TestServer(app) as server:
        api.origin = str(server.make_url("/").origin())
        yield api


async def test_tokens_that_are_bound_to_a_key(kind: Kind, bound: DPoPApi) -> None:
    """Each request, hop and repeat has a proof of its own; a nonce costs one request, once."""
    grant = ClientCredentials(
        token_url=f"{bound.origin}/token", client_id="app", client_secret="s", origins=bound.origin, dpop=True
    )
    async with TokenManager(grant) as manager, closing(kind.caller(manager, follow_redirects=True)) as caller:
        response = await caller.get(f"{bound.origin}/moved?a=1#b")
        assert response.status_code == 200
        assert not {"authorization", "dpop"} & {name.lower() for name in response.request.headers}
        bound.nonce = "n1"
        for _ in range(2):
            response = await caller.request("POST", f"{bound.origin}/call", content=b"body")
            assert response.json() == {"body": "body"}
        bound.refused = {"at-1"}
        assert (await caller.request("PUT", f"{bound.origin}/call", content=b"new")).json() == {"body": "new"}
    assert [(method, token) for method, token, _ in bound.requests] == [
        ("GET", "at-1"),
        ("POST", "at-1"),
        ("POST", "at-1"),
        ("POST", "at-1"),
        ("PUT", "at-1"),
        ("PUT", "at-2"),
    ]
    assert len(bound.thumbprints) == 1


# --- Cancelling


async def test_cancelling_while_a_new_token_is_awaited(api: Api) -> None:
    """A caller that is cancelled between the two tries leaves no connection open, and the refresh goes on."""
    gate, asked = asyncio.Event(), asyncio.Event()
    provider = FakeProvider(origins=(api.url,))
    manager = TokenManager(provider)

    async def slowly() -> Any:
        asked.set()
        await gate.wait()
        return provider.token()

    manager.accepted(await manager.token())
    api.good, api.denied = {"token-2"}, b"x" * 100_000
    provider.answers = [slowly]
    async with async_client(manager, limits=httpx.Limits(max_connections=1)) as http:
        call = asyncio.create_task(http.get(api.url))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.set()
        assert (await http.get(api.url)).status_code == 200
    assert provider.calls == 2


# --- Without an event loop


async def test_a_blocking_client_makes_no_event_loop_for_a_fresh_token(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the token request, whichever of many threads makes it; none for the requests."""
    made: list[object] = []
    make_loop = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(None)
        return make_loop()

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    provider = FakeProvider(origins=(api.url,))

    def work() -> set[int]:
        with client(provider) as http:
            return {http.get(api.url).status_code for _ in range(5)}

    assert await asyncio.to_thread(work) == {200}
    assert len(made) == 1
    assert provider.calls == 1
    assert len(api.got) == 5


async def test_a_blocking_client_on_an_event_loop(api: Api) -> None:
    """It would stop the loop while a token is obtained: it says so, and what to write."""
    with client(FakeProvider(origins=(api.url,))) as http, pytest.raises(ConfigurationError, match="async_client"):
        http.get(api.url)
    assert api.got == []


async def test_a_blocking_client_cannot_wait_for_a_function(api: Api) -> None:
    """A function that has to be awaited is a mistake; one that is async and never waits will do."""

    async def waits(_: httpx.Response) -> bool:
        await asyncio.sleep(0)
        return False

    async def never_waits(_: httpx.Response) -> bool:
        return False

    manager = static_manager("t", origins=api.url)

    def work() -> int:
        with client(manager, refused=waits) as http, pytest.raises(ConfigurationError, match="plain function"):
            http.get(api.url)
        with client(manager, refused=never_waits) as http:
            return http.get(api.url).status_code

    assert await asyncio.to_thread(work) == 200


async def test_a_stream_is_sent_with_a_token_that_the_api_knows(kind: Kind, api: Api) -> None:
    """It can be sent only once, so it carries the old token until another request has proven the new one."""
    manager = TokenManager(FakeProvider(origins=(api.url,)))
    manager.accepted(await manager.token())
    await manager.refresh()
    body: Any = iter([b"x"]) if kind.blocking else OneChunk()
    async with closing(kind.caller(manager)) as caller:
        await caller.request("POST", api.url, content=body)
        await caller.get(api.url)
    assert api.bearers == ["token-1", "token-2"]


class OneChunk:
    """A body that can be read once."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"
