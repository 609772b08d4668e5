"""An authorization server's endpoints, from its metadata (RFC 8414, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from asyncauth._http.origin import absolute_url, require_secure
from asyncauth.errors import AuthError, InvalidTokenResponse, TokenEndpointUnavailable
from asyncauth.providers.wire.classify import rejects
from asyncauth.providers.wire.endpoint import Endpoint, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["Issuer"]

_NOT_HERE = frozenset({404, 405})
"""Statuses that mean that an endpoint is not, or no longer, at its address."""


class Issuer:
    """An authorization server, identified by its issuer.

    Its metadata is read when needed. Only metadata with the requested endpoint is kept, until `moved` reads it again.

    Args:
        issuer: Its identifier, exactly as the server writes it: with or without a slash at the end.
        provider: The provider's name, for errors.
        insecure_hosts: Hosts to which plain http may go (default: none).

    Raises:
        ConfigurationError: It is not a URL, or has a query or a fragment.
        InsecureTransport: Plain http to another machine.
    """

    __slots__ = ("_insecure_hosts", "_metadata", "_provider", "name", "url")

    def __init__(self, issuer: str, provider: str, insecure_hosts: frozenset[str] = frozenset()) -> None:
        self.url = absolute_url(issuer, "issuer")
        require_secure(self.url, "the issuer", insecure_hosts)
        self._insecure_hosts = insecure_hosts
        self.name = str(issuer)
        self._provider = provider
        self._metadata: Mapping[str, Any] = {}

    async def endpoint(self, http: aiohttp.ClientSession, name: str) -> URL:
        """Return an endpoint's address.

        Tries every well-known place. If none has it, the error is the one from the place that came closest.

        Args:
            http: The session to send with.
            name: The endpoint's name in the metadata, such as ``"token_endpoint"``.

        Raises:
            InvalidTokenResponse: There is no metadata; it is another issuer's; or it has no such endpoint.
            InsecureTransport: The endpoint is plain http on another machine.
            TokenEndpointUnavailable: The server is not available now.
        """
        with contextlib.suppress(AuthError):
            return self._address(self._metadata, name)
        problem: AuthError | None = None
        for place in _well_known(self.url):
            try:
                metadata = await self._read(http, place)
                url = self._address(metadata, name)
            except AuthError as error:
                problem = _closest(problem, error.again())
                if isinstance(error, TokenEndpointUnavailable) and error.status is None:
                    break  # the server can't be reached, so its other places can't, either
            else:
                self._metadata = metadata
                return url
        raise cast("AuthError", problem)  # there is at least one place

    def says(self, name: str) -> object:
        """Return a value of the metadata that was read; ``None``: it has none, or was not read.

        Args:
            name: The value's name in the metadata, such as ``"dpop_signing_alg_values_supported"``.
        """
        return self._metadata.get(name)

    async def moved(self, http: aiohttp.ClientSession, name: str, known: URL, error: AuthError) -> URL | None:
        """Return an endpoint's current address, if an error means that it is no longer at its known one.

        In that case, reads the metadata again.

        Args:
            http: The session to send with.
            name: The endpoint's name in the metadata.
            known: The address that the request went to.
            error: The error of that request.

        Returns:
            ``None`` if the error does not mean that, or if the metadata still has the same addresses.

        Raises:
            AuthError: As `endpoint` does.
        """
        status = error.status or 0
        if not isinstance(error, InvalidTokenResponse) or not (status in _NOT_HERE or 300 <= status < 400):  # noqa: PLR2004
            return None
        before = self._metadata
        self._metadata = {}
        url = await self.endpoint(http, name)
        same = url == known and _endpoints(before) == _endpoints(self._metadata)
        return None if same else url

    async def _read(self, http: aiohttp.ClientSession, place: URL) -> Mapping[str, Any]:
        endpoint = Endpoint(
            provider=self._provider,
            step="discovery",
            url=place,
            method="GET",
            hook=rejects(),
            insecure_hosts=self._insecure_hosts,
        )
        return await endpoint.fetch(http, (), Request, self._checked)

    def _checked(self, response: TokenResponse) -> Mapping[str, Any]:
        if response.fields.get("issuer") != self.name:
            # Anyone may have written metadata of another name (RFC 8414 §3.3).
            raise InvalidTokenResponse(
                "the metadata is another issuer's", advice="compare the two to the last character"
            )
        return response.fields

    def _address(self, metadata: Mapping[str, Any], name: str) -> URL:
        """Return an endpoint's address in the metadata. Raises as `endpoint` does."""
        address = metadata.get(name)
        if not isinstance(address, str):
            raise InvalidTokenResponse(
                f"the issuer's metadata has no {name!r}",
                advice="give that endpoint's address as an argument",
                provider=self._provider,
                step="discovery",
                endpoint=self.name,
            )
        url = absolute_url(address, f"the metadata's {name}", query=True)
        require_secure(url, f"the metadata's {name}", self._insecure_hosts)
        return url


def _endpoints(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name.endswith("_endpoint")}


def _closest(first: AuthError | None, other: AuthError) -> AuthError:
    """Return which of two places' errors says more.

    A server that is not available now may have usable metadata, so its error says the most. Unusable metadata says more
    than none.
    """
    if isinstance(other, InvalidTokenResponse) and other.status is not None:  # there is none at this place
        other = InvalidTokenResponse(
            "the issuer has no metadata",
            advice="check issuer=, or give token_url= instead",
            provider=other.provider,
            step=other.step,
            endpoint=other.endpoint,
            status=other.status,
        )
    return other if first is None or _worth(other) > _worth(first) else first


def _worth(error: AuthError) -> int:
    if isinstance(error, TokenEndpointUnavailable):
        return 2
    return 1 if error.status is None else 0


def _well_known(issuer: URL) -> tuple[URL, ...]:
    """Return the places of an issuer's metadata, each once.

    RFC 8414 §3.1 puts the issuer's path last, and so do some OpenID Connect servers (RFC 8414 §5). OpenID Connect
    Discovery §4 puts it first.
    """
    path = issuer.raw_path.rstrip("/")
    places = (
        f"/.well-known/oauth-authorization-server{path}",
        f"{path}/.well-known/openid-configuration",
        f"/.well-known/openid-configuration{path}",
        f"{path}/.well-known/oauth-authorization-server",
    )
    return tuple(issuer.with_path(place, encoded=True) for place in dict.fromkeys(places))
