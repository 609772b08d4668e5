"""Runs a command's coroutine so that Ctrl-C ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["run"]

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine as `asyncio.run` does, and notice each signal at once.

    Python only marks a signal when it comes, and calls the handler before the next line. Between the last line and the
    system call with which the event loop waits, a signal would be noticed only when the wait ends: after the time limit
    of a request that nobody answers.
    """
    with asyncio.Runner() as runner, _woken_by_signals(runner.get_loop()):
        return runner.run(work)


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Have each signal write to a socket that the event loop reads."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield  # Windows' event loop does this itself, and only the main thread handles signals
        return
    reads, writes = socket.socketpair()
    with reads, writes:
        reads.setblocking(False)
        writes.setblocking(False)
        loop.add_reader(reads, reads.recv, 64)
        before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reads)
