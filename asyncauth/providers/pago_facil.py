"""Pago Fácil (Chile, payments): three endpoints that form one chain of tokens.

``login`` exchanges a username and password for a JWT. ``createToken`` exchanges that JWT for a long-lived access token,
and ``loginToken`` that access token for the JWT that the API's other calls carry.

Source: Pago Fácil's documentation, "Tokens de Autenticación" (``POST /tokens/createToken``) and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from asyncauth import expiry
from asyncauth._core.try_state import current_try
from asyncauth._http.origin import insecure_hosts_of
from asyncauth.errors import ConfigurationError, InvalidTokenResponse
from asyncauth.providers.base import EndpointProvider, base_address, checked_text
from asyncauth.providers.wire.classify import rejects
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.providers.wire.endpoint import Endpoint, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.response import TokenResponse
    from asyncauth.token import Token

__all__ = ["PagoFacil", "PagoFacilJWT", "PagoFacilLogin"]

HOSTS = {"production": "https://api.pgf.cl", "development": "https://api-dev.pgf.cl"}
_NEWER_HOSTS = {"production": "https://apis.pgf.cl", "development": "https://apis-dev.pgf.cl"}

_LONGEST_LIFETIME = 1e10
"""Seconds: 300 years. A longer lifetime is a mistake, or not a number at all."""

Environment = Literal["production", "development"]


class _PagoFacilProvider(EndpointProvider):
    name: str = "pago-facil"
    step: str


def _bearer(token: str) -> Request:
    # The documentation's table says "Authentication"; all its examples send "Authorization".
    return Request(headers={"Authorization": f"Bearer {token}"})


_REJECTS = rejects(400, 401, 403, errors_in_successes=True)
"""On each of these endpoints, all three statuses mean a rejected credential, as does an ``error`` in the envelope."""


class PagoFacil(_PagoFacilProvider):
    """``createToken``: the long-lived access token of a Pago Fácil account.

    It is valid for years, and a process without a store requests a new one at every start. To call the API, use
    `PagoFacilJWT`, whose chain requests an access token only when it has none.

    Args:
        jwt: A JWT of the account: a string, a callable that returns it, or the manager of a `PagoFacilLogin`.
        environment: ``"production"`` (default) or ``"development"``.
        base_url: Another server, in place of an environment. ``None`` (default): the environment's.
        origins: Where the token may be sent. ``None`` (default): to the token endpoint's origin.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.
        account: A name for the token's account (default ``None``). A shared store needs it if ``jwt`` is a string or a
            callable.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        InsecureTransport: Plain http to a host other than this machine.
    """

    step = "createToken"

    def __init__(
        self,
        *,
        jwt: CredentialLike,
        environment: Environment = "production",
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
        account: str | None = None,
    ) -> None:
        credential = Credential(jwt, "jwt", bearer=True)
        del jwt  # a traceback with local variables must not show it
        hosts = insecure_hosts_of(insecure_hosts)
        url = base_address(environment, base_url, HOSTS, hosts) / "tokens" / "createToken"
        endpoint = Endpoint(provider=self.name, step=self.step, url=url, hook=_REJECTS, insecure_hosts=hosts)
        self._configure(endpoint, (credential,), origins=origins)
        self._identify({"account": account}, (credential,))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Request an access token from ``createToken``, with the JWT as Bearer."""
        return await self._endpoint.fetch(http, self.to_send, _bearer, self._read)

    @staticmethod
    def _read(response: TokenResponse) -> Token:
        field = "expiration_date"  # an absolute epoch, by the server's clock
        instants = [expiry.epoch(response.fields[field], field)] if response.has(field) else []
        return response.token("access_token", instants=instants, times=(field,))


class PagoFacilLogin(_PagoFacilProvider):
    """``login``: a JWT for a username and password.

    Args:
        username: The account's user name.
        password: The account's password: a string, a callable that returns it, or another kind of credential.
        environment: ``"production"`` (default) or ``"development"``.
        generation: 1 (default): ``/login`` of the API whose tokens the other steps accept; 2: ``/users/login`` of the
            newer API, on its own hosts.
        base_url: Another server, in place of an environment. ``None`` (default): the environment's.
        origins: Where the token may be sent. ``None`` (default): to the token endpoint's origin.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        InsecureTransport: Plain http to a host other than this machine.
    """

    step = "login"

    def __init__(
        self,
        *,
        username: str,
        password: CredentialLike,
        environment: Environment = "production",
        generation: Literal[1, 2] = 1,
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
    ) -> None:
        credential = Credential(password, "password")
        del password  # a traceback with local variables must not show it
        if generation not in (1, 2):
            raise ConfigurationError("generation= takes 1 (/login) or 2 (/users/login)")
        self._username = checked_text(username, "username")
        self._newer = generation == 2  # noqa: PLR2004
        hosts = insecure_hosts_of(insecure_hosts)
        base = base_address(environment, base_url, _NEWER_HOSTS if self._newer else HOSTS, hosts)
        url = base / "users" / "login" if self._newer else base / "login"
        endpoint = Endpoint(provider=self.name, step=self.step, url=url, hook=_REJECTS, insecure_hosts=hosts)
        self._configure(endpoint, (credential,), origins=origins)
        self._identify({"username": self._username}, (credential,))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Request a JWT from ``login``, with username and password as JSON."""
        return await self._endpoint.fetch(http, self.to_send, self._request, self._read)

    def _request(self, password: str) -> Request:
        return Request(json={"user" if self._newer else "username": self._username, "password": password})

    def _read(self, response: TokenResponse) -> Token:
        if self._newer:  # the same three fields, wrapped
            data = response.fields.get("data")
            if not isinstance(data, dict):
                raise InvalidTokenResponse("the answer has no 'data'", advice="check the address")
            response = attrs.evolve(response, fields=data)
        return _read_jwt(response)


class PagoFacilJWT(_PagoFacilProvider):
    """``loginToken``: the JWT that calls of Pago Fácil's API carry.

    Args:
        access_token: An access token: a string from the dashboard, a callable that returns one, or the manager of a
            `PagoFacil`.
        lifetime: The lifetime in seconds to request for the JWT (sent as ``expDate``); ``None`` (default): one year.
        environment: ``"production"`` (default) or ``"development"``.
        base_url: Another server, in place of an environment. ``None`` (default): the environment's.
        origins: Where the token may be sent. ``None`` (default): to the token endpoint's origin.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.
        account: A name for the token's account (default ``None``). A shared store needs it if ``access_token`` is a
            string or a callable.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        InsecureTransport: Plain http to a host other than this machine.
    """

    step = "loginToken"

    def __init__(
        self,
        *,
        access_token: CredentialLike,
        lifetime: float | None = None,
        environment: Environment = "production",
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
        account: str | None = None,
    ) -> None:
        credential = Credential(access_token, "access_token", bearer=True)
        del access_token  # a traceback with local variables must not show it
        if lifetime is not None and not (_is_number(lifetime) and 1.0 <= lifetime <= _LONGEST_LIFETIME):
            raise ConfigurationError("lifetime= takes the JWT's lifetime in seconds, at least 1, or None")
        self._lifetime = lifetime
        self._server_ahead: float | None = None
        hosts = insecure_hosts_of(insecure_hosts)
        url = base_address(environment, base_url, HOSTS, hosts) / "loginToken"
        endpoint = Endpoint(provider=self.name, step=self.step, url=url, hook=_REJECTS, insecure_hosts=hosts)
        self._configure(endpoint, (credential,), origins=origins)
        shall_live = None if lifetime is None else float(lifetime)
        self._identify({"account": account}, (credential,), lifetime=shall_live)

    @classmethod
    def from_password(
        cls,
        *,
        username: str,
        password: CredentialLike,
        lifetime: float | None = None,
        environment: Environment = "production",
        generation: Literal[1, 2] = 1,
        base_url: str | URL | None = None,
        origins: str | Iterable[str] | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
    ) -> PagoFacilJWT:
        """Return the whole chain: ``login``, ``createToken``, ``loginToken``.

        The `TokenManager` of the last step makes the managers of the first two steps, with its own store, clock and
        session, and closes them when it is closed. They obtain tokens only when the next step needs one.

        Args:
            username: The account's user name.
            password: The account's password: a string, a callable that returns it, or another kind of credential. A
                manager given here stays the caller's to close.
            lifetime: See the class.
            environment: See the class; for all three steps.
            generation: The login's generation; see `PagoFacilLogin`.
            base_url: See the class; for all three steps.
            origins: Where the JWT may be sent. ``None`` (default): to the token endpoint's origin.
            insecure_hosts: See the class; for all three steps.

        Raises:
            ConfigurationError: An argument is wrong; the message says which.
            InsecureTransport: Plain http to a host other than this machine.
        """
        credential = Credential(password, "password")
        del password
        insecure_hosts = insecure_hosts_of(insecure_hosts)
        login = PagoFacilLogin(
            username=username,
            password=credential,
            environment=environment,
            generation=generation,
            base_url=base_url,
            insecure_hosts=insecure_hosts,
        )
        access = PagoFacil(jwt=login, environment=environment, base_url=base_url, insecure_hosts=insecure_hosts)
        return cls(
            access_token=access,
            lifetime=lifetime,
            environment=environment,
            base_url=base_url,
            origins=origins,
            insecure_hosts=insecure_hosts,
        )

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Request a JWT from ``loginToken``, with the access token as Bearer."""
        return await self._endpoint.fetch(
            http, self.to_send, self._request, self._read, should_retry=lambda _: self._learn_server_clock()
        )

    def _request(self, access_token: str) -> Request:
        bearer = _bearer(access_token)
        if self._lifetime is None:
            return bearer
        # An absolute time on the server's clock: computed from its own Date, once one is known.
        state = current_try()
        server_ahead = self._server_ahead
        now = state.clock.wall() if server_ahead is None else state.clock.monotonic() + server_ahead
        return attrs.evolve(bearer, json={"expDate": int(now + self._lifetime)})

    def _read(self, response: TokenResponse) -> Token:
        self._learn_server_clock()
        return _read_jwt(response)

    def _learn_server_clock(self) -> bool:
        """Record how far the server's clock is ahead of our monotonic one; return whether that changed."""
        if self._lifetime is None:
            return False
        state, before = current_try(), self._server_ahead
        server_now = state.server_now
        if server_now is None or state.sent_at is None:
            return False
        ahead = server_now - state.sent_at
        self._server_ahead = ahead
        wall = state.clock.wall() - state.clock.monotonic()
        return abs(ahead - (wall if before is None else before)) > _CLOCKS_AGREE


_CLOCKS_AGREE = 5.0
"""Seconds by which our clock and a server's may differ without ``expDate`` being the reason for a rejection."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read_jwt(response: TokenResponse) -> Token:
    return response.token("access_token_jwt", durations=response.durations("expires_in"), times=("expires_in",))
