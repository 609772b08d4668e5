"""The form in which stores write tokens: what comes back, and what counts as absent."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncauth import Token
from asyncauth.stores import Entry, Rejection, dumps, loads, remains, time_to_live

NOW = 1_700_000_000.0
WHOLE = Token(
    "access", issued_at=NOW, expires_at=NOW + 60, refresh_token="refresh", scope="a b", extra={"x": [1, None]}
)

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
moments = st.floats(min_value=-1e12, max_value=1e12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
tokens = st.builds(
    Token,
    visible,
    issued_at=moments,
    expires_at=st.none() | moments,
    token_type=st.sampled_from(["Bearer", "bearer", "DPoP", "N-1"]),
    refresh_token=st.none() | st.text(),
    scope=st.none() | st.text(),
    extra=st.dictionaries(st.text(), values, max_size=4),
)


rejections = st.builds(Rejection, digest=st.text(max_size=8), until=moments, times=st.integers(1, 2**53))
memories = st.lists(rejections, max_size=8).map(tuple)
entries = st.builds(
    lambda token, **marks: attrs.evolve(Entry.of(token), **marks),
    tokens,
    rotations=st.integers(0, 2**53),
    in_use_since=st.none() | moments,
    rejections=memories,
) | st.builds(Entry.without_token, rejections=st.tuples(rejections), in_use_since=st.none() | moments, now=moments)
REJECTION = Rejection(digest="ab12", until=NOW + 60, times=2)
MARKED = attrs.evolve(Entry.of(WHOLE), rotations=3, in_use_since=NOW - 1, rejections=(REJECTION,))


def written(**changes: Any) -> str:
    """Return an entry as it is written, with fields changed; ``...`` takes one out."""
    fields = {**json.loads(dumps(WHOLE)), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...})


@given(tokens)
def test_what_is_written_comes_back(token: Token) -> None:
    """A token survives the round trip, whatever is in it, as an entry without marks."""
    assert loads(dumps(token)) == loads(dumps(token).encode()) == Entry.of(token)
    assert loads(dumps(token)).token == token


@given(entries)
def test_an_entry_comes_back_whole(entry: Entry) -> None:
    """So does what processes tell each other besides, with a token or without one."""
    assert loads(dumps(entry)) == entry
    assert Entry.of(entry) is entry


def test_an_entry_without_a_token_is_none() -> None:
    """Nobody takes an entry that only remembers a rejection for a token."""
    entry = Entry.without_token(rejections=(REJECTION,), now=NOW)
    assert entry.token is None
    assert (entry.value, entry.lifetime) == ("", 0)


def test_the_repr_of_an_entry_shows_no_secret() -> None:
    """It shows the marks, and of a rejection not even the digest."""
    assert repr(Entry.of(WHOLE)) == repr(WHOLE).replace("<Token", "<Entry")
    assert "rotations=3" in repr(MARKED)
    assert "times=2" in repr(MARKED)
    assert not [secret for secret in ("access", "ab12", "'refresh'") if secret in repr(MARKED)]


def test_the_form_is_versioned_json() -> None:
    """The schema's version and fields are pinned: another process may run an older asyncauth."""
    assert json.loads(dumps(WHOLE)) == {
        "v": 1,
        "value": "access",
        "expires_at": NOW + 60,
        "issued_at": NOW,
        "token_type": "Bearer",
        "refresh_token": "refresh",
        "scope": "a b",
        "extra": {"x": [1, None]},
        "rotations": 0,
        "in_use_since": None,
        "rejections": [],
    }
    assert {
        name: value for name, value in json.loads(dumps(MARKED)).items() if value != json.loads(dumps(WHOLE))[name]
    } == {
        "rotations": 3,
        "in_use_since": NOW - 1,
        "rejections": [{"digest": "ab12", "until": NOW + 60, "times": 2}],
    }


def test_what_json_cannot_hold_is_left_out() -> None:
    """A user's own provider may put anything into ``extra``: the token is shared all the same."""
    token = Token("t", issued_at=NOW, extra={"day": dt.date(2026, 1, 1), "n": 1, "set": {1}})
    assert dict(loads(dumps(token)).extra) == {"n": 1}


def test_an_entry_can_be_read_again_whatever_a_server_adds() -> None:
    """Of an answer's other fields the shortest are kept, up to 256 KiB in all, in their order."""
    extra = {"huge": "x" * 300_000, "one": "é" * 20_000, "small": 1, "two": "y" * 100_000, "three": "z" * 100_000}
    text = dumps(Token("t", issued_at=NOW, extra=extra))
    assert list(loads(text).extra) == ["small", "two", "three"]
    assert len(text) < (1 << 18) + 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        '"x"',
        b"\xff\xfe",
        b"\x00" * 64,
        "[" * 100_000,
        "1" * 10_000,
        dumps(WHOLE)[:-1],
        dumps(WHOLE)[: len(dumps(WHOLE)) // 2],
        dumps(WHOLE) + "x",
        " " * (1 << 20) + dumps(WHOLE),
        written(v=0),
        written(v=2),
        written(v=2, value=...),
        written(v=1.0),
        written(v=True),
        written(v="1"),
        written(v=...),
        written(value=""),
        written(value="a b"),
        written(value="a\r\nX: y"),
        written(value="é"),
        written(value=5),
        written(value=None),
        written(value=...),
        written(expires_at="soon"),
        written(expires_at=True),
        written(expires_at=math.inf),
        written(expires_at=math.nan),
        written(expires_at=10**400),
        written(issued_at=None),
        written(issued_at="0"),
        written(token_type=None),
        written(token_type="Be arer"),
        written(token_type=""),
        written(token_type="Bé"),
        written(refresh_token=7),
        written(scope=[]),
        written(extra=None),
        written(extra=[1]),
        written(surprise=1),
        written(value="", expires_at=NOW),  # and no mark
        written(value="", rejections=[{"digest": "", "until": NOW, "times": 1}]),  # and not expired
        written(value="", in_use_since=NOW),
        written(value="", expires_at=None, rejections=[{"digest": "", "until": NOW, "times": 1}]),
        written(rotations=-1),
        written(rotations=1.0),
        written(rotations=True),
        written(rotations=2**53 + 1),
        written(rotations=...),
        written(in_use_since="now"),
        written(rejections=[{}]),
        written(rejections="ab12"),
        written(rejections=[{"digest": "", "until": NOW, "times": 1}] * 9),
        written(rejections=[{"digest": "", "until": NOW}]),
        written(rejections=[{"digest": "", "until": None, "times": 1}]),
        written(rejections=[{"digest": 5, "until": NOW, "times": 1}]),
        written(rejections=[{"digest": "", "until": NOW, "times": 0}]),
        written(rejections=[{"digest": "", "until": NOW, "times": 10**400}]),
        written(rejections=[{"digest": "", "until": NOW, "times": 1, "surprise": 1}]),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_damage_is_told_without_its_content(text: str | bytes) -> None:
    """What is unknown, damaged, truncated or from the future is a ``ValueError`` that shows nothing of it."""
    with pytest.raises(ValueError, match=r"^an entry that is damaged, or of another version$") as caught:
        loads(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_noise_is_a_value_error(noise: str | bytes) -> None:
    """No bytes at all make anything but a ``ValueError``."""
    with pytest.raises(ValueError, match="damaged"):
        loads(noise)


@given(tokens, st.data())
def test_a_flipped_byte_never_escapes(token: Token, data: st.DataObject) -> None:
    """An entry with one byte changed is read or refused; nothing else happens."""
    raw = bytearray(dumps(token).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = loads(bytes(raw))
    except ValueError:
        return
    assert all("\x21" <= char <= "\x7e" for char in read.value)


@pytest.mark.parametrize(
    ("token", "now", "seconds"),
    [
        (Token("t", issued_at=NOW, expires_at=NOW + 60), NOW, 60),
        (Token("t", issued_at=NOW, expires_at=NOW + 60), NOW + 59, 1),
        (Token("t", issued_at=NOW, expires_at=NOW + 60), NOW + 60, 0),
        (Token("t", issued_at=NOW, expires_at=NOW + 60), NOW - 500, 60),  # a clock behind: never over its lifetime
        (Token("t", issued_at=NOW, expires_at=NOW), NOW, 0),
        (Token("t", issued_at=NOW), NOW + 5, 86400),
        (Token("t", issued_at=NOW, expires_at=NOW + 60, refresh_token="r"), NOW, 30 * 86400),
        (Token("t", issued_at=NOW, refresh_token="r"), NOW, 30 * 86400),
        (Token("t", issued_at=NOW, expires_at=NOW + 1e8, refresh_token="r"), NOW, 1e8),
        (Token("t", issued_at=NOW, expires_at=NOW, refresh_token="r", extra={"refresh_expires_in": 90}), NOW, 90),
        (Token("t", issued_at=NOW, expires_at=NOW, refresh_token="r", extra={"refresh_expires_in": 0}), NOW, 2592000),
        (Token("t", issued_at=NOW, expires_at=NOW, refresh_token="r", extra={"refresh_expires_in": "x"}), NOW, 2592000),
        (Entry.without_token(rejections=(REJECTION,), now=NOW), NOW, 3660),  # until then, and an hour for the next try
        (Entry.without_token(rejections=(REJECTION,), now=NOW), NOW + 3660, 0),
        (Entry.without_token(in_use_since=NOW + 1, now=NOW), NOW, 3601),  # its holder may have died
        (Entry("t", issued_at=NOW, expires_at=NOW + 60, rotations=1), NOW, 30 * 86400),  # its refresh token is dropped
        (attrs.evolve(MARKED, refresh_token=None, rotations=0, expires_at=NOW + 9999), NOW, 9999),
        (MARKED, NOW, 30 * 86400),
        (attrs.evolve(MARKED, extra={"refresh_expires_in": 90}), NOW, 3660),
    ],
)
def test_an_entry_lives_as_long_as_it_is_of_use(token: Token, now: float, seconds: float) -> None:
    """The access token's life; 24 h where that is unknown; longer for a refresh token's or a rejection's sake."""
    assert time_to_live(token, now) == seconds


def test_what_remains_of_a_refused_entry() -> None:
    """Nothing; or the refresh token, with an access token that nobody will use."""
    assert remains(Token("t", issued_at=NOW, expires_at=NOW + 60)) is None
    left = remains(WHOLE)
    assert left is not None
    assert (left.refresh_token, left.lifetime, time_to_live(left, NOW)) == ("refresh", 0, 30 * 86400)
    for mark in ({"rotations": 1}, {"in_use_since": NOW}, {"rejections": (REJECTION,)}):
        assert remains(Entry("t", issued_at=NOW, expires_at=NOW + 60, **mark)) is not None
    assert remains(Entry.without_token(in_use_since=NOW, now=NOW)) is None
    alone = remains(attrs.evolve(MARKED, refresh_token=None))
    assert isinstance(alone, Entry)
    assert (alone.value, alone.lifetime, alone.rejections, alone.rotations) == ("access", 0, (REJECTION,), 3)


@pytest.mark.parametrize("levels", [1, 64, 65, 400, 900])
def test_a_deeply_nested_extra_never_keeps_a_token_out_of_the_store(levels: int) -> None:
    """What a server nests more than 64 levels deep is left out; the token and its other fields are kept."""
    deep: Any = json.loads('{"a":' * levels + "1" + "}" * levels)
    back = loads(dumps(Token("access", issued_at=NOW, extra={"deep": deep, "flat": 1})))
    assert dict(back.extra) == ({"deep": deep, "flat": 1} if levels <= 64 else {"flat": 1})


@pytest.mark.parametrize("seconds", [math.nan, -math.inf, -1, 0, True, "60", None])
def test_a_senseless_refresh_expires_in_means_the_usual_time(seconds: object) -> None:
    """NaN cannot be a time to live: a store would reject it."""
    token = Token(
        "access", issued_at=NOW, expires_at=NOW + 60, refresh_token="r", extra={"refresh_expires_in": seconds}
    )
    assert time_to_live(token, NOW) == 30 * 86400.0


def test_an_entry_whose_refresh_token_cant_be_sent_counts_as_absent() -> None:
    """A lone surrogate can't be encoded: a request with it would fail each time, until the entry ended."""
    with pytest.raises(ValueError, match="damaged"):
        loads(written(refresh_token="\ud800"))
