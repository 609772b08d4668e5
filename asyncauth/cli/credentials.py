"""Where the command line gets credentials: environment variables or a prompt, never an argument.

What stands on a command line is in the shell's history and in every user's list of processes.
"""

from __future__ import annotations

import enum
import getpass
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, Optional, TypeAlias

import attrs

from asyncauth.cli.outcome import Problem
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.provider import Provider

__all__ = ["PAGO_FACIL_VARIABLES", "PEAKLY_VARIABLES", "Given", "OptionalSystem", "System", "provider_of"]

PEAKLY_VARIABLES = ("ASYNCAUTH_PEAKLY_USERNAME", "ASYNCAUTH_PEAKLY_PASSWORD")
PAGO_FACIL_VARIABLES = (
    "ASYNCAUTH_PAGO_FACIL_ACCESS_TOKEN",
    "ASYNCAUTH_PAGO_FACIL_JWT",
    "ASYNCAUTH_PAGO_FACIL_USERNAME",
    "ASYNCAUTH_PAGO_FACIL_PASSWORD",
)


class System(enum.StrEnum):
    """The systems that the command line knows."""

    PEAKLY = "peakly"
    PAGO_FACIL = "pago-facil"


# The oldest Typer that is supported knows no other spelling.
OptionalSystem: TypeAlias = Optional[System]  # noqa: UP045


@attrs.frozen
class Given:
    """A provider, and in words what it proves itself with."""

    provider: Provider
    credential: str


def provider_of(system: System, **place: Any) -> Given:
    """Return a system's provider with the credentials that the user has for it.

    Args:
        system: Which one.
        **place: The provider's ``environment``, ``base_url`` and ``origins``.

    Raises:
        Problem: There are no credentials, and nobody to ask for them.
        ConfigurationError: One can't work, or the place can't.
        InsecureTransport: Plain http to another machine.
    """
    if system is System.PEAKLY:
        return _peakly(os.environ, place)
    return _pago_facil(os.environ, place)


def _peakly(environ: Mapping[str, str], place: dict[str, Any]) -> Given:
    username, password, source = _login("Peakly", environ, *PEAKLY_VARIABLES)
    return Given(Peakly(username=username, password=password, **place), source)


def _pago_facil(environ: Mapping[str, str], place: dict[str, Any]) -> Given:
    # The nearest to the API first: with an access token neither a JWT nor the password is needed, and the chain
    # through the password mints an access token that lives for years.
    access_token, jwt, username, password = PAGO_FACIL_VARIABLES
    if environ.get(access_token):
        provider = PagoFacilJWT(access_token=environ[access_token], **place)
        return Given(provider, f"the access token in {access_token}")
    if environ.get(jwt):
        upstream = {name: value for name, value in place.items() if name != "origins"}
        provider = PagoFacilJWT(access_token=PagoFacil(jwt=environ[jwt], **upstream), **place)
        return Given(provider, f"the JWT in {jwt}")
    name, secret, source = _login("Pago Fácil", environ, username, password)
    return Given(PagoFacilJWT.from_password(username=name, password=secret, **place), source)


def _login(
    system: str, environ: Mapping[str, str], username_variable: str, password_variable: str
) -> tuple[str, str, str]:
    """Return username, password, and where they come from."""
    username, password = environ.get(username_variable), environ.get(password_variable)
    if username and password:
        return username, password, f"username and password in {username_variable} and {password_variable}"
    missing = [
        variable for variable, value in ((username_variable, username), (password_variable, password)) if not value
    ]
    if not sys.stdin.isatty():
        raise Problem(f"no credentials for {system}: set {' and '.join(missing)}")
    try:
        # On stderr, as getpass asks: stdout is for the answer.
        if not username:
            sys.stderr.write(f"{system} username: ")
            sys.stderr.flush()
            username = _line().strip() or _none_given(system, "username")
        if not password:
            password = getpass.getpass(f"{system} password: ", stream=sys.stderr) or _none_given(system, "password")
    except (EOFError, KeyboardInterrupt) as end:
        sys.stderr.write("\n")  # the prompt's line has not ended
        if isinstance(end, KeyboardInterrupt):
            raise
        _none_given(system, "password" if username else "username")
    return username, password, "username and password, as typed"


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _none_given(system: str, what: str) -> NoReturn:
    raise Problem(f"no {what} for {system} was typed")
