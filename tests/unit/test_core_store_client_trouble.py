"""A store in trouble never fails a caller who could be served without it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import redis.asyncio
from core_kit import store_client_of
from cryptography.fernet import Fernet
from harness.canary import MARK
from harness.crash_reports import crash_report, family
from store_client_kit import CommandedStore, Rotating, Trouble, during, manager

from asyncauth import AuthError, LockTimeout, StoreError, Token
from asyncauth.stores import EncryptedStore, Entry, FileStore, MemoryStore, RedisStore
from asyncauth.testing import FakeClock, FakeProvider

FAULTS = ("raise", "raise at once", "hang", "garbage")
BEFORE = ("load", "lock", "delete")
"""The calls before a token is fetched: with a fault there it is not shared at all."""


@pytest.fixture
def store() -> CommandedStore:
    return CommandedStore()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ["load", "save", "lock", "unlock"])
async def test_no_trouble_fails_a_caller(clock: FakeClock, store: CommandedStore, call: str, fault: str) -> None:
    """Whatever any call does, a token is had within the store's time limit; and it is used again when it is back."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    store.faults[call] = fault
    assert (await during(clock, process.token(), most=20 if call == "lock" else 4)).value == "token-1"
    trouble = process.status().store or ""
    assert MARK not in trouble
    assert trouble.startswith((f"{call}: ", "another process held the lock for 15 s"))
    store.faults.clear()
    store.locked = False
    await clock.advance(3600)
    assert (await process.token()).value == "token-2"
    assert process.status().store == "ok"
    assert store.token is not None
    assert store.token.value == "token-2"
    await process.close()


async def test_a_lock_that_was_not_given_back_is_told_of(
    clock: FakeClock, store: CommandedStore, caplog: pytest.LogCaptureFixture
) -> None:
    """In status and log, until this process or another has had it again."""
    provider = FakeProvider(clock=clock)
    process, other = (manager(provider, store, clock) for _ in range(2))
    store.faults["unlock"] = "raise"
    await process.token()
    assert process.status().store == "unlock: Trouble"
    assert caplog.text.count("the token store fails, going on without it: unlock: Trouble") == 1
    store.faults.clear()
    await process.refresh()
    assert process.status().store == "ok"

    store.faults["unlock"] = "raise"
    await process.refresh()
    store.faults.clear()
    assert process.status().store == "unlock: Trouble"
    await other.refresh()
    await other.refresh()
    await process.refresh()  # taken over: no lock was taken here
    assert process.status().store == "ok"


async def test_a_save_that_failed_is_told_of_until_another_process_has_saved(
    clock: FakeClock, store: CommandedStore
) -> None:
    """It need not save again itself: where others always renew first, it never does."""
    provider = FakeProvider(clock=clock)
    process, other = (manager(provider, store, clock) for _ in range(2))
    store.faults["save"] = "raise"
    await process.token()
    assert process.status().store == "save: Trouble"
    store.faults.clear()
    await other.refresh()
    await process.refresh()  # taken over
    assert process.status().store == "ok"


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_trouble_with_a_refusal_fails_a_caller(clock: FakeClock, store: CommandedStore, fault: str) -> None:
    """A refused token that can't be taken out of the store is not taken in either."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    token = await process.token()
    store.faults["delete"] = fault
    process.invalidate(token)
    assert (await during(clock, process.token(), most=4)).value == "token-2"


async def test_a_refused_token_that_stayed_in_the_store_is_not_adopted_later(
    clock: FakeClock, store: CommandedStore
) -> None:
    """It could not be deleted, and has been replaced here: refresh() takes it for no news when the store is back."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    token = await process.token()
    store.faults["delete"] = "raise"
    process.invalidate(token)
    assert (await process.token()).value == "token-2"
    store.faults.clear()
    assert store.token is not None
    assert store.token.value == "token-1"
    assert (await process.refresh()).value == "token-3"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ["load", "save", "lock", "unlock", "delete"])
async def test_no_trouble_costs_a_rotating_refresh_token(
    clock: FakeClock, store: CommandedStore, call: str, fault: str
) -> None:
    """With trouble at any call, for a lifetime, in two processes: no refresh token is sent twice."""
    rotating = Rotating(clock=clock)
    processes = [manager(rotating, store, clock) for _ in range(2)]
    for round_ in range(5):
        if round_ == 1:
            store.faults[call] = fault
        if round_ == 3:
            store.faults.clear()
            store.locked = False
        await during(clock, asyncio.gather(*(each.token() for each in processes)), most=60)
        if call == "delete":
            for each in processes:
                each.invalidate(each.current or Token("none"))
        await clock.advance(3600)
    assert rotating.stolen == 0
    for each in processes:
        await each.close()


@pytest.mark.parametrize(("call", "seconds"), [("load", 1.0), ("save", 1.0)])
async def test_a_call_has_a_second(clock: FakeClock, store: CommandedStore, call: str, seconds: float) -> None:
    """Not less, and not much more."""
    process = manager(FakeProvider(clock=clock), store, clock)
    store.faults[call] = "hang"
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(seconds - 0.01)
    assert not waiting.done()
    await clock.advance(0.02)
    assert (await waiting).value == "token-1"
    await process.close()


async def test_the_first_failed_call_ends_its_part(clock: FakeClock, store: CommandedStore) -> None:
    """A store that hangs costs one second, not one per call."""
    process = manager(FakeProvider(clock=clock), store, clock)
    store.faults = dict.fromkeys(("load", "save", "delete", "lock", "unlock"), "hang")
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(1.01)
    assert (await waiting).value == "token-1"
    assert store.calls == ["load"]


async def test_while_the_token_is_usable_nobody_notices(clock: FakeClock, store: CommandedStore) -> None:
    """Stale: the renewal meets the trouble, no caller does."""
    process = manager(FakeProvider(clock=clock), store, clock)
    await process.token()
    store.faults["load"] = "hang"
    await clock.advance(2900)
    assert (await process.token()).value == "token-1"
    await clock.advance(1.5)
    assert (await process.token()).value == "token-2"
    assert process.status().waits == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ["load", "lock"])
async def test_strict_gives_the_error(clock: FakeClock, store: CommandedStore, call: str, fault: str) -> None:
    """For those who want it: a ``StoreError`` without the cause, no token request, and no token from elsewhere."""
    provider = FakeProvider(clock=clock)
    store.strict = True
    process = manager(provider, store, clock)
    store.faults[call] = fault
    with pytest.raises(StoreError) as caught:
        await during(clock, process.token(), most=60)
    assert MARK not in f"{caught.value!r} {caught.value}"
    assert MARK not in crash_report(caught.value)
    assert [*family(caught.value)] == [caught.value]
    assert isinstance(caught.value, AuthError)
    assert provider.calls == 0
    store.faults.clear()
    store.locked = False
    await clock.advance(60)
    assert (await process.token()).value == "token-1"


async def test_strict_gives_a_lock_timeout(clock: FakeClock, store: CommandedStore) -> None:
    """The lock is held by somebody else for as long as the refresh may take."""
    store.strict = store.locked = True
    process = manager(FakeProvider(clock=clock), store, clock)
    with pytest.raises(LockTimeout, match=r"another process held the lock for .*: look for a process that hangs"):
        await during(clock, process.token(), most=60)


async def test_strict_is_quiet_about_a_token_in_hand(clock: FakeClock, store: CommandedStore) -> None:
    """A save that fails does not withhold what was obtained."""
    store.strict = True
    process = manager(FakeProvider(clock=clock), store, clock)
    store.faults["save"] = "raise"
    assert (await process.token()).value == "token-1"
    await process.close()


async def test_one_line_a_minute(clock: FakeClock, store: CommandedStore, caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails; one more when it is back; at once again the next time."""
    caplog.set_level(logging.INFO, "asyncauth.store")
    process = manager(FakeProvider(clock=clock), store, clock)
    store.faults["load"] = "raise"

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "asyncauth.store"]

    for _ in range(60):
        await process.refresh()
        await clock.advance(1)
    assert lines() == ["fake: the token store fails, going on without it: load: Trouble"]
    await process.refresh()
    assert len(lines()) == 2
    store.faults.clear()
    await process.refresh()
    assert lines()[2:] == ["fake: the token store works again"]
    store.faults["load"] = "raise"
    await process.refresh()
    assert len(lines()) == 4
    assert MARK not in caplog.text


async def test_status_tells(clock: FakeClock, store: CommandedStore) -> None:
    """What the trouble is, by the call and the class of what it raised; ``None`` without a store."""
    process = manager(FakeProvider(clock=clock), store, clock)
    assert process.status().store == "ok"
    store.faults["lock"] = "raise"
    await process.token()
    assert process.status().store == "lock: Trouble"
    assert process.status().as_dict()["store"] == "lock: Trouble"
    assert manager(FakeProvider(), None, clock).status().store is None


async def test_a_store_that_works_is_seen_to_although_the_provider_does_not(
    clock: FakeClock, store: CommandedStore
) -> None:
    """The store's trouble is over when it serves, whatever the token endpoint says."""
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    store.faults["load"] = "raise"
    await process.token()
    store.faults.clear()
    provider.answers = [ValueError("down")]
    with pytest.raises(AuthError):
        await process.refresh()
    assert process.status().store == "ok"


async def test_a_token_without_a_refresh_token_is_not_saved_later(clock: FakeClock, store: CommandedStore) -> None:
    """Nothing is lost with it: no task is left in the background, and the next token is saved as ever."""
    before = asyncio.all_tasks()
    provider = FakeProvider(clock=clock)
    process = manager(provider, store, clock)
    store.faults["save"] = "raise"
    await process.token()
    assert asyncio.all_tasks() == before
    assert process.status().store == "save: Trouble"
    store.faults.clear()
    await clock.advance(3600)
    assert store.token is None
    await process.token()
    assert (await manager(provider, store, clock).token()).value == "token-2"
    assert process.status().store == "ok"


async def test_a_late_save_does_not_replace_a_later_token(clock: FakeClock, store: CommandedStore) -> None:
    """What another process has saved meanwhile stays."""
    process = manager(Rotating(clock=clock), store, clock)
    store.faults["save"] = "raise"
    await during(clock, process.token())
    await clock.advance(0.5)
    newer = Entry("newer", issued_at=clock.wall(), expires_at=clock.wall() + 3600, rotations=1)
    store.tokens[store_client_of(process).key] = newer
    store.faults.clear()
    await clock.advance(60)
    assert store.token == newer
    assert process.status().store == "ok"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("value", b"bytes", "value is bytes"),
        ("expires_at", "soon", "expires_at is str"),
        ("expires_at", float("inf"), "times are not finite"),
        ("expires_at", float("nan"), "times are not finite"),
        ("expires_at", True, "expires_at is bool"),
        ("issued_at", None, "issued_at is NoneType"),
        ("issued_at", "0", "issued_at is str"),
        ("issued_at", float("-inf"), "times are not finite"),
        ("token_type", None, "token_type is NoneType"),
        ("refresh_token", 7, "refresh_token is int"),
        ("scope", ["a"], "scope is list"),
    ],
)
async def test_a_token_of_wrong_types_is_trouble(
    clock: FakeClock, store: CommandedStore, field: str, value: Any, told: str
) -> None:
    """A store that brings back a token that is none never fails a caller; status() names the field and the type."""
    process = manager(FakeProvider(clock=clock), store, clock)
    times: dict[str, Any] = {"issued_at": clock.wall(), "expires_at": clock.wall() + 3600}
    wrong = Token(**{"value": "stored", **times, field: value})
    store.tokens[store_client_of(process).key] = wrong
    assert (await process.token()).value == "token-1"
    assert told in (process.status().store or "")
    await process.close()


async def test_what_cannot_be_entered_is_trouble(clock: FakeClock) -> None:
    """A store is entered for each refresh, and left; trouble with either fails nobody."""

    class Entered(MemoryStore):
        entered = 0

        async def __aenter__(self) -> Any:
            self.entered += 1
            if self.entered == 2:
                raise Trouble

        async def __aexit__(self, *args: object) -> None:
            self.entered -= 1
            raise Trouble

    store = Entered()
    process = manager(FakeProvider(clock=clock), store, clock)
    assert (await process.token()).value == "token-1"
    assert (store.entered, process.status().store) == (0, "ok")
    store.entered = 1
    assert (await process.refresh()).value == "token-2"
    assert process.status().store == "open: Trouble"


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 1.5])
async def test_closing_during_trouble_leaves_nothing(clock: FakeClock, store: CommandedStore, seconds: float) -> None:
    """No task and no lock, at whatever moment."""
    before = asyncio.all_tasks()
    store.faults["save"] = "hang"
    process = manager(FakeProvider(clock=clock), store, clock)
    waiting = asyncio.ensure_future(process.token())
    await clock.advance(seconds)
    closing = asyncio.ensure_future(process.close())
    await clock.advance(3)
    await closing
    await asyncio.wait((waiting,))
    assert asyncio.all_tasks() == before
    assert not store.locked


@pytest.mark.parametrize(
    ("place", "told"),
    [("redis://tokens:6379/0", "redis://tokens:6379/0: load: Trouble"), (7, "load: Trouble"), (None, "load: Trouble")],
)
async def test_a_store_that_says_where_it_is_is_told_by_that(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, place: Any, told: str
) -> None:
    """In the log, before what went wrong."""

    class Placed(CommandedStore):
        @property
        def place(self) -> Any:
            if place is None:
                raise Trouble
            return place

    store = Placed()
    process = manager(FakeProvider(clock=clock), store, clock)
    store.faults["load"] = "raise"
    await process.token()
    assert process.status().store == "load: Trouble"
    assert f"the token store fails, going on without it: {told}" in caplog.text


@pytest.mark.parametrize(
    ("store", "place"),
    [
        (RedisStore(f"redis://me:{MARK}@tokens:6380/3?password={MARK}"), "redis://tokens:6380/3"),
        (RedisStore("rediss://tokens"), "rediss://tokens"),
        (RedisStore(f"redis://tokens/{MARK}@elsewhere"), "redis://tokens"),
        (RedisStore(f"unix://:{MARK}@/run/redis.sock?db=1"), "unix:///run/redis.sock"),
        (EncryptedStore(RedisStore("redis://[::1]/0"), Fernet.generate_key()), "redis://[::1]/0"),
        (EncryptedStore(MemoryStore(), Fernet.generate_key()), None),
        (FileStore("/var/lib/shop/tokens"), "/var/lib/shop/tokens"),
    ],
)
def test_our_stores_say_where_they_are(store: Any, place: str | None) -> None:
    """Without user, password and query."""
    assert store.place == place


async def test_a_stores_client_is_named_by_its_type() -> None:
    """Its address is its own affair."""
    client = redis.asyncio.Redis()
    assert RedisStore(client).place == "Redis"
    await client.aclose()
