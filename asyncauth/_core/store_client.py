"""A manager's dealings with a store that it shares with other processes.

Every call has a time limit. The first one that fails ends the store's part in a refresh (`StoreTrouble`): the manager
does without, or waits for the store if it must, and comes back to it.

**A refresh token is sent by one process at a time.** Before it is sent, the entry is marked under the lock as being in
use (`StoreClient.use`). The lock is kept for as long as the outcome is not saved: a task saves it in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from asyncauth._base.forks import at_fork, leave_to_parent
from asyncauth._base.loops import call_soon
from asyncauth._base.printable import name_of
from asyncauth._core.short_loop import note_unfinished
from asyncauth._core.store_lock import UNLOCK, LockHandle, LockWait
from asyncauth._core.store_trouble import StoreTrouble, explained_call
from asyncauth._core.user_code import call_user
from asyncauth.clock import Clock, within
from asyncauth.entry import Entry, is_later, newest
from asyncauth.expiry import left_of
from asyncauth.provider import key_of
from asyncauth.token import SEALED, Token, type_flaw

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from asyncauth._core.emitter import Emitter
    from asyncauth._core.sessions import Sessions
    from asyncauth.stores.base import TokenStore

__all__ = ["CLOCK_ADJUSTED", "StoreClient"]

_T = TypeVar("_T")

_SAVES = 3
"""How many times a save is tried before it is left to the background."""
_SAVE_AGAIN = 0.3
"""Seconds between the first saves in the background: others wait for what is saved."""
_SAVE_LATER = 2.0
"""Seconds until a save is tried again that ended with its event loop, if there is a caller then."""
_LONGEST_PAUSE = 30.0
_PAUSE_SHARE = 0.02
"""The pause between saves in the background, as a part of the time for which they have failed."""
_TELL_EVERY = 60.0
"""Seconds between events of a trouble that lasts."""
_MARK_DIGITS = 4
"""Hex digits of a rejected credential's digest that are stored.

So few that they are no help in guessing the credential: of all guesses, one in 65,536 matches by chance. As rarely a
changed credential is taken for the rejected one, and waits for the end of its cool-down.
"""
CLOCK_ADJUSTED = 1.0
"""Seconds by which a wall clock may be adjusted without having been set."""
_SENDING = 10.0
"""Seconds that another process may take to send a refresh token and save its successor: as long as a lease."""
_SENDING_ONLY_WAY = 20.0
"""The same where the refresh token is the only way to a token: sent again too soon, it is lost."""
_HEALING = 1.0
"""Seconds that other processes have to save what they know, when the store has fallen back to an older state."""
_WATCH = 15.0
"""Seconds for which a process sees to it that a refresh token which it has saved stays in the store."""
_LOOK_EVERY = 1.0
_LONG_AGO = 300.0
"""Seconds after which a refresh token is not in use any more, whatever clock its mark was written by."""
_FORGETTING = 0.97
"""What each call leaves of the longest call before it: after eight refreshes a quarter."""
_CALLS = 5.0
"""Calls to the store that a refresh waits for: load, lock, load, mark, save."""
_AT_ONCE = 0.05
"""Seconds in which a free lock is had from a store on this machine."""


class StoreClient:
    """One manager's entry in a store.

    Args:
        store: The caller's.
        identity: The provider's: the entry's key is made of it, so that no token is found under another's.
        clock: The manager's.
        time_limit: Seconds for a call.
        emitter: Where it tells of what happens.

    Attributes:
        store: As given.
        clock: As given.
        emitter: As given.
        trouble: What is the matter with the store; ``None`` = nothing is known of any.
        held: The latest entry with a refresh token that this process has seen or obtained.
    """

    __slots__ = (
        "__weakref__",
        "_ahead_at",
        "_failing",
        "_fallen_at",
        "_in_store",
        "_in_use",
        "_kept",
        "_longest_call",
        "_marked",
        "_most_stored",
        "_own_use",
        "_retry_at",
        "_seen",
        "_stuck",
        "_time_limit",
        "_told_at",
        "_watch_until",
        "clock",
        "emitter",
        "held",
        "key",
        "saving",
        "store",
        "trouble",
    )

    def __init__(self, store: TokenStore, identity: str, clock: Clock, time_limit: float, emitter: Emitter) -> None:
        self.store = store
        self.key = key_of(identity)
        self.emitter = emitter
        self.clock = clock
        self._time_limit = time_limit
        self._told_at = -math.inf
        self.saving: asyncio.Task[None] | None = None
        self._kept: LockHandle | None = None  # while something is unsaved
        self.trouble: str | None = None
        self.held: Entry | None = None
        self._ahead_at = 0.0  # `ahead` when the times of the held entry were written
        self._in_store = 0  # rotations of the entry in the store, as far as is known
        self._most_stored = 0  # the most rotations that the store is known to have had
        self._fallen_at = math.inf  # since when it is known to have fewer
        self._watch_until = -math.inf
        self._marked = False  # whether it has this process' mark
        self._failing = False  # whether the last save failed
        self._retry_at = math.inf  # when a save is due that ended with its loop
        self._stuck = False  # whether the lock could not be given back, and nobody is known to have had it since
        self._seen = 0  # the hash of the stored token, as far as is known
        self._own_use: float | None = None  # the mark that this process wrote last
        self._in_use: tuple[float, float] | None = None  # another's mark, and since when it was seen
        self._longest_call = 0.0

    def _after_fork(self) -> None:
        """Leave to the parent process the lock that it holds, and its mark."""
        leave_to_parent(self._kept, self.saving)
        self._kept = self.saving = self._own_use = None
        self._marked = False

    def keep_apart(self, tenant: str) -> None:
        """Make the entry this tenant's own, whatever other tenants' providers call themselves."""
        self.key = key_of(self.key, tenant=tenant)

    @property
    def strict(self) -> bool:
        """Whether trouble is to reach the caller."""
        try:
            return bool(getattr(self.store, "strict", False))
        except Exception:  # noqa: BLE001 (a store may be anybody's)
            return False

    @property
    def refresh_time(self) -> float:
        """The seconds that a refresh spends on calls to the store, if they are as slow as of late."""
        return _CALLS * self._longest_call

    @property
    def quick_lock(self) -> float:
        """The seconds in which a lock is had that nobody holds."""
        return min(max(_AT_ONCE, 3 * self._longest_call), self._time_limit)

    async def keep_open(self, sessions: Sessions) -> None:
        """Keep the store open for as long as the manager is entered on the running loop, if it is."""
        entry = sessions.entry_here()
        if entry is not None:
            await entry.keep(self.store, self.opened)

    def opened(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a block that keeps the store open, if it is something that is opened."""
        return _Opened(self.store, self._call)

    async def load(self) -> Entry | None:
        """Return what is stored, and take note of it."""
        stored: object = await self._call("load", self.store.load, self.key)
        if stored is None:
            self._note(None)
            return None
        if not isinstance(stored, Token):
            raise StoreTrouble(f"load: a {type(stored).__name__} is no Token")
        if stored.token_type == SEALED:
            raise StoreTrouble(
                "load: the entry is encrypted; give this manager the EncryptedStore too, or another store"
            )
        flaw = type_flaw(stored)
        if flaw is None and not all(_is_moment(each) for each in (stored.issued_at, stored.expires_at or 0.0)):
            flaw = "times are not finite"
        if flaw is not None:
            raise StoreTrouble(f"load: the token's {flaw}")
        entry = Entry.of(stored)
        self._note(entry)
        return entry

    def _note(self, stored: Entry | None) -> None:
        """Take note of what is stored now."""
        seen = 0 if stored is None else hash(stored.value)
        if seen != self._seen:  # another process has had the lock meanwhile
            self._seen, self._stuck = seen, False
        self._in_store = 0 if stored is None else stored.rotations
        self._most_stored = max(self._most_stored, self._in_store)
        fallen = self._in_store < self._most_stored
        self._fallen_at = min(self._fallen_at, self.clock.monotonic()) if fallen else math.inf
        mark, known = None if stored is None else stored.in_use_since, self._in_use
        self._marked = mark is not None and mark == self._own_use
        if mark is None or self._marked:
            self._in_use = None
        elif known is None or known[0] != mark:
            recent = abs(self.clock.wall() - mark) < _LONG_AGO
            self._in_use = (mark, self.clock.monotonic() if recent else -math.inf)
        if stored is not None and (stored.refresh_token is not None or stored.rotations):
            held = self.held
            if held is None or stored.rotations >= held.rotations:
                self.hold(stored)
                self._failing = False

    async def delete(self, token: Token) -> None:
        """Take a refused token out of the store, unless another has taken its place."""
        await self._call("delete", self.store.delete, self.key, token)

    async def forget(self, stored: Entry | None) -> None:
        """Take the tokens out of the store, so that no process adopts them. Under the lock.

        The credentials that the server has rejected stay: whoever logs in next must not lock the account.

        Args:
            stored: What is there.
        """
        if stored is not None:
            wall = self.clock.wall()
            rejections = stored.known_rejections(wall)
            if rejections:
                await self._call(
                    "save", self.store.save, self.key, Entry.without_token(now=wall, rejections=rejections)
                )
            else:
                # Written over first: delete() leaves a refresh token, and what tells of one.
                bare = Entry(stored.value, issued_at=stored.issued_at, expires_at=stored.issued_at)
                if bare.value:
                    await self._call("save", self.store.save, self.key, bare)
                await self._call("delete", self.store.delete, self.key, bare)
        self.held, self._watch_until = None, -math.inf
        self._in_store = self._most_stored = 0
        self._marked, self._fallen_at = False, math.inf

    # Whose refresh token counts

    def mark_of(self, secret: str) -> str:
        """Return what a rejected credential is known by in the entry: the same in all processes. See SECURITY.md."""
        key = bytes.fromhex(self.key)  # two accounts' credentials can't be compared
        return hmac.digest(key, secret.encode("utf-8", "surrogatepass"), "sha256").hex()[:_MARK_DIGITS]

    def is_news(self, stored: Entry) -> bool:
        """Return whether an entry is as late as what this process has seen: else the store was set back."""
        return self.held is None or stored.rotations >= self.held.rotations

    def newest(self, stored: Entry | None) -> Entry:
        """Return the entry that the next token is to be obtained with; an empty one if there is none."""
        held = self.held
        entry = newest(stored, None if held is None else self._by_our_wall(held))
        return Entry.without_token(now=self.clock.wall()) if entry is None else attrs.evolve(entry, in_use_since=None)

    def doubtful(self, stored: Entry | None) -> bool:
        """Return whether the refresh token that counts may be spent, or be spent at this moment.

        Another process has marked it as being sent; or the store has fallen back to an older state, and another process
        may know of a later one.
        """
        in_use = self._in_use is not None and stored is not None and self.is_news(stored)
        return in_use or self._fallen_at < math.inf

    def seconds_to_wait(self, *, only_way: bool) -> float:
        """Return for how long to wait for what other processes save, if the refresh token is doubtful.

        It counts from when this process noticed, so that no two clocks are compared.

        Args:
            only_way: Whether there is no other way to a token than the refresh token.
        """
        until = -math.inf
        if self._in_use is not None:
            until = self._in_use[1] + (_SENDING_ONLY_WAY if only_way else _SENDING)
        if self._fallen_at < math.inf and only_way:
            until = max(until, self._fallen_at + _HEALING)
        return max(0.0, until - self.clock.monotonic())

    async def use(self, entry: Entry) -> Entry:
        """Mark an entry's refresh token as being sent, and return the entry without the mark. Under the lock.

        A process that dies meanwhile leaves the mark: sent again, a server that rotates would take the refresh token
        for a stolen one, and revoke all that came of it.

        Raises:
            StoreTrouble: It could not be marked. It must not be sent then.
        """
        wall = self.clock.wall()
        if left_of(entry.expires_at, entry.issued_at, wall) <= 0:
            # For good: a wall clock that is set back meanwhile must not make it look alive to the next reader.
            entry = attrs.evolve(entry, expires_at=entry.issued_at)
        self._own_use = wall
        at_fork(self, StoreClient._after_fork)
        await self._write(attrs.evolve(entry, in_use_since=wall))
        self.hold(entry)
        return entry

    async def settle(self, entry: Entry, *, lock_handle: LockHandle) -> None:
        """Save what became of an entry that no new token came of. Trouble is no matter here.

        Args:
            entry: The entry, without its mark.
            lock_handle: The lock it is saved under.
        """
        if self._marked:
            self.hold(entry)
        with contextlib.suppress(StoreTrouble):
            if lock_handle.lost:
                await self.load()
                if not self._marked:  # another process may have saved what it had
                    return
            await self._write(entry)

    def watch(self) -> None:
        """Look for a while whether what was saved stays, and save it again if it does not.

        A failover may lose the last write. Processes that find the mark before it wait for the outcome.
        """
        self._watch_until = self.clock.monotonic() + _WATCH

    def hold(self, entry: Entry) -> None:
        """Remember an entry as the latest."""
        self.held, self._ahead_at = attrs.evolve(entry, in_use_since=None), self.ahead

    @property
    def ahead(self) -> float:
        """The wall clock's seconds, of the monotonic clock's: they change when the wall clock is set."""
        return self.clock.wall() - self.clock.monotonic()

    @property
    def unsaved(self) -> bool:
        """Whether the store does not know yet what became of a refresh token that this process has sent."""
        return self.held is not None and (self._marked or self.held.rotations > self._in_store)

    # The lock

    @contextlib.asynccontextmanager
    async def locking(self) -> AsyncGenerator[LockWait, None]:
        """Wait for the entry's lock in the block, and give it back at its end.

        It is not given back while something is unsaved: then it is kept, and saving goes on in the background.
        """
        wait = LockWait(self.store, self.key, self.clock, self._call, await self.take_over())
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
        """Go on to save what is unsaved, and keep the lock meanwhile; or watch what is saved."""
        if self.saving is not None:
            return  # on another loop
        if self.unsaved:
            self._kept, wait.handle = wait.handle, None
        if self.unsaved or self.clock.monotonic() < self._watch_until:
            at_fork(self, StoreClient._after_fork)
            self.saving = asyncio.ensure_future(self._keep_saved(self._kept))
            note_unfinished(self, self.saving.get_loop())

    async def take_over(self) -> LockHandle | None:
        """Return the lock that is kept while something is unsaved, and end the saving; ``None``: there is none."""
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
            self.hold(entry)
        tries = _SAVES if self.unsaved else 1
        for number in range(1, tries + 1):
            try:
                await self._save_unless_older(entry, checked=lock_handle.lost)
            except StoreTrouble as trouble:
                if number < tries:
                    await self.clock.sleep(0.1)
                    continue
                if self.unsaved and entry.refresh_token is not None:  # it may be the only valid one
                    self.emitter.refresh_token_unsaved(self._placed(trouble), lost=False)
                    self._told_at = self.clock.monotonic()
                self._failing = True
                self.note(trouble)
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
            await asyncio.wait((saving,), timeout=_SENDING if patience is None else patience)
            if not saving.done():
                await self.stop_saving()
                self._retry_at = self.clock.monotonic() + _SAVE_LATER

    @property
    def save_due(self) -> bool:
        """Whether a save that ended with its event loop is due again. Any thread."""
        return self._retry_at != math.inf and self.clock.monotonic() >= self._retry_at

    async def save_again(self) -> None:
        """Try once more to save what is unsaved. Trouble is no matter here."""
        self._retry_at = math.inf
        try:
            await self._save_held()
        except StoreTrouble as trouble:
            self._retry_at = self.clock.monotonic() + _SAVE_LATER
            self.note(trouble)
        else:
            self.note_success()

    async def close(self) -> None:
        """End what is left to the background, after one more try to save a refresh token that would be lost."""
        kept = self._kept
        if kept is not None and kept.here:
            self._kept = None
        else:
            kept = None  # its task gives it back, on its own loop
        try:
            await self.stop_saving()
            if self.unsaved:
                await self._call("save", self._save_held)
        except StoreTrouble as trouble:
            held = self.held
            if held is not None and held.refresh_token is not None and held.rotations > self._in_store:
                self.emitter.refresh_token_unsaved(self._placed(trouble), lost=True)
        finally:
            if kept is not None:
                await kept.release()

    def note(self, trouble: StoreTrouble) -> None:
        """Remember a trouble for ``status()``, and tell of it, once a minute while it lasts."""
        self.trouble = str(trouble)
        now = self.clock.monotonic()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self.emitter.store_failed(self._placed(trouble))

    def _placed(self, trouble: StoreTrouble) -> str:
        """Return what is wrong and what to do, after where the store is, if it says that."""
        place: object = None
        with contextlib.suppress(Exception):  # a store may be anybody's
            place = getattr(self.store, "place", None)
        return f"{name_of(place)}: {trouble.explained}" if isinstance(place, str) else trouble.explained

    def note_success(self) -> None:
        """Forget the trouble: the store has served."""
        if self.trouble is not None and not self._failing and not self._stuck:
            self.trouble = None
            self._told_at = -math.inf
            self.emitter.store_recovered()

    async def _save_unless_older(self, entry: Entry, *, checked: bool) -> None:
        if checked:
            stored = await self.load()
            if stored is not None and stored.value and is_later(stored, entry):
                return
        await self._write(entry)

    async def _save_held(self) -> None:
        """Save the held entry, unless a later one is stored: then that one is held."""
        async with self.opened():
            stored = await self.load()
            held = self.held
            if held is not None and self.unsaved:
                marks = () if stored is None else stored.rejections
                await self._write(attrs.evolve(self._by_our_wall(held), rejections=marks))

    async def _keep_saved(self, lock_handle: LockHandle | None) -> None:
        """Save what is unsaved, however long that takes; then give the lock back, and watch what is stored."""
        try:
            await self._save_until_done()
        finally:
            if lock_handle is not None and self._kept is lock_handle:  # else a refresh has taken it over
                self._kept = None
                await lock_handle.release()
        while self.clock.monotonic() < self._watch_until:
            await self.clock.sleep(_LOOK_EVERY)
            with contextlib.suppress(StoreTrouble):
                async with self.opened():
                    await self.load()
            await self._save_until_done()
        self.saving = None

    async def _save_until_done(self) -> None:
        since = self.clock.monotonic()
        while self.unsaved:
            failing_for = self.clock.monotonic() - since
            await self.clock.sleep(min(max(_SAVE_AGAIN, _PAUSE_SHARE * failing_for), _LONGEST_PAUSE))
            try:
                await self._save_held()
            except StoreTrouble as trouble:
                self.note(trouble)
            else:
                self.note_success()

    async def _write(self, entry: Entry) -> None:
        """Save an entry, or delete what is stored if there is nothing in it."""
        self._seen = 0 if entry.holds_nothing else hash(entry.value)
        if entry.holds_nothing:
            await self._call("delete", self.store.delete, self.key, entry)
        else:
            await self._call("save", self.store.save, self.key, entry)
        self._in_store, self._marked, self._failing = entry.rotations, entry.in_use_since is not None, False
        self._most_stored, self._fallen_at = max(self._most_stored, entry.rotations), math.inf

    def _by_our_wall(self, entry: Entry) -> Entry:
        """Return the held entry with its times by the wall clock as it is set now."""
        drift = self.ahead - self._ahead_at
        return entry if abs(drift) < CLOCK_ADJUSTED else entry.moved(drift)

    async def _call(self, what: str, call: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        since = self.clock.monotonic()
        try:
            answer = await within(self.clock, self._time_limit, call_user(call, *arguments))
        except TimeoutError as error:
            words = explained_call(what, error, f"no answer within {self._time_limit:g} s")
            problem = StoreTrouble(f"{what}: no answer within {self._time_limit:g} s", explained=words)
        except Exception as error:  # noqa: BLE001 (whatever a store raises is store trouble)
            problem = StoreTrouble(f"{what}: {type(error).__name__}", explained=explained_call(what, error))
        else:
            self._longest_call = max(self.clock.monotonic() - since, _FORGETTING * self._longest_call)
            if what == UNLOCK:
                self._stuck = False
            return answer
        if what == UNLOCK:  # the others wait for the lock until it ends by itself
            self._stuck = True
            self.note(problem)
        raise problem


@attrs.define(eq=False)
class _Opened(contextlib.AbstractAsyncContextManager[None]):
    """A store that is open for a block.

    Not a generator: an entered manager stays in the block, and when its event loop is closed meanwhile, Python would
    warn that nothing awaits the generator's end.
    """

    store: Any  # what it is besides a store
    _call: Callable[..., Awaitable[object]]
    _loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> None:
        if hasattr(self.store, "__aenter__") and hasattr(self.store, "__aexit__"):
            await self._call("open", self.store.__aenter__)
            self._loop = asyncio.get_running_loop()

    async def __aexit__(self, *_: object) -> None:
        if self._loop is not None and not self._loop.is_closed():  # else this is the garbage collector
            with contextlib.suppress(StoreTrouble):
                await self._call("close", self.store.__aexit__, None, None, None)


def _is_moment(seconds: float) -> bool:
    try:
        return math.isfinite(seconds)
    except OverflowError:  # an int beyond all floats
        return False
