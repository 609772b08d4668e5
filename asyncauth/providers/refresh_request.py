"""How a declared provider renews its token with a part of the last answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth._http.origin import absolute_url, require_secure
from asyncauth.errors import ConfigurationError
from asyncauth.providers.request_shape import (
    DeclaredCredentials,
    Place,
    RequestShape,
    SentAs,
    checked_method,
    checked_way,
)

if TYPE_CHECKING:
    from yarl import URL

    from asyncauth.providers.wire.credential import Credential
    from asyncauth.providers.wire.endpoint import Endpoint
    from asyncauth.token import Token

__all__ = ["RefreshRequest", "Renewal"]

_OF_FIELDS = ("form", "json", "query")


@attrs.frozen(kw_only=True)
class RefreshRequest:
    """How a `DeclaredProvider` renews its token with the refresh token from the last answer.

    ::

        RefreshRequest(url="https://api.acme.example/v1/refresh", field="refresh_token")

    `AnswerFields.refresh_token` says where answers contain the refresh token (default ``"refresh_token"``). If that is
    also the token's place, the current token is sent as the refresh token. If an answer has no refresh token, the last
    one remains valid.

    When the server rejects the refresh token, or its answer is lost, the provider sends its own credential instead.
    Without ``field``, that is not possible: the refresh token replaces the credential in the provider's own request,
    and the credential is the first refresh token. In that case, the provider sends the latest refresh token, even if
    only a shared store has it. The first one is not sent again once it was rotated. With a store, the provider requests
    tokens only under the store's lock.

    Args:
        field: Where the refresh token goes, named like a credential of `DeclaredProvider`. ``None`` (default): it
            replaces the credential.
        url: The URL of the request. ``None`` (default): the provider's ``url``.
        sent_as: How ``field`` and ``fields`` are sent. ``None`` (default): as in the provider's own request if that is
            ``"form"``, ``"json"`` or ``"query"``, otherwise ``"json"``.
        fields: The other fields of the request. ``None`` (default): none.
        method: The HTTP method. ``None`` (default): the provider's.
        credentials: The names of the provider's credentials that are sent, too (default: none).
        replaces: Without ``field``: the name of the credential that is the refresh token, if there are several.
            ``None`` (default): the only one.

    The provider's ``headers`` are sent in any case.

    Raises:
        ConfigurationError: When the provider is made: an argument is wrong; the message says which.
    """

    field: str | None = None
    url: str | URL | None = attrs.field(default=None, repr=False)  # it may contain a key
    sent_as: SentAs | None = None
    fields: Mapping[str, Any] | str | None = attrs.field(default=None, repr=False)
    method: str | None = None
    credentials: Iterable[str] = ()
    replaces: str | None = None

    def renewal(self, endpoint: Endpoint, shape: RequestShape, declared: DeclaredCredentials) -> Renewal:
        """Return how a provider's token is renewed.

        Args:
            endpoint: The provider's endpoint.
            shape: The shape of its own request.
            declared: Its credentials.

        Raises:
            ConfigurationError: An argument is wrong.
            InsecureTransport: Plain http to another machine.
        """
        names = (None,) if declared.names is None else declared.names
        if self.field is None:
            if any(each is not None for each in (self.url, self.sent_as, self.fields, self.method)) or self.credentials:
                raise ConfigurationError(
                    "RefreshRequest without field= takes only replaces=: it is the provider's own request"
                )
            alone = len(names) == 1 and self.replaces is None
            return Renewal(endpoint, shape, (), 0 if alone else _index(names, self.replaces, "replaces"))
        if self.replaces is not None:
            raise ConfigurationError("RefreshRequest takes field= or replaces=, not both")
        if not isinstance(self.field, str):
            raise ConfigurationError("RefreshRequest(field=) takes a str, as a credential's name is")
        along = tuple(_index(names, name, "credentials") for name in _several(self.credentials))
        sent_as = checked_way(self.sent_as or (shape.sent_as if shape.sent_as in _OF_FIELDS else "json"))
        places = (Place.of(self.field, sent_as), *(shape.places[index] for index in along))
        own = RequestShape.of(sent_as, places, self.fields, shape.headers)
        url = endpoint.url if self.url is None else absolute_url(self.url, "refresh url", query=True)
        require_secure(url, "the refresh url", endpoint.insecure_hosts)
        method = endpoint.method if self.method is None else checked_method(self.method)
        there = attrs.evolve(endpoint, step="refresh", url=url, method=method, declared=own.texts)
        return Renewal(there, own, along, None)


@attrs.frozen(repr=False)
class Renewal:
    """How a declared provider's token is renewed.

    Attributes:
        endpoint: The endpoint of the request.
        shape: The request's shape.
        along: The indexes of the provider's credentials that are sent, too.
        alone: The index of the credential that is the first refresh token; ``None``: the credentials are a separate
            grant.
    """

    endpoint: Endpoint
    shape: RequestShape
    along: tuple[int, ...]
    alone: int | None

    @property
    def request(self) -> tuple[object, ...]:
        """The parts of the request that make one token differ from another, as JSON values."""
        shape, places = self.shape, [(place.way, place.name) for place in self.shape.places]
        return str(self.endpoint.url), self.endpoint.method, shape.sent_as, places, shape.fields

    def credentials(self, provided: tuple[Credential, ...], previous: Token) -> tuple[Credential, ...]:
        """Return the credentials of a renewal.

        Args:
            provided: The provider's own credentials.
            previous: The token with the refresh token.
        """
        refresh_token = previous.refresh_token or ""
        if self.alone is None:
            first = self.shape.places[0].credential(refresh_token, "refresh_token")
            return (first, *(provided[index] for index in self.along))
        taken = self.shape.places[self.alone].credential(refresh_token, "refresh_token")
        return (*provided[: self.alone], taken, *provided[self.alone + 1 :])


def _several(names: Iterable[str]) -> tuple[str, ...]:
    values = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else None
    if values is None:
        raise ConfigurationError("RefreshRequest(credentials=) takes the names of credentials")
    return values


def _index(names: tuple[str | None, ...], name: object, argument: str) -> int:
    """Return the index of the credential with a name.

    Raises:
        ConfigurationError: There is no such credential.
    """
    if name in names:
        return names.index(name)
    raise ConfigurationError(f"RefreshRequest({argument}=) takes a name from credential=, which says where each goes")
