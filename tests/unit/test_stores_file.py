"""Files: whole or not at all, for their owner's eyes, and no damage that fails anybody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fork_kit import can_fork
from harness.canary import MARK
from harness.systems import SYSTEM

from asyncauth import ConfigurationError, Token, TokenManager
from asyncauth.stores import FileStore, dumps
from asyncauth.stores.file import _finished
from asyncauth.testing import FakeProvider

KEY = "ab" * 32

needs_modes = pytest.mark.skipif(os.name == "nt" or SYSTEM == "windows", reason="Windows ignores modes")


def a_token(value: str = MARK, **fields: Any) -> Token:
    return Token(value, issued_at=time.time(), expires_at=time.time() + 60, **fields)


def files(folder: Path, suffix: str = "") -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.startswith(suffix)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True, params=[0o022, 0o000, 0o077])
def _umask(request: pytest.FixtureRequest) -> Any:
    before = os.umask(request.param)
    yield
    os.umask(before)


@can_fork
@pytest.mark.filterwarnings("ignore:.*is multi-threaded.*:DeprecationWarning")
def test_what_a_killed_process_leaves_is_gone_with_the_next_save(tmp_path: Path) -> None:
    """A half-written file holds tokens as well: it is not left there, and harms nothing meanwhile."""
    store = FileStore(tmp_path)
    asyncio.run(store.save(KEY, a_token("access-old")))
    child = os.fork()
    if child == 0:
        os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
        try:
            asyncio.run(FileStore(tmp_path).save(KEY, a_token("access-new")))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    assert [path.suffix for path in sorted(files(tmp_path))] == [".change", ".json", ".new"]
    stored = asyncio.run(store.load(KEY))
    assert stored is not None
    assert stored.value == "access-old"
    asyncio.run(store.save(KEY, a_token("access-newer")))
    assert [path.suffix for path in sorted(files(tmp_path))] == [".change", ".json"]


@pytest.mark.skipif(os.name == "nt" or SYSTEM == "windows", reason="links need rights there")
@pytest.mark.parametrize("suffix", [".lock", ".change", ".new"])
async def test_a_planted_link_is_not_followed(tmp_path: Path, suffix: str) -> None:
    """An attacker who can write in the folder cannot have a file elsewhere emptied, written, or given another mode."""
    folder, target = tmp_path / "tokens", tmp_path / "target"
    folder.mkdir()
    target.write_text("precious")
    target.chmod(0o640)
    (folder / f"{KEY}{suffix}").symlink_to(target)
    store = FileStore(folder)
    with contextlib.suppress(OSError):
        async with store.lock(KEY):
            await store.save(KEY, a_token())
    assert (target.read_text(), mode(target)) == ("precious", 0o640)


@needs_modes
async def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    """Mode 0600 for every file, lock files too, and 0700 for each folder it makes; whatever the umask."""
    store = FileStore(tmp_path / "a" / "b")
    async with store.lock(KEY):
        await store.save(KEY, a_token(refresh_token="r"))
        await store.delete(KEY, a_token())
    found = files(tmp_path / "a" / "b")
    assert {path.suffix for path in found} == {".json", ".lock", ".change"}
    assert {mode(path) for path in found} == {0o600}
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700


@needs_modes
async def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    """Its mode is its owner's business, and so are the files in it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "notes.txt").write_text("mine")
    await FileStore(folder).save(KEY, a_token())
    assert mode(folder) == 0o755
    assert (folder / "notes.txt").read_text() == "mine"


async def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    """A look at what is not there makes no folder."""
    store = FileStore(tmp_path / "tokens")
    assert await store.load(KEY) is None
    assert not store.path.exists()


async def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up costs neither the old entry nor a temporary file left behind."""
    store = FileStore(tmp_path)
    await store.save(KEY, a_token("old"))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            await store.save(KEY, a_token("new"))
    stored = await store.load(KEY)
    assert stored is not None
    assert stored.value == "old"
    assert {path.suffix for path in files(tmp_path)} == {".json", ".change"}


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """While one process writes again and again, another always reads a whole entry."""
    writer, reader = FileStore(tmp_path), FileStore(tmp_path)
    await writer.save(KEY, a_token("x" * 50_000))

    async def write() -> None:
        for number in range(20):
            await writer.save(KEY, a_token(f"{number}" + "x" * 50_000))

    writing = asyncio.ensure_future(write())
    while not writing.done():
        assert await reader.load(KEY) is not None
    await writing


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\x00" * 100, b'{"v":2}', dumps(a_token()).encode()[:-9], b"x" * (1 << 25)],
    ids=["empty", "truncated", "zeros", "future", "cut", "huge"],
)
async def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, which names the key's first digits and nothing of the content. The next save replaces the file."""
    store = FileStore(tmp_path)
    (tmp_path / f"{KEY}.json").write_bytes(damage)
    for _ in range(3):
        assert await store.load(KEY) is None
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert f"entry {KEY[:8]}… is treated as absent" in caplog.text
    assert MARK not in caplog.text
    await store.delete(KEY, a_token())
    await store.save(KEY, a_token())
    assert await store.load(KEY) is not None
    assert len(caplog.records) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
async def test_what_is_no_file_counts_as_absent(tmp_path: Path, make: Any) -> None:
    """A folder in the file's place causes no failure, and a pipe without a writer no wait."""
    make(tmp_path / f"{KEY}.json")
    store = FileStore(tmp_path)
    assert await asyncio.wait_for(store.load(KEY), 30) is None
    assert await store.keys() == [KEY]


async def test_a_second_damage_is_told_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning per damage, not only the first time."""
    store = FileStore(tmp_path)
    for _ in range(2):
        (tmp_path / f"{KEY}.json").write_text("{")
        assert await store.load(KEY) is None
        await store.save(KEY, a_token())
        assert await store.load(KEY) is not None
    assert len(caplog.records) == 2


async def test_a_manager_survives_a_damaged_file(tmp_path: Path) -> None:
    """It fetches, and what it saves takes the damaged file's place."""
    for number in range(2):
        manager = TokenManager(FakeProvider(), store=FileStore(tmp_path))
        assert (await manager.token()).value == "token-1"
        assert manager.status().store == "ok"
        (path,) = files(tmp_path, ".json")
        if number == 0:
            path.write_bytes(path.read_bytes()[:20])
    assert manager.status().refreshes == 1
    assert (await TokenManager(FakeProvider(), store=FileStore(tmp_path)).token()).value == "token-1"


async def test_a_folder_that_cannot_be_used_fails_nobody(tmp_path: Path) -> None:
    """A file where the folder should be: the manager does without the store, and says so."""
    store = FileStore(tmp_path / "tokens")
    (tmp_path / "tokens").write_text("in the way")
    manager = TokenManager(FakeProvider(), store=store)
    assert (await manager.token()).value == "token-1"
    assert "Error" in (manager.status().store or "")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """The path of a file is refused at once."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="takes a folder"):
        FileStore(tmp_path / "file")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear ``ConfigurationError``, not an ``ImportError`` at the first refresh."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'asyncauth\[file\]'"):
        FileStore(tmp_path)


def test_it_travels_to_another_process(tmp_path: Path) -> None:
    """It holds no secret, so it can be pickled, strictness included."""
    twin = pickle.loads(pickle.dumps(FileStore(tmp_path, strict=True)))  # noqa: S301 (our own)
    assert (twin.path, twin.strict) == (tmp_path, True)


async def test_a_slow_file_system_blocks_no_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a lock file on a file system that hangs holds up the store's call, not the program."""
    real = os.open
    hangs, answers = threading.Event(), threading.Event()

    def slow(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".lock"):
            hangs.set()
            assert answers.wait(20), "the event loop is held up"
        return real(path, *args, **kwargs)

    store = FileStore(tmp_path)
    async with store.lock(KEY):
        pass
    monkeypatch.setattr("os.open", slow)

    async def use() -> None:
        async with store.lock(KEY):
            pass

    using = asyncio.ensure_future(use())
    while not hangs.is_set():  # noqa: ASYNC110 (a thread's)
        await asyncio.sleep(0.001)
    assert not using.done()
    answers.set()
    await using


async def test_a_lock_taken_too_late_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread can't be cancelled: the lock it takes after its task's end must not stay taken."""
    import filelock

    real = filelock.FileLock.acquire

    def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.2)
        return real(self, *args, **kwargs)

    store = FileStore(tmp_path)

    async def hold() -> None:
        async with store.lock(KEY):
            pytest.fail("it was cancelled before")

    with monkeypatch.context() as patched:
        patched.setattr(filelock.FileLock, "acquire", slow)
        waiter = asyncio.ensure_future(hold())
        await asyncio.sleep(0.05)
        waiter.cancel()
        await asyncio.wait((waiter,))
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5), store.lock(KEY):
        pass


class Named:
    """A path as other libraries have them."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __fspath__(self) -> Any:
        return self.name


@pytest.mark.parametrize("path", ["", None, 5, b"x", Named(b"x"), Named(5), Named("")])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """No path is a ConfigurationError; an empty one is not the current folder."""
    with pytest.raises(ConfigurationError, match="FileStore takes the path of a folder"):
        FileStore(path)


@pytest.mark.parametrize("path", ["~no-such-user/x", "x" * 5000, "a\0b"])
def test_what_can_be_no_folder_is_refused(path: str) -> None:
    """A path that cannot be a folder's is an error at once, with the reason."""
    with pytest.raises(ConfigurationError, match=r"FileStore can't use this path: .*[a-z]") as caught:
        FileStore(path)
    assert caught.value.__context__ is None


def test_a_path_of_another_kind(tmp_path: Path) -> None:
    """One that says its name is as good as a ``pathlib.Path``, made or not."""
    assert FileStore(Named(str(tmp_path))).path == tmp_path
    assert FileStore(Named(str(tmp_path / "new" / "one"))).path == tmp_path / "new" / "one"


async def test_a_try_for_a_lock_that_fails_after_its_caller_left_undoes_nothing() -> None:
    """The lock is another's: giving it back would take it from them."""
    undone: list[None] = []
    opened = asyncio.Event()

    async def attempt() -> bool:
        await opened.wait()
        return False

    trying = asyncio.create_task(_finished(attempt(), lambda: undone.append(None)))
    await asyncio.sleep(0)
    trying.cancel()
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert undone == []
