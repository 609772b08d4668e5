"""Peakly (Argentina, invoicing): the password grant of an ASP.NET OWIN server, with its own time fields.

Source: Peakly's documentation, "Autenticación" (``POST /token``); RFC 6749 §4.3 and §6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from asyncauth import expiry
from asyncauth._http.origin import insecure_hosts_of, origin_of
from asyncauth.providers.base import base_address
from asyncauth.providers.oauth2.grants import PasswordGrant
from asyncauth.providers.wire.credential import Credential, CredentialLike

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yarl import URL

    from asyncauth.providers.wire.response import TokenResponse
    from asyncauth.token import Token

__all__ = ["Peakly"]

HOSTS = {"production": "https://api.peakly.co", "qa": "https://qa.api.peakly.co"}


class Peakly(PasswordGrant):
    """``/token``: the access token of a Peakly user.

    If the server returns a refresh token, the next renewal uses it. If the server rejects it, or an answer was lost,
    the password is sent.

    Args:
        username: The user's name.
        password: The user's password: a string, a callable that returns it, or another kind of credential.
        environment: ``"production"`` (default) or ``"qa"``.
        base_url: Another server, in place of an environment. ``None`` (default): the environment's.
        origins: Where the token may be sent. ``None`` (default): to the token endpoint's origin.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        InsecureTransport: Plain http to a host other than this machine.
    """

    name: str = "peakly"
    _cannot_revoke: str = "Peakly has no way to revoke a token"
    _how_to_revoke: str = "the token ends by itself"

    def __init__(
        self,
        *,
        username: str,
        password: CredentialLike,
        environment: Literal["production", "qa"] = "production",
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
    ) -> None:
        credential = Credential(password, "password")
        del password  # a traceback with local variables must not show it
        hosts = insecure_hosts_of(insecure_hosts)
        url = base_address(environment, base_url, HOSTS, hosts) / "token"
        own = str(origin_of(url)) if origins is None else origins
        super().__init__(token_url=url, username=username, password=credential, origins=own, insecure_hosts=hosts)

    def _token(self, response: TokenResponse, refresh_token: str | None) -> Token:
        durations = response.durations("expires_in")
        instants: list[float] = []
        times = {field: response.fields.get(field) for field in (".issued", ".expires")}
        issued = response.optional(expiry.http_date, times[".issued"], ".issued")
        expires = None
        if durations:
            expires = response.optional(expiry.http_date, times[".expires"], ".expires")
        elif times[".expires"] is not None:
            expires = expiry.http_date(times[".expires"], ".expires")
        if expires is not None and issued is not None:  # both by the server's clock, so ours does not matter
            durations.append(expiry.duration(expires - issued, ".expires"))
        elif expires is not None:
            instants.append(expires)
        return response.token(
            "access_token",
            durations=durations,
            instants=instants,
            times=("expires_in", ".expires"),  # .issued alone does not say when the token expires
            refresh_token=refresh_token,
        )
