"""Several processes, one token: each ruling on adoption, refusals, refresh tokens and the lock has its test here."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
from core_kit import engine_of, steps_of, store_client_of
from harness.canary import MARK
from harness.loops import close_under_its_tasks
from store_client_kit import CommandedStore, Lease, Rotating, during, manager, silent

from asyncauth import (
    ConfigurationError,
    LockTimeout,
    ManagerClosed,
    PagoFacilJWT,
    PagoFacilLogin,
    Peakly,
    RefreshGrant,
    StoreError,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._core.refresh import Refresh
from asyncauth._core.store_client import StoreClient
from asyncauth.clock import SystemClock
from asyncauth.stores import Entry, FileStore, MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

LOST = TokenEndpointUnavailable("no answer in time")


@pytest.fixture
def store() -> CommandedStore:
    return CommandedStore()


@pytest.fixture
def rotating(clock: FakeClock) -> Rotating:
    return Rotating(clock=clock)


# One token request per lifetime


async def test_many_processes_make_one_token_request(clock: FakeClock, store: CommandedStore) -> None:
    """The process with the lock fetches; the others adopt what it saved."""
    provider = FakeProvider(clock=clock, latency=1.0)
    processes = [manager(provider, store, clock) for _ in range(6)]
    tokens = await during(clock, asyncio.gather(*(each.token() for each in processes for _ in range(5))))
    assert {token.value for token in tokens} == {"token-1"}
    assert provider.calls == 1
    assert sorted(each.status().adoptions for each in processes) == [0, 1, 1, 1, 1, 1]


async def test_the_next_process_reuses_the_token(clock: FakeClock, store: CommandedStore) -> None:
    """One look in the store, no lock, no request; and the token has what it has left, not its whole life."""
    provider = FakeProvider(clock=clock)
    await manager(provider, store, clock).token()
    await clock.advance(1000)
    store.calls.clear()
    second = manager(provider, store, clock)
    assert (await second.token()).expires_at == clock.wall() + 2600
    assert store.calls == ["load"]
    assert provider.calls == 1


async def test_a_fresh_token_costs_no_store_call(clock: FakeClock, store: CommandedStore) -> None:
    """The hot path knows no store."""
    process = manager(FakeProvider(clock=clock), store, clock)
    await process.token()
    store.calls.clear()
    for _ in range(100):
        await process.token()
    assert store.calls == []


async def test_one_renews_early_and_the_others_adopt(clock: FakeClock, store: CommandedStore) -> None:
    """Stale: the first process whose renewal is due renews, nobody waits, and one request per lifetime serves all."""
    provider = FakeProvider(clock=clock)
    processes = [manager(provider, store, clock) for _ in range(3)]
    for _ in range(5):
        for each in processes:
            await each.token()
            await clock.advance(1)
        await clock.advance(2900)
    assert provider.calls == 5
    assert [each.status().waits for each in processes] == [1, 1, 1]


# What is adopted


async def test_the_own_token_is_not_adopted_for_ever(clock: FakeClock, store: CommandedStore) -> None:
    """Stale, and in the store is the very token that is to be renewed: it is fetched, not adopted."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    await process.token()
    await clock.advance(2880)
    assert (await process.refresh()).value == "token-2"
    assert (provider.calls, process.status().adoptions) == (2, 0)


async def test_the_own_token_is_not_adopted_although_it_is_fresh(clock: FakeClock, store: CommandedStore) -> None:
    """By hand, and where jitter made the renewal due before the un-jittered window ends."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock, jitter=0.05)
    await process.token()
    assert (await process.refresh()).value == "token-2"
    await clock.advance(2750)
    await process.token()
    await clock.advance(0)
    assert (await process.token()).value == "token-3"
    assert (provider.calls, process.status().adoptions) == (3, 0)


async def test_an_older_token_is_not_adopted_for_a_refused_one(clock: FakeClock, store: CommandedStore) -> None:
    """What was issued before the refused one was refused as well, most likely."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    older = Token("older", issued_at=clock.wall(), expires_at=clock.wall() + 9000)
    await clock.advance(60)
    process.invalidate(await process.token())
    store.tokens = dict.fromkeys(store.tokens, older)
    assert (await process.token()).value == "token-2"


async def test_a_refused_token_is_not_adopted(clock: FakeClock, store: CommandedStore) -> None:
    """A token that the API refused is taken out of the store and not taken in again."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    process.invalidate(await process.token())
    assert (await process.token()).value == "token-2"
    assert provider.calls == 2
    assert store.token is not None
    assert store.token.value == "token-2"


async def test_a_revocation_costs_one_request_for_all(clock: FakeClock, store: CommandedStore) -> None:
    """Each process meets its 401, one fetches, and no late refusal takes the new token out of the store."""
    provider = FakeProvider(clock=clock)
    processes = [manager(provider, store, clock) for _ in range(5)]
    old = [await each.token() for each in processes]
    await clock.advance(60)
    for each, token in zip(processes, old, strict=True):
        each.invalidate(token)
    tokens = await asyncio.gather(*(each.token() for each in processes))
    assert {token.value for token in tokens} == {"token-2"}
    assert provider.calls == 2


@pytest.mark.parametrize(("age", "adopted"), [(2879, True), (2880, False), (2881, False)])
async def test_while_stale_only_a_fresh_one_is_adopted(
    clock: FakeClock, store: CommandedStore, age: int, *, adopted: bool
) -> None:
    """Else two processes would hand each other a token that both should renew."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    await process.token()
    await clock.advance(2900)
    (key,) = store.tokens
    issued_at = clock.wall() - age
    store.tokens[key] = Token("theirs", issued_at=issued_at, expires_at=issued_at + 3600)
    assert (await process.refresh()).value == ("theirs" if adopted else "token-2")


async def test_who_rests_takes_what_another_process_stores_meanwhile(clock: FakeClock, store: CommandedStore) -> None:
    """Callers who wait for the next try of their own process are served as soon as another has had more luck."""
    down = FakeProvider(clock=clock, answers=[TokenEndpointUnavailable("down", retry_after=20)])
    waiting = asyncio.ensure_future(manager(down, store, clock).token())
    await clock.advance(2)
    lucky = await manager(FakeProvider(clock=clock), store, clock).token()
    await clock.advance(2)
    assert waiting.done()
    assert (await waiting).value == lucky.value
    assert down.calls == 1


class OpenedStore(CommandedStore):
    """Notes when it is opened and closed."""

    async def __aenter__(self) -> None:
        self.calls.append("open")

    async def __aexit__(self, *_: object) -> None:
        self.calls.append("close")


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
def test_a_loop_that_is_closed_while_the_store_is_in_use() -> None:
    """What the garbage collector ends then only releases its lock in the store, and warns of nothing."""

    store, provider = OpenedStore(), FakeProvider(latency=60)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        asyncio.ensure_future(manager(provider, store, SystemClock()).token())  # noqa: RUF006
        while not provider.calls:  # noqa: ASYNC110 (another task's)
            await asyncio.sleep(0)

    loop.run_until_complete(begin())
    assert store.calls[-2:] == ["lock", "load"]
    calls = len(store.calls)
    close_under_its_tasks(loop)
    del loop
    gc.collect()
    assert store.calls[calls:] in ([], ["unlock"])


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # the manager's own, and aiohttp's
def test_an_entered_manager_that_nobody_holds_leaves_an_open_store_to_itself() -> None:
    """It warns that it was never closed. Python has no complaint besides when the event loop is closed."""

    store = OpenedStore()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        entered = await manager(FakeProvider(), store, SystemClock()).__aenter__()
        await entered.token()

    loop.run_until_complete(begin())
    gc.collect()
    close_under_its_tasks(loop)
    gc.collect()
    assert store.calls.count("open") - store.calls.count("close") == 1


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
@pytest.mark.parametrize("kind", ["memory", "files"])
def test_a_lock_is_given_back_by_the_next_who_asks_if_its_loop_was_closed(kind: str, tmp_path: Path) -> None:
    """Not by the garbage collector's leave, nor never: the lock was held for a token request that was lost."""
    store = MemoryStore() if kind == "memory" else FileStore(tmp_path)
    provider = FakeProvider(latency=60.0)
    process = TokenManager(provider, store=store)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(process.token())

    async def asked() -> None:
        while not provider.running:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(asked(), 10))
    close_under_its_tasks(loop)
    provider.latency = 0.0
    assert asyncio.run(process.refresh()).value == "token-1"
    assert process.status().store == "ok"  # nobody waited for the lock in vain
    del waiting


@pytest.mark.parametrize(
    "fault", ["a moment beyond all floats", "a lease that raises", "strictness that raises", "cancelled"]
)
async def test_more_that_a_store_may_do_is_trouble_and_no_more(fault: str) -> None:
    """Whatever it is, callers are served."""

    class Odd(MemoryStore):
        def load(self, key: str) -> Any:
            if fault == "cancelled":
                raise asyncio.CancelledError
            if fault.startswith("strictness"):  # which is asked for when there is trouble
                raise ValueError
            return self._loaded() if fault.startswith("a moment") else super().load(key)

        async def _loaded(self) -> Token:
            return Token("x", issued_at=10**400)

        @contextlib.asynccontextmanager
        async def lock(self, key: str) -> Any:
            class Lease:
                @property
                def lost(self) -> bool:
                    raise ValueError

            yield Lease() if "lease" in fault else None

        if fault.startswith("strictness"):

            @property
            def strict(self) -> bool:
                raise ValueError

    process = TokenManager(FakeProvider(), store=Odd())
    async with asyncio.timeout(5):
        assert (await process.token()).value == "token-1"
        assert (await process.refresh()).value == "token-2"


@pytest.mark.parametrize("fault", ["raise", None])
async def test_who_rests_looks_at_the_store_only_while_somebody_waits(
    clock: FakeClock, store: CommandedStore, fault: str | None
) -> None:
    """With a usable token nobody waits: no look. Without one there is one a second; trouble there ends no rest."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    await process.token()
    await clock.advance(3000)
    provider.answers = [TokenEndpointUnavailable("down", retry_after=20)] * 2
    await process.token()  # stale: renewed meanwhile
    await clock.advance(2)
    calls = len(store.calls)
    await clock.advance(10)
    assert len(store.calls) == calls
    await clock.advance(600)
    assert process.current is None or process.status().state == "fresh"
    process.invalidate(await process.token())
    provider.answers = [TokenEndpointUnavailable("down", retry_after=20)]
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(0.5)
    if fault is not None:
        store.faults["load"] = fault
    calls = len(store.calls)
    await clock.advance(10)
    assert len(store.calls) > calls
    assert not waiting.done()
    assert (process.status().store == "ok") == (fault is None)
    store.faults.clear()
    await clock.advance(20)
    assert waiting.done()
    await process.close()


@pytest.mark.parametrize(("age", "adopted"), [(3589, True), (3590, False)])
async def test_when_spent_any_usable_one_is_adopted(
    clock: FakeClock, store: CommandedStore, age: int, *, adopted: bool
) -> None:
    """Also one that is due for renewal: nobody waits for a token request when there is a token."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    key = store_client_of(process).key
    issued_at = clock.wall() - age
    store.tokens[key] = Token("theirs", issued_at=issued_at, expires_at=issued_at + 3600)
    assert (await process.token()).value == ("theirs" if adopted else "token-1")


async def test_jitter_does_not_make_two_swap_tokens(clock: FakeClock, store: CommandedStore) -> None:
    """Adoption while stale is decided by windows without jitter, whichever process was early."""
    provider = FakeProvider(clock=clock)
    processes = [manager(provider, store, clock, jitter=0.05) for _ in range(4)]
    for _ in range(3600 * 3 // 20):
        for each in processes:
            await each.token()
        await clock.advance(20)
    assert provider.calls <= 4  # 3 lifetimes, each of at least 75 %


@pytest.mark.parametrize(
    ("expires_in", "lifetime", "left"), [(100, 3600, 100), (3600, 100, 100), (9999, 3600, 3600), (50, 50, 50)]
)
async def test_what_is_left_is_the_least(
    clock: FakeClock, store: CommandedStore, expires_in: int, lifetime: int, left: int
) -> None:
    """Of what the entry's end says and of its lifetime: the writer's clock may be ahead, or behind."""
    process = manager(FakeProvider(clock=clock), store, clock)
    key = store_client_of(process).key
    expires_at = clock.wall() + expires_in
    store.tokens[key] = Token("theirs", issued_at=expires_at - lifetime, expires_at=expires_at)
    assert (await process.token()).expires_at == clock.wall() + left


@pytest.mark.parametrize("value", ["", "a b", "a\r\nb", "é"])
async def test_a_stored_value_that_cannot_travel_is_not_adopted(
    clock: FakeClock, store: CommandedStore, value: str
) -> None:
    """An attacker who can write to the store cannot forge headers."""
    process = manager(FakeProvider(clock=clock), store, clock)
    key = store_client_of(process).key
    store.tokens[key] = Token(value, issued_at=clock.wall(), expires_at=clock.wall() + 3600)
    assert (await process.token()).value == "token-1"


# Whose token it is


async def test_a_qa_token_never_reaches_production(clock: FakeClock) -> None:
    """The key is made of system, environment, step and account: what differs in any shares nothing."""
    store = CommandedStore()
    providers: list[Peakly | PagoFacilLogin | PagoFacilJWT] = []
    peakly: dict[str, Any] = {"password": "p"}
    for username in ("one", "two"):
        providers += [Peakly(username=username, environment=where, **peakly) for where in ("production", "qa")]
        providers += [Peakly(username=username, base_url="https://proxy.example.com", **peakly)]
        providers += [PagoFacilLogin(username=username, environment=e, **peakly) for e in ("production", "development")]
        providers += [PagoFacilJWT.from_password(username=username, **peakly)]
    keys = {StoreClient(store, each.identity or "", clock, 1.0, silent(clock)).key for each in providers}
    assert len(keys) == len(providers)
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in keys)


async def test_different_identities_share_nothing(clock: FakeClock, store: CommandedStore) -> None:
    """Two accounts in one store have a token each."""
    first = FakeProvider(clock=clock, identity="production")
    second = FakeProvider(clock=clock, identity="qa")
    await manager(first, store, clock).token()
    await manager(second, store, clock).token()
    assert (first.calls, second.calls, len(store.tokens)) == (1, 1, 2)


def test_without_an_identity_there_is_no_sharing(clock: FakeClock, store: CommandedStore) -> None:
    """A provider that cannot say whose token it gets is refused, and so is an object that is not a store."""
    with pytest.raises(
        ConfigurationError, match="a token of FakeProvider can't be shared: its identity is None: set it"
    ):
        manager(FakeProvider(identity=None), store, clock)
    with pytest.raises(ConfigurationError, match=r"write PagoFacilJWT\(…, account='…'\)"):
        TokenManager(PagoFacilJWT(access_token=lambda: "x"), store=store, clock=clock)
    with pytest.raises(ConfigurationError, match="takes a TokenStore"):
        manager(FakeProvider(), {}, clock)


# Refresh tokens


async def test_two_who_refresh_at_once_send_no_refresh_token_twice(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """One sends it; the other adopts what that brought."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await second.token()  # both know refresh-1
    rotating.latency = 1.0
    for _ in range(2):
        await clock.advance(2900)
        await during(clock, asyncio.gather(first.refresh(), second.refresh()))
    assert rotating.sent == [None, "refresh-1", "refresh-2"]
    assert rotating.stolen == 0


@pytest.mark.parametrize("primary", [True, False])
async def test_a_waiter_sends_what_it_reads_after_it_waited(
    clock: FakeClock, store: CommandedStore, *, primary: bool
) -> None:
    """The access token of the lock's last holder is useless, but its refresh token is the one to send."""
    rotating = Rotating(clock=clock, primary=primary)
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await second.token()
    rotating.latency, rotating.lifetime = 1.0, 0.5  # spent before the second has the lock
    await clock.advance(3600)
    refreshing = asyncio.gather(first.refresh(), second.refresh(), return_exceptions=True)
    await during(clock, refreshing)
    assert rotating.sent[:3] == [None, "refresh-1", "refresh-2"]
    assert len(set(rotating.sent)) == len(rotating.sent)
    assert rotating.stolen == 0


@pytest.mark.parametrize("primary", [True, False])
async def test_without_a_store_a_spent_refresh_token_is_not_sent_again(clock: FakeClock, *, primary: bool) -> None:
    """An access token that came too late brought the refresh token that is in force."""
    rotating = Rotating(clock=clock, primary=primary)
    process = manager(rotating, None, clock)
    await process.token()
    rotating.latency, rotating.lifetime = 1.0, 0.5
    await clock.advance(3600)
    refreshing = asyncio.ensure_future(process.refresh())
    await clock.advance(1.0)
    rotating.latency, rotating.lifetime = 0.0, 3600.0
    await clock.advance(0.5)
    await refreshing
    assert rotating.sent == [None, "refresh-1", "refresh-2"]


@pytest.mark.parametrize("call", ["load", "lock"])
async def test_without_the_lock_no_refresh_token_is_sent(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, call: str
) -> None:
    """Another process may be using it up at this moment: the primary grant is taken."""
    process = manager(rotating, store, clock)
    await process.token()
    store.faults[call] = "raise"
    await clock.advance(3600)
    assert (await process.token()).value == "access-2"
    assert rotating.sent == [None, None]


@pytest.mark.parametrize(("fault", "error"), [("raise", StoreError), ("held", LockTimeout)])
async def test_where_there_is_no_primary_grant_the_lock_is_needed(
    clock: FakeClock, store: CommandedStore, fault: str, error: type[Exception]
) -> None:
    """Without the lock there is no request at all: two that send one refresh token lose both."""
    provider = Rotating(clock=clock, primary=False)
    process = manager(provider, store, clock)
    await process.token()
    if fault == "raise":
        store.faults["lock"] = fault
    else:
        store.locked = True
    await clock.advance(3600)
    with pytest.raises(error) as caught:
        await during(clock, process.token(), most=120)
    assert type(caught.value) is error
    assert provider.sent == [None]
    store.faults.clear()
    store.locked = False
    await clock.advance(60)
    assert (await process.token()).value == "access-2"


def test_the_refresh_grant_needs_the_lock() -> None:
    """It has no other way to a token."""
    assert RefreshGrant(token_url="https://a.example/t", refresh_token="r", account="me").needs_lock


async def test_an_emptied_store_leaves_ones_own_refresh_token(clock: FakeClock, store: CommandedStore) -> None:
    """Without a primary grant, the process' own is later than the one its provider was given."""
    provider = Rotating(clock=clock, primary=False)
    process = manager(provider, store, clock)
    await process.token()
    store.tokens.clear()
    await clock.advance(3600)
    await process.token()
    assert provider.sent == [None, "refresh-1"]


async def test_a_refusal_of_the_access_token_keeps_the_refresh_token(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """A 401 marks the entry: the next renewal, in any process, sends its refresh token."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    first.invalidate(await first.token())
    rotating.faults = [(TokenEndpointUnavailable("busy", retry_after=100), False)]
    with pytest.raises(TokenEndpointUnavailable):
        await first.token()
    assert store.token is not None
    assert (store.token.lifetime, store.token.refresh_token) == (0, "refresh-1")
    assert (await second.token()).value == "access-2"
    assert rotating.sent == [None, "refresh-1", "refresh-1"]


async def test_a_rotated_refresh_token_is_saved_before_anybody_uses_it(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """No caller has the new token while the store has not."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "hang"
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(0.5)
    assert store.calls[-1] == "save"
    assert not waiting.done()
    assert process.current is None
    store.faults.clear()
    await clock.advance(5)
    assert (await waiting).value == "access-1"
    assert store.token is not None


async def test_a_failed_save_is_tried_again_and_loud(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, caplog: pytest.LogCaptureFixture
) -> None:
    """Three times at once, then in the background until it succeeds; meanwhile the token serves."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    assert (await during(clock, process.token())).value == "access-1"
    assert store.calls.count("save") >= 3
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (
        "the store did not save a new refresh token; keep this process running until it does: save: Trouble"
        in line.getMessage()
    )
    assert process.status().store == "save: Trouble"
    await clock.advance(10)
    assert store.token is None
    store.faults.clear()
    await clock.advance(31)
    assert store.token is not None
    assert store.token.refresh_token == "refresh-1"
    assert process.status().store == "ok"
    assert MARK not in caplog.text
    await process.close()


async def test_adopting_a_later_token_ends_the_tries_to_save_ones_own(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """Another process has stored a later one: ours is obsolete, and is not saved any more."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    await clock.advance(3)
    shared = engine_of(process).store_client
    assert shared is not None
    assert shared.known.unsaved
    wall = clock.wall()
    store.tokens[shared.key] = Entry("theirs", issued_at=wall, expires_at=wall + 3600, rotations=1)
    assert (await during(clock, process.refresh())).value == "theirs"
    assert not shared.known.unsaved
    saves = store.calls.count("save")
    store.faults.clear()
    await clock.advance(120)
    assert store.calls.count("save") == saves
    await process.close()


async def test_an_unsaved_refresh_token_that_could_not_be_lent_is_saved_later(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """While the store fails it is not sent, so it is still good, and goes on being saved in the background."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    await during(clock, process.refresh())
    assert rotating.sent == [None, None]
    store.faults.clear()
    await clock.advance(60)
    assert store.token is not None
    assert store.token.refresh_token == "refresh-1"
    await process.close()


async def test_a_refresh_token_that_was_not_used_and_could_not_be_put_back_is_sent_next(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """The store fails when it would go back into it: it is kept here, and is not lost."""
    process = manager(rotating, store, clock)
    await process.token()
    await clock.advance(3600)
    rotating.latency = 5.0
    rotating.faults = [(LOST, False)]
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(1)
    assert store.entry.in_use_since == clock.wall() - 1
    store.faults["save"] = "raise"
    await clock.advance(4.01)
    store.faults.clear()
    assert (await during(clock, waiting)).value == "access-2"
    assert store.entry.in_use_since is None
    assert rotating.sent == [None, "refresh-1", "refresh-1"]
    assert rotating.stolen == 0


async def test_what_is_saved_in_the_background_is_the_latest(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """While a token is being saved here, a later one could not be on another loop: the later one is saved."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    shared = engine_of(process).store_client
    assert shared is not None
    shared.known.hold(Entry("access-9", issued_at=clock.wall() + 1, refresh_token="refresh-9", rotations=2))
    store.faults.clear()
    await clock.advance(10)
    assert store.entry.value == "access-9"
    assert not shared.known.unsaved
    await process.close()


async def test_an_unsaved_refresh_token_is_not_replaced_by_the_stale_one(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """What could not be saved counts, not the entry that it was obtained with, whose refresh token is spent."""
    process = manager(rotating, store, clock)
    await process.token()
    (key, stale) = next(iter(store.tokens.items()))
    await clock.advance(2900)
    rotating.lifetime = 20.0
    real, store.save = store.save, _failing  # type: ignore[method-assign]
    await during(clock, process.refresh())
    store.save = real  # type: ignore[method-assign]
    store.tokens[key] = stale
    await store_client_of(process).stop_saving()
    rotating.lifetime = 3600.0
    await clock.advance(800)
    await process.token()
    assert rotating.stolen == 0
    assert rotating.sent[-1] != "refresh-1"
    await process.close()


async def _failing(key: str, token: Token) -> None:
    if Entry.of(token).in_use_since is None:
        raise OSError


async def test_a_lost_answer_costs_the_refresh_token(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """No answer came, so the server may have rotated it: the primary grant, in every process."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    rotating.faults = [(LOST, True)]
    await clock.advance(3600)
    await during(clock, first.token())
    await clock.advance(3600)
    await second.token()
    assert rotating.sent == [None, "refresh-1", None, "refresh-2"]
    assert rotating.stolen == 0


async def test_a_token_refused_while_the_store_is_asked_is_not_replaced_by_an_older_one(
    clock: FakeClock, store: CommandedStore
) -> None:
    """What counts for adoption is the token that is held when the store answers."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    store.faults["save"] = "raise"
    token = await process.token()
    store.tokens[store_client_of(process).key] = Token(
        "older", issued_at=clock.wall() - 60, expires_at=clock.wall() + 3540
    )
    store.faults.clear()
    renewing = asyncio.ensure_future(process.refresh())
    while "load" not in store.calls[-1:]:  # noqa: ASYNC110 (the very step in which the store is asked)
        await asyncio.sleep(0)
    process.invalidate(token)
    assert (await renewing).value == "token-2"


async def test_a_token_that_is_saved_late_is_as_old_as_it_is(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """The wall clock is set back before it is saved in the background: its times are by the clock as it is then."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token(), seconds=0.05)
    clock.set_wall(clock.wall() - 1_000_000)
    await clock.advance(600)
    store.faults.clear()
    await clock.advance(60)
    assert store.token is not None
    assert store.token.expires_at is not None
    assert 2900 < store.token.expires_at - clock.wall() < 3000
    await process.close()


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_refresh_token_that_could_not_be_saved_is_forgotten_once_it_is_sent(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, *, emptied: bool
) -> None:
    """Neither the saving in the background nor a store that was emptied brings it back after an ambiguous failure."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, first.token(), seconds=0.05)
    store.faults.clear()
    rotating.faults = [(LOST, True), *[(LOST, False)] * 50]
    with pytest.raises(TokenEndpointUnavailable):
        await during(clock, first.refresh(), seconds=0.05)
    rotating.faults.clear()
    if emptied:
        store.tokens.clear()
    await clock.advance(60.0)
    await during(clock, first.refresh())
    await during(clock, second.refresh())
    assert rotating.stolen == 0
    assert "refresh-1" in rotating.sent
    await first.close()


def test_an_answer_that_was_not_saved_before_its_loop_was_closed_is_not_lost(
    clock: FakeClock, store: CommandedStore
) -> None:
    """The entry holds a refresh token that the answer has rotated: the answer counts, and its own is sent next."""
    rotating = Rotating(clock=clock, primary=False)
    process = manager(rotating, store, clock)
    asyncio.run(process.token())
    asyncio.run(clock.advance(3600))
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(process.token())
    rotating.latency = 1.0
    while len(rotating.sent) < 2:
        loop.run_until_complete(asyncio.sleep(0))
    store.faults["save"] = "hang"
    loop.run_until_complete(clock.advance(1.0))
    close_under_its_tasks(loop)
    assert not waiting.done()
    rotating.latency = 0.0
    store.faults.clear()
    store.locked = False
    assert asyncio.run(process.token()).value == "access-2"
    assert asyncio.run(process.refresh()).value == "access-3"
    assert rotating.sent == [None, "refresh-1", "refresh-2"]
    assert rotating.stolen == 0


@pytest.mark.parametrize("processed", [True, False])
async def test_a_wall_clock_set_back_during_a_refresh_revives_nothing(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, *, processed: bool
) -> None:
    """A spent entry whose refresh token is lent, or put back, looks spent by any wall clock."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await clock.advance(3600)
    rotating.latency = 5.0
    rotating.faults = [(LOST, processed)]
    waiting = asyncio.ensure_future(first.token())
    await clock.advance(1)
    clock.set_wall(clock.wall() - 1_000_000)
    await clock.advance(5)
    assert store.token is not None
    assert store.token.expires_at is not None
    assert store.token.expires_at <= store.token.issued_at
    assert (await during(clock, second.token())).value != "access-1"
    await during(clock, waiting)


async def test_a_process_that_dies_takes_the_refresh_token_it_sent(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """While it is being sent it is not in the store: nobody else sends it after a ``kill -9``."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await clock.advance(3600)
    rotating.latency = 100.0
    dead = asyncio.ensure_future(first.token())
    await clock.advance(1)
    assert rotating.sent == [None, "refresh-1"]
    store.locked = False  # its lease runs out
    rotating.latency = 0.0
    assert (await second.token()).value == "access-2"
    assert rotating.sent == [None, "refresh-1", None]
    dead.cancel()
    await first.close()


async def test_an_answered_failure_keeps_the_refresh_token(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """A 503, or no connection: it was not used, and is back in the store."""
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await clock.advance(3600)
    rotating.faults = [(TokenEndpointUnavailable("busy", retry_after=100), False)]
    with pytest.raises(TokenEndpointUnavailable):
        await first.token()
    await second.token()
    assert rotating.sent == [None, "refresh-1", "refresh-1"]


async def test_closing_in_the_middle_loses_no_refresh_token(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """One more try to save what the server has rotated already."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    store.faults.clear()
    await process.close()
    assert store.token is not None
    assert store.token.refresh_token == "refresh-1"


async def test_closing_while_saving_leaves_no_task(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, caplog: pytest.LogCaptureFixture
) -> None:
    """The background ends with the manager, and what is lost is said aloud."""
    before = asyncio.all_tasks()
    for fault in ("raise", "hang"):
        process = manager(rotating, store, clock)
        store.faults["save"] = fault
        await during(clock, process.token())
        caplog.clear()
        await during(clock, process.close())
        assert asyncio.all_tasks() == before
        assert "a refresh token is lost" in caplog.text


# The lock


async def test_a_late_holder_does_not_overwrite_a_newer_token(clock: FakeClock, store: CommandedStore) -> None:
    """A save by a holder that has lost its lock is skipped when what is stored is later."""
    provider = FakeProvider(clock=clock, latency=12.0)
    store.lease = lease = Lease()
    late = manager(provider, store, clock)
    waiting = asyncio.ensure_future(late.token())
    await clock.advance(11)
    newer = Token("newer", issued_at=clock.wall(), expires_at=clock.wall() + 3600)
    store.tokens[store_client_of(late).key] = newer
    lease.lost = True
    await clock.advance(5)
    await waiting
    assert store.token == newer


@pytest.mark.parametrize("stored", ["older", "none"])
async def test_a_late_holder_saves_what_is_the_latest(clock: FakeClock, store: CommandedStore, stored: str) -> None:
    """The lock was lost, and nobody has written since: its token serves the others."""
    provider = FakeProvider(clock=clock, latency=12.0)
    store.lease = lease = Lease()
    late = manager(provider, store, clock)
    if stored == "older":
        old = Token("old", issued_at=clock.wall() - 4000, expires_at=clock.wall() - 400)
        store.tokens[store_client_of(late).key] = old
    waiting = asyncio.ensure_future(late.token())
    await clock.advance(11)
    lease.lost = True
    await clock.advance(5)
    await waiting
    assert store.token is not None
    assert store.token.value == "token-1"


async def test_after_a_dead_holder_one_fetches_for_all(clock: FakeClock, store: CommandedStore) -> None:
    """Those who waited for its lease look again before they fetch."""
    provider = FakeProvider(clock=clock, latency=1.0)
    store.locked = True  # its holder is dead
    processes = [manager(provider, store, clock) for _ in range(6)]
    waiting = asyncio.gather(*(each.token() for each in processes))
    await clock.advance(10)
    assert provider.calls == 0
    store.locked = False  # the lease has run out
    await during(clock, waiting)
    assert provider.calls == 1


@pytest.mark.parametrize(("deadline", "wait"), [(30.0, 15.0), (20.0, 10.0), (24.0, 14.0), (8.0, 4.0)])
async def test_waiting_leaves_time_to_fetch(
    clock: FakeClock, store: CommandedStore, deadline: float, wait: float
) -> None:
    """At most 15 s, and 10 s of the deadline are left; of a short one, half."""
    provider = FakeProvider(clock=clock)
    store.locked = True
    process = manager(provider, store, clock, deadline=deadline)
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(wait - 0.01)
    assert provider.calls == 0
    await clock.advance(0.02)
    assert (await waiting).value == "token-1"
    assert process.status().store == f"another process held the lock for {wait:g} s"


async def test_the_lock_is_given_back_whatever_happens(clock: FakeClock, store: CommandedStore) -> None:
    """Failure, cancellation by ``close()``, success."""
    provider = FakeProvider(clock=clock, answers=[TokenEndpointUnavailable("down", retry_after=99)])
    process = manager(provider, store, clock)
    with pytest.raises(TokenEndpointUnavailable):
        await process.token()
    assert not store.locked
    provider.latency = 50.0
    waiting = asyncio.ensure_future(process.refresh())
    await clock.advance(1)
    assert store.locked
    await process.close()
    assert not store.locked
    with pytest.raises(Exception, match="closed"):
        await waiting


async def test_a_provider_that_waits_for_a_person_gives_the_lock_back(clock: FakeClock, store: CommandedStore) -> None:
    """The others must not wait for a person; what was obtained is saved all the same, if nobody was faster."""
    from asyncauth._core.try_state import current_try

    async def answer() -> Token:
        release = current_try().release
        assert release is not None
        await release()
        assert not store.locked
        return Token("approved", issued_at=clock.wall(), expires_at=clock.wall() + 60)

    process = manager(FakeProvider(clock=clock, answers=[answer]), store, clock)
    await process.token()
    assert store.calls.count("unlock") == 1
    assert store.token is not None
    assert store.token.value == "approved"


# A chain


async def test_a_chain_shares_each_of_its_tokens(clock: FakeClock) -> None:
    """A provider in place of a credential becomes a manager with the same store."""
    from asyncauth import TokenManager

    store = MemoryStore()
    chain = PagoFacilJWT.from_password(username="u", password="p")
    process = TokenManager(chain, store=store, clock=clock)
    keys = {step.store_client.key for step in steps_of(process) if step.store_client is not None}
    assert len(keys) == len(steps_of(process)) > 1


@pytest.mark.parametrize("free", [True, False])
async def test_a_lock_had_in_the_moment_of_a_cancellation_is_given_back(clock: FakeClock, *, free: bool) -> None:
    """At whatever turn of the loop the refresh is cancelled, the lock is free afterwards."""

    class OneLock(MemoryStore):
        only = asyncio.Lock()

        def lock(self, key: str) -> Any:
            return self.only

    for turns in range(25):
        store = OneLock()
        shared = StoreClient(store, "identity", clock, 1.0, silent(clock))

        async def refresh(shared: StoreClient = shared) -> None:
            async with shared.locking() as lock:
                assert await lock.had_within(5.0) is not None
                await asyncio.sleep(0)

        if not free:
            await store.only.acquire()
        task = asyncio.ensure_future(refresh())
        for turn in range(turns):
            if turn == 4 and not free:
                store.only.release()
            await asyncio.sleep(0)
        if not free and turns <= 4:
            store.only.release()
        task.cancel()
        await asyncio.wait((task,))
        assert not store.only.locked(), turns


async def test_a_lock_had_after_the_wait_for_it_was_over_is_given_back(clock: FakeClock) -> None:
    """A store that swallows the cancellation, and gets the lock all the same."""
    held: list[str] = []

    class Stubborn:
        async def __aenter__(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                held.append("taken")

        async def __aexit__(self, *args: object) -> None:
            held.append("given back")

    class Store(MemoryStore):
        def lock(self, key: str) -> Any:
            return Stubborn()

    process = manager(FakeProvider(clock=clock), Store(), clock)
    assert (await during(clock, process.token())).value == "token-1"
    assert held == ["taken", "given back"]


# A store that falls back, and a process that dies


@pytest.mark.parametrize("set_by", [0.0, -86400.0, 86400.0])
@pytest.mark.parametrize("primary", [True, False])
@pytest.mark.parametrize("to", ["older", "empty"])
async def test_an_older_state_of_the_store_brings_no_spent_refresh_token_back(
    clock: FakeClock, store: CommandedStore, to: str, *, primary: bool, set_by: float
) -> None:
    """Whatever the clocks say. Another process may know of a later one: where there is a primary grant, it is used."""
    rotating = Rotating(clock=clock, primary=primary)
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    snapshot = dict(store.tokens) if to == "older" else {}
    for _ in range(2):
        await clock.advance(3600)
        await first.token()
        await second.token()
    store.tokens = snapshot
    clock.set_wall(clock.wall() + set_by)
    await clock.advance(3600)
    await second.token()
    assert rotating.sent == [None, "refresh-1", "refresh-2", None if primary else "refresh-3"]
    assert (store.entry.refresh_token, store.entry.rotations) == ("refresh-4", 5 if primary else 4)
    assert (await first.token()).value == "access-4"


async def test_an_older_access_token_is_not_adopted(clock: FakeClock, store: CommandedStore) -> None:
    """An older entry that a store has fallen back to is not adopted, although it is usable."""
    rotating = Rotating(clock=clock)
    process = manager(rotating, store, clock)
    await process.token()
    snapshot = dict(store.tokens)
    await process.refresh()
    store.tokens = snapshot
    assert (await process.refresh()).value == "access-3"
    assert rotating.sent == [None, "refresh-1", None]


@pytest.mark.parametrize("primary", [True, False])
async def test_the_lock_is_kept_while_a_rotated_refresh_token_is_unsaved(
    clock: FakeClock, store: CommandedStore, *, primary: bool
) -> None:
    """Or the next process would send the spent one. Its callers wait, and get what was saved in the end."""
    rotating = Rotating(clock=clock, primary=primary)
    first, second = manager(rotating, store, clock), manager(rotating, store, clock)
    await first.token()
    await clock.advance(3600)
    rotating.latency = 1.0
    served = asyncio.ensure_future(first.token())
    await clock.advance(0.5)
    store.faults["save"] = "raise"
    await clock.advance(1.0)
    assert (await served).value == "access-2"
    assert store.locked
    waiting = asyncio.ensure_future(second.token())
    await clock.advance(9.0)
    assert not waiting.done()
    store.faults.clear()
    await clock.advance(0.5)
    assert (await waiting).value == "access-2"
    assert not store.locked
    assert rotating.sent == [None, "refresh-1"]
    assert (store.entry.refresh_token, store.entry.in_use_since) == ("refresh-2", None)


async def test_the_next_refresh_takes_the_kept_lock_over(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """A process does not wait for its own lock, and sends the refresh token that it could not save."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    assert store.locked
    store.faults.clear()
    calls = len(store.calls)
    assert (await process.refresh()).value == "access-2"
    assert rotating.sent == [None, "refresh-1"]
    assert "lock" not in store.calls[calls:]
    assert not store.locked


async def test_a_kept_lock_that_was_lost_is_taken_anew(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """Its lease ran out while the store was away: another process may hold it by now."""
    store.lease = lease = Lease()
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    lease.lost = True
    store.faults.clear()
    store.lease = Lease()
    calls = len(store.calls)
    assert (await process.refresh()).value == "access-2"
    assert store.calls[calls:].count("lock") == 1
    assert rotating.sent == [None, "refresh-1"]
    assert not store.locked


def test_what_is_saved_on_another_loop_goes_on_there(clock: FakeClock, store: CommandedStore) -> None:
    """Its lock is that loop's. A loop that was closed gives it back, and the next refresh sends what is unsaved."""
    rotating = Rotating(clock=clock)
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    one.run_until_complete(during(clock, process.token()))
    shared = engine_of(process).store_client
    assert shared is not None
    store.faults.clear()
    assert other.run_until_complete(shared.take_over()) is None
    assert shared.saving is not None
    close_under_its_tasks(one)
    assert other.run_until_complete(process.refresh()).value == "access-2"
    assert rotating.sent == [None, "refresh-1"]
    assert not store.locked
    other.close()


@pytest.mark.parametrize("ended", ["asyncio.run", "closed"])
def test_a_job_that_ends_gives_the_kept_lock_back(clock: FakeClock, store: CommandedStore, ended: str) -> None:
    """What is unsaved is sent by the next job of the same process."""
    rotating = Rotating(clock=clock, primary=False)
    process = manager(rotating, store, clock)
    asyncio.run(process.token())
    asyncio.run(clock.advance(3600))
    rotating.latency = 0.001
    loop = asyncio.new_event_loop()

    async def saved_nothing() -> None:
        asking = asyncio.ensure_future(process.token())
        await clock.advance(0)
        store.faults["save"] = "raise"
        await clock.advance(1)
        await asking

    loop.run_until_complete(saved_nothing())
    assert store.locked
    if ended == "closed":
        close_under_its_tasks(loop)
    else:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.wait((task,)))
        loop.close()
        assert not store.locked
    store.faults.clear()
    rotating.latency = 0.0
    assert asyncio.run(process.refresh()).value == "access-3"
    assert rotating.sent == [None, "refresh-1", "refresh-2"]
    assert rotating.stolen == 0


@pytest.mark.parametrize(("primary", "seconds", "sent"), [(True, 10.0, None), (False, 20.0, "refresh-1")])
async def test_a_mark_is_waited_for(
    clock: FakeClock, store: CommandedStore, *, primary: bool, seconds: float, sent: str | None
) -> None:
    """The process that wrote it may be about to save. After that: the primary grant, or the refresh token once more."""
    store.lease = Lease()
    rotating = Rotating(clock=clock, primary=primary)
    process = manager(rotating, store, clock)
    await process.token()
    await clock.advance(3600)
    (key,) = store.tokens
    store.tokens[key] = attrs.evolve(store.entry, in_use_since=clock.wall() - 3)  # by another process, which has died
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(seconds - 0.1)
    assert not waiting.done()
    assert not store.locked
    await clock.advance(1.0)
    assert (await waiting).value == "access-2"
    assert rotating.sent == [None, sent]
    assert (store.entry.rotations, store.entry.in_use_since) == (3 if primary else 2, None)


@pytest.mark.parametrize("primary", [True, False])
async def test_what_comes_of_a_mark_is_adopted(clock: FakeClock, store: CommandedStore, *, primary: bool) -> None:
    """A process that lost its lock to a partition saves all the same, and those who waited take that."""
    store.lease = Lease()
    rotating = Rotating(clock=clock, primary=primary)
    late, process = manager(rotating, store, clock), manager(rotating, store, clock)
    await late.token()
    await clock.advance(3600)
    rotating.latency = 14.0
    asking = asyncio.ensure_future(late.token())
    await clock.advance(8.0)
    store.lease.lost, store.locked = True, False
    store.lease = Lease()
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(7.0)
    assert (await asking).value == (await waiting).value == "access-2"
    assert rotating.sent == [None, "refresh-1"]


async def test_a_mark_of_long_ago_is_not_waited_for(clock: FakeClock, store: CommandedStore) -> None:
    """Nor one from a time that no clock of today can show."""
    store.lease = Lease()
    rotating = Rotating(clock=clock)
    process = manager(rotating, store, clock)
    await process.token()
    (key,) = store.tokens
    for number, mark in enumerate((clock.wall() - 400, clock.wall() + 1e6), 2):
        store.tokens[key] = attrs.evolve(store.entry, in_use_since=mark)
        assert (await process.refresh()).value == f"access-{number}"
    assert rotating.sent == [None, None, None]


async def test_there_may_be_no_time_to_wait_for_a_mark(clock: FakeClock, store: CommandedStore) -> None:
    """With a primary grant it is used; without one callers get `LockTimeout`, and the next ones are served."""
    store.lease = Lease()
    for primary in (True, False):
        rotating = Rotating(clock=clock, primary=primary, identity=f"primary {primary}")
        process = manager(rotating, store, clock, deadline=12.0)
        await process.token()
        await clock.advance(3600)
        key = store_client_of(process).key
        store.tokens[key] = attrs.evolve(Entry.of(store.tokens[key]), in_use_since=clock.wall())
        waiting = asyncio.ensure_future(process.token())
        await clock.advance(13.0)
        if primary:
            assert (await waiting).value == "access-2"
        else:
            with pytest.raises(LockTimeout, match="another process is using the refresh token"):
                await waiting
            waiting = asyncio.ensure_future(process.token())
            await clock.advance(9.0)
            assert (await waiting).value == "access-2"


async def test_the_first_use_of_a_given_refresh_token_is_marked_as_well(clock: FakeClock) -> None:
    """There is no entry yet: a process that dies leaves one with a mark alone."""
    store = CommandedStore(lease=Lease())
    rotating = Rotating(clock=clock, primary=False)
    dead, process = manager(rotating, store, clock), manager(rotating, store, clock)
    rotating.latency = 1e6
    dying = asyncio.ensure_future(dead.token())
    await clock.advance(1.0)
    assert (store.entry.token, store.entry.in_use_since) == (None, clock.wall() - 1.0)
    store.locked = False
    rotating.latency = 0.0
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(19.0)
    assert rotating.sent == [None]
    await clock.advance(2.0)
    assert (await waiting).value == "access-1"
    assert store.entry.rotations == 1
    dying.cancel()
    await dead.close()


async def test_a_mark_without_a_token_is_taken_away(clock: FakeClock, store: CommandedStore) -> None:
    """The server can't answer: what is left of the first use of a given refresh token is nothing."""
    rotating = Rotating(clock=clock, primary=False)
    rotating.faults = [(TokenEndpointUnavailable("busy", retry_after=100), False)]
    process = manager(rotating, store, clock)
    with pytest.raises(TokenEndpointUnavailable):
        await process.token()
    assert store.tokens == {}
    assert store.calls[-2:] == ["delete", "unlock"]


@pytest.mark.parametrize("theirs", [True, False])
async def test_whoever_lost_the_lock_takes_no_mark_of_another_process_away(
    clock: FakeClock, store: CommandedStore, *, theirs: bool
) -> None:
    """It was too slow: another process is sending the refresh token by now, perhaps."""
    store.lease = Lease()
    rotating = Rotating(clock=clock, primary=False)
    process = manager(rotating, store, clock)
    await process.token()
    await clock.advance(3600)
    rotating.latency = 5.0
    rotating.faults = [(TokenEndpointUnavailable("busy", retry_after=100), False)]
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(1.0)
    store.lease.lost = True
    if theirs:
        store.tokens = dict.fromkeys(store.tokens, attrs.evolve(store.entry, in_use_since=clock.wall()))
    await clock.advance(5.0)
    with pytest.raises(TokenEndpointUnavailable):
        await waiting
    assert (store.entry.in_use_since is not None) == theirs


@pytest.mark.parametrize("primary", [True, False])
async def test_a_refresh_token_that_cannot_be_marked_is_not_sent(
    clock: FakeClock, store: CommandedStore, *, primary: bool
) -> None:
    """The primary grant; where there is none, callers wait until it can be."""
    rotating = Rotating(clock=clock, primary=primary)
    process = manager(rotating, store, clock)
    await process.token()
    await clock.advance(3600)
    store.faults["save"] = "raise"
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(20.0)
    assert waiting.done() == primary
    store.faults.clear()
    await clock.advance(1.0)
    assert (await waiting).value == "access-2"
    assert rotating.sent == [None, None if primary else "refresh-1"]


async def test_closing_while_something_is_unsaved_gives_the_lock_back(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """After one more try to save it, which the lock still guards."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    store.faults.clear()
    calls = len(store.calls)
    await process.close()
    assert store.calls[calls:] == ["load", "save", "unlock"]
    assert not store.locked


async def test_a_store_that_serves_later_than_a_save_in_the_background(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """Saves in the background come less often the longer they fail, and end when the store is gone for good."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    saves = [store.calls.count("save")]
    for _ in range(3):
        await clock.advance(300)
        saves.append(store.calls.count("save"))
    first, second, third = (later - earlier for earlier, later in itertools.pairwise(saves))
    assert first > second > third >= 10
    await process.close()


async def test_a_lock_whose_wait_is_cancelled_by_its_store_is_trouble(clock: FakeClock) -> None:
    """Somebody cancelled the task in which the lock was being entered: nobody is cancelled by it."""

    class Store(MemoryStore):
        def lock(self, key: str) -> Any:
            class Entering:
                async def __aenter__(self) -> None:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(0)

                async def __aexit__(self, *_: object) -> None:
                    raise AssertionError

            return Entering()

    process = manager(FakeProvider(clock=clock), Store(), clock)
    assert (await process.token()).value == "token-1"
    assert process.status().store == "lock: InterruptedError"


# The store's round trips


async def test_renewal_begins_earlier_where_the_store_is_slow(clock: FakeClock, store: CommandedStore) -> None:
    """A refresh takes five calls besides the token request: nobody waits for it at a lifetime of 5 s."""

    class Slow(CommandedStore):
        async def _answered(self, answer: Any, fault: str | None = None) -> Any:
            await clock.sleep(0.1)
            return await super()._answered(answer, fault)

    processes = [manager(FakeProvider(clock=clock, lifetime=5.0, latency=0.1), Slow(), clock) for _ in range(1)]
    (process,) = processes
    await during(clock, process.token(), seconds=0.05)
    for _ in range(200):
        await process.token()
        await clock.advance(0.05)
    assert process.status().waits == 1


async def test_a_rotated_refresh_token_is_watched_for_a_while(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """A failover may lose the last write: an entered manager looks each second for 15 s, and saves it again."""
    process = manager(rotating, store, clock)
    async with process:
        await process.token()
        await clock.advance(3000)
        before: dict[str, Token] = {}

        def look() -> None:
            before.update(store.tokens)

        rotating.latency = 1.0
        renewing = asyncio.ensure_future(process.refresh())
        await clock.advance(0.5)
        look()  # with the mark: the server has been asked
        await clock.advance(1.0)
        await renewing
        store.tokens = before
        assert store.entry.in_use_since is not None
        await clock.advance(1.5)
        healed = store.entry
        assert (healed.refresh_token, healed.in_use_since) == ("refresh-2", None)
        store.faults["load"] = "raise"
        await clock.advance(2.0)
        store.faults.clear()
        calls = len(store.calls)
        await clock.advance(5.0)
        assert 4 <= store.calls[calls:].count("load") <= 6
        await clock.advance(10.0)
        calls = len(store.calls)
        await clock.advance(300.0)
        assert len(store.calls) == calls


async def test_what_is_kept_on_another_loop_is_not_kept_twice(
    clock: FakeClock, store: CommandedStore, rotating: Rotating
) -> None:
    """Another loop saves it: a refresh on this one leaves that to it."""
    process = manager(rotating, store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    shared = engine_of(process).store_client
    assert shared is not None
    saving = shared.saving
    store.locked = False  # its lease has run out

    def elsewhere() -> None:
        async def lock() -> None:
            async with shared.locking() as wait:
                assert await wait.had_within(1.0) is not None

        asyncio.run(lock())

    await asyncio.to_thread(elsewhere)
    assert shared.saving is saving
    assert not store.locked
    store.faults.clear()
    await clock.advance(2.0)
    await process.close()


async def test_what_was_dropped_is_not_told_of_as_lost(
    clock: FakeClock, store: CommandedStore, rotating: Rotating, caplog: pytest.LogCaptureFixture
) -> None:
    """No answer came, and that can't be saved either: the entry's mark tells the others as much."""
    process = manager(rotating, store, clock)
    await process.token()
    await clock.advance(3600)
    rotating.latency = 1.0
    rotating.faults = [(LOST, True), *[(LOST, False)] * 9]
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(0.5)
    store.faults["save"] = "raise"
    await clock.advance(3.0)
    await during(clock, process.close())
    with pytest.raises(ManagerClosed):
        await waiting
    assert store.entry.in_use_since is not None
    assert "a refresh token is lost" not in caplog.text


@pytest.mark.parametrize("usable", [True, False])
def test_an_answer_that_came_as_its_loop_was_closed_is_held(
    clock: FakeClock, store: CommandedStore, *, usable: bool
) -> None:
    """Also that of an access token of no use: the refresh token that came with it is sent next."""
    rotating = Rotating(clock=clock, primary=False)
    process = manager(rotating, store, clock)
    asyncio.run(process.token())
    asyncio.run(clock.advance(3600))
    loop = asyncio.new_event_loop()
    rotating.lifetime = 3600.0 if usable else 0.0
    waiting = loop.create_task(process.token())
    flight = engine_of(process).flight
    while not (
        flight is not None
        and isinstance(work := flight.work, Refresh)
        and work.request is not None
        and work.request.answer is not None
    ):
        loop.run_until_complete(asyncio.sleep(0))
        flight = engine_of(process).flight
    close_under_its_tasks(loop)
    assert not waiting.done()
    store.locked = False
    rotating.lifetime = 3600.0
    assert asyncio.run(process.refresh()).value == "access-3"
    assert rotating.sent == [None, "refresh-1", "refresh-2"]


@pytest.mark.parametrize("saved", [True, False])
def test_closing_on_another_loop_ends_what_is_left_to_the_background(
    clock: FakeClock, store: CommandedStore, *, saved: bool
) -> None:
    """Watching and saving end as soon as their loop goes on, which gives the lock back that it has kept."""
    rotating = Rotating(clock=clock)
    process = manager(rotating, store, clock)
    one = asyncio.new_event_loop()

    async def rotate() -> None:
        await process.__aenter__()
        await process.token()
        rotating.latency = 1.0
        renewing = asyncio.ensure_future(process.refresh())
        await clock.advance(0.5)
        if not saved:
            store.faults["save"] = "raise"
        await clock.advance(2.0)
        await renewing

    one.run_until_complete(rotate())
    assert store.locked is not saved
    store.faults.clear()
    asyncio.run(process.close())
    for _ in range(20):
        one.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(one) == set()
    assert not store.locked
    assert store.entry.refresh_token == "refresh-2"
    one.close()
