"""The library's stores say which keys they hold, and change nothing by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from asyncauth import Token
from asyncauth.stores import EncryptedStore, FileStore, MemoryStore

ONE, TWO = "0a" * 32, "0b" * 32

Make = Callable[[Path], "FileStore | MemoryStore | EncryptedStore"]

STORES: dict[str, Make] = {
    "memory": lambda folder: MemoryStore(),
    "file": FileStore,
    "encrypted": lambda folder: EncryptedStore(FileStore(folder), Fernet.generate_key()),
}


def a_token(expires_in: float = 60.0) -> Token:
    now = time.time()
    return Token("s3cret", issued_at=now, expires_at=now + expires_in)


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
async def test_the_keys_of_a_store(make: Make, tmp_path: Path) -> None:
    """`keys` returns each key that holds an entry, in order, and no key that holds none any more."""
    store = make(tmp_path / "tokens")
    assert await store.keys() == []
    token = a_token()
    for key in (TWO, ONE):
        await store.save(key, token)
    async with store.lock(TWO):
        assert await store.keys() == [ONE, TWO]
    await store.delete(ONE, token)
    assert await store.keys() == [TWO]


async def test_listing_makes_nothing(tmp_path: Path) -> None:
    """A folder that is not there holds no key, and is not made by the question."""
    assert await FileStore(tmp_path / "none").keys() == []
    assert not (tmp_path / "none").exists()


async def test_other_files_are_no_entries(tmp_path: Path) -> None:
    """Other files in the folder, such as locks and notes, do not count as keys."""
    for name in (f"{ONE}.lock", f"{ONE}.change", "notes.json", f"{ONE.upper()}.json", f"{ONE[:8]}.x.new"):
        (tmp_path / name).write_text("{}")
    assert await FileStore(tmp_path).keys() == []


async def test_an_entry_that_has_outlived_its_use_is_not_listed() -> None:
    """A store in memory lists no entry that `load` would not return."""
    store = MemoryStore()
    await store.save(ONE, a_token(expires_in=-1.0))
    assert await store.keys() == []
