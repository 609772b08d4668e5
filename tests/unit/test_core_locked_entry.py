"""An entry under the store's lock, and what becomes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from asyncauth import Token
from asyncauth._core.known_entry import KnownEntry
from asyncauth._core.locked_entry import LockedEntry
from asyncauth.entry import Entry
from asyncauth.testing import FakeClock

WALL = 1_700_000_000.0
NO_TRY: Any = SimpleNamespace(offered=None)


def locked(clock: FakeClock, entry: Entry) -> LockedEntry:
    known = KnownEntry(clock)
    client: Any = SimpleNamespace(known=known, clock=clock)
    handle: Any = None
    return LockedEntry(client, handle, entry, known.ahead, used=False)


ENTRY = Entry("access-1", issued_at=WALL, expires_at=WALL + 3600, refresh_token="refresh-1", rotations=1)


@pytest.mark.parametrize(("seconds", "moved"), [(0.0, 0.0), (0.9, 0.0), (-0.9, 0.0), (1.0, 1.0), (500.0, 500.0)])
def test_its_times_go_by_the_wall_clock_as_it_is_set_now(clock: FakeClock, seconds: float, moved: float) -> None:
    """Adjustments of less than a second are none."""
    under_lock = locked(clock, ENTRY)
    clock.set_wall(clock.wall() + seconds)
    assert (under_lock.entry.issued_at, under_lock.entry.expires_at) == (WALL + moved, WALL + 3600 + moved)


@pytest.mark.parametrize("had_token", [True, False])
def test_a_refresh_token_that_came_with_a_token_of_no_use_is_kept(clock: FakeClock, *, had_token: bool) -> None:
    """With the access token that was there before, if any; neither is used again."""
    token = Token("access-2", issued_at=WALL, expires_at=WALL + 3600, refresh_token="refresh-2")
    under_lock = locked(clock, ENTRY if had_token else Entry.without_token(now=WALL))
    entry = under_lock.with_refresh_token_of(token, NO_TRY)
    assert entry.value == ("access-1" if had_token else "access-2")
    assert entry.refresh_token == "refresh-2"
    assert entry.expires_at == entry.issued_at
