"""What the library builds on: how aiohttp itself behaves around a client middleware, in every version from 3.12.1 on.

A test that fails here says that aiohttp has changed, and which assumption is to be looked at again.
"""

from __future__ import annotations

import asyncio
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import payload, web
from loopback import Api, echo_socket, nothing_left, redirect_to
from yarl import URL

from asyncauth._http import aiohttp_compat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

VERSION = tuple(map(int, re.findall(r"\d+", aiohttp.__version__)[:3]))


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    async with Api().serve() as api:
        api.good = None
        yield api


@pytest_asyncio.fixture
async def other() -> AsyncIterator[Api]:
    async with Api().serve() as api:
        api.good = None
        yield api


class Notes:
    """A middleware that notes what passes through it."""

    def __init__(self) -> None:
        self.requests: list[aiohttp.ClientRequest] = []
        self.urls: list[str] = []

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.requests.append(request)
        self.urls.append(str(request.url))
        return await handler(request)


async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send every request a second time, as a naive retry does."""
    first = await handler(request)
    first.release()
    return await handler(request)


async def test_a_url_that_a_middleware_adds_to(api: Api) -> None:
    """It is what goes out, to the letter, and `RequestInfo` has it; ``response.url`` stays the caller's."""

    async def add(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        aiohttp_compat.add_to_url(request, "&more=%2F")
        return await handler(request)

    seen: list[str] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.Response()

    api.routes["/a"] = note
    async with aiohttp.ClientSession(middlewares=(add,)) as http, http.get(f"{api.url}/a?b=%2B#part") as response:
        assert response.url == URL(f"{api.url}/a?b=%2B")
        assert response._request_info.url == URL(f"{api.url}/a?b=%2B&more=%2F", encoded=True)
    assert seen == ["/a?b=%2B&more=%2F"]


async def test_netrc_is_read_before_any_middleware(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header is in the request already, and nothing but its value tells where it is from."""
    await asyncio.to_thread((tmp_path / "netrc").write_text, "machine 127.0.0.1 login me password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    found: list[tuple[str | None, bool]] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        found.append((request.headers.get("Authorization"), await aiohttp_compat.is_from_netrc(request)))
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(note,), trust_env=True) as http, http.get(f"{api.url}/a"):
        pass
    assert found == [("Basic bWU6eA==", True)]


async def test_the_jar_is_filled_after_the_middlewares(api: Api) -> None:
    """A cookie that one of them takes out of the response does not get into the session's jar; the others do."""

    async def forget(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        aiohttp_compat.forget_cookie(response, "a=1")
        return response

    async def set_cookies(request: web.Request) -> web.StreamResponse:
        answer = web.Response()
        for name, value in (("a", "1"), ("b", "2")):
            answer.set_cookie(name, value)
        return answer

    api.routes["/a"] = set_cookies
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(middlewares=(forget,), cookie_jar=jar) as http, http.get(f"{api.url}/a"):
        assert [cookie.key for cookie in jar] == ["b"]


async def test_the_chain_runs_for_every_hop(api: Api, other: Api) -> None:
    """Each hop of a redirect passes the middlewares, as a request of its own with its own URL."""
    api.routes["/a"] = redirect_to(f"{other.url}/b")
    notes = Notes()
    async with aiohttp.ClientSession(middlewares=(notes,)) as http, http.get(f"{api.url}/a"):
        pass
    assert notes.urls == [f"{api.url}/a", f"{other.url}/b"]
    assert notes.requests[0] is not notes.requests[1]


async def test_a_naive_middleware_hands_the_token_on(api: Api, other: Api) -> None:
    """aiohttp drops an explicit Authorization across origins, but not one that a middleware adds on every hop."""
    api.routes["/a"] = redirect_to(f"{other.url}/b")

    async def naive(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = "Bearer leaked"
        return await handler(request)

    async with aiohttp.ClientSession() as http:
        async with http.get(f"{api.url}/a", headers={"Authorization": "Bearer explicit"}):
            pass
        async with http.get(f"{api.url}/a", middlewares=(naive,)):
            pass
    assert other.bearers == [None, "leaked"]


async def test_a_redirects_second_request_shares_no_headers(api: Api) -> None:
    """What a middleware sets on one hop's headers is not on the next hop's."""
    api.routes["/a"] = redirect_to("/b")
    seen: list[str | None] = []

    async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.headers.get("Authorization"))
        request.headers["Authorization"] = "Bearer x"
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(once,)) as http, http.get(f"{api.url}/a"):
        pass
    assert seen == [None, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda _: {"data": b"abc"},
        lambda _: {"data": "abc"},
        lambda _: {"json": ["abc"]},
        lambda _: {"data": {"a": "abc"}},
        lambda _: {"data": io.BytesIO(b"abc")},
        lambda path: {"data": path.open("rb")},
        lambda path: {"data": _form(path.open("rb"))},
    ],
    ids=["bytes", "str", "json", "form", "BytesIO", "file", "multipart"],
)
async def test_whole_bodies_are_sent_again_whole(api: Api, tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """Calling the handler a second time sends these bodies whole."""
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1000)
    options = make(path)
    async with aiohttp.ClientSession(middlewares=(twice,)) as http, http.post(api.url, **options) as response:
        assert response.status == 200
    first, second = api.got
    assert first.body
    assert first.body == second.body
    if isinstance(options.get("data"), io.IOBase):
        options["data"].close()


def _form(file: Any) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", file)
    return form


async def _chunks() -> AsyncIterator[bytes]:
    yield b"abc"


async def test_a_spent_body_is_sent_again_empty(api: Api) -> None:
    """An async generator's body is empty the second time, and the server answers 200."""
    async with aiohttp.ClientSession(middlewares=(twice,)) as http, http.post(api.url, data=_chunks()) as response:
        assert response.status == 200
    assert [got.body for got in api.got] == [b"abc", b""]


async def test_consumed_is_not_to_be_relied_on() -> None:
    """``consumed`` says nothing of a multipart with a generator, in some versions: the kind of a body does."""
    writer = aiohttp.MultipartWriter()
    writer.append(payload.AsyncIterablePayload(_chunks()))
    assert isinstance(writer.consumed, bool)
    assert all(isinstance(part, payload.Payload) for part, _, _ in writer._parts)


async def test_what_a_files_payload_is_made_of(tmp_path: Path) -> None:
    """A file's payload has its file in ``_value``, and reads it in threads through two methods of its own."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("rb") as file, path.open() as text:
        for each in (file, text, io.BytesIO(), io.StringIO()):
            body = payload.PAYLOAD_REGISTRY.get(each, disposition=None)
            if isinstance(each, io.StringIO):
                assert isinstance(body, payload.BytesPayload)  # read when it is made
                continue
            assert isinstance(body, payload.IOBasePayload)
            assert body._value is each
            assert callable(body._read)
            assert callable(body._read_and_available_len)
            vars(body)["_read"] = body._read  # it has no slots


async def test_the_first_answer_must_be_released(api: Api) -> None:
    """With one connection, a second try waits forever for a connection whose answer was not released."""
    api.good, api.denied = set(), b"x" * 3_000_000

    async def careless(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        first = await handler(request)
        try:
            async with asyncio.timeout(0.1):
                return await handler(request)
        finally:
            first.close()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), middlewares=(careless,)) as http:
        with pytest.raises(TimeoutError):
            await http.get(api.url)


async def test_the_middleware_runs_inside_the_timeout(api: Api) -> None:
    """When a request's total timeout fires, what its middleware awaits is cancelled."""
    cancelled: list[bool] = []

    async def waits(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(waits,), timeout=aiohttp.ClientTimeout(total=0.02)) as http:
        with pytest.raises(TimeoutError):
            await http.get(api.url)
    assert cancelled == [True]


async def test_a_websockets_url_keeps_its_scheme(api: Api) -> None:
    """Inside the middleware a WebSocket's origin is ws://host; given as http, http://host. ``ws_connect`` passes it."""
    api.routes["/ws"] = echo_socket
    notes = Notes()
    address = URL(api.url)
    async with aiohttp.ClientSession(middlewares=(notes,)) as http:
        for url in (address.with_scheme("ws"), address):
            async with http.ws_connect(url / "ws"):
                pass
    assert [str(request.url.origin()) for request in notes.requests] == [str(address.with_scheme("ws")), str(address)]


async def test_a_requests_middlewares_replace_the_sessions(api: Api) -> None:
    """``middlewares=`` of a request replaces the session's; ``()`` is none at all."""
    sessions, requests = Notes(), Notes()
    async with aiohttp.ClientSession(middlewares=(sessions,)) as http:
        every: tuple[dict[str, Any], ...] = ({}, {"middlewares": (requests,)}, {"middlewares": ()})
        for options in every:
            async with http.get(api.url, **options):
                pass
    assert (len(sessions.urls), len(requests.urls)) == (1, 1)


async def test_middlewares_are_kept_in_private() -> None:
    """A session's middlewares, loop and settings are where the one module says that reads them."""

    async def own(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(own,)) as http:
        assert tuple(aiohttp_compat.middlewares_of(http)) == (own,)
        assert aiohttp_compat.loop_of(http) is asyncio.get_running_loop()
        missing = {name for name in aiohttp_compat.KEPT_AS.values() if not hasattr(http, name)}
        assert missing <= {"_json_serialize_bytes", "_max_headers", "_middlewares"}


async def test_a_token_request_through_the_callers_session_runs_in_circles(api: Api) -> None:
    """``request.session`` is the caller's own: what is sent through it passes the same middleware again."""
    depth = 0

    async def circular(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal depth
        depth += 1
        if depth < 3:
            async with http.post(f"{api.url}/token"):
                pass
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(circular,)) as http, http.get(f"{api.url}/x"):
        pass
    assert depth == 3


async def test_cookies_and_raise_for_status_apply_to_every_request(api: Api) -> None:
    """A session's cookies travel with each request of it, and so does its raise_for_status."""
    api.good = set()
    options: dict[str, Any] = {"cookies": {"tenant": "7"}, "cookie_jar": aiohttp.CookieJar(unsafe=True)}
    async with aiohttp.ClientSession(raise_for_status=True, **options) as http:
        with pytest.raises(aiohttp.ClientResponseError):
            await http.post(f"{api.url}/token")
        async with http.post(f"{api.url}/token", raise_for_status=False) as response:
            assert response.status == 401
    assert [got.headers["Cookie"] for got in api.got] == ["tenant=7", "tenant=7"]


async def test_the_repr_of_a_response_error_shows_headers(api: Api) -> None:
    """``repr(ClientResponseError)`` prints the request's headers, and its ``str`` the URL with the query."""
    api.good = set()
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await http.get(f"{api.url}/x?key=secret-query", headers={"Authorization": "Bearer secret-token"})
    assert "secret-token" in repr(caught.value)
    assert "secret-query" in str(caught.value)


async def test_basic_auth_is_deprecated_from_3_14_on() -> None:
    """``auth=`` warns from 3.14 on, so with warnings as errors it fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        http = aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b"))
        await http.close()
    assert bool([each for each in caught if each.category is DeprecationWarning]) == (VERSION >= (3, 14))


async def test_the_default_port_makes_another_url() -> None:
    """To yarl an origin with its default port spelled out is not equal to one without."""
    assert URL("https://a.example:443").origin() != URL("https://a.example").origin()
    assert str(URL("https://a.example:443").origin()) == str(URL("https://a.example").origin())


async def test_under_aioresponses_no_middleware_runs() -> None:
    """aioresponses replaces the code that calls middlewares, so it is of use only for token requests."""
    from aioresponses import aioresponses

    notes = Notes()
    with aioresponses() as mock:
        mock.get("https://api.example.com/", exception=aiohttp.ClientConnectionError())
        async with aiohttp.ClientSession(middlewares=(notes,)) as http:
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get("https://api.example.com/")
    assert notes.urls == []


async def test_aioresponses_needs_help_from_3_14_on() -> None:
    """``ClientResponse`` asks for a ``stream_writer`` from 3.14 on, which aioresponses does not give."""
    import inspect

    wanted = "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters
    assert wanted == (VERSION >= (3, 14))


async def test_an_answer_in_place_of_100_continue() -> None:
    """Before 3.14 it keeps a connection whose body it has not sent, and its next request is misread; 3.14 gives it up.

    That is so without any middleware; a second try can't do better than a second request.
    """
    connections = 0
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        for _ in range(2):
            async with http.post(url, data=b"abc", expect100=True) as response:
                assert response.status == 401
                await response.read()
    server.close()
    await server.wait_closed()
    assert len(heads) == 2
    assert connections == (2 if VERSION >= (3, 14) else 1)


async def test_a_handler_may_be_told_headers_between_two_calls(api: Api) -> None:
    """What is set on ``request.headers`` between two calls of the handler is what the second one sends."""

    async def changing(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = "Bearer one"
        (await handler(request)).release()
        request.headers["Authorization"] = "Bearer two"
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(changing,)) as http, http.post(api.url, data=b"abc"):
        pass
    assert api.bearers == ["one", "two"]


async def test_redirects_can_be_forbidden(api: Api) -> None:
    """``allow_redirects=False`` gives the redirect itself."""
    api.routes["/a"] = redirect_to("/b")
    async with aiohttp.ClientSession() as http, http.post(f"{api.url}/a", allow_redirects=False) as response:
        assert response.status == 307
    assert [got.path for got in api.got] == ["/a"]


async def test_connector_owner(api: Api) -> None:
    """A session that does not own its connector leaves it open."""
    async with aiohttp.ClientSession() as first:
        second = aiohttp.ClientSession(connector=first.connector, connector_owner=False)
        async with second, second.get(api.url):
            pass
        assert second.closed
        assert not first.closed
