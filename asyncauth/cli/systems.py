"""The systems that the command line knows, and where their tokens come from."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Optional, TypeAlias

from asyncauth.cli.addresses import secure_url
from asyncauth.cli.outcome import Problem
from asyncauth.providers import pago_facil, peakly

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["HOSTS", "TITLES", "OptionalSystem", "System", "place_of"]


class System(enum.StrEnum):
    """The systems that the command line knows."""

    PEAKLY = "peakly"
    PAGO_FACIL = "pago-facil"


# The oldest Typer that is supported knows no other spelling.
OptionalSystem: TypeAlias = Optional[System]  # noqa: UP045

TITLES = {System.PEAKLY: "Peakly", System.PAGO_FACIL: "Pago Fácil"}
HOSTS = {System.PEAKLY: peakly.HOSTS, System.PAGO_FACIL: pago_facil.HOSTS}


def place_of(
    system: System | None, environment: str | None, base_url: str | None, insecure_hosts: Collection[str] = ()
) -> dict[str, Any]:
    """Return a provider's arguments for where its token comes from.

    They are checked here, so that an error names what the user wrote: the option, not the argument.

    Args:
        system: Whose environment it is; ``None`` = not known yet.
        environment: ``--environment``.
        base_url: ``--base-url``.
        insecure_hosts: ``--insecure-host``, by `insecure_hosts_of`.

    Raises:
        Problem: Two places were given, the system has no such environment, or the URL is plain http to another machine.
        ConfigurationError: The URL is not an absolute one.
    """
    if environment is not None and base_url is not None:
        raise Problem("--environment and --base-url exclude each other")
    if base_url is not None:
        secure_url(base_url, "--base-url", insecure_hosts)
        return {"base_url": base_url, "insecure_hosts": insecure_hosts}
    if environment is None:
        return {}
    if system is not None and environment not in HOSTS[system]:
        known = " or ".join(HOSTS[system])
        raise Problem(f"{system.value} has no environment {environment!r}: write {known}, or give --base-url")
    return {"environment": environment}
