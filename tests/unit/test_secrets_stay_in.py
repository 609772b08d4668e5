"""No secret in a repr, a str, a log line at any level, an error, or what a traceback with locals shows of one."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import attrs
import pytest
from core_kit import engine_of
from harness.canary import MARK
from harness.crash_reports import crash_report, family
from harness.frames import is_of_the_library

from asyncauth import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    PagoFacil,
    PagoFacilJWT,
    PagoFacilLogin,
    Peakly,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]

CANARY = MARK


def shown(error: BaseException) -> str:
    """Return what tools that print an error with its frames' locals would show, for the library's own frames."""
    text = [crash_report(error)]
    for seen in family(error):
        own = [(frame, line) for frame, line in traceback.walk_tb(seen.__traceback__) if is_of_the_library(frame)]
        stack = traceback.StackSummary.extract(iter(own), capture_locals=True)
        text += [f"{frame.name}: {frame.locals}" for frame in stack]
        text += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
    return "\n".join(text)


def canary(tail: str = "") -> Any:
    """Return the secret: a function, so that no frame of a test holds it."""
    return CANARY + tail


BAD_ARGUMENTS: dict[str, Callable[[], object]] = {
    "line break": lambda: Peakly(username="me", password=canary("\n")),
    "no username": lambda: Peakly(username="", password=canary()),
    "username of None": lambda: Peakly(username=None, password=canary()),  # type: ignore[arg-type]
    "bytes": lambda: Peakly(username="me", password=canary().encode()),
    "list": lambda: Peakly(username="me", password=[canary()]),  # type: ignore[arg-type]
    "environment": lambda: Peakly(username="me", password=canary(), environment="moon"),  # type: ignore[arg-type]
    "plain http": lambda: Peakly(username="me", password=canary(), base_url="http://api.peakly.example"),
    "no url": lambda: Peakly(username="me", password=canary(), base_url="nowhere"),
    "origin with a path": lambda: Peakly(username="me", password=canary(), origins="https://a.example/path"),
    "white space": lambda: PagoFacil(jwt=canary(" ")),
    "no ASCII": lambda: PagoFacil(jwt=canary("é")),
    "jwt as bytes": lambda: PagoFacil(jwt=canary().encode()),
    "access token": lambda: PagoFacilJWT(access_token=canary("\r\n")),
    "lifetime": lambda: PagoFacilJWT(access_token=canary(), lifetime=-1),
    "login": lambda: PagoFacilLogin(username="me", password=canary("\0")),
    "generation": lambda: PagoFacilLogin(username="me", password=canary(), generation=3),  # type: ignore[arg-type]
    "chain": lambda: PagoFacilJWT.from_password(username="me", password=canary("\n")),
    "chain without a user": lambda: PagoFacilJWT.from_password(username=" ", password=canary()),
    "chain's lifetime": lambda: PagoFacilJWT.from_password(username="me", password=canary(), lifetime=0),
}


@pytest.mark.parametrize("build", BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_bad_arguments_are_refused_without_the_secret(build: Callable[[], object]) -> None:
    """A provider that can't be built says why, and no frame of the library shows the secret."""
    with pytest.raises(AuthError) as caught:
        build()
    assert CANARY not in shown(caught.value)


GOOD: dict[str, Callable[[], Any]] = {
    "peakly": lambda: Peakly(username="me", password=canary()),
    "jwt": lambda: PagoFacil(jwt=canary()),
    "access token": lambda: PagoFacilJWT(access_token=canary()),
    "login": lambda: PagoFacilLogin(username="me", password=canary()),
    "chain": lambda: PagoFacilJWT.from_password(username="me", password=canary()),
}


@pytest.mark.parametrize("build", GOOD.values(), ids=GOOD.keys())
def test_providers_and_their_managers_show_no_secret(build: Callable[[], Any]) -> None:
    """repr(), str(), identity and status() of a provider and its manager hold no secret."""
    provider = build()
    manager = TokenManager(provider)
    for thing in (provider, manager, manager.status(), *provider.credentials, *engine_of(manager).upstreams):
        assert CANARY not in repr(thing)
        assert CANARY not in str(thing)
    assert CANARY not in str(manager.identity)
    assert CANARY not in str(manager.status().as_dict())


def test_own_providers_repr_is_not_shown_by_the_manager() -> None:
    """A user's provider may be a plain data class whose repr holds its password: the manager's does not show it."""

    @attrs.define
    class Acme:
        password: str
        name: str = "acme"
        origins: tuple[str, ...] = ("https://api.acme.example",)
        identity: str | None = None

        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            return Token("x")

    assert CANARY not in repr(TokenManager(Acme(canary())))
    assert "acme" in repr(TokenManager(Acme(canary())))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG)
    yield caplog
    everything = caplog.text + "".join(f"{vars(record)}" for record in caplog.records)
    assert CANARY not in everything


def secret_token(**given: Any) -> Token:
    return Token(canary(), issued_at=0, refresh_token=canary("-refresh"), extra={"user": canary()}, **given)


async def test_life_of_a_token_leaves_no_trace_in_the_log(
    make: Make, provider: FakeProvider, clock: FakeClock, log: pytest.LogCaptureFixture
) -> None:
    """At DEBUG the log tells of tokens obtained, refused and renewed, and shows none."""
    provider.answers = [secret_token(expires_at=100), secret_token(expires_at=100), TokenEndpointUnavailable("down")]
    async with make(provider) as manager:
        manager.invalidate(await manager.token())
        manager.invalidate(await manager.token(), repeat=True)
        await clock.advance(89)
        state = engine_of(manager).state
        for thing in (manager, manager.current, manager.status(), state, state.cached):
            assert CANARY not in repr(thing)
    assert log.records


@pytest.mark.parametrize(
    "answer",
    [
        lambda: secret_token(expires_at=-1),
        lambda: Token(canary("\n"), issued_at=0, expires_at=60),
        lambda: KeyError(canary()),
        lambda: OSError(5, canary()),
        lambda: aiohttp.ClientError(canary()),
        lambda: RuntimeError(canary(), {"password": canary()}),
    ],
    ids=["expired", "line break", "KeyError", "OSError", "ClientError", "RuntimeError"],
)
async def test_failures_show_no_secret_to_any_caller(
    make: Make, provider: FakeProvider, clock: FakeClock, log: pytest.LogCaptureFixture, answer: Callable[[], Any]
) -> None:
    """Whatever a provider returns or raises: the errors that reach callers, and their frames, hold no secret."""
    provider.answers = [answer()] * 100
    manager = make(provider)
    calls = [asyncio.ensure_future(call()) for call in (manager.token, manager.headers, manager.refresh)]
    await clock.advance(31)
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, AuthError)
        assert CANARY not in shown(error)
    assert CANARY not in str(manager.status())


async def test_error_of_a_callable_shows_its_class_alone() -> None:
    """A password callable that fails is reported by class and place."""

    def password() -> str:
        raise LookupError(canary())

    with pytest.raises(AuthError, match="LookupError") as caught:
        await TokenManager(Peakly(username="me", password=password, base_url="http://127.0.0.1:9")).token()
    assert CANARY not in shown(caught.value)


async def test_callable_that_returns_nonsense_shows_none_of_it() -> None:
    """What a password callable returned is not shown when it can't be used."""
    with pytest.raises(ConfigurationError) as caught:
        await TokenManager(Peakly(username="me", password=lambda: canary("\n"), base_url="http://127.0.0.1:9")).token()
    assert CANARY not in shown(caught.value)


def test_token_and_credential_are_not_pickled() -> None:
    """A pickle would hold the secret in the clear."""
    for thing in (secret_token(), Peakly(username="me", password=canary())):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize("kind", [CredentialsRejected, InvalidTokenResponse, TokenEndpointUnavailable])
async def test_waiting_callers_frames_show_no_token(
    make: Make, provider: FakeProvider, clock: FakeClock, kind: type[AuthError]
) -> None:
    """An error that meets callers while a refused token lies in the manager shows nothing of that token."""
    provider.answers = [secret_token(expires_at=100), kind("no"), kind("no", retry_after=300.0)] + [kind("no")] * 50
    manager = make(provider)
    manager.invalidate(await manager.token())
    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(31)
    error = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(error, kind)
    assert CANARY not in shown(error)
