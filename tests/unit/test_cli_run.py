"""Ctrl-C ends a command's coroutine, whatever it waits for."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

import pytest

from asyncauth.cli.run import run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")


def test_a_signal_that_does_not_end_the_wait_is_noticed_at_once() -> None:
    """Another thread gets it: as for one that comes just before the wait begins, no system call is interrupted."""
    waits = threading.Event()

    def strike() -> None:
        waits.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    async def wait_for_nothing() -> None:
        asyncio.get_running_loop().call_soon(waits.set)
        await asyncio.Event().wait()

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(wait_for_nothing())
    thread.join()


def test_it_returns_what_the_coroutine_does_and_leaves_no_trace() -> None:
    """Signals wake up whatever they woke up before."""

    async def seven() -> int:
        return 7

    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    assert run(seven()) == 7
    assert signal.set_wakeup_fd(before) == before


def test_another_thread_runs_it_as_well() -> None:
    """It gets no signals."""

    async def seven() -> int:
        return 7

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run(seven())))
    thread.start()
    thread.join()
    assert found == [7]
