"""How a declared provider renews its token with what came with the last one."""

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
    """How a `DeclaredProvider` renews its token with the refresh token that came with the last one.

    ::

        RefreshRequest(url="https://api.acme.example/v1/refresh", field="refresh_token")

    `AnswerFields.refresh_token` says where answers have the refresh token (default: ``"refresh_token"``). If that is
    the same place as the token's, the token renews itself. An answer without one leaves the last one in force.

    When the server rejects the refresh token, or its answer is lost, the provider's own credential is sent instead.
    Without ``field`` there is none: the refresh token takes the credential's place in the provider's own request, and
    the credential is the first refresh token. Then the last one counts, also one in a shared store; the first is not
    sent again once it was rotated; and with a store no token is asked for without the store's lock.

    Args:
        field: Where the refresh token goes, as `DeclaredProvider` names it for a credential. ``None`` (default): in the
            credential's place.
        url: Where the request goes. ``None`` (default): to the provider's ``url``.
        sent_as: How ``field`` and ``fields`` travel. ``None`` (default): as in the provider's own request if that is
            ``"form"``, ``"json"`` or ``"query"``, else as ``"json"``.
        fields: What else the request holds. ``None`` (default): nothing.
        method: The HTTP method. ``None`` (default): the provider's.
        credentials: Which of the provider's credentials go along, by their names there.
        replaces: Without ``field``: which credential is the refresh token, by its name, if there are several.

    The provider's ``headers`` go along in any case.

    Raises:
        ConfigurationError: When the provider is made: an argument can't work; the message says which.
    """

    field: str | None = None
    url: str | URL | None = attrs.field(default=None, repr=False)  # which might hold a key
    sent_as: SentAs | None = None
    fields: Mapping[str, Any] | str | None = attrs.field(default=None, repr=False)
    method: str | None = None
    credentials: Iterable[str] = ()
    replaces: str | None = None

    def renewal(self, endpoint: Endpoint, shape: RequestShape, declared: DeclaredCredentials) -> Renewal:
        """Return what is done to renew a provider's token.

        Args:
            endpoint: The provider's.
            shape: Its own request's.
            declared: Its credentials.

        Raises:
            ConfigurationError: An argument can't work.
            InsecureTransport: Plain http to another machine.
        """
        names = (None,) if declared.names is None else declared.names
        if self.field is None:
            if any(each is not None for each in (self.url, self.sent_as, self.fields, self.method)) or self.credentials:
                raise ConfigurationError(
                    "RefreshRequest without field= is the provider's own request, but for replaces="
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
    """What is done to renew a declared provider's token.

    Attributes:
        endpoint: Where the request goes.
        shape: The request's.
        along: Which of the provider's credentials go along, by their numbers.
        alone: Which of them is the first refresh token; ``None``: they are a grant of their own.
    """

    endpoint: Endpoint
    shape: RequestShape
    along: tuple[int, ...]
    alone: int | None

    @property
    def request(self) -> tuple[object, ...]:
        """What makes the token another one, as JSON can hold it: where its request goes, and what it holds."""
        shape, places = self.shape, [(place.way, place.name) for place in self.shape.places]
        return str(self.endpoint.url), self.endpoint.method, shape.sent_as, places, shape.fields

    def credentials(self, provided: tuple[Credential, ...], previous: Token) -> tuple[Credential, ...]:
        """Return what a renewal takes.

        Args:
            provided: The provider's own credentials.
            previous: Has the refresh token.
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
    """Return the number of the credential that is meant.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if name in names:
        return names.index(name)
    raise ConfigurationError(f"RefreshRequest({argument}=) takes a name from credential=, which says where each goes")
