"""A store's entry while a token is obtained with it, under the store's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth._core.known_entry import CLOCK_ADJUSTED

if TYPE_CHECKING:
    from asyncauth._core.store_client import StoreClient
    from asyncauth._core.store_lock import LockHandle
    from asyncauth._core.try_state import TryState
    from asyncauth.entry import Entry
    from asyncauth.token import Token

__all__ = ["LockedEntry"]


@attrs.frozen(eq=False)
class LockedEntry:
    """The entry, and what is done with it.

    Attributes:
        store_client: The manager's.
        lock_handle: The lock.
        ahead: `KnownEntry.ahead` when the entry's times were written.
        used: Whether it was marked as being in use.
    """

    store_client: StoreClient
    lock_handle: LockHandle
    _entry: Entry
    ahead: float
    used: bool

    @property
    def entry(self) -> Entry:
        """The entry, with its times by the wall clock as it is set now."""
        drift = self.store_client.known.ahead - self.ahead
        return self._entry if abs(drift) < CLOCK_ADJUSTED else self._entry.moved(drift)

    def renewed(self, token: Token, context: TryState) -> Entry:
        """Return the entry of a token that was obtained with it."""
        return self.entry.renewed(token, accepted=context.offered, now=self.store_client.clock.wall())

    def with_refresh_token_of(self, token: Token, context: TryState) -> Entry:
        """Return the entry with the refresh token that came with an access token of no use."""
        entry = self.entry
        entry = entry.with_refresh_token(token.refresh_token) if entry.value else self.renewed(token, context)
        return attrs.evolve(entry, expires_at=entry.issued_at)

    async def save(self, entry: Entry) -> None:
        """Save what was obtained."""
        await self.store_client.save(entry, lock_handle=self.lock_handle)

    async def settle(self, entry: Entry) -> None:
        """Save what became of it without a token."""
        await self.store_client.settle(entry, lock_handle=self.lock_handle)

    def hold(self, entry: Entry) -> None:
        """Keep what became of it, without waiting for the store."""
        self.store_client.known.hold(entry)
