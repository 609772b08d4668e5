"""What a manager saves of an entry, keeps of it, and tries again: without the manager."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from store_client_kit import CommandedStore, silent

from asyncauth._core.store_client import StoreClient
from asyncauth.entry import Entry
from asyncauth.testing import FakeClock

LOCKED: Any = SimpleNamespace(lost=False)


@pytest.fixture
def store() -> CommandedStore:
    return CommandedStore()


@pytest.fixture
def client(clock: FakeClock, store: CommandedStore) -> StoreClient:
    whatever: Any = store
    return StoreClient(whatever, "account", clock, 1.0, silent(clock))


def entry(
    clock: FakeClock, *, refresh_token: str | None = "refresh-1", rotations: int = 1, left: float = 3600
) -> Entry:
    now = clock.wall()
    return Entry(
        "access-1", issued_at=now - 60, expires_at=now + left, refresh_token=refresh_token, rotations=rotations
    )


@pytest.mark.parametrize(("left", "kept"), [(0.5, True), (0.0, False), (-1.0, False)])
async def test_an_expired_token_stays_expired_while_its_refresh_token_is_sent(
    client: StoreClient, store: CommandedStore, clock: FakeClock, left: float, *, kept: bool
) -> None:
    """Even if the wall clock is set back; what has any time left keeps it."""
    used = entry(clock, left=left)
    await client.use(used)
    assert store.entry.expires_at == (used.expires_at if kept else used.issued_at)


@pytest.mark.parametrize(
    ("refresh_token", "rotations", "held"),
    [(None, 0, False), (None, 1, True), ("refresh-1", 0, True), ("refresh-1", 1, True)],
)
async def test_what_is_held_of_a_saved_token(
    client: StoreClient, clock: FakeClock, refresh_token: str | None, rotations: int, *, held: bool
) -> None:
    """An entry that has, or had, a refresh token: any other token is obtained anew."""
    await client.save(entry(clock, refresh_token=refresh_token, rotations=rotations), lock_handle=LOCKED)
    assert (client.known.held is not None) is held


@pytest.mark.parametrize("marked", [True, False])
async def test_a_try_without_a_token_is_held_if_it_had_marked_the_entry(
    client: StoreClient, clock: FakeClock, *, marked: bool
) -> None:
    """Else it has sent nothing that counts."""
    if marked:
        await client.use(entry(clock))
        client.known.held = None
    await client.settle(entry(clock), lock_handle=LOCKED)
    assert (client.known.held is not None) is marked


async def test_a_save_is_tried_again_after_a_tenth_of_a_second(
    client: StoreClient, store: CommandedStore, clock: FakeClock
) -> None:
    """A rotated refresh token is worth it."""
    store.faults["save"] = "raise"
    saving = asyncio.create_task(client.save(entry(clock), lock_handle=LOCKED))
    await clock.advance(0.09)
    assert store.calls == ["save"]
    await clock.advance(0.01)
    assert store.calls == ["save", "save"]
    store.faults.clear()
    await clock.advance(0.1)
    await saving
    assert not client.known.unsaved


async def test_a_caller_waits_for_three_saves(client: StoreClient, store: CommandedStore, clock: FakeClock) -> None:
    """Then the background goes on with them."""
    store.faults["save"] = "raise"
    saving = asyncio.create_task(client.save(entry(clock), lock_handle=LOCKED))
    await clock.advance(60.0)
    await saving
    assert store.calls == ["save"] * 3


async def test_saves_in_the_background_become_rarer(
    client: StoreClient, store: CommandedStore, clock: FakeClock
) -> None:
    """From three a second to two a minute."""
    client.known.hold(entry(clock))
    store.faults["save"] = "raise"
    async with client.locking():
        pass
    await clock.advance(0.25)
    assert "save" not in store.calls
    await clock.advance(0.0625)
    assert store.calls.count("save") == 1
    await clock.advance(2000.0)
    earlier = store.calls.count("save")
    while store.calls.count("save") == earlier:
        await clock.advance(0.25)
    store.calls.clear()
    await clock.advance(29.5)
    assert "save" not in store.calls
    await clock.advance(0.5)
    assert store.calls.count("save") == 1
    store.faults.clear()
    await client.close()
    assert not client.known.unsaved


async def test_a_rejected_credential_is_told_by_four_digits(client: StoreClient) -> None:
    """Enough to tell it from another, and too few to help anyone guess it."""
    assert len(client.mark_of("secret")) == 4
    assert client.mark_of("secret") != client.mark_of("another")


async def test_what_is_saved_is_not_saved_again(client: StoreClient, store: CommandedStore, clock: FakeClock) -> None:
    """A save that is due later looks first whether it is still needed."""
    await client.save(entry(clock), lock_handle=LOCKED)
    store.calls.clear()
    await client.save_again()
    assert store.calls == ["load"]
    client.known.hold(attrs.evolve(entry(clock), rotations=2))
    await client.save_again()
    assert store.calls == ["load", "load", "save"]
    assert not client.save_due


async def test_a_save_that_fails_again_is_due_later(
    client: StoreClient, store: CommandedStore, clock: FakeClock
) -> None:
    """Not at once, and not never."""
    client.known.hold(entry(clock))
    store.faults["save"] = "raise"
    assert not client.save_due
    await client.save_again()
    assert (client.save_due, client.calls.trouble) == (False, "save: Trouble")
    await clock.advance(1.5)
    assert not client.save_due
    await clock.advance(0.5)
    assert client.save_due


async def test_a_failed_save_is_over_once_the_store_has_something_new(
    client: StoreClient, store: CommandedStore, clock: FakeClock
) -> None:
    """Reading once more what was there before says nothing of saves."""
    await client.load()
    client.calls.failing = True
    await client.load()
    assert client.calls.failing
    other = entry(clock, refresh_token=None, rotations=0)
    store.tokens[client.key] = other
    await client.load()
    assert not client.calls.failing


async def test_what_was_saved_is_watched_for_fifteen_seconds(
    client: StoreClient, store: CommandedStore, clock: FakeClock
) -> None:
    """With one look a second."""
    client.watch()
    async with client.locking():
        pass
    await clock.advance(60.0)
    assert store.calls == ["load"] * 15


@pytest.mark.parametrize("forgotten", [False, True])
async def test_what_was_deleted_is_not_watched(client: StoreClient, clock: FakeClock, *, forgotten: bool) -> None:
    """A rotated refresh token is looked at for a while, unless it was taken out of the store."""
    await client.save(entry(clock), lock_handle=LOCKED)
    client.watch()
    if forgotten:
        await client.forget(await client.load())
    async with client.locking() as wait:
        assert wait is not None
    assert (client.saving is None) is forgotten
    await client.close()


@pytest.mark.parametrize(("refresh_token", "told"), [("refresh-2", 1), (None, 0)])
async def test_only_a_refresh_token_is_told_of_as_unsaved(
    client: StoreClient,
    store: CommandedStore,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    *,
    refresh_token: str | None,
    told: int,
) -> None:
    """An entry without one can be unsaved, too: nothing would be lost with it."""
    store.faults["save"] = "raise"
    saving = asyncio.create_task(
        client.save(entry(clock, refresh_token=refresh_token, rotations=2), lock_handle=LOCKED)
    )
    await clock.advance(5.0)
    await saving
    assert client.known.unsaved
    assert len([each for each in caplog.records if "refresh token" in each.getMessage()]) == told
