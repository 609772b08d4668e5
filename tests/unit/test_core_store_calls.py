"""A manager's calls to its store: how long they take, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from harness.canary import MARK

from asyncauth._core.store_calls import StoreCalls
from asyncauth._core.store_lock import UNLOCK
from asyncauth._core.store_trouble import StoreTrouble
from asyncauth.testing import FakeClock


class Told:
    """What the listeners are told, in turn."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def store_failed(self, trouble: str) -> None:
        self.events.append(trouble)

    def store_recovered(self) -> None:
        self.events.append("recovered")


class Calls:
    """The calls of a manager, and calls that last as long as a test wants."""

    def __init__(self, store: object, clock: FakeClock) -> None:
        self.clock = clock
        self.told = Told()
        emitter: Any = self.told
        whatever: Any = store
        self.calls = StoreCalls(whatever, clock, 1.0, emitter)

    async def last(self, seconds: float, what: str = "load") -> None:
        async def call() -> None:
            await self.clock.advance(seconds)

        await self.calls.call(what, call)

    async def fail(self, what: str = "load") -> None:
        async def call() -> None:
            raise OSError(MARK)

        with pytest.raises(StoreTrouble, match=f"^{what}: OSError$"):
            await self.calls.call(what, call)


@pytest.fixture
def calls(clock: FakeClock) -> Calls:
    return Calls(object(), clock)


def trouble(text: str = "load: OSError") -> StoreTrouble:
    return StoreTrouble(text, explained=text)


async def test_a_free_lock_is_expected_within_three_calls(calls: Calls) -> None:
    """At least 50 ms, which a store on this machine needs; at most the time limit of a call."""
    expected = [calls.calls.quick_lock]
    for seconds in (0.01, 0.1, 0.25, 0.5):
        await calls.last(seconds)
        expected.append(calls.calls.quick_lock)
    assert expected == [0.05, 0.05, *(pytest.approx(each) for each in (0.3, 0.75, 1.0))]


async def test_a_refresh_is_expected_to_make_five_calls(calls: Calls) -> None:
    """As slow as the slowest of late: each faster call leaves 97 % of it."""
    expected = [calls.calls.refresh_time]
    for seconds in (0.2, 0.1, 0.4):
        await calls.last(seconds)
        expected.append(calls.calls.refresh_time)
    assert expected == [0.0, *(pytest.approx(each) for each in (1.0, 0.97, 2.0))]


async def test_only_a_failed_unlock_leaves_the_lock_stuck(calls: Calls) -> None:
    """It is told of at once, and over when an unlock succeeds: no other call says anything of the lock."""
    await calls.fail("save")
    assert not calls.calls.stuck
    await calls.fail(UNLOCK)
    assert calls.calls.stuck
    assert calls.calls.trouble == f"{UNLOCK}: OSError"
    await calls.last(0.0, "load")
    assert calls.calls.stuck
    await calls.last(0.0, UNLOCK)
    assert not calls.calls.stuck


async def test_trouble_is_told_once_a_minute_while_it_lasts(calls: Calls) -> None:
    """A new one is told at once, however soon it follows the last one's end."""
    calls.calls.note(trouble())
    await calls.clock.advance(59.9)
    calls.calls.note(trouble())
    await calls.clock.advance(0.1)
    calls.calls.note(trouble())
    calls.calls.note_success()
    calls.calls.note(trouble())
    assert calls.told.events == ["load: OSError", "load: OSError", "recovered", "load: OSError"]


async def test_trouble_is_told_just_after_the_machine_has_started() -> None:
    """The clock counts from there: nothing was told "less than a minute ago". Nor after an end."""
    calls = Calls(object(), FakeClock(wall=1_700_000_000.0, monotonic=1.0))
    calls.calls.note(trouble())
    calls.calls.note_success()
    calls.calls.note(trouble())
    assert calls.told.events == ["load: OSError", "recovered", "load: OSError"]


class Entered:
    def __init__(self) -> None:
        self.entered = 0

    async def __aenter__(self) -> None:
        self.entered += 1


class Left:
    async def __aexit__(self, *_: object) -> None:
        raise AssertionError


@pytest.mark.parametrize("store", [Entered(), Left(), object()])
async def test_only_a_whole_context_manager_is_opened(store: object, clock: FakeClock) -> None:
    """A store with one of the two methods means something else by it."""
    async with Calls(store, clock).calls.opened():
        assert getattr(store, "entered", 0) == 0
