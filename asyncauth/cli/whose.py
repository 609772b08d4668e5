"""Under which keys a system's tokens are stored, for an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncauth.cli.systems import System
from asyncauth.provider import key_of
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT, PagoFacilLogin
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from asyncauth.providers.base import EndpointProvider

__all__ = ["keys_of"]

_UNUSED = "not-sent"
"""In place of a credential, which no key depends on."""


def keys_of(system: System, account: str, place: dict[str, Any]) -> dict[str, str]:
    """Return a name for each key under which a manager of this system would keep a token.

    Args:
        system: Which one.
        account: The username, or what a provider was given as ``account=``.
        place: The provider's ``environment`` or ``base_url``.

    Raises:
        ConfigurationError: They can't be a provider's.
    """
    if system is System.PEAKLY:
        return _named(Peakly(username=account, password=_UNUSED, **place), "token")
    login = PagoFacilLogin(username=account, password=_UNUSED, **place)
    access = PagoFacil(jwt=login, **place)
    steps: list[PagoFacil | PagoFacilLogin | PagoFacilJWT] = [
        PagoFacilJWT(access_token=access, **place),
        PagoFacilJWT(access_token=_UNUSED, account=account, **place),
        access,
        PagoFacil(jwt=_UNUSED, account=account, **place),
        login,
    ]
    return {key: name for provider in steps for key, name in _named(provider, provider.step).items()}


def _named(provider: EndpointProvider, step: str) -> dict[str, str]:
    return {} if provider.identity is None else {key_of(provider.identity): f"{provider.name} {step}"}
