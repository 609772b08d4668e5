"""The way to the token endpoint: forward proxies, authorities of one's own, client certificates, long headers."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver
from harness.canary import secret
from proxy_kit import ForwardProxy

from asyncauth import (
    AuthError,
    ClientCredentials,
    InsecureTransport,
    InvalidTokenResponse,
    Provider,
    TokenEndpointUnavailable,
    TokenManager,
    client_session,
)
from asyncauth._core.sessions import own_session

OWN = partial(own_session, 15.0)
"""Makes sessions as a manager's own are."""


@attrs.define(eq=False)
class Place:
    """A token endpoint, its API, and who is trusted there.

    Attributes:
        got: The headers of the token requests.
        headers: What its answers carry besides.
    """

    url: str = ""
    got: list[Any] = attrs.field(factory=list[Any])
    api: list[Any] = attrs.field(factory=list[Any])
    headers: dict[str, str] = attrs.field(factory=dict[str, str])

    async def answer(self, request: web.Request) -> web.Response:
        if request.path != "/token":
            self.api.append(request.headers.copy())
            return web.json_response({})
        self.got.append(request.headers.copy())
        fields = {"access_token": f"token-{len(self.got)}", "token_type": "Bearer", "expires_in": 3600}
        return web.json_response(fields, headers=self.headers)

    def provider(self, **options: Any) -> ClientCredentials:
        return ClientCredentials(
            client_id="c",
            **{
                "token_url": f"{self.url}/token",
                "client_secret": secret("client"),
                "origins": self.url,
                **options,
            },
        )

    @contextlib.asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Place]:
        runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.1)  # type: ignore[arg-type]
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            self.url = f"http{'s' if tls else ''}://localhost:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *, wants_client: bool = False) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    if wants_client:
        authority.configure_trust(tls)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    return tls


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    async with Place().serve() as place:
        yield place


@pytest_asyncio.fixture
async def safe(authority: trustme.CA) -> AsyncIterator[Place]:
    async with Place().serve(serving(authority)) as place:
        yield place


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[ForwardProxy]:
    async with ForwardProxy().serve() as proxy:
        yield proxy


def makes(tls: ssl.SSLContext, **options: Any) -> Callable[[], aiohttp.ClientSession]:
    """Return a function for ``http=``."""
    return lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), **options)


async def why_not(
    provider: Provider,
    make: Callable[[], aiohttp.ClientSession] = OWN,
    kind: type[AuthError] = TokenEndpointUnavailable,
) -> str:
    """Return why there is no token: of one request, which a manager would send again."""
    async with make() as http:
        with pytest.raises(kind) as caught:
            await provider.fetch(http, None)
    assert type(caught.value) is kind
    return str(caught.value)


# --- Proxies


async def test_a_token_request_by_https_goes_through_a_proxy(
    safe: Place, proxy: ForwardProxy, authority: trustme.CA
) -> None:
    """What ``http=`` makes has a proxy and an authority: the proxy is asked to connect, and sees nothing else."""
    async with TokenManager(safe.provider(), http=makes(trusting(authority), proxy=proxy.url)) as manager:
        assert (await manager.token()).value == "token-1"
    assert proxy.asked == [f"CONNECT {safe.url.removeprefix('https://')}"]


@pytest.mark.parametrize("by", ["proxy", "trust_env"])
async def test_client_sessions_proxy_is_the_token_requests_too(
    place: Place, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Whether it is given or the environment's; plain http to loopback, through a proxy on loopback."""
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    options: dict[str, Any] = {"proxy": proxy.url} if by == "proxy" else {"trust_env": True}
    async with client_session(place.provider(), **options) as http, http.get(f"{place.url}/x") as answer:
        assert answer.status == 200
    assert proxy.asked == [f"POST {place.url}/token", f"GET {place.url}/x"]


async def test_a_proxy_that_wants_credentials(safe: Place, authority: trustme.CA) -> None:
    """The error says that it does; with them it lets the request through."""
    password = secret("proxy")
    held = base64.b64encode(f"me:{password}".encode()).decode()
    async with ForwardProxy(credentials=held).serve() as proxy:
        tls = trusting(authority)
        words = await why_not(safe.provider(), makes(tls, proxy=proxy.url))
        assert words.startswith("the proxy refuses to connect (status 407) [")
        assert words.endswith("]: give it its credentials (proxy_auth)")
        with_password = proxy.url.replace("//", f"//me:{password}@")
        assert await TokenManager(safe.provider(), http=makes(tls, proxy=with_password)).token()


async def test_a_proxy_that_is_not_there(safe: Place, authority: trustme.CA) -> None:
    """It is named, and not the server."""
    words = await why_not(safe.provider(), makes(trusting(authority), proxy="http://127.0.0.1:1"))
    assert "no connection to the proxy 127.0.0.1:1 could be made" in words


async def test_no_credential_goes_in_the_clear_through_a_proxy_elsewhere(place: Place) -> None:
    """Plain http to this machine would pass another one: nothing is sent, not even to the proxy."""
    make = partial(aiohttp.ClientSession, proxy="http://proxy.example:3128")
    words = await why_not(place.provider(), make, InsecureTransport)
    assert "through the proxy proxy.example" in words
    assert not place.got


class Nobody(AbstractResolver):
    """Knows no name."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        raise OSError(None, "no such name")

    async def close(self) -> None:
        """Do nothing."""


async def test_a_proxy_that_is_named_may_read(place: Place) -> None:
    """A user who names the proxy in ``insecure_hosts`` has said that it may: only the name then has to be found."""
    connector = aiohttp.TCPConnector(resolver=Nobody())
    make = partial(aiohttp.ClientSession, proxy="http://proxy.example:3128", connector=connector)
    assert "proxy.example has no address" in await why_not(place.provider(insecure_hosts="proxy.example"), make)


# --- The environment


@pytest.mark.parametrize("client_auth", ["client_secret_basic", "client_secret_post"])
async def test_netrc_is_no_part_of_a_token_request(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client_auth: str
) -> None:
    """An entry for the host takes nothing's place, and is not sent beside a credential in the form."""
    (tmp_path / "netrc").write_text(f"machine localhost login somebody password {secret('netrc')}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with aiohttp.ClientSession(trust_env=True) as http:
        await TokenManager(place.provider(client_auth=client_auth), http=http).token()
    (sent,) = place.got
    if client_auth == "client_secret_post":
        assert "Authorization" not in sent
    else:
        assert base64.b64decode(sent["Authorization"].removeprefix("Basic ")).startswith(b"c:")


async def test_a_sessions_own_authorization_is_sent(place: Place) -> None:
    """What a user set for a gateway, by hand, goes with a token request that has none of its own."""
    async with aiohttp.ClientSession(headers={"Authorization": "Gateway 7"}, trust_env=True) as http:
        await TokenManager(place.provider(client_auth="client_secret_post"), http=http).token()
    assert place.got[0]["Authorization"] == "Gateway 7"


# --- Certificates


async def test_an_authority_that_nobody_knows_here(safe: Place, authority: trustme.CA) -> None:
    """The error says so, and what to do; a function for ``http=`` that knows it has a token."""
    words = await why_not(safe.provider())
    assert "the TLS certificate of localhost is signed by an authority that this machine does not know" in words
    assert "SSL_CERT_FILE" in words
    assert await TokenManager(safe.provider(), http=makes(trusting(authority))).token()


async def test_a_client_certificate(authority: trustme.CA) -> None:
    """A server that wants one, and gets none, breaks off, and the error says why; with one there is a token."""
    async with Place().serve(serving(authority, wants_client=True)) as place:
        words = await why_not(place.provider(), makes(trusting(authority)))
        assert "TLS" in words or "the connection broke" in words or "closed the connection" in words
        tls = trusting(authority)
        authority.issue_cert("me.example.com").configure_cert(tls)
        assert await TokenManager(place.provider(), http=makes(tls)).token()


async def test_tls_where_none_is_spoken(place: Place) -> None:
    """The error is OpenSSL's reason, and no "Operation not permitted"."""
    url = place.url.replace("http:", "https:")
    words = await why_not(place.provider(token_url=f"{url}/token"))
    assert "makes no TLS handshake (" in words
    assert "permitted" not in words
    assert "is this the port for https" in words


# --- Headers


async def test_a_long_header_is_read(place: Place) -> None:
    """Some servers send policies of more than aiohttp's 8,190 bytes with each answer."""
    place.headers["Content-Security-Policy"] = "script-src " + "https://cdn.example.com/x " * 400
    assert await TokenManager(place.provider()).token()
    assert len(place.got) == 1


async def test_a_header_that_is_too_long_is_named(place: Place) -> None:
    """Once, with the limit and the way out: the server would send it again each time."""
    place.headers["X-Long"] = secret("header") + "x" * 9_000
    async with aiohttp.ClientSession() as http:
        with pytest.raises(InvalidTokenResponse) as caught:
            await TokenManager(place.provider(), http=http).token()
    words = str(caught.value)
    assert "longer than 8190 bytes" in words
    assert "max_field_size" in words
    assert len(place.got) == 1
    async with aiohttp.ClientSession(max_field_size=20_000) as http:
        assert await TokenManager(place.provider(), http=http).token()
