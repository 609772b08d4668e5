"""The page's port: its files, the events, and the controls for this page alone."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING

from aiohttp import web

from asyncauth.sandbox.control import PREFIX, control
from asyncauth.sandbox.guard import RefusedError
from asyncauth.sandbox.listener import Listener
from asyncauth.sandbox.page.description import describe
from asyncauth.sandbox.page.guard import PageGuard
from asyncauth.sandbox.page.stream import Stream
from asyncauth.sandbox.wire import json_answer

if TYPE_CHECKING:
    from asyncauth.sandbox.orders import Ordered

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "svg": "image/svg+xml",
}

# Allows nothing from elsewhere, nothing inline, no frame around it, and no script that turns text into markup.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _files() -> dict[str, tuple[str, bytes]]:
    """Return the page's files with their types, by path."""
    folder = importlib.resources.files("asyncauth.sandbox.page").joinpath("static")
    return {
        "/" if file.name == "index.html" else f"/{file.name}": (kind, file.read_bytes())
        for file in folder.iterdir()
        if (kind := _TYPES.get(file.name.rpartition(".")[2])) is not None
    }


class Page:
    """The page of one sandbox, on a separate port, which stays open when a system refuses connections.

    Args:
        sandbox: The sandbox that it shows and controls.
        host: The address to listen on.
        port: Its TCP port; 0: any free one.
        remote: Whether other machines may connect.
    """

    def __init__(self, sandbox: Ordered, *, host: str, port: int, remote: bool) -> None:
        self._sandbox = sandbox
        self._guard = PageGuard(host, remote)
        self._files = _files()
        self._listener = Listener(self._handle, host=host, port=port, backlog=128)
        self.stream = Stream(sandbox.systems, sandbox.log)

    @property
    def url(self) -> str:
        """Its URL, such as ``"http://127.0.0.1:49153/"``; the port is known once the sandbox runs."""
        return f"{self._listener.url}/"

    async def start(self) -> None:
        """Listen. Called by the `Sandbox`."""
        await self._listener.start()

    async def stop(self) -> None:
        """End at once. Called by the `Sandbox`."""
        await self._listener.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await self._answer(request)
        except RefusedError as refused:
            response = json_answer({"error": str(refused)}, refused.status)
        response.headers.update(_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith(PREFIX):
            return await control(self._sandbox, request, self._guard)
        if path == "/":  # a link from another site may lead only to the page itself
            self._guard.host(request)
        else:
            self._guard.admit(request)
        if request.method not in {"GET", "HEAD"}:
            raise RefusedError(405, "use GET")
        if path == "/events":
            return await self.stream.answer(request)
        if path == "/description":
            return json_answer(describe(self._sandbox.systems.values()))
        if path not in self._files:
            raise RefusedError(404, "there is no such path here")
        kind, body = self._files[path]
        return web.Response(body=body, headers={"Content-Type": kind})
