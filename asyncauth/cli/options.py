"""Options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated, Optional, TypeAlias

import typer

from asyncauth.cli.credentials import CLIENT_VARIABLES, PAGO_FACIL_VARIABLES, PEAKLY_VARIABLES, PREFIX
from asyncauth.cli.systems import System

__all__ = [
    "CREDENTIALS_HELP",
    "STORE_HELP",
    "AsJson",
    "Audience",
    "BaseUrl",
    "ClientAuthName",
    "ClientAuthentication",
    "Encrypted",
    "Environment",
    "InsecureHosts",
    "Issuer",
    "KeyringService",
    "OptionalText",
    "OptionalTexts",
    "Patience",
    "Prefix",
    "RevocationUrl",
    "Scope",
    "Timeout",
    "TokenUrl",
    "Verbose",
    "systems_for_completion",
]

# The oldest Typer that is supported knows no other spelling.
OptionalText: TypeAlias = Optional[str]  # noqa: UP045
OptionalTexts: TypeAlias = Optional[list[str]]  # noqa: UP045


class ClientAuthName(enum.StrEnum):
    """How an OAuth client with a secret authenticates."""

    BASIC = "client_secret_basic"
    BASIC_RAW = "client_secret_basic_raw"
    POST = "client_secret_post"


_OptionalClientAuth: TypeAlias = Optional[ClientAuthName]  # noqa: UP045


def systems_for_completion() -> list[str]:
    """Return what a shell may complete where a system or ``module:attribute`` is named."""
    return list(System)


CREDENTIALS_HELP = f"""\b
Credentials come from environment variables:
  peakly      {PEAKLY_VARIABLES[0]} and {PEAKLY_VARIABLES[1]}
  pago-facil  {PAGO_FACIL_VARIABLES[0]}, or
              {PAGO_FACIL_VARIABLES[1]} (of login), or
              {PAGO_FACIL_VARIABLES[2]} and {PAGO_FACIL_VARIABLES[3]}
              (the first that is set is used; the last two, and the JWT, make Pago Fácil
              issue an access token that lives for years)
  --issuer, --token-url
              {CLIENT_VARIABLES[0]} and {CLIENT_VARIABLES[1]} (client credentials grant)
Each is also read with {PREFIX} before its name, where the plain one is not set.
With --keyring SERVICE those that are not set come from the system's keyring, under the
same names: keyring set SERVICE {PEAKLY_VARIABLES[1]}
On a terminal username and password are asked for if there are none.

A provider or manager of your own is named module:attribute, such as shop:peakly. The module
is imported, from the current folder as well; a function without arguments is called."""

STORE_HELP = """\b
A store is a folder (FileStore), or a redis://, rediss:// or unix:// URL (RedisStore).
A URL with a password, and the keys of an EncryptedStore, are never arguments:
  ASYNCAUTH_STORE       the store, where the command names none
  ASYNCAUTH_STORE_KEYS  Fernet keys, separated by spaces or commas (or in the keyring);
                        with --encrypted they are asked for on a terminal if not set"""

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
Issuer: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--issuer", metavar="URL", help="An OAuth client's: finds the token endpoint.", show_default=False),
]
TokenUrl: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--token-url", metavar="URL", help="An OAuth client's: the token endpoint.", show_default=False),
]
RevocationUrl: TypeAlias = Annotated[
    OptionalText,
    typer.Option(
        "--revocation-url", metavar="URL", help="An OAuth client's: the revocation endpoint.", show_default=False
    ),
]
Scope: TypeAlias = Annotated[
    OptionalTexts,
    typer.Option("--scope", metavar="TEXT", help="What its token shall allow; may be repeated.", show_default=False),
]
Audience: TypeAlias = Annotated[
    OptionalText, typer.Option("--audience", metavar="TEXT", help="For whom its token shall be.", show_default=False)
]
ClientAuthentication: TypeAlias = Annotated[
    _OptionalClientAuth,
    typer.Option(
        "--client-auth",
        metavar="METHOD",
        help="How it authenticates: client_secret_basic (default), client_secret_basic_raw or client_secret_post.",
        show_default=False,
    ),
]
InsecureHosts: TypeAlias = Annotated[
    OptionalTexts,
    typer.Option(
        "--insecure-host",
        metavar="HOST",
        help="Permit plain http to this host, in a network of containers; may be repeated.",
        show_default=False,
    ),
]
KeyringService: TypeAlias = Annotated[
    OptionalText,
    typer.Option(
        "--keyring",
        metavar="SERVICE",
        envvar="ASYNCAUTH_KEYRING",
        help="Look in the system's keyring, too.",
        show_default=False,
        show_envvar=True,
    ),
]
Prefix: TypeAlias = Annotated[
    str, typer.Option("--prefix", metavar="TEXT", help="What a RedisStore's keys begin with.")
]
Encrypted: TypeAlias = Annotated[
    bool, typer.Option("--encrypted", help="The store is an EncryptedStore: ask for its keys if they are not set.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="For the token, and for the request.")
]
Patience: TypeAlias = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="For one answer.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr what happens. No secrets.")]
