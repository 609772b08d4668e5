"""The refresh contract under any row of events: callers, failures, refusals, clocks, loops, stores and deaths."""

from __future__ import annotations

import os
from typing import Any

import pytest
from authority_kit import by_password
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle_kit import Fleet, Process
from world_kit import StepLoop

from asyncauth._core.trial import Use

EXAMPLES = int(os.environ.get("ASYNCAUTH_EXAMPLES", "100"))
"""How many rows of events each test tries; more in a longer run: ``ASYNCAUTH_EXAMPLES=20000``."""
BOUNDED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# A failure is shrunk for minutes, and a longer run takes longer.
pytestmark = [pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"), pytest.mark.timeout(600 + EXAMPLES)]

numbers = st.integers(min_value=0, max_value=7)
callbacks = st.integers(min_value=0, max_value=80)
"""How many callbacks run before the next event: a refresh takes about a hundred."""
times = st.sampled_from([0.02, 0.1, 0.5, 3.0, 10.0, 20.0, 31.0, 48.0, 54.0, 61.0, 130.0])
pauses = st.sampled_from([0.0, 0.0, 0.5, 3.0, 20.0, 61.0])
faults = st.sampled_from(["refused", "lost", "unanswered", "hangs"])
calls = st.sampled_from(["load", "save", "delete", "lock", "all"])
troubles = st.sampled_from(["before", "after", "hangs"])


class RefreshContract(RuleBasedStateMachine):
    """One to three processes of one account."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(by_password, shared=self.shared)
        self.old: list[Any] = []

    @initialize(processes=st.integers(min_value=1, max_value=3))
    def begin(self, processes: int) -> None:
        for _ in range(processes if self.shared else 1):
            self.fleet.process()

    # Who

    @property
    def living(self) -> list[Process]:
        return [each for each in self.fleet.processes if each.alive]

    def one(self, number: int) -> Process:
        return self.living[number % len(self.living)]

    def where(self, number: int) -> tuple[Process, StepLoop]:
        places = [(process, loop) for process in self.living for loop in process.loops]
        return places[number % len(places)]

    def go_on(self, steps: int) -> None:
        until = self.fleet.world.clock.loop_time + 1.0
        for _ in range(steps):
            if not self.fleet.world.step(until):
                break

    # Callers

    @rule(number=numbers, callers=st.integers(min_value=1, max_value=3), after=pauses, steps=callbacks)
    def get(self, number: int, callers: int, after: float, steps: int) -> None:
        self.fleet.world.advance(after)
        for _ in range(callers):
            self.fleet.get(*self.where(number))
        self.go_on(steps)

    @rule(number=numbers, steps=callbacks)
    def refresh_by_hand(self, number: int, steps: int) -> None:
        process, loop = self.where(number)
        if process.manager.current is not None:
            self.old.append(process.manager.current)
        self.fleet.refresh(process, loop)
        self.go_on(steps)

    @rule(number=numbers, steps=callbacks)
    def lose_patience(self, number: int, steps: int) -> None:
        asking = self.fleet.get(*self.where(number))
        self.go_on(steps)
        self.fleet.cancel(asking)
        self.go_on(10)

    @precondition(lambda self: self.fleet.asking)
    @rule(number=numbers, steps=callbacks)
    def cancel(self, number: int, steps: int) -> None:
        self.fleet.cancel(self.fleet.asking[number % len(self.fleet.asking)])
        self.go_on(steps)

    @rule(number=numbers, steps=callbacks)
    def cancel_flight(self, number: int, steps: int) -> None:
        self.fleet.cancel_flight(self.one(number))
        self.go_on(steps)

    # The server

    @rule(mood=st.sampled_from(["well", "well", "down", "refuses"]))
    def turn(self, mood: Any) -> None:
        self.fleet.authority.mood = mood

    @rule(mood=st.sampled_from(["down", "refuses"]), number=numbers, after=pauses)
    def ask_again(self, mood: Any, number: int, after: float) -> None:
        self.fleet.authority.mood = mood
        self.fleet.get(*self.where(number))
        self.fleet.world.advance(after)
        self.fleet.get(*self.where(number))

    @rule(fault=faults)
    def fault(self, fault: str) -> None:
        self.fleet.authority.faults.append(fault)

    @rule(number=numbers)
    def revoke(self, number: int) -> None:
        process = self.one(number)
        token = process.manager.current
        if token is not None:
            self.old.append(token)
            self.fleet.authority.revoke(token.value)
            self.fleet.unauthorized(process, token)

    @precondition(lambda self: self.old)
    @rule(number=numbers, which=numbers)
    def late_refusal(self, number: int, which: int) -> None:
        self.fleet.unauthorized(self.one(number), self.old[which % len(self.old)])

    @rule(number=numbers, once=st.booleans(), good=st.booleans(), foreign=st.booleans(), after=pauses)
    def request(self, number: int, after: float, *, once: bool, good: bool, foreign: bool) -> None:
        """A request is answered: with 401, the old token serves while the new one is unproven."""
        self.fleet.world.advance(after)
        self.fleet.request(self.one(number), Use.ONCE if once else Use.REPEATABLE, good=good, foreign=foreign)

    @rule(number=numbers)
    def accept(self, number: int) -> None:
        manager = self.one(number).manager
        if manager.current is not None:
            self.old.append(manager.current)
            manager.accepted(manager.current)

    # Time

    @rule(seconds=times)
    def advance(self, seconds: float) -> None:
        self.fleet.world.advance(seconds)

    @rule(ahead=st.sampled_from([-1e6, -3600.0, -30.0, 30.0, 3600.0, 1e6]))
    def set_wall(self, ahead: float) -> None:
        """Set the wall clock, but not in the milliseconds in which an entry is read or written, by that very clock."""
        clock, shelf = self.fleet.world.clock, self.fleet.shelf
        while shelf is not None and clock.loop_time < shelf.busy_until:
            self.fleet.world.advance(shelf.busy_until - clock.loop_time)
        clock.set_wall(clock.wall() + ahead)
        self.fleet.oracle.excuse(self.fleet.authority.lifetime)

    @rule(seconds=st.sampled_from([5.0, 50.0, 3600.0]), steps=callbacks)
    def suspend(self, seconds: float, steps: int) -> None:
        self.fleet.suspend(seconds)
        self.go_on(steps)

    # Processes and loops

    @rule(number=numbers, steps=callbacks)
    def enter(self, number: int, steps: int) -> None:
        process, loop = self.where(number)
        if not loop.paused:
            self.fleet.enter(process, loop)
            self.go_on(steps)

    @rule(number=numbers, steps=callbacks, again=st.booleans())
    def close(self, number: int, steps: int, *, again: bool) -> None:
        process, loop = self.where(number)
        if not loop.paused:
            self.fleet.close(process, loop, wait=again)
            if again:
                self.fleet.enter(process, loop)
            self.go_on(steps)

    @rule(number=numbers, steps=st.tuples(callbacks, callbacks, callbacks), left=st.sampled_from([None, 0, 1]))
    def close_by_two(self, number: int, steps: tuple[int, int, int], left: int | None) -> None:
        """Two close it at the same time, one of them is cancelled perhaps, and somebody enters and asks."""
        process, loop = self.where(number)
        if not loop.paused:
            self.fleet.get(process, loop)
            self.go_on(steps[0])
            closings = []
            for more in steps[1:]:
                closings.append(self.fleet.close(process, loop, wait=False))
                self.go_on(more)
            if left is not None:
                self.fleet.world.inside(loop, closings[left].cancel)
            self.fleet.enter(process, loop)
            self.fleet.closed(process)
            self.fleet.get(process, loop)

    @rule(number=numbers)
    def new_loop(self, number: int) -> None:
        process = self.one(number)
        if not process.loops[0].paused:
            self.fleet.new_loop(process)

    @rule(number=numbers, kindly=st.booleans())
    def end_loop(self, number: int, *, kindly: bool) -> None:
        process, loop = self.where(number)
        if not loop.paused:
            self.fleet.end_loop(process, loop, kindly=kindly)

    @precondition(lambda self: self.shared)
    @rule(number=numbers, busy=st.booleans(), steps=callbacks)
    def die(self, number: int, steps: int, *, busy: bool) -> None:
        process, loop = self.where(number)
        if busy:
            self.fleet.refresh(process, loop)
        self.go_on(steps)
        self.fleet.die(process)
        self.fleet.process()

    # The store

    @precondition(lambda self: self.shared)
    @rule(call=calls, trouble=troubles)
    def trouble(self, call: str, trouble: str) -> None:
        assert self.fleet.shelf is not None
        self.fleet.shelf.trouble[call] = trouble

    @precondition(lambda self: self.fleet.shelf is not None and self.fleet.shelf.trouble)
    @rule()
    def no_trouble(self) -> None:
        assert self.fleet.shelf is not None
        self.fleet.shelf.trouble.clear()
        self.fleet.oracle.excuse()

    @invariant()
    def contract(self) -> None:
        self.fleet.oracle.check()

    def teardown(self) -> None:
        try:
            if self.fleet.processes:
                self.fleet.finish()
        finally:
            self.fleet.bury()


class AloneContract(RefreshContract):
    """One process without a store."""

    shared = False


TestShared = RefreshContract.TestCase
TestShared.settings = BOUNDED
TestAlone = AloneContract.TestCase
TestAlone.settings = BOUNDED
