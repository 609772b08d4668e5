"""Loops that end, tasks that are cancelled, processes that fork: nobody hangs, and nothing that came is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from core_kit import closings_of, engine_of, work_of
from store_client_kit import CommandedStore, Rotating, during, manager

from asyncauth import (
    AuthError,
    CredentialsRejected,
    ManagerClosed,
    RefreshPolicy,
    Token,
    TokenEndpointUnavailable,
    TokenManager,
)
from asyncauth._base.loops import LoopRef
from asyncauth._core.listeners import Listeners
from asyncauth._core.refresh import Refresh
from asyncauth._core.sessions import LoopEntry
from asyncauth.testing import FakeClock, FakeProvider


async def test_a_flight_cancelled_before_its_first_step_hangs_nobody() -> None:
    """Who cancels all tasks, as a shutdown does, cancels a refresh that has not begun: the next caller gets a token."""
    manager = TokenManager(FakeProvider())
    caller = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    assert (await asyncio.wait_for(manager.token(), 5)).value == "token-1"


@pytest.mark.not_eager(reason="it is about what comes before a task's first step")
async def test_a_remembered_refusal_outlives_a_refresh_that_was_lost(settled: Callable[[], Any]) -> None:
    """A refresh by hand that was cancelled before its first step asked nobody: the refusal before it still holds."""
    provider = FakeProvider(answers=[CredentialsRejected("no")])
    manager = TokenManager(provider)
    with pytest.raises(CredentialsRejected):
        await manager.token()
    caller = asyncio.create_task(manager.refresh())
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settled()
    assert caller.cancelled()
    with pytest.raises(CredentialsRejected):
        await manager.token()
    assert provider.calls == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_provider_that_raises_before_it_can_be_awaited(*, cancelled: bool) -> None:
    """A plain function in place of fetch(): what it raises fails the caller once, a CancelledError as well."""
    calls: list[int] = []

    class Plain(FakeProvider):
        def fetch(self, http: Any, previous: Any) -> Any:
            calls.append(1)
            raise asyncio.CancelledError if cancelled else ZeroDivisionError

    with pytest.raises(AuthError):
        await asyncio.wait_for(TokenManager(Plain(), policy=RefreshPolicy(deadline=0.1)).token(), 5)
    assert len(calls) < 10


async def test_a_backoff_that_is_longer_than_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """The next try is due later than a refresh may take: callers learn at once what is wrong, and nothing is sent."""

    class Hasty(FakeProvider):
        deadline = 0.01

    provider = Hasty(clock=clock, answers=[TokenEndpointUnavailable("down")] * 9)
    manager = TokenManager(provider, clock=clock)
    for _ in range(2):
        with pytest.raises(TokenEndpointUnavailable, match="down"):
            await asyncio.wait_for(manager.token(), 5)
    assert provider.calls == 1


async def test_a_renewal_that_falls_due_while_the_manager_closes_is_not_begun(clock: FakeClock) -> None:
    """A closing waits for a store: nothing is asked of the token endpoint meanwhile, and nothing is left behind."""
    store, rotating = CommandedStore(), Rotating(clock=clock, lifetime=100.0)
    process = manager(rotating, store, clock, idle_timeout=None)
    await process.__aenter__()
    store.faults["save"] = "raise"
    await during(clock, process.token())
    due = engine_of(process).state.due()
    await clock.advance(due - 0.5 - clock.monotonic())
    store.faults["save"] = "hang"
    closing = asyncio.create_task(process.close())
    await clock.advance(0.9)
    assert not closing.done()
    assert clock.monotonic() >= due
    await clock.advance(10)
    await closing
    assert rotating.sent == [None]


def test_a_task_factory_that_makes_no_task_is_an_error_for_each_caller() -> None:
    """A loop whose task factory takes no context gives every caller an AuthError, and hangs none."""

    async def main() -> None:
        manager = TokenManager(FakeProvider())
        loop = asyncio.get_running_loop()
        old_fashioned: Any = lambda loop, work: asyncio.Task(work, loop=loop)  # noqa: E731
        loop.set_task_factory(old_fashioned)
        try:
            for _ in range(2):
                # No wait_for, which makes a task of its own: uvloop tells the factory of the context in any case.
                with pytest.raises(Exception, match="no task could be made"):
                    async with asyncio.timeout(5):
                        await manager.token()
        finally:
            loop.set_task_factory(None)

    asyncio.run(main())


async def cancel_flight_after(ticks: int, manager: TokenManager) -> None:
    """Cancel the flight's task, if there is one still, some turns of the loop from now."""
    for _ in range(ticks):
        await asyncio.sleep(0)
    flight = engine_of(manager).flight
    if flight is not None and flight.task is not None:
        flight.task.cancel()


@pytest.mark.parametrize("ticks", range(12))
async def test_what_came_before_a_cancellation_is_kept(ticks: int) -> None:
    """A flight that is cancelled just after the answer came keeps the token, and its refresh token."""
    answered = asyncio.Event()

    def answer() -> Token:
        answered.set()
        return Token("new", expires_at=time.time() + 100, refresh_token="rotated")

    provider = FakeProvider(answers=[answer])
    manager = TokenManager(provider)
    caller = asyncio.create_task(manager.token())
    await answered.wait()
    await cancel_flight_after(ticks, manager)
    await caller
    assert manager.current is not None
    assert manager.current.refresh_token == "rotated" or provider.calls == 2


@pytest.mark.parametrize("ticks", range(12))
@pytest.mark.parametrize("refresh_token", [None, "rotated"])
async def test_what_came_before_a_cancellation_may_be_of_no_use(ticks: int, refresh_token: str | None) -> None:
    """A token that can't be used, and then a cancellation: it is not held, and the next refresh brings one that can."""
    answered = asyncio.Event()

    def answer() -> Token:
        answered.set()
        return Token("spent", issued_at=time.time(), expires_at=time.time() - 100, refresh_token=refresh_token)

    manager = TokenManager(FakeProvider(answers=[answer]))
    caller = asyncio.create_task(manager.token())
    await answered.wait()
    await cancel_flight_after(ticks, manager)
    await asyncio.wait((caller,))
    with contextlib.suppress(AuthError):
        assert (await caller).value == "token-1"
    assert (await manager.refresh()).value in {"token-1", "token-2"}


def taking_its_end_for(error: type[Exception], asked: asyncio.Event) -> Callable[[], Awaitable[Token]]:
    """Return an answer that never comes, and turns its cancellation into an error."""

    async def answer() -> Token:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None
        raise AssertionError

    return answer


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_a_loop_that_ends_makes_no_other_try() -> None:
    """asyncio.run() cancels the refresh once, and waits for it. The provider takes that for a broken connection."""

    asked = asyncio.Event()
    provider = FakeProvider(answers=taking_its_end_for(ConnectionError, asked))
    manager = TokenManager(provider, policy=RefreshPolicy(deadline=1.0))

    async def main() -> None:
        caller = asyncio.ensure_future(manager.token())
        await asked.wait()
        assert not caller.done()

    asyncio.run(main())
    assert provider.calls == 1


async def test_a_manager_that_was_closed_makes_no_other_try() -> None:
    """Its provider takes the cancellation for its own timeout."""
    asked = asyncio.Event()
    provider = FakeProvider(answers=taking_its_end_for(TimeoutError, asked))
    async with TokenManager(provider, policy=RefreshPolicy(close_grace=0.0)) as manager:
        caller = asyncio.ensure_future(manager.token())
        await asked.wait()
    with pytest.raises(ManagerClosed):
        await caller
    assert provider.calls == 1


@pytest.mark.parametrize("call", [TokenManager.token, TokenManager.refresh])
async def test_a_provider_that_cancels_its_own_task_fails_its_callers(call: Callable[[TokenManager], Any]) -> None:
    """A caller on the same loop, which goes on, does not begin flights without end."""

    async def cancelled() -> Token:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError

    provider = FakeProvider(answers=[cancelled] * 20)
    with pytest.raises(AuthError, match="the refresh was cancelled 10 times in a row"):
        await call(TokenManager(provider))
    assert provider.calls == 10


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # may be collected before its holder
@pytest.mark.parametrize("forgotten", [False, True], ids=["with its manager", "before the next refresh"])
def test_a_provider_that_fails_after_the_end_of_its_loop_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, forgotten: bool
) -> None:
    """aiohttp raises "Event loop is closed" when the garbage collector closes a request: that is not a failed try."""
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)

    async def failing() -> Token:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError

    provider = FakeProvider(answers=[failing])
    manager = TokenManager(provider)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    caller = loop.create_task(manager.token())
    while not provider.running:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    if forgotten:
        assert asyncio.run(manager.token()).value == "token-1"
    del loop, caller, manager
    gc.collect()
    assert provider.running == 0
    assert heard == []
    assert "token request failed" not in caplog.text


@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_a_loop_a_job_does_not_ask_once_a_job() -> None:
    """Jobs that end before a renewal is answered start a few renewals, not one each: the token in hand serves."""
    provider = FakeProvider(lifetime=100)
    manager = TokenManager(provider, policy=RefreshPolicy(jitter=0.0))
    asyncio.run(manager.refresh())
    held = engine_of(manager).state.cached
    held.fresh_until = held.fast_until = 0.0  # stale
    provider.latency = 60.0

    async def job() -> str:
        return (await manager.token()).value

    assert {asyncio.run(job()) for _ in range(50)} == {"token-1"}
    assert provider.calls <= 6


async def test_a_refresh_cut_short_holds_nobody_off() -> None:
    """After a refresh that its loop's end cut short, a caller without a token is served at once."""
    clock = FakeClock()
    provider = FakeProvider(clock=clock, latency=5.0)
    manager = TokenManager(provider, clock=clock)
    caller = asyncio.create_task(manager.token())
    await clock.advance(1)
    flight = engine_of(manager).flight
    assert flight is not None
    assert flight.task is not None
    flight.task.cancel()
    await clock.advance(0)
    await clock.advance(5)
    assert (await caller).value == "token-2" or provider.calls == 2
    assert manager.status().last_error is None


async def test_entering_waits_for_a_closing_that_is_under_way() -> None:
    """Who enters while another task's close() gives a refresh its grace gets a manager that works."""
    provider = FakeProvider(latency=0.2)
    manager = TokenManager(provider, policy=RefreshPolicy(close_grace=0.05))

    async def leave() -> None:
        async with manager:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(manager.token(), 0.02)

    leaving = asyncio.create_task(leave())
    await asyncio.sleep(0.04)
    async with manager:
        assert (await manager.token()).value
        await leaving
        assert (await manager.token()).value


async def test_leaving_waits_for_a_closing_that_is_under_way_elsewhere() -> None:
    """What was closed on another loop may have something left to do on this one: it must not end before that."""
    manager = TokenManager(FakeProvider())
    await manager.__aenter__()
    await manager.close()
    elsewhere = closings_of(manager).begin()
    leaving = asyncio.create_task(manager.__aexit__(None, None, None))
    await asyncio.sleep(0.05)
    assert not leaving.done()
    elsewhere.set_result(None)
    await asyncio.wait_for(leaving, 5)


async def test_a_closing_that_is_cancelled_waits_for_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cancelled while something is being closed does not wait, besides, for a listener that is behind."""
    reached = asyncio.Event()

    async def listener(_: object) -> None:
        await asyncio.Event().wait()

    class Stuck:
        closed = False

        async def close(self) -> None:
            reached.set()
            await asyncio.Event().wait()

    settle, graces = Listeners.settle, []

    async def settled(listeners: Listeners, grace: float) -> None:
        graces.append(grace)
        await settle(listeners, grace)

    monkeypatch.setattr(Listeners, "settle", settled)
    manager = TokenManager(FakeProvider(), policy=RefreshPolicy(close_grace=30.0))
    manager.add_listener(listener)
    await manager.__aenter__()
    await manager.token()
    (entry,) = engine_of(manager).runtime.sessions.entries
    assert entry.session is not None
    await entry.session.close()
    entry.session = Stuck()  # type: ignore[assignment]
    closing = asyncio.create_task(manager.close())
    await reached.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(closing, 10)
    assert graces == [0.0]


def test_closing_does_not_wait_for_a_loop_that_is_stopped() -> None:
    """A loop that stops in the middle of what close() has to do there holds nobody up."""
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    async def main() -> None:
        async def work(_: LoopEntry) -> None:
            await asyncio.sleep(60)

        other.call_soon_threadsafe(other.call_later, 0.05, other.stop)
        await asyncio.wait_for(LoopEntry(LoopRef(other)).run(work), 5)

    asyncio.run(main())
    thread.join()
    for task in asyncio.all_tasks(other):
        task.cancel()
    other.run_until_complete(asyncio.sleep(0))
    other.close()


def test_hurrying_a_refresh_whose_loop_is_closed_does_nothing() -> None:
    """refresh() by hand gets a token although the last try rested on a loop that is closed by now."""
    loop = asyncio.new_event_loop()
    provider = FakeProvider(answers=[TokenEndpointUnavailable("down", retry_after=20)])
    manager = TokenManager(provider)
    waiting = loop.create_task(manager.token())

    async def rests() -> Refresh:
        while True:
            work = work_of(manager)
            if isinstance(work, Refresh) and work.idle:
                return work
            await asyncio.sleep(0)

    refresh = loop.run_until_complete(asyncio.wait_for(rests(), 30))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    refresh.rest.resting = waiting  # type: ignore[assignment]  # as if the loop had been closed in the middle
    refresh.retry_now()
    assert asyncio.run(manager.refresh()).value


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("entered", [False, True])
def test_a_forked_child_waits_for_nothing_of_its_parent(*, entered: bool) -> None:
    """In a forked child, a refresh of the parent does not count, and its loop's session is not closed."""
    provider = FakeProvider(latency=0.5)
    manager = TokenManager(provider)
    started = threading.Event()

    async def parent() -> None:
        if entered:
            await manager.__aenter__()
        caller = asyncio.create_task(manager.token())
        await asyncio.sleep(0.05)
        started.set()
        await caller
        await manager.close()

    thread = threading.Thread(target=asyncio.run, args=(parent(),))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(10)
            provider.latency = 0.0
            asyncio.run(manager.token())
            asyncio.run(manager.close())
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    thread.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
