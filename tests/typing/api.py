"""The public API as users' own code sees it: mypy --strict and pyright read this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import aiohttp

from asyncauth import (
    AnswerFields,
    AuthError,
    BearerAuth,
    Blocking,
    ClientCredentials,
    DeclaredProvider,
    DeviceCode,
    DevicePrompt,
    ErrorFields,
    JWTBearer,
    OAuthOptions,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    PasswordGrant,
    Peakly,
    Provider,
    ProviderOptions,
    RefreshGrant,
    RefreshPolicy,
    RefreshRequest,
    RequestContext,
    Revocation,
    RevokingProvider,
    Status,
    Token,
    TokenExchange,
    TokenManager,
    TokenRevocation,
    client_session,
    current_request_context,
    wrap_session,
)
from asyncauth.sandbox import Sandbox
from asyncauth.testing import FakeClock, FakeProvider


class Acme:
    """A provider of a user's own."""

    name = "acme"
    origins = ("https://api.acme.example",)
    identity = None

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        async with http.post("https://api.acme.example/session") as response:
            return Token(await response.text(), refresh_token=previous.refresh_token if previous else None)


class Leaving(Acme):
    """A provider of a user's own whose server revokes tokens."""

    async def revoke(self, http: aiohttp.ClientSession, token: str, kind: str) -> None:
        async with http.delete("https://api.acme.example/session", headers={"Authorization": f"{kind} {token}"}):
            pass


class Patient(ProviderOptions):
    """A provider of a user's own that tells its manager all that it can."""

    name = "patient"
    origins = ("https://api.acme.example",)
    identity = "patient account=me"
    deadline = 60.0
    needs_lock = True
    carried_as = "header:X-Api-Token"
    scheme = "Token"

    async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        context: RequestContext = current_request_context()
        await context.release_lock()
        await context.clock.sleep(1)
        mine = previous.refresh_token if previous else None
        context.sending(mine or "secret", "another", refresh_token=mine is not None, may_change=True)
        try:
            async with http.post("https://api.acme.example/session") as response:
                context.answered(response.status, response.headers)
                if response.status == 401:
                    context.refresh_token_rejected()
                    raise context.rejected("no", status=401, error="code", error_description="text")
                until = float(await response.text())
        except aiohttp.ClientConnectorError:
            context.not_sent()
            raise
        now: float = context.server_now
        return Token("token", issued_at=now, expires_at=until)


async def secret() -> str:
    return "secret"


async def uses() -> None:
    provider: Provider = Acme()
    fake: Provider = FakeProvider(lifetime=60)
    patient: Provider = Patient()
    options: ProviderOptions = Patient()
    own: Provider = Peakly(username="u", password=secret, environment="qa")
    async with TokenManager(
        provider, policy=RefreshPolicy(renew_at=0.7), clock=FakeClock(), random=lambda: 0.5
    ) as manager:
        token: Token = await manager.token()
        value: str = token.value
        expires_at: float | None = token.expires_at
        extra: Mapping[str, object] = token.extra
        headers: dict[str, str] = await manager.headers()
        renewed: Token = await manager.refresh()
        manager.invalidate(renewed)
        current: Token | None = manager.current
        origins: tuple[str, ...] = manager.origins
        status: Status = manager.status()
        state: str = status.state
        async with (
            aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http,
            wrap_session(http, manager) as wrapped,
            wrapped.get("https://api.acme.example/") as response,
        ):
            body: bytes = await response.read()
    login = TokenManager(PagoFacilLogin(username="u", password="p", generation=2))
    access = TokenManager(PagoFacil(jwt=login, environment="development"))
    chain = PagoFacilJWT(access_token=access, lifetime=3600)
    async with client_session(chain, own, fake, patient, timeout=aiohttp.ClientTimeout(total=5)) as session:
        await session.get("https://api.pgf.cl/")

    async def refused(response: aiohttp.ClientResponse) -> bool | None:
        return response.status == 498 or None

    async with (
        client_session(manager, refused=lambda response: response.status == 403, repeat="safe") as session,
        wrap_session(session, manager, refused=refused, repeat="none"),
    ):
        BearerAuth(manager, refused=refused, repeat="all")
    async with Sandbox() as sandbox:
        PagoFacilJWT.from_password(username="u", password=lambda: "p", base_url=sandbox.pago_facil.url)
    try:
        await login.token()
    except AuthError as error:
        step: str | None = error.step
        wait: float | None = error.retry_after
        transient: bool = error.transient
        assert step or wait or transient
    assert [value, expires_at, extra, headers, current, origins, state, body, options.deadline]


def blocks(manager: TokenManager) -> dict[str, str]:
    """Use a manager where there is no event loop."""
    blocking: Blocking = manager.blocking
    token: Token = blocking.token()
    renewed: Token = blocking.refresh()
    assert [token, renewed]
    return blocking.headers() | blocking.headers("https://api.acme.example/")


async def leaves(manager: TokenManager) -> list[str]:
    """Log out, and tell what remains valid."""
    revoking: RevokingProvider = Leaving()
    revocation: Revocation = await manager.revoke()
    again: Revocation = manager.blocking.revoke()
    remaining: tuple[TokenRevocation, ...] = revocation.remaining
    until: float | None = remaining[0].expires_at
    complete: bool = again.complete
    assert [revoking, until, complete]
    return [f"{each.kind} of {each.provider}: {each.error}" for each in remaining]


async def show(prompt: DevicePrompt) -> None:
    assert prompt.user_code


def reports(**options: Unpack[OAuthOptions]) -> Provider:
    """Return a grant with what a user's own function fills in."""
    return ClientCredentials(client_id="reports", **options)


def any_server() -> list[Provider]:
    """Return a provider of each grant."""
    url = "https://login.example.com/token"
    upstream = TokenManager(PasswordGrant(token_url=url, username="u", password=secret, client_id="c"))
    return [
        ClientCredentials(issuer="https://login.example.com", client_id="c", client_secret="s", scope=["a", "b"]),
        ClientCredentials(token_url=url, client_id="c", client_auth="private_key_jwt", private_key=secret),
        ClientCredentials(
            token_url=url, client_id="c", client_secret="s", revocation_url="https://login.example.com/revoke"
        ),
        RefreshGrant(token_url=url, refresh_token="r", client_id="c", client_auth="none", account="me"),
        reports(token_url=url, client_secret="s", scope="a"),
        JWTBearer(token_url=url, assertion=secret, extra={"tenant": "t"}),
        TokenExchange(token_url=url, subject_token=upstream, audience="api", origins="https://api.example.com"),
        DeviceCode(issuer="https://login.example.com", client_id="c", show=show),
        DeclaredProvider(
            name="acme", url=url, credential={"secret": "s"}, sent_as="json", answer=AnswerFields(unit="epoch_ms")
        ),
        DeclaredProvider(name="b", url=url, credential={"basic:me": "s", "key": secret}, sent_as="query", method="GET"),
        DeclaredProvider(
            name="d",
            url=url,
            credential={"password": secret, "key": "k"},
            sent_as="json",
            refresh=RefreshRequest(url=url, field="refresh", credentials=["key"]),
        ),
        DeclaredProvider(name="c", url=url, credential={"key": secret}, sent_as="xml", fields="<k>{key}</k>"),
        DeclaredProvider(
            name="d",
            url=url,
            credential=secret,
            sent_as="bearer",
            answer=AnswerFields(
                token="body.token", unit="ms", never=(0, -1), default_lifetime=60, extra={"id": "user.id"}
            ),
            errors=ErrorFields(succeeded={"status": 0, "ok": (True, None)}, busy=601, message=("why", "error.why")),
        ),
        ClientCredentials(
            token_url=url,
            client_id="app",
            client_secret="s",
            answer=AnswerFields(lifetime=None),
            errors=ErrorFields(busy={"code": ("a", 5)}, rejected=("b", 6), refusals=(401, 422), retry_after=20),
        ),
    ]
