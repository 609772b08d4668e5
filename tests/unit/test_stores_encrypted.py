"""What is at rest is unreadable; keys rotate; what no key opens counts as absent."""

from __future__ import annotations

import builtins
import copy
import logging
import pickle
import time
from typing import Any, Self

import attrs
import pytest
from cryptography.fernet import Fernet
from harness.canary import MARK
from hypothesis import given
from hypothesis import strategies as st
from provider_kit import keeps_quiet

from asyncauth import ConfigurationError, StoreError, Token, TokenManager
from asyncauth.expiry import left_of
from asyncauth.stores import EncryptedStore, Entry, MemoryStore, RedisStore, Rejection, time_to_live
from asyncauth.testing import FakeClock, FakeProvider

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
KEY = "cd" * 32
NOW = time.time()
TOKEN = Token(
    f"{MARK}-access",
    issued_at=NOW,
    expires_at=NOW + 60,
    refresh_token=f"{MARK}-refresh",
    scope=f"{MARK}-scope",
    extra={"userName": f"{MARK}-user", "refresh_expires_in": 600},
)


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


async def test_nothing_can_be_read_at_rest(inner: MemoryStore) -> None:
    """Neither tokens nor scope nor extras; the times, and that there is a refresh token, are in the clear."""
    await EncryptedStore(inner, OLD).save(KEY, TOKEN)
    sealed = await inner.load(KEY)
    assert sealed is not None
    assert MARK not in repr([getattr(sealed, field.name) for field in attrs.fields(Token)])
    assert (sealed.issued_at, sealed.expires_at) == (TOKEN.issued_at, TOKEN.expires_at)
    assert time_to_live(sealed, NOW) == time_to_live(TOKEN, NOW) == 600


async def test_keys_rotate(inner: MemoryStore) -> None:
    """The first key writes, all read: a new one goes in front, and the old one out when its entries are gone."""
    before, between, after = EncryptedStore(inner, OLD), EncryptedStore(inner, [NEW, OLD]), EncryptedStore(inner, NEW)
    await before.save(KEY, TOKEN)
    assert await between.load(KEY) == Entry.of(TOKEN)
    assert await after.load(KEY) is None
    await between.save(KEY, TOKEN)
    assert await after.load(KEY) == Entry.of(TOKEN)
    assert await before.load(KEY) is None


async def test_what_no_key_opens_counts_as_absent(inner: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    """One warning. A save replaces the entry, and the next such entry causes a new warning."""
    theirs, ours = EncryptedStore(inner, OLD), EncryptedStore(inner, NEW)
    for _ in range(2):
        await theirs.save(KEY, TOKEN)
        for _ in range(3):
            assert await ours.load(KEY) is None
        await ours.delete(KEY, TOKEN)
        assert await theirs.load(KEY) == Entry.of(TOKEN)
        await ours.save(KEY, TOKEN)
        assert await ours.load(KEY) == Entry.of(TOKEN)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert MARK not in caplog.text


@pytest.mark.parametrize("damage", ["clear", "cut", "noise", "another key's"])
async def test_what_was_tampered_with_counts_as_absent(inner: MemoryStore, damage: str) -> None:
    """An entry in the clear, a damaged one, and one that was copied from another key."""
    store = EncryptedStore(inner, OLD)
    await store.save(KEY, TOKEN)
    sealed = await inner.load(KEY)
    assert sealed is not None
    await inner.save(
        "ef" * 32 if damage == "another key's" else KEY,
        {
            "clear": TOKEN,
            "cut": attrs.evolve(sealed, value=sealed.value[:-5]),
            "noise": attrs.evolve(sealed, value="x"),
            "another key's": sealed,
        }[damage],
    )
    assert await store.load("ef" * 32 if damage == "another key's" else KEY) is None


async def test_a_refused_entry_keeps_its_refresh_token(inner: MemoryStore) -> None:
    """The mark that the inner store sets is seen outside."""
    store = EncryptedStore(inner, OLD)
    await store.save(KEY, TOKEN)
    await store.delete(KEY, TOKEN)
    stored = await store.load(KEY)
    assert stored is not None
    assert (stored.lifetime, stored.refresh_token) == (0, f"{MARK}-refresh")


OTHER = "ef" * 32

# What somebody who can write into the inner store can make of an entry, without the keys.
forgeries = st.fixed_dictionaries(
    {},
    optional={
        "expires_at": st.none() | st.floats(),
        "issued_at": st.floats(),
        "refresh_token": st.none() | st.just("another"),
        "token_type": st.sampled_from(["sealed", "Bearer"]),
        "extra": st.just({"refresh_expires_in": 1e9}),
        "rotations": st.just(9),
        "in_use_since": st.just(NOW),
        "rejections": st.just(()) | st.just((Rejection(digest="sealed", until=NOW + 1e9, times=1),)),
    },
)
lives = st.tuples(st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6))


@given(lives, forgeries, st.floats(-1e6, 1e6), st.sampled_from([KEY, OTHER]))
async def test_whoever_can_write_the_inner_store_can_only_shorten(
    life: tuple[float, float | None], forged: dict[str, Any], later: float, under: str
) -> None:
    """Whatever they write: a token ends no later than is sealed, lives no longer, and is found under no other key."""
    issued_at, expires_at = NOW + life[0], None if life[1] is None else NOW + life[1]
    entry = Entry("t", issued_at=issued_at, expires_at=expires_at, refresh_token="r", rotations=2)
    inner = _Dict()
    store = EncryptedStore(inner, OLD)
    await store.save(KEY, entry)
    inner.entries[under] = attrs.evolve(inner.entries[KEY], **forged)
    assert await store.load(OTHER) is None
    stored = await store.load(KEY)
    if stored is None:
        assert forged.get("token_type") == "Bearer"
        return
    assert (stored.value, stored.refresh_token, dict(stored.extra)) == ("t", "r", {})
    assert isinstance(stored, Entry)
    assert (stored.rotations, stored.in_use_since, stored.rejections) == (2, None, ())
    now = NOW + later
    sealed, found = (left_of(each.expires_at, each.issued_at, now) for each in (entry, stored))
    assert not found > sealed + 1e-3  # NaN is not more: such an entry is not taken for a token


@pytest.mark.parametrize(("age", "usable"), [(86300.0, True), (86500.0, False)])
async def test_an_unknown_lifetime_ends_after_a_day(
    inner: MemoryStore, age: float, *, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often an old entry is put back: what has no end is given one by the time that is sealed."""
    store = EncryptedStore(inner, OLD)
    monkeypatch.setattr("asyncauth.stores.memory.time_to_live", lambda *_: 1e9)
    await store.save(KEY, Token("t", issued_at=time.time() - age))
    stored = await store.load(KEY)
    assert stored is not None
    assert (stored.lifetime is None) is usable
    assert stored.lifetime in (None, 0)


async def test_an_earlier_end_outside_counts(inner: MemoryStore) -> None:
    """An inner store that knows an entry to be older than its times say, as Redis does, shortens its life."""
    store = EncryptedStore(inner, OLD)
    await store.save(KEY, TOKEN)
    sealed = await inner.load(KEY)
    assert sealed is not None
    await inner.save(KEY, attrs.evolve(sealed, issued_at=NOW - 20, expires_at=NOW + 40))
    stored = await store.load(KEY)
    assert stored is not None
    assert (stored.issued_at, stored.expires_at) == (NOW - 20, NOW + 40)


async def test_an_older_entry_that_is_put_back_ends_when_it_would_have(inner: MemoryStore) -> None:
    """A replay brings back what was, for no longer than it was to be."""
    store = EncryptedStore(inner, OLD)
    await store.save(KEY, TOKEN)
    old = await inner.load(KEY)
    assert old is not None
    await store.save(KEY, attrs.evolve(TOKEN, issued_at=NOW + 50, expires_at=NOW + 110))
    await inner.save(KEY, attrs.evolve(old, issued_at=NOW + 50, expires_at=NOW + 110))
    stored = await store.load(KEY)
    assert stored is not None
    assert (stored.issued_at, stored.expires_at) == (TOKEN.issued_at, TOKEN.expires_at)


async def test_a_rejection_is_sealed(inner: MemoryStore) -> None:
    """Outside it shows that there is one, and until when; a refusal of the access token leaves it."""
    store, rejection = EncryptedStore(inner, OLD), Rejection(digest="ab12", until=NOW + 60, times=3)
    await store.save(KEY, Entry("t", issued_at=NOW, expires_at=NOW + 10, rejections=(rejection,)))
    sealed = await inner.load(KEY)
    assert isinstance(sealed, Entry)
    assert sealed.rejections == (Rejection(digest="sealed", until=NOW + 60, times=1),)
    await store.delete(KEY, Token("t"))
    stored = await store.load(KEY)
    assert isinstance(stored, Entry)
    assert (stored.lifetime, stored.rejections) == (0, (rejection,))


class _Dict(MemoryStore):
    """An inner store that keeps what it is given, for as long as it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, Any] = {}

    async def load(self, key: str) -> Token | None:
        return self.entries.get(key)

    async def save(self, key: str, token: Token) -> None:
        self.entries[key] = token


@pytest.mark.parametrize("keys", [[], "short", MARK, b"", "x" * 44, [OLD, MARK], [MARK, OLD], [None]])
def test_keys_that_are_none_are_refused_unseen(keys: Any) -> None:
    """The error says which, and neither it, its chain nor a frame shows one."""
    with pytest.raises(ConfigurationError) as caught:
        EncryptedStore(MemoryStore(), keys)
    keeps_quiet(caught.value, MARK, OLD.decode())
    assert "generate_key()" in str(caught.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear ``ConfigurationError``."""
    real = builtins.__import__

    def no_cryptography(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("builtins.__import__", no_cryptography)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncauth\[crypto\]'"):
        EncryptedStore(MemoryStore(), OLD)


def test_neither_repr_nor_pickle_shows_a_secret() -> None:
    """Keys, tokens, and the password in a Redis URL."""
    pytest.importorskip("redis")
    redis = RedisStore(f"redis://user:{MARK}@localhost:1/0")
    sealed = EncryptedStore(redis, OLD)
    assert MARK not in f"{redis!r} {redis} {sealed!r}"
    assert OLD.decode() not in repr(sealed)
    for store in (redis, sealed):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                attempt(store)


async def test_it_is_as_strict_as_the_store_inside(inner: MemoryStore) -> None:
    """And can be closed whether that can or not."""
    assert EncryptedStore(RedisStore("redis://localhost:1", strict=True), OLD).strict
    assert not EncryptedStore(inner, OLD).strict
    await EncryptedStore(inner, OLD).close()


@pytest.mark.parametrize("given", ["localhost:6379", "http://x", "", None, 7, object(), b"redis://x"])
def test_redis_takes_a_url_or_a_client(given: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigurationError, match="RedisStore takes a URL"):
        RedisStore(given)


@pytest.mark.parametrize("url", [f"redis://:{MARK}@h:notaport", f"redis://:{MARK}@h?bogus=1", "redis://h:99999999"])
def test_redis_refuses_a_url_it_cannot_use(url: str) -> None:
    """A URL that no connection could be made with is refused at once, without its password."""
    pytest.importorskip("redis")
    with pytest.raises(ConfigurationError, match="can't use this URL") as caught:
        RedisStore(url)
    assert caught.value.__context__ is None
    assert MARK not in str(caught.value)


def test_redis_takes_a_text_as_prefix() -> None:
    """Any other prefix is refused at once."""
    with pytest.raises(ConfigurationError, match="prefix= takes a str, not int"):
        RedisStore("redis://h", prefix=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("store", "keys"), [(None, "key"), (MemoryStore(), None), (MemoryStore(), 5)])
def test_encrypted_takes_a_store_and_keys(store: Any, keys: Any) -> None:
    """Anything else is refused by its type."""
    with pytest.raises(ConfigurationError, match=r"EncryptedStore takes .* not (NoneType|int)"):
        EncryptedStore(store, keys)


def test_redis_refuses_a_blocking_client() -> None:
    """One of ``redis.Redis`` would block the loop."""
    import redis

    with pytest.raises(ConfigurationError, match=r"client of redis\.asyncio"):
        RedisStore(redis.Redis())


def test_redis_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear ``ConfigurationError``, whose traceback shows no password."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncauth\[redis\]'") as caught:
        RedisStore(f"redis://:{MARK}@localhost")
    frames = []
    trace = caught.value.__traceback__
    while trace is not None:
        frames.append({name: repr(value) for name, value in trace.tb_frame.f_locals.items()})
        trace = trace.tb_next
    assert MARK not in repr(frames[1:])


async def test_what_is_inside_is_opened_and_closed_with_it(inner: MemoryStore) -> None:
    """An inner store that is entered, or closed, is when this one is; one that knows neither is left alone."""
    seen: list[str] = []

    class Opened(MemoryStore):
        async def __aenter__(self) -> Self:
            seen.append("enter")
            return self

        async def __aexit__(self, *_: object) -> None:
            seen.append("exit")

        async def close(self) -> None:
            seen.append("close")

    for store in (EncryptedStore(Opened(), NEW), EncryptedStore(inner, NEW)):
        async with store:
            await store.save(KEY, TOKEN)
        await store.close()
    assert seen == ["enter", "exit", "close"]


class OnlyWay(FakeProvider):
    """A refresh token is its only way to a token."""

    needs_lock = True


@pytest.mark.parametrize("only_way", [False, True])
async def test_an_encrypted_entry_is_no_token_for_who_has_no_keys(*, only_way: bool) -> None:
    """What it holds is never sent: a manager on the bare store gets a token of its own, or says why it can't."""
    inner = MemoryStore()
    answers = [Token("theirs", expires_at=4e9, refresh_token="refresh"), Token("own", expires_at=4e9)]
    provider = (OnlyWay if only_way else FakeProvider)(answers=answers)
    await TokenManager(provider, store=EncryptedStore(inner, OLD)).token()
    (key,) = await inner.keys()
    before = await inner.load(key)
    bare = TokenManager(provider, store=inner, clock=FakeClock(auto=True))
    if only_way:
        with pytest.raises(StoreError, match="encrypted"):
            await bare.token()
    else:
        assert (await bare.token()).value == "own"
    assert "encrypted" in str(bare.status().store)
    assert await inner.load(key) == before
