"""A manager's dealings with a store that it shares with other processes.

Every call has a time limit. The first one that fails ends the store's part in a refresh (`StoreTrouble`): the manager
does without, and comes back to the store with its next refresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from asyncauth._base.loops import LoopRef
from asyncauth._core.user_code import call_user
from asyncauth.clock import Clock, within
from asyncauth.entry import Entry, Rejection
from asyncauth.expiry import left_of
from asyncauth.provider import key_of
from asyncauth.token import SEALED, Token, type_flaw

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from asyncauth._core.emitter import Emitter
    from asyncauth.stores.base import TokenStore

__all__ = ["LockHandle", "StoreClient", "StoreTrouble"]

_T = TypeVar("_T")
_Entry = TypeVar("_Entry", bound=Token)

_SAVES = 3
"""How many times a save is tried before it is left to the background."""
_LONGEST_PAUSE = 30.0
_TELL_EVERY = 60.0
"""Seconds between events of a trouble that lasts."""
_MARK_DIGITS = 4
"""Hex digits of a rejected credential's digest that are stored.

So few that they are no help in guessing the credential: of all guesses, one in 65,536 matches by chance. As rarely a
changed credential is taken for the rejected one, and waits for the end of its cool-down.
"""


class StoreTrouble(Exception):
    """A call to the store failed or took too long. The text names the call and the class of what it raised."""

    def __init__(self, text: str, *, lock_timeout: bool = False) -> None:
        super().__init__(text)
        self.lock_timeout = lock_timeout


class LockHandle:
    """An entry's lock while it is held, on the running loop.

    Args:
        lease: What entering the lock gave.
        leave: Leaves the lock.
        call: Makes a call to the store.
    """

    __slots__ = ("_call", "_lease", "_leave", "_loop", "_released")

    def __init__(
        self,
        lease: object,
        leave: Callable[[None, None, None], Coroutine[Any, Any, object]],
        call: Callable[..., Awaitable[object]],
    ) -> None:
        self._lease = lease
        self._leave = leave
        self._call = call
        self._loop = LoopRef()
        self._released = False

    @property
    def lost(self) -> bool:
        """Whether another process may hold it by now."""
        try:
            return self._released or bool(getattr(self._lease, "lost", False))
        except Exception:  # noqa: BLE001 (a lease may be anybody's)
            return True

    async def release(self) -> None:
        """Give it back, unless that was done before."""
        if self._loop.closed:  # this is the garbage collector
            self.abandon()
        elif not self._released:
            self._released = True
            with contextlib.suppress(StoreTrouble):
                await self._call("unlock", self._leave, None, None, None)

    def abandon(self) -> None:
        """Give it back if its loop was closed, as far as that can be done without waiting. From any thread.

        A lock in memory or of a file can be, and would be held for ever; one on a server ends with its lease.
        """
        if self._released or not self._loop.closed:
            return
        self._released = True
        with contextlib.suppress(Exception):  # StopIteration is its end
            leaving = self._leave(None, None, None)
            try:
                leaving.send(None)
            finally:
                leaving.close()


class StoreClient:
    """One manager's entry in a store.

    Args:
        store: The caller's.
        identity: The provider's: the entry's key is made of it, so that no token is found under another's.
        clock: The manager's.
        time_limit: Seconds for a call.
        emitter: Where it tells of what happens.

    Attributes:
        emitter: As given.
        trouble: What is the matter with the store; ``None`` = nothing is known of any.
        unsaved: A token that could not be saved yet, after the value of the one that it was obtained with.
    """

    __slots__ = (
        "_ahead",
        "_clock",
        "_key",
        "_saving",
        "_store",
        "_time_limit",
        "_told_at",
        "emitter",
        "trouble",
        "unsaved",
    )

    def __init__(self, store: TokenStore, identity: str, clock: Clock, time_limit: float, emitter: Emitter) -> None:
        self._store = store
        self._key = key_of(identity)
        self.emitter = emitter
        self._clock = clock
        self._time_limit = time_limit
        self._told_at = -math.inf
        self._saving: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.unsaved: tuple[str | None, Token] | None = None
        self._ahead = 0.0  # the wall clock, of the monotonic one, when the times of the unsaved token were written

    def keep_apart(self, tenant: str) -> None:
        """Make the entry this tenant's own, whatever other tenants' providers call themselves."""
        self._key = key_of(self._key, tenant=tenant)

    @property
    def strict(self) -> bool:
        """Whether trouble is to reach the caller."""
        try:
            return bool(getattr(self._store, "strict", False))
        except Exception:  # noqa: BLE001 (a store may be anybody's)
            return False

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Keep the store open for one refresh, if it is something that is opened."""
        store: Any = self._store  # what it is besides a store
        if not (hasattr(store, "__aenter__") and hasattr(store, "__aexit__")):
            yield
            return
        loop = asyncio.get_running_loop()
        await self._call("open", store.__aenter__)
        try:
            yield
        finally:
            if not loop.is_closed():  # else this is the garbage collector
                with contextlib.suppress(StoreTrouble):
                    await self._call("close", store.__aexit__, None, None, None)

    async def load(self) -> Entry | None:
        """Return what is stored."""
        stored: object = await self._call("load", self._store.load, self._key)
        if stored is None:
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
        return Entry.of(stored)

    async def delete(self, token: Token) -> None:
        """Take a refused token out of the store, unless another has taken its place."""
        await self._call("delete", self._store.delete, self._key, token)

    # What all processes know of a rejected credential

    def mark_of(self, secret: str) -> str:
        """Return what a rejected credential is known by in the entry: the same in all processes. See SECURITY.md."""
        key = bytes.fromhex(self._key)  # two accounts' credentials can't be compared
        return hmac.digest(key, secret.encode("utf-8", "surrogatepass"), "sha256").hex()[:_MARK_DIGITS]

    async def reject(self, rejection: Rejection, *, lock_handle: LockHandle) -> None:
        """Have all processes know of a rejected credential, beside what else is stored. Trouble is no matter here.

        Args:
            rejection: The rejection.
            lock_handle: The lock it is saved under; once that is lost, it is not saved.
        """
        with contextlib.suppress(StoreTrouble):
            stored = await self.load()
            if stored is None:
                entry = Entry.without_token(rejection=rejection, now=self._clock.wall())
            else:
                entry = attrs.evolve(stored, rejection=rejection)
            if not lock_handle.lost:
                await self._call("save", self._store.save, self._key, entry)

    @contextlib.asynccontextmanager
    async def locked(self, wait: float) -> AsyncGenerator[LockHandle, None]:
        """Hold the entry's lock.

        Args:
            wait: Seconds that waiting for it may take.
        """
        lock: AbstractAsyncContextManager[Any] | None = None
        entering: asyncio.Future[Any] | None = None
        try:
            lock = self._store.lock(self._key)
            entering = asyncio.ensure_future(lock.__aenter__())
            lease = await within(self._clock, wait, entering)
        except TimeoutError:
            problem = StoreTrouble(f"another process held the lock for {wait:.3g} s", lock_timeout=True)
        except Exception as error:  # noqa: BLE001 (whatever a store raises is store trouble)
            problem = StoreTrouble(f"lock: {type(error).__name__}")
        except asyncio.CancelledError:
            await self._give_back(lock, entering)
            raise
        else:
            leave: Any = lock.__aexit__  # a coroutine's, as a rule
            lock_handle = LockHandle(lease, leave, self._call)
            try:
                yield lock_handle
            finally:
                await lock_handle.release()
            return
        await self._give_back(lock, entering)
        raise problem

    async def _give_back(
        self, lock: AbstractAsyncContextManager[Any] | None, entering: asyncio.Future[Any] | None
    ) -> None:
        """Give a lock back that was had in the very moment in which it was not wanted any more."""
        if lock is None or entering is None or not entering.done() or entering.cancelled():
            return
        if entering.exception() is None:
            with contextlib.suppress(StoreTrouble):
                await self._call("unlock", lock.__aexit__, None, None, None)

    @contextlib.asynccontextmanager
    async def escrowed(
        self, stored: Entry | None, lock_handle: LockHandle, used: Callable[[], bool]
    ) -> AsyncGenerator[None, None]:
        """Take an entry's refresh token out of the store while it is being sent, and put it back if it was not used.

        A process that dies meanwhile leaves none behind that the server may have replaced: sent again, a server that
        rotates would take it for a theft, and revoke all that came of it. The others use the primary grant then.

        Args:
            stored: The entry; ``None``, or one without a refresh token: there is nothing to take out.
            lock_handle: The lock that is held.
            used: Asked after a failure: whether the server may have used the refresh token up.
        """
        if stored is None or stored.refresh_token is None:
            yield
            return
        clock = self._clock
        ahead = clock.wall() - clock.monotonic()
        if left_of(stored.expires_at, stored.issued_at, clock.wall()) <= 0:
            # For good: a wall clock that is set back meanwhile must not make it look alive to the next reader.
            stored = attrs.evolve(stored, expires_at=stored.issued_at)
        await self._save_escrowed(attrs.evolve(stored, refresh_token=None))
        try:
            yield
        except Exception:
            if not used():
                stored = _moved(stored, clock.wall() - clock.monotonic() - ahead)
                try:
                    await self._save_unless_older(stored, checked=lock_handle.lost)
                except StoreTrouble:
                    self.keep(stored, instead_of=stored)
            raise

    async def _save_escrowed(self, escrowed: Token) -> None:
        """Save an entry without its refresh token, which nothing that was left unsaved may bring back."""
        saving = self._saving is not None
        await self.stop_saving()
        try:
            await self._call("save", self._store.save, self._key, escrowed)
        except StoreTrouble:
            unsaved = self.unsaved
            if saving and unsaved is not None:
                self._saving = asyncio.ensure_future(self._save_later(unsaved[1]))
            raise
        self.unsaved = None

    def keep(self, token: Token, *, instead_of: Token | None) -> None:
        """Remember a token that is not saved yet; see `save` for the arguments."""
        self.unsaved = (None if instead_of is None else instead_of.value, token)
        self._ahead = self._clock.wall() - self._clock.monotonic()

    async def save(self, token: Token, *, instead_of: Token | None, lock_handle: LockHandle) -> None:
        """Keep a token that was just obtained. Tried again when it fails, in the end in the background.

        Args:
            token: The new one.
            instead_of: The entry that it was obtained with, whose refresh token it may have used up.
            lock_handle: The lock it is saved under.
        """
        await self.stop_saving()
        self.keep(token, instead_of=instead_of)
        tries = _SAVES if token.refresh_token is not None else 1
        for number in range(1, tries + 1):
            try:
                await self._save_unless_older(token, checked=lock_handle.lost)
            except StoreTrouble as trouble:
                if number == tries:
                    self._give_to_background(token, trouble)
                else:
                    await self._clock.sleep(0.1)
            else:
                self.unsaved = None
                return

    def _give_to_background(self, token: Token, trouble: StoreTrouble) -> None:
        if token.refresh_token is None:  # nothing is lost: the others obtain tokens of their own
            self.note(trouble)
            return
        # The only one that is in force, perhaps.
        self.emitter.refresh_token_unsaved(str(trouble), lost=False)
        self._told_at = self._clock.monotonic()
        self.note(trouble)
        self._saving = asyncio.ensure_future(self._save_later(token))

    async def stop_saving(self) -> None:
        """End what is left to the background."""
        saving, self._saving = self._saving, None
        if saving is not None and saving.get_loop() is asyncio.get_running_loop():
            saving.cancel()
            await asyncio.wait((saving,))

    async def close(self) -> None:
        """End what is left to the background, after one more try to save a refresh token that would be lost."""
        await self.stop_saving()
        unsaved = self.unsaved
        if unsaved is None or unsaved[1].refresh_token is None:
            return
        try:
            await self._call("save", self._save_anew, unsaved[1])
        except StoreTrouble as trouble:
            self.emitter.refresh_token_unsaved(str(trouble), lost=True)
        else:
            self.unsaved = None

    def previous(self, stored: Entry | None) -> Entry | None:
        """Return the entry whose refresh token counts, of what is stored and what could not be.

        An entry that our unsaved token was obtained with holds a refresh token that has been used up.
        """
        if stored is not None and stored.token is None:
            stored = None
        unsaved = self.unsaved
        if unsaved is None:
            return stored
        spent, token = unsaved
        return Entry.of(self._by_our_wall(token)) if stored is None or stored.value == spent else stored

    def note(self, trouble: StoreTrouble) -> None:
        """Remember a trouble for ``status()``, and tell of it, once a minute while it lasts."""
        self.trouble = str(trouble)
        now = self._clock.monotonic()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self.emitter.store_failed(self.trouble)

    async def note_adopted(self, token: Token) -> None:
        """Forget an unsaved token: another process has stored a later one."""
        unsaved = self.unsaved
        if unsaved is not None and unsaved[0] != token.value:
            self.unsaved = None
            await self.stop_saving()

    def note_success(self) -> None:
        """Forget the trouble: the store has served."""
        if self.trouble is not None and self.unsaved is None:
            self.trouble = None
            self._told_at = -math.inf
            self.emitter.store_recovered()

    async def _save_unless_older(self, token: Token, *, checked: bool) -> None:
        if checked:
            stored = await self.load()
            if stored is not None and stored.value and stored.issued_at > token.issued_at:
                return
        await self._call("save", self._store.save, self._key, token)

    async def _save_anew(self, token: Token) -> None:
        async with self.opened():
            await self._save_unless_older(self._by_our_wall(token), checked=True)

    def _by_our_wall(self, token: Token) -> Token:
        """Return the unsaved token with its times by the wall clock as it is set now."""
        return _moved(token, self._clock.wall() - self._clock.monotonic() - self._ahead)

    async def _save_later(self, token: Token) -> None:
        pause = 1.0
        while True:
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                await self._save_anew(token)
            except StoreTrouble as trouble:
                self.note(trouble)
            else:
                unsaved = self.unsaved
                if unsaved is not None and unsaved[1] is token:
                    self.unsaved = None
                self.note_success()
                return

    async def _call(self, what: str, call: Callable[..., Awaitable[_T]], *arguments: Any) -> _T:
        try:
            return await within(self._clock, self._time_limit, call_user(call, *arguments))
        except TimeoutError:
            problem = StoreTrouble(f"{what}: no answer within {self._time_limit:g} s")
        except Exception as error:  # noqa: BLE001 (whatever a store raises is store trouble)
            problem = StoreTrouble(f"{what}: {type(error).__name__}")
        raise problem


def _is_moment(seconds: float) -> bool:
    try:
        return math.isfinite(seconds)
    except OverflowError:  # an int beyond all floats
        return False


def _moved(token: _Entry, seconds: float) -> _Entry:
    """Return an entry with its times by a wall clock that was set meanwhile."""
    if abs(seconds) < 1.0:  # no more than clocks are adjusted by
        return token
    expires_at = None if token.expires_at is None else token.expires_at + seconds
    return attrs.evolve(token, issued_at=token.issued_at + seconds, expires_at=expires_at)
