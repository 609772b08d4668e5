"""Which refresh token counts: whatever is lost or falls back, no process sends one that it knows to be spent."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncauth import Token
from asyncauth.entry import MOST, Entry, Rejection, is_later, newest

NOW = 1_700_000_000.0

counts = st.integers(0, MOST)
walls = st.floats(-1e9, 1e9)
marks = st.none() | walls
rejections = st.builds(
    Rejection, digest=st.sampled_from("abcdefghij"), until=st.floats(NOW - 1e4, NOW + 1e4), times=st.integers(1, 9)
)
entries = st.builds(
    lambda number, issued_at, mark, known: Entry(
        f"at-{number}",
        issued_at=issued_at,
        expires_at=issued_at + 60,
        refresh_token=f"rt-{number}",
        rotations=number,
        in_use_since=mark,
        rejections=tuple(known),
    ),
    counts,
    walls,
    marks,
    st.lists(rejections, max_size=8, unique_by=lambda each: each.digest),
)


@given(st.none() | entries, st.none() | entries)
def test_the_count_alone_decides(stored: Entry | None, held: Entry | None) -> None:
    """More rotations win; of equals the stored one. Marks and rejections are the store's, and no clock has a part."""
    chosen = newest(stored, held)
    if stored is None and held is None:
        assert chosen is None
        return
    assert chosen is not None
    assert chosen.rotations == max(each.rotations for each in (stored, held) if each is not None)
    if stored is not None and stored.rotations == chosen.rotations:
        assert chosen is stored
    else:
        assert held is not None
        known = () if stored is None else stored.rejections
        assert chosen == attrs.evolve(held, in_use_since=None, rejections=known)


@given(entries, walls)
def test_the_order_is_no_clocks(entry: Entry, ahead: float) -> None:
    """An entry keeps its place whatever clock its times are by, unless the counts are equal."""
    later = attrs.evolve(entry, rotations=min(entry.rotations + 1, MOST))
    moved = entry.moved(ahead)
    if later.rotations > entry.rotations:
        assert is_later(later, moved)
        assert not is_later(moved, later)
    assert is_later(entry, moved) == (entry.issued_at > moved.issued_at)
    assert (moved.rotations, moved.refresh_token, moved.in_use_since) == (
        entry.rotations,
        entry.refresh_token,
        entry.in_use_since,
    )


@given(entries, st.none() | st.sampled_from(["rt-new"]), st.booleans())
def test_each_change_of_the_refresh_token_counts(entry: Entry, refresh_token: str | None, same: bool) -> None:  # noqa: FBT001
    """A new one, the end of one; not an answer that leaves it as it is. No mark stays."""
    after = entry.refresh_token if same else refresh_token
    renewed = entry.renewed(Token("new", issued_at=NOW, refresh_token=after), accepted=None, now=NOW)
    dropped = entry.with_refresh_token(after)
    for each in (renewed, dropped):
        assert each.rotations == min(entry.rotations + (after != entry.refresh_token), MOST)
        assert each.refresh_token == after
    assert renewed.in_use_since is None


@given(st.lists(rejections, max_size=30), st.sampled_from("abcdefghij"))
def test_rejections_are_kept_one_per_credential(known: list[Rejection], accepted: str) -> None:
    """The latest first, 8 at most, none that is over for an hour; what is accepted is rejected no more."""
    entry = Entry.without_token(now=NOW)
    for each in known:
        entry = entry.with_rejection(each, NOW)
    digests = [each.digest for each in entry.rejections]
    assert len(digests) == len(set(digests)) <= 8
    if known:
        assert entry.rejections[0] == known[-1]
    for each in entry.known_rejections(NOW):
        assert each.until > NOW - 3600
        assert each == next(other for other in reversed(known) if other.digest == each.digest)
    left = entry.renewed(Token("t", issued_at=NOW), accepted=accepted, now=NOW).rejections
    assert [each.digest for each in left] == [
        each.digest for each in entry.known_rejections(NOW) if each.digest != accepted
    ]


@attrs.define
class Fleet:
    """Processes that share an entry, and a server that rotates."""

    store: Entry | None = None
    held: dict[int, Entry] = attrs.field(factory=dict)
    states: list[Entry | None] = attrs.field(factory=lambda: [None])
    spent: dict[str, str] = attrs.field(factory=dict)
    seen: dict[int, set[str]] = attrs.field(factory=dict)
    number: int = 0

    def rotate(self, process: int, *, saved: bool) -> None:
        """Let a process renew under the lock, as the managers do."""
        self.look(process)
        entry = newest(self.store, self.held.get(process)) or Entry.without_token(now=NOW)
        sent = entry.refresh_token
        if sent is not None:
            successors = self._successors(sent)
            assert not successors & self.seen.get(process, set()), "it knows the successor of what it sends"
            if sent in self.spent:  # another process has rotated it, and this one could not know
                sent = None
        self.number += 1
        successor = f"rt-{self.number}"
        if sent is not None:
            self.spent[sent] = successor
        token = Token(f"at-{self.number}", issued_at=-self.number, refresh_token=successor)  # by a clock that goes back
        self.held[process] = renewed = entry.renewed(token, accepted=None, now=NOW)
        self.seen.setdefault(process, set()).add(successor)
        if saved:
            self.store = renewed
            self.states.append(renewed)

    def look(self, process: int) -> None:
        """Let a process see what is stored."""
        stored, held = self.store, self.held.get(process)
        if stored is not None and (held is None or stored.rotations >= held.rotations):
            self.held[process] = stored
            self.seen.setdefault(process, set()).add(stored.refresh_token or "")

    def _successors(self, refresh_token: str) -> set[str]:
        found = set()
        while (refresh_token := self.spent.get(refresh_token, "")) != "":
            found.add(refresh_token)
        return found


steps = st.lists(
    st.tuples(st.just("rotate"), st.integers(0, 2), st.booleans())
    | st.tuples(st.just("look"), st.integers(0, 2), st.just(0))
    | st.tuples(st.just("fall back"), st.integers(0, 20), st.just(0)),
    max_size=40,
)


@settings(max_examples=300)
@given(steps)
def test_nobody_sends_what_it_knows_to_be_spent(walk: list[tuple[str, int, int]]) -> None:
    """Whatever is lost, and however often the store is set back: no process sends an ancestor of what it has seen."""
    fleet = Fleet()
    for what, number, saved in walk:
        if what == "rotate":
            fleet.rotate(number, saved=bool(saved))
        elif what == "look":
            fleet.look(number)
        else:
            fleet.store = fleet.states[number % len(fleet.states)]
