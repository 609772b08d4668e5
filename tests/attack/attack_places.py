"""Attacks that want a token to go where it does not belong: redirects, look-alike hosts, proxies."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import aiohttp
from attack_kit import Try, attack, awaited
from harness.canary import MARK, secret
from loopback import Api, echo_socket, redirect_to

from asyncauth import AuthError, BearerAuth, ClientCredentials, InsecureTransport, TokenManager
from asyncauth.testing import static_manager

STATUSES = (301, 302, 303, 307, 308)
_METHODS = ("GET", "POST", "PUT", "WebSocket")
TARGETS = (
    "{other}/x", "//{netloc}/x", "http://user:word@{netloc}/x", "http://{own}@{netloc}/x", "{other}/x#{own}",
    "{other}?{own}", "{back}",
)  # fmt: skip


@attack("redirects to another origin")
def redirects(luck: random.Random, scale: int) -> Iterator[Try]:
    """The other origin gets the request, if anybody does, and no token."""
    ways = list(itertools.product(STATUSES, _METHODS, TARGETS))
    for status, method, target in luck.sample(ways, min(len(ways), 6 * scale)):
        name = f"{method} {status} to {target}"
        yield name, lambda way=(status, method, target): awaited(_redirected(*way))  # type: ignore[misc]


async def _redirected(status: int, method: str, target: str) -> None:
    token = secret("redirected")
    async with Api().serve() as api, Api().serve() as other:
        api.good = other.good = None
        own, netloc = api.url.removeprefix("http://"), other.url.removeprefix("http://")
        # The last one leads there by way of our own origin.
        api.routes["/back"] = redirect_to(f"{other.url}/x", status)
        api.routes["/go"] = redirect_to(
            target.format(other=other.url, netloc=netloc, own=own, back=f"{api.url}/back"), status
        )
        other.routes["/x"] = echo_socket if method == "WebSocket" else redirect_to(f"{other.url}/y", status)
        async with aiohttp.ClientSession(middlewares=(BearerAuth(static_manager(token, origins=api.url)),)) as http:
            try:
                if method == "WebSocket":
                    await (await http.ws_connect(f"{api.url}/go")).close()
                else:
                    async with http.request(method, f"{api.url}/go", data=None if method == "GET" else b"x"):
                        pass
            except (aiohttp.ClientError, ValueError) as error:
                assert MARK not in f"{error!s}{error!r}"
        assert api.got[0].bearer == token
        assert not [got for got in other.got if MARK in f"{got}"]


@attack("redirected token requests")
def token_requests(luck: random.Random, scale: int) -> Iterator[Try]:
    """The target gets nothing at all."""
    for status, target in itertools.product(STATUSES, TARGETS[: 2 if scale == 1 else None]):
        yield f"{status} to {target}", lambda way=(status, target): awaited(_moved(*way))  # type: ignore[misc]


async def _moved(status: int, target: str) -> None:
    async with Api().serve() as api, Api().serve() as other:
        api.good = other.good = None
        own, netloc = api.url.removeprefix("http://"), other.url.removeprefix("http://")
        where = target.format(other=other.url, netloc=netloc, own=own, back=f"{api.url}/back")
        api.routes["/token"] = redirect_to(where, status)
        manager = TokenManager(
            ClientCredentials(token_url=f"{api.url}/token", client_id="app", client_secret=secret("client"))
        )
        try:
            await manager.token()
        except AuthError as error:
            assert MARK not in f"{error!s}{error!r}{vars(error)}"
        else:
            raise AssertionError("a redirect brought a token")
        assert len(api.got) == 1
        assert not other.got


LOOK_ALIKES = (
    "https://api.example.com.evil.test/", "https://evil.test/api.example.com", "https://api.example.com@evil.test/",
    "https://evil.test#api.example.com", "https://evil.test?api.example.com", "https://evilapi.example.com/",
    "https://example.com/", "https://api.example.com:8443/", "https://api.example.com:80/", "https://api.examp1e.com/",
    "https://api.ex\u0430mple.com/", "https://api-example.com/", "https://api.example.com%2eevil.test/",
    "https://api.example.com%00.evil.test/", "https://[::1]/", "https://127.0.0.1/", "https://2130706433/",
    "wss://api.example.com.evil.test/", "https://api.example.com\uff0eevil.test/", "https://api.example.co/",
)  # fmt: skip
IN_THE_CLEAR = (
    "http://api.example.com/",
    "ws://api.example.com/",
    "http://API.example.com/",
    "http://api.example.com:80/",
)


@attack("hosts that look alike, and plain http")
def look_alikes(luck: random.Random, scale: int) -> Iterator[Try]:
    """A request to anywhere but the origin carries no token; plain http to the origin's host is not sent."""
    for url in (*LOOK_ALIKES, *IN_THE_CLEAR):
        for method in ("GET", "POST", "DELETE")[: 1 if scale == 1 else None]:
            yield f"{method} {url!r}", lambda way=(url, method): awaited(_asked(*way))  # type: ignore[misc]


@attack("proxies that could read a token")
def proxies(luck: random.Random, scale: int) -> Iterator[Try]:
    """What goes by plain http, to this machine, goes through no proxy elsewhere."""
    for proxy in (
        "http://192.0.2.1:3128",
        "http://localhost.evil.test",
        "http://127.0.0.1.evil.test",
        "http://[2001:db8::1]",
    ):
        for url in ("http://127.0.0.1:1/", "ws://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/"):
            yield f"{url} by {proxy}", lambda way=(url, proxy): awaited(_asked(way[0], "GET", proxy=way[1]))  # type: ignore[misc]


class _Stopped(Exception):
    """A request has got as far as the network, which nobody here reaches."""


async def _asked(url: str, method: str, proxy: str | None = None) -> None:
    """Fail if a request carries the token: the origins are those that a token may go to, and `url` is none of them."""
    carried: list[str | None] = []

    async def network(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        carried.append(request.headers.get("Authorization"))
        raise _Stopped

    origins = ("https://api.example.com", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1")
    auth = BearerAuth(static_manager(secret("carried"), origins=origins))
    async with aiohttp.ClientSession(middlewares=(auth, network)) as http:
        try:
            async with http.request(method, url, proxy=proxy):
                pass
        except _Stopped:
            assert not [each for each in carried if each is not None and MARK in each]
            assert url not in IN_THE_CLEAR
            assert proxy is None
        except (InsecureTransport, aiohttp.ClientError, ValueError):
            assert carried == []
