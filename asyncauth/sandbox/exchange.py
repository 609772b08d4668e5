"""One request from its arrival to its answer: count, delay, apply a fault, date, log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from asyncauth.sandbox import api
from asyncauth.sandbox.counts import Record
from asyncauth.sandbox.details import Note, shown_fields
from asyncauth.sandbox.mishaps import body_of, fresh, perform, until_gone
from asyncauth.sandbox.wire import json_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncauth.sandbox.behaviour import Behaviour, Call
    from asyncauth.sandbox.counts import RequestLog

_PATH_SHOWN = 200
_WRITTEN_HERE = frozenset({"date", "content-length", "connection"})


@attrs.define
class Desk:
    """What the requests of one system share: the log, the controls, the number of requests in progress."""

    log: RequestLog
    control: Callable[[web.Request], Awaitable[web.Response]]
    under_way: int = 0


@attrs.frozen
class _TokenScene:
    system: Behaviour[Any]
    call: Call

    async def usual(self) -> web.StreamResponse:
        response = self.system.grant(self.call, self.system.moment())
        self.system.stamp(response)
        return response

    def refusal(self) -> web.Response:
        return self.system.refusal(self.call)

    def unauthorized(self) -> web.Response:
        return json_answer({"message": self.system.denied}, 401, content_type=self.system.json_type)

    def wall(self) -> float:
        return self.system.moment().wall


@attrs.frozen
class _ApiScene:
    system: Behaviour[Any]
    request: web.Request
    note: Note

    async def usual(self) -> web.StreamResponse:
        response = await api.answer(self.system, self.request, self.note)
        if not response.prepared:
            self.system.stamp(response)
        return response

    def unauthorized(self) -> web.Response:
        return self.system.denial()

    refusal = unauthorized

    def wall(self) -> float:
        return self.system.moment().wall


async def handle(system: Behaviour[Any], desk: Desk, request: web.Request) -> web.StreamResponse:
    """Answer one request to a system."""
    path = request.path
    if path.startswith("/_sandbox/"):
        return await desk.control(request)
    arrived, started = time.time(), time.monotonic()
    call, status = None, None
    note = Note()
    try:
        call = await system.read_call(request)
        if call is None:
            response = await _serve_api(system, request, note)
        else:
            note = call.note
            held = system.settings
            note.fields = shown_fields(call.fields, username=held.username, password=held.password)
            response = await _serve_token(system, desk, request, call)
        status = response.status
    except web.HTTPException as error:
        status = error.status
        response = json_answer({"message": error.reason}, status, content_type=system.json_type)
    finally:
        if call is None:
            system.counts.api_answer(status)
        desk.log.append(
            Record(
                time=arrived,
                system=system.name,
                kind="api" if call is None else "token",
                method=request.method[:_PATH_SHOWN],
                path=path[:_PATH_SHOWN],
                status=status,
                step=None if call is None else call.step,
                seconds=time.monotonic() - started,
                details=note.details(request.headers),
            )
        )
    return await _dated(system, request, response)


async def _serve_token(system: Behaviour[Any], desk: Desk, request: web.Request, call: Call) -> web.StreamResponse:
    desk.under_way += 1
    try:
        system.counts.token_request(call.step, desk.under_way)
        fault = system.token_faults.take(step=call.step, path=request.path)
        call.note.fault = None if fault is None else fault.kind
        if system.settings.token_latency:
            await asyncio.sleep(system.settings.token_latency)
        scene = _TokenScene(system, call)
        return await (scene.usual() if fault is None else perform(fault, request, scene))
    finally:
        desk.under_way -= 1


async def _serve_api(system: Behaviour[Any], request: web.Request, note: Note) -> web.StreamResponse:
    system.counts.api_requests += 1
    fault = system.api_faults.take(path=request.path)
    note.fault = None if fault is None else fault.kind
    if system.settings.api_latency:
        await asyncio.sleep(system.settings.api_latency)
    scene = _ApiScene(system, request, note)
    return await (scene.usual() if fault is None else perform(fault, request, scene))


async def _dated(system: Behaviour[Any], request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if response.prepared:
        return response
    if system.settings.date_header:
        system.stamp(response)
        return response
    whole, transport = fresh(response), request.transport
    if whole is None or transport is None:
        return response
    # aiohttp adds a date to each answer, so an answer without one bypasses it, and its connection ends.
    body = body_of(whole)
    lines = [f"HTTP/1.1 {whole.status} {whole.reason}"]
    lines += [f"{name}: {value}" for name, value in whole.headers.items() if name.lower() not in _WRITTEN_HERE]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    transport.write("\r\n".join(lines).encode() + body)
    transport.close()
    return await until_gone()
