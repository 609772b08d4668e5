"""Listeners that misbehave: each receives its events in order, and none breaks or delays a refresh."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from core_kit import steps_of
from harness.loops import close_under_its_tasks

from asyncauth import ManagerPool, PagoFacilJWT, RefreshPolicy, TokenManager, events
from asyncauth._base.loops import LoopRef
from asyncauth._core.listeners import Listeners
from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]


def event(at: float = 0.0, **more: Any) -> events.Event:
    return events.StoreRecovered(provider="fake", at=at, **more)


async def some_rounds() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Heard:
    """An ``async`` listener."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    async def __call__(self, event: events.Event) -> None:
        self.events.append(event)


class NoException(BaseException):
    """What ``except Exception`` lets pass, as pytest's own do."""


@pytest.mark.parametrize("error", [NoException("canary"), SystemExit("canary"), asyncio.CancelledError("canary")])
async def test_an_async_listener_that_raises_what_is_no_exception(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither ends the event loop nor loses what comes next; it is logged once, without its text."""
    listeners, told = Listeners(), list[float]()

    async def listener(event: events.Event) -> None:
        told.append(event.at)
        raise error

    listeners.add(listener)
    for number in range(3):
        listeners.tell(event(number))
    await listeners.settle(10)
    assert told == [0, 1, 2]
    assert caplog.text.count(f"raised {type(error).__name__}") == 1
    assert "canary" not in caplog.text


async def test_a_listener_that_will_not_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing gives up on one that goes on after it was cancelled, and says so."""
    monkeypatch.setattr("asyncauth._core.listener_queue._PATIENCE", 0.01)
    listeners, leave = Listeners(), asyncio.Event()

    async def listener(event: events.Event) -> None:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                continue

    listeners.add(listener)
    listeners.tell(event())
    await some_rounds()
    async with asyncio.timeout(30):
        await listeners.settle(0)
    assert "does not end when it is cancelled" in caplog.text
    leave.set()
    await some_rounds()


async def test_a_listener_that_swallows_its_cancellation_is_not_told_the_rest() -> None:
    """What it was behind with is forgotten when closing ends it: it would begin to wait anew with each."""
    listeners, told = Listeners(), list[float]()

    async def listener(event: events.Event) -> None:
        told.append(event.at)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    listeners.add(listener)
    for number in range(3):
        listeners.tell(event(number))
    await some_rounds()
    async with asyncio.timeout(30):
        await listeners.settle(0)
    assert told == [0]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.not_eager(reason="it is about what comes before a task's first step")
async def test_cancelled_before_its_first_step() -> None:
    """All tasks are cancelled: later events are delivered all the same."""
    listeners, heard = Listeners(), Heard()
    listeners.add(heard)
    listeners.tell(event(1))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await some_rounds()
    listeners.tell(event(2))
    await some_rounds()
    assert [each.at for each in heard.events] == [2]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_listener_closes_the_manager(make: Make, provider: FakeProvider, kind: str) -> None:
    """It is not waited for by itself, and nobody cancels it."""
    manager = make(provider, close_grace=600.0)
    closed = threading.Event()

    async def coroutine(event: events.Event) -> None:
        if isinstance(event, events.RefreshSucceeded):
            await manager.close()
            closed.set()

    def plain(event: events.Event) -> None:
        asyncio.run(coroutine(event))

    manager.add_listener(plain if kind == "plain" else coroutine)
    await manager.token()
    assert await asyncio.to_thread(closed.wait, 30)
    manager.remove_listener(plain if kind == "plain" else coroutine)


def test_added_again_on_the_next_loop(make: Make, provider: FakeProvider) -> None:
    """An async listener whose loop was closed may be added on another one, and receives events there."""
    manager, heard = make(provider, close_grace=10.0), Heard()

    async def job() -> None:
        manager.add_listener(heard)
        await manager.refresh()
        await manager.close()

    for _ in range(2):
        asyncio.run(_reopened(manager, job))
    assert [type(each).__name__ for each in heard.events] == 2 * ["RefreshStarted", "RefreshSucceeded"]


async def _reopened(manager: TokenManager, job: Callable[[], Any]) -> None:
    async with manager:
        await job()


def test_a_loop_that_was_closed_before_it_could_tell() -> None:
    """What it was to tell is forgotten, and who settles does not wait for it."""
    listeners, heard = Listeners(), Heard()

    async def first() -> None:
        listeners.add(heard)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    listeners.tell(event())
    loop.close()
    listeners.tell(event())
    asyncio.run(asyncio.wait_for(listeners.settle(600), 30))
    assert heard.events == []


def test_a_loop_that_is_closed_in_the_middle_of_telling(caplog: pytest.LogCaptureFixture) -> None:
    """What the garbage collector ends there is no fault of the listener's: nothing is logged."""
    listeners = Listeners()

    async def listener(event: events.Event) -> None:
        await asyncio.Event().wait()

    async def first() -> None:
        listeners.add(listener)
        listeners.tell(event())
        await some_rounds()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    close_under_its_tasks(loop)
    listeners.remove(listener)
    del loop
    gc.collect()
    assert caplog.records == []


async def test_a_task_factory_that_makes_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """A loop whose task factory takes no context: the listener receives nothing, which is logged once."""
    listeners, heard = Listeners(), Heard()
    listeners.add(heard)
    loop = asyncio.get_running_loop()
    old_fashioned: Any = lambda loop, work: asyncio.Task(work, loop=loop)  # noqa: E731
    for _ in range(2):
        loop.set_task_factory(old_fashioned)
        listeners.tell(event(1))
        await some_rounds()
        loop.set_task_factory(None)
    assert heard.events == []
    assert [record.getMessage() for record in caplog.records] == [
        "listener Heard can't be told (TypeError): fix it; this is said once"
    ]
    listeners.tell(event(2))
    await listeners.settle(10)
    assert [each.at for each in heard.events] == [2]


def test_a_loop_that_is_closed_just_as_something_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop was closed a moment ago: its listener receives nothing, and nobody waits for it."""
    listeners, heard = Listeners(), Heard()
    loop = asyncio.new_event_loop()

    async def first() -> None:
        listeners.add(heard)

    loop.run_until_complete(first())
    loop.close()
    with monkeypatch.context() as patch:
        patch.setattr(LoopRef, "lost", False)
        listeners.tell(event(1))
        asyncio.run(asyncio.wait_for(listeners.settle(600), 30))
    assert heard.events == []
    assert caplog.records == []


async def test_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a limit of the system's, or the interpreter's end: what would be told is not, and nobody waits for it."""
    listeners, told = Listeners(), list[float]()
    listeners.add(lambda event: told.append(event.at))

    def limited(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        listeners.tell(event(1))
    async with asyncio.timeout(30):
        await listeners.settle(600)
    listeners.tell(event(2))
    await listeners.settle(10)
    assert told == [2]


async def test_an_interruption_while_a_thread_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be told is not; the next event begins anew."""
    listeners, told = Listeners(), list[float]()
    listeners.add(lambda event: told.append(event.at))

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            listeners.tell(event(1))
    listeners.tell(event(2))
    await listeners.settle(10)
    assert told == [2]


async def test_two_listeners_that_compare_equal_are_two() -> None:
    """Only the same function, or the same method of the same object, is one that is there already."""

    @attrs.define
    class Collector:
        told: list[events.Event] = attrs.field(factory=list[events.Event])

        async def __call__(self, event: events.Event) -> None:
            self.told.append(event)

        async def hear(self, event: events.Event) -> None:
            self.told.append(event)

    listeners, one, other = Listeners(), Collector(), Collector()
    for listener in (one, other, one.hear, one.hear):
        listeners.add(listener)
    listeners.tell(event())
    await listeners.settle(10)
    assert (len(one.told), len(other.told)) == (2, 1)
    listeners.remove(one.hear)
    listeners.remove(one)
    listeners.tell(event())
    await listeners.settle(10)
    assert (len(one.told), len(other.told)) == (2, 2)


async def test_a_partial_of_an_async_callable() -> None:
    """It is called on the loop, like the function that it wraps."""
    listeners, told = Listeners(), list[tuple[str, bool]]()

    class Labelled:
        async def __call__(self, label: str, event: events.Event) -> None:
            told.append((label, threading.current_thread() is threading.main_thread()))

    listeners.add(functools.partial(Labelled(), "x"))
    listeners.tell(event())
    await listeners.settle(10)
    assert told == [("x", True)]


async def test_added_while_another_is_being_added() -> None:
    """Neither is lost: as from two threads at the same moment."""
    listeners, one, other = Listeners(), Heard(), Heard()

    class Slow:
        @property
        def __call__(self) -> Callable[[events.Event], Any]:
            listeners.add(other)
            return one.__call__

    listeners.add(Slow())
    listeners.tell(event())
    await listeners.settle(10)
    assert len(one.events) == len(other.events) == 1


async def test_an_event_that_tells_of_something_as_it_is_forgotten() -> None:
    """A tenant's key, or a refresh that the garbage collector ends, may tell at any moment: no lock is in its way."""
    listeners, heard, others = Listeners(), Heard(), Heard()

    class Tenant:
        def __del__(self) -> None:
            listeners.tell(event(2))

    listeners.add(heard)
    listeners.add(others)
    listeners.tell(event(1, tenant=Tenant()))
    listeners.remove(heard)
    await listeners.settle(10)
    others.events.clear()
    await listeners.settle(10)
    assert heard.events == []


async def test_a_log_filter_that_raises_on_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telling returns, whatever the log does."""
    monkeypatch.setattr("asyncauth._core.listener_queue._MOST", 1)
    listeners, heard = Listeners(), Heard()

    def broken(record: logging.LogRecord) -> bool:
        raise LookupError

    listeners.add(heard)
    log = logging.getLogger("asyncauth.listeners")
    log.addFilter(broken)
    try:
        for number in range(3):
            listeners.tell(event(number))
    finally:
        log.removeFilter(broken)
    await listeners.settle(10)
    assert [each.at for each in heard.events] == [0]


# --- chains and pools


async def test_each_step_of_a_long_chain_is_told_of(clock: FakeClock) -> None:
    """The first of three steps as well, which is made before the last one's manager is."""
    provider = PagoFacilJWT.from_password(username="u", password="p", base_url="http://127.0.0.1:1")
    chain, heard = TokenManager(provider, clock=clock), Heard()
    chain.add_listener(heard)
    for step in steps_of(chain):
        step.emitter().store_recovered()
    await chain.close()
    assert len(heard.events) == 3
    assert len({each.account for each in heard.events}) == 3


async def test_a_listener_that_is_added_at_one_step_is_the_chains(clock: FakeClock) -> None:
    """It hears of all of them, until it is removed at any."""
    provider = PagoFacilJWT.from_password(username="u", password="p", base_url="http://127.0.0.1:1")
    last, _, first = steps_of(TokenManager(provider, clock=clock))
    heard = Heard()
    first.runtime.listeners.add(heard)
    last.emitter().store_recovered()
    await first.runtime.listeners.settle(0)
    await some_rounds()
    assert len(heard.events) == 1
    first.runtime.listeners.remove(heard)
    last.emitter().store_recovered()
    await last.close()
    assert len(heard.events) == 1


async def test_a_pool_and_all_steps_of_its_tenants_have_the_same_listeners(clock: FakeClock) -> None:
    """Only closing the pool ends them."""

    def chain(_: str) -> PagoFacilJWT:
        return PagoFacilJWT.from_password(username="u", password="p", base_url="http://127.0.0.1:1")

    pool = ManagerPool[str](chain, clock=clock)
    steps = [step for tenant in ("acme", "umbrella") for step in steps_of(await pool.get(tenant))]
    assert len({step.runtime.listeners for step in steps}) == 1
    assert not any(step.runtime.owns_listeners for step in steps)


async def test_each_step_of_a_tenants_chain_is_the_tenants(clock: FakeClock) -> None:
    """Its events, its entry in the store and its session are, in the first of three steps as well."""
    store = MemoryStore()

    def chain(_: str) -> PagoFacilJWT:
        return PagoFacilJWT.from_password(username="u", password="p", base_url="http://127.0.0.1:1")

    pool, heard = ManagerPool[str](chain, store=store, clock=clock), Heard()
    pool.add_listener(heard)
    steps = [steps_of(await pool.get(tenant)) for tenant in ("acme", "umbrella")]
    for step in (*steps[0], *steps[1]):
        step.emitter().store_recovered()
    await pool.close()
    assert [each.tenant for each in heard.events] == [*3 * ["acme"], *3 * ["umbrella"]]
    assert len({step.store_client.key for step in (*steps[0], *steps[1]) if step.store_client is not None}) == 6
    assert len({step.runtime.sessions for step in (*steps[0], *steps[1])}) == 1


async def test_a_tenant_that_is_closed_takes_nobody_with_it(clock: FakeClock) -> None:
    """A pool does not cut short a slow listener until the pool itself is closed."""
    opened, told = asyncio.Event(), list[Any]()

    async def listener(event: events.Event) -> None:
        await opened.wait()
        told.append(event.tenant)

    policy = RefreshPolicy(close_grace=0.0)
    pool = ManagerPool[str](lambda key: FakeProvider(clock=clock, identity=key), policy=policy, clock=clock)
    pool.add_listener(listener)
    managers = [await pool.get(tenant) for tenant in ("acme", "umbrella")]
    for manager in managers:
        await manager.refresh()
    await managers[1].close()
    opened.set()
    await some_rounds()
    assert told == ["acme", "acme", "umbrella", "umbrella"]
    await pool.close()


# --- providers


@pytest.mark.parametrize("identity", [5, ("a", 1), "caf\udce9"])
async def test_an_identity_that_is_no_text_breaks_no_refresh(make: Make, clock: FakeClock, identity: Any) -> None:
    """Events name the account as well as they can."""
    assert (await make(FakeProvider(clock=clock, identity=identity)).token()).value == "token-1"


async def test_a_name_that_raises_breaks_no_refresh(make: Make, clock: FakeClock) -> None:
    """Events then name the provider's class."""

    class Nameless(FakeProvider):
        failing = False

        def __getattribute__(self, name: str) -> Any:
            if name in {"name", "identity"} and type(self).failing:
                raise LookupError("canary")
            return super().__getattribute__(name)

    manager, heard = make(Nameless(clock=clock), close_grace=10.0), Heard()
    manager.add_listener(heard)
    Nameless.failing = True
    assert (await manager.token()).value == "token-1"
    await manager.close()
    assert {each.provider for each in heard.events} == {"Nameless"}
