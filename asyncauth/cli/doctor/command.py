"""``asyncauth doctor``: what stands between this machine and a token, line by line."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer
from yarl import URL

from asyncauth._base.printable import printable
from asyncauth.cli import shown
from asyncauth.cli.credentials import Credentials
from asyncauth.cli.doctor.finding import Finding, Mark, skip
from asyncauth.cli.doctor.login import login
from asyncauth.cli.doctor.network import reach
from asyncauth.cli.doctor.packages import packages
from asyncauth.cli.doctor.shape import shape
from asyncauth.cli.doctor.store import look_into
from asyncauth.cli.options import (
    CREDENTIALS_HELP,
    STORE_HELP,
    AsJson,
    BaseUrl,
    Encrypted,
    Environment,
    KeyringService,
    OptionalText,
    Patience,
    Prefix,
    Verbose,
)
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.cli.stores import choose
from asyncauth.cli.systems import HOSTS, OptionalSystem, System, place_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from asyncauth.cli.stores import Chosen

__all__ = ["doctor"]

_COLOURS = {Mark.OK: "green", Mark.SKIP: "blue", Mark.WARN: "yellow", Mark.FAIL: "red"}
_WIDTH = 22
"""Of the subjects' column."""


def doctor(
    system: Annotated[
        OptionalSystem, typer.Argument(help="Which system; default: those that have credentials.", show_default=False)
    ] = None,
    *,
    environment: Environment = None,
    base_url: BaseUrl = None,
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
        if system is None and (environment is not None or base_url is not None):
            raise Problem("--environment and --base-url are a system's: name it, too")
        stores = [choose(store, prefix=prefix, encrypted=encrypted, keyring=keyring) for _ in range(2)]
        patients = [
            _Patient(Credentials.found(each, keyring), place_of(each, environment, base_url))
            for each in _systems(system, keyring)
        ]
        visit = _Visit(patients, stores, timeout, login=not no_login, offline=offline)
        found = asyncio.run(_told(visit, quiet=as_json))
        count = Counter(finding.mark for finding in found)
        if as_json:
            facts = {"ok": not count[Mark.FAIL], "findings": [finding.as_dict() for finding in found]}
            typer.echo(shown.as_json(facts))
        else:
            typer.echo(_verdict(count[Mark.FAIL], count[Mark.WARN], looked=bool(patients)))
        return ExitCode.FAILED if count[Mark.FAIL] else ExitCode.OK

    conclude(work, verbose=verbose)


doctor.__doc__ = f"""{doctor.__doc__}

It looks at Python and the packages, the credentials' form, the way to the server (DNS, TCP,
TLS, HTTP), both clocks, the login (one try, so that a wrong password locks no account;
nothing that lives for years is made), and the store: whether it answers, can be written to
(a probe, deleted at once), locks, and who may read its files.

Each line begins with ok, skip, warn or FAIL; the last two say what to do.

{CREDENTIALS_HELP}

{STORE_HELP}

\b
Examples:
  asyncauth doctor
  asyncauth doctor peakly -e qa --no-login
  asyncauth doctor peakly --store /var/lib/shop/tokens
  asyncauth doctor pago-facil --json | jq '.findings[] | select(.mark == "fail")'

Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.
"""


@attrs.frozen
class _Patient:
    """A system that is looked at."""

    credentials: Credentials
    place: dict[str, Any]

    @property
    def origin(self) -> URL:
        """Where its tokens come from."""
        hosts = HOSTS[self.credentials.system]
        return URL(self.place.get("base_url") or hosts[self.place.get("environment", "production")]).origin()


@attrs.frozen
class _Visit:
    """What is to be looked at."""

    patients: Sequence[_Patient]
    stores: Sequence[Chosen | None]
    timeout: float
    login: bool
    offline: bool

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """Look at one thing after the other."""
        for finding in packages():
            yield finding
        if not self.patients:
            yield skip("credentials", "no system was named, and none has credentials: asyncauth doctor peakly")
        for patient in self.patients:
            async for finding in self._system(patient):
                yield finding
        chosen, again = self.stores
        if chosen is not None and again is not None:
            for finding in await look_into(chosen, again, self.timeout, offline=self.offline):
                yield finding

    async def _system(self, patient: _Patient) -> AsyncGenerator[Finding, None]:
        name = patient.credentials.system.value
        shaped = shape(patient.credentials, time.time())
        for finding in shaped:
            yield finding
        if self.offline:
            yield skip(name, f"{patient.origin}: not asked (--offline)")
            return
        way = await reach(name, patient.origin, self.timeout)
        for finding in way:
            yield finding
        subject = f"{name} login"
        if not self.login:
            yield skip(subject, "not tried (--no-login)")
        elif any(finding.mark is Mark.FAIL for finding in shaped):
            yield skip(subject, "not tried with credentials that can't be right")
        elif any(finding.mark is Mark.FAIL and not finding.subject.endswith(" clock") for finding in way):
            yield skip(subject, "not tried: the server can't be reached")
        else:
            yield await login(patient.credentials, patient.place, self.timeout)


async def _told(visit: _Visit, *, quiet: bool) -> list[Finding]:
    """Return all findings; print each as it comes, if asked to."""
    found: list[Finding] = []
    async for finding in visit.findings():
        found.append(finding)
        if not quiet:
            typer.echo(_line(finding))
            sys.stdout.flush()
    return found


def _systems(system: System | None, keyring: str | None) -> list[System]:
    if system is not None:
        return [system]
    return [each for each in System if any(Credentials.found(each, keyring).values.values())]


def _line(finding: Finding) -> str:
    mark = f"{finding.mark:<4}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        mark = typer.style(mark, fg=_COLOURS[finding.mark], bold=finding.mark is Mark.FAIL)
    do = "" if finding.do is None else f"; {finding.do}"
    return f"{mark}  {finding.subject:<{_WIDTH}}  {printable(finding.says + do)}"


def _verdict(failures: int, warnings: int, *, looked: bool) -> str:
    if not failures and not warnings:
        return "All is well." if looked else "Nothing failed; no system was looked at."
    parts = [
        f"{count} {word if count == 1 else f'{word}s'}"
        for count, word in ((failures, "failure"), (warnings, "warning"))
        if count
    ]
    return f"{' and '.join(parts)}: see above."
