"""``asyncauth status``: which tokens a store holds, and how long they live. Only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from asyncauth._base.printable import printable
from asyncauth.cli import shown
from asyncauth.cli.credentials import Credentials
from asyncauth.cli.entries import entries_of
from asyncauth.cli.options import (
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
from asyncauth.cli.run import run
from asyncauth.cli.stores import STORE_VARIABLE, choose
from asyncauth.cli.systems import OptionalSystem, System, place_of
from asyncauth.cli.times import in_words, moment
from asyncauth.cli.whose import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncauth.cli.entries import Entry

__all__ = ["status"]

_SHORT = 12
"""Digits of a key that are shown: enough to tell entries apart."""
_COLUMNS = ("key", "state", "left", "ends at", "refresh token", "kept for", "fingerprint")


def status(
    store: Annotated[
        OptionalText, typer.Argument(metavar="[STORE]", help="A folder or a URL.", show_default=False)
    ] = None,
    *,
    system: Annotated[
        OptionalSystem, typer.Option("--as", help="Show only this system's entries.", show_default=False)
    ] = None,
    account: Annotated[
        OptionalText,
        typer.Option(
            "--account", metavar="NAME", help="With --as: the account; default: the username.", show_default=False
        ),
    ] = None,
    environment: Environment = None,
    base_url: BaseUrl = None,
    prefix: Prefix = "asyncauth:",
    encrypted: Encrypted = False,
    keyring: KeyringService = None,
    as_json: AsJson = False,
    timeout: Patience = 5.0,
    verbose: Verbose = False,
) -> None:
    """Show which tokens a store holds, and how long they live."""

    def work() -> int:
        chosen = choose(store, prefix=prefix, encrypted=encrypted, keyring=keyring)
        if chosen is None:
            raise Problem(f"which store? Name a folder or a redis:// URL, or set {STORE_VARIABLE}")
        if chosen.folder is not None and not chosen.folder.is_dir():
            raise Problem(f"there is no folder {chosen.folder}: nothing was stored there yet", ExitCode.FAILED)
        names = _names(system, account, environment, base_url, keyring)
        entries = run(entries_of(chosen, names, timeout))
        if system is not None:
            entries = [entry for entry in entries if entry.whose is not None]
        if as_json:
            facts: dict[str, Any] = {"store": chosen.title, "entries": [entry.as_dict() for entry in entries]}
            typer.echo(shown.as_json(facts))
        else:
            typer.echo("\n".join(map(printable, lines(chosen.title, entries))))
        missing = system is not None and not entries
        return ExitCode.FAILED if missing or any(entry.token is None for entry in entries) else ExitCode.OK

    conclude(work, verbose=verbose)


status.__doc__ = f"""{status.__doc__}

The command only reads: it takes no lock, and changes and deletes nothing. It shows no token.

A key is a hash of system, server and account. --as, with --account and --environment or --base-url,
lists the entries of one account and names them.

{STORE_HELP}

The states: usable; expired; refused (the API answered 401 to the access token, and the refresh
token is kept); rejected (there is no token: the server rejected the credential); unreadable
(damaged, or encrypted with another key: a manager treats it as absent).

\b
Examples:
  asyncauth status /var/lib/shop/tokens
  asyncauth status redis://localhost:6379/0 --as peakly -e qa --account me@example.com
  ASYNCAUTH_STORE=redis://:password@redis.internal/0 asyncauth status --json

Exit codes: 0 the store was read, 1 it could not be read, an entry is unreadable, or --as found none, 2 wrong usage.
"""


def _names(
    system: System | None, account: str | None, environment: str | None, base_url: str | None, keyring: str | None
) -> dict[str, str]:
    """Return a name for each key that the user asks about."""
    if system is None:
        if account is not None or environment is not None or base_url is not None:
            raise Problem("--account, --environment and --base-url need --as")
        return {}
    place = place_of(system, environment, base_url)
    if account is None:
        credentials = Credentials.found(system, keyring)
        account = credentials.values.get(credentials.login[0])
        if not account:
            raise Problem(f"whose entries? Give --account, or set {credentials.login[0]}")
    return keys_of(system, account, place)


def lines(title: str, entries: Sequence[Entry]) -> list[str]:
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    if not entries:
        return [f"{title}: {count}"]
    files, named = entries[0].mode is not None, any(entry.whose for entry in entries)
    head = [*_COLUMNS, *(["mode"] if files else []), *(["whose"] if named else [])]
    rows = [[*_row(entry), *([_mode(entry)] if files else []), entry.whose or ""][: len(head)] for entry in entries]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        f"{title}: {count}",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ),
        *(f"{entry.key[:_SHORT]}: {entry.flaw}" for entry in entries if entry.flaw is not None),
    ]


def _row(entry: Entry) -> list[str]:
    token = entry.token
    if token is None:
        return [entry.key[:_SHORT], entry.state, "", "", "", "", ""]
    return [
        entry.key[:_SHORT],
        entry.state,
        "unknown" if entry.left is None else in_words(entry.left) if entry.left > 0 else "",
        "unknown" if token.expires_at is None else "" if entry.refused else str(moment(token.expires_at)),
        "no" if token.refresh_token is None else "yes",
        "unknown" if entry.kept is None else in_words(entry.kept),
        entry.fingerprint or "",
    ]


def _mode(entry: Entry) -> str:
    if entry.mode is None:
        return ""
    return f"{entry.mode:04o}{' (others can read it)' if entry.mode & 0o077 else ''}"
