"""A provider that is declared: for the many APIs that hand out tokens almost as OAuth does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth._http.carrier import IN_AUTHORIZATION
from asyncauth._http.origin import absolute_url, insecure_hosts_of
from asyncauth.errors import ConfigurationError
from asyncauth.providers.base import EndpointProvider, checked_text
from asyncauth.providers.identity import hashed
from asyncauth.providers.request_shape import HEADER_NAME, DeclaredCredentials, RequestShape, SentAs
from asyncauth.providers.wire.answer_fields import AnswerFields
from asyncauth.providers.wire.answer_fields import declared as declared_answer
from asyncauth.providers.wire.classify import composed
from asyncauth.providers.wire.credential import CredentialLike
from asyncauth.providers.wire.endpoint import Endpoint
from asyncauth.providers.wire.error_fields import refusal_hook

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.error_fields import ErrorFields
    from asyncauth.providers.wire.lifetime_fields import Unit
    from asyncauth.token import Token

__all__ = ["DeclaredProvider"]

_USUAL = AnswerFields()


class DeclaredProvider(EndpointProvider):
    """A provider in ten lines, without a class.

    ::

        DeclaredProvider(
            name="acme",
            url="https://api.acme.example/v1/session",
            credential=os.environ["ACME_SECRET"],
            sent_as="json",
            field="secret",
            fields={"key": "my-key"},
            token="data.session",
            lifetime="data.valid_until",
            unit="iso8601",
        )

    Args:
        name: What errors, logs and ``status()`` call it.
        url: Where the token comes from. It may have a query.
        credential: What it is asked for with: a ``str``, a callable that returns one, or another manager. Several: a
            mapping from where each goes, as ``field`` says it, to the credential.
        sent_as: How credential and ``fields`` travel: ``"form"``, ``"json"`` or ``"query"`` (as ``field`` of a form, of
            a JSON body, of the query), ``"bearer"``, ``"basic"`` (as the password of ``username``),
            ``"header"`` (as the header ``field``), ``"text"`` (as the body, or where ``{field}`` stands in it) or
            ``"xml"`` (likewise, escaped). A query is seen in logs of servers and proxies.
        field: The field, or the header, that holds the credential. In a JSON body it is a path (``"auth.password"``,
            ``"params[2]"`` where ``fields`` has ``None``). With another way before it, it travels that way, beside
            ``fields``: ``"header:X-Key"``, ``"basic:me"`` (the password of ``me``), ``"query:key"``.
        username: The user name of ``"basic"``.
        fields: What else the form, JSON or query holds. With ``"bearer"``, ``"basic"`` or ``"header"``: a JSON body.
            With ``"text"`` and ``"xml"``: the body's text.
        headers: What other headers go along.
        method: The HTTP method (default: ``"POST"``).
        token: Where the answer has the token: ``"access_token"`` (default), ``"data.token"``, ``"items[0].token"``,
            ``"['odd.name']"``, ``"header:X-Token"``, ``"$"``. `AnswerFields` explains them.
        lifetime: Where it says how long the token lives (default: ``"expires_in"``); an answer without it means
            that nobody knows, and so does ``None``: the token is used until the API refuses it.
        unit: In what: ``"seconds"`` (default), ``"ms"``, ``"minutes"``, ``"hours"``, ``"days"``, ``"hh:mm:ss"``,
            ``"epoch_seconds"``, ``"epoch_ms"``, ``"http_date"`` or ``"iso8601"``.
        refusals: The statuses that mean "this credential was refused" (default: 400, 401, 403).
        answer: In place of ``token``, ``lifetime`` and ``unit``: all that can be said of the answer, `AnswerFields`.
        errors: How the API tells of failures (`ErrorFields`). Its ``refusals``, if it has any, replace this argument.
        origins: Where the token may be sent; default: where it comes from.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default), another header
            (``"header:X-Api-Token"``), a cookie (``"cookie:SESSION"``) or a query parameter (``"query:access_token"``,
            which the logs of servers and proxies show). See `ProviderOptions`.
        scheme: What stands before the token in that header, such as ``"Token"``; ``""``: nothing. ``None`` (default):
            ``Bearer`` in ``Authorization``, nothing in any other header.
        insecure_hosts: Hosts to which plain http may go, exactly as URLs name them, without a port: for containers and
            meshes, such as ``("sandbox",)``. Default: none but this machine.
        account: A name for whose token it is, so that a shared store can keep it; default: ``username``.

    Raises:
        ConfigurationError: An argument can't work; the message says which.
        InsecureTransport: Plain http to a host that is not this machine.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str | URL,
        credential: CredentialLike | Mapping[str, CredentialLike],
        sent_as: SentAs,
        field: str | None = None,
        username: str | None = None,
        fields: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        token: str = _USUAL.token,
        lifetime: str | None = _USUAL.lifetime,
        unit: Unit = _USUAL.unit,
        refusals: Iterable[int] = (400, 401, 403),
        answer: AnswerFields | None = None,
        errors: ErrorFields | None = None,
        origins: str | Iterable[str] | None = None,
        carried_as: str = IN_AUTHORIZATION,
        scheme: str | None = None,
        insecure_hosts: str | Iterable[str] | None = None,
        account: str | None = None,
    ) -> None:
        declared = DeclaredCredentials.of(credential, sent_as, field, username)
        del credential  # a traceback through here that shows locals must not show it
        self.name = checked_text(name, "name")
        declared.check()
        self._shape = shape = RequestShape.of(sent_as, declared.places, fields, headers)
        _check_method(method)
        flat = AnswerFields(token=token, lifetime=lifetime, unit=unit)
        if answer is not None and flat != _USUAL:
            raise ConfigurationError("answer= takes the place of token=, lifetime= and unit=")
        answer, rules = declared_answer(answer or flat, errors)
        refused = refusal_hook(refusals)
        rules = attrs.evolve(rules, refusals=rules.refusals or refused)
        self._answer = answer.reader
        where = absolute_url(url, "url", query=True)
        endpoint = Endpoint(
            provider=self.name,
            step="token",
            url=where,
            hook=composed(self._answer.verdict, rules.verdict),
            method=method.upper(),
            declared=shape.texts,
            errors=rules,
            insecure_hosts=insecure_hosts_of(insecure_hosts),
        )
        self._configure(endpoint, declared.credentials, origins=origins)
        self._carry(carried_as, scheme)
        places = declared.names if field is None else field
        request = (
            endpoint.method,
            sent_as,
            places,
            shape.fields,
            shape.headers,
            answer.token,
            answer.lifetime,
            answer.unit,
        )
        whose = {"account": account, "username": declared.username or None}
        self._identify(whose, declared.credentials, request=hashed(request))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Ask for a token, as declared."""
        read = partial(self._answer.read, any_type=self._takes_any_type)
        return await self._endpoint.fetch(http, self._credentials, self._shape.request, read)


def _check_method(method: str) -> None:
    """Refuse what no HTTP method is named.

    Raises:
        ConfigurationError: It is so.
    """
    if not isinstance(method, str) or not HEADER_NAME.fullmatch(method):  # a method is written as a header's name is
        raise ConfigurationError("method= takes the name of an HTTP method, such as 'POST'")
