"""One hop of a request: send it with the token, and again after an API 401, for both of httpx's clients.

`handled` is one coroutine for both; a `Side` covers the differences.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import httpx

from asyncauth._core.frames import forget_frames
from asyncauth._core.trial import Use
from asyncauth._http.answer_rules import AnswerRules, Says
from asyncauth._http.origin import check_proxy
from asyncauth.auth_flow import DPOP_NONCE, AuthFlow, ServedOrigins, Step
from asyncauth.clock import boottime
from asyncauth.errors import AuthError, ConfigurationError
from asyncauth.httpx.errors import as_httpx
from asyncauth.httpx.httpx_compat import is_whole, proxy_of
from asyncauth.httpx.messages import KeptBody, forget_what_comes_back, url_of

if TYPE_CHECKING:
    from yarl import URL

    from asyncauth._core.engine import TokenEngine
    from asyncauth._http.answer_rules import Repeat
    from asyncauth.httpx.sides import Side
    from asyncauth.manager import TokenManager

__all__ = ["Refused", "Settings", "handled"]

Refused: TypeAlias = Callable[[httpx.Response], Says]
"""Returns whether an httpx response means that the API did not accept the token."""

_HOLD_WHAT_IS_SENT: Final = frozenset({"anyio", "asyncio", "h11", "h2", "hpack", "httpcore", "httpx", "ssl"})
"""Packages whose functions have a request's headers in local variables."""
_SHORT: Final = 65_536
"""The most bytes of an answer's body that are read before a repeat, so that its connection can be used again."""


@attrs.frozen
class Settings:
    """The arguments of a transport. Immutable."""

    served: ServedOrigins
    rules: AnswerRules
    transport: Any
    proxy: URL | None

    @classmethod
    def of(
        cls, transport: Any, managers: tuple[TokenManager, ...], refused: Refused | None, repeat: Repeat
    ) -> Settings:
        """Return what these arguments of a transport mean.

        Raises:
            ConfigurationError: See `AsyncBearerTransport`.
            InsecureTransport: See there.
        """
        if not managers:
            raise ConfigurationError("a transport takes at least one TokenManager")
        return cls(ServedOrigins(managers), AnswerRules.of(refused, repeat), transport, proxy_of(transport))


async def handled(side: Side, settings: Settings, request: httpx.Request) -> httpx.Response:
    """Send one hop of a request. Its errors are also httpx's."""
    try:
        return await _authorized(side, settings, request)
    except AuthError as error:
        caught = error
    raise as_httpx(caught)  # outside of the except clause, or it would have a context


async def _authorized(side: Side, settings: Settings, request: httpx.Request) -> httpx.Response:
    url = url_of(request)
    engine = settings.served.engine_for(url)
    if engine is None:
        response = await side.send(settings.transport, request)
        if "Authorization" not in request.headers:
            settings.served.note_unserved(url, response.status_code)
        return response
    if engine.options.carrier.is_taken(request.headers, url):
        return await side.send(settings.transport, request)
    if settings.proxy is not None:
        check_proxy(url, settings.proxy, engine.options.insecure_hosts)
    may_repeat = functools.partial(_may_repeat, settings.rules, request)
    cached = engine.state.cached
    if not cached.accepted or boottime() >= cached.fast_until:
        cached = await side.obtain(engine, Use.REPEATABLE if may_repeat() else Use.ONCE)
    flow = AuthFlow(engine, cached, method=request.method, url=url, is_repeatable=may_repeat)
    while True:
        response = await _sent(side, settings.transport, flow, request)
        try:
            step = flow.answered(
                response.status_code,
                challenges=response.headers.get_list("WWW-Authenticate"),
                dpop_nonce=response.headers.get(DPOP_NONCE),
                refused=await _verdict(settings.rules, flow, request, response),
            )
            if step is Step.RENEW:
                step = await _renewed(side, engine, flow)
        except BaseException:
            await side.close(response)
            raise
        if step is Step.RETURN:
            return response
        await _let_go(side, response)


async def _renewed(side: Side, engine: TokenEngine, flow: AuthFlow) -> Step:
    """Obtain another token after an API 401; return whether to send the request again with it."""
    try:
        if flow.pause > 0:
            await side.pause(engine, flow.pause)
        return flow.renewed(await side.obtain(engine, Use.BY_HAND))
    except AuthError:
        return Step.RETURN


async def _verdict(rules: AnswerRules, flow: AuthFlow, request: httpx.Request, response: httpx.Response) -> bool | None:
    """Return the result of the user's function, which may read the answer's body."""
    if rules.refused is None:
        return None
    kept = KeptBody(response.stream)
    shown = httpx.Response(
        response.status_code, headers=response.headers, stream=kept, request=request, extensions=response.extensions
    )
    try:
        return await rules.verdict(shown, response.status_code)
    except BaseException as error:
        flow.forget_token(error)
        raise
    finally:
        response.stream = kept.rest()


async def _let_go(side: Side, response: httpx.Response) -> None:
    """Close an answer before its request is sent again. A short body is read first, to keep the connection usable."""
    try:
        if int(response.headers.get("Content-Length", _SHORT + 1)) <= _SHORT:
            await side.read(response)
    except (httpx.HTTPError, ValueError):
        pass  # the server ended it early, and nothing more of it is needed
    finally:
        await side.close(response)


async def _sent(side: Side, transport: Any, flow: AuthFlow, request: httpx.Request) -> httpx.Response:
    """Send a copy of a request with its token and proof.

    The copy has them only while it is being sent, so that errors, and other transports that keep the copy, show none.
    """
    in_url = flow.url_ending != ""
    copy = httpx.Request(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    if type(request.stream) is httpx.ByteStream:
        copy.read()  # a ByteStream's content is in memory, as the request's is
    try:
        flow.authorize(copy.headers)
        if in_url:
            copy.url = request.url.copy_with(raw_path=request.url.raw_path + flow.url_ending.encode())
        response = await side.send(transport, copy)
    except BaseException as error:
        forget_frames(error, _HOLD_WHAT_IS_SENT)
        if in_url:
            flow.forget_url(error)
        if isinstance(error, httpx.RequestError):
            error.request = request
        raise
    finally:
        copy.headers, copy.url = request.headers, request.url
    forget_what_comes_back(response, flow.url_ending, flow.cookie)
    return response


def _may_repeat(rules: AnswerRules, request: httpx.Request) -> bool:
    """Return whether a request may be sent again: its method allows it, and its body is whole."""
    return rules.allows(request.method) and is_whole(request.stream)
