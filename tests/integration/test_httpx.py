"""httpx, both of its clients, over real sockets: what is promised of BearerAuth holds for each hop."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from httpx_kit import KINDS, Caller, Kind, closing, fake_manager
from loopback import DENIED, Api, redirect_to

from asyncauth import (
    AuthError,
    CredentialsRejected,
    InsecureTransport,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

BIG = bytes(range(256)) * (4 * 1024)
DOWN = TokenEndpointUnavailable("down", retry_after=3000)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


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


@pytest.fixture
def provider(api: Api) -> FakeProvider:
    return FakeProvider(origins=(api.url,))


@pytest.fixture
def manager(provider: FakeProvider) -> TokenManager:
    return TokenManager(provider)


@pytest_asyncio.fixture
async def caller(kind: Kind, manager: TokenManager) -> AsyncIterator[Caller]:
    async with closing(kind.caller(manager)) as caller:
        yield caller


async def known(manager: TokenManager) -> None:
    """Have the API accept the first token. Without it a 401 may mean that the API does not know it yet."""
    manager.accepted(await manager.token())


# --- Who gets the token


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
async def test_every_method_is_authorized(caller: Caller, api: Api, method: str) -> None:
    """A request of any method carries the token."""
    assert (await caller.request(method, f"{api.url}/x")).status_code == 200
    assert [(got.method, got.bearer) for got in api.got] == [(method, "token-1")]


async def test_no_token_for_another_origin(caller: Caller, api: Api, other: Api, provider: FakeProvider) -> None:
    """A request to another origin (just another port) is sent unchanged, and no token is obtained."""
    assert await caller.status(f"{other.url}/x") == 200
    assert await caller.status(f"{other.url}/x", headers={"Authorization": "Bearer mine"}) == 200
    assert other.bearers == [None, "mine"]
    assert provider.calls == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects(caller: Caller, api: Api, other: Api, status: int) -> None:
    """The token follows a redirect within its origin, not to another one, and is there again on the way back."""
    api.routes["/away"] = redirect_to(f"{other.url}/there", status)
    other.routes["/there"] = redirect_to(f"{api.url}/back", status)
    api.routes["/back"] = redirect_to("/home", status)
    response = await caller.request("POST", f"{api.url}/away", content=b"body", follow_redirects=True)
    assert response.status_code == 200
    assert [(got.path, got.bearer) for got in api.got] == [
        ("/away", "token-1"),
        ("/back", "token-1"),
        ("/home", "token-1"),
    ]
    assert other.bearers == [None]
    assert not [each for each in (response, *response.history) if "Authorization" in each.request.headers]


async def test_a_redirect_that_the_caller_follows(caller: Caller, api: Api, other: Api) -> None:
    """``response.next_request`` has no token either."""
    api.routes["/away"] = redirect_to(f"{api.url}/home")
    response = await caller.get(f"{api.url}/away")
    assert response.next_request is not None
    assert "Authorization" not in response.next_request.headers
    assert (await caller.kind.call(caller.http.send, response.next_request)).status_code == 200
    assert api.bearers == ["token-1", "token-1"]


async def test_each_origin_has_its_own_manager(kind: Kind, api: Api, other: Api, manager: TokenManager) -> None:
    """Two managers in one client: each origin gets its own token, on every hop."""
    other.good = {"theirs"}
    api.routes["/away"] = redirect_to(f"{other.url}/there")
    theirs = TokenManager(FakeProvider(origins=(other.url,), answers=[Token("theirs")]))
    async with closing(kind.caller(manager, theirs, follow_redirects=True)) as caller:
        assert await caller.status(f"{api.url}/away") == 200
        assert await caller.status(f"{other.url}/there") == 200
    assert api.bearers == ["token-1"]
    assert other.bearers == ["theirs", "theirs"]


@pytest.mark.parametrize("where", ["request", "client", "auth", "URL"])
async def test_an_explicit_authorization_stays(
    kind: Kind, api: Api, manager: TokenManager, provider: FakeProvider, where: str
) -> None:
    """The caller's own header is sent as it is; a 401 for it costs no token and no second try."""
    mine: dict[str, Any] = {"auth": ("me", "word")} if where == "auth" else {"headers": {"authorization": "Basic x"}}
    async with closing(kind.caller(manager, **(mine if where == "client" else {}))) as caller:
        url = api.url.replace("//", "//me:word@") if where == "URL" else api.url
        assert await caller.status(url, **(mine if where in {"request", "auth"} else {})) == 401
    assert provider.calls == 0
    assert len(api.got) == 1
    assert api.got[0].headers["Authorization"].startswith("Basic ")


async def test_plain_http_is_refused_before_anything_is_sent(kind: Kind, api: Api) -> None:
    """Plain http to a host of https is refused, also as the hop of a redirect, and reaches nobody."""
    api.routes["/down"] = redirect_to("http://api.example.com/x")
    async with closing(kind.caller(fake_manager("https://api.example.com", api.url), follow_redirects=True)) as caller:
        for url in ("http://api.example.com/x", f"{api.url}/down"):
            with pytest.raises(InsecureTransport) as caught:
                await caller.get(url)
            assert isinstance(caught.value, httpx.RequestError)
            assert str(caught.value.request.url) == "http://api.example.com/x"
    assert len(api.got) == 1


# --- No token, no request


async def test_without_a_token_nothing_is_sent(caller: Caller, api: Api, provider: FakeProvider) -> None:
    """If no token can be had the request is not sent; the error is one of httpx's as well, that no retry helps."""
    provider.answers = [CredentialsRejected("wrong password")]
    for _ in range(2):
        with pytest.raises(CredentialsRejected, match="wrong password") as caught:
            await caller.get(api.url)
        assert isinstance(caught.value, httpx.RequestError)
        assert not isinstance(caught.value, httpx.TransportError)
        assert caught.value.__context__ is None
    assert provider.calls == 1
    assert api.got == []


async def test_an_error_that_a_retry_helps(caller: Caller, api: Api, provider: FakeProvider) -> None:
    """It is an ``httpx.TransportError``, of which code that tries again takes note; class and fields are the same."""
    provider.answers = [DOWN, DOWN]
    for _ in range(2):
        with pytest.raises(httpx.TransportError) as caught:
            await caller.get(api.url)
        error: Any = caught.value
        assert isinstance(error, TokenEndpointUnavailable)
        assert type(error).__name__ == "TokenEndpointUnavailable"
        assert error.message == "down"
        assert error.retry_after is not None
    assert api.got == []


def pickled(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)


@pytest.mark.parametrize("twin", [pickled, copy.copy, copy.deepcopy])
async def test_an_error_is_carried_to_another_process(
    caller: Caller, provider: FakeProvider, api: Api, twin: Callable[[Any], Any]
) -> None:
    """A queue of tasks or a pool of processes pickles it. It is of the same classes then, without the request."""
    provider.answers = [DOWN]
    with pytest.raises(TokenEndpointUnavailable) as caught:
        await caller.get(api.url, headers={"X-Key": "the caller's"})
    found = twin(caught.value)
    assert type(found) is type(caught.value)
    assert (str(found), found.retry_after) == (str(caught.value), caught.value.retry_after)
    assert isinstance(found, httpx.TransportError)
    with pytest.raises(RuntimeError, match="request"):
        _ = found.request


async def test_a_closed_manager_sends_nothing(caller: Caller, api: Api, manager: TokenManager) -> None:
    """A client that outlives its manager fails closed."""
    assert await caller.status(api.url) == 200
    await manager.close()
    with pytest.raises(AuthError):
        await caller.get(api.url)
    assert len(api.got) == 1


# --- 401s


@pytest.mark.parametrize(
    "challenges", [[], ["Bearer"], ['Basic realm="x"', 'Bearer error="invalid_token"'], ["OAuth2"], [",,, ="]]
)
async def test_a_401_that_the_token_explains(
    caller: Caller, api: Api, manager: TokenManager, challenges: list[str]
) -> None:
    """After a 401 that a fresh token can fix, the request is sent again with one. The caller sees that answer only."""
    await known(manager)
    api.good, api.challenges = {"token-2"}, challenges
    assert await caller.status(api.url) == 200
    assert api.bearers == ["token-1", "token-2"]


@pytest.mark.parametrize(
    "challenges", [['Bearer error="insufficient_scope"'], ['Basic realm="x"', 'Bearer error="invalid_request"']]
)
async def test_a_401_that_another_token_would_not_mend(
    caller: Caller, api: Api, provider: FakeProvider, challenges: list[str]
) -> None:
    """It goes to the caller as it is, and the token stays."""
    api.good, api.challenges = set(), challenges
    for _ in range(2):
        response = await caller.get(api.url)
        assert (response.status_code, response.content) == (401, DENIED)
    assert provider.calls == 1
    assert api.bearers == ["token-1"] * 2


async def test_the_same_token_again(caller: Caller, api: Api, manager: TokenManager, provider: FakeProvider) -> None:
    """An endpoint that gives the refused token again causes no second try."""
    await known(manager)
    api.good = set()
    provider.answers = [Token("token-1"), Token("token-1")]
    response = await caller.get(api.url)
    assert (response.status_code, response.content) == (401, DENIED)
    assert api.bearers == ["token-1"]


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
async def test_the_callers_401_is_readable(
    kind: Kind, api: Api, manager: TokenManager, provider: FakeProvider, size: int
) -> None:
    """If no fresh token can be had, the caller gets the 401 with all of its body, on the only connection."""
    api.denied = BIG[:size]
    await known(manager)
    api.good = set()
    provider.answers = [DOWN]
    async with closing(kind.caller(manager, limits=httpx.Limits(max_connections=1))) as caller:
        response = await caller.get(api.url)
    assert (response.status_code, response.content) == (401, BIG[:size])
    assert response.elapsed.total_seconds() >= 0


async def test_the_second_try_is_the_same_request(caller: Caller, api: Api, manager: TokenManager) -> None:
    """Method, path, query, headers and cookies are those of the first try."""
    await known(manager)
    api.good = {"token-2"}
    options: dict[str, Any] = {"params": {"a": "1", "b": "ñ"}, "headers": {"X-Trace": "7", "Cookie": "c=3"}}
    response = await caller.request("PATCH", f"{api.url}/x", json={"k": [1, None]}, **options)
    assert response.status_code == 200
    first, second = api.got
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
    changed = {name for name in first.headers if first.headers.getall(name) != second.headers.getall(name)}
    assert changed == {"Authorization"}
    assert first.headers.keys() == second.headers.keys()


@pytest.mark.parametrize("limit", [1, None])
@pytest.mark.parametrize("size", [0, 60_000, 3_000_000])
async def test_the_first_answer_is_let_go_of(
    kind: Kind, api: Api, manager: TokenManager, size: int, limit: int | None
) -> None:
    """A 401 with a body of 3 MB on the only connection does not keep the second try waiting."""
    await known(manager)
    api.good, api.denied = {"token-2"}, b"x" * size
    async with closing(kind.caller(manager, limits=httpx.Limits(max_connections=limit))) as caller:
        assert [await caller.status(api.url) for _ in range(2)] == [200, 200]
    assert len(api.got) == 3


async def test_a_first_answer_that_breaks_off(
    caller: Caller, api: Api, manager: TokenManager, provider: FakeProvider
) -> None:
    """The answer is read only to keep its connection usable: the request is sent again on another one."""
    await known(manager)

    async def break_off(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer token-2":
            return web.Response()
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 401 No\r\nContent-Length: 10\r\n\r\nhalf")
        request.transport.close()
        return web.Response()

    api.routes["/x"] = break_off
    assert await caller.status(f"{api.url}/x") == 200
    assert api.bearers == ["token-1", "token-2"]
    assert provider.calls == 2


async def test_the_second_answer_is_final(caller: Caller, api: Api, manager: TokenManager) -> None:
    """Whatever the second try is answered, a redirect included, is what the caller gets."""
    await known(manager)
    api.good = {"token-2"}
    api.routes["/away"] = redirect_to("/home")
    response = await caller.request("POST", f"{api.url}/away", content=b"body", follow_redirects=True)
    assert str(response.url) == f"{api.url}/home"
    assert [(got.path, got.bearer, got.body) for got in api.got] == [
        ("/away", "token-1", b"body"),
        ("/away", "token-2", b"body"),
        ("/home", "token-2", b"body"),
    ]


async def test_many_requests_one_refresh(kind: Kind, api: Api, manager: TokenManager, provider: FakeProvider) -> None:
    """After a revocation, however many requests meet the 401, one token is obtained and all succeed."""
    await known(manager)
    api.good = {"token-2"}
    async with closing(kind.caller(manager)) as caller:
        statuses = await asyncio.gather(*(caller.status(f"{api.url}/{n}") for n in range(30)))
    assert statuses == [200] * 30
    assert provider.calls == 2


async def test_a_new_token_that_the_api_does_not_know_yet(
    caller: Caller, api: Api, manager: TokenManager, provider: FakeProvider
) -> None:
    """The request is sent again with the token before it, and no token is requested."""
    await known(manager)
    api.good = {"token-1"}
    await manager.refresh()
    assert (await caller.request("POST", api.url, content=b"body")).status_code == 200
    assert api.bearers == ["token-2", "token-1"]
    assert (await caller.request("POST", api.url, content=one_chunk(caller.kind))).status_code == 200
    assert api.bearers[2:] == ["token-1"]  # which can be sent once
    assert provider.calls == 2


async def test_a_first_token_that_the_api_does_not_know_yet(caller: Caller, api: Api, provider: FakeProvider) -> None:
    """It is sent once more within a second."""
    api.good = set()
    seen = 0

    def carried(request: web.Request) -> str | None:
        nonlocal seen
        seen += 1
        api.good = {"token-1"} if seen > 1 else set()
        return request.headers["Authorization"].removeprefix("Bearer ")

    api.carried = carried
    assert await caller.status(api.url) == 200
    assert api.bearers == ["token-1", "token-1"]
    assert provider.calls == 1


# --- Bodies


def one_chunk(kind: Kind, data: bytes = b"body") -> Any:
    """Return a body that can be read once."""

    def plain() -> Iterator[bytes]:
        yield data

    async def later() -> AsyncIterator[bytes]:
        yield data

    return plain() if kind.blocking else later()


WHOLE: dict[str, tuple[Callable[[Path], dict[str, Any]], bytes | None]] = {
    "nothing": (lambda _: {}, b""),
    "bytes": (lambda _: {"content": BIG}, BIG),
    "str": (lambda _: {"content": "añb"}, "añb".encode()),
    "json": (lambda _: {"json": {"a": [1, "ñ"]}}, None),
    "form": (lambda _: {"data": {"a": "1", "b": "x y"}}, b"a=1&b=x+y"),
    "multipart of bytes": (lambda _: {"files": {"file": BIG}, "data": {"a": "1"}}, None),
    "multipart with a file": (lambda path: {"files": {"file": path.open("rb")}}, None),
    "multipart with BytesIO": (lambda _: {"files": {"file": ("x.bin", io.BytesIO(BIG))}}, None),
}


def close(options: dict[str, Any]) -> None:
    """Close the files that are the caller's."""
    for each in (options.get("content"), *options.get("files", {}).values()):
        if isinstance(each, io.IOBase):
            each.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(BIG)
    return path


@pytest.mark.parametrize("what", WHOLE)
async def test_a_whole_body_is_sent_again_whole(
    caller: Caller, api: Api, manager: TokenManager, file: Path, what: str
) -> None:
    """What is known to be whole arrives whole in the second try."""
    await known(manager)
    make, expected = WHOLE[what]
    api.good = {"token-2"}
    options = make(file)
    assert (await caller.request("POST", api.url, **options)).status_code == 200
    first, second = api.got
    assert [first.bearer, second.bearer] == ["token-1", "token-2"]
    assert first.body == second.body
    assert expected is None or second.body == expected
    assert "file" not in what or BIG in (second.body or b"")
    close(options)


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


class Reader:
    """A file of the user's own, which says nothing about itself."""

    def __init__(self) -> None:
        self._chunks = [b"abc", b""]

    def read(self, size: int = -1) -> bytes:
        return self._chunks.pop(0)


class OwnStream(httpx.AsyncByteStream):
    """A stream of the user's own, with an attribute that one of httpx's has."""

    fields: tuple[()] = ()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"abc"


SPENT: dict[str, Callable[[Kind], dict[str, Any]]] = {
    "generator": lambda kind: {"content": one_chunk(kind)},
    "unseekable file in a multipart form": lambda _: {"files": {"file": Unseekable(b"abc")}},
    "own file in a multipart form": lambda _: {"files": {"file": Reader()}},
    "own stream": lambda kind: {"content": iter([b"abc"]) if kind.blocking else OwnStream()},
}


@pytest.mark.parametrize("what", SPENT)
async def test_any_other_body_is_sent_once(
    caller: Caller, api: Api, manager: TokenManager, provider: FakeProvider, what: str
) -> None:
    """The 401 goes to the caller untouched; the refused token is dropped all the same."""
    await known(manager)
    api.good = {"token-2"}
    options = SPENT[what](caller.kind)
    response = await caller.request("POST", api.url, **options)
    assert (response.status_code, response.content) == (401, DENIED)
    assert api.bearers == ["token-1"]
    assert manager.current is None
    assert await caller.status(api.url) == 200
    assert api.bearers == ["token-1", "token-2"]
    assert provider.calls == 2
    close(options)


async def test_a_file_that_was_closed_meanwhile(kind: Kind, api: Api, manager: TokenManager, file: Path) -> None:
    """A file that is closed before the second try is not sent again."""
    await known(manager)
    api.good = {"token-2"}
    with file.open("rb") as data:

        def refused(_: httpx.Response) -> None:
            data.close()

        async with closing(kind.caller(manager, refused=refused)) as caller:
            assert (await caller.request("POST", api.url, files={"file": data})).status_code == 401
    assert len(api.got) == 1


# --- Which answers refuse the token


def forbids(api: Api, *dead: str, status: int = 403) -> None:
    """Have the API refuse these tokens with a status."""

    async def route(request: web.Request) -> web.StreamResponse:
        good = request.headers["Authorization"].removeprefix("Bearer ") not in dead
        headers = {"Content-Encoding": "identity"}
        return web.Response(status=200 if good else status, body=b"abc" * 50_000, headers=headers)

    api.good = None
    api.routes["/x"] = route


async def test_a_403_that_refuses_the_token(kind: Kind, api: Api, manager: TokenManager) -> None:
    """A function sees each answer, without the token, and says so."""
    await known(manager)
    forbids(api, "token-1")
    seen: list[httpx.Response] = []

    def refused(response: httpx.Response) -> bool | None:
        seen.append(response)
        return response.status_code == 403 or None

    async with closing(kind.caller(manager, refused=refused)) as caller:
        response = await caller.request("POST", f"{api.url}/x", content=b"body")
        assert len(response.content) == 150_000
    assert [(got.bearer, got.body) for got in api.got] == [("token-1", b"body"), ("token-2", b"body")]
    assert [each.status_code for each in seen] == [403, 200]
    assert not [each for each in seen if "Authorization" in each.request.headers]


@pytest.mark.parametrize("read", ["whole", "a part"])
@pytest.mark.parametrize("how", ["content", "raw"])
async def test_a_function_may_read_the_body(kind: Kind, api: Api, manager: TokenManager, read: str, how: str) -> None:
    """All of it or a part, and the caller reads it again, in whatever way."""
    await known(manager)
    forbids(api, "token-1", status=200)
    lengths = []

    def plain(response: httpx.Response) -> bool:
        lengths.append(len(response.read() if read == "whole" else next(response.iter_raw())))
        return response.request.method == "DELETE"

    async def later(response: httpx.Response) -> bool:
        lengths.append(len(await response.aread() if read == "whole" else await anext(response.aiter_raw())))
        return response.request.method == "DELETE"

    async with closing(kind.caller(manager, refused=plain if kind.blocking else later)) as caller:
        if how == "raw":
            chunks = await caller.chunks(
                f"{api.url}/x", lambda response: response.iter_raw() if kind.blocking else response.aiter_raw()
            )
            assert len(b"".join(chunks)) == 150_000
        else:
            response = await caller.get(f"{api.url}/x")
            assert len(response.content) == 150_000
            assert response.elapsed.total_seconds() > 0
    assert lengths[0] == 150_000 or read == "a part"
    assert len(api.got) == 1


async def test_a_function_that_fails(kind: Kind, api: Api, manager: TokenManager) -> None:
    """Its error reaches the caller; the answer is closed, so that the only connection is free."""

    def fails(response: httpx.Response) -> bool:
        raise ZeroDivisionError

    def says_nonsense(response: httpx.Response) -> Any:
        return "no"

    limits = httpx.Limits(max_connections=1)
    for function, error in ((fails, ZeroDivisionError), (says_nonsense, httpx.RequestError)):
        async with closing(kind.caller(manager, refused=function, limits=limits)) as caller:
            for _ in range(2):
                with pytest.raises(error):
                    await caller.get(f"{api.url}/x")


@pytest.mark.parametrize(
    ("repeat", "way"), [("all", ("POST", 2)), ("safe", ("GET", 2)), ("safe", ("POST", 1)), ("none", ("GET", 1))]
)
async def test_which_requests_are_sent_again(
    kind: Kind, api: Api, manager: TokenManager, repeat: str, way: tuple[str, int]
) -> None:
    """``repeat=`` narrows what may be sent again."""
    method, sent = way
    await known(manager)
    api.good = {"token-2"}
    async with closing(kind.caller(manager, repeat=repeat)) as caller:
        await caller.request(method, api.url)
    assert len(api.got) == sent


# --- Where else a token is carried


@attrs.frozen
class Place:
    """A place that a token can be carried in: how it is declared, what a server reads, and what a caller sets."""

    carried_as: str
    read: Callable[[web.Request], str | None]
    taken: dict[str, Any]


PLACES = {
    "header": Place(
        "header:X-Api-Token",
        lambda request: request.headers.get("X-Api-Token"),
        {"headers": {"x-api-token": "mine"}},
    ),
    "cookie": Place(
        "cookie:SESSION", lambda request: request.cookies.get("SESSION"), {"headers": {"Cookie": "SESSION=mine"}}
    ),
    "query": Place(
        "query:access_token", lambda request: request.query.get("access_token"), {"params": {"access_token": "mine"}}
    ),
}


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def place(request: pytest.FixtureRequest, api: Api, other: Api) -> Place:
    found: Place = request.param
    api.carried = other.carried = found.read
    return found


async def test_other_places(kind: Kind, api: Api, other: Api, place: Place) -> None:
    """A token in another place goes only to its origins on each hop, is renewed, and leaves no trace."""
    carried = fake_manager(api.url, carried_as=place.carried_as)
    await known(carried)
    api.good = {"token-2"}
    api.routes["/away"] = redirect_to(f"{other.url}/there")
    other.routes["/there"] = redirect_to(f"{api.url}/back?page=2")
    headers = {"Cookie": "a=1", "Authorization": "Basic x"}
    async with closing(kind.caller(carried, follow_redirects=True)) as caller:
        response = await caller.get(f"{api.url}/away", headers=headers)
    assert response.status_code == 200
    assert api.tokens == ["token-1", "token-2", "token-2"]
    assert other.tokens == [None]
    assert api.got[1].headers["Authorization"] == "Basic x"
    for each in (response, *response.history):
        assert "token-" not in f"{each.request.url}{each.request.headers.raw}{each.url}{each.headers.raw}"
    assert str(response.url) == f"{api.url}/back?page=2"


async def test_another_place_that_the_caller_has_taken(kind: Kind, api: Api, place: Place) -> None:
    """What the caller put there stays, and its 401 is the caller's."""
    api.good = set()
    async with closing(kind.caller(fake_manager(api.url, carried_as=place.carried_as))) as caller:
        assert await caller.status(api.url, **place.taken) == 401
    assert api.tokens == ["mine"]


@pytest.mark.shows_secrets("log", reason="at DEBUG httpcore logs answers' headers, in which this server repeats it")
async def test_what_a_server_sends_back(kind: Kind, api: Api, other: Api, place: Place) -> None:
    """A redirect that repeats the token takes it nowhere, and a cookie that repeats it is not kept."""

    async def echo(request: web.Request) -> web.StreamResponse:
        answer = web.Response(status=302, headers={"Location": f"{other.url}/x?{request.query_string}&p=1"})
        answer.set_cookie("SESSION", place.read(request) or "")
        answer.set_cookie("OTHER", "1")
        return answer

    api.routes["/echo"] = echo
    async with closing(kind.caller(fake_manager(api.url, carried_as=place.carried_as))) as caller:
        response = await caller.get(f"{api.url}/echo?q=1")
        assert response.next_request is not None
        assert "token-" not in str(response.next_request.url)
        assert dict(caller.http.cookies)["OTHER"] == "1"
        if place.carried_as.startswith("cookie"):
            assert "SESSION" not in dict(caller.http.cookies)
