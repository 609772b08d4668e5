"""``asyncauth doctor``: what stands between this machine and a token, line by line."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from asyncauth._base.printable import printable
from asyncauth.cli import shown
from asyncauth.cli.credentials import PAGO_FACIL_VARIABLES, PEAKLY_VARIABLES
from asyncauth.cli.doctor.finding import Finding, Mark, skip
from asyncauth.cli.doctor.packages import packages
from asyncauth.cli.doctor.patient import Patient, patients_of
from asyncauth.cli.doctor.store import look_into
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
    Patience,
    Prefix,
    Scope,
    TokenUrl,
    Verbose,
    systems_for_completion,
)
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.cli.run import run
from asyncauth.cli.stores import STORE_VARIABLE, choose
from asyncauth.cli.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from asyncauth.cli.stores import Chosen

__all__ = ["doctor"]

_COLOURS = {Mark.OK: "green", Mark.SKIP: "blue", Mark.WARN: "yellow", Mark.FAIL: "red"}
_NOTHING_SET = (
    f"nothing to check: no credentials are set, and no store is named. Set {' and '.join(PEAKLY_VARIABLES)}, or"
    f" {' and '.join(PAGO_FACIL_VARIABLES[-2:])}; or name a system, module:attribute of your own provider, --issuer,"
    " --token-url or --store"
)
_WIDTH = 22
"""Of the subjects' column."""


def doctor(
    whose: Annotated[
        OptionalText,
        typer.Argument(
            metavar="WHOSE",
            help="peakly, pago-facil, or module:attribute; default: the systems that have credentials.",
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
    store: Annotated[
        OptionalText, typer.Option("--store", metavar="STORE", help="A folder or a URL.", show_default=False)
    ] = None,
    prefix: Prefix = "asyncauth:",
    encrypted: Encrypted = False,
    keyring: KeyringService = None,
    no_login: Annotated[bool, typer.Option("--no-login", help="Send no credentials.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Send nothing at all.")] = False,
    as_json: AsJson = False,
    timeout: Patience = 5.0,
    verbose: Verbose = False,
) -> None:
    """Find out why there is no token: what is wrong, and what to do."""

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
        if target.name == "" and (environment is not None or base_url is not None):
            raise Problem("--environment and --base-url need a system: peakly or pago-facil")
        stores = [choose(store, prefix=prefix, encrypted=encrypted, keyring=keyring) for _ in range(2)]
        patients = patients_of(target)
        if not patients and stores[0] is None:
            raise Problem(_NOTHING_SET)
        visit = _Visit(patients, stores, timeout, login=not no_login, offline=offline)
        found = run(_told(visit, quiet=as_json))
        count = Counter(finding.mark for finding in found)
        if as_json:
            facts = {"ok": not count[Mark.FAIL], "findings": [finding.as_dict() for finding in found]}
            typer.echo(shown.as_json(facts))
        else:
            typer.echo(_verdict(count[Mark.FAIL], count[Mark.WARN], looked=bool(patients)))
        return ExitCode.FAILED if count[Mark.FAIL] else ExitCode.OK

    conclude(work, verbose=verbose)


doctor.__doc__ = f"""{doctor.__doc__}

It checks, in this order:

\b
  credentials  their form
  server       DNS, TCP, TLS, HTTP
  clocks       a minute apart is a failure, unless the login works
  login        one try, so that a wrong password locks no account;
               no token that is valid for years is created
  store        whether it answers, can be written to (a test entry, deleted at
               once) and locks, and who may read its files
  Python       and the packages

Each line begins with ok, skip, warn or FAIL. The last two say what to do.

{CREDENTIALS_HELP}

{STORE_HELP}

\b
Examples:
  asyncauth doctor
  asyncauth doctor peakly -e qa --no-login
  asyncauth doctor peakly --store /var/lib/shop/tokens
  asyncauth doctor shop:manager
  asyncauth doctor --issuer https://login.example.com
  asyncauth doctor pago-facil --json | jq '.findings[] | select(.mark == "fail")'

Exit codes: 0 no check failed, 1 one did, 2 wrong usage, or nothing to check: no system named, no
credentials, no store.
"""


@attrs.frozen
class _Visit:
    """What is to be looked at."""

    patients: Sequence[Patient]
    stores: Sequence[Chosen | None]
    timeout: float
    login: bool
    offline: bool

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """Look at one thing after the other."""
        if not self.patients:
            yield skip("credentials", "no system was named, and none has credentials: asyncauth doctor peakly")
        for patient in self.patients:
            async for finding in patient.findings(self.timeout, login=self.login, offline=self.offline):
                yield finding
        chosen, again = self.stores
        for patient in self.patients:
            if chosen is None and patient.store is not None:
                # Its lock is tried with a second store, as another process has it, which only a name gives.
                says = f"{patient.store}: not checked; name it with --store, or in {STORE_VARIABLE}"
                yield skip(f"{patient.name} store", says)
        if chosen is not None and again is not None:
            for finding in await look_into(chosen, again, self.timeout, offline=self.offline):
                yield finding
        for finding in packages():  # last: what keeps a token away is seldom here
            yield finding


async def _told(visit: _Visit, *, quiet: bool) -> list[Finding]:
    """Return all findings; print each as it comes, if asked to."""
    found: list[Finding] = []
    async for finding in visit.findings():
        found.append(finding)
        if not quiet:
            typer.echo(_line(finding))
            sys.stdout.flush()
    return found


def _line(finding: Finding) -> str:
    mark = f"{finding.mark:<4}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        mark = typer.style(mark, fg=_COLOURS[finding.mark], bold=finding.mark is Mark.FAIL)
    do = "" if finding.do is None else f"; {finding.do}"
    return f"{mark}  {finding.subject:<{_WIDTH}}  {printable(finding.says + do)}"


def _verdict(failures: int, warnings: int, *, looked: bool) -> str:
    if not failures and not warnings:
        return "All is well." if looked else "Nothing failed; no system was checked."
    parts = [
        f"{count} {word if count == 1 else f'{word}s'}"
        for count, word in ((failures, "failure"), (warnings, "warning"))
        if count
    ]
    return f"{' and '.join(parts)}: see above."
