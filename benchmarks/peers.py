"""Everything that is measured, behind one face. A peer that can't be imported is left out, and the table says so.

Each is set up as its documentation shows. A peer's margin before expiry is
removed if it is longer than the lifetimes here: with 30 s to 5 min, the peer would request a token for each request.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from asyncauth import BearerAuth, ClientCredentials, TokenManager
from benchmarks import taught
from benchmarks.kit import Call, Server
from benchmarks.server import STATIC

FORM = taught.FORM
HEADER = f"Bearer {STATIC}"
TIMEOUT = aiohttp.ClientTimeout(total=60)


class Peer:
    """One way to have a token on each request.

    Attributes:
        name: As the tables show it.
        base: The one without a token that its requests are compared with.
        asks: Whether it asks for tokens at all.
        on_expiry: Whether it renews because of the time.
        on_refusal: Whether it renews because of a 401.
        call: Returns the header, or the token, as the peer's own code gets at it. Set by `open`.
        through: Puts the token on a request's headers, without sending it; ``None`` = `call` does that already, or it
            has no such call. Set by `open`.
    """

    call: Call
    through: Call | None = None

    name: ClassVar[str]
    base: ClassVar[str] = "bare"
    asks: ClassVar[bool] = True
    on_expiry: ClassVar[bool] = True
    on_refusal: ClassVar[bool] = False

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def open(self) -> None:
        """Get ready. It may fetch a token."""

    async def prime(self) -> None:
        """Have it hold a token."""
        await self.call()

    async def get(self, url: str) -> int:
        """Make a request; return its status."""
        raise NotImplementedError

    async def close(self) -> None:
        """End everything."""


class Bare(Peer):
    """A request without a token."""

    name = "bare"
    asks = False

    async def get(self, url: str) -> int:
        async with self.session.get(url) as response:
            await response.read()
            return response.status


class Static(Peer):
    """A token written into the program, given with each request."""

    name = "static header"
    asks = False

    async def get(self, url: str) -> int:
        async with self.session.get(url, headers={"Authorization": HEADER}) as response:
            await response.read()
            return response.status


class StaticAgain(Static):
    """The same: what it differs by is noise."""

    name = "static header, again"


class _Middleware(Peer):
    """An aiohttp client middleware. Called by itself, its handler answers at once."""

    middleware: Any

    def use(self, middleware: Any) -> None:
        self.middleware = middleware
        self.call = self.through = partial(middleware, _Request(self.server.api, self.session), _answer)

    async def get(self, url: str) -> int:
        async with self.session.get(url, middlewares=(self.middleware,)) as response:
            await response.read()
            return response.status


class _Request:
    """As much of a ``ClientRequest`` as middlewares look at."""

    __slots__ = ("body", "headers", "proxy", "session", "url")

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = URL(url)
        self.session = session
        self.body = b""
        self.proxy = None
        self.headers: CIMultiDict[str] = CIMultiDict(
            {hdrs.HOST: "localhost", hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "gzip", hdrs.USER_AGENT: "aiohttp"}
        )


class _Answer:
    __slots__ = ("status",)

    def __init__(self) -> None:
        self.status = 200


_ANSWER = _Answer()


async def _answer(_: object) -> _Answer:
    return _ANSWER


class Empty(_Middleware):
    """A middleware that only hands on: what aiohttp itself takes for there being one."""

    name = "an empty middleware"
    asks = False

    async def open(self) -> None:
        async def hand_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            return await handler(request)

        self.use(hand_on)


def manager_of(server: Server, **options: Any) -> TokenManager:
    """Return a manager for the server's API."""
    provider = ClientCredentials(
        token_url=server.token_url,
        client_id="id",
        client_secret="secret",  # noqa: S106
        origins=server.url,
    )
    return TokenManager(provider, **options)


class Ours(_Middleware):
    """``BearerAuth``; its own call is ``TokenManager.token``."""

    name = "asyncauth"
    on_refusal = True

    policy: Any = None

    def manager(self) -> TokenManager:
        return manager_of(self.server) if self.policy is None else manager_of(self.server, policy=self.policy)

    async def open(self) -> None:
        self.tokens = self.manager()
        await self.tokens.__aenter__()
        self.use(BearerAuth(self.tokens))
        self.call = self.tokens.token

    async def close(self) -> None:
        await self.tokens.__aexit__(None, None, None)


class NotEntered(Ours):
    """Ours without ``async with``: it keeps no session, and renews when it is asked."""

    name = "asyncauth, not entered"

    async def open(self) -> None:
        self.tokens = self.manager()
        self.use(BearerAuth(self.tokens))
        self.call = self.tokens.token

    async def close(self) -> None:
        await self.tokens.close()


class OursAgain(Ours):
    """The same: what it differs by is noise."""

    name = "asyncauth, again"


class Cookbook(_Middleware):
    """As aiohttp's cookbook teaches it, by expiry."""

    name = "aiohttp's cookbook"

    async def open(self) -> None:
        self.use(taught.ByExpiry(self.server.token_url))


class CookbookRefusal(_Middleware):
    """As aiohttp's cookbook teaches it, by 401."""

    name = "aiohttp's cookbook (401)"
    on_expiry = False
    on_refusal = True

    async def open(self) -> None:
        self.use(taught.ByRefusal(self.server.token_url))

    async def prime(self) -> None:
        await self.get(f"{self.server.api}/data")


class Example(_Middleware):
    """As aiohttp's example has it."""

    name = "aiohttp's example"
    on_refusal = True

    async def open(self) -> None:
        self.use(taught.Example(self.server.token_url))


class AiohttpOAuth2Client(_Middleware):
    """aiohttp-oauth2-client."""

    name = "aiohttp-oauth2-client"

    async def open(self) -> None:
        from aiohttp_oauth2_client.grant.client_credentials import ClientCredentialsGrant  # noqa: PLC0415
        from aiohttp_oauth2_client.middleware import OAuth2Middleware  # noqa: PLC0415
        from aiohttp_oauth2_client.models.token import Token  # noqa: PLC0415

        Token.is_expired.__defaults__ = (0,)
        self._grant: Any = ClientCredentialsGrant(self.server.token_url, "id", "secret")
        self.use(OAuth2Middleware(self._grant))
        self.call = self._grant.prepare_headers

    async def close(self) -> None:
        await self._grant.close()


class AzureBare(Peer):
    """azure-core's pipeline without a token."""

    name = "azure-core, bare"
    asks = False
    options: ClassVar[dict[str, bool]] = {}

    def policies(self) -> list[Any]:
        return []

    async def open(self) -> None:
        from azure.core.pipeline import AsyncPipeline  # noqa: PLC0415
        from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415
        from azure.core.rest import HttpRequest  # noqa: PLC0415

        self._new: Any = HttpRequest
        transport = AioHttpTransport(session=self.session, session_owner=False)
        self._pipeline: Any = AsyncPipeline(transport, policies=self.policies())

    async def get(self, url: str) -> int:
        answer = (await self._pipeline.run(self._new("GET", url), **self.options)).http_response
        await answer.read()
        return int(answer.status_code)


class AzurePolicy(AzureBare):
    """azure-core's bearer token policy, with a credential that asks the token endpoint."""

    name = "azure-core's policy"
    base = "azure-core, bare"
    asks = True
    on_refusal = True
    options: ClassVar[dict[str, bool]] = {"enforce_https": False}

    def policies(self) -> list[Any]:
        from azure.core.pipeline import PipelineContext, PipelineRequest  # noqa: PLC0415
        from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy  # noqa: PLC0415
        from azure.core.rest import HttpRequest  # noqa: PLC0415

        credential: Any = _AzureCredential(self.server, self.session)
        self._policy = AsyncBearerTokenCredentialPolicy(credential, "scope")
        context: Any = PipelineContext(None, enforce_https=False)
        self._request: Any = PipelineRequest(HttpRequest("GET", self.server.api), context)
        self.call = partial(self._policy.on_request, self._request)
        return [self._policy]


class _AzureCredential:
    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def get_token_info(self, *_: str, options: object = None) -> object:  # noqa: ARG002
        from azure.core.credentials import AccessTokenInfo  # noqa: PLC0415

        now = time.time()
        async with self._session.post(self._server.token_url, data=FORM) as answer:
            answer.raise_for_status()
            fields = await answer.json()
        end: Any = now + fields["expires_in"]
        return AccessTokenInfo(fields["access_token"], end, refresh_on=end)

    async def close(self) -> None:
        """Do nothing."""


class AzureIdentity(Peer):
    """azure-identity's client secret, asked for its cached token. Its transport answers by itself."""

    name = "azure-identity"

    async def open(self) -> None:
        from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415
        from azure.identity.aio import ClientSecretCredential  # noqa: PLC0415

        server = self.server

        class ToLoopback(AioHttpTransport):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> Any:
                request.url = server.token_url
                return await super().send(request, **options)

        self._credential: Any = ClientSecretCredential(
            "tenant",
            "id",
            "secret",
            authority="https://localhost",
            disable_instance_discovery=True,
            transport=ToLoopback(session=self.session, session_owner=False),
        )
        self.call = partial(self._credential.get_token, "https://localhost/.default")

    async def close(self) -> None:
        await self._credential.close()


class Msal(Peer):
    """msal, asked for its cached token: a plain call, for it has no other."""

    name = "msal"

    async def open(self) -> None:
        import msal  # noqa: PLC0415

        class Http:
            """Answers by itself."""

            def post(self, *_: object, **__: object) -> Any:
                return _MsalAnswer({"access_token": "token", "token_type": "Bearer", "expires_in": 3600})

            def get(self, url: str, **_: object) -> Any:
                return _MsalAnswer(
                    {
                        "authorization_endpoint": url,
                        "token_endpoint": url,
                        "issuer": "https://login.microsoftonline.com/tenant",
                    }
                )

            def close(self) -> None:
                """Do nothing."""

        self._app: Any = msal.ConfidentialClientApplication(
            "id",
            authority="https://login.microsoftonline.com/tenant",
            client_credential="secret",
            http_client=Http(),
            instance_discovery=False,
        )
        self.call = self._call

    async def _call(self) -> object:
        return self._app.acquire_token_for_client(["https://localhost/.default"])["access_token"]


class _MsalAnswer:
    status_code = 200

    def __init__(self, fields: dict[str, object]) -> None:
        self.text = json.dumps(fields)
        self.headers: dict[str, str] = {}

    def raise_for_status(self) -> None:
        """Do nothing."""


class GoogleBare(Peer):
    """google-auth's aiohttp session without a token."""

    name = "google-auth, bare"
    asks = False

    def credentials(self) -> Any:
        from google.auth.aio.credentials import AnonymousCredentials  # noqa: PLC0415

        return AnonymousCredentials()  # type: ignore[no-untyped-call]

    async def open(self) -> None:
        from google.auth.aio.transport.aiohttp import Request  # noqa: PLC0415
        from google.auth.aio.transport.sessions import AsyncAuthorizedSession  # noqa: PLC0415

        self._transport: Any = Request(session=self.session)
        self._session: Any = AsyncAuthorizedSession(self.credentials(), auth_request=self._transport)

    async def get(self, url: str) -> int:
        response = await self._session.get(url)
        await response.read()
        return int(response.status_code)


class Google(GoogleBare):
    """google-auth's aiohttp session, with credentials that ask the token endpoint."""

    name = "google-auth"
    base = "google-auth, bare"
    asks = True

    def credentials(self) -> Any:
        import google.auth._helpers as helpers  # noqa: PLC0415
        import requests  # noqa: PLC0415
        from google.auth.credentials import Credentials  # noqa: PLC0415

        helpers.REFRESH_THRESHOLD = dt.timedelta(0)
        url = self.server.token_url

        class Loopback(Credentials):
            def refresh(self, _: object) -> None:
                answer = requests.post(url, data=FORM, timeout=60)
                answer.raise_for_status()
                fields = answer.json()
                self.token = fields["access_token"]
                lifetime = dt.timedelta(seconds=fields["expires_in"])
                self.expiry = dt.datetime.now(dt.UTC).replace(tzinfo=None) + lifetime

        self.call = self._call
        return Loopback()  # type: ignore[no-untyped-call]

    async def _call(self) -> object:
        headers: dict[str, str] = {}
        await self._session._credentials.before_request(  # noqa: SLF001 (as its own request does)
            self._transport, "GET", self.server.api, headers
        )
        return headers


class HttpxBare(Peer):
    """httpx without a token."""

    name = "httpx, bare"
    asks = False

    def auth(self) -> Any:
        return None

    async def open(self) -> None:
        import httpx  # noqa: PLC0415

        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self._client: Any = httpx.AsyncClient(auth=self.auth(), limits=limits, timeout=60, trust_env=False)
        self._request: Any = httpx.Request("GET", self.server.api)

    async def get(self, url: str) -> int:
        return int((await self._client.get(url)).status_code)

    async def close(self) -> None:
        await self._client.aclose()


class HttpxStatic(HttpxBare):
    """httpx with a token written into the program, given with each request."""

    name = "httpx, static header"

    async def get(self, url: str) -> int:
        return int((await self._client.get(url, headers={"Authorization": HEADER})).status_code)


class HttpxStaticAgain(HttpxStatic):
    """The same: what it differs by is noise."""

    name = "httpx, static header, again"


class HttpxOurs(HttpxBare):
    """``asyncauth.httpx.async_client``."""

    name = "asyncauth, httpx"
    base = "httpx, bare"
    asks = True

    async def open(self) -> None:
        import httpx  # noqa: PLC0415

        from asyncauth.httpx import async_client  # noqa: PLC0415

        self.tokens = manager_of(self.server)
        await self.tokens.__aenter__()
        self.call = self.tokens.token
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self._client = async_client(self.tokens, limits=limits, timeout=60, trust_env=False)

    async def close(self) -> None:
        await super().close()
        await self.tokens.__aexit__(None, None, None)


class _HttpxAuth(HttpxBare):
    base = "httpx, bare"
    asks = True

    async def open(self) -> None:
        await super().open()
        self.call = self._call

    async def _call(self) -> object:
        flow = self._client.auth.async_auth_flow(self._request)
        request = await flow.__anext__()
        await flow.aclose()
        return request


class HttpxAuth(_HttpxAuth):
    """httpx-auth. It asks for tokens in a call that blocks the loop."""

    name = "httpx-auth"

    def auth(self) -> Any:
        from httpx_auth import OAuth2, OAuth2ClientCredentials  # noqa: PLC0415

        OAuth2.token_cache.clear()
        return OAuth2ClientCredentials(self.server.token_url, "id", "secret", early_expiry=0.001)


class Singleflight(_HttpxAuth):
    """singleflight-auth."""

    name = "singleflight-auth"
    on_expiry = False
    on_refusal = True

    def auth(self) -> Any:
        from singleflight_auth.httpx_auth import AsyncSingleFlightAuth  # noqa: PLC0415

        self._token = ""

        async def refresh() -> str:
            async with self.session.post(self.server.token_url, data=FORM) as answer:
                answer.raise_for_status()
                self._token = str((await answer.json())["access_token"])
            return self._token

        self.prime = refresh
        return AsyncSingleFlightAuth(get_token=lambda: self._token, refresh=refresh, raise_on_max_retries=False)


class Authlib(HttpxBare):
    """Authlib's httpx client."""

    name = "Authlib"
    base = "httpx, bare"
    asks = True

    async def open(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from authlib.integrations.httpx_client import AsyncOAuth2Client  # noqa: PLC0415
        import httpx  # noqa: PLC0415

        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self._client: Any = AsyncOAuth2Client(
            "id",
            "secret",
            token_endpoint=self.server.token_url,
            grant_type="client_credentials",
            token_endpoint_auth_method="client_secret_post",  # noqa: S106
            leeway=0,
            limits=limits,
            timeout=60,
            trust_env=False,
        )
        self.call = self._call
        await self._client.fetch_token(self.server.token_url, grant_type="client_credentials")

    async def _call(self) -> object:
        await self._client.ensure_active_token(self._client.token)
        return self._client.token_auth.prepare(self.server.api, {}, b"")


BASES: list[type[Peer]] = [Bare, AzureBare, GoogleBare, HttpxBare]
PEERS: list[type[Peer]] = [
    Cookbook,
    CookbookRefusal,
    Example,
    AiohttpOAuth2Client,
    AzurePolicy,
    AzureIdentity,
    Google,
    Authlib,
    HttpxAuth,
    Singleflight,
    Msal,
]


async def opened(
    kinds: list[type[Peer]], server: Server, session: aiohttp.ClientSession
) -> tuple[list[Peer], dict[str, str]]:
    """Return those that could be opened, and why the others could not."""
    ready: list[Peer] = []
    missing: dict[str, str] = {}
    for kind in kinds:
        peer = kind(server, session)
        try:
            await peer.open()
        except Exception as error:  # noqa: BLE001 (anybody's code)
            missing[kind.name] = f"{type(error).__name__}: {error}"[:200]
        else:
            ready.append(peer)
    return ready, missing


async def all_at_once(call: Callable[[], Any], number: int, timeout: float) -> tuple[int, int]:  # noqa: ASYNC109
    """Make so many calls at the same time; return how many succeeded, and how many were not done when time was up."""
    tasks = [asyncio.ensure_future(call()) for _ in range(number)]
    _, late = await asyncio.wait(tasks, timeout=timeout)
    for task in late:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes), len(late)
