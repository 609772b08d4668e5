"""``asyncauth token``: obtain a token, and tell what is known about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asyncauth._base.printable import printable
from asyncauth._base.redaction import Redactor
from asyncauth.cli.options import (
    CREDENTIALS_HELP,
    AsJson,
    Audience,
    BaseUrl,
    ClientAuthentication,
    Environment,
    InsecureHosts,
    Issuer,
    KeyringService,
    OptionalText,
    Scope,
    Timeout,
    TokenUrl,
    Verbose,
    systems_for_completion,
)
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.cli.run import run
from asyncauth.cli.shown import as_json as written
from asyncauth.cli.target import Given, Target
from asyncauth.cli.times import in_words, moment

if TYPE_CHECKING:
    from asyncauth.token import Token

__all__ = ["token"]

_MINUTE = 60


def token(
    whose: Annotated[
        OptionalText,
        typer.Argument(
            metavar="WHOSE",
            help="peakly, pago-facil, or module:attribute.",
            show_default=False,
            autocompletion=systems_for_completion,
        ),
    ] = None,
    *,
    environment: Environment = None,
    base_url: BaseUrl = None,
    issuer: Issuer = None,
    token_url: TokenUrl = None,
    scope: Scope = None,
    audience: Audience = None,
    client_auth: ClientAuthentication = None,
    insecure_host: InsecureHosts = None,
    show: Annotated[bool, typer.Option("--show", help="Also print the token itself.")] = False,
    keyring: KeyringService = None,
    as_json: AsJson = False,
    timeout: Timeout = 30.0,
    verbose: Verbose = False,
) -> None:
    """Obtain a token; print its times and fingerprint."""

    def work() -> int:
        target = Target(
            whose=whose,
            environment=environment,
            base_url=base_url,
            issuer=issuer,
            token_url=token_url,
            scope=scope,
            audience=audience,
            client_auth=client_auth,
            insecure_hosts=insecure_host,
            keyring=keyring,
        )
        given = target.given()
        facts = run(_obtain(target.name, given, timeout, show=show))
        typer.echo(written(facts) if as_json else _lines(facts))
        return ExitCode.OK

    conclude(work, verbose=verbose)


token.__doc__ = f"""{token.__doc__}

Only --show prints the token itself.

{CREDENTIALS_HELP}

\b
Examples:
  asyncauth token peakly
  asyncauth token pago-facil -e development --keyring asyncauth-development
  asyncauth token peakly --json | jq .expires_at
  asyncauth token shop:manager
  asyncauth token --issuer https://login.example.com --scope read
  curl -H "Authorization: Bearer $(asyncauth token peakly --show --json | jq -r .access_token)" URL

Exit codes: 0 success, 2 wrong usage or no credentials, 3 no token could be obtained.
"""


async def _obtain(name: str, given: Given, timeout: float, *, show: bool) -> dict[str, Any]:  # noqa: ASYNC109
    """Return what may be shown of a token; of one's own manager the token that it has, or obtains."""
    manager = given.manager(timeout)
    try:
        async with asyncio.timeout(None if manager is not given.source else timeout):
            obtained = await manager.token()
    except TimeoutError:
        late = f"{given.credential.removeprefix('that of ')} gave no token within {timeout:g} s"
    else:
        facts = _facts(name, given, obtained)
        return {**facts, "access_token": obtained.value} if show else facts
    finally:
        await manager.close()
    raise Problem(late, ExitCode.UNAUTHORIZED)


def _facts(system: str, given: Given, obtained: Token) -> dict[str, Any]:
    # Both are the server's words, which may repeat the token.
    redactor = Redactor((obtained.value, obtained.refresh_token or ""))
    return {
        "system": system,
        "credential": given.credential,
        "fingerprint": obtained.fingerprint,
        "token_type": redactor.text(obtained.token_type),
        "issued_at": moment(obtained.issued_at),
        "expires_at": moment(obtained.expires_at),
        "lifetime": None if obtained.lifetime is None else round(obtained.lifetime, 3),
        "scope": None if obtained.scope is None else redactor.text(obtained.scope),
        "refresh_token": obtained.refresh_token is not None,
        "origins": list(given.source.origins),
    }


def _lines(facts: dict[str, Any]) -> str:
    lifetime = facts["lifetime"]
    shown = {
        **facts,
        "expires_at": facts["expires_at"] or "unknown: used until the API answers 401",
        "lifetime": "unknown" if lifetime is None else f"{lifetime:.10g} s{_roughly(lifetime)}",
        "scope": printable(facts["scope"] or "") or "not stated",
        "refresh_token": "yes" if facts["refresh_token"] else "no",
        "origins": " ".join(facts["origins"]) or "none: no request carries it",
    }
    return "\n".join(f"{name.replace('_', ' '):<14} {value}" for name, value in shown.items())


def _roughly(seconds: float) -> str:
    return f" ({in_words(seconds)})" if seconds >= _MINUTE else ""
