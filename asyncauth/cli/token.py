"""``asyncauth token``: obtain a token, and tell what is known about it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asyncauth.cli.credentials import Given, System, provider_of
from asyncauth.cli.options import CREDENTIALS_HELP, BaseUrl, Environment, Timeout, Verbose
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.manager import TokenManager
from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    from asyncauth.token import Token

__all__ = ["place_of", "token"]

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def token(
    system: Annotated[System, typer.Argument(help="Whose token.", show_default=False)],
    *,
    environment: Environment = None,
    base_url: BaseUrl = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Timeout = 30.0,
    verbose: Verbose = False,
) -> None:
    """Obtain a token; print its times and fingerprint."""

    def work() -> int:
        given = provider_of(system, **place_of(environment, base_url))
        obtained = asyncio.run(TokenManager(given.provider, policy=RefreshPolicy(deadline=timeout)).token())
        facts = _facts(system, given, obtained)
        if show:
            facts["access_token"] = obtained.value
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else _lines(facts))
        return ExitCode.OK

    conclude(work, verbose=verbose)


token.__doc__ = f"""{token.__doc__}

The token itself is printed with --show only.

{CREDENTIALS_HELP}

Exit codes: 0 success, 2 wrong usage, 3 no token could be had.
"""


def place_of(environment: str | None, base_url: str | None) -> dict[str, Any]:
    """Return a provider's arguments for where its token comes from.

    Raises:
        Problem: Two places were given.
    """
    if environment is not None and base_url is not None:
        raise Problem("--environment and --base-url exclude each other")
    if base_url is not None:
        return {"base_url": base_url}
    return {} if environment is None else {"environment": environment}


def _facts(system: System, given: Given, obtained: Token) -> dict[str, Any]:
    return {
        "system": system.value,
        "credential": given.credential,
        "fingerprint": obtained.fingerprint,
        "token_type": obtained.token_type,
        "issued_at": _moment(obtained.issued_at),
        "expires_at": _moment(obtained.expires_at),
        "lifetime": None if obtained.lifetime is None else round(obtained.lifetime, 3),
        "scope": obtained.scope,
        "refresh_token": obtained.refresh_token is not None,
        "origins": list(given.provider.origins),
    }


def _moment(epoch: float | None) -> str | None:
    """Return an instant as RFC 3339 writes it, to the second."""
    if epoch is None:
        return None
    try:
        return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # further away than a calendar goes
        return f"{epoch:.0f}"


def _lines(facts: dict[str, Any]) -> str:
    lifetime = facts["lifetime"]
    shown = {
        **facts,
        "expires_at": facts["expires_at"] or "unknown: used until the server refuses it",
        "lifetime": "unknown" if lifetime is None else f"{lifetime:.10g} s{_in_words(lifetime)}",
        "scope": "".join(each if each.isprintable() else " " for each in facts["scope"] or "") or "not stated",
        "refresh_token": "yes" if facts["refresh_token"] else "no",
        "origins": " ".join(facts["origins"]),
    }
    return "\n".join(f"{name.replace('_', ' '):<14} {value}" for name, value in shown.items())


def _in_words(seconds: float) -> str:
    if seconds < _MINUTE:
        return ""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f" ({seconds / unit:.1f} {name})"
    return ""
