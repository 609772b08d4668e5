"""What a process knows of one entry in a store: whose refresh token counts, and whether it may be spent. No I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from asyncauth.entry import Entry, newest

if TYPE_CHECKING:
    from asyncauth.clock import Clock

__all__ = ["CLOCK_ADJUSTED", "SENDING", "KnownEntry"]

CLOCK_ADJUSTED = 1.0
"""Seconds by which a wall clock may be adjusted without having been set."""
SENDING = 10.0
"""Seconds that another process may take to send a refresh token and save its successor: as long as a lease."""
_SENDING_ONLY_WAY = 20.0
"""The same where the refresh token is the only way to a token: sent again too soon, it is lost."""
_HEALING = 1.0
"""Seconds that other processes have to save what they know, when the store has fallen back to an older state."""
_LONG_AGO = 300.0
"""Seconds after which a refresh token is not in use any more, whatever clock its mark was written by."""


class KnownEntry:
    """One entry, as far as a process knows of it. It is told what is read and what is written.

    Args:
        clock: The manager's.

    Attributes:
        held: The latest entry with a refresh token that this process has seen or obtained.
        marked: Whether the entry in the store has this process's mark.
    """

    __slots__ = ("_ahead_at", "_clock", "_fallen_at", "_in_store", "_in_use", "_most_stored", "_own_use", "_seen",
                 "held", "marked")  # fmt: skip

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.held: Entry | None = None
        self.marked = False
        self._ahead_at = 0.0  # `ahead` when the times of the held entry were written
        self._in_store = 0  # rotations of the entry in the store, as far as is known
        self._most_stored = 0  # the most rotations that the store is known to have had
        self._fallen_at = math.inf  # since when it is known to have fewer
        self._seen = 0  # the hash of the stored token, as far as is known
        self._own_use: float | None = None  # the mark that this process wrote last
        self._in_use: tuple[float, float] | None = None  # another's mark, and since when it was seen

    # What is read and written

    def differs_from(self, stored: Entry | None) -> bool:
        """Return whether another process has changed the entry since it was last read or written here."""
        return _hash_of(stored) != self._seen

    def note_read(self, stored: Entry | None) -> bool:
        """Take note of what is stored now; return whether that is what this process holds from now on."""
        self._seen = _hash_of(stored)
        self._in_store = 0 if stored is None else stored.rotations
        self._most_stored = max(self._most_stored, self._in_store)
        fallen = self._in_store < self._most_stored
        self._fallen_at = min(self._fallen_at, self._clock.monotonic()) if fallen else math.inf
        mark, known = None if stored is None else stored.in_use_since, self._in_use
        self.marked = mark is not None and mark == self._own_use
        if mark is None or self.marked:
            self._in_use = None
        elif known is None or known[0] != mark:
            recent = abs(self._clock.wall() - mark) < _LONG_AGO
            self._in_use = (mark, self._clock.monotonic() if recent else -math.inf)
        if stored is None or (stored.refresh_token is None and not stored.rotations) or not self.is_news(stored):
            return False
        self.hold(stored)
        return True

    def note_writing(self, entry: Entry) -> None:
        """Take note that an entry is being written, or deleted if it holds nothing."""
        self._seen = 0 if entry.holds_nothing else _hash_of(entry)

    def note_written(self, entry: Entry) -> None:
        """Take note that it has been."""
        self._in_store, self.marked = entry.rotations, entry.in_use_since is not None
        self._most_stored, self._fallen_at = max(self._most_stored, entry.rotations), math.inf

    def note_mark(self, wall: float) -> None:
        """Take note that this process is about to mark the entry as in use."""
        self._own_use = wall

    def forget(self) -> None:
        """Forget the entry: its tokens have been taken out of the store."""
        self.held = None
        self._in_store = self._most_stored = 0
        self.marked, self._fallen_at = False, math.inf

    def after_fork(self) -> None:
        """Leave the mark to the parent process."""
        self._own_use, self.marked = None, False

    # Whose refresh token counts

    def hold(self, entry: Entry) -> None:
        """Remember an entry as the latest."""
        self.held, self._ahead_at = attrs.evolve(entry, in_use_since=None), self.ahead

    @property
    def held_by_our_wall(self) -> Entry | None:
        """The held entry with its times by the wall clock as it is set now."""
        drift = self.ahead - self._ahead_at
        return self.held if self.held is None or abs(drift) < CLOCK_ADJUSTED else self.held.moved(drift)

    @property
    def ahead(self) -> float:
        """The wall clock's seconds, of the monotonic clock's: they change when the wall clock is set."""
        return self._clock.wall() - self._clock.monotonic()

    def is_news(self, stored: Entry) -> bool:
        """Return whether an entry is as late as what this process has seen: else the store was set back."""
        return self.held is None or stored.rotations >= self.held.rotations

    def newest(self, stored: Entry | None) -> Entry:
        """Return the entry that the next token is to be obtained with; an empty one if there is none."""
        entry = newest(stored, self.held_by_our_wall)
        return Entry.without_token(now=self._clock.wall()) if entry is None else attrs.evolve(entry, in_use_since=None)

    @property
    def unsaved(self) -> bool:
        """Whether the store does not know yet what became of a refresh token that this process has sent."""
        return self.held is not None and (self.marked or self.held.rotations > self._in_store)

    @property
    def unsaved_refresh_token(self) -> bool:
        """Whether a new refresh token is known to this process alone."""
        return self.held is not None and self.held.refresh_token is not None and self.held.rotations > self._in_store

    # Whether it may be spent

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
            until = self._in_use[1] + (_SENDING_ONLY_WAY if only_way else SENDING)
        if self._fallen_at < math.inf and only_way:
            until = max(until, self._fallen_at + _HEALING)
        return max(0.0, until - self._clock.monotonic())


def _hash_of(entry: Entry | None) -> int:
    return 0 if entry is None else hash(entry.value)
