"""A store in files: for the processes of one machine, and for a token that outlives its process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import stat
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncauth._base.printable import printable
from asyncauth.entry import remains
from asyncauth.errors import ConfigurationError
from asyncauth.stores.base import is_key
from asyncauth.stores.codec import LARGEST_ENTRY, Reader, dumps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from asyncauth.token import Token

__all__ = ["FileStore"]

_USABLE = "name a folder that this process can make or use"

_POLL = 0.05
"""Seconds between checks of a lock that another process holds."""
_FAREWELL = 0.5
"""Seconds that a cancelled task waits for the file system's answer, in case it was given the lock."""


class FileStore:
    """Keeps each token in a file of a folder, which only its owner can read.

    Files have mode 0600, a folder that the store makes 0700; an existing folder is not changed. Windows ignores modes:
    there, the permissions of the containing folder decide who can read the files. A file is written completely or not
    at all. The lock is the operating system's, so it ends with the process that holds it. Not for network file systems
    without working locks: use Redis there.

    The tokens are not encrypted; to encrypt them, wrap the store in an `EncryptedStore`.

    Args:
        path: The folder. It is made on the first write.
        strict: Whether callers receive a ``StoreError`` if the files can't be used; ``False`` (default): the manager
            continues without them.

    Raises:
        ConfigurationError: The extra is not installed, or the path is a file, or cannot be a folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, strict: bool = False) -> None:
        if importlib.util.find_spec("filelock") is None:
            raise ConfigurationError("FileStore needs filelock", advice="pip install 'asyncauth[file]'")
        name = _name(path)
        if not isinstance(name, str) or not name:
            kind = "an empty path" if name == "" else type(name).__name__
            raise ConfigurationError(f"FileStore takes the path of a folder, not {kind}")
        folder = _folder(name)
        if isinstance(folder, ConfigurationError):
            raise folder
        import filelock  # noqa: PLC0415 (an extra, whose import reads a file: not on an event loop)

        self.path, self.strict = folder, strict
        self._new_lock = partial(filelock.FileLock, mode=0o600, thread_local=False)
        self._reader = Reader(str(folder))

    async def load(self, key: str) -> Token | None:
        """Return the token in a key's file; ``None``: there is none, or it is unreadable."""
        return await asyncio.to_thread(self._load, key)

    async def keys(self) -> list[str]:
        """Return the keys that have a file, in order. Only reads: takes no lock, and makes no folder."""
        return await asyncio.to_thread(self._keys)

    async def save(self, key: str, token: Token) -> None:
        """Write a token into a key's file, completely or not at all."""
        async with self._changing(key):
            await asyncio.to_thread(self._save, key, token)

    async def delete(self, key: str, token: Token) -> None:
        """Replace the entry with what remains of it, if it is this token's."""
        async with self._changing(key):
            await asyncio.to_thread(self._delete, key, token)

    @contextlib.asynccontextmanager
    async def lock(self, key: str) -> AsyncGenerator[None, None]:
        """Hold a key's lock: only one task of one process at a time does."""
        async with self._locked(self._file(key).with_suffix(".lock")):
            yield

    def _changing(self, key: str) -> AbstractAsyncContextManager[None]:
        """Hold a lock, so that an entry is not replaced between its comparison and its deletion."""
        return self._locked(self._file(key).with_suffix(".change"))

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.json"

    @contextlib.asynccontextmanager
    async def _locked(self, path: Path) -> AsyncGenerator[None, None]:
        # One lock object per use, in any thread: the operating system treats two objects as two holders.
        lock = self._new_lock(path)
        while not await _finished(self._try(lock), lock.release):  # noqa: ASYNC110 (another process holds it)
            await asyncio.sleep(_POLL)
        try:
            yield
        finally:
            lock.release()

    async def _try(self, lock: Any) -> bool:
        """Take a lock if it is free; return whether it is held."""
        import filelock  # noqa: PLC0415 (an extra)

        def attempt() -> bool:
            self._make_folder()
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            return True

        return await asyncio.to_thread(attempt)

    def _make_folder(self) -> None:
        for folder in (*reversed(self.path.parents), self.path):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(mode=0o700)

    def _keys(self) -> list[str]:
        try:
            return sorted(path.stem for path in self.path.iterdir() if path.suffix == ".json" and is_key(path.stem))
        except FileNotFoundError:  # no entry was written yet
            return []

    def _load(self, key: str) -> Token | None:
        try:
            content = _content(self._file(key))
        except FileNotFoundError:
            return None
        if content is None:
            self._reader.tell(key, "it is not a file")
            return None
        return self._reader.read(key, content)

    def _save(self, key: str, token: Token) -> None:
        self._make_folder()
        path = self._file(key)
        new = path.with_suffix(".new")  # one per key, under its lock: an existing file was left by a process that ended
        new.unlink(missing_ok=True)
        try:
            with open(new, "x", encoding="utf-8", opener=_open_new) as file:
                file.write(dumps(token))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def _delete(self, key: str, token: Token) -> None:
        stored = self._load(key)
        if stored is None or stored.value != token.value:
            return
        left = remains(stored)
        if left is None:
            self._file(key).unlink(missing_ok=True)
        else:
            self._save(key, left)

    @property
    def place(self) -> str:
        """The folder, for the log."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"<FileStore {printable(str(self.path))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), strict=self.strict), (self.path,)


def _name(path: object) -> object:
    """Return a path as a text; another object unchanged."""
    try:
        return os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        return path


def _folder(name: str) -> Path | ConfigurationError:
    """Return the folder of that name, whether it exists or not; or the error if it cannot be a folder."""
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        return ConfigurationError(f"FileStore can't use this path: {error}", advice=_USABLE)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:
        return ConfigurationError(
            f"FileStore can't use this path: {getattr(error, 'strerror', None) or error}", advice=_USABLE
        )
    return path if stat.S_ISDIR(mode) else ConfigurationError(f"FileStore takes a folder, and {path} is a file")


def _content(path: Path) -> bytes | None:
    """Return the beginning of a file, up to one byte more than the largest entry; ``None``: it is not a regular file.

    A pipe is not opened for reading: it might never receive anything.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(LARGEST_ENTRY + 1)
    except IsADirectoryError:
        pass
    return None


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


async def _finished(attempt: Coroutine[Any, Any, bool], undo: Callable[[], object]) -> bool:
    """Return the result of an attempt; if the caller is cancelled meanwhile, undo the attempt if it succeeds.

    A thread can't be cancelled, and a lock that it takes after its task has ended would never be released.
    """
    task = asyncio.ensure_future(attempt)

    def ended(task: asyncio.Task[bool]) -> None:
        if not task.cancelled() and task.exception() is None and task.result():
            undo()

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait((task,), timeout=_FAREWELL)
        finally:
            task.add_done_callback(ended)
        raise
