"""Whose token a command works with: a system's, an OAuth client's, or that of a provider of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from asyncauth._http.origin import insecure_hosts_of
from asyncauth.cli.addresses import secure_url
from asyncauth.cli.credentials import CLIENT, PAGO_FACIL_VARIABLES, Credentials, login_of
from asyncauth.cli.outcome import Problem
from asyncauth.cli.own import load
from asyncauth.cli.systems import System, place_of
from asyncauth.manager import TokenManager
from asyncauth.policy import RefreshPolicy
from asyncauth.providers.base import EndpointProvider
from asyncauth.providers.oauth2.grants import ClientCredentials
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncauth._core.engine import TokenEngine
    from asyncauth.provider import Provider
    from asyncauth.providers.oauth2.oauth_options import ClientAuth

__all__ = ["Given", "Target", "client_of", "held_by"]


@attrs.frozen
class Given:
    """A provider or a manager, in words what it proves itself with, and that itself, so that no output shows it."""

    source: Provider | TokenManager
    credential: str
    secret: str = attrs.field(default="", repr=False)

    def manager(self, timeout: float) -> TokenManager:
        """Return the user's own manager, or a new one of the provider.

        Args:
            timeout: Seconds that a new one gives a refresh.

        Raises:
            ConfigurationError: The user's own object is not a provider; the message says what it lacks.
        """
        if isinstance(self.source, TokenManager):
            return self.source
        return TokenManager(self.source, policy=RefreshPolicy(deadline=timeout))


def _scope(given: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(given or ())


def _client_auth(given: str | None) -> ClientAuth | None:
    return None if given is None else cast("ClientAuth", str(given))  # of an enumeration's member, its value


@attrs.frozen(kw_only=True)
class Target:
    """What the user said of whose token it is, as the command line has it. Checked when it is made.

    Attributes:
        whose: The argument or ``--as``: a system, or ``module:attribute``; ``None``: neither was named.
        environment: ``--environment``.
        base_url: ``--base-url``.
        issuer: ``--issuer``.
        token_url: ``--token-url``.
        revocation_url: ``--revocation-url``.
        scope: ``--scope``, each as it was given.
        audience: ``--audience``.
        client_auth: ``--client-auth``.
        insecure_hosts: ``--insecure-host``, each as it was given.
        keyring: ``--keyring``.

    Raises:
        Problem: These do not go together, or an address is plain http to another machine.
        ConfigurationError: An address or a host is not one.
    """

    whose: str | None = None
    environment: str | None = None
    base_url: str | None = None
    issuer: str | None = None
    token_url: str | None = None
    revocation_url: str | None = None
    scope: tuple[str, ...] = attrs.field(default=None, converter=_scope)
    audience: str | None = None
    client_auth: ClientAuth | None = attrs.field(default=None, converter=_client_auth)
    insecure_hosts: frozenset[str] = attrs.field(default=None, converter=insecure_hosts_of)
    keyring: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.whose is not None and self.system is None and self.own is None:
            systems = ", ".join(System)
            raise Problem(
                f"there is no system {self.whose!r}: write {systems}, or module:attribute of your own provider"
            )
        if self.whose is not None and self.is_client:
            raise Problem("--issuer and --token-url already name an OAuth client: give no other name with them")
        if self.issuer is not None and self.token_url is not None:
            raise Problem("--issuer and --token-url exclude each other")
        if not self.is_client and (self.scope or self.audience or self.client_auth or self.revocation_url):
            raise Problem("--scope, --audience, --client-auth and --revocation-url need --issuer or --token-url")
        if (self.is_client or self.own) and (self.environment is not None or self.base_url is not None):
            raise Problem("--environment and --base-url are only for peakly and pago-facil")
        if self.own and self.insecure_hosts:
            raise Problem("--insecure-host goes with --base-url or --token-url; give your own provider insecure_hosts=")
        addresses = (
            ("--issuer", self.issuer),
            ("--token-url", self.token_url),
            ("--revocation-url", self.revocation_url),
        )
        for option, text in addresses:
            if text is not None:
                secure_url(text, option, self.insecure_hosts, query=text is not self.issuer)

    @property
    def system(self) -> System | None:
        """The system that was named."""
        return System(self.whose) if self.whose in set(System) else None

    @property
    def own(self) -> str | None:
        """``module:attribute``, if that was named."""
        return self.whose if self.whose is not None and ":" in self.whose else None

    @property
    def is_client(self) -> bool:
        """Whether it is an OAuth client's."""
        return self.issuer is not None or self.token_url is not None

    @property
    def name(self) -> str:
        """What outputs call it."""
        return CLIENT if self.is_client else self.whose or ""

    def place(self, system: System | None) -> dict[str, Any]:
        """Return a system's provider's arguments for where its token comes from."""
        return place_of(system, self.environment, self.base_url, self.insecure_hosts)

    def given(self, *, origins: tuple[str, ...] | None = None, **place: Any) -> Given:
        """Return the provider or manager, with the credentials that the user has for it.

        Args:
            origins: Where the token may be sent, besides a system's own API; ``None``: nowhere else.
            **place: A system's provider's arguments, instead of what `place` returns.

        Raises:
            Problem: There are no credentials and nobody to ask for them, or nothing was named.
            ConfigurationError: One can't work.
        """
        if self.own is not None:
            return Given(load(self.own), f"that of {self.own}")
        if self.is_client:
            return client_of(self, Credentials.found(CLIENT, self.keyring), origins=origins)
        if self.system is None:
            raise Problem(
                f"whose token? Name {' or '.join(System)}, module:attribute of your own provider, or give --issuer or"
                " --token-url"
            )
        place = place or self.place(self.system)
        if origins is not None:
            place = {**place, "origins": origins}
        return _of_system(Credentials.found(self.system, self.keyring), place)


def held_by(engine: TokenEngine) -> set[str]:
    """Return the texts that an engine's providers hold as credentials, so that no output shows them."""
    found: set[str] = set()
    if isinstance(engine.provider, EndpointProvider):
        constants = [credential.constant for credential in engine.provider.credentials]
        found.update(text for text in constants if text is not None)
    return found.union(*map(held_by, engine.upstreams))


def client_of(target: Target, credentials: Credentials, *, origins: tuple[str, ...] | None = None) -> Given:
    """Return the provider of an OAuth client.

    Args:
        target: Its addresses and options.
        credentials: Its id and secret.
        origins: Where its token may be sent; ``None``: nowhere.

    Raises:
        Problem: Credentials are missing.
        ConfigurationError: Something can't work.
    """
    client_id, secret, source = login_of(credentials)
    provider = ClientCredentials(
        client_id=client_id,
        client_secret=secret,
        issuer=target.issuer,
        token_url=target.token_url,
        revocation_url=target.revocation_url,
        scope=target.scope or None,
        audience=target.audience,
        client_auth=target.client_auth or "client_secret_basic",
        insecure_hosts=target.insecure_hosts,
        origins=origins,
    )
    return Given(provider, source, secret)


def _of_system(credentials: Credentials, place: dict[str, Any]) -> Given:
    if credentials.system == System.PEAKLY:
        username, password, source = login_of(credentials)
        return Given(Peakly(username=username, password=password, **place), source, password)
    access_token, jwt = PAGO_FACIL_VARIABLES[:2]
    values, used = credentials.values, credentials.used
    if used == (access_token,):
        provider = PagoFacilJWT(access_token=values[access_token], **place)
        return Given(provider, f"the access token in {credentials.where(access_token)}", values[access_token])
    if used == (jwt,):
        upstream = {name: value for name, value in place.items() if name != "origins"}
        provider = PagoFacilJWT(access_token=PagoFacil(jwt=values[jwt], **upstream), **place)
        return Given(provider, f"the JWT in {credentials.where(jwt)}", values[jwt])
    name, secret, source = login_of(credentials)
    return Given(PagoFacilJWT.from_password(username=name, password=secret, **place), source, secret)
