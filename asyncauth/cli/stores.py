"""The store that a command looks into: a folder or a Redis, in the clear or sealed."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import re
import sys
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import attrs

from asyncauth.cli.keychain import Keychain
from asyncauth.cli.outcome import ExitCode, Problem
from asyncauth.stores import EncryptedStore, FileStore, RedisStore
from asyncauth.stores.trouble import SILENT, explained

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable
    from pathlib import Path

__all__ = ["STORE_KEYS_VARIABLE", "STORE_VARIABLE", "Chosen", "StoreFailure", "choose"]

_T = TypeVar("_T")

STORE_VARIABLE = "ASYNCAUTH_STORE"
STORE_KEYS_VARIABLE = "ASYNCAUTH_STORE_KEYS"

_FAREWELL = 1.0
"""Seconds for which a call that was cancelled may put things in order."""
_LIKE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|(?:rediss?|unix)/")
"""How a URL begins, or one with a typo. A scheme has two letters or more: Windows' drives have one."""
_SCHEMES = frozenset({"redis", "rediss", "unix"})


class StoreFailure(Problem):
    """The store could not be used. What to do about it stands apart, in ``do``."""

    def __init__(self, says: str, do: str) -> None:
        super().__init__(f"{says}; {do}", ExitCode.FAILED)
        self.says = says
        self.do = do


@attrs.frozen
class Chosen:
    """A store that the user named.

    Attributes:
        store: What holds tokens, unsealed where there are keys.
        inner: The store itself.
        title: What it is called; without a password.
        folder: Where its files are; ``None`` = it has none.
        address: Host and port, where tokens travel there in the clear; ``None`` = they don't.
    """

    store: FileStore | RedisStore | EncryptedStore
    inner: FileStore | RedisStore
    title: str
    folder: Path | None = None
    address: str | None = None

    @property
    def sealed(self) -> bool:
        """Whether it is looked at through keys."""
        return self.store is not self.inner

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Keep its connection, if it is one that has any, for the length of a ``with`` block."""
        async with self.store if isinstance(self.store, AbstractAsyncContextManager) else contextlib.nullcontext():
            yield

    async def answer(self, call: Awaitable[_T], timeout: float) -> _T:  # noqa: ASYNC109 (it names the seconds)
        """Return what a call to the store returns.

        Raises:
            StoreFailure: It failed, or took too long.
        """
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait((task,), timeout=timeout)
        finally:
            if not task.done():
                await _abandon(task)
        if not task.done() or task.cancelled():
            says, do = SILENT
        elif (error := task.exception()) is None:
            return task.result()
        else:
            says, do = explained(error) or (f"it failed ({type(error).__name__})", "--verbose logs more")
        raise StoreFailure(f"{self.title}: {says}", do)


async def _abandon(task: asyncio.Future[Any]) -> None:
    """Cancel a call, and wait for it a little: it may have something to give back.

    Not for longer. redis-py loses a cancellation that arrives while it connects; the end of the loop cancels it again.
    """
    task.cancel()
    task.add_done_callback(lambda task: task.cancelled() or task.exception())  # looked at: nobody else does
    await asyncio.wait((task,), timeout=_FAREWELL)


def choose(text: str | None, *, prefix: str, encrypted: bool, keyring: str | None) -> Chosen | None:
    """Return the store that was named, by an argument or the environment; ``None``: none was.

    Args:
        text: The argument.
        prefix: What a Redis' keys begin with.
        encrypted: Whether to ask for keys that are not set.
        keyring: The keyring's service, which may hold the store's keys; ``None`` = no keyring is asked.

    Raises:
        Problem: It can't be one, or a secret stands in the argument.
        ConfigurationError: It can't be used: an extra is missing, or a key is none.
    """
    named = text or os.environ.get(STORE_VARIABLE)
    if not named:
        return None
    chosen = _redis(named, prefix, argument=bool(text)) if _LIKE_A_URL.match(named) else _files(named)
    keys = _keys(keyring, encrypted=encrypted)
    return attrs.evolve(chosen, store=EncryptedStore(chosen.inner, keys), address=None) if keys else chosen


def _files(text: str) -> Chosen:
    store = FileStore(text)
    return Chosen(store, store, str(store.path), folder=store.path)


def _redis(text: str, prefix: str, *, argument: bool) -> Chosen:
    parts = _parts(text) if "://" in text else None
    if parts is None or parts.scheme not in _SCHEMES:
        # Without what was written: it may hold a password.
        raise Problem(
            "a store is a folder, or a URL that begins with redis://, rediss:// or unix:// (before a folder with such a"
            " name write ./)"
        )
    place, port, password = parts.hostname, parts.port, parts.password or "password" in parse_qs(parts.query)
    if argument and password:
        raise Problem(
            "the store's URL must have no password: the shell's history would keep it;"
            f" put the URL into {STORE_VARIABLE}"
        )
    store = RedisStore(text, prefix=prefix)
    if parts.scheme == "unix":
        return Chosen(store, store, f"unix://{parts.path}")
    host = f"[{place}]" if place and ":" in place else place or "localhost"
    address = f"{host}:{port or 6379}"
    clear = parts.scheme == "redis" and place not in {None, "localhost", "127.0.0.1", "::1"}
    return Chosen(store, store, f"{parts.scheme}://{address}{parts.path}", address=address if clear else None)


def _parts(text: str) -> SplitResult | None:
    """Return a URL's parts; ``None`` = it has none that can be read."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _keys(keyring: str | None, *, encrypted: bool) -> list[str]:
    """Return the Fernet keys that the user has."""
    text = os.environ.get(STORE_KEYS_VARIABLE, "")
    if not text.strip() and keyring is not None:
        text = Keychain(keyring).get(STORE_KEYS_VARIABLE) or ""
    if not text.strip() and encrypted:
        if not sys.stdin.isatty():
            raise Problem(f"--encrypted needs the store's keys: set {STORE_KEYS_VARIABLE}")
        text = getpass.getpass("Fernet keys of the store: ", stream=sys.stderr)
        if not text.strip():
            raise Problem("no keys were typed")
    return [key for key in re.split(r"[\s,]+", text) if key]
