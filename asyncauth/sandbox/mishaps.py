"""How each fault is carried out on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from aiohttp import web

from asyncauth.sandbox.wire import http_date, json_answer, json_bytes, number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth.sandbox.faults import Fault

_DROPS = 20
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>sandbox</body></html>\n"


class Scene(Protocol):
    """What a fault may do with its request."""

    async def usual(self) -> web.StreamResponse:
        """Process the request as without a fault."""
        ...

    def refusal(self) -> web.Response:
        """Return the endpoint's own rejection of this credential."""
        ...

    def unauthorized(self) -> web.Response:
        """Return the system's 401."""
        ...

    def wall(self) -> float:
        """Return the server's wall clock, in Unix epoch seconds."""
        ...


def abort(transport: asyncio.Transport | None) -> None:
    """Abort a connection so that the peer sees a reset (RST), not an orderly end."""
    if transport is None:
        return
    connection: socket.socket = transport.get_extra_info("socket")
    # The peer of a closed connection can't be notified, so it is only aborted below.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def until_gone() -> NoReturn:
    """Wait for the cancellation that comes when the connection is closed."""
    while True:
        await asyncio.get_running_loop().create_future()


def fresh(response: web.StreamResponse) -> web.Response | None:
    """Return the response if it is complete and not being sent yet, or ``None`` (as for a finished WebSocket)."""
    return response if isinstance(response, web.Response) and not response.prepared else None


def body_of(response: web.Response) -> bytes:
    """Return the body's bytes; empty if this package did not make the body."""
    return bytes(response.body) if isinstance(response.body, bytes | bytearray) else b""


async def _hang(fault: Fault, _: web.Request, scene: Scene) -> web.StreamResponse:
    if fault.processed:
        await scene.usual()
    await until_gone()


async def _disconnect(fault: Fault, request: web.Request, scene: Scene) -> web.StreamResponse:
    if fault.processed:
        await scene.usual()
    abort(request.transport)
    await until_gone()


def _streamed(response: web.Response) -> tuple[web.StreamResponse, bytes]:
    body = body_of(response)
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    return stream, body


async def _reset(_: Fault, request: web.Request, scene: Scene) -> web.StreamResponse:
    response = fresh(await scene.usual())
    if response is not None:
        stream, body = _streamed(response)
        await stream.prepare(request)
        await stream.write(body[: len(body) // 2] or b" ")
    abort(request.transport)
    await until_gone()


async def _slow_drip(fault: Fault, request: web.Request, scene: Scene) -> web.StreamResponse:
    usual = await scene.usual()
    response = fresh(usual)
    if response is None:
        return usual
    stream, body = _streamed(response)
    await stream.prepare(request)
    size = max(1, -(-len(body) // _DROPS))
    drops = [body[start : start + size] for start in range(0, len(body), size)]
    for drop in drops:
        await asyncio.sleep(fault.seconds / len(drops))
        await stream.write(drop)
    await stream.write_eof()
    return stream


async def _server_error(fault: Fault, _: web.Request, scene: Scene) -> web.StreamResponse:
    status = fault.status or 503
    return web.Response(
        status=status,
        body=_HTML.format(f"{status} Server Error").encode(),
        headers={"Content-Type": "text/html; charset=utf-8", **_retry_after(fault, scene)},
    )


async def _too_many_requests(fault: Fault, _: web.Request, scene: Scene) -> web.StreamResponse:
    return json_answer({"message": "Too Many Requests"}, 429, headers=_retry_after(fault, scene))


def _retry_after(fault: Fault, scene: Scene) -> dict[str, str]:
    wait = fault.retry_after
    if wait is None:
        return {}
    if isinstance(wait, str):
        return {"Retry-After": wait}
    return {"Retry-After": http_date(scene.wall() + wait) if fault.retry_after_date else str(number(wait))}


async def _malformed(_: Fault, __: web.Request, ___: Scene) -> web.StreamResponse:
    return web.Response(body=b'{"token_type": "Bearer", "expires_in": 86', headers={"Content-Type": "application/json"})


async def _edited(scene: Scene, edit: Callable[[dict[str, Any]], None]) -> web.StreamResponse:
    usual = await scene.usual()
    response = fresh(usual)
    if response is None or response.status != 200:  # noqa: PLR2004 - a refusal has no token fields to edit
        return usual
    answer: dict[str, Any] = json.loads(body_of(response))
    inner = answer.get("data")
    edit(inner if isinstance(inner, dict) else answer)  # pyright: ignore[reportUnknownArgumentType]
    return web.Response(body=json_bytes(answer), headers=response.headers)


async def _missing_fields(fault: Fault, _: web.Request, scene: Scene) -> web.StreamResponse:
    def take_out(answer: dict[str, Any]) -> None:
        for name in fault.fields:
            answer.pop(name, None)

    return await _edited(scene, take_out)


async def _replace_fields(fault: Fault, _: web.Request, scene: Scene) -> web.StreamResponse:
    return await _edited(scene, lambda answer: answer.update(fault.values))


async def _wrong_credentials(_: Fault, __: web.Request, scene: Scene) -> web.StreamResponse:
    return scene.refusal()


async def _unauthorized(_: Fault, __: web.Request, scene: Scene) -> web.StreamResponse:
    return scene.unauthorized()


async def _redirect(fault: Fault, _: web.Request, __: Scene) -> web.StreamResponse:
    return web.Response(status=fault.status or 307, headers={"Location": fault.location or "/"})


async def _answer(fault: Fault, request: web.Request, scene: Scene) -> web.StreamResponse:
    own = None if fault.answer is None else await fault.answer(request)
    return await scene.usual() if own is None else own


_WAYS: dict[str, Callable[[Fault, web.Request, Scene], Awaitable[web.StreamResponse]]] = {
    "answer": _answer,
    "disconnect": _disconnect,
    "hang": _hang,
    "malformed": _malformed,
    "missing_fields": _missing_fields,
    "redirect": _redirect,
    "replace_fields": _replace_fields,
    "reset": _reset,
    "server_error": _server_error,
    "slow_drip": _slow_drip,
    "too_many_requests": _too_many_requests,
    "unauthorized": _unauthorized,
    "wrong_credentials": _wrong_credentials,
}


async def perform(fault: Fault, request: web.Request, scene: Scene) -> web.StreamResponse:
    """Answer the request, or fail to, as the fault demands."""
    return await _WAYS[fault.kind](fault, request, scene)
