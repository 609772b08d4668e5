"""A provider that is declared: for the many APIs that hand out tokens almost as OAuth does."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from asyncauth._http.carrier import IN_AUTHORIZATION
from asyncauth._http.origin import absolute_url
from asyncauth.errors import ConfigurationError
from asyncauth.providers.base import EndpointProvider, checked_text
from asyncauth.providers.identity import hashed
from asyncauth.providers.oauth2.options import is_json
from asyncauth.providers.wire.classify import rejects
from asyncauth.providers.wire.credential import Credential, CredentialLike
from asyncauth.providers.wire.endpoint import Endpoint, Request
from asyncauth.providers.wire.lifetime_fields import UNITS, Path, Unit, lifetime_of

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from asyncauth.providers.wire.response import TokenResponse
    from asyncauth.token import Token

__all__ = ["DeclaredProvider"]

SentAs = Literal["form", "json", "bearer", "basic", "header"]

_WAYS = ("form", "json", "bearer", "basic", "header")
_IN_HEADERS = ("bearer", "header")
_LEAST_STATUS = 400
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


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
        credential: What it is asked for with: a ``str``, a callable that returns one, or another manager.
        sent_as: How that travels: ``"form"`` or ``"json"`` (as the body's ``field``), ``"bearer"``, ``"basic"`` (as
            the password of ``username``) or ``"header"`` (as the header ``field``).
        field: The name of the body's field, or of the header, that holds the credential.
        username: The user name of ``"basic"``.
        fields: What else the form or JSON holds, without secrets. With another ``sent_as``: a JSON body.
        headers: What other headers go along, without secrets.
        method: The HTTP method (default: ``"POST"``).
        token: Where the answer's JSON holds the token: ``"access_token"`` (default), ``"data.token"``,
            ``"items[0].token"``, ``"['odd.name']"``.
        lifetime: Where it says how long the token lives (default: ``"expires_in"``); an answer without it means
            that nobody knows, and so does ``None``: the token is used until the API refuses it.
        unit: In what: ``"seconds"`` (default), ``"epoch_seconds"``, ``"epoch_ms"``, ``"http_date"`` or ``"iso8601"``.
        refusals: The statuses that mean "this credential was refused" (default: 400, 401, 403).
        origins: Where the token may be sent; default: where it comes from.
        carried_as: Where API requests carry the token: ``"header:Authorization"`` (default), another header
            (``"header:X-Api-Token"``), a cookie (``"cookie:SESSION"``) or a query parameter (``"query:access_token"``,
            which the logs of servers and proxies show). See `ProviderOptions`.
        scheme: What stands before the token in that header, such as ``"Token"``; ``""``: nothing. ``None`` (default):
            ``Bearer`` in ``Authorization``, nothing in any other header.
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
        credential: CredentialLike,
        sent_as: SentAs,
        field: str | None = None,
        username: str | None = None,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        token: str = "access_token",  # noqa: S107 (a field's name)
        lifetime: str | None = "expires_in",
        unit: Unit = "seconds",
        refusals: Iterable[int] = (400, 401, 403),
        origins: str | Iterable[str] | None = None,
        carried_as: str = IN_AUTHORIZATION,
        scheme: str | None = None,
        account: str | None = None,
    ) -> None:
        secret = Credential(credential, "credential", bearer=sent_as in _IN_HEADERS)
        del credential  # a traceback through here that shows locals must not show it
        self.name = checked_text(name, "name")
        self._sent_as, self._field, self._username = sent_as, field or "", username or ""
        self._fields: Mapping[str, Any] = {} if fields is None else fields
        self._headers: Mapping[str, str] = {} if headers is None else headers
        _check(sent_as, field, username, self._fields)
        _check_http(method, self._headers)
        self._fields, self._headers = dict(self._fields), dict(self._headers)
        if unit not in UNITS:
            raise ConfigurationError(f"unit is one of {', '.join(map(repr, UNITS))}")
        self._token = Path.of(token, "token")
        self._lifetime = None if lifetime is None else Path.of(lifetime, "lifetime")
        self._unit: Unit = unit
        statuses = tuple(refusals) if isinstance(refusals, Iterable) else None
        if statuses is None or not all(isinstance(each, int) and each >= _LEAST_STATUS for each in statuses):
            raise ConfigurationError("refusals takes HTTP statuses from 400 up, such as (401, 403)")
        where = absolute_url(url, "url", query=True)
        endpoint = Endpoint(
            provider=self.name,
            step="token",
            url=where,
            hook=rejects(*statuses),
            method=method.upper(),
            declared=(*_texts(self._fields), *self._headers.values()),
        )
        self._configure(endpoint, (secret,), origins=origins)
        self._carry(carried_as, scheme)
        request = (endpoint.method, sent_as, field, self._fields, self._headers, token, lifetime, unit)
        self._identify({"account": account, "username": username or None}, (secret,), request=hashed(request))

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:  # noqa: ARG002
        """Ask for a token, as declared."""
        return await self._endpoint.fetch(http, self._credentials, self._request, self._read)

    def _request(self, value: str) -> Request:
        name, fields, headers = self._field, self._fields, dict(self._headers)
        if self._sent_as == "form":
            form = {key: str(each) for key, each in fields.items()}
            return Request(headers=headers, form={**form, name: value})
        if self._sent_as == "json":
            return Request(headers=headers, json={**fields, name: value})
        made: tuple[str, ...] = ()
        if self._sent_as == "basic":
            made = (base64.b64encode(f"{self._username}:{value}".encode()).decode(),)
            headers["Authorization"] = f"Basic {made[0]}"
        elif self._sent_as == "bearer":
            headers["Authorization"] = f"Bearer {value}"
        else:
            headers[name] = value
        return Request(headers=headers, json=fields or None, secrets=made)

    def _read(self, response: TokenResponse) -> Token:
        path, until = self._token, self._lifetime
        found: dict[str, Any] = {}
        durations: list[float] = []
        instants: list[float] = []
        with contextlib.suppress(LookupError):
            found[path.text] = path.value(response.fields)
        with contextlib.suppress(LookupError):
            if until is not None:
                found[until.text] = value = until.value(response.fields)
                durations, instants = ([], []) if value is None else lifetime_of(value, until.text, self._unit)
        return response.with_fields(found, without=str(path.steps[0])).token(
            path.text,
            durations=durations,
            instants=instants,
            times=() if until is None else (until.text,),
            any_type=self._takes_any_type,
        )


def _texts(value: object) -> Iterator[str]:
    """Yield the texts and numbers of what JSON can hold, at any depth, as texts."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def _check(sent_as: str, field: str | None, username: str | None, fields: Mapping[str, Any]) -> None:
    """Refuse arguments that don't go together.

    Raises:
        ConfigurationError: They don't.
    """
    if sent_as not in _WAYS:
        raise ConfigurationError(f"sent_as is one of {', '.join(map(repr, _WAYS))}")
    for name, value in (("field", field), ("username", username)):
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name}= takes a str, not {type(value).__name__}")
    if (field is None) == (sent_as in {"form", "json", "header"}):
        needs = "needs field=, the name of" if field is None else "has no use for field=, the name of"
        raise ConfigurationError(f"sent_as={sent_as!r} {needs} the field or header that holds the credential")
    if (username is None) == (sent_as == "basic"):
        raise ConfigurationError("username= goes with sent_as='basic'; elsewhere it is one of fields=")
    if username is not None and ":" in username:
        raise ConfigurationError("username= can't hold a colon (RFC 7617 §2)")
    if sent_as == "header" and not _HEADER.fullmatch(field or ""):
        raise ConfigurationError("field= is no name that a header can have")
    if not is_json(fields):
        raise ConfigurationError("fields= takes a mapping of what JSON can hold")
    if field is not None and field in fields:
        raise ConfigurationError(f"fields= holds {field!r} already, which is for the credential")


def _check_http(method: str, headers: Mapping[str, str]) -> None:
    """Refuse what no HTTP request can be made of.

    Raises:
        ConfigurationError: It is so.
    """
    if not isinstance(method, str) or not _HEADER.fullmatch(method):  # a method is written as a header's name is
        raise ConfigurationError("method= takes the name of an HTTP method, such as 'POST'")
    if not isinstance(headers, Mapping) or not all(_is_header(*each) for each in headers.items()):
        raise ConfigurationError("headers= takes a mapping of headers' names to texts without line breaks")


def _is_header(name: object, value: object) -> bool:
    named = isinstance(name, str) and _HEADER.fullmatch(name)
    return bool(named) and isinstance(value, str) and not any(char in "\r\n\0" for char in value)
