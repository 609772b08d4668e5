"""The aiohttp client middleware, which puts a manager's token on the requests that may carry it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from aiohttp.hdrs import AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, WWW_AUTHENTICATE

from asyncauth._core.frames import forget_frames
from asyncauth._core.trial import Use
from asyncauth._http.aiohttp_compat import (
    add_to_url,
    forget_cookie,
    forget_parameter,
    is_from_netrc,
    is_whole,
    own_files,
    reset_url,
)
from asyncauth._http.answer_rules import BUILT_IN, AnswerRules
from asyncauth._http.origin import check_proxy
from asyncauth.auth_flow import DPOP_NONCE, UNAUTHORIZED, AuthFlow, ServedOrigins, Step
from asyncauth.clock import Clock, boottime
from asyncauth.errors import AuthError, ConfigurationError

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    from asyncauth._core.engine import TokenEngine
    from asyncauth._http.answer_rules import Refused, Repeat
    from asyncauth.manager import TokenManager

__all__ = ["BearerAuth"]


class BearerAuth:
    """An aiohttp client middleware that authorizes requests with bearer tokens.

    ::

        async with aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http: ...

    For each request, and each hop of a redirect, the middleware chooses the manager by the origin. A request to another
    origin is sent unchanged. So is one that already has an ``Authorization`` header, unless aiohttp took the header
    from the user's ``.netrc`` file. If a provider declares another header, a cookie or a query parameter
    (`ProviderOptions`), that place counts instead. If no token is available, the request is not sent, and the caller
    receives the ``AuthError``.

    Each origin that no manager serves is logged once, with the origins that are served. It is a warning if the answer
    to a request without ``Authorization`` was a 401 or 403.

    When the API answers 401 because of the token, the middleware drops the token, obtains a new one, and sends the
    request once more. It does so only if the body can be sent again unchanged: no body, bytes, text, JSON, a form, or
    seekable files. Otherwise, or if no other token is available, the caller receives the 401.

    A new token that the API does not know yet causes no failure. Until the API has accepted it, a request that gets a
    401 is sent again with the previous token. A first token is sent once more within 1 s. No request is sent more than
    three times.

    Args:
        managers: One for each system that the session calls. They stay the caller's to close.
        refused: A function, plain or ``async``, that is called with each answer (an ``aiohttp.ClientResponse``) and
            returns whether the API did not accept the token. ``True`` and ``False`` decide; ``None``: the rule for 401s
            decides. It is for APIs that say so with a 403, a 498, or an error in a 200. It may read the body: aiohttp
            keeps what ``await response.read()`` has read. If it raises, the answer is closed, and the caller receives
            the error, without the token in it. ``None`` (default): only the rule for 401s.
        repeat: Which requests may be sent again. ``"all"`` (default): all whose body can be sent again unchanged.
            ``"safe"``: of these, only GET, HEAD, OPTIONS and TRACE (RFC 9110 §9.2.1). ``"none"``: none. For the others,
            the caller receives the 401, and the next request carries a new token.

    Raises:
        ConfigurationError: No manager; two for one origin; one without origins; or another argument is wrong.
        InsecureTransport: A manager's origin is plain http to another machine.
    """

    __slots__ = ("_engine", "_host", "_rules", "_scheme", "_served")

    def __init__(self, *managers: TokenManager, refused: Refused | None = None, repeat: Repeat = "all") -> None:
        if not managers:
            raise ConfigurationError("BearerAuth takes at least one TokenManager")
        self._rules = AnswerRules.of(refused, repeat)
        self._served = ServedOrigins(managers)
        (self._scheme, self._host), self._engine = self._served.first
        if self._rules is not BUILT_IN or self._engine.options.header != AUTHORIZATION:
            # No request has an empty host: the look-up finds the engine, and `_by_flow` sends its requests.
            self._host = ""

    async def __call__(  # noqa: C901, PLR0912 (one coroutine: another one costs on every request)
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        """Send a request, with a token if it may carry one. Called by aiohttp, once per hop.

        Raises:
            AuthError: No token is available; the request was not sent.
            InsecureTransport: The request is plain http to a host that is served by https, or goes through such a proxy
                on another machine.
        """
        url, headers = request.url, request.headers
        # Compares the first origin (most managers have one) by two texts that the URL has cached for aiohttp. A tuple
        # of them and its look-up would cost half as much again, and hashing and comparing URLs a multiple.
        if url.host_port_subcomponent == self._host and url.scheme == self._scheme:
            engine: TokenEngine | None = self._engine
        else:
            engine = self._served.engine_for(url)
            if engine is not None and (self._rules is not BUILT_IN or engine.options.header != AUTHORIZATION):
                return await _by_flow(engine, self._rules, request, handler)
        if engine is None:
            return await _unserved(self._served, request, handler)
        if AUTHORIZATION in headers and not await is_from_netrc(request):
            return await handler(request)
        if request.proxy is not None:
            check_proxy(url, request.proxy, engine.options.insecure_hosts)
        if CONTENT_LENGTH in headers or TRANSFER_ENCODING in headers:  # aiohttp sets one of them if there is a body
            await own_files(request.body)
            cached = engine.state.cached
            if not cached.accepted or boottime() >= cached.fast_until:
                cached = await engine.obtain(Use.REPEATABLE if is_whole(request) else Use.ONCE)
        else:
            cached = engine.state.cached
            if boottime() >= cached.fast_until:
                cached = await engine.obtain(Use.REPEATABLE)
        # Inlined `_send`: a coroutine and a flow would each add to the cost whenever the request waits.
        headers[AUTHORIZATION] = cached.authorization
        try:
            response = await handler(request)
        except BaseException as error:
            forget_frames(error)
            raise
        finally:
            try:  # noqa: SIM105 (suppress() costs as much as all of this)
                del headers[AUTHORIZATION]
            except KeyError:
                pass
        if response.status != UNAUTHORIZED:
            if not cached.accepted:
                engine.accepted(cached.token)
            return response
        flow = AuthFlow(engine, cached, method=request.method, url=url, is_repeatable=partial(is_whole, request))
        return await _carry_out(flow, engine, request, response, handler, rules=BUILT_IN)


async def _unserved(served: ServedOrigins, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a request to an origin that no manager serves, unchanged."""
    response = await handler(request)
    if AUTHORIZATION not in request.headers:
        served.note_unserved(request.url, response.status)
    return response


async def _by_flow(
    engine: TokenEngine, rules: AnswerRules, request: ClientRequest, handler: ClientHandlerType
) -> ClientResponse:
    """Send a request whose token is not in the ``Authorization`` header, or whose answers have a user's rules.

    Raises:
        AuthError: See `BearerAuth.__call__`.
    """
    url, carrier = request.url, engine.options.carrier
    taken = carrier.is_taken(request.headers, url)
    if taken and not (carrier.in_authorization and await is_from_netrc(request)):
        return await handler(request)
    if request.proxy is not None:
        check_proxy(url, request.proxy, engine.options.insecure_hosts)
    await own_files(request.body)
    may_repeat = partial(_may_repeat, rules, request)
    cached = await engine.obtain(Use.REPEATABLE if may_repeat() else Use.ONCE)
    flow = AuthFlow(engine, cached, method=request.method, url=url, is_repeatable=may_repeat)
    return await _carry_out(flow, engine, request, None, handler, rules=rules)


def _may_repeat(rules: AnswerRules, request: ClientRequest) -> bool:
    """Return whether a request may be sent again: its method allows it, and its body is whole."""
    return rules.allows(request.method) and is_whole(request)


async def _carry_out(
    flow: AuthFlow,
    engine: TokenEngine,
    request: ClientRequest,
    response: ClientResponse | None,
    handler: ClientHandlerType,
    *,
    rules: AnswerRules,
) -> ClientResponse:
    """Carry out a flow's decisions with aiohttp, and return the answer for the caller.

    Args:
        flow: The request's flow.
        engine: The engine that obtains its tokens.
        request: The request.
        response: The answer to its first sending; ``None``: it was not sent yet.
        handler: aiohttp's function that sends it.
        rules: The user's rules for answers.
    """
    while True:
        if response is None:
            response = await _send(flow, request, handler)
        try:
            refused = await rules.verdict(response, response.status)
        except BaseException as error:
            response.close()
            flow.forget_token(error)
            raise
        step = flow.answered(
            response.status,
            challenges=response.headers.getall(WWW_AUTHENTICATE, ()),
            dpop_nonce=response.headers.get(DPOP_NONCE),
            refused=refused,
        )
        if step is Step.RENEW:
            try:
                if flow.pause > 0:
                    await _pause(engine.runtime.clock, flow.pause)
                step = flow.renewed(await engine.obtain())
            except AuthError:
                return response
            except BaseException:
                response.close()
                raise
        if step is Step.RETURN:
            return response
        # Before the request is sent again, since it may need this answer's connection.
        response.release()
        await own_files(request.body)
        response = None


async def _pause(clock: Clock, seconds: float) -> None:
    """Return after ``seconds`` of a clock or of the event loop, whichever is first: a test's clock may stand still."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await clock.sleep(seconds)


async def _send(flow: AuthFlow, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a request with its token and proof; see `_core.frames` for what is removed from its errors."""
    url, in_url = request.url, flow.url_ending != ""
    response: ClientResponse | None = None
    try:
        flow.authorize(request.headers)
        if in_url:
            add_to_url(request, flow.url_ending)
        response = await handler(request)
    except BaseException as error:
        forget_frames(error)
        if in_url:
            flow.forget_url(error)
        raise
    else:
        if flow.cookie:
            forget_cookie(response, flow.cookie)
        elif in_url:
            forget_parameter(response, flow.url_ending)
        return response
    finally:
        flow.strip(request.headers)
        if in_url:
            reset_url(request, response, url)
