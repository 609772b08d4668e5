"""The base class of this package's providers: address, credentials, origins, identity, repr."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

from yarl import URL

from asyncauth._http.carrier import IN_AUTHORIZATION, Carrier
from asyncauth._http.origin import absolute_url, origin_of, origins_of, require_secure
from asyncauth.errors import ConfigurationError
from asyncauth.providers.identity import Part, hashed, identity_of, nested
from asyncauth.providers.wire.credential import constant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from asyncauth.provider import Provider, TokenSource
    from asyncauth.providers.wire.credential import Credential, ResolvedCredentials
    from asyncauth.providers.wire.endpoint import Endpoint

__all__ = ["EndpointProvider", "base_address", "checked_text"]


class EndpointProvider:
    """A provider with one endpoint. Immutable; usable by any number of managers.

    Attributes:
        name: The name that errors, logs and ``status()`` show.
        origins: The origins that its token may be sent to.
        identity: Canonical JSON without secrets that differs wherever the token does; ``None``: unknown.
        carried_as: Where API requests carry the token; see `ProviderOptions`.
        scheme: The text before it there; see `ProviderOptions`.
        takes_any_type: Whether one of these two declares how the token is carried, whatever type the answer gives.
        insecure_hosts: Hosts to which plain http may go.
        needs_lock: Whether a refresh token is the only way to obtain a token; see `ProviderOptions`.
        credentials: The credentials that token requests carry; their reprs show no secret.
        to_send: What `Endpoint.fetch` gets: the credentials' values, if all are strings; otherwise the credentials.
    """

    name: str
    origins: tuple[str, ...]
    identity: str | None
    carried_as: str = IN_AUTHORIZATION
    scheme: str | None = None
    takes_any_type: bool = False
    insecure_hosts: frozenset[str]
    needs_lock: bool = False
    credentials: tuple[Credential, ...]
    to_send: tuple[Credential, ...] | ResolvedCredentials

    _endpoint: Endpoint

    def _configure(
        self,
        endpoint: Endpoint,
        credentials: tuple[Credential, ...],
        *,
        origins: str | Iterable[str] | None,
    ) -> None:
        """Set everything but the identity.

        Args:
            endpoint: The token endpoint.
            credentials: The credentials that token requests carry.
            origins: Where the token may be sent; ``None``: to the token endpoint's origin.

        Raises:
            ConfigurationError: Credentials or origins are wrong.
            InsecureTransport: Plain http to another machine that the endpoint's ``insecure_hosts`` do not name.
        """
        self.insecure_hosts = endpoint.insecure_hosts
        require_secure(endpoint.url, "the token endpoint", self.insecure_hosts)
        for credential in credentials:
            credential.check()
        self._endpoint = endpoint
        self.credentials = credentials
        self.to_send = constant(credentials) or credentials
        own = (str(origin_of(endpoint.url)),)
        self.origins = own if origins is None else origins_of(origins, insecure_hosts=self.insecure_hosts)

    def _carry(self, carried_as: str, scheme: str | None, *, bound: bool = False) -> None:
        """Set how API requests carry the token. This is not part of the identity, since the token is the same.

        Args:
            carried_as: The place.
            scheme: The text before the token there.
            bound: Whether the token is bound to a key (DPoP; default ``False``).

        Raises:
            ConfigurationError: The token can't be carried in this way.
        """
        Carrier.of(carried_as, scheme, bound=bound)
        self.carried_as, self.scheme = carried_as, scheme
        self.takes_any_type = scheme is not None or carried_as != IN_AUTHORIZATION

    def _identify(self, whose: Mapping[str, str | None], grant: tuple[Credential, ...], **parts: Part) -> None:
        """Set the identity. Called once, after `_configure`; providers do not change it afterwards.

        It contains neither the credentials' values nor how a client authenticates: after a change of the password, the
        account's token is still the right one.

        Args:
            whose: By name, the texts that say whose the token is.
            grant: The credentials that say so instead, if each is an upstream's token with a known identity. If neither
                does, the identity is unknown.
            **parts: The other parts that make one token differ from another, without secrets; ``None``: nothing.

        Raises:
            ConfigurationError: One of ``whose`` is not a text.
        """
        named = {name: checked_text(value, name) for name, value in whose.items() if value is not None}
        upstream: dict[str, Part] = {}
        for number, each in enumerate(self.credentials):
            if each.identity is not None:  # two credentials of a declaration may have the same name
                upstream[each.name if each.name not in upstream else f"{number} {each.name}"] = nested(each.identity)
        if not named and not (grant and all(each.identity is not None for each in grant)):
            self.identity = None
            return
        url = self._endpoint.url
        self.identity = identity_of(
            provider=self.name,
            step=self._endpoint.step,
            url=str(url.with_query(None)),
            query=hashed(url.raw_query_string) if url.raw_query_string else None,  # it may contain anything
            upstream=upstream or None,
            **named,
            **parts,
        )

    @property
    def token_endpoint(self) -> str:
        """The token endpoint's address without a query; the issuer's address, if the endpoint is discovered from it."""
        return str(self._endpoint.url.with_query(None))

    def chained(self, manage: Callable[[Provider], TokenSource]) -> Self:
        """Return the provider with managers in place of its upstream providers."""
        if not any(credential.provider is not None for credential in self.credentials):
            return self
        twin = copy.copy(self)
        twin.credentials = twin.to_send = tuple(credential.managed(manage) for credential in self.credentials)
        return twin

    def __repr__(self) -> str:
        if not hasattr(self, "credentials"):  # shown in a traceback through __init__
            return f"<{type(self).__name__}>"
        credentials = " ".join(map(repr, self.credentials))
        return f"<{type(self).__name__} {self._endpoint.url.with_query(None)} {credentials}>"


def base_address(
    environment: str, base_url: str | URL | None, hosts: Mapping[str, str], insecure_hosts: Collection[str] = ()
) -> URL:
    """Return the address that a system's endpoints are relative to.

    Args:
        environment: The name of one of the system's own servers.
        base_url: Another server, which overrides ``environment``.
        hosts: The system's own servers, by environment.
        insecure_hosts: Hosts to which plain http may go, from `insecure_hosts_of` (default: none).

    Raises:
        ConfigurationError: The environment is unknown, or ``base_url`` is not an absolute URL.
        InsecureTransport: Plain http to another machine.
    """
    if base_url is not None:
        url = absolute_url(base_url, "base_url")
        require_secure(url, "base_url", insecure_hosts)
        return url
    if not isinstance(environment, str) or environment not in hosts:
        known = " or ".join(map(repr, hosts))
        raise ConfigurationError(f"there is no environment {environment!r}", advice=f"write {known}, or give base_url=")
    return URL(hosts[environment])


def checked_text(value: object, name: str) -> str:
    """Return an argument that must be a string that is not blank, such as a username.

    Raises:
        ConfigurationError: It is not.
    """
    if not isinstance(value, str) or not value.strip():
        kind = "empty" if isinstance(value, str) else type(value).__name__
        raise ConfigurationError(
            f"{name} takes a str that is not empty, not {kind}", advice="is an environment variable unset?"
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ConfigurationError(
            f"{name} contains a character that can't be sent", advice="was it read with surrogateescape?"
        )
    return value
