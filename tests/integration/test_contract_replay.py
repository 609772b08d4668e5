"""What a repeated request sends: all of it or nothing, and the token nowhere but where it belongs."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from contract_kit import PAGO_FACIL, QUICK, Side, client, serving, status_of

from asyncauth import BearerAuth, InsecureTransport, Peakly, RefreshPolicy, TokenManager

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LONG = "ñandú " * 6_000


class Pipe(io.RawIOBase):
    """Gives 12,000 bytes, once."""

    left = 12_000

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self.left)
        self.left -= size
        buffer[:size] = b"x" * size
        return size


async def generated() -> AsyncIterator[bytes]:
    for number in range(20):
        yield f"part {number} ".encode() * 100
        await asyncio.sleep(0)


def multipart(*, streamed: bool = False) -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("mixed", boundary="between")
    writer.append("a text")
    writer.append_json({"a": "json"})
    writer.append(io.BytesIO(b"a file " * 1_000))
    if streamed:
        writer.append(generated())
    return writer


def upload(file: Any) -> aiohttp.FormData:
    form = aiohttp.FormData({"field": LONG})
    form.add_field("file", file, filename="invoice.xml")
    return form


WHOLE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "none": lambda path: {},
    "bytes": lambda path: {"data": LONG.encode()},
    "str": lambda path: {"data": LONG},
    "json": lambda path: {"json": {"text": LONG}},
    "form": lambda path: {"data": {"text": LONG, "more": "1"}},
    "file": lambda path: {"data": path.open("rb")},
    "text file": lambda path: {"data": path.open(encoding="utf-8")},
    "BytesIO": lambda path: {"data": io.BytesIO(LONG.encode())},
    "StringIO": lambda path: {"data": io.StringIO(LONG)},
    "multipart": lambda path: {"data": multipart()},
    "form with a file": lambda path: {"data": upload(path.open("rb"))},
    "form with bytes": lambda path: {"data": upload(LONG.encode())},
}


async def echo(http: aiohttp.ClientSession, side: Side, **options: Any) -> tuple[int, Any]:
    async with http.post(side.url(), **options) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("kind", WHOLE)
async def test_bodies_that_are_whole_are_replayed_whole(kind: str, tmp_path: Path) -> None:
    """After a revocation, forms, files and their like arrive in the second try just as they do in the first."""
    path = tmp_path / "invoice.xml"
    path.write_text(LONG, encoding="utf-8")
    with serving() as side:
        async with client(side.manager()) as http:
            got: list[tuple[int, Any]] = []
            for revoked in (False, True):
                if revoked:
                    side.server.revoke()
                options = WHOLE[kind](path)
                got.append(await echo(http, side, **options))
                if isinstance(options.get("data"), io.IOBase):
                    options["data"].close()
        (first, before), (second, after) = got
        assert (first, second) == (200, 200)
        assert after["length"] == before["length"] > (-1 if kind == "none" else 1_000)
        if "boundary" not in (before["content_type"] or "") or kind == "multipart":
            assert (after["text"], after["content_type"]) == (before["text"], before["content_type"])
        assert side.server.counts.api_refused == 1
        assert side.asked == side.rounds(2)


@pytest.mark.parametrize("refused", ["at once", "after the body"])
@pytest.mark.parametrize("kind", ["generator", "multipart with a generator", "pipe"])
async def test_bodies_that_are_spent_are_never_replayed(kind: str, refused: str) -> None:
    """A body that can be read once is sent once: the 401 goes to the caller, and the next request has a new token."""

    async def read(request: web.Request) -> None:
        await request.read()

    with serving() as side:
        async with client(side.manager()) as http:
            assert await status_of(http, side.url()) == 200
            side.server.revoke()
            if refused == "after the body":
                side.server.api_faults.answer(read, times=1)
            bodies = {
                "generator": generated,
                "multipart with a generator": lambda: multipart(streamed=True),
                "pipe": lambda: io.BufferedReader(Pipe()),
            }
            make: Callable[[], Any] = bodies[kind]
            status, _ = await echo(http, side, data=make())
            assert status == 401
            assert side.server.counts.api_requests == 2
            status, arrived = await echo(http, side, data=make())
            assert status == 200
            assert arrived["length"] > 10_000
        assert side.server.counts.api_requests == 3
        assert side.asked == side.rounds(2)


async def test_a_large_refusal_on_the_only_connection_does_not_hang() -> None:
    """A 401 with a body of 3 MB is let go of before the second try, which needs its connection (limit=1)."""
    with serving() as side:
        side.server.configure(big_refusal=3_000_000)
        async with client(side.manager(), limit=1) as http:
            await status_of(http, side.url())
            side.server.revoke()
            async with asyncio.timeout(10):
                assert await status_of(http, side.url()) == 200
                side.server.revoke()
                assert await asyncio.gather(*(status_of(http, side.url()) for _ in range(10))) == [200] * 10


async def elsewhere(seen: list[str | None]) -> TestServer:
    """Serve another origin, which notes the Authorization of every request."""

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        headers = {"Location": request.query["to"]} if "to" in request.query else {}
        return web.Response(status=307 if headers else 200, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", note)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_token_follows_a_redirect_to_another_origin(status: int) -> None:
    """A redirect to another origin (just another port) is followed without the token, and back again with it."""
    seen: list[str | None] = []
    other = await elsewhere(seen)
    with serving() as side:
        async with client(side.manager()) as http:
            away = f"/api/redirect?status={status}&to={other.make_url('/')}"
            assert await status_of(http, side.url(away)) == 200
            assert seen == [None]
            back = f"/api/redirect?status={status}&to={other.make_url('/')}?to={side.url()}"
            assert await status_of(http, side.url(back)) == 200
            assert seen == [None, None]
    await other.close()


async def test_each_hop_carries_its_own_origins_token() -> None:
    """A redirect from one system to the other gets the other's own token, never the first one's."""
    with serving() as side:
        chain = Side(side.sandbox, PAGO_FACIL)
        managers = [side.manager(), chain.manager()]
        async with client(*managers) as http:
            assert await status_of(http, side.url(f"/api/redirect?to={chain.url()}")) == 200
        assert chain.server.counts.api_ok == 1
        assert chain.server.counts.api_refused == 0


async def test_the_token_request_never_follows_a_redirect() -> None:
    """Only the token endpoint gets the password, even if it redirects: the redirect's target gets nothing."""
    seen: list[str | None] = []
    other = await elsewhere(seen)
    with serving() as side:
        side.server.token_faults.redirect(str(other.make_url("/token")), status=307)
        async with client(side.manager()) as http:
            with pytest.raises(aiohttp.ClientError, match="redirect"):
                await status_of(http, side.url())
    assert seen == []
    await other.close()


class Witness(AbstractResolver):
    """Notes what is looked up: the first thing that anything sent to a host by name needs."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily | int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        raise OSError

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("base_url", ["http://api.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1"])
async def test_plain_http_to_a_remote_token_endpoint_is_refused(base_url: str) -> None:
    """A provider for plain http on another machine can't even be made."""
    with pytest.raises(InsecureTransport):
        Peakly(username="me", password="secret", base_url=base_url)
    with pytest.raises(InsecureTransport):
        Peakly(username="me", password="secret", origins=[base_url])


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_plain_http_to_a_remote_api_is_refused(scheme: str) -> None:
    """A request by plain http to a host that is served by https is not sent, as its own or as a redirect's hop."""
    witness = Witness()
    with serving() as side:
        provider = Peakly(
            username=side.sandbox.username,
            password=side.sandbox.password,
            base_url=side.server.url,
            origins=[side.server.url, "https://api.example.com"],
        )
        auth = BearerAuth(TokenManager(provider, policy=QUICK))
        connector = aiohttp.TCPConnector(resolver=witness)
        async with aiohttp.ClientSession(middlewares=(auth,), connector=connector) as http:
            clear = f"{scheme}://api.example.com/api/echo"
            for url in (clear, side.url(f"/api/redirect?to={clear.replace('ws:', 'http:')}")):
                with pytest.raises(InsecureTransport):
                    await status_of(http, url)
            assert witness.asked == []
        assert side.server.counts.api_requests == 1


async def test_without_a_token_nothing_is_sent() -> None:
    """A request whose token can't be had is not sent without one: the error reaches the caller."""
    with serving() as side:
        side.server.token_faults.server_error()
        async with client(side.manager(RefreshPolicy(deadline=0.1))) as http:
            with pytest.raises(aiohttp.ClientError):
                await status_of(http, side.url())
        assert side.server.counts.api_requests == 0
