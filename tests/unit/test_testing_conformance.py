"""Every store of the library, sealed and in the clear, keeps what a manager relies on."""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.fernet import Fernet

from asyncauth import Token
from asyncauth.stores import EncryptedStore, FileStore, MemoryStore, TokenStore
from asyncauth.testing import StoreConformance
from asyncauth.testing.conformance import _takes

KEY = Fernet.generate_key()


class TestMemoryStore(StoreConformance):
    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        store = MemoryStore()
        return store, store


class TestFileStore(StoreConformance):
    path: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "tokens"

    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        return FileStore(self.path), FileStore(self.path)


class TestEncryptedMemoryStore(StoreConformance):
    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        store = MemoryStore()
        return EncryptedStore(store, KEY), EncryptedStore(store, [KEY])


class TestEncryptedFileStore(TestFileStore):
    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        one, two = super().make_stores()
        return EncryptedStore(one, KEY), EncryptedStore(two, [KEY, Fernet.generate_key()])


def _documented_store() -> str:
    """Return the store that the protocol's docstring shows, as source."""
    _, after = inspect.cleandoc(TokenStore.__doc__ or "").split("with these four methods::\n\n", 1)
    lines = after.splitlines()
    end = next(number for number, line in enumerate(lines) if line and not line.startswith("    "))
    return textwrap.dedent("\n".join(lines[:end]))


class TestTheStoreOfTheDocumentation(StoreConformance):
    """Its source is taken from the docstring, so what is shown is what is tested."""

    def make_stores(self) -> tuple[TokenStore, TokenStore]:
        names: dict[str, Any] = {}
        exec(_documented_store(), names)  # noqa: S102 (our own docstring)
        store = names["DictStore"]()
        return store, store


def test_the_documented_store_is_short() -> None:
    """A store takes 30 lines, and is a `TokenStore` to a type checker's runtime twin."""
    source = _documented_store()
    assert 15 <= len(source.strip().splitlines()) <= 30
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102
    assert isinstance(names["DictStore"](), TokenStore)


def test_the_suite_needs_pytest_only_where_it_runs() -> None:
    """``import asyncauth.testing`` loads no pytest, and no extra."""
    code = "import sys, asyncauth.testing; print([n for n in ('pytest', 'redis', 'filelock') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestTheSuiteFindsFaults:
    """A suite that passes anything proves nothing."""

    @pytest.mark.parametrize(
        ("fault", "test"),
        [
            ("deletes blindly", "test_a_late_refusal_leaves_the_new_token"),
            ("deletes refresh tokens", "test_a_refused_token_leaves_its_refresh_token"),
            ("locks nothing", "test_one_at_a_time_holds_the_lock"),
            ("one lock for all", "test_locks_of_other_keys_are_free"),
            ("keeps what is spent", "test_a_spent_token_replaces_one_that_was_not"),
            ("knows tokens only", "test_an_entry_comes_back_whole"),
            ("knows tokens only", "test_a_rejection_without_a_token_is_kept"),
            ("knows tokens only", "test_a_refused_token_leaves_the_rejection"),
            ("keeps what is spent", "test_a_rejection_without_a_token_is_kept"),
        ],
    )
    def test_it_finds(self, fault: str, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store with this fault does not pass."""
        monkeypatch.setattr("asyncauth.testing.conformance._takes", _takes_briefly)

        class Faulty(StoreConformance):
            def make_stores(self) -> tuple[TokenStore, TokenStore]:
                store = _Faulty(fault)
                return store, store

        with pytest.raises(AssertionError):
            getattr(Faulty(), test)()


async def _takes_briefly(store: TokenStore, key: str, *, within: float = 0.1) -> bool:
    return await _takes(store, key, within=min(within, 0.1))


class _Faulty(MemoryStore):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault

    async def save(self, key: str, token: Any) -> None:
        if self._fault != "keeps what is spent" or token.expires_at > token.issued_at:
            await super().save(key, token)

    async def load(self, key: str) -> Token | None:
        stored = await super().load(key)
        known = attrs.fields(Token) if self._fault == "knows tokens only" else ()
        return Token(**{each.name: getattr(stored, each.name) for each in known}) if stored and known else stored

    async def delete(self, key: str, token: Any) -> None:
        if self._fault.startswith("deletes"):
            stored = await self.load(key)
            if stored is not None and (self._fault == "deletes blindly" or stored.value == token.value):
                del self._tokens[key]
        else:
            await super().delete(key, token)

    def lock(self, key: str) -> Any:
        if self._fault == "locks nothing":
            return contextlib.nullcontext()
        return super().lock("one" if self._fault == "one lock for all" else key)
