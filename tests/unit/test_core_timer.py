"""One timer per event loop."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest
from inside_kit import sleeping_until

from asyncauth._core.timer import Finder, Timer, TimerHandle
from asyncauth.testing import FakeClock


class Client:
    def __init__(self, clock: FakeClock, then: Callable[[], None] = lambda: None) -> None:
        self.timer_handle: TimerHandle | None = None
        self._clock, self._then = clock, then
        self.kept: list[float] = []

    def found_by(self) -> tuple[Finder, None]:
        return weakref.ref(self), None

    def on_time(self) -> None:
        self.kept.append(self._clock.monotonic() - 1000)
        self._then()


def timers() -> int:
    return len(asyncio.all_tasks()) - 1


async def test_appointments_are_kept_in_their_order(clock: FakeClock) -> None:
    """Each client is called once, at its time, whatever the order in which appointments were made."""
    timer = Timer.here(clock)
    clients = [Client(clock) for _ in range(3)]
    for client, due in zip(clients, (30.0, 10.0, 20.0), strict=True):
        timer.set(client, 1000 + due)
    await clock.advance(100)
    assert [client.kept for client in clients] == [[30], [10], [20]]
    assert timers() == 0


async def test_new_appointment_replaces_the_last(clock: FakeClock) -> None:
    """A client has one appointment: sooner or later than the one before."""
    timer, client = Timer.here(clock), Client(clock)
    for due in (50.0, 20.0, 70.0):
        timer.set(client, 1000 + due)
    assert timers() == 1
    await clock.advance(100)
    assert client.kept == [70]


async def test_an_appointment_that_is_due_sooner_wakes_the_timer(clock: FakeClock) -> None:
    """One that is due at the same moment, or later, does not: there is one task less to make."""
    timer, clients = Timer.here(clock), [Client(clock) for _ in range(4)]
    timer.set(clients[0], 1030)
    await clock.advance(0)
    asleep = asyncio.all_tasks()
    timer.set(clients[1], 1030)
    timer.set(clients[2], 1040)
    assert asyncio.all_tasks() == asleep
    timer.set(clients[3], 1010)
    await clock.advance(10)
    assert [client.kept for client in clients] == [[], [], [], [10]]
    await clock.advance(30)
    assert [client.kept for client in clients] == [[30], [30], [40], [10]]


async def test_due_already_is_kept_at_once(clock: FakeClock) -> None:
    """An appointment in the past is kept at the loop's next turn, not within the call."""
    timer, client = Timer.here(clock), Client(clock)
    timer.set(client, 0)
    assert client.kept == []
    await clock.advance(0)
    assert client.kept == [0]


async def test_client_may_make_its_next_appointment_when_called(clock: FakeClock) -> None:
    """A periodic client is one task for as long as it goes on."""
    timer = Timer.here(clock)
    client = Client(clock, lambda: timer.set(client, clock.monotonic() + 10))
    timer.set(client, 1010)
    await clock.advance(35)
    assert client.kept == [10, 20, 30]
    assert timers() == 1
    client.timer_handle = None
    await timer.sweep()
    assert timers() == 0


async def test_timer_never_sleeps_for_longer_than_a_minute(clock: FakeClock) -> None:
    """A loop's clock stands still during suspend: the timer looks at the real one each minute."""
    timer, client = Timer.here(clock), Client(clock)
    timer.set(client, 1000 + 1e9)
    await clock.advance(0)
    assert sleeping_until(clock)[0] == 1060
    client.timer_handle = None
    await timer.sweep()


async def test_sweep_leaves_the_timer_to_others(clock: FakeClock) -> None:
    """The timer ends with the last appointment, not before."""
    timer = Timer.here(clock)
    one, other = Client(clock), Client(clock)
    timer.set(one, 1010)
    timer.set(other, 1020)
    one.timer_handle = None
    await timer.sweep()
    await clock.advance(100)
    assert (one.kept, other.kept) == ([], [20])
    await timer.sweep()


async def test_appointment_that_became_void_as_it_fell_due_is_not_kept(clock: FakeClock) -> None:
    """Another thread lets the client go between the look at the list and the call: nothing is called."""
    timer, client = Timer.here(clock), Client(clock)
    timer.set(client, 1010)
    (handle,) = timer.heap
    client.timer_handle = None
    timer.wake(handle)
    assert client.kept == []
    await timer.sweep()


async def test_clients_are_held_weakly(clock: FakeClock) -> None:
    """A client that nobody else holds is gone, and its appointment void."""
    timer, client = Timer.here(clock), Client(clock)
    timer.set(client, 1010)
    del client
    gc.collect()
    await clock.advance(100)
    assert timers() == 0


async def test_each_clock_has_a_timer_of_its_own(clock: FakeClock) -> None:
    """Clients with different clocks don't disturb each other; each has one schedule per event loop."""
    other = FakeClock()
    assert Timer.here(clock) is Timer.here(clock)
    assert Timer.here(clock) is not Timer.here(other)
    elsewhere = await asyncio.to_thread(lambda: asyncio.run(_here(clock)))
    assert Timer.here(clock) is not elsewhere
    assert (Timer.here(clock).is_here, elsewhere.is_here) == (True, False)


async def _here(clock: FakeClock) -> Timer:
    return Timer.here(clock)


@pytest.mark.parametrize(("others", "longest"), [(0, 64), (99, 200)])
async def test_void_appointments_do_not_pile_up(clock: FakeClock, others: int, longest: int) -> None:
    """A client that makes its appointment anew a thousand times: at most half of the list is void, if it is long."""
    timer, client = Timer.here(clock), Client(clock)
    there = [Client(clock) for _ in range(others)]
    for each in there:
        timer.set(each, 1_500)
    lengths = list[int]()
    for _ in range(1_000):
        timer.set(client, 2_000)
        lengths.append(len(timer.heap))
    assert max(lengths) == longest
    await clock.advance(1_000)
    assert client.kept == [1_000]
    assert [each.kept for each in there] == [[500]] * others


async def test_few_appointments_are_not_searched_for_void_ones(clock: FakeClock) -> None:
    """A new one costs as little as the heap that it is put on."""
    looked = list[int]()

    class Counted(Client):
        def found_by(self) -> tuple[Finder, None]:
            def find() -> Counted:
                looked.append(1)
                return self

            return find, None

    timer, clients = Timer.here(clock), [Counted(clock) for _ in range(64)]
    for client in clients:
        timer.set(client, 1010)
    assert looked == []
    await clock.advance(10)
    assert all(client.kept == [10] for client in clients)
