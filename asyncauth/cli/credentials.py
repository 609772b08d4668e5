"""Where the command line gets credentials: environment variables, a keyring or a prompt, never an argument.

What stands on a command line is in the shell's history and in every user's list of processes.
"""

from __future__ import annotations

import getpass
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import attrs

from asyncauth.cli.keychain import Keychain
from asyncauth.cli.outcome import Problem
from asyncauth.cli.systems import TITLES, System

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CLIENT",
    "CLIENT_VARIABLES",
    "PAGO_FACIL_VARIABLES",
    "PEAKLY_VARIABLES",
    "PREFIX",
    "VARIABLES",
    "Credentials",
    "login_of",
]

PEAKLY_VARIABLES = ("PEAKLY_USERNAME", "PEAKLY_PASSWORD")
PAGO_FACIL_VARIABLES = ("PAGO_FACIL_ACCESS_TOKEN", "PAGO_FACIL_JWT", "PAGO_FACIL_USERNAME", "PAGO_FACIL_PASSWORD")
CLIENT_VARIABLES = ("CLIENT_ID", "CLIENT_SECRET")
CLIENT = "client"
"""Whose credentials are those of an OAuth client."""
VARIABLES = {System.PEAKLY: PEAKLY_VARIABLES, System.PAGO_FACIL: PAGO_FACIL_VARIABLES, CLIENT: CLIENT_VARIABLES}
PREFIX = "ASYNCAUTH_"
"""Each variable is read with this before its name as well, where the plain one is not set."""
_CLIENTS = "the OAuth client"


@attrs.frozen
class Credentials:
    """What a user has for a system, as it was found.

    Attributes:
        system: Which one: a `System`, or `CLIENT`.
        values: By variable; ``""`` = it is set, to nothing. Secret.
        keyring: The variables that the keyring holds; the others are the environment's.
        service: The keyring's service; ``None`` = no keyring was asked.
        prefixed: The variables that were found with `PREFIX` before their name.
    """

    system: str
    values: Mapping[str, str] = attrs.field(repr=False)
    keyring: frozenset[str] = frozenset()
    service: str | None = None
    prefixed: frozenset[str] = frozenset()

    @classmethod
    def found(cls, system: str, service: str | None) -> Credentials:
        """Return what the environment holds, and what it lacks from the keyring.

        Args:
            system: Which one: a `System`, or `CLIENT`.
            service: The keyring's service; ``None`` = no keyring is asked.

        Raises:
            Problem: The keyring can't be read.
        """
        keychain = None if service is None else Keychain(service)
        values: dict[str, str] = {}
        held: set[str] = set()
        prefixed: set[str] = set()
        for name in VARIABLES[system]:
            for spelled in (name, f"{PREFIX}{name}"):
                if spelled in os.environ and not values.get(name):
                    values[name] = os.environ[spelled]
                    _note(prefixed, name, belongs=spelled != name)
            for spelled in (name, f"{PREFIX}{name}"):
                value = None if keychain is None or values.get(name) else keychain.get(spelled)
                if value is not None:
                    values[name] = value
                    held.add(name)
                    _note(prefixed, name, belongs=spelled != name)
        return cls(system, values, frozenset(held), service, frozenset(prefixed))

    @property
    def login(self) -> tuple[str, str]:
        """The variables of username and password, or of a client's id and secret."""
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

    def spelled(self, name: str) -> str:
        """Return a variable's name as it was found."""
        return f"{PREFIX}{name}" if name in self.prefixed else name

    def where(self, *names: str) -> str:
        """Return in words where these come from."""
        held = [name for name in names if name in self.keyring]
        if not held:
            return " and ".join(map(self.spelled, names))
        if len(held) == len(names):
            return f"{' and '.join(map(self.spelled, names))} of the keyring's service {self.service!r}"
        return " and ".join(
            f"{self.spelled(name)} (keyring {self.service!r})" if name in held else self.spelled(name) for name in names
        )


def _note(names: set[str], name: str, *, belongs: bool) -> None:
    (names.add if belongs else names.discard)(name)


def login_of(credentials: Credentials) -> tuple[str, str, str]:
    """Return username, password, and in words where they come from; of a client its id and secret.

    Raises:
        Problem: There are none, and nobody to ask for them.
    """
    names = credentials.login
    system = _CLIENTS if credentials.system == CLIENT else TITLES[System(credentials.system)]
    words = ("id", "secret") if credentials.system == CLIENT else ("username", "password")
    first, second = (credentials.values.get(name) for name in names)
    if first and second:
        return first, second, f"{' and '.join(words)} in {credentials.where(*names)}"
    missing = [name for name in names if not credentials.values.get(name)]
    if not sys.stdin.isatty():
        raise Problem(f"no credentials for {system}: set {' and '.join(missing)}")
    try:
        # On stderr, as getpass asks: stdout is for the answer.
        if not first:
            sys.stderr.write(f"{system} {words[0]}: ")
            sys.stderr.flush()
            first = _line().strip() or _none_given(system, words[0])
        if not second:
            second = getpass.getpass(f"{system} {words[1]}: ", stream=sys.stderr) or _none_given(system, words[1])
    except (EOFError, KeyboardInterrupt) as end:
        sys.stderr.write("\n")  # the prompt's line has not ended
        if isinstance(end, KeyboardInterrupt):
            raise
        _none_given(system, words[1] if first else words[0])
    return first, second, f"{' and '.join(words)}, as typed"


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _none_given(system: str, what: str) -> NoReturn:
    raise Problem(f"no {what} for {system} was typed")
