"""BearerAuth over real sockets: who gets the token, what a 401 costs, what is sent again."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import payload, web
from inside_kit import connections_of
from loopback import DENIED, Api, echo_socket, nothing_left, redirect_to, until

from asyncauth import (
    BearerAuth,
    CredentialsRejected,
    InsecureTransport,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock, FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

BIG = bytes(range(256)) * (12 * 1024)  # 3 MiB, no two neighbours alike
OLD = aiohttp.__version__.startswith(("3.12.", "3.13."))
"""Its connection is of no more use when an answer came instead of ``100 Continue``, and it keeps it nevertheless."""
DOWN = TokenEndpointUnavailable("down", retry_after=3000)


pytestmark = pytest.mark.usefixtures("known_soon")


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    """An API that takes the first two tokens of a fake provider; ``api.good = {"token-2"}`` revokes the first."""
    async with Api("token-1", "token-2").serve() as api:
        yield api


@pytest_asyncio.fixture
async def other() -> AsyncIterator[Api]:
    """An API of somebody else, that takes everything."""
    async with Api().serve() as api:
        api.good = None
        yield api


class Client:
    """A session with a manager of a fake provider for one API.

    Args:
        api: The API.
        known: Whether the API has accepted the first token already. If not, a 401 to it may mean "not known yet".
        **options: The session's.
    """

    def __init__(self, api: Api, *, known: bool = False, **options: Any) -> None:
        self._known = known
        self.provider = FakeProvider(origins=(api.url,))
        self.manager = TokenManager(self.provider)
        connector = aiohttp.TCPConnector(limit=options.pop("limit", 100))
        options.setdefault("timeout", aiohttp.ClientTimeout(total=20))
        self.http = aiohttp.ClientSession(connector=connector, middlewares=(BearerAuth(self.manager),), **options)

    async def __aenter__(self) -> Self:
        if self._known:
            self.manager.accepted(await self.manager.token())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.manager.close()


async def status_of(http: aiohttp.ClientSession, url: str, **options: Any) -> int:
    async with http.get(url, **options) as response:
        await response.read()
        return response.status


# --- Who gets the token


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
async def test_every_method_is_authorized(api: Api, method: str) -> None:
    """A request of any method carries the token."""
    async with Client(api) as client, client.http.request(method, f"{api.url}/x") as response:
        assert response.status == 200
    assert [(got.method, got.bearer) for got in api.got] == [(method, "token-1")]


async def test_no_token_for_another_origin(api: Api, other: Api) -> None:
    """A request to another origin (just another port) is sent unchanged, and no token is obtained."""
    async with Client(api) as client:
        assert await status_of(client.http, f"{other.url}/x") == 200
        assert other.bearers == [None]
        assert client.provider.calls == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects(api: Api, other: Api, status: int) -> None:
    """The token follows a redirect within its origin, not to another one, and is there again on the way back."""
    api.routes["/away"] = redirect_to(f"{other.url}/there", status)
    other.routes["/there"] = redirect_to(f"{api.url}/back", status)
    api.routes["/back"] = redirect_to("/home", status)
    async with Client(api) as client, client.http.post(f"{api.url}/away", data=b"body") as response:
        assert response.status == 200
    assert [(got.path, got.bearer) for got in api.got] == [
        ("/away", "token-1"),
        ("/back", "token-1"),
        ("/home", "token-1"),
    ]
    assert other.bearers == [None]


async def test_each_origin_has_its_own_manager(api: Api, other: Api) -> None:
    """Two managers in one middleware: each origin gets its own token, on every hop."""
    other.good = {"theirs"}
    api.routes["/away"] = redirect_to(f"{other.url}/there")
    theirs = FakeProvider(origins=(other.url,), answers=[Token("theirs")])
    auth = BearerAuth(TokenManager(FakeProvider(origins=(api.url,))), TokenManager(theirs))
    async with aiohttp.ClientSession(middlewares=(auth,)) as http:
        assert await status_of(http, f"{api.url}/away") == 200
        assert await status_of(http, f"{other.url}/there") == 200
    assert api.bearers == ["token-1"]
    assert other.bearers == ["theirs", "theirs"]


@pytest.mark.parametrize("where", ["request", "session"])
async def test_an_explicit_authorization_stays(api: Api, where: str) -> None:
    """The caller's own header is sent as it is; a 401 for it costs no token and no second try."""
    mine: dict[str, Any] = {"headers": {"Authorization": "Bearer mine"}}
    async with Client(api, **(mine if where == "session" else {})) as client:
        assert await status_of(client.http, api.url, **(mine if where == "request" else {})) == 401
        assert client.provider.calls == 0
    assert api.bearers == ["mine"]


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_plain_http_is_refused_before_anything_is_sent(api: Api, scheme: str) -> None:
    """Plain http to a host of https is refused, also as the hop of a redirect, and reaches nobody."""
    api.routes["/down"] = redirect_to("http://api.example.com/x")
    provider = FakeProvider(origins=("https://api.example.com", api.url))
    sent: list[str] = []

    async def watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        sent.append(str(request.url.origin()))
        return await handler(request)

    auth = BearerAuth(TokenManager(provider))
    async with aiohttp.ClientSession(middlewares=(auth, watch)) as http:
        for url in (f"{scheme}://api.example.com/x", f"{api.url}/down"):
            with pytest.raises(InsecureTransport):
                async with http.get(url):
                    pass
        if scheme == "ws":
            with pytest.raises(InsecureTransport):
                await http.ws_connect("ws://api.example.com/x")
    assert sent == [api.url]


# --- WebSockets


async def test_a_websocket_is_authorized(api: Api) -> None:
    """A WebSocket's handshake carries the token: ws counts as http."""
    api.routes["/ws"] = echo_socket
    async with Client(api) as client:
        for base in (api.url, api.url.replace("http", "ws")):
            async with client.http.ws_connect(f"{base}/ws") as socket:
                await socket.send_str("hello")
                assert await socket.receive_str(timeout=5) == "hello"
    assert api.bearers == ["token-1", "token-1"]


async def test_a_websockets_token_is_renewed(api: Api) -> None:
    """A handshake that is refused gets a fresh token and a second try."""
    api.routes["/ws"] = echo_socket
    api.good = {"token-2"}
    async with Client(api, known=True) as client, client.http.ws_connect(f"{api.url}/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "hello"
    assert api.bearers == ["token-1", "token-2"]


async def test_a_websocket_that_stays_refused(api: Api) -> None:
    """If the server refuses both tries, the handshake fails as it would without the library."""
    api.good = set()
    async with Client(api, known=True) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.http.ws_connect(f"{api.url}/ws")
        assert caught.value.status == 401
    assert api.bearers == ["token-1", "token-2", "token-2"]


# --- No token, no request


async def test_without_a_token_nothing_is_sent(api: Api) -> None:
    """If no token can be had the request is not sent, and the error reaches the caller as a ClientError."""
    async with Client(api) as client:
        client.provider.answers = [CredentialsRejected("wrong password"), DOWN]
        for kind in (CredentialsRejected, CredentialsRejected):
            with pytest.raises(kind) as caught:
                await status_of(client.http, api.url)
            assert isinstance(caught.value, aiohttp.ClientError)
        assert client.provider.calls == 1
    assert api.got == []


async def test_a_closed_manager_sends_nothing(api: Api) -> None:
    """A session that outlives its manager fails closed."""
    async with Client(api) as client:
        assert await status_of(client.http, api.url) == 200
        await client.manager.close()
        with pytest.raises(aiohttp.ClientError):
            await status_of(client.http, api.url)
    assert len(api.got) == 1


# --- Which 401 the token explains


@pytest.mark.parametrize(
    "challenges",
    [
        [],
        ["Bearer"],
        ["bearer"],
        ['BEARER realm="api"'],
        ['Bearer error="invalid_token", error_description="expired"'],
        ['Basic realm="x", Bearer realm="y"'],
        ['Basic realm="x"', "Bearer"],
        ['OAuth2 realm="API", error="invalid_token"'],
        ['Basic realm="x"', 'Digest realm="y", nonce="z"'],
        ["Token"],
        ["DPoP"],
        [",,, ="],
        [""],
    ],
)
async def test_a_401_that_the_token_explains(api: Api, challenges: list[str]) -> None:
    """After a 401 that a fresh token can fix, the request is sent again with one. The caller sees that answer only."""
    api.good, api.challenges = {"token-2"}, challenges
    async with Client(api, known=True) as client:
        assert await status_of(client.http, api.url) == 200
        assert client.manager.current is not None
        assert client.manager.current.value == "token-2"
    assert api.bearers == ["token-1", "token-2"]


@pytest.mark.parametrize(
    "challenges",
    [
        ['Bearer error="insufficient_scope", scope="admin"'],
        ['Basic realm="x"', 'Bearer error="insufficient_scope"'],
        ['Bearer error="INSUFFICIENT_SCOPE"'],
        ['Bearer error="invalid_request"'],
        ['Bearer error="insufficient_user_authentication", acr_values="mfa"'],
        ['Bearer error="invalid_token", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'],
    ],
)
async def test_a_401_that_another_token_would_not_mend(api: Api, challenges: list[str]) -> None:
    """It goes to the caller as it is, and the token stays."""
    api.good, api.challenges = set(), challenges
    async with Client(api) as client:
        for _ in range(3):
            async with client.http.get(api.url) as response:
                assert response.status == 401
                assert await response.read() == DENIED
        assert client.provider.calls == 1
    assert api.bearers == ["token-1"] * 3


@pytest.mark.parametrize("status", [400, 403, 404, 407, 429, 500, 503])
async def test_other_statuses_are_no_refusals(api: Api, status: int) -> None:
    """Nothing but a 401 costs a token or a second try."""

    async def route(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})

    api.routes["/x"] = route
    async with Client(api) as client:
        assert await status_of(client.http, f"{api.url}/x") == status
        assert client.provider.calls == 1
    assert len(api.got) == 1


# --- The second try


async def test_refused_twice(api: Api) -> None:
    """A new token that is refused is sent once more, for the API may not know it yet; then the 401 is the caller's."""
    api.good = set()
    async with Client(api, known=True) as client, client.http.get(api.url) as response:
        assert response.status == 401
        assert await response.read() == DENIED
    assert api.bearers == ["token-1", "token-2", "token-2"]


async def test_the_second_answer_is_final(api: Api) -> None:
    """Whatever the second try is answered, a redirect included, is what the caller gets."""
    api.good = {"token-2"}
    api.routes["/away"] = redirect_to("/home")
    async with Client(api, known=True) as client, client.http.post(f"{api.url}/away", data=b"body") as response:
        assert response.status == 200
        assert str(response.url) == f"{api.url}/home"
    assert [(got.path, got.bearer, got.body) for got in api.got] == [
        ("/away", "token-1", b"body"),
        ("/away", "token-2", b"body"),
        ("/home", "token-2", b"body"),
    ]


async def test_the_second_try_meets_a_broken_connection(api: Api) -> None:
    """An error of the second try is the caller's, and leaves nothing behind."""

    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    api.good = {"token-2"}
    api.routes["/x"] = drop
    async with Client(api, known=True) as client:
        with pytest.raises(aiohttp.ClientError):
            await status_of(client.http, f"{api.url}/x", headers={"X": "1"})


async def test_the_second_try_is_the_same_request(api: Api) -> None:
    """Method, path, query, headers and cookies are those of the first try."""
    api.good = {"token-2"}
    async with Client(api, known=True) as client:
        options: dict[str, Any] = {"params": {"a": "1", "b": "ñ"}, "headers": {"X-Trace": "7"}, "cookies": {"c": "3"}}
        async with client.http.patch(f"{api.url}/x", json={"k": [1, None]}, **options) as response:
            assert response.status == 200
    first, second = api.got
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
    changed = {name for name in first.headers if first.headers.getall(name) != second.headers.getall(name)}
    assert changed == {"Authorization"}
    assert first.headers.keys() == second.headers.keys()


async def test_many_requests_one_refresh(api: Api) -> None:
    """After a revocation, however many requests meet the 401, one token is obtained and all succeed."""
    async with Client(api, limit=0) as client:
        assert await status_of(client.http, api.url) == 200
        api.good = {"token-2"}
        statuses = await asyncio.gather(*(status_of(client.http, f"{api.url}/{n}") for n in range(60)))
        assert statuses == [200] * 60
        assert client.provider.calls == 2


async def test_a_late_401_costs_nothing(api: Api) -> None:
    """A 401 for a token that was replaced meanwhile takes the new token, and no refresh."""
    slow = asyncio.Event()

    async def held_up(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer token-1":
            await slow.wait()
            return web.Response(status=401)
        return web.Response()

    api.routes["/slow"] = held_up
    async with Client(api) as client:
        late = asyncio.create_task(status_of(client.http, f"{api.url}/slow"))
        await until(lambda: bool(api.got))
        api.good = {"token-2"}
        assert await status_of(client.http, api.url) == 200
        slow.set()
        assert await late == 200
        assert client.provider.calls == 2


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_the_first_answer_is_let_go_of(api: Api, limit: int, size: int) -> None:
    """A 401 with a body of 3 MB on the only connection does not keep the second try waiting."""
    api.good, api.denied = {"token-2"}, b"x" * size
    async with Client(api, limit=limit, known=True) as client, asyncio.timeout(10):
        for _ in range(3):
            assert await status_of(client.http, api.url) == 200


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
@pytest.mark.parametrize("limit", [1, 100])
async def test_the_callers_401_is_readable(api: Api, size: int, limit: int) -> None:
    """If no fresh token can be had, the caller gets the 401 it would have had, with all of its body."""
    api.denied = BIG[:size]
    async with Client(api, limit=limit) as client:
        assert await status_of(client.http, api.url) == 200
        api.good = set()
        client.provider.answers = [DOWN]
        for _ in range(2):
            try:
                async with client.http.get(api.url) as response:
                    assert response.status == 401
                    assert await response.read() == api.denied
            except TokenEndpointUnavailable:
                assert len(api.got) == 2  # the next one has no token to be sent with
                break
        else:
            pytest.fail("the refused token was sent again")


async def test_the_same_token_again(api: Api) -> None:
    """An endpoint that gives the refused token again causes no second try."""
    api.good = set()
    async with Client(api, known=True) as client:
        client.provider.answers = [Token("token-1"), Token("token-1")]
        async with client.http.get(api.url) as response:
            assert response.status == 401
            assert await response.read() == DENIED
    assert api.bearers == ["token-1"]


# --- Bodies


class Upper(payload.Payload):
    """A payload of the user's own."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value)

    async def write(self, writer: Any) -> None:
        await writer.write(self._value)


def a_form_with(*parts: tuple[str, Any]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in parts:
        form.add_field(name, value, **({} if isinstance(value, str) else {"filename": name}))
    return form


def multipart_of(*parts: Any) -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("mixed")
    for part in parts:
        writer.append(part)
    return writer


def advanced(file: Any, by: int = 3) -> Any:
    file.read(by)
    return file


async def in_chunks(data: bytes = BIG) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


WHOLE: dict[str, tuple[Callable[[Path], dict[str, Any]], bytes | None]] = {
    "nothing": (lambda _: {}, b""),
    "empty bytes": (lambda _: {"data": b""}, b""),
    "bytes": (lambda _: {"data": b"abc"}, b"abc"),
    "bytearray": (lambda _: {"data": bytearray(b"abc")}, b"abc"),
    "memoryview": (lambda _: {"data": memoryview(b"abc")}, b"abc"),
    "big bytes": (lambda _: {"data": payload.BytesPayload(BIG[: 1 << 20])}, BIG[: 1 << 20]),
    "str": (lambda _: {"data": "añb"}, "añb".encode()),
    "json": (lambda _: {"json": {"a": [1, "ñ"]}}, b'{"a": [1, "\\u00f1"]}'),
    "dict": (lambda _: {"data": {"a": "1", "b": "x y"}}, b"a=1&b=x+y"),
    "FormData": (lambda _: {"data": a_form_with(("a", "1"))}, b"a=1"),
    "FormData with file": (lambda path: {"data": a_form_with(("a", "1"), ("file", path.open("rb")))}, None),
    "FormData with BytesIO": (lambda _: {"data": a_form_with(("a", "1"), ("file", io.BytesIO(BIG)))}, None),
    "file": (lambda path: {"data": path.open("rb")}, BIG),
    "file, advanced": (lambda path: {"data": advanced(path.open("rb"))}, BIG[3:]),
    "unbuffered file": (lambda path: {"data": path.open("rb", buffering=0)}, BIG),
    "read-write file": (lambda path: {"data": path.open("r+b")}, BIG),
    "BytesIO": (lambda _: {"data": io.BytesIO(BIG)}, BIG),
    "BytesIO, advanced": (lambda _: {"data": advanced(io.BytesIO(BIG))}, BIG[3:]),
    "StringIO": (lambda _: {"data": io.StringIO("añb" * 1000)}, ("añb" * 1000).encode()),
    "text file": (lambda path: {"data": path.with_suffix(".txt").open("r", encoding="utf-8")}, "añb".encode() * 9999),
    "multipart": (lambda path: {"data": multipart_of("text", b"bytes", path.open("rb"), io.BytesIO(BIG))}, None),
    "nested multipart": (lambda _: {"data": multipart_of("text", multipart_of("inner", io.BytesIO(BIG)))}, None),
    "chunked bytes": (lambda _: {"data": b"abc", "chunked": True}, b"abc"),
    "chunked file": (lambda path: {"data": path.open("rb"), "chunked": True}, BIG),
    "compressed": (lambda _: {"data": b"abc" * 999, "compress": "deflate"}, b"abc" * 999),
    "compressed file": (lambda path: {"data": path.open("rb"), "compress": "gzip"}, BIG),
}


@pytest.mark.parametrize("kept", [False] if OLD else [False, True])
async def test_a_refusal_instead_of_100_continue(*, kept: bool) -> None:
    """A request that waits for ``100 Continue`` is sent once: its caller gets the 401, the next one a new token."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                if b"Bearer token-1" in heads[-1]:
                    end = b"" if kept else b"Connection: close\r\n"
                    writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n" + end + b"\r\nno")
                    if not kept:
                        break
                else:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    await reader.readexactly(3)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    manager = TokenManager(FakeProvider(origins=(url,)))
    async with asyncio.timeout(5), aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        for status in (401, 200):
            async with http.post(url, data=b"abc", expect100=True) as response:
                assert response.status == status
    server.close()
    await server.wait_closed()
    assert [b"Bearer token-1" in head for head in heads] == [True, False]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(BIG)
    path.with_suffix(".txt").write_text("añb" * 9999, encoding="utf-8")
    return path


@pytest.mark.parametrize("early", [False, True], ids=["read", "unread"])
@pytest.mark.parametrize("kind", WHOLE)
async def test_a_whole_body_is_sent_again_whole(*, api: Api, file: Path, kind: str, early: bool) -> None:
    """What is known to be whole arrives whole in the second try, whether the first was read to its end or not."""
    make, expected = WHOLE[kind]
    api.good, api.early = {"token-2"}, early
    options = make(file)
    async with Client(api, known=True) as client, client.http.post(api.url, **options) as response:
        assert response.status == 200
    first, second = api.got
    assert [first.bearer, second.bearer] == ["token-1", "token-2"]
    if expected is not None:
        assert second.body == expected
    else:
        assert second.body is not None
        assert len(second.body) > 3
        assert second.body.rstrip().endswith(b"--")
        assert BIG in second.body
    if not early:
        assert first.body == second.body
    assert first.headers.get("Content-Type") == second.headers.get("Content-Type")
    close(options.get("data"))


def close(data: Any) -> None:
    """Close a file that is the caller's."""
    if isinstance(data, io.IOBase):
        data.close()


def a_pipe(_: Path) -> Any:
    reading, writing = os.pipe()
    os.write(writing, b"abc" * 1000)
    os.close(writing)
    return os.fdopen(reading, "rb")


SPENT: dict[str, Callable[[Path], Any]] = {
    "async generator": lambda _: in_chunks(),
    "small async generator": lambda _: in_chunks(b"abc"),
    "empty async generator": lambda _: in_chunks(b""),
    "payload of an async generator": lambda _: payload.AsyncIterablePayload(in_chunks()),
    "multipart with a generator": lambda _: multipart_of("text", payload.AsyncIterablePayload(in_chunks())),
    "nested multipart with a generator": lambda _: multipart_of(
        multipart_of(payload.AsyncIterablePayload(in_chunks()))
    ),
    "pipe": a_pipe,
    "own payload": lambda _: Upper(b"abc"),
}


@pytest.mark.parametrize("early", [False, True], ids=["read", "unread"])
@pytest.mark.parametrize("kind", SPENT)
async def test_any_other_body_is_sent_once(*, api: Api, file: Path, kind: str, early: bool) -> None:
    """The 401 goes to the caller untouched; the refused token is dropped all the same."""
    api.good, api.early = {"token-2"}, early
    data = SPENT[kind](file)
    async with Client(api) as client:
        async with client.http.post(api.url, data=data) as response:
            assert response.status == 401
            assert await response.read() == DENIED
        assert api.bearers == ["token-1"]
        assert client.manager.current is None
        assert await status_of(client.http, api.url) == 200
        assert api.bearers == ["token-1", "token-2"]
        assert client.provider.calls == 2
    close(data)


async def test_a_stream_of_another_answer_is_sent_once(api: Api, other: Api) -> None:
    """A proxied answer can be read once, so it is sent once."""

    async def source(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BIG)

    other.routes["/source"] = source
    api.good = {"token-2"}
    async with Client(api) as client, client.http.get(f"{other.url}/source") as answer:
        async with client.http.post(api.url, data=answer.content) as response:
            assert response.status == 401
        assert [got.body == BIG for got in api.got] == [True]


async def test_a_file_that_was_closed_meanwhile(api: Api, file: Path) -> None:
    """A file that is closed before the second try is not sent again."""
    data = file.open("rb")

    async def refuse(request: web.Request) -> web.StreamResponse:
        data.close()
        return web.Response(status=401, body=DENIED)

    api.routes["/x"] = refuse
    async with Client(api) as client, client.http.post(f"{api.url}/x", data=data) as response:
        assert response.status == 401
        assert await response.read() == DENIED
    assert len(api.got) == 1


class SlowFile(io.BufferedReader):
    """A file on a slow disk, whose reads are in progress when the answer comes."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.01)
        return super().read(size)


@pytest.mark.parametrize("kind", ["file", "chunked", "multipart"])
async def test_a_read_that_the_first_try_left_behind(api: Api, file: Path, kind: str) -> None:
    """A read that is still in progress when the 401 comes takes nothing of what the second try sends."""
    api.good, api.early = {"token-2"}, True
    with SlowFile(file.open("rb", buffering=0)) as data:
        options: dict[str, Any] = {"data": multipart_of("text", data) if kind == "multipart" else data}
        options |= {"chunked": True} if kind == "chunked" else {}
        async with Client(api) as client, client.http.post(api.url, **options) as response:
            assert response.status == 200
    sent = api.got[-1].body
    assert sent is not None
    assert sent == BIG or (kind == "multipart" and BIG in sent)


# --- Cancelling


async def test_cancelling_while_a_new_token_is_awaited(api: Api) -> None:
    """A caller that is cancelled between the two tries leaves no connection open, and the refresh goes on."""
    gate = asyncio.Event()

    async def slowly() -> Token:
        await gate.wait()
        return Token("token-2")

    api.denied = BIG
    async with Client(api) as client:
        assert await status_of(client.http, api.url) == 200
        api.good = {"token-2"}
        client.provider.answers = [slowly]
        call = asyncio.create_task(status_of(client.http, api.url))
        await until(lambda: client.provider.calls == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert connections_of(client.http)[0] == 0
        gate.set()
        assert await status_of(client.http, api.url) == 200
        assert client.provider.calls == 2


async def test_a_timeout_while_the_first_token_is_awaited(api: Api) -> None:
    """A request's own timeout ends its wait, and not the refresh that others wait for too."""
    gate = asyncio.Event()

    async def slowly() -> Token:
        await gate.wait()
        return Token("token-1")

    async with Client(api) as client:
        client.provider.answers = [slowly]
        patient = asyncio.create_task(status_of(client.http, api.url))
        with pytest.raises(TimeoutError):
            await status_of(client.http, api.url, timeout=aiohttp.ClientTimeout(total=0.02))
        gate.set()
        assert await patient == 200
        assert client.provider.calls == 1
    assert len(api.got) == 1


# --- aiohttp's own options


@pytest.mark.parametrize("good", ["token-2", "none"])
@pytest.mark.parametrize("where", ["session", "request"])
async def test_raise_for_status(api: Api, where: str, good: str) -> None:
    """With raise_for_status no 401 raises but the one that is the caller's."""
    api.good = {good}
    raising: dict[str, Any] = {"raise_for_status": True}
    async with Client(api, known=True, **(raising if where == "session" else {})) as client:
        options = raising if where == "request" else {}
        if good == "token-2":
            assert await status_of(client.http, api.url, **options) == 200
        else:
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                await status_of(client.http, api.url, **options)
            assert caught.value.status == 401
    assert api.bearers[:2] == ["token-1", "token-2"]


async def test_a_request_may_replace_the_middlewares(api: Api) -> None:
    """``middlewares=()`` sends without a token; ``middlewares=(auth,)`` authorizes one request of a plain session."""
    async with Client(api) as client:
        assert await status_of(client.http, api.url, middlewares=()) == 401
        auth = BearerAuth(client.manager)
        async with aiohttp.ClientSession() as plain:
            assert await status_of(plain, api.url, middlewares=(auth,)) == 200
            assert await status_of(plain, api.url) == 401
    assert api.bearers == [None, "token-1", None]


async def test_an_inner_middleware_that_takes_the_token_away(api: Api) -> None:
    """The request goes as the inner one left it, and its 401 is the answer to that."""

    async def takes_away(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        del request.headers["Authorization"]
        return await handler(request)

    async with Client(api) as client:
        middlewares = (BearerAuth(client.manager), takes_away)
        assert await status_of(client.http, api.url, middlewares=middlewares) == 401
        assert await status_of(client.http, api.url) == 200


async def test_base_url_and_session_headers(api: Api) -> None:
    """A session's base URL, headers and cookies stay in force beside the token."""
    options: dict[str, Any] = {"base_url": f"{api.url}/v1/", "headers": {"X-Tenant": "7"}, "cookies": {"c": "3"}}
    async with Client(api, cookie_jar=aiohttp.CookieJar(unsafe=True), **options) as client:
        assert await status_of(client.http, "customers") == 200
    (got,) = api.got
    assert (got.path, got.bearer) == ("/v1/customers", "token-1")
    assert (got.headers["X-Tenant"], got.headers["Cookie"]) == ("7", "c=3")


async def test_an_outer_middleware_sees_one_request(api: Api) -> None:
    """Middlewares around ours see one request and one answer, without the token; inner ones see both tries."""
    seen: list[tuple[str, str | None]] = []

    def watcher(name: str) -> Any:
        async def watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            seen.append((name, request.headers.get("Authorization")))
            return await handler(request)

        return watch

    api.good = {"token-2"}
    manager = TokenManager(FakeProvider(origins=(api.url,)))
    manager.accepted(await manager.token())
    auth = BearerAuth(manager)
    async with aiohttp.ClientSession(middlewares=(watcher("outer"), auth, watcher("inner"))) as http:
        assert await status_of(http, api.url) == 200
    assert seen == [("outer", None), ("inner", "Bearer token-1"), ("inner", "Bearer token-2")]


async def test_one_middleware_for_several_sessions(api: Api) -> None:
    """One BearerAuth serves any number of sessions at once."""
    auth = BearerAuth(TokenManager(FakeProvider(origins=(api.url,))))
    async with aiohttp.ClientSession(middlewares=(auth,)) as one, aiohttp.ClientSession(middlewares=(auth,)) as two:
        assert list(await asyncio.gather(status_of(one, api.url), status_of(two, api.url))) == [200, 200]
    assert api.bearers == ["token-1", "token-1"]


# --- Damping


@pytest.mark.parametrize("how", ["one after another", "all at once"])
async def test_an_api_that_refuses_everything(api: Api, how: str) -> None:
    """100 calls of an API that always says 401 cost three tokens at most, and each gets its 401 with its body.

    Each sends the old token, the new one, and that once more a second later: the API might not know it yet.
    """
    api.good = set()

    async def call() -> tuple[int, bytes]:
        async with client.http.get(api.url) as response:
            return response.status, await response.read()

    async with Client(api, limit=0, known=True) as client:
        if how == "all at once":
            answers = await asyncio.gather(*(call() for _ in range(100)))
        else:
            answers = [await call() for _ in range(100)]
        assert set(answers) == {(401, DENIED)}
        assert client.provider.calls <= 3
    assert len(api.got) <= 303


async def test_one_forbidden_resource_among_allowed_ones(api: Api) -> None:
    """A resource that answers 401 to every token does not cost a login each time it is asked for."""

    async def forbid(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    api.good = None
    api.routes["/forbidden"] = forbid
    async with Client(api) as client:
        counts: Counter[int] = Counter()
        for n in range(100):
            counts[await status_of(client.http, f"{api.url}/{'forbidden' if n % 5 == 0 else n}")] += 1
        assert counts == {200: 80, 401: 20}
        assert client.provider.calls <= 3


async def test_the_cool_down_ends(api: Api) -> None:
    """When the cool-down is over the next 401 is worth a token again."""
    clock = FakeClock()
    provider = FakeProvider(origins=(api.url,), clock=clock)
    manager = TokenManager(provider, clock=clock, policy=RefreshPolicy(refusal_cooldown=5))
    api.good = set()
    async with aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
        assert await status_of(http, api.url) == 401
        assert await status_of(http, api.url) == 401
        assert provider.calls == 2
        assert manager.status().cooling_down
        await clock.advance(5.1)
        api.good = {"token-3"}
        assert await status_of(http, api.url) == 200
        assert provider.calls == 3


@pytest.mark.parametrize("how", ["given", "environment"])
async def test_plain_http_goes_through_no_proxy_elsewhere(api: Api, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A request to this machine that a proxy on another one would be sent stays here: it could read the token."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with Client(api, trust_env=how == "environment") as client:
        with pytest.raises(InsecureTransport, match="no_proxy"):
            await client.http.get(api.url, proxy="http://proxy.example:3128" if how == "given" else None)
    assert api.got == []
