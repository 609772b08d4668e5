"""What monitoring sees of a client: spans and metrics in OpenTelemetry's in-memory exporters."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import time
import weakref
from collections.abc import Iterator
from typing import Any

import aiohttp
import attrs
import pytest
from contract_kit import PAGO_FACIL, QUICK, client, serving
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
from asyncauth.telemetry.otel import OpenTelemetry
from asyncauth.testing import FakeProvider


class Tenant:
    """A pool's key of which one can tell whether anybody remembers it."""


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

    def metric(self, name: str, **attributes: str | int) -> Any:
        """Return a metric's point with these attributes (dots as underscores), or its value; ``None``: no metric."""
        data: Any = self.reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else []:
            if metric.name == f"asyncauth.{name}":
                for point in metric.data.data_points:
                    found = {key.replace(".", "_"): value for key, value in point.attributes.items()}
                    if attributes.items() <= found.items():
                        return point.value if hasattr(point, "value") else point
        return None

    @property
    def lifetimes(self) -> list[tuple[str, float]]:
        """The gauge's points: each one's step and value."""
        data: Any = self.reader.get_metrics_data()
        (resource,) = data.resource_metrics if data else [None]
        return [
            (point.attributes["asyncauth.step"], point.value)
            for metric in (resource.scope_metrics[0].metrics if resource else ())
            if metric.name == "asyncauth.token.remaining_lifetime"
            for point in metric.data.data_points
        ]

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
    token = manager.current
    assert token is not None
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
    provider = FakeProvider(answers=[TokenEndpointUnavailable("down"), CredentialsRejected("no", status=401)])
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
    assert refresh.status.description == "no [fake, status 401]"
    assert [event.name for event in refresh.events] == ["token request failed"] * 2
    assert [(event.attributes or {})["error.type"] for event in refresh.events] == [
        "TokenEndpointUnavailable",
        "CredentialsRejected",
    ]
    # Under the conventions' own name, where there was an answer.
    assert [(event.attributes or {}).get("http.response.status_code") for event in refresh.events] == [None, 401]
    assert monitor.metric("token.requests", http_response_status_code=401) == 1


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


async def test_a_token_that_could_not_be_replaced_is_seen_for_a_while(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gauge is zero, not less, so that an alarm can see it; after five minutes it is forgotten."""
    provider = FakeProvider(lifetime=100.0)
    manager = TokenManager(provider, policy=QUICK)
    manager.add_listener(monitor.listener)
    await manager.token()
    provider.answers = [CredentialsRejected("no")]
    with pytest.raises(CredentialsRejected):
        await manager.refresh()
    await manager.close()
    now = time.time()
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(100.0, abs=5.0)
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 150.0)
    assert monitor.metric("token.remaining_lifetime") == 0.0
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 500.0)
    assert monitor.metric("token.remaining_lifetime") is None


def test_what_the_gauge_forgets_is_not_remembered(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its token has been at an end for five minutes, nothing is left of a tenant."""
    tenant = Tenant()
    about: dict[str, Any] = {"provider": "fake", "tenant": tenant, "at": 0.0, "seconds": 1.0, "waiters": 1}
    monitor.listener(events.RefreshSucceeded(**about, fingerprint="f", expires_at=time.time() + 1.0, usable_for=1.0))
    forgotten = weakref.ref(tenant)
    del tenant, about
    assert monitor.metric("token.remaining_lifetime") is not None
    assert forgotten() is not None
    now = time.time()
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 500.0)
    assert monitor.metric("token.remaining_lifetime") is None
    assert forgotten() is None


async def test_a_token_that_ended_unused_is_no_alarm(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant without requests needs no token: the gauge has no point for it, and shows the other tenant's."""
    lifetimes = {"acme": 500.0, "idle": 100.0}
    pool = ManagerPool[str](lambda tenant: FakeProvider(lifetime=lifetimes[tenant], identity=tenant))
    pool.add_listener(monitor.listener)
    for tenant in lifetimes:
        await (await pool.get(tenant)).token()
    await pool.close()
    now = time.time()
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 150.0)
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(350.0, abs=5.0)
    monkeypatch.setattr("asyncauth.telemetry.otel.time.time", lambda: now + 501.0)
    assert monitor.metric("token.remaining_lifetime") is None


async def test_a_chain_whose_first_token_ends(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """The gauge of a chain is that of the token the API takes, and stays above zero for as long as that one is fresh.

    The login's token lives for a second, and nobody needs it again. Spans, events and log lines name the steps.
    """
    caplog.set_level(logging.DEBUG, "asyncauth.refresh")
    heard: list[events.Event] = []
    with serving(PAGO_FACIL) as side:
        side.sandbox.pago_facil.settings.login_lifetime = 1.0
        every = OpenTelemetry(meter_provider=monitor.metering, intermediate=True)
        async with side.manager() as manager, client(manager) as http:
            for listener in (monitor.listener, every, heard.append):
                manager.add_listener(listener)
            points: list[tuple[str, float]] = []
            seen: list[tuple[str, float]] = []
            while not seen or "login" in dict(points):
                async with http.get(side.url()) as response:
                    assert response.status == 200
                await asyncio.sleep(0.05)
                points = monitor.lifetimes
                seen += points
            assert side.asked == side.rounds(1)
    assert min(left for _, left in seen) > 0.0
    assert {step for step, _ in seen} == {"login", "createToken", "loginToken"}
    assert sorted(step for step, _ in points) == ["createToken", "loginToken"]
    assert [(span.attributes or {})["asyncauth.step"] for span in monitor.refreshes] == [
        "login",
        "createToken",
        "loginToken",
    ]
    assert {(event.step, event.intermediate) for event in heard} == {
        ("login", True),
        ("createToken", True),
        ("loginToken", False),
    }
    for step in ("login", "createToken", "loginToken"):
        assert f"pago-facil {step}: obtained token" in caplog.text


async def test_a_chain_is_one_series(monitor: Monitor) -> None:
    """Unless earlier steps are asked for, a chain has one point, also if two objects hear of it."""
    other = OpenTelemetry(meter_provider=monitor.metering)
    with serving(PAGO_FACIL) as side:
        async with side.manager() as manager:
            for listener in (monitor.listener, other):
                manager.add_listener(listener)
            await manager.token()
    assert [step for step, _ in monitor.lifetimes] == ["loginToken"]


async def test_a_chain_of_a_pools_tenant_is_one_series(monitor: Monitor) -> None:
    """Earlier steps are known as such in a pool as well; their spans and log lines name tenant and step."""
    with serving(PAGO_FACIL) as side:
        pool = ManagerPool[str](lambda tenant: side.provider())
        pool.add_listener(monitor.listener)
        await (await pool.get("acme")).token()
        await pool.close()
    assert [step for step, _ in monitor.lifetimes] == ["loginToken"]
    assert [(span.attributes or {})["asyncauth.tenant"] for span in monitor.refreshes] == ["acme"] * 3


async def test_objects_of_one_meter_provider_share_the_gauge(monitor: Monitor) -> None:
    """A second object's tokens are in the gauge as well, and no third one's that has a meter provider of its own."""
    elsewhere = Monitor()
    listeners = (monitor.listener, OpenTelemetry(meter_provider=monitor.metering), elsewhere.listener)
    for number, listener in enumerate(listeners):
        provider = FakeProvider()
        provider.name = f"fake-{number}"
        manager = TokenManager(provider)
        manager.add_listener(listener)
        await manager.token()
        await manager.close()
    found = [monitor.metric("token.remaining_lifetime", asyncauth_provider=f"fake-{number}") for number in range(3)]
    assert [value is not None for value in found] == [True, True, False]
    assert elsewhere.metric("token.remaining_lifetime", asyncauth_provider="fake-2") is not None
    elsewhere.metering.shutdown()
    elsewhere.tracing.shutdown()


async def test_a_global_meter_provider_that_is_set_later(monkeypatch: pytest.MonkeyPatch, monitor: Monitor) -> None:
    """An object made before the global provider was set, and one made after, have one gauge: the provider's."""
    early = OpenTelemetry()
    monkeypatch.setattr("asyncauth.telemetry.otel.metrics.get_meter_provider", lambda: monitor.metering)
    manager = TokenManager(FakeProvider())
    manager.add_listener(early)
    await manager.token()
    await manager.close()
    assert monitor.metric("token.remaining_lifetime") == pytest.approx(3600.0, abs=5.0)


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
    """An unknown kind of event, or of a refresh's end, creates neither metric nor span."""

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
    """Managers without a token at once; those with an expired token even if nobody ever reads the gauge."""
    listener = OpenTelemetry()
    monkeypatch.setattr("time.time", lambda: 10_000.0)
    remembered = weakref.WeakSet[Tenant]()
    for number in range(1000):
        tenant = Tenant()
        remembered.add(tenant)
        named: dict[str, Any] = {"provider": "fake", "tenant": tenant, "at": 0.0}
        ended = {**named, "seconds": 1.0, "waiters": 1}
        listener(events.RefreshStarted(**named, state="empty"))
        if number % 2:
            listener(events.RefreshFailed(**ended, error="AuthError", message=""))
        else:
            listener(events.RefreshSucceeded(**ended, fingerprint="f", expires_at=9_000.0, usable_for=1.0))
        listener(events.RequestWaited(**named, seconds=1.0, error=None))
    assert len(remembered) <= 64
