"""The system's keyring as a source of credentials."""

from __future__ import annotations

import importlib
import sys
import types


def use() -> None:
    """Read a password out of a keyring."""
    keyring = importlib.import_module("keyring")
    backend = importlib.import_module("keyring.backend")

    class InMemory(backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str:
            return f"{service}/{username}"

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    keyring.set_keyring(InMemory())
    assert importlib.import_module("asyncauth.cli.keychain").Keychain("shop").get("NAME") == "shop/NAME"


def without() -> None:
    """Ask for one."""
    sys.modules.setdefault(
        "typer", types.ModuleType("typer")
    )  # that the command line lacks it is another extra's affair
    importlib.import_module("asyncauth.cli.keychain").Keychain("shop")
