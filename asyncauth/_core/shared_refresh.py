"""One refresh of a token that several processes share: another one's adopted, or one fetched under the store's lock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from asyncauth._core.failures import is_outage, rejections_in_force
from asyncauth._core.locked_entry import LockedEntry
from asyncauth._core.refresh import Refresh
from asyncauth._core.store_trouble import StoreTrouble
from asyncauth._core.try_state import TryState
from asyncauth.errors import AuthError, LockTimeout, StoreError, TokenEndpointUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth._core.cache import TokenState
    from asyncauth._core.cached_token import CachedToken
    from asyncauth._core.emitter import Emitter
    from asyncauth._core.limiter import RequestLimiter
    from asyncauth._core.provider_options import OptionValues
    from asyncauth._core.refresh import Callers
    from asyncauth._core.runtime import Runtime
    from asyncauth._core.store_client import StoreClient
    from asyncauth._core.store_lock import LockHandle
    from asyncauth.entry import Entry
    from asyncauth.provider import Provider

__all__ = ["SharedRefresh"]

_LONGEST_LOCK_WAIT = 15.0
"""Seconds that waiting for another process' refresh may take."""
_LOCK_WAIT_ON_LEAVING = 2.0
"""The same where nobody needs the token yet and the event loop is about to end."""
_GLANCE_AT_STORE = 0.5
"""Seconds between looks at whether another process has a token, while callers wait for our next try."""
_LONGEST_OUTAGE_UNDER_LOCK = 10.0
"""Seconds for which the store's lock is kept between the tries of an outage."""
_STORE_CALLS = 12
"""Calls to the store that a refresh may have to make when its time is over, to keep what it brought."""
_TIME_TO_FETCH = 10.0
"""Seconds of the deadline that are left for our own, if the other's does not come."""


class SharedRefresh(Refresh):
    """The work of a flight whose token a store shares with other processes.

    Args:
        provider: See `Refresh`, for all but the last.
        state: The engine's.
        runtime: The engine's.
        options: What the provider declares besides.
        limiter: Where it waits for a slot.
        emitter: Returns where it tells of what happens.
        store_client: The engine's entry in the store.
    """

    _lock_handle: LockHandle | None = None

    def __init__(
        self,
        provider: Provider,
        state: TokenState,
        runtime: Runtime,
        *,
        options: OptionValues,
        limiter: RequestLimiter | None,
        emitter: Callable[[], Emitter],
        store_client: StoreClient,
    ) -> None:
        super().__init__(provider, state, runtime, options=options, limiter=limiter, emitter=emitter)
        self._store_client = store_client
        self._longest_rest = _GLANCE_AT_STORE
        self._time_to_keep = _STORE_CALLS * runtime.policy.store_timeout

    def abandon(self) -> None:
        """Take note that nothing more will come of it, and give the store's lock up. From any thread."""
        super().abandon()
        lock_handle = self._lock_handle
        if lock_handle is not None:
            lock_handle.abandon()

    async def _others_have_news(self) -> bool:
        """Return whether there is no usable token here, and another process has stored one."""
        store_client, before = self._store_client, self._state.cached
        if self._clock.monotonic() < before.usable_until:
            return False
        try:
            async with store_client.calls.opened():
                stored = await store_client.load()
        except StoreTrouble as trouble:
            store_client.calls.note(trouble)
            return False
        return self._adoptable(stored, before, jittered=False) is not None

    async def _try_once(self, callers: Callers) -> CachedToken:
        """Obtain a token in one try: from the store, if another process has been faster; else from the provider.

        Raises:
            StoreError: The store fails, and a refresh without it is not allowed.
        """
        store_client, before = self._store_client, self._state.cached
        try:
            await store_client.keep_open(self._runtime.sessions)
            async with store_client.calls.opened():
                if before.api_401:
                    await store_client.delete(before.token)
                adopted = await self._adopt(await store_client.load())
                cached = adopted or await self._fetch_alone(callers)
            store_client.calls.note_success()
        except StoreTrouble as trouble:
            problem = trouble
        except AuthError:
            store_client.calls.note_success()
            raise
        else:
            return cached
        store_client.calls.note(problem)
        if store_client.calls.strict or self._options.needs_lock:
            kind = LockTimeout if problem.lock_timeout else StoreError
            advice = "look for a process that hangs" if problem.lock_timeout else "is the store up and reachable?"
            raise kind(f"the token store fails: {problem}", advice=advice, provider=self._provider.name)
        # No refresh token without the lock: another process may be using it up at this moment.
        last = before.last
        last = None if last is None else attrs.evolve(last, refresh_token=None)
        async with self._slot():
            return await self._fetch(last, TryState(self._clock))

    async def _fetch_alone(self, callers: Callers) -> CachedToken:
        """Ask the provider under the store's lock, unless another process is faster.

        In a pool, no slot is held while another process is waited for, and no lock while a slot is.
        """
        store_client, patience, first = self._store_client, self._longest_wait(), False
        while True:
            async with store_client.locking() as lock:
                while True:
                    async with self._slot(first=first):
                        quick = patience if self._limiter is None else min(patience, store_client.calls.quick_lock)
                        lock_handle = await lock.had_within(quick)
                        if lock_handle is not None:
                            cached = await self._fetch_for_all(lock_handle, callers)
                            if cached is not None:
                                return cached
                            break
                    if await lock.had_within(patience - lock.waited) is None:
                        if self.rest.leaving:
                            raise asyncio.CancelledError  # nothing was sent
                        raise StoreTrouble(f"another process held the lock for {lock.waited:.3g} s", lock_timeout=True)
                    if self._limiter is not None and not self._limiter.slots_here().free:
                        break
            first, patience = True, patience - lock.waited
            wait = self._doubted_for()
            if wait > 0:
                await self.rest.take(min(wait, _GLANCE_AT_STORE), self.rest.wakes)

    async def _fetch_for_all(self, lock_handle: LockHandle, callers: Callers) -> CachedToken | None:
        """Do as `_fetch_with` does, once more after each pause of an outage while callers wait, and keep the lock.

        So one process asks an endpoint that is down, and the others wait for its token instead of asking as well. For
        some seconds: one of them may reach the endpoint where this one does not.
        """
        until = self._clock.monotonic() + _LONGEST_OUTAGE_UNDER_LOCK
        while True:
            try:
                return await self._fetch_with(lock_handle)
            except TokenEndpointUnavailable as error:
                self._judgement = self._goes_on(error, callers)
                failure = self._state.failure
                down = self._asked_endpoint and is_outage(error) and not self._runtime.in_pool
                keep = self._judgement and down and callers.callers_wait and not lock_handle.lost
                if not keep or failure is None or failure.due(callers_wait=True) > until:
                    raise
            self._judgement = None
            await self._wait_out(callers)

    async def _fetch_with(self, lock_handle: LockHandle) -> CachedToken | None:
        """Adopt a token or ask the provider, while the lock is held.

        ``None``: another process may be about to save a later refresh token, although it has lost the lock.
        """
        store_client, self._lock_handle = self._store_client, lock_handle
        stored = await store_client.load()
        cached = await self._adopt(stored)
        if cached is not None:
            return cached
        entry = store_client.known.newest(stored)
        if store_client.known.doubtful(stored):
            if self._doubted_for() > 0 and not lock_handle.ends_with_holder:
                return None
            if not self._options.needs_lock:
                entry = entry.with_refresh_token(None)
        return await self._fetch_under(lock_handle, entry)

    def _doubted_for(self) -> float:
        """Return for how long to wait for another process that may save a later refresh token; 0 = no longer.

        Raises:
            StoreTrouble: There is no other way to a token, and no time left to wait.
        """
        left, only_way = self.deadline - self._clock.monotonic(), self._options.needs_lock
        seconds = self._store_client.known.seconds_to_wait(only_way=only_way)
        if not only_way:
            return seconds if seconds <= left - _TIME_TO_FETCH else 0.0
        if seconds > 0 and left <= 0:
            raise StoreTrouble("another process is using the refresh token", lock_timeout=True)
        return seconds

    async def _fetch_under(self, lock_handle: LockHandle, entry: Entry) -> CachedToken:
        """Ask the provider under the store's lock, with the refresh token that counts.

        Args:
            lock_handle: The lock.
            entry: What to obtain the token with.
        """
        store_client, wall = self._store_client, self._clock.wall()
        in_force = () if self._at_once else rejections_in_force(entry.known_rejections(wall), wall)
        context = TryState(
            self._clock,
            release=lock_handle.release,
            mark_of=store_client.mark_of,
            rejected=frozenset(each.digest for each in in_force),
        )
        ahead = store_client.known.ahead
        used = self._options.needs_lock or entry.refresh_token is not None
        if used:
            entry = await store_client.use(entry)
        locked = LockedEntry(store_client, lock_handle, entry, ahead, used)
        return await self._fetch(entry.token, context, locked)

    def _longest_wait(self) -> float:
        """Return the seconds to wait for the lock, so that there is time to fetch without it."""
        left = self.deadline - self._clock.monotonic()
        longest = _LOCK_WAIT_ON_LEAVING if self.rest.leaving else _LONGEST_LOCK_WAIT
        return max(0.0, min(longest, left - min(_TIME_TO_FETCH, left / 2)))

    async def _adopt(self, stored: Entry | None) -> CachedToken | None:
        """Take over what another process stored, if it is for us."""
        before = self._state.cached  # by now: it may have been refused while the store was asked
        cached = self._adoptable(stored, before, jittered=True)
        if cached is not None:
            self._state.install(cached, wall=self._clock.wall(), adopted=True)
            self.adopted = True
        return cached

    def _adoptable(self, stored: Entry | None, before: CachedToken, *, jittered: bool) -> CachedToken | None:
        """Return another process' token as it would be cached; ``None``: none is stored that this process can use.

        Args:
            stored: What the store holds.
            before: What is cached.
            jittered: Whether its windows get their jitter: those of a token that is only looked at need none.
        """
        token = None if stored is None or not self._store_client.known.is_news(stored) else stored.token
        if token is None:
            return None
        return self._state.adoptable(
            token,
            before=before,
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
            unit_random=self._runtime.random() if jittered else 0.0,
            store_time=self._store_client.calls.refresh_time,
            carrier=self._options.carrier,
        )
