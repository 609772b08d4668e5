"""A declared provider, for the many APIs that issue tokens almost as OAuth does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth._http.carrier import IN_AUTHORIZATION
from asyncauth._http.origin import absolute_url, insecure_hosts_of
from asyncauth.errors import ConfigurationError
from asyncauth.providers.base import EndpointProvider, checked_text
from asyncauth.providers.identity import hashed
from asyncauth.providers.refresh_request import RefreshRequest, Renewal
from asyncauth.providers.renewal import fetch_alone, fetch_before_grant, marked
from asyncauth.providers.request_shape import DeclaredCredentials, RequestShape, SentAs, checked_method
from asyncauth.providers.wire.answer_fields import declared as declared_answer
from asyncauth.providers.wire.classify import composed
from asyncauth.providers.wire.endpoint import Endpoint, Request
from asyncauth.providers.wire.error_fields import refusal_hook
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import aiohttp
    from yarl import URL

    from asyncauth.errors import CredentialsRejected
    from asyncauth.providers.wire.answer_fields import AnswerFields
    from asyncauth.providers.wire.credential import CredentialLike
    from asyncauth.providers.wire.error_fields import ErrorFields
    from asyncauth.providers.wire.response import TokenResponse

__all__ = ["DeclaredProvider"]

_REFUSALS = refusal_hook((400, 401, 403))


class DeclaredProvider(EndpointProvider):
    """A provider in ten lines, without a class.

    ::

        DeclaredProvider(
            name="acme",
            url="https://api.acme.example/v1/session",
            credential={"secret": os.environ["ACME_SECRET"]},
            sent_as="json",
            fields={"key": "my-key"},
            answer=AnswerFields(token="data.session", lifetime="data.valid_until", unit="iso8601"),
        )

    Args:
        name: The name that errors, logs and ``status()`` show.
        url: The token endpoint's URL. It may have a query.
        credential: The credentials of a token request: a mapping from a credential's name, which ``sent_as`` explains,
            to its value. A value is a ``str``, a callable that returns one, or another manager. A single credential
            that needs no name (``"bearer"``, ``"text"``, ``"xml"``) is given without a mapping. If there is none (a
            cloud's metadata service): ``{}``.
        sent_as: How credentials and ``fields`` are sent, and so what a credential's name means. ``"form"``, ``"json"``,
            ``"query"``: a field of a form, of a JSON body or of the query, which logs of servers and proxies show.
            ``"header"``: a header. ``"basic"``: the user name for this password. ``"bearer"``: no name. ``"text"`` or,
            escaped, ``"xml"``: the name stands in braces in the text ``fields``; without that text, the credential is
            the body. A JSON body's field is a path (``"auth.password"``, ``"params[2]"`` where ``fields`` has
            ``None``). A credential that is sent in another way says so in its name: ``"header:X-Key"``, ``"basic:me"``,
            ``"query:key"``, ``"bearer:"``.
        fields: The other fields of the form, JSON body or query. With ``"bearer"``, ``"basic"`` or ``"header"``: a JSON
            body. With ``"text"`` and ``"xml"``: the body's text. ``None`` (default): none.
        headers: Other headers of the request. ``None`` (default): none.
        method: The HTTP method (default ``"POST"``).
        answer: Where the answer contains the token and its lifetime (`AnswerFields`). ``None`` (default): in
            ``access_token`` and ``expires_in``, in seconds, as in OAuth. If an answer has no lifetime, the lifetime is
            unknown: the token is used until the API answers it with a 401.
        errors: How the API reports failures (`ErrorFields`). ``None`` (default): the statuses 400, 401 and 403 mean
            that the credential was rejected.
        refresh: How the token is renewed with a refresh token (`RefreshRequest`). ``None`` (default): the credential is
            sent again.
        origins: Where the token may be sent. ``None`` (default): to the token endpoint's origin.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default), another header
            (``"header:X-Api-Token"``), a cookie (``"cookie:SESSION"``) or a query parameter (``"query:access_token"``,
            which the logs of servers and proxies show). See `ProviderOptions`.
        scheme: The text before the token in that header, such as ``"Token"``; ``""``: none. ``None`` (default):
            ``Bearer`` in ``Authorization``, none in any other header.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: only this machine.
        account: A name for the token's account, which a shared store needs. ``None`` (default): the user name of
            ``"basic"``.

    Raises:
        ConfigurationError: An argument is wrong; the message says which.
        InsecureTransport: Plain http to a host other than this machine.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str | URL,
        credential: CredentialLike | Mapping[str, CredentialLike],
        sent_as: SentAs,
        fields: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        answer: AnswerFields | None = None,
        errors: ErrorFields | None = None,
        refresh: RefreshRequest | None = None,
        origins: str | Iterable[str] | None = None,
        carried_as: str = IN_AUTHORIZATION,
        scheme: str | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
        account: str | None = None,
    ) -> None:
        declared = DeclaredCredentials.of(credential, sent_as)
        del credential  # a traceback with local variables must not show it
        self.name = checked_text(name, "name")
        declared.check()
        self._shape = shape = RequestShape.of(sent_as, declared.places, fields, headers)
        answer, rules = declared_answer(answer, errors)
        rules = attrs.evolve(rules, refusals=rules.refusals or _REFUSALS)
        self._answer = answer.reader
        where = absolute_url(url, "url", query=True)
        endpoint = Endpoint(
            provider=self.name,
            step="token",
            url=where,
            hook=composed(self._answer.hook, rules.hook),
            method=checked_method(method),
            declared=shape.texts,
            errors=rules,
            insecure_hosts=insecure_hosts_of(insecure_hosts),
        )
        self._renewal = _renewal(refresh, endpoint, shape, declared)
        self.needs_lock = self._renewal is not None and self._renewal.alone is not None
        self._configure(endpoint, declared.credentials, origins=origins)
        self._carry(carried_as, scheme)
        request = (
            endpoint.method,
            sent_as,
            declared.names,
            shape.fields,
            shape.headers,
            self._answer.parts(alone=self.needs_lock),
            None if self._renewal is None else self._renewal.request,
        )
        whose = {"account": account, "username": declared.username or None}
        self._identify(whose, declared.credentials, request=hashed(request))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        """Request a token, as declared."""
        grant, renewal = partial(self._grant, http), self._renewal
        if renewal is None:
            return await grant()
        renew = partial(self._renew, http, renewal)
        if renewal.alone is None:
            return await fetch_before_grant(previous, renew, grant)
        return await fetch_alone(previous, renew, grant, partial(self._given, http, renewal.alone), _ends)

    async def _grant(self, http: aiohttp.ClientSession) -> Token:
        """Request a token with the credentials."""
        sent: list[Token] = []

        def build(*values: str) -> Request:
            if self._renewal is not None and self._renewal.alone is not None:
                sent[:] = [Token("", refresh_token=values[self._renewal.alone])]
            return self._shape.request(*values)

        def read(response: TokenResponse) -> Token:
            return self._read(response, *sent)

        return await self._endpoint.fetch(http, self.to_send, build, read)

    async def _renew(self, http: aiohttp.ClientSession, renewal: Renewal, previous: Token) -> Token:
        """Request a token with the last token's refresh token."""
        credentials = renewal.credentials(self.credentials, previous)
        return await renewal.endpoint.fetch(
            http, credentials, renewal.shape.request, partial(self._read, kept=previous)
        )

    async def _given(self, http: aiohttp.ClientSession, number: int) -> str:
        """Return the first refresh token."""
        given, _, _ = await self.credentials[number].resolve(http)
        return given

    def _read(self, response: TokenResponse, kept: Token | None = None) -> Token:
        """Return the token in an answer.

        Args:
            response: The answer.
            kept: The token with the refresh token that was sent; ``None`` (default): none was sent. That refresh token
                remains valid if the answer has no other.
        """
        brought = None if self._renewal is None else self._answer.refreshed(response)
        token = self._answer.read(response, brought, any_type=self.takes_any_type)
        if kept is None:
            return token
        return marked(token if brought is not None else attrs.evolve(token, refresh_token=kept.refresh_token), kept)


def _renewal(
    refresh: RefreshRequest | None, endpoint: Endpoint, shape: RequestShape, declared: DeclaredCredentials
) -> Renewal | None:
    """Return how the token is renewed; ``None``: the credential is sent again.

    Raises:
        ConfigurationError: The declaration is wrong.
    """
    if refresh is None:
        return None
    if not isinstance(refresh, RefreshRequest):
        raise ConfigurationError(f"refresh= takes a RefreshRequest, not {type(refresh).__name__}")
    return refresh.renewal(endpoint, shape, declared)


def _ends(rejected: CredentialsRejected) -> bool:
    """Return whether a rejection makes a refresh token useless: each one does, except a rejected client."""
    return rejected.error != "invalid_client"
