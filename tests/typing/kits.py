"""What stands around the managers, as users' own code sees it: stores, pools, events, the test kit, the sandbox."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import AsyncGenerator

import aiohttp
from aiohttp import web
from yarl import URL

from asyncauth import (
    BearerAuth,
    Clock,
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    LockTimeout,
    ManagerClosed,
    ManagerPool,
    Peakly,
    PoolStatus,
    StoreError,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
    client_session,
)
from asyncauth import events as happenings
from asyncauth.events import Event, RefreshSucceeded, StoreFailed
from asyncauth.sandbox import (
    DEFAULT_PASSWORD,
    DEFAULT_USERNAME,
    Counts,
    Details,
    Fault,
    FaultPlan,
    Living,
    PagoFacilSandbox,
    PagoFacilSettings,
    PeaklySandbox,
    PeaklySettings,
    Record,
    Sandbox,
    Shown,
    sandbox_in_thread,
)
from asyncauth.stores import (
    EncryptedStore,
    Entry,
    FileStore,
    Lease,
    MemoryStore,
    RedisStore,
    Rejection,
    TokenStore,
    dumps,
    loads,
    remains,
    time_to_live,
)
from asyncauth.telemetry.health import health_handler
from asyncauth.telemetry.otel import OpenTelemetry
from asyncauth.testing import FakeClock, FakeProvider, StoreConformance, mock_aiohttp, static_manager


class OneLease:
    """A lease of a user's own."""

    lost = False


class DictStore:
    """A store of a user's own."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def load(self, key: str) -> Token | None:
        text = self._texts.get(key)
        return None if text is None else loads(text)

    async def save(self, key: str, token: Token) -> None:
        kept: Token | None = remains(token)
        entry: Entry = Entry.of(token)
        rejections: tuple[Rejection, ...] = entry.rejections
        seconds: float = time_to_live(token, 0.0)
        assert kept or rejections or seconds
        self._texts[key] = dumps(token)

    async def delete(self, key: str, token: Token) -> None:
        self._texts.pop(key, None)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[Lease, None]:
        yield OneLease()


class TestDictStore(StoreConformance):
    """The test suite for it."""

    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        store = DictStore()
        return store, store


def all_stores() -> list[TokenStore]:
    redis = RedisStore("redis://localhost", prefix="mine:", strict=True)
    return [MemoryStore(), FileStore("tokens"), redis, EncryptedStore(redis, [b"key"]), DictStore()]


async def pools(tenants: list[str]) -> None:
    async def provider_of(tenant: str) -> Peakly:
        return Peakly(username=tenant, password="p")

    async with ManagerPool(provider_of, max_size=5, limit=2, store=MemoryStore(), random=random.random) as pool:
        for tenant in tenants:
            manager: TokenManager = await pool.get(tenant)
            async with aiohttp.ClientSession(middlewares=(pool.auth(tenant),)) as http:
                await http.get("https://api.peakly.co/")
            assert manager.current
        status: PoolStatus = pool.status()
        number: int = status.managers
        pool.add_listener(OpenTelemetry())
        app = web.Application()
        app.router.add_get("/health", health_handler(pool, static_manager()))
        assert number


def listen(event: Event) -> None:
    if isinstance(event, RefreshSucceeded):
        seconds: float = event.seconds
        assert seconds
    elif isinstance(event, StoreFailed):
        provider: str = event.provider
        assert provider
    assert isinstance(event, happenings.Event)


async def listen_async(event: Event) -> None:
    listen(event)


def seconds_to_wait(error: aiohttp.ClientError) -> float | None:
    if isinstance(error, TokenEndpointUnavailable):
        return error.retry_after
    if isinstance(error, (CredentialsRejected, InvalidTokenResponse, InsecureTransport, ConfigurationError)):
        return None
    if isinstance(error, (LockTimeout, StoreError, ManagerClosed)):
        return 1.0 if error.transient else None
    return 0.0


async def with_fakes() -> None:
    clock = FakeClock(wall=1_700_000_000)
    held: Clock = clock
    provider = FakeProvider(lifetime=None, clock=held, answers=[Token("t"), TokenEndpointUnavailable("no")])
    manager = TokenManager(provider, clock=clock)
    manager.add_listener(listen)
    manager.add_listener(listen_async)
    await clock.advance(10)
    clock.set_wall(5)
    calls: int = provider.calls
    static: TokenManager = static_manager("t", origins=["https://a.example", "https://b.example"])
    assert [calls, BearerAuth(manager, static)]


async def with_mock() -> None:
    with mock_aiohttp(passthrough=["http://127.0.0.1"]) as mock:
        mock.get("https://api.example.com/", payload={"a": 1}, headers={"X": "y"}, repeat=2)
        mock.post(re.compile(".*"), status=401, body=b"no")
        mock.add(URL("https://api.example.com/"), "DELETE", exception=TimeoutError(), callback=print)
        async with client_session(FakeProvider()) as http:
            await http.get("https://api.example.com/")
        mock.assert_called_once()
        for calls in mock.requests.values():
            assert len(calls) == 1


@mock_aiohttp()
async def decorated(name: str, mock: mock_aiohttp) -> str:
    mock.put("https://api.example.com/")
    return name


async def uses_decorated() -> str:
    return await decorated("Ada")


async def with_sandbox() -> None:
    async with Sandbox(username=DEFAULT_USERNAME, password=DEFAULT_PASSWORD, lifetime=2) as sandbox:
        peakly: PeaklySandbox = sandbox.peakly
        pago_facil: PagoFacilSandbox = sandbox.pago_facil
        faults: FaultPlan = peakly.token_faults
        faults.server_error(times=1)
        pago_facil.api_faults.add(Fault(kind="hang", times=1))
        counts: Counts = peakly.counts
        requests: int = counts.token_requests
        records: list[Record] = list(sandbox.log)
        details: Details = records[0].details
        headers: tuple[Shown, ...] = details.headers
        settings: tuple[PeaklySettings, PagoFacilSettings] = (peakly.settings, pago_facil.settings)
        living: list[Living] = peakly.tokens(10)
        assert [requests, headers, settings, living]
    with sandbox_in_thread(lifetime=2) as running:
        running.configure(lifetime=3)
        revoked: int = running.revoke()
        assert revoked
