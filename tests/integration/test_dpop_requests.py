"""The middleware and tokens that are bound to a key (RFC 9449 §7 to §9), at an API that checks every proof."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from harness.crash_reports import crash_report
from harness.sinks import shown
from inside_kit import nonces_of
from joserfc import jwt
from joserfc.jwk import JWKRegistry
from joserfc.jws import extract_compact
from loopback import MOMENTS, ClosingConnector, Moment
from yarl import URL

from asyncauth import BearerAuth, ClientCredentials, ConfigurationError, TokenManager
from asyncauth.providers.oauth2.dpop import Prover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@attrs.define
class Api:
    """A token endpoint and an API on one origin, and what it was sent.

    Attributes:
        nonce: What it wants in each proof; ``None`` = nothing.
        changes: Whether it wants another one in each proof.
        refused: Access tokens that it answers 401.
        forbids: The error that it answers to every request, if any.
    """

    nonce: str | None = None
    changes: bool = False
    refused: set[str] = attrs.field(factory=set)
    forbids: str | None = None
    issued: int = 0
    requests: list[tuple[str, str, str]] = attrs.field(factory=list)
    seen: set[str] = attrs.field(factory=set)
    thumbprints: set[str] = attrs.field(factory=set)
    origin: str = ""

    async def token(self, request: web.Request) -> web.Response:
        self.proof(request, None)
        self.issued += 1
        return web.json_response({"access_token": f"at-{self.issued}", "token_type": "DPoP", "expires_in": 3600})

    async def call(self, request: web.Request) -> web.Response:
        body = await request.text()
        scheme, _, token = request.headers["Authorization"].partition(" ")
        assert scheme == "DPoP"
        claims = self.proof(request, token)
        self.requests.append((request.method, token, body))
        if self.forbids is not None:
            return self.refuse(self.forbids)
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            return self.refuse("use_dpop_nonce")
        if self.changes:
            self.nonce = f"n{len(self.requests)}"
        if token in self.refused:
            return self.refuse("invalid_token")
        return web.json_response({"body": body}, headers=self.headers())

    async def moved(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/call"})

    def headers(self) -> dict[str, str]:
        return {} if self.nonce is None else {"DPoP-Nonce": self.nonce}

    def refuse(self, error: str) -> web.Response:
        challenge = f'DPoP error="{error}", algs="ES256"'
        headers = {**self.headers(), "WWW-Authenticate": challenge}
        return web.Response(status=401, text="x" * 100_000, headers=headers)

    def proof(self, request: web.Request, token: str | None) -> dict[str, Any]:
        """Check a proof as RFC 9449 §4.3 says, and return its claims."""
        (text,) = request.headers.getall("DPoP")
        key = JWKRegistry.import_key(jwt_header(text)["jwk"])
        assert not key.is_private
        decoded = jwt.decode(text, key, algorithms=["ES256"])
        assert decoded.header["typ"] == "dpop+jwt"
        claims = decoded.claims
        assert claims["htm"] == request.method
        assert claims["htu"] == f"{self.origin}{request.path}"
        assert claims["jti"] not in self.seen
        self.seen.add(claims["jti"])
        self.thumbprints.add(key.thumbprint())
        if token is None:
            assert "ath" not in claims
        else:
            digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
            assert claims["ath"] == digest
        return dict(claims)


def jwt_header(text: str) -> dict[str, Any]:
    return dict(extract_compact(text.encode()).headers())


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_post("/token", api.token)
    app.router.add_route("*", "/call", api.call)
    app.router.add_get("/moved", api.moved)
    async with TestServer(app) as server:
        api.origin = str(server.make_url("/").origin())
        yield api


@pytest.fixture
async def manager(api: Api) -> AsyncIterator[TokenManager]:
    provider = ClientCredentials(
        token_url=f"{api.origin}/token", client_id="app", client_secret="s", origins=api.origin, dpop=True
    )
    async with TokenManager(provider) as manager:
        yield manager


@pytest.fixture
async def http(manager: TokenManager) -> AsyncIterator[aiohttp.ClientSession]:
    """One connection, so that an answer which is not released would hold everything up."""
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, middlewares=(BearerAuth(manager),)) as session:
        yield session


async def test_each_request_has_a_proof_of_its_own(api: Api, http: aiohttp.ClientSession) -> None:
    """Method, address without query, token and key are in it; nothing is used twice, by one key for all."""
    for method in ("GET", "POST", "PUT"):
        async with http.request(method, f"{api.origin}/call?a=1#b") as response:
            assert response.status == 200
            shown = {name.lower() for name in response.request_info.headers}
            assert not {"authorization", "dpop"} & shown
    async with http.get(f"{api.origin}/moved") as response:
        assert response.status == 200
    assert len(api.thumbprints) == 1


async def test_a_nonce_costs_one_request_once(api: Api, http: aiohttp.ClientSession, manager: TokenManager) -> None:
    """The first request is sent again with the nonce, body and all; the next ones have it from the start."""
    api.nonce = "n1"
    for number in range(3):
        async with http.post(f"{api.origin}/call", data=f"body {number}") as response:
            assert response.status == 200
            assert (await response.json())["body"] == f"body {number}"
    assert [body for _, _, body in api.requests] == ["body 0", "body 0", "body 1", "body 2"]
    assert api.issued == 1
    assert manager.status().rejections == 0


async def test_no_proof_is_shown_by_what_went_wrong(api: Api, http: aiohttp.ClientSession) -> None:
    """Neither the first proof nor the one with the nonce stays on the request, answered or not."""
    api.nonce, api.forbids = "n1", "use_dpop_nonce"
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await http.get(f"{api.origin}/call", raise_for_status=True)
    assert len(api.requests) == 2
    assert "dpop" not in repr(caught.value.request_info).lower()


async def test_no_proof_stays_where_nobody_answered(manager: TokenManager) -> None:
    """A middleware that kept the request has no proof of ours, and no frame of the error holds the token."""
    seen: list[aiohttp.ClientRequest] = []

    async def outside(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request)
        return await handler(request)

    async def broken(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        assert "DPoP" in request.headers
        raise aiohttp.ClientConnectionError

    async with aiohttp.ClientSession(middlewares=(outside, BearerAuth(manager), broken)) as http:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            await http.get(f"{manager.origins[0]}/call")
    assert "DPoP" not in seen[0].headers
    assert (await manager.token()).value not in shown(caught.value)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_no_frame_holds_token_or_proof_of_a_connection_that_closed(manager: TokenManager, moment: Moment) -> None:
    """A crash reporter that records local variables gets neither from an error of a request that was being written."""
    connector = ClosingConnector(moment)
    async with aiohttp.ClientSession(connector=connector, middlewares=(BearerAuth(manager),)) as http:
        await manager.token()
        connector.closes = True
        with pytest.raises(aiohttp.ClientError) as caught:
            await http.post(f"{manager.origins[0]}/call", data=b"x")
    report = crash_report(caught.value)
    assert "at-1" not in report
    assert "eyJ" not in report


async def test_requests_that_meet_the_first_nonce_together(api: Api, manager: TokenManager) -> None:
    """Each of fifty requests that were sent without the nonce is sent again with it, whichever got it first."""
    api.nonce = "n1"
    async with aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:

        async def call() -> int:
            async with http.get(f"{api.origin}/call") as response:
                return response.status

        assert await asyncio.gather(*(call() for _ in range(50))) == [200] * 50
    assert len(api.requests) <= 100
    assert api.issued == 1


async def test_a_nonce_that_changes_with_each_answer(api: Api, http: aiohttp.ClientSession) -> None:
    """A good answer brings the next nonce (RFC 9449 §8.2): no request is sent twice for it."""
    api.nonce, api.changes = "n0", True
    for _ in range(4):
        async with http.get(f"{api.origin}/call") as response:
            assert response.status == 200
    assert len(api.requests) == 5


async def test_a_nonce_does_not_count_against_the_repeat(
    api: Api, http: aiohttp.ClientSession, manager: TokenManager
) -> None:
    """First a nonce is asked for, then the token refused: a new token is obtained, and the request goes out again."""
    manager.accepted(await manager.token())
    api.nonce = "n1"
    api.refused.add("at-1")
    async with http.post(f"{api.origin}/call", data="body") as response:
        assert response.status == 200
    assert [token for _, token, _ in api.requests] == ["at-1", "at-1", "at-2"]
    assert {body for _, _, body in api.requests} == {"body"}
    assert manager.status().rejections == 1


async def test_a_body_that_is_gone_is_not_sent_again(
    api: Api, http: aiohttp.ClientSession, manager: TokenManager
) -> None:
    """The caller gets the 401 and the token stays; the next request has the nonce."""
    api.nonce = "n1"

    async def chunks() -> AsyncIterator[bytes]:
        yield b"body"

    async with http.post(f"{api.origin}/call", data=chunks()) as response:
        assert response.status == 401
    async with http.post(f"{api.origin}/call", data=chunks()) as response:
        assert response.status == 200
    assert [body for _, _, body in api.requests] == ["body", "body"]
    assert manager.status().rejections == 0


@pytest.mark.parametrize("error", ["use_dpop_nonce", "invalid_dpop_proof", "insufficient_scope"])
async def test_what_no_other_token_mends_is_the_callers(
    api: Api, http: aiohttp.ClientSession, manager: TokenManager, error: str
) -> None:
    """A server that is never content gets one request more for its nonce, and costs no token."""
    api.nonce, api.forbids = "n1", error
    for _ in range(3):
        async with http.get(f"{api.origin}/call") as response:
            assert response.status == 401
    assert len(api.requests) == 3 + (error == "use_dpop_nonce")
    assert api.issued == 1
    assert manager.status().rejections == 0


async def test_headers_are_not_for_bound_tokens(manager: TokenManager) -> None:
    """A proof belongs to one request: headers() says who makes it."""
    with pytest.raises(ConfigurationError, match="BearerAuth"):
        await manager.headers()
    assert (await manager.token()).authorization.startswith("DPoP ")


async def test_nonces_are_remembered_of_so_many_servers() -> None:
    """A client of very many servers does not grow with them; the last one's nonce is always known."""
    prover = Prover.of(None)
    assert isinstance(prover, Prover)
    for number in range(1000):
        prover.note(URL(f"https://{number}.example.com/x"), f"nonce-{number}")
        assert prover.nonce(URL(f"https://{number}.example.com/y")) == f"nonce-{number}"
    assert len(nonces_of(prover)) <= 64
