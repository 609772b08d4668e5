"""client_session and wrap_session: real aiohttp sessions that authorize, and close what they opened and no more."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from core_kit import engine_of
from inside_kit import connections_of, managers_of
from loopback import Api, echo_socket, nothing_left

from asyncauth import (
    BearerAuth,
    ConfigurationError,
    InsecureTransport,
    ManagerClosed,
    RefreshPolicy,
    TokenManager,
    client_session,
    wrap_session,
)
from asyncauth._http.aiohttp_compat import middlewares_of
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    async with Api("token-1", "token-2").serve() as api:
        api.routes["/ws"] = echo_socket
        yield api


def fake(api: Api) -> FakeProvider:
    return FakeProvider(origins=(api.url,))


class Watch:
    """A middleware that notes the Authorization it sees."""

    def __init__(self, name: str, seen: list[tuple[str, str | None]]) -> None:
        self.name, self.seen = name, seen

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.seen.append((self.name, request.headers.get("Authorization")))
        return await handler(request)


@pytest_asyncio.fixture(params=["client_session", "wrap_session"])
async def open_session(api: Api, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., aiohttp.ClientSession]]:
    """Give a maker of authorized sessions for the API, by either way, with aiohttp's own arguments."""
    made: list[aiohttp.ClientSession] = []
    managers: list[TokenManager] = []

    def make(**options: Any) -> aiohttp.ClientSession:
        if request.param == "client_session":
            made.append(client_session(fake(api), **options))
        else:
            managers.append(TokenManager(fake(api)))
            plain = aiohttp.ClientSession(**options)
            made.extend((plain, wrap_session(plain, managers[-1])))
        return made[-1]

    yield make
    for session in reversed(made):
        await session.close()
    for manager in managers:
        await manager.close()


Opener = Any


# --- Every way to send


@pytest.mark.parametrize("method", METHODS)
async def test_every_method(api: Api, open_session: Opener, method: str) -> None:
    """Each of the session's methods sends the token, and renews it after a revocation."""
    http = open_session()
    assert isinstance(http, aiohttp.ClientSession)
    for good in ("token-1", "token-2"):
        api.good = {good}
        async with getattr(http, method)(f"{api.url}/x") as response:
            assert response.status == 200
    assert [(got.method, got.bearer) for got in api.got] == [
        (method.upper(), bearer) for bearer in ("token-1", "token-1", "token-2")
    ]


async def test_localhost_for_127_0_0_1_is_explained(
    api: Api, open_session: Callable[..., aiohttp.ClientSession], caplog: pytest.LogCaptureFixture
) -> None:
    """The bare 401 from an origin that no manager serves has its reason in the log, without anything set up."""
    wrong = api.url.replace("127.0.0.1", "localhost")
    session = open_session()
    for _ in range(2):
        async with session.get(f"{wrong}/x") as response:
            assert response.status == 401
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"{wrong} answered 401 to a request without a token: ")
    assert f"only {api.url}. " in record.getMessage()


async def test_request_and_websocket(api: Api, open_session: Opener) -> None:
    """``request`` and ``ws_connect`` do as well."""
    http = open_session()
    async with http.request("DELETE", f"{api.url}/x", json={"a": 1}) as response:
        assert response.status == 200
    async with http.ws_connect(f"{api.url}/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"
    assert api.bearers == ["token-1", "token-1"]


# --- aiohttp's arguments


async def test_headers_base_url_and_cookies(api: Api, open_session: Opener) -> None:
    """Headers, base URL and the cookie jar work as they do without us."""

    async def set_cookie(request: web.Request) -> web.StreamResponse:
        response = web.Response()
        response.set_cookie("c", "3")
        return response

    api.routes["/v1/login"] = set_cookie
    jar = aiohttp.CookieJar(unsafe=True)
    http = open_session(base_url=f"{api.url}/v1/", headers={"X-Tenant": "7"}, cookie_jar=jar)
    async with http.get("login"), http.get("customers"):
        pass
    first, second = api.got
    assert (first.path, second.path) == ("/v1/login", "/v1/customers")
    assert first.headers["X-Tenant"] == second.headers["X-Tenant"] == "7"
    assert "Cookie" not in first.headers
    assert second.headers["Cookie"] == "c=3"
    assert [cookie.value for cookie in jar] == ["3"]


async def test_skipped_headers_and_version(api: Api, open_session: Opener) -> None:
    """Skipped automatic headers and the HTTP version are kept."""
    http = open_session(skip_auto_headers=["User-Agent"], version=aiohttp.HttpVersion10)
    async with http.get(api.url):
        pass
    assert "User-Agent" not in api.got[0].headers


async def test_json_serialize(api: Api, open_session: Opener) -> None:
    """The session's own JSON is used."""
    http = open_session(json_serialize=lambda value: json.dumps(value, separators=(",", ":")))
    async with http.post(api.url, json={"a": [1, 2]}):
        pass
    assert api.got[0].body == b'{"a":[1,2]}'


async def test_raise_for_status(api: Api, open_session: Opener) -> None:
    """A session that raises for a status does, after the last try, and shows no token."""
    http = open_session(raise_for_status=True)
    async with http.get(api.url):
        pass
    api.good = set()
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await http.get(api.url)
    assert caught.value.status == 401
    assert api.bearers == ["token-1", "token-1", "token-2", "token-2"]
    assert "token-" not in repr(caught.value)


async def test_timeout(api: Api, open_session: Opener) -> None:
    """The session's timeout is kept."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    api.routes["/slow"] = slow
    http = open_session(timeout=aiohttp.ClientTimeout(total=0.05))
    with pytest.raises(TimeoutError):
        await http.get(f"{api.url}/slow")


async def test_response_class_and_reading(api: Api, open_session: Opener) -> None:
    """Response classes, the WebSocket's too, are kept."""

    class Answer(aiohttp.ClientResponse):
        pass

    class Socket(aiohttp.ClientWebSocketResponse):
        pass

    http = open_session(response_class=Answer, ws_response_class=Socket, read_bufsize=2**12, auto_decompress=False)
    async with http.get(api.url) as response:
        assert isinstance(response, Answer)
    async with http.ws_connect(f"{api.url}/ws") as socket:
        assert isinstance(socket, Socket)
    assert http.auto_decompress is False


async def test_trace_configs(api: Api, open_session: Opener) -> None:
    """A session's tracing sees its requests, and no token request."""
    seen: list[str] = []

    async def on_start(session: aiohttp.ClientSession, context: Any, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(on_start)
    http = open_session(trace_configs=[tracing])
    async with http.patch(api.url):
        pass
    assert seen == ["PATCH"]


async def test_own_middlewares_run_outside_of_ours(api: Api, open_session: Opener) -> None:
    """A session's own middlewares come first, in their order: each sees one request, and no token."""
    seen: list[tuple[str, str | None]] = []
    http = open_session(middlewares=(Watch("first", seen), Watch("second", seen)))
    for good in ("token-1", "token-2"):
        api.good = {good}
        async with http.get(api.url) as response:
            assert response.status == 200
    assert seen == 2 * [("first", None), ("second", None)]
    assert api.bearers == ["token-1", "token-1", "token-2"]


async def test_a_middleware_that_authorizes_by_itself(api: Api, open_session: Opener) -> None:
    """What the user's own middleware sets is explicit: it stays."""

    async def own(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = "Bearer mine"
        return await handler(request)

    async with open_session(middlewares=(own,)).get(api.url):
        pass
    assert api.bearers == ["mine"]


# --- client_session


async def test_a_providers_manager_lives_with_the_session(api: Api) -> None:
    """A provider gets a manager that is open and kept fresh as long as the session, and closed with it."""
    provider = FakeProvider(origins=(api.url,))
    http = client_session(provider)
    (manager,) = managers_of(http)
    async with http, http.get(api.url) as response:
        assert response.status == 200
    with pytest.raises(ManagerClosed):
        await manager.token()
    await http.close()
    assert http.closed


async def test_a_manager_stays_the_callers(api: Api) -> None:
    """A manager that was passed in is used, and as open afterwards as before."""
    async with TokenManager(fake(api)) as manager:
        async with client_session(manager) as http, http.get(api.url) as response:
            assert response.status == 200
        assert (await manager.token()).value == "token-1"
    never_entered = TokenManager(fake(api))
    async with client_session(never_entered) as http, http.get(api.url):
        pass
    assert (await never_entered.token()).value == "token-1"


async def test_providers_and_managers_together(api: Api) -> None:
    """Several systems in one session, each with its own token."""
    async with Api("other-token").serve() as other:
        manager = TokenManager(fake(other))
        engine_of(manager).provider.answers = [lambda: _token("other-token")]  # type: ignore[attr-defined]
        async with client_session(fake(api), manager) as http:
            for url in (api.url, other.url):
                async with http.get(url) as response:
                    assert response.status == 200
    assert (api.bearers, other.bearers) == (["token-1"], ["other-token"])


def _token(value: str) -> Any:
    from asyncauth import Token

    return Token(value)


async def test_an_own_connector_stays_open(api: Api) -> None:
    """``connector_owner=False`` is aiohttp's own, and works."""
    async with aiohttp.TCPConnector() as connector:
        async with client_session(fake(api), connector=connector, connector_owner=False) as http, http.get(api.url):
            pass
        assert not connector.closed


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((), ConfigurationError),
        ((FakeProvider(origins=()),), ConfigurationError),
        ((FakeProvider(), FakeProvider()), ConfigurationError),
        ((FakeProvider(origins=["http://api.example.com"]),), InsecureTransport),
        ((7,), ConfigurationError),
    ],
)
async def test_what_cant_work_leaves_nothing_open(given: tuple[Any, ...], error: type[Exception]) -> None:
    """Arguments that can't work are refused before anything is opened."""
    with pytest.raises(error):
        client_session(*given)


async def test_what_is_no_session_is_refused(api: Api) -> None:
    """wrap_session takes a session and client_session a sequence of middlewares: anything else is named."""
    with pytest.raises(ConfigurationError, match=r"takes an aiohttp\.ClientSession, not NoneType"):
        wrap_session(None, TokenManager(fake(api)))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="middlewares= takes"):
        client_session(fake(api), middlewares=None)


async def test_a_bad_argument_of_aiohttps_leaves_nothing_open(api: Api) -> None:
    """If aiohttp refuses an argument, no manager is left open."""
    with pytest.raises(TypeError):
        client_session(fake(api), no_such_argument=1)


async def test_closing_while_a_request_is_under_way(api: Api) -> None:
    """Closing a session whose provider is being asked ends both."""
    gate = asyncio.Event()

    async def never() -> Any:
        await gate.wait()

    http = client_session(FakeProvider(origins=(api.url,), answers=[never]))
    manager = managers_of(http)[0]
    engine_of(manager).runtime = attrs.evolve(engine_of(manager).runtime, policy=RefreshPolicy(close_grace=0.0))
    call = asyncio.ensure_future(http.get(api.url))
    await asyncio.sleep(0.01)
    await http.close()
    with pytest.raises(ManagerClosed):
        await call


@pytest.mark.parametrize("after", [0.0, 0.02])
async def test_cancelled_while_it_closes(api: Api, after: float) -> None:
    """Who is cancelled during the grace of one system's manager leaves no other system's open, and waits for none."""
    ended = list[bool]()

    async def never() -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(all(engine_of(manager).closed for manager in managers))

    async with Api("token-1").serve() as other, Api("token-1").serve() as third:
        systems = (api, other, third)
        http = client_session(*(FakeProvider(origins=(each.url,), answers=[never]) for each in systems))
        calls = [asyncio.ensure_future(http.get(each.url)) for each in systems]
        await asyncio.sleep(0.01)
        managers = managers_of(http)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await http.close()
        assert http.closed
        assert ended == [True, True, True]
        for manager in managers:
            with pytest.raises(ManagerClosed):
                await manager.token()
        for end in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(end, ManagerClosed)


async def test_a_manager_that_fails_to_close(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised after everything else was closed."""

    async def fails(self: TokenManager) -> None:
        await real(self)
        raise ZeroDivisionError

    real = TokenManager.close
    http = client_session(fake(api))
    monkeypatch.setattr(TokenManager, "close", fails)
    with pytest.raises(ZeroDivisionError):
        await http.close()
    assert http.closed


async def test_a_session_that_is_never_closed_warns(api: Api) -> None:
    """Forgetting to close warns as aiohttp does; and the manager says so too."""
    http = client_session(fake(api))
    (manager,) = managers_of(http)
    connector = http.connector
    assert connector is not None
    with pytest.warns(ResourceWarning, match="Unclosed"):
        http.__del__()
    await http.close()
    await manager.close()


# --- wrap_session


async def test_the_wrapped_session_is_left_as_it_is(api: Api) -> None:
    """The given session sends no token before, beside or after; closing the wrapper closes nothing of it."""
    manager = TokenManager(fake(api))
    async with aiohttp.ClientSession() as plain:
        async with wrap_session(plain, manager) as http:
            for session, status in ((plain, 401), (http, 200), (plain, 401)):
                async with session.get(api.url) as response:
                    assert response.status == status
            assert http.connector is plain.connector
            assert http.cookie_jar is plain.cookie_jar
        assert http.closed
        assert not plain.closed
        async with plain.get(api.url) as response:
            assert response.status == 401
    assert (await manager.token()).value == "token-1"


async def test_connections_and_cookies_are_shared(api: Api) -> None:
    """Both sessions use one pool of connections and one jar of cookies."""

    async def cookie(request: web.Request) -> web.StreamResponse:
        response = web.Response()
        response.set_cookie("c", "3")
        return response

    api.routes["/cookie"] = cookie
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as plain,
        wrap_session(plain, TokenManager(fake(api))) as http,
    ):
        async with http.get(f"{api.url}/cookie") as response:
            await response.read()
        async with plain.get(api.url) as response:
            await response.read()
        assert api.got[-1].headers["Cookie"] == "c=3"
        assert sum(connections_of(http)[1]) == 1


async def test_wrapping_twice(api: Api) -> None:
    """A wrapped session can be wrapped for another system."""
    async with Api().serve() as other:
        other.good = None
        async with (
            aiohttp.ClientSession() as plain,
            wrap_session(plain, TokenManager(fake(api))) as once,
            wrap_session(once, TokenManager(fake(other))) as twice,
        ):
            for url in (api.url, other.url):
                async with twice.get(url) as response:
                    assert response.status == 200
        assert (api.bearers, other.bearers) == (["token-1"], ["token-1"])


async def test_a_client_session_can_be_wrapped(api: Api) -> None:
    """So can one of ours: what it opened is closed once, by itself."""
    async with Api().serve() as other:
        other.good = None
        async with client_session(fake(api)) as http, wrap_session(http, TokenManager(fake(other))) as both:
            for url in (api.url, other.url):
                async with both.get(url) as response:
                    assert response.status == 200


async def test_a_closed_session_is_refused() -> None:
    """A session that was closed is refused, and so is a call without managers."""
    plain = aiohttp.ClientSession()
    with pytest.raises(ConfigurationError, match="at least one"):
        wrap_session(plain)
    await plain.close()
    with pytest.raises(ConfigurationError, match="open"):
        wrap_session(plain, TokenManager(FakeProvider()))


async def test_every_setting_of_the_session_is_kept() -> None:
    """Whatever aiohttp's constructor takes is the same in the wrapper, but for the middlewares."""
    import inspect

    async def own(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    options: dict[str, Any] = {
        "base_url": "https://api.example.com/v1/",
        "headers": {"X-Tenant": "7"},
        "skip_auto_headers": ["User-Agent"],
        "proxy": "http://proxy.example:3128",
        "json_serialize": repr,
        "request_class": type("Request", (aiohttp.ClientRequest,), {}),
        "response_class": type("Response", (aiohttp.ClientResponse,), {}),
        "ws_response_class": type("Socket", (aiohttp.ClientWebSocketResponse,), {}),
        "version": aiohttp.HttpVersion10,
        "cookie_jar": aiohttp.DummyCookieJar(),
        "raise_for_status": True,
        "timeout": aiohttp.ClientTimeout(total=7, connect=3),
        "auto_decompress": False,
        "trust_env": True,
        "requote_redirect_url": False,
        "trace_configs": [aiohttp.TraceConfig()],
        "read_bufsize": 4096,
        "max_line_size": 9000,
        "max_field_size": 9001,
        "fallback_charset_resolver": lambda response, body: "latin-1",
        "middlewares": (own,),
    }
    known = inspect.signature(aiohttp.ClientSession.__init__).parameters
    if "max_headers" in known:
        options["max_headers"] = 77
    elsewhere = {"self", "connector", "loop", "cookies", "auth", "proxy_auth", "connector_owner"}
    oddities = {"conn_timeout", "read_timeout", "ssl_shutdown_timeout", "json_serialize_bytes"}
    assert set(known) - elsewhere - oddities <= set(options)
    async with aiohttp.ClientSession(**options) as plain:
        http = wrap_session(plain, TokenManager(FakeProvider()))
        mine, theirs = vars(http), vars(plain)
        differing = {name for name in theirs if not _same(mine[name], theirs[name])}
        assert differing <= {"_middlewares", "_connector_owner", "_source_traceback"}
        assert middlewares_of(http)[:-1] == (own,)
        await http.close()
        assert not plain.closed
    await plain.close()


def _same(mine: Any, theirs: Any) -> bool:
    return mine is theirs or bool(mine == theirs)


async def test_a_session_with_deprecated_arguments(api: Api) -> None:
    """A session that was made with arguments which aiohttp has come to deprecate is wrapped without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        plain = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "basic-password"))
    async with plain, wrap_session(plain, TokenManager(fake(api))) as http:
        async with http.get(api.url) as response:
            assert response.status == 401
        assert plain.auth is not None or http is not plain
    assert str(api.got[0].headers["Authorization"]).startswith("Basic ")


async def test_a_wrapper_that_is_never_closed(api: Api) -> None:
    """The wrapper holds nothing of its own: to forget it costs no warning once the session itself is closed."""
    async with aiohttp.ClientSession() as plain:
        http = wrap_session(plain, TokenManager(fake(api)))
        async with http.get(api.url) as response:
            assert response.status == 200
    assert http.closed
    del http


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)

    class Metered(aiohttp.ClientSession):
        """A session with a behaviour of its own."""


async def test_a_session_of_a_derived_class_is_refused(api: Api) -> None:
    """The wrapped one would lose what that class does; the error says how to keep it, and that way works."""
    async with TokenManager(fake(api)) as manager:
        async with Metered() as theirs:
            with pytest.raises(ConfigurationError, match="wrap_session would lose what Metered does"):
                wrap_session(theirs, manager)
        async with Metered(middlewares=(BearerAuth(manager),)) as http, http.get(f"{api.url}/x") as response:
            assert response.status == 200


async def test_a_session_of_this_library_can_be_wrapped(api: Api) -> None:
    """What `client_session` returns does nothing more on a request than its middlewares, which are kept."""
    async with (
        Api("token-1").serve() as other,
        TokenManager(fake(other)) as manager,
        client_session(fake(api)) as http,
        wrap_session(http, manager) as wrapped,
    ):
        for each in (api, other):
            async with wrapped.get(f"{each.url}/x") as response:
                assert response.status == 200
