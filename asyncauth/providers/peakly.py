"""Peakly (Argentina, invoicing): the password grant of an ASP.NET OWIN server, with time fields of its own.

Source: Peakly's documentation, "Autenticación" (``POST /token``); RFC 6749 §4.3 and §6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from asyncauth import expiry
from asyncauth.errors import CredentialsRejected
from asyncauth.providers.attempt import current_attempt
from asyncauth.providers.base import EndpointProvider, base_address, checked_text
from asyncauth.providers.credential import Credential, CredentialLike
from asyncauth.providers.endpoint import Endpoint, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp
    from yarl import URL

    from asyncauth.providers.reply import Reply
    from asyncauth.token import Token

__all__ = ["Peakly"]

_HOSTS = {"production": "https://api.peakly.co", "qa": "https://qa.api.peakly.co"}


class Peakly(EndpointProvider):
    """``/token``: the access token of a Peakly user.

    Where the server adds a refresh token it is used for the next renewal; when it is refused, or lost with an answer
    that never came, the password is.

    Args:
        username: The user's.
        password: Their password, a callable that returns it, or what else a credential can be.
        environment: ``"production"`` (default) or ``"qa"``.
        base_url: Any other server, instead of an environment.
        origins: Where the token may be sent; default: where it comes from.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    name: str = "peakly"

    def __init__(
        self,
        *,
        username: str,
        password: CredentialLike,
        environment: Literal["production", "qa"] = "production",
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
    ) -> None:
        credential = Credential(password, "password")
        del password  # a traceback through here that shows locals must not show it
        self._username = checked_text(username, "username")
        url = base_address(environment, base_url, _HOSTS) / "token"
        endpoint = Endpoint(provider=self.name, step="token", url=url)
        self._configure(endpoint, (credential,), origins=origins, account=username)

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Ask ``/token``: with the refresh token if there is one, else with username and password."""
        if previous is not None and previous.refresh_token is not None:
            refresh_token = Credential(previous.refresh_token, "refresh_token")
            attempt = current_attempt()
            attempt.spends_refresh_token = True
            try:
                token = await self._endpoint.fetch(http, (refresh_token,), _refresh, self._read)
            except CredentialsRejected:
                attempt.spends_refresh_token = False
            else:
                # One that is not replaced stays in force (RFC 6749 §6).
                return token if token.refresh_token else attrs.evolve(token, refresh_token=previous.refresh_token)
        return await self._endpoint.fetch(http, self._credentials, self._login, self._read)

    def _login(self, password: str) -> Request:
        return Request(form={"grant_type": "password", "username": self._username, "password": password})

    @staticmethod
    def _read(reply: Reply) -> Token:
        durations = reply.durations("expires_in")
        instants: list[float] = []
        issued, expires = (
            expiry.http_date(reply.fields[field], field) if reply.has(field) else None
            for field in (".issued", ".expires")
        )
        if expires is not None and issued is not None:  # both by the server's clock: safe whatever ours says
            durations.append(expiry.duration(expires - issued, ".expires"))
        elif expires is not None:
            instants.append(expires)
        return reply.token(
            "access_token",
            durations=durations,
            instants=instants,
            times=("expires_in", ".expires"),  # .issued alone says nothing of the end
            refresh_token=reply.text("refresh_token") if reply.has("refresh_token") else None,
        )


def _refresh(refresh_token: str) -> Request:
    return Request(form={"grant_type": "refresh_token", "refresh_token": refresh_token})
