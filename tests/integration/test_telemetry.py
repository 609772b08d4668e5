"""What monitoring sees of a client: spans and metrics in OpenTelemetry's in-memory exporters, and a health check."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from contract_kit import QUICK
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from asyncauth import (
    BearerAuth,
    ConfigurationError,
    CredentialsRejected,
    ManagerPool,
    Peakly,
    TokenEndpointUnavailable,
    TokenManager,
    events,
)
from asyncauth.sandbox import Sandbox
from asyncauth.stores import MemoryStore
from asyncauth.telemetry.health import health_handler
from asyncauth.telemetry.otel import OpenTelemetry
from asyncauth.testing import FakeProvider


@attrs.define(eq=False)
class Monitor:
    """Where spans and metrics end up."""

    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracing: TracerProvider = attrs.field(factory=lambda: TracerProvider(shutdown_on_exit=False))
    metering: MeterProvider = attrs.field(init=False)
    listener: OpenTelemetry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.metering = MeterProvider([self.reader], shutdown_on_exit=False)
        self.listener = OpenTelemetry(tracer_provider=self.tracing, meter_provider=self.metering)

    @property
    def refreshes(self) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == "asyncauth.refresh"]

    def metric(self, name: str, **attributes: str) -> Any:
        """Return a metric's point with these attributes (dots as underscores), or its value; ``None`` = none."""
        data: Any = self.reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else []:
            if metric.name == f"asyncauth.{name}":
                for point in metric.data.data_points:
                    found = {key.replace(".", "_"): value for key, value in point.attributes.items()}
                    if attributes.items() <= found.items():
                        return point.value if hasattr(point, "value") else point
        return None

    @property
    def units(self) -> dict[str, str]:
        data: Any = self.reader.get_metrics_data()
        return {metric.name: metric.unit for metric in data.resource_metrics[0].scope_metrics[0].metrics}


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    monitor = Monitor()
    yield monitor
    monitor.metering.shutdown()
    monitor.tracing.shutdown()


async def test_a_refresh_as_a_span_with_links_from_the_requests_that_waited(monitor: Monitor) -> None:
    """Three requests wait for one refresh: one span, a root, with a link to each request's."""
    tracer = monitor.tracing.get_tracer("test")
    async with Sandbox() as sandbox:
        provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        async with TokenManager(provider) as manager:
            manager.add_listener(monitor.listener)
            async with aiohttp.ClientSession(sandbox.peakly.url, middlewares=(BearerAuth(manager),)) as http:

                async def request(number: int) -> None:
                    with tracer.start_as_current_span(f"request {number}"):
                        async with http.get("/api/echo") as response:
                            assert response.status == 200

                before = time.time_ns()
                await asyncio.gather(*map(request, range(3)))
    (refresh,) = monitor.refreshes
    requests = {span.context.span_id for span in monitor.spans.get_finished_spans() if span.name.startswith("request")}
    assert {link.context.span_id for link in refresh.links} == requests
    assert len(requests) == 3
    assert refresh.parent is None
    assert refresh.status.status_code is StatusCode.UNSET
    assert dict(refresh.attributes or {}) == {
        "asyncauth.provider": "peakly",
        "asyncauth.outcome": "success",
        "asyncauth.token.state": "empty",
        "asyncauth.refresh.waiters": 3,
    }
    assert refresh.start_time is not None
    assert refresh.end_time is not None
    assert before - 1e8 < refresh.start_time < refresh.end_time < time.time_ns() + 1e8


async def test_the_metrics_of_a_client(monitor: Monitor) -> None:
    """Durations, requests, rejections, waits and the remaining lifetime, under OpenTelemetry's kind of names."""
    async with Sandbox() as sandbox:
        provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=sandbox.peakly.url)
        async with TokenManager(provider) as manager:
            manager.add_listener(monitor.listener)
            async with aiohttp.ClientSession(sandbox.peakly.url, middlewares=(BearerAuth(manager),)) as http:
                for _ in range(2):
                    async with http.get("/api/echo") as response:
                        assert response.status == 200
                    sandbox.peakly.revoke()
    peakly = {"asyncauth_provider": "peakly"}
    assert monitor.metric("token.requests", asyncauth_outcome="success", **peakly) == 2
    assert monitor.metric("token.rejections", asyncauth_rejection_cause="token_refused", **peakly) == 1
    assert monitor.metric("refresh.duration", asyncauth_outcome="success", **peakly).count == 2
    assert monitor.metric("refresh.waiters", **peakly).sum == 2
    assert monitor.metric("token.wait.duration", **peakly).count == 2
    remaining = monitor.metric("token.remaining_lifetime", **peakly)
    token = manager._state.cached.token
    assert token.expires_at is not None
    assert remaining == pytest.approx(token.expires_at - time.time(), abs=5.0)
    assert monitor.units == {
        "asyncauth.token.requests": "{request}",
        "asyncauth.token.rejections": "{token}",
        "asyncauth.token.remaining_lifetime": "s",
        "asyncauth.token.wait.duration": "s",
        "asyncauth.refresh.duration": "s",
        "asyncauth.refresh.waiters": "{caller}",
    }


async def test_failures_are_counted_by_type(monitor: Monitor) -> None:
    """Each failed try is a request with ``error.type``; the span of the refresh that fails is an error."""
    provider = FakeProvider(answers=[TokenEndpointUnavailable("down"), CredentialsRejected("no")])
    manager = TokenManager(provider, policy=QUICK)
    manager.add_listener(monitor.listener)
    with pytest.raises(CredentialsRejected):
        await manager.token()
    await manager.close()
    for kind in ("TokenEndpointUnavailable", "CredentialsRejected"):
        assert monitor.metric("token.requests", asyncauth_outcome="failure", error_type=kind) == 1
    assert monitor.metric("refresh.duration", asyncauth_outcome="failure", error_type="CredentialsRejected").count == 1
    assert monitor.metric("cool_downs", asyncauth_cool_down_cause="credentials") == 1
    (refresh,) = monitor.refreshes
    assert refresh.status.status_code is StatusCode.ERROR
    assert refresh.status.description == "fake: no"
    assert [event.name for event in refresh.events] == ["token request failed"] * 2
    assert [(event.attributes or {})["error.type"] for event in refresh.events] == [
        "TokenEndpointUnavailable",
        "CredentialsRejected",
    ]


async def test_an_adoption_is_no_request(monitor: Monitor) -> None:
    """A token of another process is counted as adopted: nothing was asked of the provider."""
    store = MemoryStore()
    await TokenManager(FakeProvider(), store=store).token()
    manager = TokenManager(FakeProvider(), store=store)
    manager.add_listener(monitor.listener)
    await manager.token()
    await manager.close()
    assert monitor.metric("token.adoptions") == 1
    assert monitor.metric("token.requests") is None
    assert (monitor.refreshes[0].attributes or {})["asyncauth.outcome"] == "adopted"


async def test_store_trouble_is_counted(monitor: Monitor) -> None:
    """What a shared store fails at is a metric of its own."""

    class Broken(MemoryStore):
        async def load(self, key: str) -> Any:
            raise OSError

    manager = TokenManager(FakeProvider(), store=Broken())
    manager.add_listener(monitor.listener)
    await manager.token()
    await manager.close()
    assert monitor.metric("store.failures") == 1


async def test_a_pools_metrics_have_no_tenant(monitor: Monitor) -> None:
    """Tenants are in spans, never in metrics: the gauge shows the token that ends first."""
    lifetimes = {"acme": 500.0, "umbrella": 100.0}
    pool = ManagerPool[str](lambda tenant: FakeProvider(lifetime=lifetimes[tenant], identity=tenant))
    pool.add_listener(monitor.listener)
    for tenant in lifetimes:
        await (await pool.get(tenant)).token()
    await pool.close()
    assert {(span.attributes or {})["asyncauth.tenant"] for span in monitor.refreshes} == set(lifetimes)
    assert monitor.metric("token.requests", asyncauth_provider="fake") == 2
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(100.0, abs=5.0)


async def test_a_token_that_ended_is_seen_for_a_while(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauge goes below zero, so that an alarm can see it; after five minutes it is forgotten."""
    manager = TokenManager(FakeProvider(lifetime=100.0))
    manager.add_listener(monitor.listener)
    await manager.token()
    await manager.close()
    now = time.time()
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 150.0)
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(-50.0, abs=5.0)
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 500.0)
    assert monitor.metric("token.remaining_lifetime") is None
    assert not monitor.listener._known


async def test_a_fresh_token_that_is_refused_as_well_still_lives(monitor: Monitor) -> None:
    """Refusals that change nothing are counted by that cause, with the cool-down; the token keeps its lifetime."""
    manager = TokenManager(FakeProvider())
    manager.add_listener(monitor.listener)
    manager.invalidate(await manager.token())
    manager.invalidate(await manager.token(), repeat=True)
    await manager.close()
    assert monitor.metric("token.rejections", asyncauth_rejection_cause="fresh_token_refused") == 1
    assert monitor.metric("cool_downs", asyncauth_cool_down_cause="refusals") == 1
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(3600.0, abs=5.0)


def test_a_first_refresh_that_is_under_way_has_no_lifetime(monitor: Monitor) -> None:
    """The gauge shows tokens, not hopes."""
    monitor.listener(events.RefreshStarted(provider="fake", at=time.time(), state="empty"))
    assert monitor.metric("token.remaining_lifetime") is None


def test_events_of_later_versions_are_passed_over(monitor: Monitor) -> None:
    """A kind of event, or of a refresh's end, that it does not know is no metric and no span."""

    @attrs.frozen(kw_only=True)
    class Novel(events.RefreshEnded):
        pass

    monitor.listener(Novel(provider="fake", at=time.time(), seconds=1.0, waiters=0))
    monitor.listener(events.StoreRecovered(provider="fake", at=time.time()))
    assert monitor.refreshes == []
    assert monitor.metric("refresh.duration") is None


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenTelemetry's API the import says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "asyncauth.telemetry.otel")
    with pytest.raises(ConfigurationError, match=r"asyncauth\[otel\]"):
        importlib.import_module("asyncauth.telemetry.otel")


async def test_a_refused_token_has_no_lifetime_left(monitor: Monitor) -> None:
    """A token that was dropped is not counted as living."""
    manager = TokenManager(FakeProvider())
    manager.add_listener(monitor.listener)
    manager.invalidate(await manager.token())
    await manager.close()
    assert monitor.metric("token.remaining_lifetime") is None


def test_tenants_that_come_and_go_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a token at once; those whose token has ended even if nobody ever looks at the gauge."""
    listener = OpenTelemetry()
    monkeypatch.setattr("time.time", lambda: 10_000.0)
    for tenant in range(1000):
        named: dict[str, Any] = {"provider": "fake", "tenant": tenant, "at": 0.0}
        ended = {**named, "seconds": 1.0, "waiters": 1}
        listener(events.RefreshStarted(**named, state="empty"))
        if tenant % 2:
            listener(events.RefreshFailed(**ended, error="AuthError", message=""))
        else:
            listener(events.RefreshSucceeded(**ended, fingerprint="f", expires_at=9_000.0, usable_for=1.0))
        listener(events.RequestWaited(**named, seconds=1.0, error=None))
    assert len(listener._known) <= 64


async def test_the_health_check() -> None:
    """200 while a request would have a token, 503 when it would not; JSON that names what is wrong."""
    provider = FakeProvider()
    manager = TokenManager(provider, policy=QUICK)
    pool = ManagerPool[str](lambda tenant: provider)
    app = web.Application()
    app.router.add_get("/health", health_handler(manager, pool))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/health"
    try:
        async with aiohttp.ClientSession() as http:

            async def asked() -> tuple[int, Any]:
                async with http.get(url) as response:
                    assert response.headers["Cache-Control"] == "no-store"
                    return response.status, await response.json()

            assert (await asked())[0] == 200  # nobody has wanted a token yet
            token = await manager.token()
            status, body = await asked()
            assert (status, body["healthy"], body["managers"][0]["state"]) == (200, True, "fresh")
            assert token.value not in str(body)
            provider.answers = [CredentialsRejected("no")]
            manager.invalidate(token)
            with pytest.raises(CredentialsRejected):
                await manager.token()
            status, body = await asked()
            assert (status, body["managers"][0]["last_error"]) == (503, "CredentialsRejected: fake: no")
            assert body["managers"][1]["healthy"]
    finally:
        await runner.cleanup()


async def test_a_pool_is_ill_when_nobody_in_it_has_a_token() -> None:
    """One tenant's wrong password is no reason to take a service down; all of them are."""
    answers: dict[str, list[Any]] = {"acme": [CredentialsRejected("no")], "umbrella": []}
    pool = ManagerPool[str](lambda tenant: FakeProvider(answers=answers[tenant], identity=tenant))
    with pytest.raises(CredentialsRejected):
        await (await pool.get("acme")).token()
    assert not pool.status().healthy
    await (await pool.get("umbrella")).token()
    assert pool.status().healthy
    await pool.close()


def test_a_health_check_of_nothing() -> None:
    """It would always be healthy."""
    with pytest.raises(ConfigurationError, match="at least one"):
        health_handler()
