"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Optional, TypeAlias

import typer

from asyncauth.cli.credentials import PAGO_FACIL_VARIABLES, PEAKLY_VARIABLES

__all__ = ["CREDENTIALS_HELP", "BaseUrl", "Environment", "OptionalText", "OptionalTexts", "Timeout", "Verbose"]

# The oldest Typer that is supported knows no other spelling.
OptionalText: TypeAlias = Optional[str]  # noqa: UP045
OptionalTexts: TypeAlias = Optional[list[str]]  # noqa: UP045

CREDENTIALS_HELP = f"""\b
Credentials come from environment variables:
  peakly      {PEAKLY_VARIABLES[0]} and {PEAKLY_VARIABLES[1]}
  pago-facil  {PAGO_FACIL_VARIABLES[0]}, or
              {PAGO_FACIL_VARIABLES[1]} (of login), or
              {PAGO_FACIL_VARIABLES[2]} and {PAGO_FACIL_VARIABLES[3]}
              (the first that is set is used; the last two, and the JWT, make Pago Fácil
              issue an access token that lives for years)
On a terminal username and password are asked for if none are set."""

Environment: TypeAlias = Annotated[
    OptionalText,
    typer.Option(
        "--environment",
        "-e",
        metavar="NAME",
        help="production (default), peakly's qa, or pago-facil's development.",
        show_default=False,
    ),
]
BaseUrl: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--base-url", metavar="URL", help="Any other server that tokens come from.", show_default=False),
]
Timeout: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="For the token, and for the request.")
]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr what happens. No secrets.")]
