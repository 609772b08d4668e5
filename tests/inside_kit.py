"""What tests look at although its owner keeps it private: of aiohttp, httpx, the sandbox and stores, here alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from asyncauth import Token
from asyncauth.sandbox import Sandbox
from asyncauth.stores import RedisStore
from asyncauth.testing import FakeClock


def guard_of(thing: Any) -> threading.RLock:
    """Return the lock of an object of the library."""
    guard: threading.RLock = thing._guard
    return guard


def connections_of(http: aiohttp.ClientSession) -> tuple[int, list[int]]:
    """Return how many connections of a session are in use, and how many idle ones it keeps for each host."""
    connector: Any = http.connector
    return len(connector._acquired), [len(idle) for idle in connector._conns.values()]


def transport_of(http: Any) -> Any:
    """Return the transport of an httpx client."""
    return http._transport


def managers_of(http: aiohttp.ClientSession) -> tuple[Any, ...]:
    """Return the managers that `client_session` made for a session."""
    managers: tuple[Any, ...] = http.asyncauth_managers  # type: ignore[attr-defined]
    return managers


def clients_of(store: RedisStore) -> dict[asyncio.AbstractEventLoop, Any]:
    """Return what a store has on each event loop: its ``client``, its ``users``, and locks that it is ``releasing``."""
    return store._loops


def after_each_look(monkeypatch: pytest.MonkeyPatch, call: Callable[[], None]) -> None:
    """Have something happen whenever a `RedisStore` has read an entry, before it does anything with it."""
    real = RedisStore._read

    def read(self: RedisStore, key: str, raw: Any) -> Token | None:
        found = real(self, key, raw)
        call()
        return found

    monkeypatch.setattr(RedisStore, "_read", read)


def sleeping_until(clock: FakeClock) -> list[float]:
    """Return until when somebody sleeps by a clock."""
    return sorted(due for due, _, sleeper in clock._sleepers if not sleeper.done())


def nonces_of(prover: Any) -> Any:
    """Return the nonces that a DPoP prover remembers, by server."""
    return prover._nonces


def idle_connections_of(client: Any) -> list[Any]:
    """Return the connections to Redis that a client keeps."""
    return list(client.connection_pool._available_connections)


def ledger_of(system: Any) -> Any:
    """Return the book of the tokens that a system of the sandbox has issued."""
    return system._ledger


def entries_of(ledger: Any) -> dict[str, Any]:
    """Return what such a book holds, dead tokens included: by the token."""
    entries: dict[str, Any] = ledger._entries
    return entries


def stream_of(sandbox: Sandbox) -> Any:
    """Return what the sandbox's page is told by."""
    page = sandbox._page
    assert page is not None
    return page.stream
