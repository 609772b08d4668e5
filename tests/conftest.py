"""What the tests share: the harness around each of them, time that they move, and random numbers that they choose."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import harness.systems  # noqa: F401 (before asyncauth, which must not find what another system lacks)
import pytest
from hypothesis import HealthCheck, settings
from provider_kit import MockedHttp
from random_kit import largest

from asyncauth import RefreshPolicy, Token, TokenManager
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp

pytest_plugins = ["harness.blocking", "harness.collecting", "harness.leftovers", "harness.loops", "harness.sinks"]


def pytest_configure() -> None:
    """Measure no time in property tests, and give SIGINT its usual meaning.

    A busy machine makes Hypothesis' own time limits fail any of them. A shell that runs the tests in the background
    has what they start ignore SIGINT.
    """
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("quick", settings.get_profile("untimed"), max_examples=10)  # make quick
    settings.load_profile("untimed")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


EXACT = RefreshPolicy(jitter=0.0, close_grace=0.0)
"""Renewal at 80 % of the lifetime to the second, and ``close()`` at once."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=1_700_000_000.0, monotonic=1_000.0)


@pytest.fixture
def provider(clock: FakeClock) -> FakeProvider:
    """Its tokens live for an hour."""
    return FakeProvider(clock=clock)


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., TokenManager]:
    """Return a maker of managers on the fake clock, with exact windows and backoffs; keywords change the policy."""

    def make(provider: Any, **settings: Any) -> TokenManager:
        return TokenManager(provider, policy=attrs.evolve(EXACT, **settings), clock=clock, random=largest)

    return make


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return a block inside which all is as in a forked child: whatever was made before belongs to the parent."""

    @contextlib.contextmanager
    def forked() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr("asyncauth._base.loops._current", -1)
            yield

    return forked


class Gate:
    """An answer that comes when the test opens the gate."""

    def __init__(self, token: Token | BaseException | None = None) -> None:
        self._answer = Token("from-the-gate", issued_at=0, expires_at=3600) if token is None else token
        self._open = asyncio.Event()

    async def __call__(self) -> Token:
        await self._open.wait()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> type[Gate]:
    return Gate


@pytest.fixture
def known_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a request again 50 ms after its token was obtained, not 1 s, if the API may not know the token yet."""
    monkeypatch.setattr("asyncauth._core.trial._KNOWN_AFTER", 0.05)


async def _settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
def settled() -> Callable[[], Any]:
    """Return when whatever can run without time or I/O has run."""
    return _settled


@pytest.fixture
def mocked_http() -> Iterator[MockedHttp]:
    """Token endpoints without sockets."""
    with mock_aiohttp() as mock:
        yield MockedHttp(mock)
