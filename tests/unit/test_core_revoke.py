"""Logging out: `TokenManager.revoke` revokes what there is, forgets it everywhere, and says what remains valid."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import attrs
import pytest
from conftest import EXACT
from core_kit import engine_of
from harness.canary import MARK
from store_client_kit import Rotating

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    ManagerClosed,
    ManagerPool,
    Revocation,
    RevokingProvider,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.flight import Flight
from asyncauth._core.flight_endings import finish
from asyncauth.entry import LONGEST, Entry, Rejection
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

NOW = 1_700_000_000.0


@attrs.define(eq=False, kw_only=True)
class Revoking(FakeProvider):
    """A provider whose server revokes tokens.

    Attributes:
        refresh_token: What comes with its tokens; ``None``: nothing.
        asked: What was to be revoked, in turn: the kind and the token.
        problems: What the next revocations get, in turn: an exception; ``None``: nothing is wrong.
    """

    refresh_token: str | None = attrs.field(default=f"{MARK}-refresh", repr=False)
    asked: list[tuple[str, str]] = attrs.field(factory=list, repr=False)
    problems: list[Exception | None] = attrs.field(factory=list)

    def token(self) -> Token:
        return attrs.evolve(super().token(), refresh_token=self.refresh_token)

    async def revoke(self, http: aiohttp.ClientSession, token: str, kind: str) -> None:
        self.asked.append((kind, token))
        problem = self.problems.pop(0) if self.problems else None
        if problem is not None:
            raise problem


@pytest.fixture
def provider(clock: FakeClock) -> Revoking:
    return Revoking(clock=clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=NOW, auto=True)


Make = Callable[..., TokenManager]

BOTH = [("refresh_token", f"{MARK}-refresh"), ("access_token", "token-1")]


def kinds(tokens: tuple[Any, ...]) -> list[str]:
    return [each.kind for each in tokens]


# --- what is revoked


async def test_the_refresh_token_goes_first(make: Make, provider: Revoking) -> None:
    """New tokens come of a refresh token, so it is revoked before the access token; then the manager is closed."""
    async with make(provider) as manager:
        await manager.token()
        revocation = await manager.revoke()
        assert provider.asked == BOTH
        assert kinds(revocation.revoked) == ["refresh_token", "access_token"]
        assert revocation.complete
        assert manager.current is None
        with pytest.raises(ManagerClosed):
            await manager.token()


async def test_entered_again_it_logs_in_anew(make: Make, provider: Revoking) -> None:
    """The next token comes of the provider's own credential: nothing of the last one is left."""
    manager = make(provider)
    await manager.token()
    await manager.revoke()
    async with manager:
        assert (await manager.token()).value == "token-2"
    assert provider.previous == [None, None]


async def test_a_manager_that_holds_nothing_asks_nobody(make: Make, provider: Revoking) -> None:
    """There is nothing to revoke before the first token, nor after a logout."""
    manager = make(provider)
    assert await manager.revoke() == await manager.revoke() == Revocation()
    assert provider.asked == []


async def test_what_has_expired_needs_no_revocation(make: Make, provider: Revoking, clock: FakeClock) -> None:
    """An access token that nobody can use any more is left alone; its refresh token is not."""
    manager = make(provider)
    await manager.token()
    clock.suspend(3600)
    assert kinds((await manager.revoke()).revoked) == ["refresh_token"]


async def test_a_predecessor_that_still_serves_is_revoked_too(make: Make, provider: Revoking, clock: FakeClock) -> None:
    """After a renewal the token before it is valid until its end, and goes as well."""
    manager = make(provider)
    await manager.token()
    clock.suspend(3000)
    await manager.refresh()
    revocation = await manager.revoke()
    assert provider.asked == [BOTH[0], ("access_token", "token-2"), ("access_token", "token-1")]
    assert revocation.complete


async def test_a_chain_revokes_each_step(make: Make, clock: FakeClock) -> None:
    """The tokens of a chain that was made in one call go too, from the last step to the first."""
    first = Revoking(clock=clock, name="first", identity="first")

    class Second(Revoking):
        def chained(self, manage: Callable[[Any], Any]) -> Second:
            self.upstream = manage(first)
            return self

        async def fetch(self, http: aiohttp.ClientSession, previous: Token | None) -> Token:
            await self.upstream.token()
            return await super().fetch(http, previous)

    manager = make(Second(clock=clock, name="second", refresh_token=None))
    await manager.token()
    revocation = await manager.revoke()
    assert [each.provider for each in revocation.revoked] == ["second", "first", "first"]
    assert first.asked == BOTH


async def test_a_pool_logs_a_tenant_out(clock: FakeClock) -> None:
    """`ManagerPool.revoke` is the tenant's `TokenManager.revoke`; the tenant's next use logs in anew."""
    made: list[Revoking] = []

    def provider_of(tenant: str) -> Revoking:
        made.append(Revoking(clock=clock, name=tenant))
        return made[-1]

    async with ManagerPool(provider_of, clock=clock, policy=EXACT) as pool:
        manager = await pool.get("acme")
        await manager.token()
        revocation = await pool.revoke("acme")
        assert [each.provider for each in revocation.revoked] == ["acme", "acme"]
        assert (await (await pool.get("acme")).token()).value == "token-2"
    assert [each.asked for each in made] == [BOTH]


def test_it_works_without_an_event_loop(make: Make, provider: Revoking) -> None:
    """A blocking program logs out as well."""
    manager = make(provider)
    manager.blocking.token()
    assert manager.blocking.revoke().complete
    assert provider.asked == BOTH


# --- what can't be revoked


async def test_what_remains_is_said_with_its_end(
    make: Make, provider: Revoking, caplog: pytest.LogCaptureFixture
) -> None:
    """The result has the fingerprint of a token that was not revoked, with the reason and its expiry."""
    caplog.set_level(logging.INFO, "asyncauth.manager")
    manager = make(provider)
    token = await manager.token()
    provider.problems = [None, CredentialsRejected("no", error="unsupported_token_type")]
    revocation = await manager.revoke()
    assert not revocation.complete
    (left,) = revocation.remaining
    assert (left.kind, left.fingerprint, left.expires_at) == ("access_token", token.fingerprint, NOW + 3600)
    assert left.error == 'CredentialsRejected: no; the server says "unsupported_token_type"'
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "fake: logged out: 1 revoked, 1 not; the result of revoke() says what remains valid")
    ]
    assert revocation.as_dict()["complete"] is False
    assert MARK not in repr(revocation)


@pytest.mark.parametrize(
    ("extra", "ends"),
    [
        ({"refresh_expires_in": 60}, 60.0),
        ({"refresh_expires_in": True}, None),
        ({"refresh_expires_in": 10**400}, LONGEST),
        ({"refresh_expires_in": math.inf}, LONGEST),
    ],
)
async def test_the_end_of_a_refresh_token_is_said_where_it_is_known(
    make: Make, provider: Revoking, extra: dict[str, Any], ends: float | None
) -> None:
    """Some servers say how long a refresh token lives; of the others' nobody knows."""
    provider.answers = [attrs.evolve(provider.token(), extra=extra)]
    provider.problems = [CredentialsRejected("no")]
    manager = make(provider)
    await manager.token()
    (left,) = (await manager.revoke()).remaining
    assert left.fingerprint is None
    assert left.expires_at == (None if ends is None else NOW + ends)


async def test_a_server_that_cannot_answer_now_is_asked_again(make: Make, provider: Revoking, clock: FakeClock) -> None:
    """A busy server gets some time; what it asks for is honoured."""
    manager = make(provider)
    await manager.token()
    provider.problems = [TokenEndpointUnavailable("busy", retry_after=7), *[TokenEndpointUnavailable("busy")] * 4]
    since = clock.monotonic()
    assert (await manager.revoke()).complete
    assert len(provider.asked) == 7
    assert clock.monotonic() - since == pytest.approx(7 + 0.5 + 1 + 2 + 3)


async def test_an_outage_ends_at_the_deadline(make: Make, provider: Revoking, clock: FakeClock) -> None:
    """After `RefreshPolicy.deadline` a logout ends with what it has reached, and the tokens are forgotten."""
    manager = make(provider, deadline=10)
    await manager.token()
    provider.problems = [TokenEndpointUnavailable("busy")] * 100
    since = clock.monotonic()
    revocation = await manager.revoke()
    assert kinds(revocation.remaining) == ["refresh_token", "access_token"]
    assert clock.monotonic() - since <= 10
    async with manager:
        assert (await manager.token()).value == "token-2"


async def test_a_provider_without_revocation_says_so(make: Make, clock: FakeClock) -> None:
    """Nothing is pretended: the token stays valid until its end, and is forgotten."""
    provider = FakeProvider(clock=clock)
    assert not isinstance(provider, RevokingProvider)
    manager = make(provider)
    await manager.token()
    (left,) = (await manager.revoke()).remaining
    assert (
        left.error
        == "ConfigurationError: its provider has no way to revoke a token: give it a revoke method, if the API can"
    )
    assert left.expires_at == NOW + 3600


async def hang(*_: object) -> None:
    await asyncio.Event().wait()


async def interrupted(*_: object) -> None:
    raise asyncio.CancelledError


def raising(*_: object) -> None:
    raise ValueError(f"{MARK}-secret")


@pytest.mark.parametrize(
    ("revoke", "said"),
    [
        (hang, "TokenEndpointUnavailable: no answer in time"),
        (interrupted, "AuthError: the revocation was interrupted"),
        (raising, "AuthError: the revocation raised ValueError"),
        (lambda *_: None, "ConfigurationError: Own.revoke must be an async function"),
    ],
    ids=["hangs", "cancelled", "raises", "not async"],
)
async def test_other_peoples_code_breaks_nothing(make: Make, clock: FakeClock, revoke: Any, said: str) -> None:
    """Whatever a user's own provider does, the logout ends, and no secret in its errors is shown."""

    class Own(FakeProvider):
        async def revoke(self, http: object, token: str, kind: str) -> None: ...

    Own.revoke = lambda self, *given: revoke(*given)  # type: ignore[method-assign]
    manager = make(Own(clock=clock))
    await manager.token()
    (left,) = (await manager.revoke()).remaining
    assert left.error is not None
    assert left.error.startswith(said)


def test_a_provider_that_cannot_be_called_is_refused() -> None:
    """A mistake shows when the manager is made, and not at the logout."""

    class Wrong(FakeProvider):
        async def revoke(self, http: object) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Wrong\.revoke can't be called with a session, a token and its kind"):
        TokenManager(Wrong())


# --- while something is under way


async def test_what_a_refresh_under_way_brings_is_revoked(make: Make, provider: Revoking, gate: Any) -> None:
    """The logout waits for a refresh in progress, whose callers get `ManagerClosed`."""
    answer = gate(attrs.evolve(provider.token(), value="token-late"))
    provider.answers = [answer]
    manager = make(provider)
    waiting = asyncio.create_task(manager.token())
    while not provider.running:  # noqa: ASYNC110
        await asyncio.sleep(0)
    revoking = asyncio.create_task(manager.revoke())
    with pytest.raises(ManagerClosed):
        await waiting
    assert provider.asked == []
    answer.open()
    assert (await revoking).complete
    assert provider.asked == [BOTH[0], ("access_token", "token-late")]


def test_a_refresh_in_another_thread_is_waited_for_too(make: Make, clock: FakeClock) -> None:
    """The flight continues on its own event loop; callers that wait for it there get `ManagerClosed`."""
    reached, opened = threading.Event(), threading.Event()

    async def answer() -> Token:
        reached.set()
        while not opened.is_set():  # noqa: ASYNC110 (another thread sets it)
            await asyncio.sleep(0.001)
        return server.token()

    server = Revoking(clock=clock, answers=[answer])
    manager = make(server)
    with ThreadPoolExecutor(2) as aside:
        waiting = aside.submit(manager.blocking.token)
        assert reached.wait(10)
        revoking = aside.submit(asyncio.run, manager.revoke())
        while not engine_of(manager).closed or manager.status().waiting:
            time.sleep(0.001)
        assert server.asked == []
        opened.set()
        with pytest.raises(ManagerClosed):
            waiting.result(10)
        assert revoking.result(10).complete
    assert server.asked == BOTH


async def test_a_refresh_that_waits_for_its_next_try_is_not_waited_for(
    make: Make, provider: Revoking, clock: FakeClock
) -> None:
    """Between two tries no request is in progress: the logout continues at once."""
    manager = make(provider)
    provider.answers = [TokenEndpointUnavailable("down", retry_after=20)]
    waiting = asyncio.create_task(manager.token())
    while not manager.status().failures:  # noqa: ASYNC110
        await asyncio.sleep(0)
    since = clock.monotonic()
    assert await manager.revoke() == Revocation()
    with pytest.raises(ManagerClosed):
        await waiting
    assert clock.monotonic() == since
    assert provider.calls == 1


async def test_a_cancelled_logout_forgets_nothing(make: Make, provider: Revoking) -> None:
    """Who cancels a logout may try it again: the tokens are still known, and the manager is closed."""
    manager = make(provider)
    await manager.token()
    provider.problems = [TokenEndpointUnavailable("busy")]
    revoking = asyncio.create_task(manager.revoke())
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    revoking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await revoking
    with pytest.raises(ManagerClosed):
        await manager.token()
    assert (await manager.revoke()).complete
    assert provider.asked == [BOTH[0], *BOTH]


async def test_a_flight_that_has_ended_is_not_waited_for(clock: FakeClock) -> None:
    """A logout after the loop of a refresh was closed, or after the refresh itself, has nothing to wait for."""
    flight: Flight[None] = Flight(clock)

    async def work() -> None: ...

    flight.start(work)
    await flight.wait()
    await finish(flight)


async def test_a_token_that_was_obtained_since_is_kept(make: Make, provider: Revoking) -> None:
    """A logout forgets what it has revoked, and no token that has come since."""
    manager = make(provider)
    await manager.token()
    held = engine_of(manager).state.held()
    await manager.refresh()
    engine_of(manager).state.forget(held)
    assert manager.current is not None
    assert manager.current.value == "token-2"


# --- with a store


def process(provider: Any, store: Any, clock: FakeClock) -> TokenManager:
    return TokenManager(provider, store=store, clock=clock, policy=EXACT)


async def test_what_the_store_holds_is_revoked_and_goes(clock: FakeClock) -> None:
    """The refresh token that counts is the one that another process has saved; afterwards no process finds an entry."""
    store = MemoryStore()
    ours, others = (Revoking(clock=clock, refresh_token=f"{MARK}-{name}") for name in ("ours", "others"))
    first, second = process(ours, store, clock), process(others, store, clock)
    await first.token()
    await second.token()
    others.token()  # so that the next token differs from ours
    await second.refresh()
    assert (await first.revoke()).complete
    assert ours.asked == [
        ("refresh_token", f"{MARK}-others"),
        ("refresh_token", f"{MARK}-ours"),
        ("access_token", "token-2"),
        ("access_token", "token-1"),
    ]
    assert await store.keys() == []
    third = Revoking(clock=clock)
    await process(third, store, clock).token()
    assert (third.calls, third.previous) == (1, [None])


async def test_another_process_does_not_send_a_revoked_refresh_token(clock: FakeClock) -> None:
    """A process that still holds the revoked refresh token sees that the store has lost it, and logs in."""
    store, server = MemoryStore(), Rotating(clock=clock)
    first, second = process(server, store, clock), process(server, store, clock)
    await first.token()
    await second.token()
    assert kinds((await first.revoke()).remaining) == ["refresh_token", "access_token"]
    clock.suspend(3600)
    await second.token()
    assert server.sent == [None, None]
    assert await store.keys() != []


async def test_a_rejected_credential_is_remembered(clock: FakeClock, provider: Revoking) -> None:
    """A logout does not let a wrong password be tried once more by every process."""
    store = MemoryStore()
    manager = process(provider, store, clock)
    token = await manager.token()
    (key,) = await store.keys()
    rejection = Rejection(digest="abcd", until=NOW + 3600, times=1)
    await store.save(key, attrs.evolve(Entry.of(token), rejections=(rejection,)))
    assert (await manager.revoke()).complete
    left = await store.load(key)
    assert isinstance(left, Entry)
    assert (left.rejections, left.token, left.refresh_token) == ((rejection,), None, None)


async def test_a_mark_without_a_token_goes_too(clock: FakeClock, provider: Revoking) -> None:
    """What a process left that died while it sent a refresh token is nothing to wait for after a logout."""
    store = MemoryStore()
    manager = process(provider, store, clock)
    await manager.token()
    (key,) = await store.keys()
    await store.save(key, Entry.without_token(now=NOW, in_use_since=NOW - 1))
    assert (await manager.revoke()).complete
    assert await store.keys() == []


class Broken(MemoryStore):
    """A store that fails, or whose lock another process holds, as soon as it is told to."""

    how: str | None = None

    async def load(self, key: str) -> Token | None:
        if self.how == "down":
            raise OSError("down")
        return await super().load(key)

    async def save(self, key: str, token: Token) -> None:
        if self.how == "full":
            raise OSError("full")
        await super().save(key, token)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        if self.how == "locked":
            await asyncio.Event().wait()
        async with super().lock(key):
            yield


async def test_nothing_stored_is_nothing_to_delete(clock: FakeClock, provider: Revoking) -> None:
    """A logout before the first token touches no store."""
    store = Broken()
    store.how = "full"
    assert await process(provider, store, clock).revoke() == Revocation()


@pytest.mark.parametrize(
    ("how", "said"),
    [("down", "load: OSError"), ("full", "save: OSError"), ("locked", "another process holds the lock")],
)
async def test_a_store_that_fails_is_said(clock: FakeClock, provider: Revoking, how: str, said: str) -> None:
    """What this process holds is revoked all the same, once; that the entry may still be there is said."""
    store = Broken()
    manager = process(provider, store, clock)
    await manager.token()
    store.how = how
    revocation = await manager.revoke()
    assert revocation.store == said
    assert not revocation.complete
    assert kinds(revocation.revoked) == ["refresh_token", "access_token"]
    assert provider.asked == BOTH
    assert manager.status().store == said
