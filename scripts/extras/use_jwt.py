"""Signed JWTs: private_key_jwt and DPoP."""

from __future__ import annotations

import importlib
from typing import Any

from asyncauth import ClientCredentials

URL = "https://login.example.com/token"


def use() -> None:
    """Make the clients that sign."""
    keys: Any = importlib.import_module("joserfc.jwk")
    pem = keys.ECKey.generate_key("P-256").as_pem(private=True).decode()
    ClientCredentials(token_url=URL, client_id="c", client_auth="private_key_jwt", private_key=pem)
    ClientCredentials(token_url=URL, client_id="c", client_secret="s", dpop=True)


def without() -> None:
    """Make one."""
    ClientCredentials(token_url=URL, client_id="c", client_secret="s", dpop=True)
