"""A test suite for token stores, for users' own stores, too."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import attrs

from asyncauth.entry import Entry, Rejection
from asyncauth.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asyncauth.stores.base import TokenStore

__all__ = ["StoreConformance"]

_KEY, _OTHER = "0" * 63 + "a", "0" * 63 + "b"
_SOON = 0.3
"""Seconds after which anything that can happen at once has happened."""
_LIMIT = 20.0
"""Seconds that one test may take."""


class StoreConformance:
    """The behaviour that a manager relies on in a `TokenStore`, as tests that pytest collects in a subclass.

    ::

        class TestMyStore(StoreConformance):
            def make_stores(self):
                folder = tempfile.mkdtemp()
                return MyStore(folder), MyStore(folder)

    Each test calls ``make_stores`` once. It returns two stores on one empty backing, as two processes would have them;
    for a store within one process, the same object twice. A pytest fixture of the subclass can set attributes on
    ``self`` before.

    The tests are plain methods that need only pytest. Each runs its own event loop; all of them take a few seconds. A
    store that can be entered is entered around each test, as a manager does.
    """

    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        """Return two stores on one empty backing."""
        raise NotImplementedError

    # What a store keeps

    def test_what_was_never_saved_is_absent(self) -> None:
        """A key that no token was saved under is absent, and deleting it does not fail."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            assert await one.load(_KEY) is None
            await one.delete(_KEY, _token())
            assert await two.load(_KEY) is None

        _run(self, test)

    def test_the_other_process_finds_what_one_saved(self) -> None:
        """A token comes back complete, with its extras."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token(
                token_type="DPoP",
                refresh_token="refresh me",
                scope="a b",
                extra={"ñ": ["ü", 1, 2.5, None, {"x": True}]},
            )
            await one.save(_KEY, token)
            _same(await two.load(_KEY), token)

        _run(self, test)

    def test_an_entry_comes_back_whole(self) -> None:
        """The other fields of an entry, which processes tell each other, come back with the token."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entry = attrs.evolve(
                Entry.of(_token(refresh_token="refresh me")),
                rotations=3,
                in_use_since=time.time() - 0.5,
                rejections=(_rejection(),),
            )
            await one.save(_KEY, entry)
            _same(await two.load(_KEY), entry)

        _run(self, test)

    def test_a_rejection_without_a_token_is_kept(self) -> None:
        """An entry that holds only a rejection is kept, and its empty token is not used."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("before"))
            entry = Entry.without_token(rejections=(_rejection(),), now=time.time())
            await one.save(_KEY, entry)
            stored = await two.load(_KEY)
            _same(stored, entry)
            _is_spent(stored, refresh_token=None)
            await two.save(_KEY, _token("after"))
            _same(await one.load(_KEY), _token("after"))

        _run(self, test)

    def test_times_are_preserved(self) -> None:
        """A token's age is preserved: reading adds at most the time that it takes."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token(expires_in=3600.25, age=100.5)
            await one.save(_KEY, token)
            stored = await two.load(_KEY)
            assert stored is not None
            assert token.issued_at - 1 <= stored.issued_at <= token.issued_at
            assert stored.lifetime is not None
            assert abs(stored.lifetime - 3600.25) < 0.01  # noqa: PLR2004

        _run(self, test)

    def test_an_unknown_lifetime_stays_unknown(self) -> None:
        """``expires_at=None`` comes back as ``None``."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token(expires_in=None))
            stored = await two.load(_KEY)
            assert stored is not None
            assert stored.expires_at is None

        _run(self, test)

    def test_a_later_save_replaces_an_earlier_one(self) -> None:
        """The last token saved is the one that is found."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("first", refresh_token="refresh-first"))
            await two.save(_KEY, _token("second"))
            stored = await one.load(_KEY)
            assert stored is not None
            assert (stored.value, stored.refresh_token) == ("second", None)

        _run(self, test)

    def test_a_spent_token_replaces_one_that_was_not(self) -> None:
        """After a spent token is saved, neither a usable token nor a refresh token of the earlier entry is left."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("first", refresh_token="refresh-first"))
            issued_at = time.time() - 1
            await one.save(_KEY, Token("first", issued_at=issued_at, expires_at=issued_at))
            _is_spent(await two.load(_KEY), refresh_token=None)

        _run(self, test)

    def test_keys_are_independent(self) -> None:
        """Saving or deleting under one key changes no other key."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("mine"))
            await one.save(_OTHER, _token("theirs"))
            await one.delete(_KEY, _token("mine"))
            stored = await two.load(_OTHER)
            assert stored is not None
            assert stored.value == "theirs"
            assert await two.load(_KEY) is None

        _run(self, test)

    def test_a_large_token_is_kept(self) -> None:
        """A token of 100 kB is kept, as from a server that puts all its claims into a JWT."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token("x" * 100_000)
            await one.save(_KEY, token)
            _same(await two.load(_KEY), token)

        _run(self, test)

    # Compare and delete

    def test_a_refused_token_is_deleted(self) -> None:
        """An entry with the same value is deleted, even if the times differ."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("refused"))
            await two.delete(_KEY, _token("refused", expires_in=None, age=7))
            assert await one.load(_KEY) is None

        _run(self, test)

    def test_a_late_refusal_leaves_the_new_token(self) -> None:
        """Deleting a token does nothing if another one has replaced it."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("old"))
            new = _token("new", refresh_token="refresh-new")
            await two.save(_KEY, new)
            await one.delete(_KEY, _token("old"))
            _same(await one.load(_KEY), new)

        _run(self, test)

    def test_a_refused_token_leaves_its_refresh_token(self) -> None:
        """An entry with a refresh token is kept, with an access token that is spent."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token("refused", refresh_token="still good")
            await one.save(_KEY, token)
            await two.delete(_KEY, attrs.evolve(token, refresh_token=None))
            for _ in range(2):
                _is_spent(await one.load(_KEY), refresh_token="still good")
                await one.delete(_KEY, token)  # a second time changes nothing
            await one.save(_KEY, _token("new"))
            stored = await two.load(_KEY)
            assert stored is not None
            assert stored.value == "new"

        _run(self, test)

    def test_a_refused_token_leaves_the_rejection(self) -> None:
        """An entry with a rejected credential is kept, with an access token that is spent."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entry = attrs.evolve(Entry.of(_token("refused")), rejections=(_rejection(),))
            await one.save(_KEY, entry)
            await two.delete(_KEY, _token("refused"))
            stored = await one.load(_KEY)
            _is_spent(stored, refresh_token=None)
            assert isinstance(stored, Entry)
            assert [each.digest for each in stored.rejections] == [each.digest for each in entry.rejections]

        _run(self, test)

    # The lock

    def test_one_at_a_time_holds_the_lock(self) -> None:
        """Of many tasks in both processes, one at a time holds the lock, and each gets it once."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            inside, most, turns = 0, 0, 0

            async def work(store: TokenStore) -> None:
                nonlocal inside, most, turns
                async with store.lock(_KEY):
                    inside += 1
                    most, turns = max(most, inside), turns + 1
                    await asyncio.sleep(0.01)
                    inside -= 1

            await asyncio.gather(*(work(store) for store in (one, two) * 4))
            assert (most, turns) == (1, 8)

        _run(self, test)

    def test_locks_of_other_keys_are_free(self) -> None:
        """One key's lock does not block another key's."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                assert await _takes(two, _OTHER)

        _run(self, test)

    def test_an_exception_releases_the_lock(self) -> None:
        """The exception is raised unchanged, and the lock is free."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            error = KeyError("mine")
            try:
                async with one.lock(_KEY):
                    raise error
            except KeyError as caught:
                assert caught is error  # noqa: PT017 (pytest is not imported here)
            assert await _takes(two, _KEY)

        _run(self, test)

    def test_a_cancelled_holder_releases_the_lock(self) -> None:
        """A task that is cancelled inside leaves the lock free."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entered = asyncio.Event()
            holder = asyncio.ensure_future(_hold(one, entered))
            await entered.wait()
            assert not await _takes(two, _KEY, within=_SOON)
            await _cancel(holder)
            assert await _takes(two, _KEY)

        _run(self, test)

    def test_a_cancelled_waiter_leaves_the_lock_alone(self) -> None:
        """A task that is cancelled while it waits does not hold the lock, and the holder keeps it."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                waiters = [asyncio.ensure_future(_hold(store, asyncio.Event())) for store in (one, two)]
                await asyncio.sleep(_SOON / 3)
                for waiter in waiters:
                    await _cancel(waiter)
                assert not await _takes(two, _KEY, within=_SOON)
            assert await _takes(two, _KEY)
            assert await _takes(one, _KEY)

        _run(self, test)

    def test_a_waiter_that_is_cancelled_at_any_moment_leaves_the_lock_free(self) -> None:
        """The lock is free even if the waiter is cancelled just when it gets the lock."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            for turns in range(12):
                waiter = asyncio.ensure_future(_hold(one, asyncio.Event()))
                for _ in range(turns):
                    await asyncio.sleep(0.0005 if turns % 2 else 0)
                await _cancel(waiter)
            assert await _takes(two, _KEY)

        _run(self, test)

    def test_a_held_lock_is_not_lost(self) -> None:
        """If entering returns a lease, the lease is not lost."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY) as lease:
                assert not getattr(lease, "lost", False)

        _run(self, test)

    def test_the_holder_can_use_the_store(self) -> None:
        """Loading, saving and deleting work while the lock is held, for others, too."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                await one.save(_KEY, _token("inside"))
                _same(await two.load(_KEY), _token("inside"))
                await two.delete(_KEY, _token("inside"))
                assert await one.load(_KEY) is None

        _run(self, test)

    # How managers use it

    def test_it_serves_one_loop_after_another(self) -> None:
        """One store works in one ``asyncio.run()`` after another."""
        one, two = self.make_stores()

        async def save() -> None:
            async with _opened(one), one.lock(_KEY):
                await one.save(_KEY, _token("kept"))

        async def load() -> None:
            async with _opened(two), two.lock(_KEY):
                stored = await two.load(_KEY)
            assert stored is not None
            assert stored.value == "kept"

        asyncio.run(asyncio.wait_for(save(), _LIMIT))
        asyncio.run(asyncio.wait_for(load(), _LIMIT))

    def test_nothing_shows_a_token(self) -> None:
        """The store's repr shows no token."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("s3cret-access", refresh_token="s3cret-refresh"))
            assert "s3cret" not in f"{one!r} {one} {two!r}"

        _run(self, test)


def _run(suite: StoreConformance, test: Callable[[TokenStore, TokenStore], Coroutine[Any, Any, None]]) -> None:
    one, two = suite.make_stores()

    async def run() -> None:
        async with _opened(one), _opened(two):
            await test(one, two)

    asyncio.run(asyncio.wait_for(run(), _LIMIT))


def _token(value: str = "token", *, expires_in: float | None = 3600.0, age: float = 0.0, **fields: Any) -> Token:
    issued_at = time.time() - age
    return Token(
        value, issued_at=issued_at, expires_at=None if expires_in is None else issued_at + expires_in, **fields
    )


def _same(stored: Token | None, token: Token) -> None:
    """Check that a token came back. Other tests check its times."""
    assert stored is not None
    assert _timeless(stored) == _timeless(token)


def _timeless(token: Token) -> Entry:
    entry = Entry.of(token)
    rejections = tuple(attrs.evolve(each, until=0) for each in entry.rejections)
    return attrs.evolve(entry, issued_at=0, expires_at=0, rejections=rejections)


def _rejection() -> Rejection:
    return Rejection(digest="abcd", until=time.time() + 60, times=2)


def _is_spent(stored: Token | None, *, refresh_token: str | None) -> None:
    if stored is None:
        assert refresh_token is None
        return
    assert stored.expires_at is not None
    assert stored.expires_at <= max(stored.issued_at, time.time())
    assert stored.refresh_token == refresh_token


def _opened(store: Any) -> AbstractAsyncContextManager[Any]:
    return store if hasattr(store, "__aenter__") else contextlib.nullcontext(store)


async def _takes(store: TokenStore, key: str, *, within: float = 5.0) -> bool:
    """Return whether the lock can be taken within some seconds; it is released again."""

    async def take() -> None:
        async with store.lock(key):
            pass

    try:
        await asyncio.wait_for(take(), within)
    except TimeoutError:
        return False
    return True


async def _hold(store: TokenStore, entered: asyncio.Event) -> None:
    async with store.lock(_KEY):
        entered.set()
        await asyncio.sleep(_LIMIT)


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
