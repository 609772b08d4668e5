"""No secret of a grant's in a repr, an identity, a status, a log line or what a traceback shows."""

from __future__ import annotations

import contextlib
import json
import logging
import types
from collections.abc import AsyncIterator, Callable
from typing import Any, Self
from urllib.parse import parse_qsl

import attrs
import pytest
from harness.canary import MARK
from multidict import CIMultiDict
from oauth2_kit import PEM, URL, jwt_part
from provider_kit import MockedHttp, failure, keeps_quiet

from asyncauth import (
    AuthError,
    ClientCredentials,
    DeclaredProvider,
    DeviceCode,
    JWTBearer,
    PasswordGrant,
    Provider,
    RefreshGrant,
    Token,
    TokenExchange,
    TokenManager,
)

CANARY = MARK
KEY = PEM.splitlines()[1]

BOUND: dict[str, Any] = {"client_id": "app", "client_secret": CANARY, "dpop_key": PEM}
SIGNED: dict[str, Any] = {"client_id": "app", "client_auth": "private_key_jwt", "private_key": PEM}

PROVIDERS: dict[str, Callable[[], Provider]] = {
    "basic": lambda: ClientCredentials(token_url=f"{URL}?k={CANARY}", extra={"key": CANARY}, **BOUND),
    "post": lambda: ClientCredentials(token_url=URL, client_auth="client_secret_post", **BOUND),
    "private_key_jwt": lambda: ClientCredentials(token_url=URL, **SIGNED),
    "password": lambda: PasswordGrant(token_url=URL, username="ana", password=CANARY, **BOUND),
    "refresh": lambda: RefreshGrant(token_url=URL, refresh_token=CANARY, account="ana", **SIGNED),
    "jwt": lambda: JWTBearer(token_url=URL, assertion=CANARY, account="ana", **SIGNED),
    "own jwt": lambda: JWTBearer(token_url=URL, claims={"key": CANARY}, **SIGNED),
    "exchange": lambda: TokenExchange(token_url=URL, subject_token=CANARY, actor_token=CANARY, account="ana", **BOUND),
    "device": lambda: DeviceCode(token_url=URL, device_authorization_url=URL, show=print, account="ana", **BOUND),
    "declared": lambda: DeclaredProvider(
        name="acme",
        url=f"{URL}?k={CANARY}",
        credential={"ana": CANARY},
        sent_as="basic",
        headers={"X": CANARY},
    ),
}

every_provider = pytest.mark.parametrize("make", PROVIDERS.values(), ids=PROVIDERS.keys())


@every_provider
def test_what_people_see(make: Callable[[], Any]) -> None:
    """repr(), identity and status() tell what it is, not what it knows; the identity is there, for a store."""
    provider = make()
    manager = TokenManager(provider)
    assert provider.identity is not None
    shown = [provider, manager, manager.status(), *provider.credentials, provider.identity]
    shown += [getattr(provider, "_client", None), getattr(provider, "prover", None), getattr(provider, "_issuer", None)]
    for each in shown:
        assert CANARY not in repr(each)
        assert KEY not in repr(each)


@every_provider
@pytest.mark.parametrize("again", [False, True], ids=["the grant", "a refresh token"])
@pytest.mark.parametrize(("status", "body"), [(400, None), (200, b"{}"), (503, None), (302, b""), (200, b"nonsense")])
async def test_what_goes_wrong(
    *,
    mocked_http: MockedHttp,
    make: Callable[[], Provider],
    status: int,
    body: bytes | None,
    again: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the server answers, even our own words: the error, its frames and the log hold none of it."""
    caplog.set_level(logging.DEBUG)
    provider: Any = make()
    said = {"error": "invalid_client", "error_description": f"what is {CANARY}?" if again else "no"}
    mocked_http.answers(provider.token_endpoint, said, status=status, body=body, times=4)
    error = await failure(provider, Token("at-0", refresh_token=CANARY) if again else None)
    for sent in mocked_http.sent:
        pieces = [piece for piece in sent.body.decode().split("&") if piece.startswith("client_assertion=")]
        keeps_quiet(error, CANARY, KEY, *(piece.partition("=")[2] for piece in pieces))
        for piece in pieces:
            assert jwt_part(piece.partition("=")[2], 1)["iss"] == "app"
    assert CANARY not in caplog.text


@attrs.define(repr=False)
class _Echo:
    """A session whose server repeats one thing that it was sent."""

    sent: list[str] = attrs.field(factory=list[str])
    status: int = 400
    trust_env: bool = False
    is_read: bool = False
    headers: CIMultiDict[str] = attrs.field(factory=CIMultiDict[str])

    @contextlib.asynccontextmanager
    async def request(
        self, *_: object, data: Any, headers: dict[str, str], middlewares: tuple[Any, ...], **__: object
    ) -> AsyncIterator[Self]:
        async def send(request: Any) -> Self:
            known = {**request.headers, **dict(parse_qsl(data.decode()))}
            self.sent[:] = [known[name] for name in ("DPoP", "assertion") if name in known]
            return self

        request = types.SimpleNamespace(headers=CIMultiDict(headers), proxy=None)
        yield await middlewares[0](request, send) if middlewares else await send(request)

    @property
    def content(self) -> Self:
        return self

    async def readany(self) -> bytes:
        if self.is_read:
            return b""
        self.is_read = True
        return json.dumps({"error": "invalid_grant", "error_description": f"what is {self.sent[0]}?"}).encode()


@pytest.mark.parametrize("name", ["own jwt", "basic"])
async def test_what_was_signed_for_one_request(name: str) -> None:
    """A server that repeats an assertion or a proof that was signed here puts no part of it into an error."""
    echo: Any = _Echo()
    with pytest.raises(AuthError) as caught:
        await PROVIDERS[name]().fetch(echo, None)
    assert caught.value.error_description == "what is …?"
    assert len(echo.sent[0]) > 100
