"""Credentials that were refused are not sent again, whatever else happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aioresponses import CallbackResult

from asyncauth import (
    AuthError,
    ClientCredentials,
    CredentialsRejected,
    PasswordGrant,
    Provider,
    RefreshPolicy,
    Token,
    TokenExchange,
    TokenManager,
)
from asyncauth.refresh import Refresh
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp

URL = "https://login.example.com/token"
API = "https://api.example.com"


class Server:
    """A token endpoint that knows one secret, and notes what it is sent and when."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.right = "right"
        self.gives: dict[str, Any] = {"expires_in": 100}
        self.knows_refresh_tokens = False
        self.down = False
        self.seen: list[tuple[float, str]] = []

    def answer(self, url: object, **request: Any) -> CallbackResult:
        fields = {field[0]["name"]: field[2] for field in request["data"]._fields}
        self.seen.append((self.clock.monotonic() - 1000.0, fields["grant_type"]))
        if self.down:
            return CallbackResult(status=503)
        secret = fields.get("client_secret", fields.get("password"))
        known = self.knows_refresh_tokens if fields["grant_type"] == "refresh_token" else secret == self.right
        if not known:
            return CallbackResult(status=400, payload={"error": "invalid_grant"})
        return CallbackResult(payload={"access_token": f"token-{len(self.seen)}", "token_type": "bearer", **self.gives})

    def sent(self, grant: str) -> list[float]:
        return [at for at, kind in self.seen if kind == grant]


@pytest.fixture
def server(clock: FakeClock) -> Any:
    server = Server(clock)
    with mock_aiohttp() as mock:
        mock.post(URL, callback=server.answer, repeat=True)
        yield server


async def ask_each_second(manager: TokenManager, clock: FakeClock, seconds: int, *, every: int = 1) -> list[str]:
    """Have a caller come each second, or each so many seconds; return what each got."""
    got = []
    for _ in range(seconds // every):
        asked = asyncio.ensure_future(manager.token())
        await clock.advance(every)
        outcome = (await asyncio.gather(asked, return_exceptions=True))[0] if asked.done() else "waiting"
        asked.cancel()
        got.append(outcome if isinstance(outcome, str) else getattr(outcome, "value", type(outcome).__name__))
    return got


def client_credentials(secret: Any) -> Provider:
    return ClientCredentials(
        token_url=URL, client_id="c", client_secret=secret, client_auth="client_secret_post", origins=API
    )


async def test_a_vault_that_fails_now_and_then_has_no_secret_sent_sooner(server: Server, clock: FakeClock) -> None:
    """A callable that fails each other time it is asked: the hold doubles all the same."""
    asked = 0

    def secret() -> str:
        nonlocal asked
        asked += 1
        if asked % 2 == 0:
            raise ConnectionError
        return "wrong"

    await ask_each_second(TokenManager(client_credentials(secret), clock=clock), clock, 3600, every=10)
    assert len(server.seen) <= 6
    assert asked <= 61


async def test_a_mended_secret_is_noticed_beside_a_managers_token(server: Server, clock: FakeClock) -> None:
    """A request that borrows from a manager as well: its own callable is known by its own value."""
    secret = "wrong"
    upstream = TokenManager(FakeProvider(clock=clock, lifetime=1e6), clock=clock)
    provider = TokenExchange(
        token_url=URL,
        subject_token=upstream,
        client_id="c",
        client_secret=lambda: secret,
        client_auth="client_secret_post",
        origins=API,
    )
    manager = TokenManager(provider, clock=clock)
    assert set(await ask_each_second(manager, clock, 500)) == {"CredentialsRejected"}
    tries = len(server.seen)
    secret = "right"
    got = await ask_each_second(manager, clock, 61)
    assert got[-1].startswith("token-")
    assert len(server.seen) == tries + 1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("callable_", [False, True])
async def test_a_refused_refresh_token_is_sent_once(
    server: Server, clock: FakeClock, *, callable_: bool, shared: bool
) -> None:
    """It is dead, in the store as well; what is tried again later is the grant itself."""
    server.gives = {"refresh_token": "refresh", "expires_in": 100}
    password: Any = (lambda: "right") if callable_ else "right"
    provider = PasswordGrant(
        token_url=URL, username="ana", password=password, client_id="c", client_auth="none", origins=API
    )
    manager = TokenManager(provider, store=MemoryStore() if shared else None, clock=clock)
    assert await ask_each_second(manager, clock, 1) == ["token-1"]
    server.right = "another"
    await ask_each_second(manager, clock, 3600, every=10)
    assert len(server.sent("refresh_token")) == 1
    assert 5 <= len(server.sent("password")) <= 8


async def test_who_comes_during_a_look_at_the_credential_gets_what_comes_of_it(
    server: Server, clock: FakeClock
) -> None:
    """A slow callable is being asked for a mended secret: who needs a token meanwhile is not told of the old one."""
    secret, takes = "wrong", 0.0

    async def tell() -> str:
        await clock.sleep(takes)
        return secret

    manager = TokenManager(client_credentials(tell), clock=clock)
    assert set(await ask_each_second(manager, clock, 62)) == {"CredentialsRejected"}
    assert len(server.seen) == 2  # so that it is held back for two minutes, and looked at after one
    await clock.advance(61)
    secret, takes = "right", 5.0
    first = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    second = asyncio.ensure_future(manager.token())
    await clock.advance(4)
    assert (await first, await second) == (manager.current, manager.current)
    assert len(server.seen) == 3


async def test_a_refresh_by_hand_joins_no_mere_look_at_the_credential(server: Server, clock: FakeClock) -> None:
    """While a slow callable is asked again, whoever calls refresh() has what it tells sent, refused before or not."""

    async def secret() -> str:
        await clock.sleep(5)
        return "wrong"

    manager = TokenManager(client_credentials(secret), clock=clock)
    await ask_each_second(manager, clock, 80)
    await clock.advance(60)
    assert len(server.seen) == 2
    looking = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    server.right = "wrong"  # mended at the server
    by_hand = asyncio.ensure_future(manager.refresh())
    await clock.advance(5)
    assert (await by_hand).value == (await looking).value == "token-3"


async def test_a_refresh_by_hand_that_fails_may_be_retried_in_its_flight(clock: FakeClock) -> None:
    """Its flight waits out a 503, and sends what was refused before all the same."""
    statuses = [400, 503, 200]
    with mock_aiohttp() as mock:
        for status in statuses:
            payload: dict[str, Any] = {"error": "invalid_client"} if status == 400 else {}
            if status == 200:
                payload = {"access_token": "mended", "token_type": "bearer", "expires_in": 100}
            mock.post(URL, status=status, payload=payload)
        manager = TokenManager(client_credentials(lambda: "secret"), clock=clock)
        with pytest.raises(CredentialsRejected):
            await manager.token()
        by_hand = asyncio.ensure_future(manager.refresh())
        await clock.advance(20)
        assert (await by_hand).value == "mended"


async def test_the_shortest_hold_makes_no_storm(clock: FakeClock) -> None:
    """Whatever the settings, a refused credential rests for a tenth of a second."""

    class Refusing:
        name, identity, origins = "refusing", "refusing", (API,)
        calls = 0

        async def fetch(self, http: object, previous: Token | None) -> Token:
            self.calls += 1
            if previous is None:
                return Token("first", issued_at=0.0, expires_at=10.0)
            raise CredentialsRejected("no")

    provider = Refusing()
    manager = TokenManager(provider, policy=RefreshPolicy(rejection_cooldown=0.1), clock=clock)
    async with manager:
        await manager.token()
        await clock.advance(10)
        assert provider.calls < 12
        with pytest.raises(AuthError):
            await manager.token()


async def test_a_refresh_by_hand_during_a_rest_sends_what_was_refused(server: Server, clock: FakeClock) -> None:
    """A flight rests after a 503 to another secret, with a refusal remembered: whoever calls refresh() ends both."""
    secret = "wrong"
    manager = TokenManager(client_credentials(lambda: secret), clock=clock)
    await ask_each_second(manager, clock, 119)
    assert server.sent("client_credentials") == [0, 60]
    await clock.advance(1)
    secret, server.down = "other", True
    resting = asyncio.ensure_future(manager.token())
    await clock.advance(0.001)
    assert len(server.seen) == 3
    secret, server.down, server.right = "wrong", False, "wrong"
    by_hand = asyncio.ensure_future(manager.refresh())
    await clock.advance(0.001)
    assert (await by_hand).value == (await resting).value == "token-4"


async def test_what_is_told_again_during_a_rest_is_not_sent(server: Server, clock: FakeClock) -> None:
    """The callable goes back to the refused secret while its flight rests: callers get the refusal for its hold."""
    secret = "wrong"
    manager = TokenManager(client_credentials(lambda: secret), clock=clock)
    await ask_each_second(manager, clock, 119)
    await clock.advance(1)
    secret, server.down = "other", True
    resting = asyncio.ensure_future(manager.token())
    await clock.advance(0.001)
    secret, server.down = "wrong", False
    await clock.advance(20)
    with pytest.raises(CredentialsRejected):
        await resting
    assert len(server.seen) == 3
    assert set(await ask_each_second(manager, clock, 39)) == {"CredentialsRejected"}
    assert len(server.seen) == 3
    await ask_each_second(manager, clock, 3)
    assert len(server.seen) == 4


async def test_a_refresh_by_hand_just_after_the_look_is_heard(server: Server, clock: FakeClock) -> None:
    """The credential was found to be the refused one a moment ago, and the flight has not landed: it is sent now."""
    manager = TokenManager(client_credentials(lambda: "wrong"), clock=clock)
    await ask_each_second(manager, clock, 119)
    await clock.advance(1)
    server.right = "wrong"
    looking = asyncio.ensure_future(manager.token())
    by_hand: asyncio.Task[Token] | None = None
    for _ in range(200):
        await asyncio.sleep(0)
        flight = manager._flight
        refresh = None if flight is None else flight.work
        asking = refresh._asking if isinstance(refresh, Refresh) else None
        if by_hand is None and asking is not None and asking.asked.done():
            by_hand = asyncio.ensure_future(manager.refresh())
    assert by_hand is not None
    await clock.advance(1)
    assert (await by_hand).value == (await looking).value == "token-3"


async def test_an_upstreams_look_is_not_ones_own(clock: FakeClock) -> None:
    """What an upstream manager did not send is told as what it is, and not as one's own refusal."""
    unsent = CredentialsRejected("the upstream's")
    unsent.unsent = unsent.upstream = True
    own = CredentialsRejected("one's own")
    provider = FakeProvider(answers=[own, unsent])
    manager = TokenManager(provider, clock=clock)
    with pytest.raises(CredentialsRejected):
        await manager.token()
    await clock.advance(60)
    with pytest.raises(CredentialsRejected, match="the upstream's"):
        await manager.token()
    assert "the upstream's" in (manager.status().last_error or "")
