"""Callers on one event loop that wait for the same outcome."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asyncauth import AuthError
from asyncauth._core.waiters import Waiters


def add(waiters: Waiters, since: float = 0.0, flight: object = None) -> asyncio.Future[Any]:
    """Add a caller, as `Flight.wait` does."""
    future = waiters.loop.create_future()
    waiters.entries.append((future, since, flight))
    return future


async def test_each_gets_the_result_by_its_own_future() -> None:
    """One that was cancelled keeps nobody from it."""
    waiters = Waiters(asyncio.get_running_loop())
    first, second, third = (add(waiters, float(number)) for number in range(3))
    first.cancel()
    assert waiters.waiting == 2
    assert [since for _, since, _ in waiters.pending] == [1.0, 2.0]
    waiters.release(7, None)
    assert [await second, await third] == [7, 7]
    assert first.cancelled()
    assert waiters.waiting == 0
    assert waiters.entries == []


async def test_each_gets_an_error_of_its_own() -> None:
    """Of the same class, with the same message."""
    waiters = Waiters(asyncio.get_running_loop())
    futures = [add(waiters) for _ in range(2)]
    error = AuthError("no", provider="x")
    waiters.release(None, error)
    errors = []
    for future in futures:
        with pytest.raises(AuthError, match="no") as caught:
            await future
        errors.append(caught.value)
    assert len({id(each) for each in (error, *errors)}) == 3
    assert {each.provider for each in errors} == {"x"}


async def test_an_error_that_nobody_fetches_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A caller may end with its loop before it sees its error: asyncio's log says nothing of it."""
    reported = list[dict[str, Any]]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    waiters = Waiters(loop)
    add(waiters)
    waiters.release(None, AuthError("no"))  # drops the only reference
    loop.set_exception_handler(None)
    assert reported == []


async def test_the_caller_before_has_told_that_callers_wait() -> None:
    """If it waits still, and not for the work of another flight."""
    waiters, told = Waiters(asyncio.get_running_loop()), list[bool]()
    for flight in (None, None, object(), None, None):
        last = add(waiters, 0.0, flight)
        told.append(waiters.told)
    last.cancel()
    add(waiters)
    told.append(waiters.told)
    assert told == [False, True, True, False, True, False]


async def test_another_thread_releases_all_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wake on their own loop, with one turn of it: nothing else is thread-safe."""
    loop = asyncio.get_running_loop()
    calls, call = list[object](), loop.call_soon_threadsafe

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return call(*arguments)

    waiters = Waiters(loop)
    futures = [add(waiters) for _ in range(3)]
    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    thread = threading.Thread(target=waiters.release, args=(7, None))
    thread.start()
    thread.join()
    monkeypatch.undo()
    assert not any(future.done() for future in futures)
    assert await asyncio.gather(*futures) == [7, 7, 7]
    assert len(calls) == 1


def test_callers_of_a_closed_loop_are_passed_over() -> None:
    """They ended with it."""
    loop = asyncio.new_event_loop()
    waiters = Waiters(loop)
    future = add(waiters)
    loop.close()
    waiters.release(7, None)
    assert not future.done()


async def test_a_release_that_was_interrupted_can_be_made_again() -> None:
    """Those who were not released get the outcome; the others keep theirs."""
    waiters, made = Waiters(asyncio.get_running_loop()), list[AuthError]()
    futures = [add(waiters) for _ in range(3)]

    class Interrupted(AuthError):
        def again(self) -> Any:
            if len(made) == 1:
                made.append(self)
                raise KeyboardInterrupt
            made.append(self)
            return AuthError("no")

    with pytest.raises(KeyboardInterrupt):
        waiters.release(None, Interrupted("no"))
    assert [future.done() for future in futures] == [True, False, False]
    waiters.release(7, None)
    with pytest.raises(AuthError, match="no"):
        await futures[0]
    assert [await futures[1], await futures[2]] == [7, 7]


@pytest.mark.parametrize("failure", [None, AuthError("no")])
def test_release_without_a_running_loop(failure: AuthError | None) -> None:
    """A task that is closed as garbage, after its loop, releases those on other loops."""
    loop = asyncio.new_event_loop()
    waiters = Waiters(loop)
    future = add(waiters)
    waiters.release(7, failure)
    loop.run_until_complete(asyncio.sleep(0))
    assert future.done()
    loop.close()
