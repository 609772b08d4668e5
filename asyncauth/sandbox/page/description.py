"""Describes the switches for the page, which is built from this: a new switch appears without further changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from asyncauth.sandbox import faults, settings
from asyncauth.sandbox.faults import DETAILS, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from asyncauth.sandbox.plan import FaultPlan
    from asyncauth.sandbox.settings import SystemSettings
    from asyncauth.sandbox.system import System

_SECONDS = {"input": "number", "unit": "s", "min": 0}

# A value's check decides how it is entered.
_INPUTS: Mapping[Callable[..., None] | None, Mapping[str, object]] = {
    settings.seconds: _SECONDS,
    settings.signed_seconds: {"input": "number", "unit": "s"},
    settings.flag: {"input": "flag"},
    settings.text: {"input": "text"},
    settings.token_prefix: {"input": "text"},
    settings.challenge: {"input": "text", "optional": True},
    settings.padding: {"input": "number", "unit": "B", "min": 0, "max": settings.MAX_PADDING, "whole": True},
    faults.times: {"input": "number", "min": 1, "whole": True, "optional": True},
    faults.whole: {"input": "number", "whole": True, "optional": True},
    faults.retry_after: {**_SECONDS, "optional": True},
    faults.selector: {"input": "text", "optional": True},
    faults.location: {"input": "text"},
    faults.names: {"input": "names"},
    faults.mapping: {"input": "object"},
}


def _input(attribute: attrs.Attribute[Any], initial: object = None) -> dict[str, object]:
    known = _INPUTS.get(attribute.validator, {"input": "object"})
    usual = None if isinstance(attribute.default, attrs.Factory) else attribute.default  # type: ignore[arg-type]
    return {"name": attribute.name, "default": usual, "initial": initial, **known}


def _settings(system: System[Any]) -> list[dict[str, object]]:
    shown = settings.public(system.settings)
    given: SystemSettings = system.settings
    known = [attribute for attribute in attrs.fields(type(given)) if attribute.name in shown]
    # The system's own settings come first: its tokens' lifetimes.
    return [_input(attribute) for attribute in sorted(known, key=lambda attribute: attribute.inherited)]


def _kinds(plan: FaultPlan) -> list[dict[str, object]]:
    fields = attrs.fields_dict(Fault)
    return [
        {"kind": kind, "details": [_input(fields[name], initial) for name, initial in DETAILS[kind].items()]}
        for kind in sorted(plan.kinds)
        if "answer" not in DETAILS[kind]  # a callable can be set only in Python
    ]


def describe(systems: Iterable[System[Any]]) -> dict[str, object]:
    """Return all switches by system, as JSON."""
    fields = attrs.fields_dict(Fault)
    return {
        "systems": [
            {
                "name": system.name,
                "title": system.title,
                "steps": sorted(system.steps),
                "settings": _settings(system),
                "plans": [
                    {
                        "name": "token_faults",
                        "kinds": _kinds(system.token_faults),
                        "scope": [_input(fields["times"]), {**_input(fields["step"]), "choices": system.requests}],
                    },
                    {
                        "name": "api_faults",
                        "kinds": _kinds(system.api_faults),
                        "scope": [_input(fields["times"]), _input(fields["path"])],
                    },
                ],
            }
            for system in systems
        ]
    }
