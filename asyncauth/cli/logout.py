"""``asyncauth logout``: revokes the tokens of an account that a store holds, and deletes its entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asyncauth._base.printable import printable
from asyncauth.cli.options import (
    CREDENTIALS_HELP,
    STORE_HELP,
    AsJson,
    Audience,
    BaseUrl,
    ClientAuthentication,
    Encrypted,
    Environment,
    InsecureHosts,
    Issuer,
    KeyringService,
    OptionalText,
    Prefix,
    RevocationUrl,
    Scope,
    Timeout,
    TokenUrl,
    Verbose,
    systems_for_completion,
)
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.cli.run import run
from asyncauth.cli.shown import as_json as written
from asyncauth.cli.stores import STORE_VARIABLE, choose
from asyncauth.cli.target import Target
from asyncauth.cli.times import moment
from asyncauth.manager import TokenManager
from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    from asyncauth.cli.stores import Chosen
    from asyncauth.cli.target import Given
    from asyncauth.status import Revocation, TokenRevocation

__all__ = ["logout"]


def logout(
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
    store: Annotated[
        OptionalText, typer.Option("--store", metavar="STORE", help="A folder or a URL.", show_default=False)
    ] = None,
    environment: Environment = None,
    base_url: BaseUrl = None,
    issuer: Issuer = None,
    token_url: TokenUrl = None,
    revocation_url: RevocationUrl = None,
    scope: Scope = None,
    audience: Audience = None,
    client_auth: ClientAuthentication = None,
    insecure_host: InsecureHosts = None,
    prefix: Prefix = "asyncauth:",
    encrypted: Encrypted = False,
    keyring: KeyringService = None,
    as_json: AsJson = False,
    timeout: Timeout = 30.0,
    verbose: Verbose = False,
) -> None:
    """Revoke the tokens that a store holds for an account, and delete them."""

    def work() -> int:
        target = Target(
            whose=whose,
            environment=environment,
            base_url=base_url,
            issuer=issuer,
            token_url=token_url,
            revocation_url=revocation_url,
            scope=scope,
            audience=audience,
            client_auth=client_auth,
            insecure_hosts=insecure_host,
            keyring=keyring,
        )
        given = target.given()
        chosen = None
        if not isinstance(given.source, TokenManager):
            chosen = choose(store, prefix=prefix, encrypted=encrypted, keyring=keyring)
        elif store is not None:
            raise Problem(f"--store is not for a manager: {target.name} has a store of its own, or none")
        revocation = run(_manager(given, chosen, timeout).revoke())
        title = None if chosen is None else chosen.title
        facts = _facts(title, revocation)
        typer.echo(written(facts) if as_json else "\n".join(map(printable, _lines(title, revocation))))
        return ExitCode.OK if revocation.complete and revocation.tokens else ExitCode.FAILED

    conclude(work, verbose=verbose)


logout.__doc__ = f"""{logout.__doc__}

First the server revokes the tokens (RFC 7009), if it has an endpoint for that. An OAuth server's
is found by --issuer or given by --revocation-url; Peakly and Pago Fácil have none. Then the entry
is deleted, for all processes that use the store. The output names each token that stays valid,
and until when. If module:attribute is a TokenManager, its own store is used.

Give the same options that your programs use, scope and audience included: they select the entry.

{CREDENTIALS_HELP}

{STORE_HELP}

\b
Examples:
  asyncauth logout peakly --store /var/lib/shop/tokens
  asyncauth logout --issuer https://login.example.com --scope read --store redis://localhost/0
  asyncauth logout shop:manager --json

Exit codes: 0 all tokens were revoked and the entry was deleted, 1 a token stays valid, the store
can't be used, or it holds no token of this account, 2 wrong usage or no credentials.
"""


def _manager(given: Given, chosen: Chosen | None, timeout: float) -> TokenManager:
    """Return what knows the tokens.

    Raises:
        Problem: Nothing does.
    """
    if isinstance(given.source, TokenManager):
        return given.source
    if chosen is None:
        raise Problem(f"which store holds the tokens? Name it with --store, or set {STORE_VARIABLE}")
    if chosen.folder is not None and not chosen.folder.is_dir():
        raise Problem(f"there is no folder {chosen.folder}: nothing was stored there yet", ExitCode.FAILED)
    if given.source.identity is None:
        raise Problem(f"{given.credential} does not say which account to log out: set username and password instead")
    return TokenManager(given.source, store=chosen.store, policy=RefreshPolicy(deadline=timeout))


def _facts(title: str | None, revocation: Revocation) -> dict[str, Any]:
    tokens = [{**each, "expires_at": moment(each["expires_at"])} for each in revocation.as_dict()["tokens"]]
    return {"store": title, "tokens": tokens, "entry": revocation.store or "deleted", "complete": revocation.complete}


def _lines(title: str | None, revocation: Revocation) -> list[str]:
    lines = [f"{each.kind.replace('_', ' '):<14} {_said(each)}" for each in revocation.tokens]
    if title is not None:
        gone = "deleted" if revocation.tokens else "none with a valid token"
        lines.append(f"{'entry':<14} {gone if revocation.store is None else 'not deleted: ' + revocation.store}")
        lines.insert(0, f"{'store':<14} {title}")
    return lines or ["no token is known: nothing was revoked"]


def _said(token: TokenRevocation) -> str:
    """Return what became of a token."""
    name = token.provider if token.fingerprint is None else f"{token.provider} {token.fingerprint}"
    if token.error is None:
        return f"{name} revoked"
    until = "with an unknown end" if token.expires_at is None else f"until {moment(token.expires_at)}"
    return f"{name} STAYS VALID, {until}: {token.error}"
