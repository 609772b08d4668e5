"""The controls over HTTP: ``/_sandbox/…``, the same on both ports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from . import settings
from .faults import KINDS, TOKEN_ONLY, Fault
from .wire import json_answer

if TYPE_CHECKING:
    from .server import Sandbox
    from .system import System

_READ = frozenset({"state", "log"})
_WRITE = frozenset({"settings", "revoke", "reset"})
_FOREIGN = frozenset({"cross-site", "same-site"})


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def control(sandbox: Sandbox, request: web.Request, url: str) -> web.Response:
    """Answer a request below ``/_sandbox/`` that came to the port of this base URL.

    ``GET state`` and ``GET log`` show everything but secrets. ``POST settings``, ``POST revoke`` and
    ``POST reset`` take a JSON object; a mistake in it is answered 400 with ``{"error": …}`` and changes nothing.
    """
    try:
        return await _answer(sandbox, request, url)
    except _RefusedError as refused:
        return json_answer({"error": str(refused)}, refused.status)
    except ValueError as error:
        return json_answer({"error": str(error)}, 400)
    except web.HTTPException as error:
        return json_answer({"error": error.reason}, error.status)


async def _answer(sandbox: Sandbox, request: web.Request, url: str) -> web.Response:
    name = request.path.removeprefix("/_sandbox/")
    if name not in _READ | _WRITE:
        raise _RefusedError(404, f"there are: {', '.join(sorted(_READ | _WRITE))}")
    method = "GET" if name in _READ else "POST"
    if request.method != method:
        raise _RefusedError(405, f"use {method}")
    if name in _READ:
        log = [attrs.asdict(record) for record in list(sandbox.log)]
        return json_answer(sandbox.state() if name == "state" else {"log": log})
    _guard(request, url)
    order = _order(await request.read())
    if name == "settings":
        return _change(sandbox, order, request)
    return _revoke(sandbox, order) if name == "revoke" else _reset(sandbox, order)


def _guard(request: web.Request, url: str) -> None:
    # A web page elsewhere can make a browser on this machine send requests here. Compared with our own address
    # and not with the Host header: a name that was rebound to 127.0.0.1 makes Origin and Host agree.
    origin = request.headers.get("Origin")
    if (origin is not None and origin != url) or request.headers.get("Sec-Fetch-Site") in _FOREIGN:
        raise _RefusedError(403, "orders from another origin are refused")
    if request.content_type != "application/json":
        raise _RefusedError(415, "the body must be JSON, with Content-Type: application/json")


def _order(body: bytes) -> dict[str, Any]:
    try:
        order = json.loads(body or b"{}")
    except ValueError:
        raise ValueError("the body is no JSON") from None
    if not isinstance(order, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - a mistake of the client's
    return order  # pyright: ignore[reportUnknownVariableType]


def _only(order: dict[str, Any], *known: str) -> None:
    if unknown := sorted(set(order) - set(known)):
        raise ValueError(f"unknown name {unknown[0][:80]!r}; choose from: {', '.join(known)}")


def _faults(spec: object, kinds: frozenset[str]) -> list[Fault]:
    specs: list[object] = [] if spec is None else spec if isinstance(spec, list) else [spec]  # pyright: ignore[reportUnknownVariableType]
    faults = [Fault.from_json(one) for one in specs]
    for fault in faults:
        if fault.kind not in kinds:
            raise ValueError(f"{fault.kind} is a fault of token endpoints, not of the API")
    return faults


@attrs.frozen
class _Change:
    """A checked order to one system."""

    system: System[Any]
    settings: dict[str, Any]
    token_faults: list[Fault] | None
    api_faults: list[Fault] | None
    refuse_connections: bool | float | None

    @classmethod
    def read(cls, system: System[Any], order: object) -> _Change:
        if not isinstance(order, dict):
            raise ValueError(f"{system.name} must be an object of settings")  # noqa: TRY004 - the client's mistake
        rest: dict[str, Any] = dict(order)  # pyright: ignore[reportUnknownArgumentType]
        token, api = (
            _faults(rest.pop(name), kinds) if name in rest else None
            for name, kinds in (("token_faults", KINDS), ("api_faults", KINDS - TOKEN_ONLY))
        )
        refuse = rest.pop("refuse_connections", None)
        if refuse is not None and not isinstance(refuse, bool):
            settings.seconds(None, attrs.fields(cls).refuse_connections, refuse)
        settings.changed(system.settings, rest)
        return cls(system, rest, token, api, refuse)

    def apply(self, request: web.Request) -> bool:
        """Do it; whether this request's own connection has to end."""
        self.system.configure(**self.settings)
        for plan, faults in (
            (self.system.token_faults, self.token_faults),
            (self.system.api_faults, self.api_faults),
        ):
            if faults is not None:
                plan.clear()
                plan.add(*faults)
        if self.refuse_connections is None:
            return False
        if self.refuse_connections is False:
            self.system.accept_connections()
            return False
        seconds = None if self.refuse_connections is True else self.refuse_connections
        self.system.refuse_connections(seconds=seconds, spare=request.transport)
        return True


def _change(sandbox: Sandbox, order: dict[str, Any], request: web.Request) -> web.Response:
    _only(order, *sandbox.systems)
    changes = [_Change.read(sandbox.systems[name], wish) for name, wish in order.items()]
    ends = [change.apply(request) for change in changes]
    response = json_answer(sandbox.state())
    if any(ends):
        response.force_close()
    return response


def _chosen(sandbox: Sandbox, order: dict[str, Any]) -> list[System[Any]]:
    name = order.get("system")
    if name is None:
        return list(sandbox.systems.values())
    if not isinstance(name, str) or name not in sandbox.systems:
        raise ValueError(f"system must be one of: {', '.join(sandbox.systems)}")
    return [sandbox.systems[name]]


def _revoke(sandbox: Sandbox, order: dict[str, Any]) -> web.Response:
    _only(order, "system", "step")
    step = order.get("step")
    if step is not None and order.get("system") is None:
        raise ValueError("step needs the system it belongs to")
    if step is not None and not isinstance(step, str):
        raise ValueError("step must be a string")
    return json_answer({"revoked": {system.name: system.revoke(step) for system in _chosen(sandbox, order)}})


def _reset(sandbox: Sandbox, order: dict[str, Any]) -> web.Response:
    _only(order, "only")
    if order.get("only") not in (None, "counts"):
        raise ValueError('only must be "counts", or be left out to reset everything')
    if order.get("only") is None:
        sandbox.reset()
    else:
        sandbox.reset_counts()
    return json_answer(sandbox.state())
