"""The protected API of both systems: it echoes requests, and has a few resources with special behaviour."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from asyncauth.sandbox.faults import REDIRECTS, header_value
from asyncauth.sandbox.wire import json_answer

if TYPE_CHECKING:
    from asyncauth.sandbox.behaviour import Behaviour
    from asyncauth.sandbox.details import Note

ECHOED_TEXT = 64 * 1024
"""The largest body in bytes that is echoed as text. Of a larger one, only the length is echoed."""

_LONGEST_NAP = 3600.0
_NEVER_ECHOED = frozenset({"authorization", "proxy-authorization", "authentication", "cookie"})


async def answer(system: Behaviour[Any], request: web.Request, note: Note) -> web.StreamResponse:
    """Answer a request to the API: 401 without a valid token, otherwise as its resource does.

    ``/api/forbidden`` always answers 401, ``/api/redirect?to=URL&status=307`` redirects, ``/api/slow?seconds=1``
    answers after a delay, and ``/api/ws`` is a WebSocket echo. Any other path echoes the request.

    Args:
        system: The system.
        request: The request.
        note: Records why it got a 401, or that it was echoed.
    """
    path = request.path
    # Answered before the body is read, as real servers do: the client may still be sending.
    note.why = "forbidden_path" if path == "/api/forbidden" else system.objection(request)
    if note.why is not None:
        return system.denial()
    if path == "/api/redirect":
        return _redirect(system, request)
    if path == "/api/ws":
        return await _websocket(system, request)
    if path == "/api/slow":
        nap = _nap(request.query.get("seconds", "1"))
        if nap is None:
            return _bad(system, f"seconds must be a number from 0 to {_LONGEST_NAP:g}")
        await asyncio.sleep(nap)
    note.echo = True
    return json_answer(await _echo(request), content_type=system.json_type)


async def expected(request: web.Request) -> None:
    """Ask a client that waits for ``100 Continue`` to send its body (RFC 9110 §10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _echo(request: web.Request) -> dict[str, object]:
    length, kept = 0, bytearray()
    await expected(request)
    async for chunk in request.content.iter_any():
        length += len(chunk)
        if length <= ECHOED_TEXT:
            kept += chunk
    return {
        "method": request.method,
        "path": request.path,
        "query": {name: request.query.getall(name) for name in request.query},
        "content_type": request.headers.get("Content-Type"),
        "length": length,
        "text": _text(bytes(kept)) if length <= ECHOED_TEXT else None,
        "headers": {name: value for name, value in request.headers.items() if name.lower() not in _NEVER_ECHOED},
    }


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _nap(text: str) -> float | None:
    try:
        nap = float(text)
    except ValueError:
        return None
    return nap if math.isfinite(nap) and 0 <= nap <= _LONGEST_NAP else None


def _bad(system: Behaviour[Any], message: str) -> web.Response:
    return json_answer({"message": message}, 400, content_type=system.json_type)


def _redirect(system: Behaviour[Any], request: web.Request) -> web.Response:
    target, status = request.query.get("to", ""), request.query.get("status", "307")
    try:
        header_value("to", target)
    except ValueError as error:
        return _bad(system, str(error))
    if status not in map(str, REDIRECTS):
        return _bad(system, "status must be 301, 302, 303, 307 or 308")
    return web.Response(status=int(status), headers={"Location": target})


async def _websocket(system: Behaviour[Any], request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    if not socket.can_prepare(request):
        return _bad(system, "this resource is a WebSocket")
    system.stamp(socket)
    await socket.prepare(request)
    async for message in socket:
        await (socket.send_str if message.type is WSMsgType.TEXT else socket.send_bytes)(message.data)
    return socket
