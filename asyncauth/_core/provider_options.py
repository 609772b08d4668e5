"""Reads what a provider may declare besides: `ProviderOptions`, each with its default, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncauth.provider import DPoPProver, Provider

__all__ = ["OptionValues", "options_of"]


@attrs.frozen
class OptionValues:
    """The values of a provider's `ProviderOptions`, whose documentation says what they mean."""

    deadline: float | None = None
    needs_lock: bool = False
    prover: DPoPProver | None = None


_DEFAULTS = OptionValues()


def options_of(provider: Provider) -> OptionValues:
    """Return what a provider declares.

    Raises:
        ConfigurationError: A value can't work.
    """
    deadline: object = getattr(provider, "deadline", _DEFAULTS.deadline)
    needs_lock: object = getattr(provider, "needs_lock", _DEFAULTS.needs_lock)
    prover: DPoPProver | None = getattr(provider, "prover", _DEFAULTS.prover)
    if deadline is not None and (
        isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not deadline > 0  # NaN too
    ):
        raise ConfigurationError("the provider's deadline must be a positive number of seconds, or None")
    if not isinstance(needs_lock, bool):
        raise ConfigurationError("the provider's needs_lock must be True or False")
    if prover is not None and not all(callable(getattr(prover, call, None)) for call in ("proof", "nonce", "note")):
        raise ConfigurationError("the provider's prover must have the methods proof, nonce and note, or be None")
    values = OptionValues(deadline, needs_lock, prover)
    return _DEFAULTS if values == _DEFAULTS else values  # most have none: one object for all of them
