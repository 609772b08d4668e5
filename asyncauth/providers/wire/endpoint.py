"""The only token-endpoint I/O: sends one token request, reads its answer, and classifies the outcome.

A provider adds the request's form, and makes a `Token` from the answer's fields. This module has everything that all
providers share: the limits (no redirect, 1 MiB, no session middlewares), the classes of failure, and a chain's second
try. If a rejected credential came from another manager, it is invalidated there, obtained again, and sent once more.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, quote_plus, urlencode

import aiohttp
import attrs
from aiohttp.hdrs import AUTHORIZATION

from asyncauth._base.printable import name_of
from asyncauth._base.redaction import Redactor
from asyncauth._core.try_state import current_try
from asyncauth._http.aiohttp_compat import add_to_url, is_from_netrc, reset_url
from asyncauth._http.origin import check_proxy
from asyncauth._http.trouble import trouble_of
from asyncauth.errors import (
    AuthError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    TokenEndpointUnavailable,
)
from asyncauth.providers.wire.answer_errors import error_of
from asyncauth.providers.wire.answer_secrets import secrets_of
from asyncauth.providers.wire.classify import Answer, Hook, Kind, Verdict, classify
from asyncauth.providers.wire.credential import Credential, ResolvedCredentials, resolve
from asyncauth.providers.wire.decompress import ACCEPTED, decompressed
from asyncauth.providers.wire.document import fields_of, read_document
from asyncauth.providers.wire.response import TokenResponse
from asyncauth.providers.wire.words import cleaned, server_message

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType
    from yarl import URL

    from asyncauth._core.try_state import TryState
    from asyncauth.providers.wire.error_fields import ErrorRules

__all__ = ["Endpoint", "Request"]

_T = TypeVar("_T")

_log = logging.getLogger("asyncauth.refresh")

_MOST_WARNINGS = 8
"""The most warnings per endpoint, since its server may write something different into each answer."""
_MOST_RETRIES = 2
"""A request may lack a nonce, and then contain a wrong time."""

_COMMON_HEADERS = {"Accept": "application/json", "Accept-Encoding": ACCEPTED, "Cache-Control": "no-cache"}
"""The headers of every token request. A body's type is always among them, or a session's default would apply."""
_FORM_HEADERS = {**_COMMON_HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
_JSON_HEADERS = {**_COMMON_HEADERS, "Content-Type": "application/json"}

LARGEST_ANSWER = 1 << 20
"""The most bytes of a token answer that are read, compressed or decompressed."""


_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")
"""A text that percent-encoding does not change (RFC 3986 §2.3), as most: a match takes a fifth of the time."""


def _in_form(text: str) -> str:
    return text if _UNRESERVED.fullmatch(text) else quote_plus(text)


@attrs.define(repr=False, eq=False)
class Request:
    """A token request: headers, fields for the address' query, and a body. Contains secrets; its repr shows none.

    Attributes:
        headers: Headers besides those of every token request (default: none).
        query: Fields to add to the address' query (default: none).
        form: The fields of a form; a sequence if a name may occur more than once. ``None`` (default): no form.
        json: A JSON body. ``None`` (default): none.
        text: A text body. ``None`` (default): none.
        content_type: The type of that text. ``None`` (default): none.
        secrets: Texts that were made from the credentials, such as a signed assertion, which no error may show
            (default: none).
    """

    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Sequence[tuple[str, str]] = ()
    form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None
    json: Mapping[str, Any] | None = None
    text: str | None = None
    content_type: str | None = None
    secrets: tuple[str, ...] = ()

    def content(self) -> dict[str, Any]:
        """Return the body, and the headers that hold no secret, as arguments for aiohttp."""
        if self.form is not None:
            # Encoded here: a FormData makes a multipart's boundary as well, which takes 20 µs.
            fields = self.form.items() if isinstance(self.form, (dict, Mapping)) else self.form
            pairs = [f"{_in_form(name)}={_in_form(value)}" for name, value in fields]
            return {"data": "&".join(pairs).encode(), "headers": _FORM_HEADERS}
        if self.text is not None:
            typed = {} if self.content_type is None else {"Content-Type": self.content_type}
            return {"data": self.text.encode(), "headers": {**_COMMON_HEADERS, **typed}}
        if self.json is not None:
            return {"data": json.dumps(self.json).encode(), "headers": _JSON_HEADERS}
        return {"headers": _COMMON_HEADERS}


@attrs.frozen(kw_only=True)
class Endpoint:
    """One token endpoint.

    Attributes:
        provider: The provider's name, for errors.
        step: The provider's own name for the request (``"createToken"``), for errors.
        url: The endpoint's URL.
        hook: The provider's override of a verdict; ``None`` (default): the common rules decide.
        method: The HTTP method (default ``"POST"``).
        declared: Other values in a declaration, such as fields and headers, that may be a key: no error shows them
            (default: none).
        waits: Error codes that do not reject anything yet (RFC 8628 §3.5). They are raised like rejections, but not
            reported to managers that credentials came from (default: none).
        errors: Where answers have the server's message; ``None`` (default): the usual places are searched.
        warned: The warnings that were already logged.
        insecure_hosts: Hosts that requests may be sent to by plain http (default: none).
    """

    provider: str
    step: str
    url: URL = attrs.field(repr=lambda url: str(url.with_query(None)))  # it may contain a key
    hook: Hook | None = None
    method: str = "POST"
    declared: tuple[str, ...] = attrs.field(default=(), repr=False)
    waits: frozenset[str] = frozenset()
    errors: ErrorRules | None = None
    warned: set[str] = attrs.field(factory=set[str], repr=False)
    insecure_hosts: frozenset[str] = frozenset()

    async def fetch(
        self,
        http: aiohttp.ClientSession,
        credentials: tuple[Credential, ...] | ResolvedCredentials,
        build: Callable[..., Request | AuthError],
        read: Callable[[TokenResponse], _T],
        should_retry: Callable[[CredentialsRejected], bool] | None = None,
    ) -> _T:
        """Request a token with these credentials.

        Args:
            http: The session to send with.
            credentials: The credentials, or their values if these are known. Each is obtained and passed to ``build``,
                in this order.
            build: Makes the request from the credentials' values. An error is returned, not raised, since its frame
                contains the secrets.
            read: Makes the token from the answer; raises ``InvalidTokenResponse`` for an unreadable field.
            should_retry: Called after a rejection, at most twice: returns whether the request itself may have been the
                reason, and ``build`` would now make another one. If so, that one is sent at once, with the same
                credentials. ``None`` (default): no retry.

        Raises:
            CredentialsRejected: A credential was rejected, and if it came from a manager, its replacement, too.
            TokenEndpointUnavailable: The server could not be reached, or can't answer now.
            InvalidTokenResponse: The answer is unusable.
            AuthError: A credential could not be obtained.
        """
        state = current_try()
        state.annotate = self.annotate
        resolved = (
            credentials if isinstance(credentials, ResolvedCredentials) else await self._resolve(credentials, http)
        )
        if state.credential_rejected is not None or state.mark_of is not None:
            self._check_unrejected(state, resolved)
        response = await self._ask(state, http, resolved, build)
        if isinstance(response, CredentialsRejected):
            response, resolved = await self._ask_again(http, resolved, build, response, should_retry)
        if resolved.sources:
            resolved.accepted()
        try:
            result = read(response)
        except InvalidTokenResponse as error:
            problem = self._unreadable(error, response)
        else:
            if response.ignored:
                self._tell_ignored(response)
            return result
        state.unanswered = True
        state.without_token += _counted(resolved)
        raise problem

    def annotate(self, error: AuthError, status: int | None = None) -> AuthError:
        """Add this endpoint's name, step, URL and status to an error, where it has none, and return it."""
        error.provider = error.provider or self.provider
        error.step = error.step or self.step
        error.endpoint = error.endpoint or str(self.url.with_query(None))
        error.status = status if error.status is None else error.status
        return error

    def _redactor(self, secrets: tuple[str, ...]) -> Redactor:
        """Return a redactor of secrets, declared values and the address' query, for a server's texts."""
        return Redactor(secrets, (*self.declared, *self.url.query.values()))

    async def _resolve(self, credentials: tuple[Credential, ...], http: aiohttp.ClientSession) -> ResolvedCredentials:
        try:
            return await resolve(credentials, http)
        except AuthError as error:
            problem = error.again()
        raise problem if problem.upstream else self.annotate(problem)

    def _check_unrejected(self, state: TryState, resolved: ResolvedCredentials) -> None:
        """Raise the rejection of these credentials that is remembered, here or in a store, if there is one."""
        known = state.known_rejection(resolved.sent_credential(state.mark_of), resolved.names)
        if known is not None:
            raise self.annotate(known)

    def _unreadable(self, error: InvalidTokenResponse, response: TokenResponse) -> AuthError:
        """Return the error of a successful answer without a usable token, with what the server says, and no secret."""
        message = error.message
        # A server may repeat what was sent, or what it returns in another field. Not in a variable, since
        # tracebacks show local variables.
        redactor = self._redactor((*response.sent, *secrets_of(response.fields)))
        if error.quoted is not None:
            message = message.replace(error.quoted, cleaned(error.quoted, redactor) or "…")
        problem = InvalidTokenResponse(message, advice=error.advice)
        problem.expired = error.expired
        _, problem.error_description = server_message(response.fields, redactor)
        return self.annotate(problem)

    def _tell_ignored(self, response: TokenResponse) -> None:
        """Log, once per endpoint, the flaws of fields that the token does not need."""
        for flaw in response.ignored:
            if flaw not in self.warned and len(self.warned) < _MOST_WARNINGS:
                self.warned.add(flaw)
                shown = cleaned(flaw, self._redactor((*response.sent, *secrets_of(response.fields))))
                _log.warning(
                    "%s: the token is used without a field of its answer: %s; no action needed while requests succeed",
                    name_of(self.provider),
                    shown,
                )

    async def _ask(
        self,
        state: TryState,
        http: aiohttp.ClientSession,
        resolved: ResolvedCredentials,
        build: Callable[..., Request | AuthError],
    ) -> TokenResponse | CredentialsRejected:
        """Send one request; return the answer, or the rejection. Other failures are raised."""
        request = build(*resolved.values)
        if isinstance(request, AuthError):
            raise self.annotate(request)
        sent_at = state.clock.wall()
        state.note_sent()
        answer = await self._send(state, http, request)
        if isinstance(answer, AuthError):
            if not answer.transient:
                state.without_token += _counted(resolved)
            raise self.annotate(answer)
        state.headers = answer.headers
        verdict = classify(answer, self.hook)
        if self.waits and not answer.is_server_error and answer.code in self.waits:
            verdict = Verdict(Kind.REJECTED)
        if verdict.kind is Kind.SUCCESS:
            state.unanswered = False
            return TokenResponse(answer, answer.fields or {}, sent_at, (*resolved.values, *request.secrets))
        # An unreadable success is like no answer: the server may have replaced the refresh token.
        state.unanswered = verdict.kind is Kind.UNREADABLE and answer.is_success
        error = self._error(state, verdict, answer, resolved, request.secrets)
        if (answer.is_paced or not error.transient) and error.error not in self.waits:
            state.without_token += _counted(resolved)
        if isinstance(error, CredentialsRejected):
            return error
        raise error

    async def _ask_again(
        self,
        http: aiohttp.ClientSession,
        resolved: ResolvedCredentials,
        build: Callable[..., Request | AuthError],
        rejected: CredentialsRejected,
        should_retry: Callable[[CredentialsRejected], bool] | None,
    ) -> tuple[TokenResponse, ResolvedCredentials]:
        """Send a rejected request again, as long as that may help; return the answer and the credentials it accepted.

        Raises:
            CredentialsRejected: Sending it again does not help.
        """
        state = current_try()
        for _ in range(_MOST_RETRIES):
            if should_retry is None or not should_retry(rejected):
                break
            response = await self._ask(state, http, resolved, build)
            if not isinstance(response, CredentialsRejected):
                return response, resolved
            rejected = response
        # The manager it came from may not know yet that it was revoked: once more, with a new one.
        renewed = None if rejected.error in self.waits else await resolved.renewed(http)
        if renewed is None:
            raise rejected
        response = await self._ask(state, http, renewed, build)
        if isinstance(response, CredentialsRejected):
            renewed.rejected_again()
            raise response
        return response, renewed

    async def _send(self, state: TryState, http: aiohttp.ClientSession, request: Request) -> Answer | AuthError:
        """Send one request. A failure is returned, not raised, since aiohttp's frames would show the secrets."""
        altered = request.headers or request.query or http.trust_env or self.url.scheme == "http"
        try:
            async with http.request(
                self.method,
                self.url,
                **request.content(),
                middlewares=(partial(self._authorize, request),) if altered else (),
                raise_for_status=False,
                allow_redirects=False,
                auto_decompress=False,
            ) as response:
                return await _received(response)
        except InsecureTransport as error:
            state.unanswered = False
            return error.again()
        except (aiohttp.ClientError, OSError) as error:
            trouble = trouble_of(error)
        if trouble.unsent:
            state.unanswered = False
        kind = InvalidTokenResponse if trouble.lasting else TokenEndpointUnavailable
        return kind(trouble.says, advice=trouble.do)

    async def _authorize(
        self, own: Request, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with its secret headers and query, unless a proxy could read them: a client middleware.

        A session's ``TraceConfig`` callbacks, with which instrumentation records requests, see the arguments of its
        ``request()``. They do not see what a middleware adds. The ``.netrc`` entry for the host is left out.
        """
        if request.proxy is not None:
            check_proxy(self.url, request.proxy, self.insecure_hosts)
        if AUTHORIZATION in request.headers and await is_from_netrc(request):
            del request.headers[AUTHORIZATION]
        request.headers.update(own.headers)
        try:
            return await (_with_query(own.query, request, handler) if own.query else handler(request))
        finally:
            for name in own.headers:
                request.headers.popall(name, None)  # `request_info` would show them

    def _error(
        self, state: TryState, verdict: Verdict, answer: Answer, resolved: ResolvedCredentials, made: tuple[str, ...]
    ) -> AuthError:
        """Return the error for a verdict that is not a success."""
        error = error_of(answer, verdict, resolved.names)
        if isinstance(error, CredentialsRejected):
            state.note_rejected(error, resolved.sent_credential(state.mark_of))
        declared = None if self.errors is None else self.errors.said(answer)
        document = answer.fields if answer.is_success else answer.document  # a text may be a token
        redactor = self._redactor((*resolved.values, *made))
        error.error, error.error_description = server_message(document, redactor, declared)
        return self.annotate(error, answer.status)


def _counted(resolved: ResolvedCredentials) -> tuple[str | None, ...]:
    """Return the digest under which an answer without a token counts for pacing; nothing if no credential was sent."""
    return (resolved.digest,) if resolved.credentials else ()


async def _with_query(
    query: Sequence[tuple[str, str]], request: aiohttp.ClientRequest, handler: ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request with more fields in its query, which it does not show afterwards."""
    url = request.url
    add_to_url(request, f"{'&' if url.raw_query_string else '?'}{urlencode(query, quote_via=quote)}")
    try:
        response = await handler(request)
    except BaseException:
        reset_url(request, None, url)
        raise
    reset_url(request, response, url)
    return response


async def _received(response: aiohttp.ClientResponse) -> Answer | AuthError:
    """Read an answer, but not more than any token needs."""
    status, body = response.status, bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            response.close()
            break
    headers = response.headers
    coding = headers.get("Content-Encoding")
    plain = bytes(body) if coding is None else decompressed(bytes(body), coding, LARGEST_ANSWER)
    text = plain or b""
    if max(len(body), len(text)) > LARGEST_ANSWER:
        return InvalidTokenResponse("the answer is larger than 1 MiB", advice="check the address", status=status)
    if plain is None and 200 <= status < 300:  # noqa: PLR2004 (any other status is sufficient without a body)
        return TokenEndpointUnavailable(
            "the answer was damaged on its way: it can't be decompressed",
            advice="does a proxy change answers on their way?",
            status=status,
        )
    try:
        document: object = json.loads(text.decode())
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):  # as most are
        fields = cast("dict[str, Any]", document)
        return Answer(status=status, headers=headers, fields=fields, body=text, document=fields)
    document = read_document(text, headers.get("Content-Type"))
    return Answer(status=status, headers=headers, fields=fields_of(document), body=text, document=document)
