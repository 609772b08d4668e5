"""Peakly (Argentina, invoicing): the password grant of an ASP.NET OWIN server, with time fields of its own.

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

    Where the server adds a refresh token it is used for the next renewal; when it is refused, or lost with an answer
    that never came, the password is.

    Args:
        username: The user's.
        password: Their password, a callable that returns it, or what else a credential can be.
        environment: ``"production"`` (default) or ``"qa"``.
        base_url: Any other server, instead of an environment.
        origins: Where the token may be sent; default: where it comes from.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: none but this machine.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "peakly"
    _cannot_revoke: str = "Peakly has no way to revoke a token"

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
        del password  # a traceback through here that shows locals must not show it
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
        if expires is not None and issued is not None:  # both by the server's clock: safe whatever ours says
            durations.append(expiry.duration(expires - issued, ".expires"))
        elif expires is not None:
            instants.append(expires)
        return response.token(
            "access_token",
            durations=durations,
            instants=instants,
            times=("expires_in", ".expires"),  # .issued alone says nothing of the end
            refresh_token=refresh_token,
        )
