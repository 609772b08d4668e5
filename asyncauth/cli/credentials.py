"""Where the command line gets credentials: environment variables, a keyring or a prompt, never an argument.

What stands on a command line is in the shell's history and in every user's list of processes.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from asyncauth.cli.keychain import Keychain
from asyncauth.cli.outcome import Problem
from asyncauth.cli.systems import TITLES, System
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.provider import Provider

__all__ = [
    "PAGO_FACIL_VARIABLES",
    "PEAKLY_VARIABLES",
    "VARIABLES",
    "Credentials",
    "Given",
    "provider_of",
]

PEAKLY_VARIABLES = ("ASYNCAUTH_PEAKLY_USERNAME", "ASYNCAUTH_PEAKLY_PASSWORD")
PAGO_FACIL_VARIABLES = (
    "ASYNCAUTH_PAGO_FACIL_ACCESS_TOKEN",
    "ASYNCAUTH_PAGO_FACIL_JWT",
    "ASYNCAUTH_PAGO_FACIL_USERNAME",
    "ASYNCAUTH_PAGO_FACIL_PASSWORD",
)
VARIABLES = {System.PEAKLY: PEAKLY_VARIABLES, System.PAGO_FACIL: PAGO_FACIL_VARIABLES}


@attrs.frozen
class Credentials:
    """What a user has for a system, as it was found.

    Attributes:
        system: Which one.
        values: By variable; ``""`` = it is set, to nothing. Secret.
        keyring: The variables that the keyring holds; the others are the environment's.
        service: The keyring's service; ``None`` = no keyring was asked.
    """

    system: System
    values: Mapping[str, str] = attrs.field(repr=False)
    keyring: frozenset[str] = frozenset()
    service: str | None = None

    @classmethod
    def found(cls, system: System, service: str | None) -> Credentials:
        """Return what the environment holds, and what it lacks from the keyring.

        Args:
            system: Which one.
            service: The keyring's service; ``None`` = no keyring is asked.

        Raises:
            Problem: The keyring can't be read.
        """
        values = {name: os.environ[name] for name in VARIABLES[system] if name in os.environ}
        held: dict[str, str] = {}
        if service is not None:
            keychain = Keychain(service)
            for name in VARIABLES[system]:
                value = None if values.get(name) else keychain.get(name)
                if value is not None:
                    held[name] = value
        return cls(system, {**values, **held}, frozenset(held), service)

    @property
    def login(self) -> tuple[str, str]:
        """The variables of username and password."""
        username, password = VARIABLES[self.system][-2:]
        return username, password

    @property
    def used(self) -> tuple[str, ...]:
        """The variables of the credential that is used.

        The nearest to the API first: with an access token neither a JWT nor the password is needed, and the chain
        through the password mints an access token that lives for years.
        """
        alone = (name for name in VARIABLES[self.system][:-2] if self.values.get(name))
        nearest = next(alone, None)
        return self.login if nearest is None else (nearest,)

    def where(self, *names: str) -> str:
        """Return in words where these come from."""
        held = [name for name in names if name in self.keyring]
        if not held:
            return " and ".join(names)
        if len(held) == len(names):
            return f"{' and '.join(names)} of the keyring's service {self.service!r}"
        return " and ".join(f"{name} (keyring {self.service!r})" if name in held else name for name in names)


@attrs.frozen
class Given:
    """A provider, in words what it proves itself with, and that itself, so that no output shows it."""

    provider: Provider
    credential: str
    secret: str = attrs.field(repr=False)


def provider_of(system: System, *, keyring: str | None = None, **place: Any) -> Given:
    """Return a system's provider with the credentials that the user has for it.

    Args:
        system: Which one.
        keyring: The keyring's service; ``None`` = no keyring is asked.
        **place: The provider's ``environment``, ``base_url`` and ``origins``.

    Raises:
        Problem: There are no credentials, and nobody to ask for them.
        ConfigurationError: One can't work, or the place can't.
        InsecureTransport: Plain http to another machine.
    """
    credentials = Credentials.found(system, keyring)
    if system is System.PEAKLY:
        username, password, source = _login(credentials)
        return Given(Peakly(username=username, password=password, **place), source, password)
    return _pago_facil(credentials, place)


def _pago_facil(credentials: Credentials, place: dict[str, Any]) -> Given:
    access_token, jwt = PAGO_FACIL_VARIABLES[:2]
    values, used = credentials.values, credentials.used
    if used == (access_token,):
        provider = PagoFacilJWT(access_token=values[access_token], **place)
        return Given(provider, f"the access token in {credentials.where(access_token)}", values[access_token])
    if used == (jwt,):
        upstream = {name: value for name, value in place.items() if name != "origins"}
        provider = PagoFacilJWT(access_token=PagoFacil(jwt=values[jwt], **upstream), **place)
        return Given(provider, f"the JWT in {credentials.where(jwt)}", values[jwt])
    name, secret, source = _login(credentials)
    return Given(PagoFacilJWT.from_password(username=name, password=secret, **place), source, secret)


def _login(credentials: Credentials) -> tuple[str, str, str]:
    """Return username, password, and where they come from."""
    names, system = credentials.login, TITLES[credentials.system]
    username, password = (credentials.values.get(name) for name in names)
    if username and password:
        return username, password, f"username and password in {credentials.where(*names)}"
    missing = [name for name in names if not credentials.values.get(name)]
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
