"""A fake clock that moves by itself when nothing else can happen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading

import pytest

from asyncauth import Peakly, Token, TokenEndpointUnavailable, TokenManager
from asyncauth.sandbox import Sandbox
from asyncauth.testing import FakeClock, FakeProvider
from asyncauth.testing import clock as module
from asyncauth.testing.activity import Activity, activity

ENOUGH = 4


class Looks(list[tuple[Activity, float]]):
    """What the clock has seen, and when by the loop's time; ``enough`` is set after some."""

    def __init__(self) -> None:
        super().__init__()
        self.enough = threading.Event()

    def look(self, loop: asyncio.AbstractEventLoop) -> Activity:
        found = activity(loop)
        self.append((found, loop.time()))
        if len(self) >= ENOUGH:
            self.enough.set()
        return found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(module, "activity", looks.look)
    return looks


async def test_it_moves_from_sleep_to_sleep(asyncauth_clock: FakeClock) -> None:
    """Each ends at its time, in order, and no time of the machine's passes for it."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await asyncauth_clock.sleep(nap)
            woken.append((name, asyncauth_clock.monotonic() - 1000))

    await asyncio.gather(sleeper("a", 3, 3600), sleeper("b", 5), sleeper("c", 5, 0, 86_400))
    assert woken == [("a", 3), ("b", 5), ("c", 5), ("c", 5), ("a", 3603), ("c", 86_405)]


async def test_an_endpoint_that_is_down_does_not_hang_a_test(asyncauth_clock: FakeClock) -> None:
    """The caller's error comes when the deadline of 30 s has passed on the clock."""

    def down() -> Token:
        raise TokenEndpointUnavailable("down")

    provider = FakeProvider(clock=asyncauth_clock, answers=[down] * 100)
    async with TokenManager(provider, clock=asyncauth_clock) as manager:
        with pytest.raises(TokenEndpointUnavailable):
            await manager.token()
    assert 20 < asyncauth_clock.monotonic() - 1000 <= 30
    assert provider.calls > 10


async def test_an_endpoint_that_hangs_does_not_hang_a_test(asyncauth_clock: FakeClock) -> None:
    """One that never answers is given up at the deadline."""

    async def hang() -> Token:
        await asyncio.Event().wait()
        raise AssertionError

    provider = FakeProvider(clock=asyncauth_clock, answers=[hang])
    with pytest.raises(TokenEndpointUnavailable):
        await TokenManager(provider, clock=asyncauth_clock).token()
    assert asyncauth_clock.monotonic() == 1030


async def test_it_stands_still_while_a_task_runs(asyncauth_clock: FakeClock) -> None:
    """advance() moves it exactly as far as it is told, and what is due on the way is due at its time."""
    provider = FakeProvider(clock=asyncauth_clock, lifetime=3600)
    async with TokenManager(provider, clock=asyncauth_clock, random=lambda: 0.0) as manager:
        await manager.token()
        await asyncauth_clock.advance(2879)
        assert (provider.calls, asyncauth_clock.monotonic()) == (1, 3879)
        await asyncauth_clock.advance(1)
        assert provider.calls == 2


async def test_advance_gives_what_it_woke_all_the_turns_that_it_needs(clock: FakeClock) -> None:
    """A task that goes on for many turns of the loop, with socket I/O of its own, has ended when advance() returns."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        loop = asyncio.get_running_loop()

        async def work() -> bytes:
            await clock.sleep(60)
            for _ in range(10):
                await asyncio.sleep(0)
                await loop.sock_sendall(here, b"x")
                await loop.sock_recv(there, 1)
            return b"done"

        task = asyncio.ensure_future(work())
        await clock.advance(60)
        assert task.done()
        assert task.result() == b"done"


async def test_advance_does_not_wait_for_a_task_that_never_rests(clock: FakeClock) -> None:
    """It is given some turns of the loop, and no more."""

    steps = 0

    async def spin() -> None:
        nonlocal steps
        for steps in range(10 * module.ROUNDS):  # noqa: B007 (how far it has come)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(spin())
    await clock.advance(60)
    assert (task.done(), clock.monotonic()) == (False, 1060)
    assert steps < 3 * module.ROUNDS
    task.cancel()


async def test_advance_does_not_turn_an_idle_loop(clock: FakeClock, *, on_uvloop: bool) -> None:
    """Once nothing is left to do it returns, where the loop shows that: what a test advances by is mostly idle."""
    turns = 0

    moving = clock.advance(60)
    with contextlib.suppress(StopIteration):
        while True:
            moving.send(None)
            turns += 1
            await asyncio.sleep(0)
    most = 2 * module.ROUNDS
    assert turns == most if on_uvloop else turns < most / 4


async def test_it_stands_still_when_tasks_end_just_before_a_look() -> None:
    """A task that waits for several others shows one turn after their end that it continues, whenever that is."""
    for turns in range(2 * module.QUIET_ROUNDS):
        clock = FakeClock(auto=True)
        asleep = asyncio.ensure_future(clock.sleep(60))
        await asyncio.gather(*[_take(turns) for _ in range(2)])
        assert clock.monotonic() == 1000
        asleep.cancel()


async def _take(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_it_stands_still_while_a_thread_works(asyncauth_clock: FakeClock, looks: Looks) -> None:
    """It looks from time to time whether that has ended, 200 times a second at most, and then goes on."""

    def work() -> float:
        looks.enough.wait()
        return asyncauth_clock.monotonic()

    nap = asyncio.ensure_future(asyncauth_clock.sleep(60))
    assert await asyncio.to_thread(work) == 1000
    times = [when for found, when in looks if found is Activity.OUTSIDE]
    assert len(times) >= ENOUGH
    assert all(later - earlier > 0.004 for earlier, later in itertools.pairwise(times))
    await nap
    assert asyncauth_clock.monotonic() == 1060


async def test_it_stands_still_while_a_request_is_under_way(
    asyncauth_clock: FakeClock, asyncauth_sandbox: Sandbox
) -> None:
    """A token request over a socket takes none of its time, although its deadline is a sleep of the clock."""
    asyncauth_sandbox.configure(token_latency=0.03)
    peakly = Peakly(
        username=asyncauth_sandbox.username,
        password=asyncauth_sandbox.password,
        base_url=asyncauth_sandbox.peakly.url,
    )
    async with TokenManager(peakly, clock=asyncauth_clock) as manager:
        await manager.token()
        assert asyncauth_clock.monotonic() == 1000
        asyncauth_sandbox.peakly.token_faults.server_error(times=2)
        await manager.refresh()
        assert asyncauth_clock.monotonic() > 1000
    assert asyncauth_sandbox.peakly.counts.token_requests == 4


async def test_it_does_not_look_when_nobody_sleeps(asyncauth_clock: FakeClock, looks: Looks) -> None:
    """After the last sleep, or when that was cancelled, nothing of it runs; with the next one it goes on."""
    for _ in range(2):
        nap = asyncio.ensure_future(asyncauth_clock.sleep(60))
        await asyncio.sleep(0)
        nap.cancel()
        await asyncio.sleep(0.02)
        assert looks == []
    await asyncauth_clock.sleep(60)
    looks.clear()
    await asyncio.sleep(0.02)
    assert looks == []


@pytest.mark.leaves_tasks(reason="of the first loop")
def test_it_serves_one_loop_after_another() -> None:
    """A test with several ``asyncio.run()`` may use one, also after one that ended in the middle of a sleep."""
    clock = FakeClock(auto=True)

    async def leave_asleep() -> None:
        task = asyncio.ensure_future(clock.sleep(60))
        await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(leave_asleep())
    asyncio.run(clock.sleep(5))
    asyncio.run(clock.sleep(5))
    assert clock.monotonic() == 1010


@pytest.mark.leaves_tasks(reason="of a loop that is closed under it")
@pytest.mark.parametrize("auto", [True, False])
def test_a_loop_that_is_closed_under_a_sleep_stops_no_other(auto: bool) -> None:  # noqa: FBT001
    """Nobody can wake who slept on it, and nobody waits for that: those on the next loop are woken."""
    clock = FakeClock(auto=auto)
    closed = asyncio.new_event_loop()
    asleep = closed.create_task(clock.sleep(10))
    closed.run_until_complete(asyncio.sleep(0))
    closed.close()

    async def sleep() -> None:
        sleeper = asyncio.ensure_future(clock.sleep(20))
        if not auto:
            await clock.advance(20)
        async with asyncio.timeout(5):  # it would never end
            await sleeper

    asyncio.run(sleep())
    assert (clock.monotonic(), asleep.done()) == (1020, False)
    asleep.get_coro().close()


async def test_a_clock_is_moved_by_the_test_alone_unless_it_is_told_to(looks: Looks) -> None:
    """FakeClock() does nothing by itself."""
    clock = FakeClock()
    nap = asyncio.ensure_future(clock.sleep(5))
    await asyncio.sleep(0.02)
    assert not nap.done()
    assert looks == []
    await clock.advance(5)
    assert nap.done()
