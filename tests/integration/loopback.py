"""An API on loopback that notes what it receives, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import aiohttp
import attrs
from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Route = Callable[[web.Request], Awaitable[web.StreamResponse]]

DENIED = b'{"message":"Authorization has been denied for this request."}'


@attrs.frozen
class Got:
    """One request as it arrived. ``body`` is ``None`` if the server did not read it."""

    method: str
    path: str
    headers: Any
    body: bytes | None

    @property
    def bearer(self) -> str | None:
        """The token that it carried, if it carried one."""
        value = self.headers.get("Authorization")
        return None if value is None else str(value).removeprefix("Bearer ")


class Api:
    """A server that answers 200 to the tokens in ``good``, and 401 to anything else.

    Attributes:
        good: The tokens it takes; ``None`` = any, and none at all.
        got: What arrived, in its order.
        early: Whether a 401 comes before the body is read.
        denied: The body of a 401.
        challenges: The ``WWW-Authenticate`` lines of a 401.
        routes: Paths that somebody else answers.
        carried: What a request carries as its token.
        tokens: What they carried, in their order.
    """

    def __init__(self, *good: str) -> None:
        self.good: set[str] | None = set(good)
        self.got: list[Got] = []
        self.early = False
        self.denied = DENIED
        self.challenges: Iterable[str] = ()
        self.routes: dict[str, Route] = {}
        self.carried: Callable[[web.Request], str | None] = _bearer
        self.tokens: list[str | None] = []
        self.url = ""

    @property
    def bearers(self) -> list[str | None]:
        """The tokens that arrived, in their order."""
        return [got.bearer for got in self.got]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        token = self.carried(request)
        self.tokens.append(token)
        admitted = self.good is None or token in self.good
        unread = self.early and not admitted
        got = Got(request.method, request.path, request.headers.copy(), None if unread else await request.read())
        self.got.append(got)
        if not admitted:
            headers: CIMultiDict[str] = CIMultiDict()
            for challenge in self.challenges:
                headers.add("WWW-Authenticate", challenge)
            return web.Response(status=401, body=self.denied, headers=headers)
        if request.path in self.routes:
            return await self.routes[request.path](request)
        return web.Response(body=b"welcome")

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[Api]:
        """Listen on a free port."""
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        # No access log: it would show a token that is carried in the query, as real servers' do.
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


def _bearer(request: web.Request) -> str | None:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


Moment: TypeAlias = Literal["before", "while"]
MOMENTS: tuple[Moment, ...] = ("before", "while")


class ClosingConnector(aiohttp.TCPConnector):
    """Hands out connections that close before a request is written, or while it is.

    aiohttp's writer raises when its transport is closing. Which of the two causes that depends on whether aiohttp
    writes at once (Python 3.12) or from a task.

    Attributes:
        closes: Whether it does so, from the next request on.
    """

    def __init__(self, moment: Moment) -> None:
        super().__init__()
        self.closes = False
        self._moment = moment

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        connection = await super().connect(*args, **kwargs)
        if self.closes and connection.transport is not None:
            if self._moment == "before":
                connection.transport.abort()
            else:
                asyncio.get_running_loop().call_soon(connection.transport.abort)
        return connection


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail if tasks are left behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(50):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.002)  # transports end in the loop's own time
    assert not left


def redirect_to(url: str, status: int = 307) -> Route:
    """Answer with a redirect."""

    async def route(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": url})

    return route


async def echo_socket(request: web.Request) -> web.StreamResponse:
    """Answer as a WebSocket that sends back what it gets."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


async def until(true: Callable[[], bool]) -> None:
    """Return when something has become true, which nobody tells."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.001)
