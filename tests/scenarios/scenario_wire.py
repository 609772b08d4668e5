"""An API and a token endpoint on loopback, for scenarios of what goes over the wire."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from scenario_endpoint import ScriptedEndpoint

__all__ = ["Wire"]

PATIENCE = 10.0
"""Real seconds after which a request hangs."""

_BODY = b"0123456789" * 100
_ALL = len(_BODY)


class Wire:
    """Real sockets: the token endpoint, an API that answers as its script says, and another origin.

    Attributes:
        seen: The requests that came to the API or to the other origin, in turn.
    """

    def __init__(self, endpoint: ScriptedEndpoint, given: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self._clock, self._begun = endpoint.clock, endpoint.clock.monotonic()
        answers = given.get("api", [])
        self._by_token = {answer["to"]: answer for answer in answers if "to" in answer}
        self._script = [answer for answer in answers if "to" not in answer for _ in range(answer.get("times", 1))]
        self._limit = given.get("connections", 100)
        self.seen: list[dict[str, Any]] = []
        self._api, self._other = self._server("api"), self._server("other")

    def _server(self, name: str) -> TestServer:
        application = web.Application()
        application.router.add_post("/token", self._endpoint.serve)
        application.router.add_post("/elsewhere", self._endpoint.serve_redirected)
        application.router.add_route("*", "/resource", functools.partial(self._serve, name))
        return TestServer(application, host="localhost")  # cookie jars pass over IP addresses

    @property
    def address(self) -> str:
        """The API's origin, where the token endpoint is as well."""
        return str(self._api.make_url("")).rstrip("/")

    async def start(self) -> None:
        """Listen."""
        await self._api.start_server()
        await self._other.start_server()
        self._endpoint.address = str(self._other.make_url("/elsewhere"))

    async def stop(self) -> None:
        """Close everything."""
        await self._api.close()
        await self._other.close()

    async def _serve(self, name: str, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        answer = self._by_token.get(token, {})
        if self._clock.monotonic() >= self._begun + answer.get("until", math.inf):
            answer = {}
        if not answer and self._script and name == "api":
            answer = self._script.pop(0)
        size = len(await request.read())
        status = answer.get("status", 200)
        body = {0: "none", _ALL: "whole"}.get(size, "cut")
        self.seen.append({"at": name, "token": token if scheme == "Bearer" else None, "body": body, "answer": status})
        headers = {"WWW-Authenticate": answer["challenge"]} if "challenge" in answer else {}
        if "location" in answer:
            server = self._api if answer["location"] == "api" else self._other
            headers["Location"] = str(server.make_url("/resource"))
        return web.Response(status=status, headers=headers, body=b"x" * answer.get("size", 2))

    async def request(self, step: Mapping[str, Any], middleware: aiohttp.ClientMiddlewareType) -> Mapping[str, Any]:
        """Make a request as a user would, and return what came of it."""
        body = step.get("body", "none")
        data: Any = {"none": None, "bytes": _BODY, "stream": _stream()}[body]
        connector = aiohttp.TCPConnector(limit=self._limit)
        async with (
            aiohttp.ClientSession(connector=connector, middlewares=(middleware,)) as http,
            asyncio.timeout(PATIENCE),
            http.request("GET" if data is None else "POST", self._api.make_url("/resource"), data=data) as response,
        ):
            await response.read()
            if step.get("raise_for_status"):
                response.raise_for_status()
            return {"status": response.status}


async def _stream() -> AsyncIterator[bytes]:
    yield _BODY
