"""Faults on the wire at every moment of a token request, cold and with a usable token in hand, and of an API call."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
import trustme
from aiohttp.abc import AbstractResolver
from contract_kit import until
from core_kit import engine_of
from loopback import nothing_left
from wire_kit import FRAMINGS, Moment, Spoil, Wire, every, wire_to

from asyncauth import (
    AuthError,
    BearerAuth,
    InvalidTokenResponse,
    Peakly,
    RefreshPolicy,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth.sandbox import Sandbox
from asyncauth.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.abc import ResolveResult

LIFETIME = 600.0
STALE = 500.0
"""Seconds of the lifetime after which renewal is due and the token usable for 90 s more, longer than any deadline."""
PAUSE = 8.0
POLICY = RefreshPolicy(backoff=PAUSE, backoff_limit=PAUSE, deadline=20.0, idle_timeout=0.0, jitter=0.0)
"""By a clock that stands still: a fault that says nothing is waited for until the test moves it."""

BREAKS = ("reset", "close", "half-close", "hang", "drip", "garbage")
BEFORE_THE_END: tuple[Moment, ...] = ("accept", "request", "headers", "body")
# What the answer's length promised came, and was something else: nothing on the wire was amiss.
UNREADABLE = {Spoil("garbage", "body"), Spoil("cut, and so its length")}
FATAL = [*every(BEFORE_THE_END, BREAKS), *map(Spoil, FRAMINGS)]


def error_of(spoil: Spoil) -> type[AuthError]:
    return InvalidTokenResponse if spoil in UNREADABLE else TokenEndpointUnavailable


@pytest_asyncio.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    async with nothing_left():
        yield


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        sandbox.configure(lifetime=LIFETIME)
        yield sandbox


@pytest_asyncio.fixture
async def wire(sandbox: Sandbox) -> AsyncIterator[Wire]:
    async with wire_to(sandbox.peakly.port) as wire:
        yield wire


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def manager_on(base_url: str, clock: FakeClock, sandbox: Sandbox, **options: Any) -> TokenManager:
    provider = Peakly(username=sandbox.username, password=sandbox.password, base_url=base_url)
    return TokenManager(provider, clock=clock, policy=POLICY, **options)


def next_try(manager: TokenManager) -> float:
    failure = engine_of(manager).state.failure
    assert failure is not None
    return failure.retry_at


async def moved(
    clock: FakeClock, manager: TokenManager, until_true: Callable[[], bool], held: Callable[[], bool]
) -> None:
    """Move the clock to each next try, and past the deadline of one that hangs, until something is so."""
    failures = manager.status().failures
    while True:
        await until(lambda: until_true() or held() or manager.status().failures > failures)  # noqa: B023 (waited for here)
        if until_true():
            return
        failures = manager.status().failures
        # To the moment, and no further: the next try must not run out of time that the test takes from it.
        if held():
            await clock.advance(POLICY.deadline)
        else:
            await clock.advance(max(0.0, next_try(manager) - clock.monotonic()) + 0.001)  # it may have begun since
        if held():
            await until(until_true)


async def failure(clock: FakeClock, manager: TokenManager, held: Callable[[], bool]) -> AuthError:
    """Return the error that a caller gets by the deadline."""
    asked = asyncio.create_task(manager.token())
    await moved(clock, manager, asked.done, held)
    with pytest.raises(AuthError) as caught:
        await asked
    return caught.value


@pytest.mark.parametrize("spoil", FATAL, ids=str)
async def test_cold_a_fault_is_an_error_by_the_deadline_and_then_over(
    sandbox: Sandbox, wire: Wire, clock: FakeClock, spoil: Spoil
) -> None:
    """Without a cached token: tries until the deadline, then the right error. A token once the connection works."""
    wire.spoil(spoil, for_ever=True)
    async with manager_on(f"http://127.0.0.1:{wire.port}", clock, sandbox) as manager:
        error = await failure(clock, manager, lambda: wire.held > 0)
        assert type(error) is error_of(spoil)
        assert error.endpoint == f"http://127.0.0.1:{wire.port}/token"
        assert wire.spoiled >= (1 if wire.held or not error.transient else 2)
        wire.spoil()
        await clock.advance(PAUSE)
        assert await manager.token() == manager.current
        assert manager.status().last_error is None


@pytest.mark.parametrize("spoil", FATAL, ids=str)
async def test_a_fault_while_a_token_is_usable_goes_unnoticed(
    sandbox: Sandbox, wire: Wire, clock: FakeClock, spoil: Spoil
) -> None:
    """With a usable token in hand: nobody waits or fails, status() tells, the next try is made, and it is renewed."""
    manager = manager_on(f"http://127.0.0.1:{wire.port}", clock, sandbox)
    first = await manager.token()
    await clock.advance(STALE)
    wire.spoil(spoil, for_ever=True)
    assert await manager.token() == first
    await moved(clock, manager, lambda: manager.status().last_error is not None, lambda: wire.held > 0)
    assert (manager.status().last_error or "").startswith(error_of(spoil).__name__)
    assert await manager.token() == manager.current == first
    wire.spoil()
    await clock.advance(PAUSE)
    await manager.token()
    await until(lambda: manager.current != first)
    assert manager.status().last_error is None
    assert manager.status().waits == 1
    await manager.close()


@pytest.mark.parametrize("by", BREAKS)
async def test_a_connection_that_breaks_after_the_answer_costs_nothing(
    sandbox: Sandbox, wire: Wire, clock: FakeClock, by: str
) -> None:
    """An answer that came whole is taken, whatever becomes of its connection; the next request finds another."""
    wire.spoil(Spoil(by, "end"))
    async with manager_on(f"http://127.0.0.1:{wire.port}", clock, sandbox) as manager:
        first = await manager.token()
        await until(lambda: wire.spoiled == 1)
        assert manager.status().failures == 0
        await clock.advance(STALE)
        assert await manager.token() == first
        if by == "hang":  # nothing tells that the connection is dead: a deadline does
            await clock.advance(POLICY.deadline)
            await until(lambda: manager.status().failures == 1)
            await clock.advance(PAUSE)
            assert await manager.token() == first
        await moved(clock, manager, lambda: manager.current != first, lambda: False)
        assert manager.status().waits == 1


# --- Below HTTP: names, ports, certificates


class Names(AbstractResolver):
    """A resolver that knows the loopback address of any name, or fails."""

    def __init__(self) -> None:
        self.broken = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self.broken:
            raise OSError(socket.EAI_AGAIN, "no name server answers")
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


HOST = "login.example.com"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@attrs.frozen
class Place:
    """A token endpoint by https: what it shows, and who resolves its name."""

    wire: Wire
    names: Names
    ca: trustme.CA

    def shows(self, *, ca: trustme.CA | None = None, host: str = HOST, ends: dt.datetime | None = None) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (ca or self.ca).issue_cert(
            host, not_before=ends and ends - dt.timedelta(days=1), not_after=ends
        ).configure_cert(context)
        return self.wire.listen(context)

    async def mend(self) -> None:
        self.names.broken = False
        self.wire.spoil()
        await self.shows()

    async def speak_plainly(self, spoil: Spoil) -> None:
        self.wire.spoil(spoil, for_ever=True)
        await self.wire.listen()

    async def lose_name(self) -> None:
        await self.wire.listen()
        self.names.broken = True


WRONG: dict[str, tuple[Callable[[Place], Awaitable[None]], str]] = {
    "a certificate of nobody's": (lambda place: place.shows(ca=trustme.CA()), "this machine does not know"),
    "another host's certificate": (lambda place: place.shows(host="other.example.com"), "is for another host"),
    "a certificate that has ended": (lambda place: place.shows(ends=LONG_AGO), "has expired"),
    "no TLS where TLS was": (
        lambda place: place.speak_plainly(Spoil("garbage", "accept")),
        "makes no TLS handshake|no connection to",  # by what arrives first: the garbage, or the end
    ),
    "a handshake that hangs": (lambda place: place.speak_plainly(Spoil("hang", "accept")), "no answer in time"),
    "nobody there": (lambda place: place.wire.shut(), "Connection refused"),
    "no name": (lambda place: place.lose_name(), "has no address"),
}


@contextlib.asynccontextmanager
async def by_https(sandbox: Sandbox) -> AsyncIterator[tuple[Place, aiohttp.ClientSession, str]]:
    """Serve the sandbox by https under a name, to a session that trusts it."""
    place, trust = Place(Wire(sandbox.peakly.port), Names(), trustme.CA()), ssl.create_default_context()
    place.ca.configure_trust(trust)
    connector = aiohttp.TCPConnector(ssl=trust, resolver=place.names, use_dns_cache=False, force_close=True)
    await place.mend()
    try:
        async with aiohttp.ClientSession(connector=connector) as http:
            yield place, http, f"https://{HOST}:{place.wire.port}"
    finally:
        await place.wire.shut()


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "with a usable token"])
@pytest.mark.parametrize("kind", WRONG)
async def test_no_connection_is_passing_trouble_whatever_the_reason(
    sandbox: Sandbox, clock: FakeClock, caplog: pytest.LogCaptureFixture, kind: str, *, cold: bool
) -> None:
    """Wrong names, ports and certificates count as transient, each with its own text, and end once they are fixed."""
    spoil, words = WRONG[kind]
    async with by_https(sandbox) as (place, http, url):
        manager = manager_on(url, clock, sandbox, http=http)
        first = None if cold else await manager.token()
        await clock.advance(STALE)
        await spoil(place)
        if first is None:
            error = await failure(clock, manager, lambda: place.wire.held > 0)
            assert type(error) is TokenEndpointUnavailable
            if "no answer in time" in str(error):  # the deadline has cut the last try short: the others are logged
                assert re.search(words, caplog.text)
            else:
                assert re.search(words, str(error))
            assert place.wire.held or manager.status().failures >= 2
        else:
            assert await manager.token() == first
            await moved(clock, manager, lambda: manager.status().last_error is not None, lambda: place.wire.held > 0)
            assert re.search(words, manager.status().last_error or "")
            assert await manager.token() == first
        await place.mend()
        await clock.advance(PAUSE)
        await manager.token()
        await until(lambda: manager.current not in {None, first})
        assert manager.status().waits == (2 if cold else 1)
        await manager.close()


async def test_tls_where_plain_http_was_is_passing_trouble(sandbox: Sandbox, clock: FakeClock) -> None:
    """An endpoint on loopback that begins to speak TLS is transient trouble; its hanging up is understood."""
    async with by_https(sandbox) as (place, _, _):
        manager = manager_on(f"http://127.0.0.1:{place.wire.port}", clock, sandbox)
        assert type(await failure(clock, manager, lambda: False)) is TokenEndpointUnavailable
        await place.wire.listen()
        await clock.advance(PAUSE)
        assert await manager.token()
        await manager.close()


async def test_a_name_that_is_nobodys_is_passing_trouble(sandbox: Sandbox) -> None:
    """A host under .invalid, which never is there (RFC 6761), is transient trouble with the machine's own resolver."""
    provider = Peakly(username=sandbox.username, password=sandbox.password, base_url="https://asyncauth.invalid")
    async with aiohttp.ClientSession() as http:
        with pytest.raises(TokenEndpointUnavailable, match="has no address"):
            await provider.fetch(http, None)


# --- The API's side of the wire


@pytest_asyncio.fixture
async def api(sandbox: Sandbox, wire: Wire) -> AsyncIterator[tuple[aiohttp.ClientSession, TokenManager]]:
    """A session whose token has been revoked, and whose API is at the other end of the wire."""
    provider = Peakly(
        username=sandbox.username,
        password=sandbox.password,
        base_url=sandbox.peakly.url,
        origins=f"http://127.0.0.1:{wire.port}",
    )
    connector = aiohttp.TCPConnector(force_close=True)  # each request meets the wire anew
    async with (
        TokenManager(provider, policy=POLICY) as manager,
        aiohttp.ClientSession(middlewares=(BearerAuth(manager),), connector=connector) as http,
    ):
        # Accepted once: a token that is new and unproven would be sent once more before it is dropped.
        assert await call(wire, http) == 200
        sandbox.revoke()
        yield http, manager


async def call(wire: Wire, http: aiohttp.ClientSession) -> int:
    # POST: aiohttp repeats by itself what is idempotent, and a test of ours would not see the fault.
    async with http.post(f"http://127.0.0.1:{wire.port}/api/echo", data=b"whole") as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("by", ["reset", "close", "garbage"])
@pytest.mark.parametrize("at", BEFORE_THE_END)
async def test_a_repeat_that_breaks_is_the_callers_error_and_costs_one_token(
    sandbox: Sandbox, wire: Wire, api: tuple[aiohttp.ClientSession, TokenManager], at: Moment, by: str
) -> None:
    """The repeat after a 401 meets a bad wire: aiohttp's own error, no third request, and the new token is kept."""
    http, manager = api
    wire.spoil(None, Spoil(by, at))
    broken = by != "garbage" or at != "body"  # which comes in place of the body, and is as long
    with pytest.raises(aiohttp.ClientError) if broken else contextlib.nullcontext():
        assert await call(wire, http) == 200
    assert wire.spoiled == 1
    assert sandbox.peakly.counts.token_requests == 2
    assert manager.status().rejections == 1
    assert await call(wire, http) == 200
    assert sandbox.peakly.counts.token_requests == 2


@pytest.mark.parametrize("by", ["reset", "close", "half-close", "garbage", "hang", "drip"])
@pytest.mark.parametrize("at", ["body", "end"])
async def test_a_refusal_whose_body_breaks_is_repeated_all_the_same(
    sandbox: Sandbox, wire: Wire, api: tuple[aiohttp.ClientSession, TokenManager], at: Moment, by: str
) -> None:
    """A 401 is a 401 once its headers are there: nobody waits for the rest, and the repeat succeeds."""
    http, _ = api
    wire.spoil(Spoil(by, at))
    assert await call(wire, http) == 200
    assert sandbox.peakly.counts.token_requests == 2


@pytest.mark.parametrize("by", ["reset", "close", "half-close", "garbage"])
@pytest.mark.parametrize("at", ["accept", "request", "headers"])
async def test_a_call_that_breaks_before_its_status_costs_no_token(
    sandbox: Sandbox, wire: Wire, api: tuple[aiohttp.ClientSession, TokenManager], at: Moment, by: str
) -> None:
    """What breaks before the 401 was read says nothing of the token: the caller gets aiohttp's error, unrepeated."""
    http, manager = api
    wire.spoil(Spoil(by, at))
    with pytest.raises(aiohttp.ClientError) as caught:
        await call(wire, http)
    assert not isinstance(caught.value, AuthError)
    assert sandbox.peakly.counts.token_requests == 1
    assert manager.status().rejections == 0
    assert await call(wire, http) == 200
