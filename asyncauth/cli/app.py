"""The Typer application: its commands, and what they have in common."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import sys
from typing import Annotated, Any

import typer
import typer.core

__all__ = ["app", "run"]

_COMMANDS = {
    "demo": "asyncauth.cli.demo.command",
    "sandbox": "asyncauth.cli.sandbox",
    "token": "asyncauth.cli.token",
    "request": "asyncauth.cli.request",
    "status": "asyncauth.cli.status",
    "logout": "asyncauth.cli.logout",
    "doctor": "asyncauth.cli.doctor.command",
}
"""By name, in the help's order: the module that has the function of that name."""

# Typer's own tracebacks show the values of local variables, passwords among them. Its boxes around usage errors go as
# well: an error is a line.
_SETTINGS: Any = {
    "pretty_exceptions_enable": False,
    "pretty_exceptions_show_locals": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _Commands(typer.core.TyperGroup):
    """Imports a command when it is asked for: half the time of ``asyncauth token`` were the others' imports."""

    # Their contexts and commands are Click's, or those of the copy of it that Typer has: by its version.

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        alone = typer.Typer(**_SETTINGS, add_completion=False)
        alone.command(cmd_name)(getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name))
        return typer.main.get_command(alone)


app = typer.Typer(cls=_Commands, name="asyncauth", no_args_is_help=True, **_SETTINGS)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (Typer calls it)
    if wanted:
        typer.echo(f"asyncauth {importlib.metadata.version('asyncauth')}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Obtain bearer tokens, send requests with them, and find out why there is none.

    Each command has examples: asyncauth COMMAND --help.

    \b
    Exit codes:
      0    success
      1    a request failed; a store can't be read; a port is taken; the doctor found a failure;
           a token stays valid
      2    wrong usage, or no credentials
      3    no token could be obtained
      130  Ctrl-C
    """  # noqa: D301 (Click's own sign for lines that stay as they are)


def run() -> int:
    """Run the command line with the process's arguments; return the exit code.

    A character that the terminal's encoding lacks is printed as a question mark: under some locales that is all but
    ASCII, and what a command has to say must not end in a ``UnicodeEncodeError``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="asyncauth")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
