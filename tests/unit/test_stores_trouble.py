"""What is wrong with a store, and what to do: in the log's warnings and in ``asyncauth doctor``, in the same words."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any

import pytest
import redis.exceptions
from harness.canary import MARK

from asyncauth import TokenManager, events
from asyncauth.stores import FileStore, MemoryStore
from asyncauth.stores.trouble import SILENT, explained
from asyncauth.testing import FakeClock, FakeProvider


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, MARK)
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("error", "says", "do"),
    [
        (redis.exceptions.AuthenticationError(MARK), "it rejects the password, or requires one", "user and password"),
        (redis.exceptions.NoPermissionError(MARK), "the user may not do this", "(ACL)"),
        (redis.exceptions.ReadOnlyError(MARK), "it is a replica, which accepts no writes", "use the primary's address"),
        (redis.exceptions.TimeoutError(MARK), *SILENT),
        (TimeoutError(), *SILENT),
        (caused(redis.exceptions.ConnectionError(MARK), REFUSED), "made (Connection refused)", "is it running"),
        (caused(redis.exceptions.ConnectionError(MARK), NO_NAME), "made (Name or service not known)", "host and port"),
        (redis.exceptions.ConnectionError(MARK), "no connection could be made (ConnectionError)", "is it running"),
        (PermissionError(errno.EACCES, MARK), "Permission denied", "give this user access"),
        (OSError(errno.ENOSPC, MARK), "a file can't be used (No space left on device)", "has the disk free space?"),
    ],
)
def test_each_common_trouble_has_words(error: Exception, says: str, do: str) -> None:
    """What is wrong and what to do, without the error's own text."""
    words = explained(error)
    assert words is not None
    assert says in words[0]
    assert do in words[1]
    assert MARK not in "".join(words)


def test_of_what_nobody_knows_nothing_is_said() -> None:
    """Another error has no words: its class stands in the log."""
    assert explained(ValueError(MARK)) is None
    assert explained(redis.exceptions.ResponseError(MARK)) is None


class _Elsewhere(MemoryStore):
    """A store that says where it is, and fails."""

    place = "redis://cache.internal:6379/0"
    trouble: Any = caused(redis.exceptions.ConnectionError(MARK), REFUSED)

    async def load(self, key: str) -> Any:
        raise self.trouble


async def test_a_warning_says_where_and_what_to_do(caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    """The store's warning carries its address, what is wrong, and what the doctor would say."""
    heard: list[events.Event] = []
    manager = TokenManager(FakeProvider(clock=clock), store=_Elsewhere(), clock=clock)
    manager.add_listener(heard.append)
    with caplog.at_level(logging.WARNING, "asyncauth.store"):
        await manager.token()
    (line,) = caplog.messages
    assert line == (
        "fake: the token store fails, going on without it: redis://cache.internal:6379/0: load: no connection could be"
        " made (Connection refused); is it running, and are host and port right?"
    )
    assert manager.status().store == "load: ConnectionError"  # for programs, as it was
    await manager.close()


async def test_a_folder_that_is_a_file(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    """A `FileStore` whose disk can't be used says its folder, and what to look at."""
    store = FileStore(tmp_path / "tokens")
    (tmp_path / "tokens").write_text("not a folder")
    await TokenManager(FakeProvider(), store=store).token()
    assert f"{tmp_path}/tokens: " in caplog.text
    assert "a file can't be used (" in caplog.text


async def test_a_store_that_is_silent(caplog: pytest.LogCaptureFixture, clock: FakeClock) -> None:
    """A call that takes too long says how long it was waited for, and what to look at."""

    class Silent(_Elsewhere):
        async def load(self, key: str) -> Any:
            await clock.sleep(60)

    manager = TokenManager(FakeProvider(clock=clock), store=Silent(), clock=clock)
    import asyncio

    waiting = asyncio.ensure_future(manager.token())
    await clock.advance(2)
    await waiting
    assert f"redis://cache.internal:6379/0: load: no answer within 1 s; {SILENT[1]}" in caplog.text
