"""The one way in: what does the work of a manager or a pool, for tests of what nobody sees from outside."""

from __future__ import annotations

import contextvars
from typing import Any

import attrs

from asyncauth import ManagerPool, TokenManager
from asyncauth._core.assembly import new_shared_refresh
from asyncauth._core.engine import TokenEngine
from asyncauth._core.engine_cache import EngineCache
from asyncauth._core.lifecycle import Closings, Lifecycle
from asyncauth._core.refresh import Refresh
from asyncauth._core.store_client import StoreClient
from asyncauth._core.work import Work
from asyncauth.manager import engine_of

__all__ = [
    "Waiting",
    "cache_of",
    "closings_of",
    "engine_of",
    "forget_manager",
    "given_by_another_thread",
    "life_of",
    "refresh_of",
    "steps_of",
    "store_client_of",
    "work_of",
]


def cache_of(pool: ManagerPool[Any]) -> EngineCache[Any]:
    """Return a pool's engines."""
    return pool._cache


def given_by_another_thread(pool: ManagerPool[Any], key: str, engine: TokenEngine) -> TokenManager:
    """Return what ``get`` returns if another thread has made the tenant's manager just before."""
    return pool._new_manager(key, engine)


def forget_manager(pool: ManagerPool[Any], key: str) -> object:
    """Have a pool not know a tenant's manager any more, as if it had ended; return its handle, which then calls."""
    return pool._handles.pop(key)


def known_managers(pool: ManagerPool[Any]) -> set[Any]:
    """Return the tenants whose manager a pool takes for one that somebody holds."""
    return set(pool._handles)


def life_of(opened: TokenManager | ManagerPool[Any] | TokenEngine) -> Lifecycle:
    """Return what is entered and closed."""
    if isinstance(opened, ManagerPool):
        return cache_of(opened)
    return engine_of(opened) if isinstance(opened, TokenManager) else opened


def closings_of(opened: TokenManager | ManagerPool[Any]) -> Closings:
    """Return the closings of what was closed before."""
    closings = life_of(opened).closings
    assert closings is not None
    return closings


def work_of(manager: TokenManager) -> Work | None:
    """Return the work of a manager's flight; ``None``: nothing is in progress, or it has yet to begin."""
    flight = engine_of(manager).flight
    return None if flight is None else flight.work


@attrs.define(eq=False)
class Waiting:
    """Callers that wait for a refresh, or none."""

    callers_wait: bool
    callers: list[contextvars.Context] = attrs.field(factory=list[contextvars.Context])
    done: bool = False

    @property
    def waiting(self) -> int:
        return int(self.callers_wait)

    @property
    def waiting_for(self) -> float | None:
        return 0.0 if self.callers_wait else None


def refresh_of(manager: TokenManager) -> Refresh:
    """Return a refresh of a manager's token that no flight runs."""
    engine = engine_of(manager)
    make = Refresh if engine.store_client is None else new_shared_refresh(engine.store_client)
    return make(
        engine.provider,
        engine.state,
        engine.runtime,
        options=engine.options,
        limiter=None,
        emitter=engine.emitter,
    )


def store_client_of(manager: TokenManager) -> StoreClient:
    """Return a manager's entry in its store."""
    client = engine_of(manager).store_client
    assert client is not None
    return client


def steps_of(manager: TokenManager) -> list[TokenEngine]:
    """Return a chain's engines, the last step's first."""

    def with_upstreams(engine: TokenEngine) -> list[TokenEngine]:
        return [engine, *(step for upstream in engine.upstreams for step in with_upstreams(upstream))]

    return with_upstreams(engine_of(manager))
