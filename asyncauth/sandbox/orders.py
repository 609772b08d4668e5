"""The orders that change a sandbox, as JSON objects: checked first, then carried out completely or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from asyncauth.sandbox import settings
from asyncauth.sandbox.faults import KINDS, TOKEN_ONLY, Fault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from asyncauth.sandbox.counts import RequestLog
    from asyncauth.sandbox.system import System

_PLANS = {"token_faults": KINDS, "api_faults": KINDS - TOKEN_ONLY}


class Ordered(Protocol):
    """The receiver of orders: a `Sandbox`, which this module must not import."""

    @property
    def systems(self) -> Mapping[str, System[Any]]:
        """Return all systems, by name."""
        ...

    @property
    def page_url(self) -> str | None:
        """Return the page's URL, whose port has the controls, too; ``None``: there is no page."""
        ...

    log: RequestLog

    def reset_counts(self) -> None:
        """Reset all counts to zero and empty the log."""
        ...

    def reset(self) -> None:
        """Restore the initial state."""
        ...

    def state(self) -> dict[str, object]:
        """Return the whole state, as JSON and without secrets."""
        ...


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
        token, api = (_faults(rest.pop(name), kinds) if name in rest else None for name, kinds in _PLANS.items())
        refuse = rest.pop("refuse_connections", None)
        if refuse is not None and not isinstance(refuse, bool):
            settings.seconds(None, attrs.fields(cls).refuse_connections, refuse)
        settings.changed(system.settings, rest)
        return cls(system, rest, token, api, refuse)

    def apply(self, spare: asyncio.BaseTransport | None) -> None:
        self.system.configure(**self.settings)
        for plan, faults in (
            (self.system.token_faults, self.token_faults),
            (self.system.api_faults, self.api_faults),
        ):
            if faults is not None:
                plan.clear()
                plan.add(*faults)
        if self.refuse_connections is False:
            self.system.accept_connections()
        elif self.refuse_connections is not None:
            seconds = None if self.refuse_connections is True else self.refuse_connections
            self.system.refuse_connections(seconds=seconds, spare=spare)


def _settings(sandbox: Ordered, order: dict[str, Any], spare: asyncio.BaseTransport | None) -> object:
    _only(order, *sandbox.systems)
    changes = [_Change.read(sandbox.systems[name], wish) for name, wish in order.items()]
    _leave_a_port(sandbox, changes)
    for change in changes:
        change.apply(spare)
    return sandbox.state()


def _leave_a_port(sandbox: Ordered, changes: list[_Change]) -> None:
    """Reject an order after which no port would remain to undo it."""
    accepting = {name: system.accepting for name, system in sandbox.systems.items()}
    for change in changes:
        if change.refuse_connections is not None:  # a number of seconds ends without an order
            accepting[change.system.name] = change.refuse_connections is not True
    orders_refusal = any(change.refuse_connections is True for change in changes)
    if orders_refusal and sandbox.page_url is None and not any(accepting.values()):
        raise ValueError(
            "no port would be left for the controls: refuse connections for a number of seconds, or serve the page"
        )


def _one(sandbox: Ordered, order: dict[str, Any]) -> System[Any]:
    name = order.get("system")
    if not isinstance(name, str) or name not in sandbox.systems:
        raise ValueError(f"system must be one of: {', '.join(sandbox.systems)}")
    return sandbox.systems[name]


def _chosen(sandbox: Ordered, order: dict[str, Any]) -> list[System[Any]]:
    return list(sandbox.systems.values()) if order.get("system") is None else [_one(sandbox, order)]


def _fault(sandbox: Ordered, order: dict[str, Any], _: object) -> object:
    _only(order, "system", "plan", "fault", "on")
    system, plan, on = _one(sandbox, order), order.get("plan"), order.get("on", True)
    if plan not in list(_PLANS):
        raise ValueError(f"plan must be one of: {', '.join(_PLANS)}")
    if not isinstance(on, bool):
        raise ValueError("on must be true or false")  # noqa: TRY004 - the client's mistake
    chosen = system.token_faults if plan == "token_faults" else system.api_faults
    chosen.switch(Fault.from_json(order.get("fault")), on=on)
    return sandbox.state()


def _revoke(sandbox: Ordered, order: dict[str, Any], _: object) -> object:
    _only(order, "system", "step", "fingerprint")
    narrower = {name: order[name] for name in ("step", "fingerprint") if order.get(name) is not None}
    for name, value in narrower.items():
        if order.get("system") is None:
            raise ValueError(f"{name} needs the system it belongs to")
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string")  # noqa: TRY004 - the client's mistake
    if len(narrower) > 1:
        raise ValueError("give a step or a fingerprint, not both")
    if "fingerprint" in narrower:
        system = _one(sandbox, order)
        return {"revoked": {system.name: system.revoke_one(narrower["fingerprint"])}}
    return {"revoked": {system.name: system.revoke(narrower.get("step")) for system in _chosen(sandbox, order)}}


def _abort(sandbox: Ordered, order: dict[str, Any], spare: asyncio.BaseTransport | None) -> object:
    _only(order, "system")
    for system in _chosen(sandbox, order):
        system.abort_connections(spare=spare)
    return sandbox.state()


def _reset(sandbox: Ordered, order: dict[str, Any], _: object) -> object:
    _only(order, "only")
    if order.get("only") not in (None, "counts"):
        raise ValueError('only must be "counts", or be left out to reset everything')
    if order.get("only") is None:
        sandbox.reset()
    else:
        sandbox.reset_counts()
    return sandbox.state()


_ORDERS: Mapping[str, Callable[[Ordered, dict[str, Any], asyncio.BaseTransport | None], object]] = {
    "abort": _abort,
    "fault": _fault,
    "reset": _reset,
    "revoke": _revoke,
    "settings": _settings,
}
NAMES = frozenset(_ORDERS)
"""The names of all orders."""


def obey(sandbox: Ordered, name: str, order: dict[str, Any], *, spare: asyncio.BaseTransport | None) -> object:
    """Carry out one of `NAMES`; ``spare`` is the order's connection, which must still be answered.

    Returns:
        The answer, as JSON.

    Raises:
        ValueError: There is a mistake in the order; nothing has changed.
    """
    return _ORDERS[name](sandbox, order, spare)
