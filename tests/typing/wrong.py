"""What type checkers must refuse: each line has an error that both find, or the ignore would be reported as unused."""
# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import aiohttp

from asyncauth import (
    BearerAuth,
    ClientCredentials,
    DeclaredProvider,
    ManagerPool,
    PagoFacil,
    PagoFacilJWT,
    Peakly,
    RefreshPolicy,
    Token,
    TokenManager,
    current_request_context,
    wrap_session,
)
from asyncauth.httpx import AsyncBearerTransport, BearerTransport, async_client, client
from asyncauth.stores import EncryptedStore, FileStore, MemoryStore, TokenStore
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp, static_manager

PEAKLY = Peakly(username="u", password="p")
MANAGER = TokenManager(PEAKLY)


def peakly_of(tenant: str) -> Peakly:
    return Peakly(username=tenant, password="p")


POOL = ManagerPool(peakly_of)


class NoStore:
    """Lacks most of what a store has."""

    async def load(self, key: str) -> Token | None:
        return None


class NotAsync:
    """A provider whose ``fetch`` is not a coroutine function."""

    name = "not-async"
    origins = ("https://api.example.com",)
    identity = None

    def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
        return Token("t")


async def wrong(http: aiohttp.ClientSession) -> None:
    # Managers
    TokenManager("https://api.peakly.co")  # type: ignore[arg-type]
    TokenManager(NotAsync())  # type: ignore[arg-type]
    TokenManager(PEAKLY, store="redis://localhost")  # type: ignore[arg-type]
    TokenManager(PEAKLY, store=NoStore())  # type: ignore[arg-type]
    TokenManager(PEAKLY, RefreshPolicy())  # type: ignore[call-arg, arg-type]
    TokenManager(PEAKLY, clock=1_700_000_000)  # type: ignore[arg-type]
    TokenManager(PEAKLY, random=0.5)  # type: ignore[arg-type]
    RefreshPolicy(renew_at="0.8")  # type: ignore[arg-type]
    RefreshPolicy(renew=0.8)  # type: ignore[call-arg]
    MANAGER.invalidate("a-token")  # type: ignore[arg-type]
    MANAGER.headers()["Authorization"]  # type: ignore[index]
    (await MANAGER.token()).value = "another"  # type: ignore[misc]
    (await MANAGER.token()).startswith("a")  # type: ignore[attr-defined]
    str(MANAGER.current.value)  # type: ignore[union-attr]
    await MANAGER.headers(7)  # type: ignore[arg-type]
    # Requests
    async_client("https://a.example")  # type: ignore[arg-type]
    client(MANAGER, refused=403)  # type: ignore[arg-type]
    AsyncBearerTransport(PEAKLY)  # type: ignore[arg-type]
    BearerTransport(MANAGER, transport=AsyncBearerTransport(MANAGER))  # type: ignore[arg-type]
    BearerAuth(PEAKLY)  # type: ignore[arg-type]
    BearerAuth([MANAGER])  # type: ignore[arg-type]
    wrap_session(MANAGER, http)  # type: ignore[arg-type]
    # Providers
    Peakly("u", "p")  # type: ignore[call-arg]
    Peakly(username="u")  # type: ignore[call-arg]
    Peakly(username="u", password=None)  # type: ignore[arg-type]
    Peakly(username="u", password=b"p")  # type: ignore[arg-type]
    PagoFacil(jwt=1)  # type: ignore[arg-type]
    PagoFacilJWT(access_token="a", lifetime="1h")  # type: ignore[arg-type]
    ClientCredentials(token_url="https://a.example", client_id="c", client_auth="client_secret_jwt")  # type: ignore[arg-type]
    ClientCredentials(token_url="https://a.example", client_id="c", client_secert="s")  # type: ignore[call-arg]
    DeclaredProvider(name="a", url="https://a.example", credential="s", sent_as="cookie")  # type: ignore[arg-type]
    current_request_context().sending(b"secret")  # type: ignore[arg-type]
    current_request_context().answered("200", {})  # type: ignore[arg-type]
    # Stores and pools
    store: TokenStore = NoStore()  # type: ignore[assignment]
    EncryptedStore(MemoryStore(), "key", "another")  # type: ignore[call-arg]
    FileStore(7)  # type: ignore[arg-type]
    POOL.get("tenant").token()  # type: ignore[attr-defined]
    await POOL.get(7)  # type: ignore[arg-type]
    ManagerPool(PEAKLY)  # type: ignore[arg-type]
    ManagerPool(peakly_of, random=lambda: "half")  # type: ignore[arg-type, return-value]
    # The test kit
    FakeClock("now")  # type: ignore[arg-type]
    await FakeClock().advance("1")  # type: ignore[arg-type]
    FakeProvider(60)  # type: ignore[call-arg]
    static_manager(b"token")  # type: ignore[arg-type]
    mock_aiohttp().get("https://a.example", state=200)  # type: ignore[call-arg]
    mock_aiohttp().post("https://a.example", status="200")  # type: ignore[arg-type]
    assert store
