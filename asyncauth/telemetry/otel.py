"""OpenTelemetry: a span per refresh, and metrics. Needs the extra ``otel``, which is only the API.

Names and units follow OpenTelemetry's general conventions for metrics (https://opentelemetry.io/docs/specs/semconv/
general/metrics/): seconds as ``s``, counts of a thing as ``{thing}``, and ``error.type`` for errors. If a failed try
had an HTTP answer, ``http.response.status_code`` has its status.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asyncauth import events
from asyncauth._base.forks import new_guard
from asyncauth.errors import ConfigurationError

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
except ImportError:
    raise ConfigurationError("OpenTelemetry needs its API", advice="pip install 'asyncauth[otel]'") from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Context as Caller

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["OpenTelemetry"]

_SCOPE = "asyncauth"

_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
"""Seconds: the boundaries of OpenTelemetry's ``http.client.request.duration``, and a refresh's default deadline."""

_REMEMBERED = 300.0
"""Seconds for which the gauge shows 0 after a token has expired without a new one, so that an alarm can see it."""

_FEW = 64
"""With fewer managers, expired tokens are not searched for."""

_Attributes: TypeAlias = "dict[str, AttributeValue]"
_Owner: TypeAlias = tuple[object, ...]


@attrs.define(eq=False)
class _Known:
    """The record of one manager between its events.

    Attributes:
        attributes: The manager's attributes, for the gauge.
        expires_at: When its token expires, in Unix epoch seconds; ``None``: it has none, or the expiry is unknown.
        renewing: Whether a refresh began since that token came, so that another one is wanted.
        state: The token's state when the last refresh began.
        failures: The failed tries of that refresh.
    """

    attributes: _Attributes
    expires_at: float | None = None
    renewing: bool = False
    state: str = ""
    failures: list[events.TokenRequestFailed] = attrs.field(factory=list["events.TokenRequestFailed"])


class _Lifetimes:
    """The remaining lifetimes of tokens, of all managers that one object listens to: the gauge's points.

    Args:
        meter_provider: The destination of metrics; ``None``: the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None) -> None:
        self._meter_provider = meter_provider
        self._guard = new_guard()
        self._known: dict[_Owner, _Known] = {}  # managers with a token, or with a refresh in progress
        self._many = _FEW

    def register(self) -> bool:
        """Join the meter provider's gauge, and return whether there was none.

        A meter accepts no further callback for an existing gauge, so the first callback reads all objects.
        """
        with _all_guard:
            first = not any(self._sharing())
            _all.add(self)
        return first

    def know(self, owner: _Owner, attributes: _Attributes) -> _Known:
        """Return a manager's record."""
        with self._guard:
            if owner not in self._known and len(self._known) >= self._many:
                # The gauge may never be read, and a pool's tenants come and go.
                self._forget_ended(time.time())
                self._many = max(_FEW, 2 * len(self._known))
            return self._known.setdefault(owner, _Known(attributes))

    def forget(self, owner: _Owner) -> None:
        """Remove a manager's record, since it has no token."""
        with self._guard:
            self._known.pop(owner, None)

    def observe(self, options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG002 (passed by the API)
        """Return the gauge's points, of all objects with the same meter provider."""
        now = time.time()
        with _all_guard:
            sharing = list(self._sharing())
        least: dict[frozenset[tuple[str, AttributeValue]], float] = {}
        for each in sharing:
            for attributes, left in each.remaining(now):
                series = frozenset(attributes.items())
                least[series] = min(left, least.get(series, left))
        return [metrics.Observation(left, dict(series)) for series, left in least.items()]

    def remaining(self, now: float) -> list[tuple[_Attributes, float]]:
        """Return each manager's remaining lifetime, and remove tokens that expired long ago."""
        with self._guard:
            self._forget_ended(now)
            return [
                (known.attributes, max(0.0, known.expires_at - now))
                for known in self._known.values()
                if known.expires_at is not None and (known.renewing or known.expires_at > now)
            ]

    @property
    def meters(self) -> MeterProvider:
        """The current destination of metrics: the global provider may have been set since."""
        return metrics.get_meter_provider() if self._meter_provider is None else self._meter_provider

    def _sharing(self) -> Iterator[_Lifetimes]:
        """Yield the objects with the same meter provider. Needs the guard of all objects."""
        mine = self.meters
        return (each for each in _all if each.meters is mine)

    def _forget_ended(self, now: float) -> None:
        """Remove tokens that expired more than `_REMEMBERED` seconds ago."""
        for owner, known in list(self._known.items()):
            if known.expires_at is not None and known.expires_at < now - _REMEMBERED:
                del self._known[owner]


_all_guard = new_guard()
_all: weakref.WeakSet[_Lifetimes] = weakref.WeakSet()
"""All objects, to find those with the same meter provider."""


class OpenTelemetry:
    """A listener that turns events into spans and metrics.

    ::

        manager.add_listener(OpenTelemetry())

    **Spans.** ``asyncauth.refresh``, one per refresh. It is a root span, since it belongs to no single request. It has
    a link to the span of each request that waited for it, and an event for each failed try. It is made when the refresh
    has ended, with the times of the refresh.

    **Metrics.** All have the attribute ``asyncauth.provider`` and, if the provider has a step, ``asyncauth.step``. They
    never have a tenant or an account, of which there may be any number. Spans have both attributes, too.

    ========================================  =============  =============================================
    ``asyncauth.refresh.duration``            histogram, s   of refreshes, by ``asyncauth.outcome``
    ``asyncauth.refresh.waiters``             histogram      callers that waited until a refresh ended
    ``asyncauth.token.requests``              counter        by ``asyncauth.outcome``, ``error.type`` and status
    ``asyncauth.token.adoptions``             counter        tokens adopted from another process
    ``asyncauth.token.remaining_lifetime``    gauge, s       of the token that expires first, see below
    ``asyncauth.token.rejections``            counter        API 401s, by ``asyncauth.rejection.cause``
    ``asyncauth.token.wait.duration``         histogram, s   of callers that had to wait for a token
    ``asyncauth.cool_downs``                  counter        by ``asyncauth.cool_down.cause``
    ``asyncauth.store.failures``              counter        of a shared store, at most one per minute
    ========================================  =============  =============================================

    The gauge is never negative. It is 0 for five minutes after a token has expired and a refresh failed to replace it.
    A token that expired unused has no point. Objects that share a meter provider share the gauge.

    Concurrency: one object can listen to any number of managers and pools, in any threads.

    Args:
        tracer_provider: The destination of spans; ``None`` (default): the global one.
        meter_provider: The destination of metrics; ``None`` (default): the global one.
        intermediate: Whether the gauge also shows the tokens of a chain's earlier steps. ``False`` (default): only the
            token that API requests carry. An earlier step obtains a new token only when the next step needs one.

    Raises:
        ConfigurationError: When this module is imported: the extra ``otel`` is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        intermediate: bool = False,
    ) -> None:
        self._lifetimes = _Lifetimes(meter_provider)
        self._intermediate = intermediate
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "asyncauth.refresh.duration",
            "s",
            "How long refreshes took, with waits for a lock and between tries.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._waiters = meter.create_histogram(
            "asyncauth.refresh.waiters",
            "{caller}",
            "How many callers waited until a refresh ended.",
            explicit_bucket_boundaries_advisory=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000),
        )
        self._waits = meter.create_histogram(
            "asyncauth.token.wait.duration",
            "s",
            "How long callers waited that had to wait for a token.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._requests = meter.create_counter("asyncauth.token.requests", "{request}", "Tries to obtain a token.")
        self._adoptions = meter.create_counter(
            "asyncauth.token.adoptions", "{token}", "Tokens adopted from another process, through the store."
        )
        self._rejections = meter.create_counter(
            "asyncauth.token.rejections", "{token}", "API 401s to tokens that had not expired."
        )
        self._cool_downs = meter.create_counter(
            "asyncauth.cool_downs",
            "{cool_down}",
            "Cool-downs: times in which something was not tried again.",
        )
        self._store_failures = meter.create_counter(
            "asyncauth.store.failures", "{failure}", "Failures of the shared store, at most one per minute."
        )
        if self._lifetimes.register():
            meter.create_observable_gauge(
                "asyncauth.token.remaining_lifetime",
                [self._lifetimes.observe],
                "s",
                "Seconds until the token expires; of several accounts or tenants, the one that expires first.",
            )

    def __call__(self, event: events.Event) -> None:
        """Record an event."""
        owner = (event.provider, event.step, event.account, event.tenant)
        provider = _provider(event)
        match event:
            case events.RefreshStarted():
                known = self._lifetimes.know(owner, provider)
                known.renewing, known.state, known.failures = True, event.state, []
            case events.TokenRequestFailed():
                self._lifetimes.know(owner, provider).failures.append(event)
                failed: _Attributes = {"asyncauth.outcome": "failure", "error.type": event.error}
                self._requests.add(1, provider | failed | _status(event))
            case events.RefreshEnded():
                known = self._lifetimes.know(owner, provider)
                self._ended(event, known, provider)
                if known.expires_at is None or (event.intermediate and not self._intermediate):
                    self._lifetimes.forget(owner)
            case events.TokenRejected():
                cause = "token_refused" if event.dropped else "fresh_token_refused"
                self._rejections.add(1, provider | {"asyncauth.rejection.cause": cause})
                if event.dropped:
                    self._lifetimes.forget(owner)
            case events.RequestWaited():
                self._waits.record(event.seconds, provider | _error(event.error))
            case events.CoolDown():
                self._cool_downs.add(1, provider | {"asyncauth.cool_down.cause": event.cause})
            case events.StoreFailed():
                self._store_failures.add(1, provider)
            case _:
                pass

    def _ended(self, event: events.RefreshEnded, known: _Known, provider: _Attributes) -> None:
        """Count a refresh, and make its span."""
        error: str | None = None
        match event:
            case events.RefreshSucceeded():
                ending, known.expires_at, known.renewing = "success", event.expires_at, False
                self._requests.add(1, provider | {"asyncauth.outcome": "success"})
            case events.TokenAdopted():
                ending, known.expires_at, known.renewing = "adopted", event.expires_at, False
                self._adoptions.add(1, provider)
            case events.RefreshFailed():
                ending, error = "failure", event.error
            case _:
                return
        outcome: _Attributes = {"asyncauth.outcome": ending}
        self._duration.record(event.seconds, provider | outcome | _error(error))
        self._waiters.record(event.waiters, provider)
        tenant: _Attributes = {} if event.tenant_name is None else {"asyncauth.tenant": event.tenant_name}
        span = self._tracer.start_span(
            "asyncauth.refresh",
            context=Context(),
            attributes={
                **provider,
                **tenant,
                **outcome,
                **_error(error),
                "asyncauth.token.state": known.state,
                "asyncauth.refresh.waiters": event.waiters,
            },
            links=_links(event.callers),
            start_time=_nanoseconds(event.at - event.seconds),
        )
        for failure in known.failures:
            details: _Attributes = {"error.type": failure.error, "error.message": failure.message}
            span.add_event("token request failed", details | _status(failure), _nanoseconds(failure.at))
        if isinstance(event, events.RefreshFailed):
            span.set_status(trace.StatusCode.ERROR, event.message or event.error)
        span.end(_nanoseconds(event.at))
        known.failures = []


def _provider(event: events.Event) -> _Attributes:
    step: _Attributes = {} if event.step is None else {"asyncauth.step": event.step}
    return {"asyncauth.provider": event.provider} | step


def _error(kind: str | None) -> _Attributes:
    return {} if kind is None else {"error.type": kind}


def _status(failure: events.TokenRequestFailed) -> _Attributes:
    return {} if failure.status is None else {"http.response.status_code": failure.status}


def _links(callers: Iterable[Caller]) -> list[trace.Link]:
    """Return a link to the span, if any, in which each caller waited."""
    # Copies, since a context can be entered only once at a time, and another listener may be in it.
    spans = (caller.copy().run(trace.get_current_span).get_span_context() for caller in callers)
    return [trace.Link(span) for span in {span.span_id: span for span in spans if span.is_valid}.values()]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
