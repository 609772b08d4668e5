"""An authorization server's endpoints, by its own metadata (RFC 8414, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yarl import URL

from asyncauth._http.origin import absolute_url, require_secure
from asyncauth.errors import InvalidTokenResponse
from asyncauth.providers.wire.classify import rejects
from asyncauth.providers.wire.endpoint import Endpoint, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["Issuer"]


class Issuer:
    """An authorization server that is known by its issuer. Its metadata is read once, when it is needed.

    Args:
        issuer: Its identifier, exactly as the server writes it: with a slash at the end or without.
        provider: The provider's name, for errors.

    Raises:
        ConfigurationError: It is no URL, or has a query or a fragment.
        InsecureTransport: Plain http to another machine.
    """

    __slots__ = ("_metadata", "_provider", "name", "url")

    def __init__(self, issuer: str, provider: str) -> None:
        self.url = absolute_url(issuer, "issuer")
        require_secure(self.url, "the issuer")
        self.name = str(issuer)
        self._provider = provider
        self._metadata: Mapping[str, Any] | None = None

    async def endpoint(self, http: aiohttp.ClientSession, name: str) -> URL:
        """Return an endpoint's address.

        Args:
            http: The session to ask with.
            name: What the metadata calls it, such as ``"token_endpoint"``.

        Raises:
            InvalidTokenResponse: There is no metadata; it is another issuer's; or it has no such endpoint.
            InsecureTransport: The endpoint is plain http on another machine.
            TokenEndpointUnavailable: The server can't be asked now.
        """
        if self._metadata is None:
            self._metadata = await self._read(http)
        address = self._metadata.get(name)
        if not isinstance(address, str):
            raise self._problem(f"the issuer's metadata has no {name!r}")
        url = absolute_url(address, f"the metadata's {name}", query=True)
        require_secure(url, f"the metadata's {name}")
        return url

    async def _read(self, http: aiohttp.ClientSession) -> Mapping[str, Any]:
        message = "the issuer has no metadata: check issuer=, or give token_url= instead"
        problem = self._problem(message)
        for url in _well_known(self.url):
            endpoint = Endpoint(provider=self._provider, step="discovery", url=url, method="GET", hook=rejects())
            try:
                return await endpoint.fetch(http, (), Request, self._checked)
            except InvalidTokenResponse as error:
                problem = error.again()
            if problem.status is None:  # it was there, and another issuer's
                raise problem
        problem.message = message
        raise problem

    def says(self, name: str) -> object:
        """Return what the metadata says, as far as it was read; ``None``: nothing.

        Args:
            name: What the metadata calls it, such as ``"dpop_signing_alg_values_supported"``.
        """
        return (self._metadata or {}).get(name)

    def _checked(self, response: TokenResponse) -> Mapping[str, Any]:
        if response.fields.get("issuer") != self.name:
            # Anybody could stand behind metadata of another name (RFC 8414 §3.3).
            raise InvalidTokenResponse("the metadata is another issuer's: compare the two to the last character")
        return response.fields

    def _problem(self, message: str) -> InvalidTokenResponse:
        return InvalidTokenResponse(message, provider=self._provider, step="discovery", endpoint=self.name)


def _well_known(issuer: URL) -> tuple[URL, ...]:
    """Return where an issuer's metadata may be: RFC 8414 §3.1 puts the path last, OpenID Connect §4 first."""
    path = issuer.raw_path.rstrip("/")
    return (
        issuer.with_path(f"/.well-known/oauth-authorization-server{path}", encoded=True),
        issuer.with_path(f"{path}/.well-known/openid-configuration", encoded=True),
    )
