"""The base class of all OAuth 2.0 grants: the client, the parameters, the answer, the refresh token (RFC 6749)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from asyncauth._http.origin import absolute_url, insecure_hosts_of
from asyncauth.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from asyncauth.providers.base import EndpointProvider
from asyncauth.providers.identity import Part, hashed
from asyncauth.providers.oauth2.client_auth import Client
from asyncauth.providers.oauth2.client_request import ClientRequest, Fields
from asyncauth.providers.oauth2.discovery import Issuer
from asyncauth.providers.oauth2.dpop import Prover
from asyncauth.providers.oauth2.options import Parameters
from asyncauth.providers.oauth2.revocation import (
    REVOCATION,
    revocation_address,
    revocation_at,
    revocation_fields,
)
from asyncauth.providers.oauth2.server_clock import ServerClock
from asyncauth.providers.renewal import fetch_before_grant
from asyncauth.providers.wire.answer_fields import AnswerFields, declared
from asyncauth.providers.wire.classify import composed
from asyncauth.providers.wire.credential import Credential, constant
from asyncauth.providers.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp
    from yarl import URL

    from asyncauth.provider import TokenKind
    from asyncauth.providers.oauth2.oauth_options import Given
    from asyncauth.providers.wire.credential import ResolvedCredentials
    from asyncauth.providers.wire.response import AnswerReader, TokenResponse
    from asyncauth.token import Token

__all__ = ["Fields", "OAuthProvider"]

_T = TypeVar("_T")

_NAME = "token_endpoint"
"""The endpoint's name in the metadata."""


class OAuthProvider(EndpointProvider):
    """A grant of any OAuth 2.0 server.

    A refresh token that comes with an access token is used for the next renewal. If the server rejects it, or an answer
    was lost, the grant itself is used. A refresh token that is not replaced remains valid (RFC 6749 §6).

    A subclass calls `_set_up` in its ``__init__``, which `takes_options` decorates. Its form has the constant fields,
    each of the grant's own credentials under that credential's name, and the parameters. A subclass with another form
    overrides `_fields`; one whose token takes several requests overrides `_grant`.

    Attributes:
        prover: Makes the proofs of a token that is bound to a key; ``None`` (default): it is a bearer token.
    """

    prover: Prover | None = None

    _client: Client
    _parameters: Parameters
    _issuer: Issuer | None
    _located: bool
    _revocation_url: URL | None
    _answer: AnswerReader
    _server_clock: ServerClock
    _cannot_revoke: str = "the server's revocation endpoint is not known"
    _how_to_revoke: str = "give revocation_url=, or issuer="
    _signs: bool = False
    """Whether the grant's own fields contain an assertion that is signed for each request."""
    _form: Fields
    """The fields of the grant's form that are always the same."""
    _names: tuple[str, ...]
    """The names of the grant's own credentials."""

    def _set_up(
        self,
        given: Given,
        *credentials: Credential,
        client_id: str | None,
        whose: Mapping[str, str | None],
        form: Fields = (),
        confidential: bool = False,
        **parts: Part,
    ) -> None:
        """Set what all grants share.

        Args:
            given: The arguments that all grants share.
            *credentials: The grant's own credentials.
            client_id: The client's id; ``None``: the server needs none.
            whose: The texts that say whose the token is; see `EndpointProvider._identify`.
            form: The fields of the grant's form that are always the same (default: none).
            confidential: Whether the client must authenticate, unless ``client_auth`` is ``"none"`` (default
                ``False``).
            **parts: The other parts that make one token differ from another; no secrets.

        Raises:
            ConfigurationError: An argument is wrong, or the arguments contradict each other.
            InsecureTransport: Plain http to another machine.
        """
        self._form, self._names = form, tuple(each.name for each in credentials)
        hosts = insecure_hosts_of(given.insecure_hosts)
        self._server_clock = ServerClock()
        client = Client.of(client_id, given, confidential=confidential)
        parameters = self._parameters = Parameters.of(given)
        self._issuer = None if given.issuer is None else Issuer(given.issuer, self.name, hosts)
        self._located = given.token_url is not None
        self._revocation_url = revocation_address(given.revocation_url, hosts)
        answer, errors = declared(given.answer, given.errors)
        self._answer = answer.reader
        self._configure(
            Endpoint(
                provider=self.name,
                step="token",
                url=self._address(given),
                insecure_hosts=hosts,
                declared=tuple(value for _, value in parameters.extra),
                hook=composed(self._answer.hook, errors.hook),
                errors=errors,
            ),
            (*credentials, *client.credentials),
            origins=() if given.origins is None else given.origins,  # the API is on another origin
        )
        self._client = client.checked()
        dpop_key = given.secrets.dpop_key
        if given.dpop or dpop_key is not None:
            self.prover = _prover(dpop_key, given.dpop_algorithm, self._server_clock)
        self._carry(given.carried_as, given.scheme, bound=self.prover is not None)
        thumbprint = None if self.prover is None else self.prover.thumbprint
        # otherwise the URL in the identity is the token endpoint's own
        found_by = None if self._located else given.issuer
        parts = {"client_id": client.id, "dpop": thumbprint, "issuer": found_by, **parameters.parts, **parts}
        read, usually = (each.reader.parts(alone=self.needs_lock) for each in (answer, AnswerFields()))
        parts["answer"] = None if read == usually else hashed(read)
        self._identify(whose, credentials, **parts)
        if dpop_key is None and self.prover is not None:
            self.identity = None  # no other process has this token's key

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Request a token: with the refresh token if there is one, otherwise with the grant itself."""
        if self._located:
            return await self._obtain(self._endpoint, http, previous)

        async def obtain(endpoint: Endpoint) -> Token:
            return await self._obtain(endpoint, http, previous)

        return await self._at_known(_NAME, self._endpoint, http, obtain)

    async def revoke(self, http: aiohttp.ClientSession, token: str, kind: TokenKind, /) -> None:
        """Ask the server to revoke a token, at ``revocation_url`` or the endpoint in the issuer's metadata (RFC 7009).

        The client authenticates as for a token request.

        Raises:
            ConfigurationError: The revocation endpoint is unknown.
            AuthError: The token could not be revoked.
        """
        credential = Credential(token, kind)
        del token  # a traceback with local variables must not show it

        async def revoke(endpoint: Endpoint) -> None:
            fields = revocation_fields(kind)
            await self._ask(endpoint, http, (credential, *self._client_credentials), fields, _nothing, bound=False)

        if self._revocation_url is not None:
            await revoke(revocation_at(self._revocation_url, self._endpoint))
        elif self._issuer is not None:
            await self._at_known(REVOCATION, revocation_at(self._issuer.url, self._endpoint), http, revoke)
        else:
            raise ConfigurationError(self._cannot_revoke, advice=self._how_to_revoke)

    async def _at_known(
        self,
        name: str,
        endpoint: Endpoint,
        http: aiohttp.ClientSession,
        work: Callable[[Endpoint], Awaitable[_T]],
    ) -> _T:
        """Call ``work`` with an endpoint from the issuer's metadata, and again if the endpoint has moved since.

        Args:
            name: The endpoint's name in the metadata.
            endpoint: The endpoint without its address.
            http: The session to send with.
            work: The work to do there.
        """
        issuer = self._known_issuer
        url = await issuer.endpoint(http, name)
        try:
            return await work(attrs.evolve(endpoint, url=url))
        except InvalidTokenResponse as error:
            problem = error.again()
        moved = await issuer.moved(http, name, url, problem)
        if moved is None:
            raise problem
        return await work(attrs.evolve(endpoint, url=moved))

    def _obtain(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token | None) -> Awaitable[Token]:
        """Request a token from this token endpoint."""
        if previous is None or previous.refresh_token is None:
            return self._grant(endpoint, http)
        return fetch_before_grant(previous, partial(self._renew, endpoint, http), partial(self._grant, endpoint, http))

    def _grant(self, endpoint: Endpoint, http: aiohttp.ClientSession) -> Awaitable[Token]:
        """Request a token with the grant itself."""
        return self._ask(endpoint, http, self.to_send, self._fields, self._read)

    def _fields(self, *values: str) -> Fields | AuthError:
        """Return the fields of the grant's form, or the error in a credential.

        Args:
            *values: The values of the grant's own credentials.
        """
        return (*self._form, *zip(self._names, values, strict=True), *self._parameters.fields)

    def _renew(self, endpoint: Endpoint, http: aiohttp.ClientSession, previous: Token) -> Awaitable[Token]:
        """Request a token with the previous token's refresh token."""
        credentials = (Credential(previous.refresh_token or "", "refresh_token"), *self._client_credentials)
        known = constant(credentials) or credentials
        return self._ask(endpoint, http, known, self._refresh_fields, partial(self._renewed, previous))

    def _renewed(self, previous: Token, response: TokenResponse) -> Token:
        """Return the token in the answer to a request with the previous token's refresh token."""
        return self._read(response, kept=previous)

    def _refresh_fields(self, refresh_token: str) -> Fields:
        fields = (("grant_type", "refresh_token"), ("refresh_token", refresh_token))
        return (*fields, *self._parameters.unscoped)

    def _address(self, given: Given) -> URL:
        """Return the token endpoint's URL, or the issuer's if it must be discovered."""
        if given.token_url is None:
            return self._known_issuer.url
        return absolute_url(given.token_url, "token_url", query=True)

    @property
    def _client_credentials(self) -> tuple[Credential, ...]:
        """The client's own part of `credentials`."""
        return self.credentials[len(self.credentials) - len(self._client.credentials) :]

    @property
    def _known_issuer(self) -> Issuer:
        if self._issuer is None:
            raise ConfigurationError(
                "the address of the token endpoint is missing",
                advice="give token_url=, or issuer= to read it from the server's metadata",
            )
        return self._issuer

    async def _ask(
        self,
        endpoint: Endpoint,
        http: aiohttp.ClientSession,
        credentials: tuple[Credential, ...] | ResolvedCredentials,
        fields: Callable[..., Fields | AuthError],
        read: Callable[[TokenResponse], _T],
        *,
        bound: bool = True,
    ) -> _T:
        """Send a request in which the client authenticates.

        Args:
            endpoint: The endpoint to send it to.
            http: The session to send with.
            credentials: The credentials that it needs, the client's last, or their values if these are known.
            fields: Makes the form's fields from the values of those before; an error is returned, not raised.
            read: Makes the result from the answer.
            bound: Whether it proves possession of the key that the provider's tokens are bound to, if any (default
                ``True``).
        """
        prover = self.prover if bound else None
        if prover is not None and self._issuer is not None:
            prover.use(self._issuer.says("dpop_signing_alg_values_supported"))
        request = ClientRequest(endpoint, self._client, prover, self._server_clock, self._issuer, fields, self._signs)
        try:
            answer = await endpoint.fetch(http, credentials, request.build, read, request.should_retry)
        except TokenEndpointUnavailable:
            request.note_clock()
            raise
        except CredentialsRejected as error:
            problem = request.advised(error.again())
        else:
            if prover is not None:
                request.note()
            return answer
        raise problem

    def _read(self, response: TokenResponse, *, kept: Token | None = None) -> Token:
        """Return the token in an answer (RFC 6749 §5.1).

        Args:
            response: The answer.
            kept: The token whose refresh token the answer may replace; ``None`` (default): none.
        """
        refresh_token = self._answer.refreshed(response)
        if refresh_token is None and kept is not None:
            refresh_token = kept.refresh_token
        token = self._token(response, refresh_token)
        bound = token.token_type.lower() == "dpop"
        if bound and self.prover is None:
            raise InvalidTokenResponse(
                "the token is bound to a key (token_type DPoP)", advice="give dpop=True or dpop_key="
            )
        if self.prover is not None and not bound:
            raise InvalidTokenResponse(
                f"the token is not bound to a key: its type is {token.token_type}, not DPoP",
                advice="leave dpop out, or have it enabled for this client",
            )
        return token

    def _token(self, response: TokenResponse, refresh_token: str | None) -> Token:
        """Return the token with its lifetime, from this system's answer."""
        return self._answer.read(response, refresh_token, any_type=self.takes_any_type)


def _nothing(_: TokenResponse) -> None:
    """Return nothing: a successful revocation has no result."""


def _prover(key: Credential | None, algorithm: str | None, server_clock: ServerClock) -> Prover:
    if key is not None:
        key.check()
        if key.constant is None:
            raise ConfigurationError("dpop_key takes a str, in PEM or a JWK: tokens are bound to it")
    prover = Prover.of(None if key is None else key.constant, algorithm, server_clock)
    if isinstance(prover, ConfigurationError):
        raise prover
    return prover
