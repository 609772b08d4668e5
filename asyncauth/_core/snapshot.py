"""What people see of a manager: a `Status`, made when somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth import expiry
from asyncauth._base.printable import name_of
from asyncauth.status import Status

if TYPE_CHECKING:
    from asyncauth._core.cache import TokenState
    from asyncauth._core.engine import TokenEngine

__all__ = ["snapshot", "status_of"]


def status_of(engine: TokenEngine) -> Status:
    """Return a snapshot of an engine, see `TokenManager.status`. No I/O, any thread."""
    flight = engine.flight
    status = snapshot(
        engine.state,
        name_of(engine.provider.name),
        now=engine.runtime.clock.monotonic(),
        refreshing=flight is not None and not flight.finished,
        waiting=0 if flight is None else flight.waiting,
        waiting_for=None if flight is None else flight.waiting_for,
        store=None if engine.store_client is None else engine.store_client.calls.trouble or "ok",
    )
    if any(status_of(upstream).cooling_down for upstream in engine.upstreams):
        return attrs.evolve(status, cooling_down=True)
    return status


def snapshot(
    state: TokenState,
    provider: str,
    *,
    now: float,
    refreshing: bool,
    waiting: int,
    waiting_for: float | None = None,
    store: str | None = None,
) -> Status:
    """Return a snapshot of what is known of a token; for the other arguments see `Status`.

    Args:
        state: What is known of the token.
        provider: The provider's name.
        now: The monotonic clock's seconds.
        refreshing: Whether a refresh is under way.
        waiting: How many callers wait.
        waiting_for: Seconds for which the first of them has waited; ``None`` (default): nobody waits.
        store: What is wrong with the store, or ``"ok"``; ``None`` (default): there is no store.
    """
    with state.guard:
        cached, failures = state.cached, state.failures
        failure = failures.failure
        serving = cached.serving(now)
        usable = now < serving.usable_until
        blocked = failure is not None and failure.fails_callers(now)
        return Status(
            provider=provider,
            state=state.phase(now),
            refreshing=refreshing,
            cooling_down=blocked or failures.api_401s.cooling_down(now),
            seconds_left=expiry.finite(serving.usable_until - now) if usable else None,
            next_refresh_in=None if cached.last is None else expiry.finite(max(0.0, state.due() - now)),
            last_success_at=state.last_success,
            last_error=None if failure is None else f"{type(failure.error).__name__}: {failure.error}",
            refreshes=state.refreshes,
            adoptions=failures.adoptions,
            store=store,
            failures=failures.failures,
            rejections=failures.api_401s.drops,
            waits=state.waits,
            waiting=waiting,
            waiting_for=waiting_for,
            fingerprint=serving.token.fingerprint if usable else None,
        )
