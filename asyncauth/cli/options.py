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
              (the first that is set is used; with a JWT or a password, Pago Fácil issues
              an access token that is valid for years)
  --issuer, --token-url
              {CLIENT_VARIABLES[0]} and {CLIENT_VARIABLES[1]} (client credentials grant)
If a variable is not set, the same name with the prefix {PREFIX} is read.
If that is not set either, --keyring SERVICE reads the system's keyring under the same name.
To store a credential there: keyring set SERVICE {PEAKLY_VARIABLES[1]}
If there is none at all, a terminal prompts for username and password.

Write your own provider or manager as module:attribute, such as shop:peakly. The module may be in
the current folder. If the attribute is a function without arguments, its result is used."""

STORE_HELP = """\b
A store is a folder (FileStore), or a redis://, rediss:// or unix:// URL (RedisStore).
A URL with a password, and the keys of an EncryptedStore, are never arguments. Set instead:
  ASYNCAUTH_STORE       the store, if the command names none
  ASYNCAUTH_STORE_KEYS  Fernet keys, separated by spaces or commas (or in the keyring);
                        with --encrypted a terminal prompts for them if they are not set"""

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
    typer.Option("--base-url", metavar="URL", help="Another server that issues the tokens.", show_default=False),
]
Issuer: TypeAlias = Annotated[
    OptionalText,
    typer.Option(
        "--issuer",
        metavar="URL",
        help="OAuth client: the issuer, whose metadata names the endpoints.",
        show_default=False,
    ),
]
TokenUrl: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--token-url", metavar="URL", help="OAuth client: the token endpoint.", show_default=False),
]
RevocationUrl: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--revocation-url", metavar="URL", help="OAuth client: the revocation endpoint.", show_default=False),
]
Scope: TypeAlias = Annotated[
    OptionalTexts,
    typer.Option(
        "--scope", metavar="TEXT", help="OAuth client: a scope to request; may be repeated.", show_default=False
    ),
]
Audience: TypeAlias = Annotated[
    OptionalText,
    typer.Option("--audience", metavar="TEXT", help="OAuth client: the audience to request.", show_default=False),
]
ClientAuthentication: TypeAlias = Annotated[
    _OptionalClientAuth,
    typer.Option(
        "--client-auth",
        metavar="METHOD",
        help="OAuth client: client_secret_basic (default), client_secret_basic_raw or client_secret_post.",
        show_default=False,
    ),
]
InsecureHosts: TypeAlias = Annotated[
    OptionalTexts,
    typer.Option(
        "--insecure-host",
        metavar="HOST",
        help="Allow plain http to this host, for containers; may be repeated.",
        show_default=False,
    ),
]
KeyringService: TypeAlias = Annotated[
    OptionalText,
    typer.Option(
        "--keyring",
        metavar="SERVICE",
        envvar="ASYNCAUTH_KEYRING",
        help="Also look in the system's keyring.",
        show_default=False,
        show_envvar=True,
    ),
]
Prefix: TypeAlias = Annotated[str, typer.Option("--prefix", metavar="TEXT", help="The prefix of a RedisStore's keys.")]
Encrypted: TypeAlias = Annotated[
    bool, typer.Option("--encrypted", help="The store is an EncryptedStore: prompt for its keys if they are not set.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Time limit for each request.")
]
Patience: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Time limit for each answer.")
]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr, without secrets.")]
