"""What a process knows of an entry in a store: decided without a store."""

from __future__ import annotations

import attrs
import pytest

from asyncauth._core.known_entry import KnownEntry
from asyncauth.entry import Entry
from asyncauth.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=1_000_000.0)


def entry(rotations: int, *, in_use_since: float | None = None) -> Entry:
    return Entry(
        f"access-{rotations}",
        issued_at=1_000_000.0,
        expires_at=1_003_600.0,
        refresh_token=f"refresh-{rotations}",
        rotations=rotations,
        in_use_since=in_use_since,
    )


def test_the_latest_entry_is_held_whatever_is_read_afterwards(clock: FakeClock) -> None:
    """A store that was set back gives an older refresh token, which is not sent."""
    known = KnownEntry(clock)
    assert known.note_read(entry(2))
    assert not known.note_read(entry(1))
    assert not known.is_news(entry(1))
    assert known.newest(entry(1)).refresh_token == "refresh-2"
    assert known.unsaved
    assert known.unsaved_refresh_token


def test_nothing_is_unsaved_once_it_is_written(clock: FakeClock) -> None:
    """A mark is unsaved, too: nobody but its process knows what became of the refresh token."""
    known = KnownEntry(clock)
    known.note_mark(clock.wall())
    known.note_written(entry(1, in_use_since=clock.wall()))
    known.hold(entry(1))
    assert known.unsaved
    assert not known.unsaved_refresh_token
    known.note_written(entry(1))
    assert not known.unsaved


@pytest.mark.parametrize(("only_way", "seconds"), [(False, 10.0), (True, 20.0)])
def test_anothers_mark_is_waited_out(clock: FakeClock, seconds: float, *, only_way: bool) -> None:
    """From when it was first seen: reading it again starts nothing anew."""
    known, marked = KnownEntry(clock), entry(1, in_use_since=clock.wall())
    known.note_read(marked)
    assert known.doubtful(marked)
    assert known.seconds_to_wait(only_way=only_way) == seconds
    clock.suspend(4.0)
    known.note_read(marked)
    assert known.seconds_to_wait(only_way=only_way) == seconds - 4.0
    known.note_read(entry(2))
    assert not known.doubtful(entry(2))
    assert known.seconds_to_wait(only_way=only_way) == 0.0


@pytest.mark.parametrize(("ago", "seconds"), [(299.0, 20.0), (300.0, 0.0), (301.0, 0.0), (-299.0, 20.0), (-300.0, 0.0)])
def test_a_mark_of_long_ago_is_not_waited_out(ago: float, seconds: float) -> None:
    """Its process has died; the refresh token may be spent all the same. Also where the clock is at 1 s."""
    clock = FakeClock(wall=1_000_000.0, monotonic=1.0)
    known, marked = KnownEntry(clock), entry(1, in_use_since=clock.wall() - ago)
    known.note_read(marked)
    assert known.doubtful(marked)
    assert known.seconds_to_wait(only_way=True) == seconds


@pytest.mark.parametrize(("only_way", "seconds"), [(False, 0.0), (True, 1.0)])
def test_a_store_that_was_set_back_has_a_second_to_heal(clock: FakeClock, seconds: float, *, only_way: bool) -> None:
    """From when it was first seen; where there is another way to a token, it is taken at once."""
    known = KnownEntry(clock)
    known.note_read(entry(2))
    known.note_read(entry(1))
    assert known.doubtful(entry(1))
    assert known.seconds_to_wait(only_way=only_way) == seconds
    clock.suspend(0.75)
    known.note_read(entry(1))
    assert known.seconds_to_wait(only_way=only_way) == seconds / 4
    known.note_read(entry(2))
    assert not known.doubtful(entry(2))


@pytest.mark.parametrize("forgotten", [False, True])
def test_of_a_store_that_was_not_read_nothing_is_known(clock: FakeClock, *, forgotten: bool) -> None:
    """It counts as empty: an entry is unsaved once its refresh token has been rotated."""
    known = KnownEntry(clock)
    assert not known.differs_from(None)
    if forgotten:
        known.note_read(entry(5))
        known.forget()
    known.hold(entry(0))
    assert (known.unsaved, known.unsaved_refresh_token) == (False, False)
    known.hold(entry(1))
    assert (known.unsaved, known.unsaved_refresh_token) == (True, True)


@pytest.mark.parametrize(
    ("refresh_token", "rotations", "held"), [(None, 0, False), (None, 1, True), ("refresh-0", 0, True)]
)
def test_only_an_entry_that_had_a_refresh_token_is_held(
    clock: FakeClock, refresh_token: str | None, rotations: int, *, held: bool
) -> None:
    """Any other says nothing that a process would have to remember."""
    known = KnownEntry(clock)
    stored = attrs.evolve(entry(rotations), refresh_token=refresh_token)
    assert known.note_read(stored) is held
    assert (known.held is not None) is held


def test_ones_own_mark_is_no_doubt(clock: FakeClock) -> None:
    """Until a fork: the mark is the parent process's."""
    known, marked = KnownEntry(clock), entry(1, in_use_since=clock.wall())
    known.note_mark(clock.wall())
    known.note_read(marked)
    assert not known.doubtful(marked)
    assert known.marked
    known.after_fork()
    assert not known.marked
    known.note_read(marked)
    assert known.doubtful(marked)


def test_a_change_is_one_of_another_process(clock: FakeClock) -> None:
    """What this process writes itself is none."""
    known = KnownEntry(clock)
    assert known.differs_from(entry(1))
    known.note_writing(entry(1))
    assert not known.differs_from(entry(1))
    assert known.differs_from(None)
    known.note_writing(Entry.without_token(now=clock.wall()))
    assert not known.differs_from(None)


@pytest.mark.parametrize(("seconds", "moved"), [(0.9, 0.0), (-0.9, 0.0), (1.0, 1.0), (500.0, 500.0)])
def test_a_wall_clock_that_is_set_moves_what_is_held(clock: FakeClock, seconds: float, moved: float) -> None:
    """Its times go by the wall clock as it is now: no token looks older or younger for it. Less is an adjustment."""
    known = KnownEntry(clock)
    known.hold(entry(1))
    clock.set_wall(clock.wall() + seconds)
    held = known.held_by_our_wall
    assert held is not None
    assert (held.issued_at, held.expires_at) == (1_000_000.0 + moved, 1_003_600.0 + moved)


def test_a_logout_leaves_nothing(clock: FakeClock) -> None:
    """Nothing is held, and nothing to be waited for."""
    known = KnownEntry(clock)
    known.note_read(entry(2))
    known.note_read(entry(1))
    known.forget()
    assert known.held is None
    assert not known.unsaved
    assert not known.doubtful(None)
    assert known.newest(None).refresh_token is None
