"""Reads what a provider may declare besides: `ProviderOptions`, each with its default, checked."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, NamedTuple

from asyncauth._base.printable import name_of
from asyncauth._http.carrier import IN_AUTHORIZATION, PLAIN, Carrier
from asyncauth._http.origin import insecure_hosts_of, is_served
from asyncauth.errors import ConfigurationError

if TYPE_CHECKING:
    from yarl import URL

    from asyncauth.provider import DPoPProver, Provider

__all__ = ["OptionValues", "endpoint_of", "options_of"]


class OptionValues(NamedTuple):
    """The values of a provider's `ProviderOptions`, whose documentation says what they mean."""

    deadline: float | None = None
    needs_lock: bool = False
    prover: DPoPProver | None = None
    carrier: Carrier = PLAIN
    insecure_hosts: frozenset[str] = frozenset()
    step: str | None = None
    header: str | None = PLAIN.header
    """The header that the token is in, whatever the request; ``None``: there is none, or it goes with a proof."""

    def header_for(self, url: str | URL | None, origins: tuple[str, ...]) -> str | None:
        """Return the header that carries the token to a URL; ``None``: it may not go there.

        Args:
            url: The whole URL; ``None``: any.
            origins: Where the token may be sent.

        Raises:
            ConfigurationError: See `TokenManager.headers`.
            InsecureTransport: See there, too.
        """
        if self.prover is not None:
            raise ConfigurationError("a DPoP token goes with a proof for each request", advice="let BearerAuth send it")
        if self.header is None:
            raise ConfigurationError(
                "no header carries this token",
                advice="let BearerAuth send it, or pass"
                f" params={{{self.carrier.name!r}: (await manager.token()).value}}",
            )
        return self.header if url is None or is_served(url, origins, self.insecure_hosts) else None


_DEFAULTS = OptionValues()

_log = logging.getLogger("asyncauth.manager")


def endpoint_of(provider: Provider) -> str | None:
    """Return the address of a provider's token endpoint; ``None``: it declares none."""
    endpoint: object = getattr(provider, "token_endpoint", None)
    return endpoint if isinstance(endpoint, str) else None


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
    carried_as: object = getattr(provider, "carried_as", IN_AUTHORIZATION)
    carrier = Carrier.of(carried_as, getattr(provider, "scheme", None), bound=prover is not None)
    if carrier.place == "query":
        _warn_of_query(name_of(provider.name), carrier)
    insecure_hosts = insecure_hosts_of(getattr(provider, "insecure_hosts", _DEFAULTS.insecure_hosts))
    step: object = getattr(provider, "step", _DEFAULTS.step)
    name = name_of(step) if isinstance(step, str) else None  # shown to people only: other values are ignored
    header = carrier.header if prover is None else None
    values = OptionValues(deadline, needs_lock, prover, carrier, insecure_hosts, name, header)
    return _DEFAULTS if values == _DEFAULTS else values  # most have none: one object for all of them


@functools.lru_cache(maxsize=256)  # a pool makes a manager per tenant
def _warn_of_query(provider: str, carrier: Carrier) -> None:
    """Warn once per provider's name that logs show a token in a URL."""
    _log.warning(
        "%s: the token is sent in the URL (%s), which the logs of servers and proxies show."
        " Declare a header if the API takes one (RFC 6750 section 2.3, RFC 9700 section 4.3.2)",
        provider,
        carrier,
    )
