"""The controls over HTTP: ``/_sandbox/…``, the same on every port."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from . import orders
from .wire import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .server import Sandbox

_READ = frozenset({"state", "log"})
_FOREIGN = frozenset({"cross-site", "same-site"})
PREFIX = "/_sandbox/"


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        message: What is wrong, in words.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def control(sandbox: Sandbox, request: web.Request, guard: Callable[[web.Request], None]) -> web.Response:
    """Answer a request below ``/_sandbox/``.

    ``GET state`` and ``GET log`` show everything but secrets. ``POST settings``, ``fault``, ``revoke``, ``abort``
    and ``reset`` take a JSON object; a mistake in it is answered 400 with ``{"error": …}`` and changes nothing.

    Args:
        sandbox: What it is about.
        request: The request.
        guard: Raises `RefusedError` for an order that must not be obeyed.
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


async def _answer(sandbox: Sandbox, request: web.Request, guard: Callable[[web.Request], None]) -> web.Response:
    name = request.path.removeprefix(PREFIX)
    if name not in _READ | orders.NAMES:
        raise RefusedError(404, f"there are: {', '.join(sorted(_READ | orders.NAMES))}")
    method = "GET" if name in _READ else "POST"
    if request.method != method:
        raise RefusedError(405, f"use {method}")
    if name in _READ:
        log = [attrs.asdict(record) for record in list(sandbox.log)]
        return json_answer(sandbox.state() if name == "state" else {"log": log})
    guard(request)
    if request.content_type != "application/json":
        raise RefusedError(415, "the body must be JSON, with Content-Type: application/json")
    order = _order(await request.read())
    response = json_answer(orders.obey(sandbox, name, order, spare=request.transport))
    if not all(system.accepting for system in sandbox.systems.values()):
        response.force_close()  # this connection may be one that should be refused by now
    return response


def own_origin(url: str) -> Callable[[web.Request], None]:
    """A guard that refuses orders of web pages that come from anywhere but this base URL.

    A web page elsewhere can make a browser on this machine send requests here. Compared with our own address and
    not with the Host header: a name that was rebound to 127.0.0.1 makes Origin and Host agree.
    """

    def guard(request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if (origin is not None and origin != url) or request.headers.get("Sec-Fetch-Site") in _FOREIGN:
            raise RefusedError(403, "orders from another origin are refused")

    return guard


def _order(body: bytes) -> dict[str, Any]:
    try:
        order = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None
    if not isinstance(order, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - a mistake of the client's
    return order  # pyright: ignore[reportUnknownVariableType]
