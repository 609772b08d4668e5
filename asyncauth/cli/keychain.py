"""The operating system's keyring as a source of credentials: the one place that imports keyring (extra ``keyring``)."""

from __future__ import annotations

import importlib
from typing import Any

from asyncauth.cli.outcome import Problem

__all__ = ["Keychain"]


class Keychain:
    """What a keyring holds for one service.

    Args:
        service: The service's name, as ``keyring set SERVICE NAME`` was given it.

    Raises:
        Problem: The extra is not installed, or the name is empty.
    """

    def __init__(self, service: str) -> None:
        if not service.strip():
            raise Problem("--keyring takes the service that the credentials are stored under, such as asyncauth")
        self.service = service
        try:
            self._keyring: Any = importlib.import_module("keyring")
        except ImportError:
            missing = True
        else:
            missing = False
        if missing:
            raise Problem("--keyring needs keyring, which is not installed: pip install 'asyncauth[keyring]'")

    def get(self, name: str) -> str | None:
        """Return what is stored under a name; ``None`` = nothing is.

        Raises:
            Problem: The keyring can't be read: there is none, or it is locked.
        """
        try:
            value: object = self._keyring.get_password(self.service, name)
        except Exception as error:  # noqa: BLE001 (backends raise what they like, and their texts may hold anything)
            kind = type(error).__name__
        else:
            return value if isinstance(value, str) else None
        raise Problem(
            f"the keyring can't be read ({kind}): is it unlocked, and has this machine one? See: keyring diagnose"
        )
