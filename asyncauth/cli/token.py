"""``asyncauth token``: obtain a token, and tell what is known about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asyncauth._base.printable import printable
from asyncauth._base.redaction import Redactor
from asyncauth.cli.credentials import Given, provider_of
from asyncauth.cli.options import CREDENTIALS_HELP, AsJson, BaseUrl, Environment, KeyringService, Timeout, Verbose
from asyncauth.cli.outcome import ExitCode, conclude
from asyncauth.cli.shown import as_json as written
from asyncauth.cli.systems import System, place_of
from asyncauth.cli.times import in_words, moment
from asyncauth.manager import TokenManager
from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    from asyncauth.token import Token

__all__ = ["token"]

_MINUTE = 60


def token(
    system: Annotated[System, typer.Argument(help="Whose token.", show_default=False)],
    *,
    environment: Environment = None,
    base_url: BaseUrl = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself as well.")] = False,
    keyring: KeyringService = None,
    as_json: AsJson = False,
    timeout: Timeout = 30.0,
    verbose: Verbose = False,
) -> None:
    """Obtain a token; print its times and fingerprint."""

    def work() -> int:
        given = provider_of(system, keyring=keyring, **place_of(system, environment, base_url))
        obtained = asyncio.run(TokenManager(given.provider, policy=RefreshPolicy(deadline=timeout)).token())
        facts = _facts(system, given, obtained)
        if show:
            facts["access_token"] = obtained.value
        typer.echo(written(facts) if as_json else _lines(facts))
        return ExitCode.OK

    conclude(work, verbose=verbose)


token.__doc__ = f"""{token.__doc__}

The token itself is printed with --show only.

{CREDENTIALS_HELP}

\b
Examples:
  asyncauth token peakly
  asyncauth token pago-facil -e development --keyring asyncauth-development
  asyncauth token peakly --json | jq .expires_at
  curl -H "Authorization: Bearer $(asyncauth token peakly --show --json | jq -r .access_token)" URL

Exit codes: 0 success, 2 wrong usage, 3 no token could be had.
"""


def _facts(system: System, given: Given, obtained: Token) -> dict[str, Any]:
    # Both are the server's words, which may repeat the token.
    redactor = Redactor((obtained.value, obtained.refresh_token or ""))
    return {
        "system": system.value,
        "credential": given.credential,
        "fingerprint": obtained.fingerprint,
        "token_type": redactor.text(obtained.token_type),
        "issued_at": moment(obtained.issued_at),
        "expires_at": moment(obtained.expires_at),
        "lifetime": None if obtained.lifetime is None else round(obtained.lifetime, 3),
        "scope": None if obtained.scope is None else redactor.text(obtained.scope),
        "refresh_token": obtained.refresh_token is not None,
        "origins": list(given.provider.origins),
    }


def _lines(facts: dict[str, Any]) -> str:
    lifetime = facts["lifetime"]
    shown = {
        **facts,
        "expires_at": facts["expires_at"] or "unknown: used until the server refuses it",
        "lifetime": "unknown" if lifetime is None else f"{lifetime:.10g} s{_roughly(lifetime)}",
        "scope": printable(facts["scope"] or "") or "not stated",
        "refresh_token": "yes" if facts["refresh_token"] else "no",
        "origins": " ".join(facts["origins"]),
    }
    return "\n".join(f"{name.replace('_', ' '):<14} {value}" for name, value in shown.items())


def _roughly(seconds: float) -> str:
    return f" ({in_words(seconds)})" if seconds >= _MINUTE else ""
