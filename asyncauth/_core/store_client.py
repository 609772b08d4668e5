"""A manager's access to a store that it shares with other processes.

Every call has a time limit. After the first call that fails (`StoreTrouble`), the refresh continues without the store,
or waits for the store if it needs it. Later refreshes use the store again.

**A refresh token is sent by one process at a time.** Before it is sent, the entry is marked under the lock as being in
use (`StoreClient.use`). The lock is kept for as long as the outcome is not saved: a task saves it in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
from typing import TYPE_CHECKING

import attrs

from asyncauth._base.forks import at_fork, leave_to_parent
from asyncauth._base.loops import call_soon
from asyncauth._core.known_entry import SENDING, KnownEntry
from asyncauth._core.short_loop import note_unfinished
from asyncauth._core.store_calls import StoreCalls
from asyncauth._core.store_lock import LockHandle, LockWait
from asyncauth._core.store_trouble import StoreTrouble
from asyncauth.entry import Entry, is_later
from asyncauth.expiry import left_of
from asyncauth.provider import key_of
from asyncauth.token import SEALED, Token, type_flaw

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncauth._core.emitter import Emitter
    from asyncauth._core.sessions import Sessions
    from asyncauth.clock import Clock
    from asyncauth.stores.base import TokenStore

__all__ = ["StoreClient"]

_SAVES = 3
"""How many times a save is tried before a background task takes over."""
_SAVE_AGAIN = 0.3
"""Seconds between the first saves in the background: others wait for what is saved."""
_SAVE_LATER = 2.0
"""Seconds after which the next caller tries a save again that ended with its event loop."""
_LONGEST_PAUSE = 30.0
_PAUSE_SHARE = 0.02
"""The pause between saves in the background, as a part of the time for which they have failed."""
_MARK_DIGITS = 4
"""Hex digits of a rejected credential's digest that are stored.

They are too few to help anyone guess the credential: one in 65,536 guesses matches by chance. Equally rarely, a changed
credential is mistaken for the rejected one, and is sent only after its cool-down.
"""
_WATCH = 15.0
"""Seconds for which a process checks that a refresh token that it has saved stays in the store."""
_LOOK_EVERY = 1.0


class StoreClient:
    """One manager's entry in a store.

    Args:
        store: The store.
        identity: The provider's identity, from which the entry's key is made: no other account has the same key.
        clock: The manager's clock.
        time_limit: Seconds that a call to the store may take.
        emitter: The emitter for its events.

    Attributes:
        store: As given.
        clock: As given.
        calls: The calls to the store, and its trouble.
        known: What this process knows of the entry.
        key: The entry's key.
        saving: The background task that saves an unsaved entry.
    """

    __slots__ = ("__weakref__", "_kept", "_retry_at", "_watch_until", "calls", "clock", "key", "known", "saving",
                 "store")  # fmt: skip

    def __init__(self, store: TokenStore, identity: str, clock: Clock, time_limit: float, emitter: Emitter) -> None:
        self.store = store
        self.key = key_of(identity)
        self.clock = clock
        self.calls = StoreCalls(store, clock, time_limit, emitter)
        self.known = KnownEntry(clock)
        self.saving: asyncio.Task[None] | None = None
        self._kept: LockHandle | None = None  # while something is unsaved
        self._watch_until = -math.inf
        self._retry_at = math.inf  # when a save is due that ended with its loop

    def _after_fork(self) -> None:
        """Leave to the parent process the lock that it holds, and its mark."""
        leave_to_parent(self._kept, self.saving)
        self._kept = self.saving = None
        self.known.after_fork()

    def keep_apart(self, tenant: str) -> None:
        """Give this tenant its own entry, even if the providers of several tenants have the same identity."""
        self.key = key_of(self.key, tenant=tenant)

    async def keep_open(self, sessions: Sessions) -> None:
        """Keep the store open for as long as the manager is entered on the running loop, if it is."""
        entry = sessions.entry_here()
        if entry is not None:
            await entry.keep(self.store, self.calls.opened)

    async def load(self) -> Entry | None:
        """Return the stored entry, and remember it."""
        stored: object = await self.calls.call("load", self.store.load, self.key)
        entry = None if stored is None else _entry_of(stored)
        saved_elsewhere, unsaved = self.known.differs_from(entry), self.known.unsaved
        if saved_elsewhere:  # that process has had the lock meanwhile
            self.calls.stuck = False
        if self.known.note_read(entry) or (saved_elsewhere and not unsaved):
            self.calls.failing = False
        return entry

    async def delete(self, token: Token) -> None:
        """Delete a token that got a 401 from the store, unless the store has another one by now."""
        await self.calls.call("delete", self.store.delete, self.key, token)

    async def forget(self, stored: Entry | None) -> None:
        """Delete the tokens from the store, so that no process adopts them. Under the lock.

        The rejected credentials stay in the entry, so that the next login does not lock the account.

        Args:
            stored: The stored entry.
        """
        if stored is not None:
            wall = self.clock.wall()
            rejections = stored.known_rejections(wall)
            if rejections:
                await self.calls.call(
                    "save", self.store.save, self.key, Entry.without_token(now=wall, rejections=rejections)
                )
            else:
                # Overwritten first, since delete() keeps an entry that has a refresh token, or a trace of one.
                bare = Entry(stored.value, issued_at=stored.issued_at, expires_at=stored.issued_at)
                if bare.value:
                    await self.calls.call("save", self.store.save, self.key, bare)
                await self.calls.call("delete", self.store.delete, self.key, bare)
        self._watch_until = -math.inf
        self.known.forget()

    # The refresh token

    def mark_of(self, secret: str) -> str:
        """Return the digits by which the entry identifies a rejected credential, in all processes. See SECURITY.md."""
        key = bytes.fromhex(self.key)  # two accounts' credentials can't be compared
        return hmac.digest(key, secret.encode("utf-8", "surrogatepass"), "sha256").hex()[:_MARK_DIGITS]

    async def use(self, entry: Entry) -> Entry:
        """Mark an entry's refresh token as being sent, and return the entry without the mark. Under the lock.

        If the process dies meanwhile, the mark stays. Another process must not send the refresh token at once: a server
        that rotates would treat it as stolen, and revoke all tokens that came from it.

        Raises:
            StoreTrouble: The entry could not be marked, so the refresh token must not be sent.
        """
        wall = self.clock.wall()
        if left_of(entry.expires_at, entry.issued_at, wall) <= 0:
            # Stays expired even if the wall clock is set back before the next process reads it.
            entry = attrs.evolve(entry, expires_at=entry.issued_at)
        self.known.note_mark(wall)
        at_fork(self, StoreClient._after_fork)
        await self._write(attrs.evolve(entry, in_use_since=wall))
        self.known.hold(entry)
        return entry

    async def settle(self, entry: Entry, *, lock_handle: LockHandle) -> None:
        """Save an entry after a try that brought no new token. Store trouble is ignored.

        Args:
            entry: The entry, without its mark.
            lock_handle: The lock it is saved under.
        """
        if self.known.marked:
            self.known.hold(entry)
        with contextlib.suppress(StoreTrouble):
            if lock_handle.lost:
                await self.load()
                if not self.known.marked:  # another process may have saved what it had
                    return
            await self._write(entry)

    def watch(self) -> None:
        """Check for a while that the saved entry stays in the store, and save it again if it does not.

        A failover may lose the last write. Other processes would then find the mark, and wait for the outcome.
        """
        self._watch_until = self.clock.monotonic() + _WATCH

    # The lock

    @contextlib.asynccontextmanager
    async def locking(self) -> AsyncGenerator[LockWait, None]:
        """Wait for the entry's lock in the block, and give it back at its end.

        It is not given back while something is unsaved: then it is kept, and saving goes on in the background.
        """
        wait = LockWait(self.store, self.key, self.clock, self.calls.call, await self.take_over())
        try:
            try:
                yield wait
            except Exception:
                self._keep(wait)
                raise
            self._keep(wait)
        finally:
            await wait.end()

    def _keep(self, wait: LockWait) -> None:
        """Start the background task that saves an unsaved entry, with the lock, or watches a saved one."""
        if self.saving is not None:
            return  # on another loop
        if self.known.unsaved:
            self._kept, wait.handle = wait.handle, None
        if self.known.unsaved or self.clock.monotonic() < self._watch_until:
            at_fork(self, StoreClient._after_fork)
            self.saving = asyncio.ensure_future(self._keep_saved(self._kept))
            note_unfinished(self, self.saving.get_loop())

    async def take_over(self) -> LockHandle | None:
        """End the background saving, and return the lock that it kept; ``None``: it kept none."""
        saving, kept = self.saving, self._kept
        loop = None if saving is None else saving.get_loop()
        if loop is not None and loop is not asyncio.get_running_loop() and not loop.is_closed():
            return None  # it goes on there
        self._kept = None
        await self.stop_saving()
        if kept is not None and (kept.lost or not kept.here):
            await kept.release()
            return None
        return kept

    # Saving

    async def save(self, entry: Entry, *, lock_handle: LockHandle) -> None:
        """Keep a token that was just obtained. Tried again when it fails, in the end in the background.

        Args:
            entry: Its entry.
            lock_handle: The lock it is saved under.
        """
        if entry.refresh_token is not None or entry.rotations:
            self.known.hold(entry)
        tries = _SAVES if self.known.unsaved else 1
        for number in range(1, tries + 1):
            try:
                await self._save_unless_older(entry, checked=lock_handle.lost)
            except StoreTrouble as trouble:
                if number < tries:
                    await self.clock.sleep(0.1)
                    continue
                if self.known.unsaved and entry.refresh_token is not None:  # it may be the only valid one
                    self.calls.note_unsaved(trouble)
                self.calls.failing = True
                self.calls.note(trouble)
            else:
                return

    async def stop_saving(self) -> None:
        """End what is left to the background: at once if it runs on this loop, else as soon as its loop goes on."""
        saving, self.saving = self.saving, None
        if saving is None:
            return
        if saving.get_loop() is asyncio.get_running_loop():
            saving.cancel()
            await asyncio.wait((saving,))
        else:
            call_soon(saving.get_loop(), saving.cancel)

    async def leave(self, patience: float | None) -> None:
        """Return when nothing is left to the background here, since the loop is about to end. On its own loop only.

        What could not be saved is held, and saved with the next refresh, or as soon as `save_due`.

        Args:
            patience: Seconds in which to save it; ``None``: as many as other processes wait for it.
        """
        saving = self.saving
        if saving is not None and saving.get_loop() is asyncio.get_running_loop():
            await asyncio.wait((saving,), timeout=SENDING if patience is None else patience)
            if not saving.done():
                await self.stop_saving()
                self._retry_at = self.clock.monotonic() + _SAVE_LATER

    @property
    def save_due(self) -> bool:
        """Whether a save that ended with its event loop is due again. Any thread."""
        return self._retry_at != math.inf and self.clock.monotonic() >= self._retry_at

    async def save_again(self) -> None:
        """Try once more to save an unsaved entry. Store trouble is only noted."""
        self._retry_at = math.inf
        try:
            await self._save_held()
        except StoreTrouble as trouble:
            self._retry_at = self.clock.monotonic() + _SAVE_LATER
            self.calls.note(trouble)
        else:
            self.calls.note_success()

    async def close(self) -> None:
        """End the background task, after one more try to save a refresh token that would be lost."""
        kept = self._kept
        if kept is not None and kept.here:
            self._kept = None
        else:
            kept = None  # its task gives it back, on its own loop
        try:
            await self.stop_saving()
            if self.known.unsaved:
                await self.calls.call("save", self._save_held)
        except StoreTrouble as trouble:
            if self.known.unsaved_refresh_token:
                self.calls.note_lost(trouble)
        finally:
            if kept is not None:
                await kept.release()

    async def _save_unless_older(self, entry: Entry, *, checked: bool) -> None:
        if checked:
            stored = await self.load()
            if stored is not None and stored.value and is_later(stored, entry):
                return
        await self._write(entry)

    async def _save_held(self) -> None:
        """Save the held entry, unless a later one is stored: then that one is held."""
        async with self.calls.opened():
            stored = await self.load()
            held = self.known.held_by_our_wall
            if held is not None and self.known.unsaved:
                marks = () if stored is None else stored.rejections
                await self._write(attrs.evolve(held, rejections=marks))

    async def _keep_saved(self, lock_handle: LockHandle | None) -> None:
        """Save the unsaved entry, however long that takes. Then release the lock, and watch the stored entry."""
        try:
            await self._save_until_done()
        finally:
            if lock_handle is not None and self._kept is lock_handle:  # else a refresh has taken it over
                self._kept = None
                await lock_handle.release()
        while self.clock.monotonic() < self._watch_until:
            await self.clock.sleep(_LOOK_EVERY)
            with contextlib.suppress(StoreTrouble):
                async with self.calls.opened():
                    await self.load()
            await self._save_until_done()
        self.saving = None

    async def _save_until_done(self) -> None:
        since = self.clock.monotonic()
        while self.known.unsaved:
            failing_for = self.clock.monotonic() - since
            await self.clock.sleep(min(max(_SAVE_AGAIN, _PAUSE_SHARE * failing_for), _LONGEST_PAUSE))
            try:
                await self._save_held()
            except StoreTrouble as trouble:
                self.calls.note(trouble)
            else:
                self.calls.note_success()

    async def _write(self, entry: Entry) -> None:
        """Save an entry, or delete what is stored if there is nothing in it."""
        self.known.note_writing(entry)
        if entry.holds_nothing:
            await self.calls.call("delete", self.store.delete, self.key, entry)
        else:
            await self.calls.call("save", self.store.save, self.key, entry)
        self.known.note_written(entry)
        self.calls.failing = False


def _entry_of(stored: object) -> Entry:
    """Return what a store holds as an entry, if it is one. Raises `StoreTrouble`: a store may be anybody's."""
    if not isinstance(stored, Token):
        raise StoreTrouble(f"load: a {type(stored).__name__} is not a Token")
    if stored.token_type == SEALED:
        raise StoreTrouble("load: the entry is encrypted; give this manager the EncryptedStore too, or another store")
    flaw = type_flaw(stored)
    if flaw is None and not all(_is_moment(each) for each in (stored.issued_at, stored.expires_at or 0.0)):
        flaw = "times are not finite"
    if flaw is not None:
        raise StoreTrouble(f"load: the token's {flaw}")
    return Entry.of(stored)


def _is_moment(seconds: float) -> bool:
    try:
        return math.isfinite(seconds)
    except OverflowError:  # an int beyond all floats
        return False
