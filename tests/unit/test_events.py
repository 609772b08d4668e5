"""Which events listeners receive: every refresh has one end, and no listener can delay it."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from core_kit import engine_of
from store_client_kit import CommandedStore, Rotating, manager

from asyncauth import (
    ConfigurationError,
    CredentialsRejected,
    InvalidTokenResponse,
    ManagerClosed,
    ManagerPool,
    TokenEndpointUnavailable,
    TokenManager,
    events,
)
from asyncauth._core.emitter import Emitter
from asyncauth.telemetry.log import log
from asyncauth.testing import FakeClock, FakeProvider

Make = Callable[..., TokenManager]

ACCOUNT = hashlib.sha256(b"fake").hexdigest()[:8]
CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller")


class Heard:
    """An ``async`` listener, told on the test's own loop."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    async def __call__(self, event: events.Event) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def last(self, kind: type[Any]) -> Any:
        return [event for event in self.events if isinstance(event, kind)][-1]


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def test_a_refresh_from_start_to_end(
    make: Make, clock: FakeClock, heard: Heard, settled: Callable[[], Any]
) -> None:
    """Start, success, and the caller who waited, with how long each took."""
    manager = make(FakeProvider(clock=clock, latency=2.0))
    manager.add_listener(heard)
    waiting = [asyncio.create_task(manager.token()) for _ in range(3)]
    await clock.advance(2.0)
    token, *_ = await asyncio.gather(*waiting)
    await settled()
    assert heard.names == ["RefreshStarted", "RefreshSucceeded", *3 * ["RequestWaited"]]
    started, ended, waited, *_ = heard.events
    at = clock.wall()
    assert started == events.RefreshStarted(provider="fake", account=ACCOUNT, at=at - 2.0, state="empty")
    assert ended == events.RefreshSucceeded(
        provider="fake",
        account=ACCOUNT,
        at=at,
        seconds=2.0,
        waiters=3,
        fingerprint=token.fingerprint,
        expires_at=token.expires_at,
        usable_for=3600.0 - 10.0 - 2.0,
    )
    assert waited == events.RequestWaited(provider="fake", account=ACCOUNT, at=at, seconds=2.0, error=None)


async def test_a_failed_try_and_its_refresh(
    make: Make, clock: FakeClock, heard: Heard, settled: Callable[[], Any]
) -> None:
    """The event of a failed try says when the next one is due; the refresh goes on, and has one end."""
    provider = FakeProvider(clock=clock)
    down = TokenEndpointUnavailable("down", status=503)
    provider.answers = [down, down]
    manager = make(provider)
    manager.add_listener(heard)
    waiting = asyncio.create_task(manager.token())
    await clock.advance(1.0)
    await waiting
    await settled()
    assert heard.names == [
        "RefreshStarted",
        "TokenRequestFailed",
        "TokenRequestFailed",
        "RefreshSucceeded",
        "RequestWaited",
    ]
    assert heard.events[1] == events.TokenRequestFailed(
        provider="fake",
        account=ACCOUNT,
        at=heard.events[0].at,
        error="TokenEndpointUnavailable",
        message="down [fake, status 503]",
        status=503,
        upstream=False,
        retry_in=0.25,
        usable_for=0.0,
        waiting=1,
        waiting_for=0.0,
    )


@pytest.mark.parametrize(
    ("problem", "cause", "seconds"),
    [
        (CredentialsRejected("no"), "credentials", 60.0),
        (TokenEndpointUnavailable("busy", retry_after=120.0), "retry_after", 120.0),
        (InvalidTokenResponse("what?"), None, None),
    ],
)
async def test_what_ends_a_refresh_and_what_is_not_tried_for_a_while(
    make: Make,
    provider: FakeProvider,
    heard: Heard,
    *,
    problem: Exception,
    cause: str | None,
    seconds: float | None,
    settled: Callable[[], Any],
) -> None:
    """A failure that ends the refresh says so to everybody, with the cool-down that follows, if one does."""
    provider.answers = [problem]
    manager = make(provider)
    manager.add_listener(heard)
    with pytest.raises(type(problem)):
        await manager.token()
    await settled()
    cool_down = [] if cause is None else ["CoolDown"]
    assert heard.names == ["RefreshStarted", "TokenRequestFailed", *cool_down, "RefreshFailed", "RequestWaited"]
    assert heard.last(events.RefreshFailed).error == type(problem).__name__
    assert heard.last(events.RequestWaited).error == type(problem).__name__
    if cause is not None:
        told = heard.last(events.CoolDown)
        assert (told.cause, told.seconds) == (cause, seconds)


async def test_refusals_by_the_api(
    make: Make, provider: FakeProvider, heard: Heard, settled: Callable[[], Any]
) -> None:
    """The first refused token is dropped; its refused replacement stays, for as long as the cool-down says."""
    manager = make(provider)
    first = await manager.token()
    manager.add_listener(heard)
    manager.invalidate(first)
    second = await manager.token()
    manager.invalidate(second)
    manager.invalidate(second)
    await settled()
    assert [type(each).__name__ for each in heard.events if "Refresh" not in type(each).__name__] == [
        "TokenRejected",
        "RequestWaited",
        "TokenRejected",
        "CoolDown",
    ]
    dropped, kept = [each for each in heard.events if isinstance(each, events.TokenRejected)]
    assert (dropped.fingerprint, dropped.dropped) == (first.fingerprint, True)
    assert (kept.fingerprint, kept.dropped) == (second.fingerprint, False)
    assert heard.last(events.CoolDown) == events.CoolDown(
        provider="fake", account=ACCOUNT, at=kept.at, cause="refusals", seconds=5.0
    )
    assert heard.last(events.RefreshStarted).state == "spent"


async def test_how_long_a_refresh_took_that_failed(
    make: Make, clock: FakeClock, heard: Heard, settled: Callable[[], Any]
) -> None:
    """To the one who refreshed, and to each who waited."""
    manager = make(FakeProvider(clock=clock, latency=2.0, answers=[CredentialsRejected("no")]))
    manager.add_listener(heard)
    waiting = asyncio.create_task(manager.token())
    await clock.advance(2.0)
    with pytest.raises(CredentialsRejected):
        await waiting
    await settled()
    assert heard.last(events.RefreshFailed).seconds == 2.0
    assert heard.last(events.RequestWaited).seconds == 2.0


async def test_what_the_store_does(clock: FakeClock, heard: Heard, settled: Callable[[], Any]) -> None:
    """Events for another process' token, for the store's trouble and its end, and for an unsaved refresh token."""
    store = CommandedStore()
    rotating = Rotating(clock=clock)
    await manager(rotating, store, clock).token()
    ours = manager(rotating, store, clock)
    ours.add_listener(heard)
    await ours.token()
    await settled()
    assert heard.names == ["RefreshStarted", "TokenAdopted", "RequestWaited"]
    heard.events.clear()
    rotating.latency = 1.0
    refreshing = asyncio.create_task(ours.refresh())
    await settled()
    store.faults["save"] = "raise"
    await clock.advance(1.0)
    await clock.advance(0.5)
    await refreshing
    await settled()
    assert heard.names == ["RefreshStarted", "RefreshTokenUnsaved", "RefreshSucceeded"]
    assert not heard.last(events.RefreshTokenUnsaved).lost
    store.faults.clear()
    await clock.advance(2.0)
    await settled()
    assert heard.names[3:] == ["StoreRecovered"]


async def test_a_store_that_is_down(clock: FakeClock, heard: Heard, settled: Callable[[], Any]) -> None:
    """The trouble is reported at most once per minute, without the store's own text."""
    store = CommandedStore(faults={"load": "raise"})
    ours = manager(FakeProvider(clock=clock), store, clock)
    ours.add_listener(heard)
    await ours.token()
    await ours.refresh()
    await settled()
    assert heard.names.count("StoreFailed") == 1
    assert heard.last(events.StoreFailed).trouble == "load: Trouble"


async def test_a_pool_tells_of_its_tenants(clock: FakeClock, heard: Heard, settled: Callable[[], Any]) -> None:
    """A pool's listener hears of every tenant, by its key."""
    pool = ManagerPool[str](lambda tenant: FakeProvider(clock=clock, identity=tenant), clock=clock)
    pool.add_listener(heard)
    for tenant in ("acme", "umbrella"):
        await (await pool.get(tenant)).token()
    await settled()
    assert {event.tenant for event in heard.events} == {"acme", "umbrella"}
    pool.remove_listener(heard)
    heard.events.clear()
    await (await pool.get("acme")).refresh()
    await settled()
    assert heard.events == []
    await pool.close()


async def test_every_refresh_has_one_end_even_if_it_is_cut_short(
    make: Make, gate: Any, heard: Heard, settled: Callable[[], Any]
) -> None:
    """close() during a refresh: listeners receive its end before they are dropped."""
    provider = FakeProvider()
    provider.answers = [gate()]
    manager = make(provider, close_grace=0.05)
    manager.add_listener(heard)
    waiting = asyncio.create_task(manager.token())
    await settled()
    await manager.close()
    with pytest.raises(ManagerClosed):
        await waiting
    assert sorted(heard.names) == ["RefreshFailed", "RefreshStarted", "RequestWaited"]
    assert heard.last(events.RefreshFailed).error == "CancelledError"


async def test_callers_contexts_are_told_for_tracing(
    make: Make, provider: FakeProvider, heard: Heard, settled: Callable[[], Any]
) -> None:
    """A trace shows which requests waited for a refresh."""
    manager = make(provider)
    manager.add_listener(heard)

    async def request(name: str) -> None:
        CALLER.set(name)
        await manager.token()

    await asyncio.gather(request("one"), request("two"))
    await settled()
    ended = heard.last(events.RefreshSucceeded)
    assert [context[CALLER] for context in ended.callers] == ["one", "two"]
    assert "callers" not in repr(ended)
    assert "callers" not in ended.as_dict()


async def test_nobody_listens_no_event_of_a_refresh_without_trouble_is_made(
    make: Make, provider: FakeProvider, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the log has its lines: each event takes as long as a tenth of a token request."""
    made: list[events.Event] = []
    monkeypatch.setattr("asyncauth._core.emitter.log", made.append)
    manager = make(provider)
    for logger in ("asyncauth.refresh", "asyncauth.manager"):
        caplog.set_level(logging.INFO, logger)
    await manager.token()
    assert made == []
    caplog.set_level(logging.DEBUG, "asyncauth.refresh")
    await manager.refresh()
    assert [type(event) for event in made] == [events.RefreshStarted, events.RefreshSucceeded]


async def test_nobody_listens_nothing_is_kept(
    make: Make, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """With no listener, nor a log at DEBUG, no caller's context is copied, and no event made of its wait."""
    caplog.set_level(logging.INFO, logger="asyncauth")
    manager = make(provider)
    flight = None
    waiting = asyncio.create_task(manager.token())
    while flight is None:
        await asyncio.sleep(0)
        flight = engine_of(manager).flight
    await waiting
    assert flight.callers == []


async def test_a_plain_listener_may_block(make: Make, provider: FakeProvider) -> None:
    """A plain function is called in a thread of its own, in order, and holds up no refresh."""
    opened = threading.Event()
    seen: list[tuple[str, bool]] = []

    def listener(event: events.Event) -> None:
        opened.wait(30)
        seen.append((type(event).__name__, threading.current_thread() is threading.main_thread()))

    manager = make(provider, close_grace=10.0)
    manager.add_listener(listener)
    manager.add_listener(listener)
    assert (await manager.token()).value == "token-1"
    assert seen == []
    opened.set()
    await manager.close()
    assert seen == [("RefreshStarted", False), ("RefreshSucceeded", False), ("RequestWaited", False)]
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncauth-listener" and _lives(thread)]


def _lives(thread: threading.Thread) -> bool:
    """Whether a thread is still there a moment later: told is told before the thread's last line."""
    thread.join(5)
    return thread.is_alive()


async def test_a_slow_async_listener_holds_up_nothing(make: Make, provider: FakeProvider) -> None:
    """A refresh does not wait for a coroutine function, and close() does for no longer than its grace."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def listener(event: events.Event) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    manager = make(provider)
    manager.add_listener(listener)
    await manager.token()
    await begun.wait()
    await manager.close()
    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_listener_that_raises_breaks_nothing(
    make: Make, provider: FakeProvider, kind: str, caplog: pytest.LogCaptureFixture, heard: Heard
) -> None:
    """Its error is logged once, by class and place. Other listeners and later events are served all the same."""
    told = 0

    def plain(event: events.Event) -> None:
        nonlocal told
        told += 1
        raise LookupError("canary")

    async def coroutine(event: events.Event) -> None:
        plain(event)

    manager = make(provider, close_grace=10.0)
    manager.add_listener(plain if kind == "plain" else coroutine)
    manager.add_listener(heard)
    assert (await manager.token()).value == "token-1"
    await manager.close()
    assert told == len(heard.events) == 3
    (line,) = [record.getMessage() for record in caplog.records if record.name == "asyncauth.listeners"]
    assert "raised LookupError" in line
    assert __file__ in line
    assert "canary" not in caplog.text


async def test_a_plain_function_that_returns_a_coroutine(
    make: Make, provider: FakeProvider, caplog: pytest.LogCaptureFixture, heard: Heard
) -> None:
    """The mistake is named, and no "never awaited" warning follows."""
    manager = make(provider, close_grace=10.0)
    manager.add_listener(lambda event: heard(event))  # noqa: PLW0108 (that is the mistake)
    await manager.token()
    await manager.close()
    assert "write 'async def'" in caplog.text


async def test_a_listener_that_is_behind_misses_events(
    make: Make, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The backlog is bounded: what comes beyond it is left out, and that is said once."""
    monkeypatch.setattr("asyncauth._core.listener_queue._MOST", 2)
    opened, seen = threading.Event(), list[events.Event]()

    def listener(event: events.Event) -> None:
        opened.wait(30)
        seen.append(event)

    manager = make(provider, close_grace=10.0)
    manager.add_listener(listener)
    for _ in range(5):
        await manager.refresh()
    opened.set()
    await manager.close()
    assert 2 <= len(seen) <= 3
    assert len([record for record in caplog.records if "misses events" in record.getMessage()]) == 1


async def test_removed_in_the_middle(make: Make, provider: FakeProvider, heard: Heard, settled: Any) -> None:
    """A removed listener receives nothing more, not even pending events; the others do."""
    manager = make(provider)
    token = await manager.token()
    other = Heard()
    manager.add_listener(heard)
    manager.add_listener(other)
    manager.invalidate(token)
    manager.remove_listener(heard)
    manager.remove_listener(heard)
    await settled()
    assert heard.events == []
    assert other.names == ["TokenRejected"]


async def test_events_from_another_thread(make: Make, provider: FakeProvider, heard: Heard) -> None:
    """invalidate() in a thread without an event loop: an async listener is called where it was added."""
    manager = make(provider, close_grace=10.0)
    token = await manager.token()
    manager.add_listener(heard)
    await asyncio.to_thread(manager.invalidate, token)
    await manager.close()
    assert heard.names == ["TokenRejected"]


def test_an_async_listener_whose_loop_has_ended(make: Make, provider: FakeProvider, heard: Heard) -> None:
    """No listener is called on a closed loop, and refreshes on the next one go on."""
    manager = make(provider)

    async def first() -> None:
        manager.add_listener(heard)
        await manager.token()
        await asyncio.sleep(0.01)

    async def second() -> None:
        await manager.refresh()
        await manager.close()

    asyncio.run(first())
    told = len(heard.events)
    assert told == 3
    asyncio.run(second())
    assert len(heard.events) == told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")
def test_a_forked_child_tells_of_its_own_events(make: Make, provider: FakeProvider, heard: Heard) -> None:
    """A plain listener receives the child's events in the child. An async one does not: its loop is the parent's.

    One that is removed there is told nothing, either.
    """
    manager = make(provider)
    seen: list[events.Event] = []
    removed: list[events.Event] = []

    async def parent() -> None:
        manager.add_listener(seen.append)
        manager.add_listener(removed.append)
        manager.add_listener(heard)
        await manager.token()
        await engine_of(manager).runtime.listeners.settle(10)

    async def child() -> None:
        manager.remove_listener(removed.append)
        await manager.refresh()
        await engine_of(manager).runtime.listeners.settle(10)

    asyncio.run(parent())
    told = len(seen), len(heard.events)
    process = os.fork()
    if process == 0:
        signal.alarm(20)
        try:
            asyncio.run(child())
            right = len(seen) > told[0] and len(heard.events) == told[1] == len(removed)
        except BaseException:  # noqa: BLE001
            right = False
        os._exit(0 if right else 1)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (len(seen), len(heard.events)) == told == (3, 3)


def test_an_event_that_the_log_does_not_know_is_written_whole(caplog: pytest.LogCaptureFixture) -> None:
    """A kind of event without its own message is still logged: its record, at DEBUG."""

    @attrs.frozen(kw_only=True)
    class Novel(events.Event):
        answer: int

    caplog.set_level(logging.DEBUG, "asyncauth")
    log(Novel(provider="fake", account=None, tenant=None, at=0.0, answer=42))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncauth.manager", logging.DEBUG)
    assert "answer=42" in record.getMessage()


def test_what_is_no_listener(make: Make, provider: FakeProvider, heard: Heard) -> None:
    """A listener must be callable, and an async one added where it can run."""
    nothing: Any = "nothing"
    with pytest.raises(ConfigurationError, match="a function of one event, not str"):
        make(provider).add_listener(nothing)
    with pytest.raises(ConfigurationError, match="add it inside a coroutine"):
        make(provider).add_listener(heard)


async def test_the_log_has_the_whole_event(
    make: Make, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Each line carries the event as plain values, which JSON can hold, and no secret."""
    caplog.set_level(logging.DEBUG, "asyncauth")
    provider.lifetime = None
    await make(provider).token()
    records: list[Any] = [record for record in caplog.records if record.name.startswith("asyncauth.")]
    assert [record.asyncauth["event"] for record in records] == ["RefreshStarted", "RefreshSucceeded", "RequestWaited"]
    assert "usable until the API answers 401 to it" in caplog.text
    assert "token-1" not in json.dumps([record.asyncauth for record in records])


async def test_a_log_filter_that_raises_breaks_nothing(
    make: Make, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logging may be configured in any way: a refresh is not its victim."""

    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError

    logger = logging.getLogger("asyncauth.refresh")
    monkeypatch.setattr(logger, "filters", [broken])
    caplog.set_level(logging.DEBUG, logger=logger.name)
    assert (await make(provider).token()).value == "token-1"


@pytest.mark.parametrize(
    "kind",
    [each for name in events.__all__ if attrs.has(each := getattr(events, name))],
    ids=lambda each: each.__name__,
)
def test_events_are_frozen_and_plain(kind: type[Any]) -> None:
    """Every event is an immutable record whose values JSON can hold."""
    values = {field.name: 1.0 for field in attrs.fields(kind) if field.name not in {"tenant", "callers"}}
    event = kind(**values, tenant=("a", 1))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.provider = "another"
    assert json.loads(json.dumps(event.as_dict()))["event"] == kind.__name__
    assert event.as_dict()["tenant"] == "('a', 1)"
    assert time.time() > event.at
    assert isinstance(event, events.Event)


async def test_a_refresh_that_nobody_follows_makes_no_events(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of a refresh without trouble are made for a listener, or for a log that writes them, and else not."""
    told: list[str] = []
    for name in ("refresh_started", "refresh_succeeded"):
        monkeypatch.setattr(Emitter, name, lambda *_, name=name, **__: told.append(name))
    manager = TokenManager(FakeProvider())
    with caplog.at_level(logging.INFO, logger="asyncauth.refresh"):
        await manager.refresh()
        assert told == []
        manager.add_listener(lambda _: None)
        await manager.refresh()
        assert told == ["refresh_started", "refresh_succeeded"]
    await manager.close()
