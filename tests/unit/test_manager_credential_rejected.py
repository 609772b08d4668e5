"""Credentials that were refused are not sent again, whatever else happens."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import attrs
import pytest
from aioresponses import CallbackResult
from cryptography.fernet import Fernet
from store_client_kit import CommandedStore, Lease, during

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
from asyncauth.stores import EncryptedStore, Entry, MemoryStore, TokenStore
from asyncauth.testing import FakeClock, FakeProvider, mock_aiohttp

URL = "https://login.example.com/token"
API = "https://api.example.com"
KEY = Fernet.generate_key()


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
        fields = dict(parse_qsl(request["data"].decode()))
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
    assert asked <= 62


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
    """While a slow callable is asked for the corrected secret, callers do not get the error about the old one."""
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
    """If refresh() is called while a slow callable is asked again, its result is sent, rejected before or not."""

    async def secret() -> str:
        await clock.sleep(5)
        return "wrong"

    manager = TokenManager(client_credentials(secret), clock=clock)
    await ask_each_second(manager, clock, 80)
    await clock.advance(60)
    assert len(server.seen) == 2
    looking = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    server.right = "wrong"  # corrected at the server
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
    """A flight waits after a 503 to another secret, with a rejection remembered: refresh() ends both."""
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


async def test_a_refresh_by_hand_just_after_the_look_is_heard(
    server: Server, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential was found to be the refused one a moment ago, and the flight has not landed: it is sent now."""
    manager = TokenManager(client_credentials(lambda: "wrong"), clock=clock)
    await ask_each_second(manager, clock, 119)
    await clock.advance(1)
    server.right = "wrong"
    by_hand: asyncio.Task[Token] | None = None

    async def close(session: aiohttp.ClientSession, _: object) -> None:
        nonlocal by_hand
        if by_hand is None:
            by_hand = asyncio.get_running_loop().create_task(manager.refresh(), context=contextvars.Context())
            await asyncio.sleep(0)
        await session.close()

    monkeypatch.setattr("asyncauth._core.token_request.close_here", close)
    looking = asyncio.ensure_future(manager.token())
    await clock.advance(1)
    assert by_hand is not None
    assert (await by_hand).value == (await looking).value == "token-3"


async def test_an_upstreams_look_is_not_ones_own(clock: FakeClock) -> None:
    """An upstream rejection that was not sent is reported as such, not as a rejection of one's own credential."""
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


# What all processes know of it


def password_grant(password: Any, **more: Any) -> Provider:
    return PasswordGrant(token_url=URL, username="ana", password=password, client_auth="none", origins=API, **more)


async def outcomes(managers: Sequence[TokenManager], clock: FakeClock, seconds: float = 1.0) -> list[str]:
    """Return what each of many processes gets that ask for a token at once."""
    asked = [asyncio.ensure_future(manager.token()) for manager in managers]
    await asyncio.wait(asked)  # by the real clock, as MemoryStore waits for its lock
    await clock.advance(seconds)
    got = await asyncio.gather(*asked, return_exceptions=True)
    return [each.value if isinstance(each, Token) else type(each).__name__ for each in got]


STORES: dict[str, Callable[[], TokenStore]] = {
    "clear": MemoryStore,
    "sealed": lambda: EncryptedStore(MemoryStore(), KEY),
}


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
async def test_a_fleet_sends_a_wrong_password_once(
    server: Server, clock: FakeClock, make: Callable[[], TokenStore]
) -> None:
    """A hundred processes that start at once, or one after another, make one token request until its end."""
    store = make()
    fleet = [TokenManager(password_grant("wrong"), store=store, clock=clock) for _ in range(100)]
    assert set(await outcomes(fleet, clock)) == {"CredentialsRejected"}
    assert len(server.seen) == 1
    for _ in range(20):  # each crashes, and is started again
        again = TokenManager(password_grant("wrong"), store=store, clock=clock)
        assert await outcomes([again], clock) == ["CredentialsRejected"]
    assert len(server.seen) == 1


async def test_a_fleet_waits_longer_each_time(server: Server, clock: FakeClock) -> None:
    """One try a cool-down for all processes together, which doubles up to an hour, crash or not."""
    store = MemoryStore()
    fleet = [TokenManager(password_grant("wrong"), store=store, clock=clock) for _ in range(3)]
    for minute in range(4 * 60):
        if minute % 7 == 0:
            fleet[0] = TokenManager(password_grant("wrong"), store=store, clock=clock)
        assert set(await outcomes(fleet, clock, 60.0)) == {"CredentialsRejected"}
    sent = server.sent("password")
    waits = [round((later - earlier) / 60) for earlier, later in itertools.pairwise(sent)]
    assert waits[:6] == sorted(waits[:6])
    assert waits[0] <= 2
    assert waits[-1] >= 60
    assert len(sent) <= 10


async def test_a_changed_password_is_sent_at_once(server: Server, clock: FakeClock) -> None:
    """The rejection is the old one's; what succeeds ends it for everybody."""
    store = MemoryStore()
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    mended = [TokenManager(password_grant("right"), store=store, clock=clock) for _ in range(2)]
    assert await outcomes(mended, clock) == ["token-2", "token-2"]
    (key,) = await store.keys()
    stored = await store.load(key)
    assert stored is not None
    assert Entry.of(stored).token is not None
    assert await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock) == ["token-2"]
    assert server.sent("password") == server.sent("password")[:2]


async def test_a_refresh_by_hand_sends_what_another_process_had_rejected(server: Server, clock: FakeClock) -> None:
    """refresh() by hand tries in spite of a rejection; its own rejection counts for everybody again."""
    store = MemoryStore()
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    manager = TokenManager(password_grant("wrong"), store=store, clock=clock)
    with pytest.raises(CredentialsRejected):
        await manager.refresh()
    assert len(server.seen) == 2
    (key,) = await store.keys()
    stored = await store.load(key)
    assert isinstance(stored, Entry)
    (rejection,) = stored.rejections
    assert (rejection.times, round(rejection.until - clock.wall())) == (2, 120)
    server.right = "wrong"
    assert (await manager.refresh()).value == "token-3"


async def test_what_is_stored_of_a_rejected_password(server: Server, clock: FakeClock) -> None:
    """What is stored of a password is 16 bits, and others for another account."""
    store = CommandedStore()
    for username in ("ana", "eva"):
        grant = PasswordGrant(token_url=URL, username=username, password="wrong", client_auth="none", origins=API)
        await outcomes([TokenManager(grant, store=store, clock=clock)], clock)
    digests = [each.digest for entry in store.tokens.values() for each in Entry.of(entry).rejections]
    assert [len(each) for each in digests] == [4, 4]
    assert digests[0] != digests[1]
    manager = TokenManager(password_grant("wrong"), store=store, clock=clock)
    with pytest.raises(CredentialsRejected, match="another process") as caught:
        await manager.token()
    assert "wrong" not in str(caught.value)
    assert caught.value.endpoint == URL


async def test_a_rejection_withholds_no_usable_token(server: Server, clock: FakeClock) -> None:
    """A token that is stored serves although the password was changed since; its refusal leaves the rejection."""
    store = MemoryStore()
    first = TokenManager(password_grant("right"), store=store, clock=clock)
    assert await outcomes([first], clock) == ["token-1"]
    server.right = "another"
    with pytest.raises(CredentialsRejected):
        await first.refresh()
    second = TokenManager(password_grant("right"), store=store, clock=clock)
    assert await outcomes([second], clock) == ["token-1"]
    for manager in (second, TokenManager(password_grant("right"), store=store, clock=clock)):
        second.invalidate(Token("token-1"))
        assert await outcomes([manager], clock) == ["CredentialsRejected"]
    assert len(server.seen) == 2


@pytest.mark.parametrize("until", [1e12, -1e12, math.inf, math.nan])
async def test_a_rejection_by_an_absurd_clock_keeps_nobody_out(server: Server, clock: FakeClock, until: float) -> None:
    """One that ends later than any rejection can, or long ago, is none."""
    store = CommandedStore()
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    (key,) = store.tokens
    entry = store.tokens[key]
    assert isinstance(entry, Entry)
    (rejection,) = entry.rejections
    store.tokens[key] = attrs.evolve(entry, rejections=(attrs.evolve(rejection, until=until),))
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    assert len(server.seen) == 2
    stored = store.token
    assert isinstance(stored, Entry)
    assert [each.times for each in stored.rejections] == [1]


@pytest.mark.parametrize("fault", ["raise", "hang"])
async def test_a_rejection_that_cannot_be_stored_is_the_callers_all_the_same(
    server: Server, clock: FakeClock, fault: str
) -> None:
    """The error is the server's answer, not the store's trouble."""
    store = CommandedStore(faults={"save": fault})
    manager = TokenManager(password_grant("wrong"), store=store, clock=clock)
    with pytest.raises(CredentialsRejected, match="rejected the password"):
        await during(clock, manager.token())
    assert len(server.seen) == 1


async def test_a_rejection_is_not_stored_once_the_lock_is_lost(server: Server, clock: FakeClock) -> None:
    """By then another process may have saved what it had."""
    store = CommandedStore(lease=Lease())
    store.lease.lost = True
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    assert store.tokens == {}


async def test_a_rejection_does_not_replace_an_unsaved_refresh_token(server: Server, clock: FakeClock) -> None:
    """An entry that holds a rejection alone is later than the token, but is no later token."""
    store = CommandedStore()
    server.gives = {"refresh_token": "refresh", "expires_in": 100}
    store.faults["save"] = "raise"
    manager = TokenManager(password_grant("right"), store=store, clock=clock)
    assert (await during(clock, manager.token())).value == "token-1"
    del store.faults["save"]
    store.locked = False  # its lease has run out
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    await clock.advance(40)
    assert store.entry.refresh_token == "refresh"
    assert len(store.entry.rejections) == 1
    await manager.close()


async def test_a_refresh_by_hand_just_after_the_look_into_the_store_is_heard(server: Server, clock: FakeClock) -> None:
    """The flight that found the rejection in the store, and is about to end, sends the credential after all."""
    store = CommandedStore()
    await outcomes([TokenManager(password_grant("wrong"), store=store, clock=clock)], clock)
    manager = TokenManager(password_grant("wrong"), store=store, clock=clock)
    store.faults["unlock"] = "hang"
    asked = asyncio.ensure_future(manager.token())
    await clock.advance(0.1)
    assert len(server.seen) == 1
    server.right = "wrong"
    by_hand = asyncio.ensure_future(manager.refresh())
    await clock.advance(0.1)
    del store.faults["unlock"]
    await clock.advance(1.0)
    assert (await by_hand).value == (await asked).value == "token-2"
