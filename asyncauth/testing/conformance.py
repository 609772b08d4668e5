"""A test suite for token stores: anyone's can run it."""

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
"""Seconds in which whatever can happen at once has happened."""
_LIMIT = 20.0
"""Seconds that one test may take."""


class StoreConformance:
    """What a manager relies on in a `TokenStore`, as tests that pytest collects in a subclass.

    ::

        class TestMyStore(StoreConformance):
            def make_stores(self):
                folder = tempfile.mkdtemp()
                return MyStore(folder), MyStore(folder)

    ``make_stores`` is called once a test. It returns two stores on one backing that is empty, as two processes would
    have them; for a store within one process the same object twice. A pytest fixture of the subclass can put what it
    needs on ``self`` before.

    The tests are plain methods, each with an event loop of its own, and need nothing but pytest. They take a few
    seconds in all. A store that can be entered is entered around each test, as a manager does.
    """

    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        """Return two stores on one backing, which is empty."""
        raise NotImplementedError

    # What is kept

    def test_what_was_never_saved_is_absent(self) -> None:
        """Nothing is found under a key that nothing was saved under, and deleting it does not fail."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            assert await one.load(_KEY) is None
            await one.delete(_KEY, _token())
            assert await two.load(_KEY) is None

        self._run(test)

    def test_the_other_process_finds_what_one_saved(self) -> None:
        """A token comes back whole, extras included."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token(
                token_type="DPoP",
                refresh_token="refresh me",
                scope="a b",
                extra={"ñ": ["ü", 1, 2.5, None, {"x": True}]},
            )
            await one.save(_KEY, token)
            _same(await two.load(_KEY), token)

        self._run(test)

    def test_an_entry_comes_back_whole(self) -> None:
        """What processes tell each other through an entry, besides the token, comes back with it."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entry = attrs.evolve(
                Entry.of(_token(refresh_token="refresh me")),
                rotations=3,
                in_use_since=time.time() - 0.5,
                rejections=(_rejection(),),
            )
            await one.save(_KEY, entry)
            _same(await two.load(_KEY), entry)

        self._run(test)

    def test_a_rejection_without_a_token_is_kept(self) -> None:
        """An entry that holds no token at all, but that a credential was rejected, and that nobody takes for one."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("before"))
            entry = Entry.without_token(rejections=(_rejection(),), now=time.time())
            await one.save(_KEY, entry)
            stored = await two.load(_KEY)
            _same(stored, entry)
            _is_spent(stored, refresh_token=None)
            await two.save(_KEY, _token("after"))
            _same(await one.load(_KEY), _token("after"))

        self._run(test)

    def test_times_are_preserved(self) -> None:
        """A token's age is preserved: reading adds no more than the time it takes."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token(expires_in=3600.25, age=100.5)
            await one.save(_KEY, token)
            stored = await two.load(_KEY)
            assert stored is not None
            assert token.issued_at - 1 <= stored.issued_at <= token.issued_at
            assert stored.lifetime is not None
            assert abs(stored.lifetime - 3600.25) < 0.01  # noqa: PLR2004

        self._run(test)

    def test_an_unknown_lifetime_stays_unknown(self) -> None:
        """``expires_at=None`` comes back as ``None``."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token(expires_in=None))
            stored = await two.load(_KEY)
            assert stored is not None
            assert stored.expires_at is None

        self._run(test)

    def test_a_later_save_replaces_an_earlier_one(self) -> None:
        """The last one saved is the one that is found."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("first", refresh_token="refresh-first"))
            await two.save(_KEY, _token("second"))
            stored = await one.load(_KEY)
            assert stored is not None
            assert (stored.value, stored.refresh_token) == ("second", None)

        self._run(test)

    def test_a_spent_token_replaces_one_that_was_not(self) -> None:
        """Saving a token that has nothing left leaves nothing usable, and no refresh token, of what it replaces."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("first", refresh_token="refresh-first"))
            issued_at = time.time() - 1
            await one.save(_KEY, Token("first", issued_at=issued_at, expires_at=issued_at))
            _is_spent(await two.load(_KEY), refresh_token=None)

        self._run(test)

    def test_keys_are_independent(self) -> None:
        """What is saved or deleted under one key touches no other."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("mine"))
            await one.save(_OTHER, _token("theirs"))
            await one.delete(_KEY, _token("mine"))
            stored = await two.load(_OTHER)
            assert stored is not None
            assert stored.value == "theirs"
            assert await two.load(_KEY) is None

        self._run(test)

    def test_a_large_token_is_kept(self) -> None:
        """100 kB, as from a server that puts all its claims into a JWT."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token("x" * 100_000)
            await one.save(_KEY, token)
            _same(await two.load(_KEY), token)

        self._run(test)

    # Compare and delete

    def test_a_refused_token_is_deleted(self) -> None:
        """An entry of that very value goes, whatever the copy's times are."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("refused"))
            await two.delete(_KEY, _token("refused", expires_in=None, age=7))
            assert await one.load(_KEY) is None

        self._run(test)

    def test_a_late_refusal_leaves_the_new_token(self) -> None:
        """Deleting a token does nothing when another has taken its place."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            await one.save(_KEY, _token("old"))
            new = _token("new", refresh_token="refresh-new")
            await two.save(_KEY, new)
            await one.delete(_KEY, _token("old"))
            _same(await one.load(_KEY), new)

        self._run(test)

    def test_a_refused_token_leaves_its_refresh_token(self) -> None:
        """An entry with a refresh token stays for its sake, with an access token that is spent."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            token = _token("refused", refresh_token="still good")
            await one.save(_KEY, token)
            await two.delete(_KEY, attrs.evolve(token, refresh_token=None))
            for _ in range(2):
                _is_spent(await one.load(_KEY), refresh_token="still good")
                await one.delete(_KEY, token)  # once more changes nothing
            await one.save(_KEY, _token("new"))
            stored = await two.load(_KEY)
            assert stored is not None
            assert stored.value == "new"

        self._run(test)

    def test_a_refused_token_leaves_the_rejection(self) -> None:
        """An entry that remembers a rejected credential stays for its sake, with an access token that is spent."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entry = attrs.evolve(Entry.of(_token("refused")), rejections=(_rejection(),))
            await one.save(_KEY, entry)
            await two.delete(_KEY, _token("refused"))
            stored = await one.load(_KEY)
            _is_spent(stored, refresh_token=None)
            assert isinstance(stored, Entry)
            assert [each.digest for each in stored.rejections] == [each.digest for each in entry.rejections]

        self._run(test)

    # The lock

    def test_one_at_a_time_holds_the_lock(self) -> None:
        """Of many tasks of both processes one is inside at a time, and each has its turn."""

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

        self._run(test)

    def test_locks_of_other_keys_are_free(self) -> None:
        """One key's lock keeps nobody from another's."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                assert await _takes(two, _OTHER)

        self._run(test)

    def test_an_exception_releases_the_lock(self) -> None:
        """It passes unchanged, and the lock is free."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            error = KeyError("mine")
            try:
                async with one.lock(_KEY):
                    raise error
            except KeyError as caught:
                assert caught is error  # noqa: PT017 (no pytest at import)
            assert await _takes(two, _KEY)

        self._run(test)

    def test_a_cancelled_holder_releases_the_lock(self) -> None:
        """A task that is cancelled inside leaves the lock free."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            entered = asyncio.Event()
            holder = asyncio.ensure_future(_hold(one, entered))
            await entered.wait()
            assert not await _takes(two, _KEY, within=_SOON)
            await _cancel(holder)
            assert await _takes(two, _KEY)

        self._run(test)

    def test_a_cancelled_waiter_leaves_the_lock_alone(self) -> None:
        """A task that is cancelled while it waits neither has the lock afterwards nor takes it from its holder."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                waiters = [asyncio.ensure_future(_hold(store, asyncio.Event())) for store in (one, two)]
                await asyncio.sleep(_SOON / 3)
                for waiter in waiters:
                    await _cancel(waiter)
                assert not await _takes(two, _KEY, within=_SOON)
            assert await _takes(two, _KEY)
            assert await _takes(one, _KEY)

        self._run(test)

    def test_a_waiter_that_is_cancelled_at_any_moment_leaves_the_lock_free(self) -> None:
        """Also in the very moment in which it gets the lock."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            for turns in range(12):
                waiter = asyncio.ensure_future(_hold(one, asyncio.Event()))
                for _ in range(turns):
                    await asyncio.sleep(0.0005 if turns % 2 else 0)
                await _cancel(waiter)
            assert await _takes(two, _KEY)

        self._run(test)

    def test_a_held_lock_is_not_lost(self) -> None:
        """What entering gives says so, if it says anything."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY) as lease:
                assert not getattr(lease, "lost", False)

        self._run(test)

    def test_the_holder_can_use_the_store(self) -> None:
        """Loading, saving and deleting work inside the lock, for others as well."""

        async def test(one: TokenStore, two: TokenStore) -> None:
            async with one.lock(_KEY):
                await one.save(_KEY, _token("inside"))
                _same(await two.load(_KEY), _token("inside"))
                await two.delete(_KEY, _token("inside"))
                assert await one.load(_KEY) is None

        self._run(test)

    # Its use by managers

    def test_it_serves_one_loop_after_another(self) -> None:
        """One store, used from one ``asyncio.run()`` after another, works in each."""
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

        self._run(test)

    def _run(self, test: Callable[[TokenStore, TokenStore], Coroutine[Any, Any, None]]) -> None:
        one, two = self.make_stores()

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
    """Check that a token came back; its times are another test's."""
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
    """Return whether the lock can be had within some seconds; it is given back."""

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
