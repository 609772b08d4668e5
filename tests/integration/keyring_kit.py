"""A keyring of the tests' own: what the environment says it holds. Named by ``PYTHON_KEYRING_BACKEND``."""

from __future__ import annotations

import json
import os

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class Ring(KeyringBackend):
    """Holds what is in ``TEST_KEYRING``: by service and name, as JSON."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        held = json.loads(os.environ["TEST_KEYRING"])
        value = held.get(service, {}).get(username)
        return None if value is None else str(value)

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


class Locked(Ring):
    """A keyring that nobody has unlocked."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("s3cret-text")
