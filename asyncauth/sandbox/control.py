"""The controls over HTTP: ``/_sandbox/…``, the same on every port."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from asyncauth.sandbox import orders
from asyncauth.sandbox.guard import RefusedError
from asyncauth.sandbox.wire import json_answer

if TYPE_CHECKING:
    from asyncauth.sandbox.guard import Guard
    from asyncauth.sandbox.orders import Ordered

_READ = frozenset({"state", "log"})
PREFIX = "/_sandbox/"


async def control(sandbox: Ordered, request: web.Request, guard: Guard) -> web.Response:
    """Answer a request below ``/_sandbox/``.

    ``GET state`` and ``GET log`` show everything but secrets. ``POST settings``, ``fault``, ``revoke``, ``abort`` and
    ``reset`` take a JSON object. A mistake in it is answered with 400 and ``{"error": …}``, and changes nothing.

    Args:
        sandbox: The sandbox.
        request: The request.
        guard: Decides who may use the controls. All requests below ``/_sandbox/``, on every port, are checked here.
    """
    try:
        return await _answer(sandbox, request, guard)
    except RefusedError as refused:
        return json_answer({"error": str(refused)}, refused.status)
    except ValueError as error:
        return json_answer({"error": str(error)}, 400)
    except web.HTTPException as error:
        return json_answer({"error": error.reason}, error.status)
    except web.RequestPayloadError:
        return json_answer({"error": "the body can't be unpacked"}, 400)


async def _answer(sandbox: Ordered, request: web.Request, guard: Guard) -> web.Response:
    guard.admit(request)
    name = request.path.removeprefix(PREFIX)
    if name not in _READ | orders.NAMES:
        raise RefusedError(404, f"unknown path; choose from: {', '.join(sorted(_READ | orders.NAMES))}")
    method = "GET" if name in _READ else "POST"
    if request.method != method:
        raise RefusedError(405, f"use {method}")
    if name in _READ:
        log = [attrs.asdict(record) for record in list(sandbox.log)]
        return json_answer(sandbox.state() if name == "state" else {"log": log})
    guard.order(request)
    if request.content_type != "application/json":
        raise RefusedError(415, "the body must be JSON, with Content-Type: application/json")
    order = _order(await request.read())
    response = json_answer(orders.obey(sandbox, name, order, spare=request.transport))
    if not all(system.accepting for system in sandbox.systems.values()):
        response.force_close()  # the order may have been to refuse connections, this one included
    return response


def _order(body: bytes) -> dict[str, Any]:
    try:
        order = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(order, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - a mistake of the client's
    return order  # pyright: ignore[reportUnknownVariableType]
