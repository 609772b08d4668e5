"""Attacks through httpx's two clients, and on the headers that are given to any other client."""

from __future__ import annotations

import asyncio
import itertools
import random
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import requests
from aiohttp import web
from attack_kit import Try, attack, awaited
from attack_places import IN_THE_CLEAR, LOOK_ALIKES, STATUSES, TARGETS
from harness.canary import MARK, secret
from harness.crash_reports import crash_report, every_frame
from httpx_kit import KINDS, Caller, Kind, closing
from loopback import Api, redirect_to

from asyncauth import ConfigurationError, InsecureTransport, Token, TokenManager
from asyncauth.testing import FakeProvider, static_manager

_PLACES = ("header:Authorization", "header:X-Api-Token", "cookie:SESSION", "query:access_token")


def _manager(token: str, carried_as: str, *origins: str) -> TokenManager:
    kind: type[FakeProvider] = type("Fake", (FakeProvider,), {"carried_as": carried_as})
    return TokenManager(kind(origins=origins, answers=[Token(token)]))


@attack("redirects to another origin, through httpx")
def redirects(luck: random.Random, scale: int) -> Iterator[Try]:
    """The other origin gets the request, if anybody does, and no token, wherever the token is carried."""
    ways = list(itertools.product(KINDS, STATUSES, ("GET", "POST", "PUT"), TARGETS, _PLACES))
    for kind, status, method, target, place in luck.sample(ways, min(len(ways), 6 * scale)):
        name = f"{kind.name} {method} {status} to {target}, {place}"
        way = (kind, status, method, target, place)
        yield name, lambda way=way: awaited(_redirected(*way))  # type: ignore[misc]


async def _redirected(kind: Kind, status: int, method: str, target: str, place: str) -> None:
    token = secret("redirected")
    async with Api().serve() as api, Api().serve() as other:
        api.good = other.good = None
        own, netloc = api.url.removeprefix("http://"), other.url.removeprefix("http://")
        api.routes["/back"] = redirect_to(f"{other.url}/x", status)
        api.routes["/go"] = redirect_to(
            target.format(other=other.url, netloc=netloc, own=own, back=f"{api.url}/back"), status
        )
        other.routes["/x"] = redirect_to(f"{other.url}/y", status)
        content = None if method == "GET" else b"x"
        async with closing(kind.caller(_manager(token, place, api.url), follow_redirects=True)) as caller:
            try:
                await caller.request(method, f"{api.url}/go", content=content)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
                assert MARK not in f"{error!s}{error!r}{vars(error)}"
        assert token in f"{api.tokens}{api.got}" or place.startswith("query")
        assert not [got for got in other.got if MARK in f"{got}"]


@attack("look-alikes, plain http and proxies, through httpx")
def look_alikes(luck: random.Random, scale: int) -> Iterator[Try]:
    """Anywhere but at the origin no token arrives; what could be read on the way is not sent."""
    for kind in KINDS:
        for url in (*LOOK_ALIKES, *IN_THE_CLEAR):
            yield f"{kind.name} {url!r}", lambda way=(kind, url): awaited(_asked(*way))  # type: ignore[misc]
        for proxy in ("http://192.0.2.1:3128", "http://127.0.0.1.evil.test", "http://[2001:db8::1]:8080"):
            for url in ("http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/"):
                yield f"{kind.name} {url} by {proxy}", lambda way=(kind, url, proxy): awaited(_proxied(*way))  # type: ignore[misc]


_ORIGINS = ("https://api.example.com", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1")


async def _asked(kind: Kind, url: str) -> None:
    carried: list[str] = []

    def network(request: httpx.Request) -> httpx.Response:
        carried.append(f"{request.headers.raw}{request.url}")  # a user's name in the URL is sent as Basic
        return httpx.Response(200)

    manager = static_manager(secret("carried"), origins=_ORIGINS)
    async with closing(kind.caller(manager, transport=httpx.MockTransport(network))) as caller:
        try:
            await caller.get(url)
        except (InsecureTransport, httpx.HTTPError, httpx.InvalidURL, ValueError):
            assert carried == []
        else:
            assert len(carried) == 1
            assert MARK not in carried[0]
            assert url not in IN_THE_CLEAR


async def _proxied(kind: Kind, url: str, proxy: str) -> None:
    async with closing(kind.caller(static_manager(secret("carried"), origins=_ORIGINS), proxy=proxy)) as caller:
        try:
            await caller.get(url)
        except InsecureTransport:
            return
        raise AssertionError("it was sent")


@attack("connections of httpx that break, and what a crash reporter then has")
def frames(luck: random.Random, scale: int) -> Iterator[Try]:
    """No frame of the error's chain holds the token, nor does its request, however the connection ends."""
    bodies: dict[str, Callable[[Kind], Any]] = {
        "no body": lambda _: None,
        "bytes": lambda _: b"x" * 3_000_000,
        "chunks": lambda kind: iter([b"x"] * 9) if kind.blocking else _chunks(),
    }
    ways = list(itertools.product(KINDS, ("abort", "garbage", "half", "refused"), bodies, _PLACES))
    for kind, trouble, body, place in luck.sample(ways, min(len(ways), 6 * scale)):
        way = (kind, trouble, bodies[body], place)
        yield f"{kind.name} {trouble}, {body}, {place}", lambda way=way: awaited(_broken(*way))  # type: ignore[misc]


async def _chunks() -> Any:
    for _ in range(9):
        yield b"x"


async def _broken(kind: Kind, trouble: str, body: Callable[[Kind], Any], place: str) -> None:
    async def break_it(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if trouble == "garbage":
            request.transport.write(b"\x00 garbage\r\n\r\n")
        if trouble == "half":
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        request.transport.abort() if trouble == "abort" else request.transport.close()
        return web.Response()

    async with Api().serve() as api:
        api.good, api.early = (set() if trouble == "abort" else None), True
        api.routes["/x"] = break_it
        api.carried = lambda _: "nobody's"
        url = "http://127.0.0.1:1" if trouble == "refused" else api.url
        manager = _manager(secret("broken"), place, url)
        async with closing(kind.caller(manager)) as caller:
            await _fails(caller, f"{url}/x?q=1", body(kind))


async def _fails(caller: Caller, url: str, content: Any) -> None:
    try:
        await caller.request("POST", url, content=content)
    except httpx.RequestError as error:
        shown = [f"{error!r}{error}{error.request.headers.raw}{error.request.url}", crash_report(error)]
        shown += [f"{variables!r}" for _, variables in every_frame(error)]
        assert not [text for text in shown if MARK in text]


_ODD = "\\@/#?:;%[]{}<>|^`\"'\t\r\n .,&=+$!*~\u3002\uff0e\uff0f\uff20\u2024\u00ad\u200d\u0131\u212a\uff41%2e%2f%40%00"
"""What parsers of URLs do not agree on."""


@attack("URLs that HTTP clients read in different ways")
def ambiguous(luck: random.Random, scale: int) -> Iterator[Try]:
    """Where ``headers(url)`` gives a token, each client goes to the token's own host."""
    for _ in range(300 * scale):
        odd = "".join(luck.choices(_ODD, k=luck.choice((1, 1, 1, 2, 3))))
        shape = luck.choice(
            ("https://evil.test{}api.example.com/", "https://{}evil.test@api.example.com/", "https:{}api.example.com/",
             "https://api.example.com{}evil.test/", "https://evil.test/{}@api.example.com", "{}https://api.example.com/",
             "https://api{}example.com/", "https://api.example.com{}/", "https://api.example.com:443{}@evil.test/",
             "https://evil.test{0}@api.example.com{0}/", "https://api.example.com:{}443/")
        )  # fmt: skip
        url = shape.format(odd)
        yield repr(url), lambda url=url: _read(url)  # type: ignore[misc]


def _read(url: str) -> None:
    manager = static_manager(secret("read"), origins="https://api.example.com")
    try:
        headers = asyncio.run(manager.headers(url))
    except (ConfigurationError, InsecureTransport):
        return
    if not headers:
        return
    for name, host in _hosts(url):
        assert host.rstrip(".").lower() == "api.example.com", f"{name} goes to {host!r}"


def _of_httpx(url: str) -> str:
    return httpx.URL(url).raw_host.decode()


def _hosts(url: str) -> Iterator[tuple[str, str]]:
    """Yield the hosts that clients would go to; one that refuses the URL goes nowhere."""
    readers: dict[str, Callable[[], str | None]] = {
        "urllib": lambda: urllib.parse.urlsplit(url).hostname,
        "requests": lambda: urllib.parse.urlsplit(requests.Request("GET", url).prepare().url or "").hostname,
        "urllib3": lambda: requests.packages.urllib3.util.parse_url(url).host,  # type: ignore[attr-defined]
        "httpx": lambda: _of_httpx(url),
    }
    for name, reader in readers.items():
        try:
            host = reader()
        except (ValueError, httpx.InvalidURL, requests.RequestException):
            continue
        yield name, host or ""
