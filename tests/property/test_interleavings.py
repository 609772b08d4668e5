"""A refresh, disturbed at every one of its steps in turn, and with its callbacks in every order.

A step is one callback of an event loop: whatever happens to a refresh happens between two of them. Each scenario is run
once to count its steps, and then once for each of them with something happening there.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from authority_kit import ADDRESS, Authority, by_password, by_refresh_token
from oracle_kit import Fleet, Process
from world_kit import Order, as_asyncio

from asyncauth import CredentialsRejected, PagoFacilJWT, Token

RUNS = int(os.environ.get("ASYNCAUTH_RUNS", "10"))
"""How many steps, or orders, of each scenario are tried: evenly spread from a random one on, so that all have their
turn in the long run. ``ASYNCAUTH_RUNS=10000`` tries every one (two minutes)."""
pytestmark = [pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"), pytest.mark.timeout(600)]

AT_ONCE = 3
"""How many ask at the same time."""


def chain(_: Authority) -> PagoFacilJWT:
    """Return a provider of three steps, each with a manager of its own."""
    return PagoFacilJWT.from_password(username="ana", password="Contraseña-1", base_url=ADDRESS)


class Scenario:
    """A few callers who need a token, of one process or two.

    Args:
        provider: Makes each process' provider.
        shared: Whether there is a store.
        held: Whether a token was held before, and its time is over: its refresh token is sent.
        processes: How many.
    """

    def __init__(self, provider: Callable[[Authority], Any], *, shared: bool, held: bool, processes: int = 1) -> None:
        self._provider = provider
        self._shared = shared
        self._held = held
        self._processes = processes

    def begin(self, order: Order = as_asyncio) -> Fleet:
        """Return a fleet in which the callers have just begun to wait."""
        fleet = Fleet(self._provider, shared=self._shared, order=order)
        for _ in range(self._processes):
            process = fleet.process()
            if self._held:
                fleet.get(process)
                fleet.world.advance(5.0)
        if self._held:
            fleet.world.advance(fleet.authority.lifetime)
        fleet.oracle.check()
        for process in fleet.processes:
            for _ in range(AT_ONCE):
                fleet.get(process)
        return fleet

    @functools.cached_property
    def undisturbed(self) -> tuple[int, int]:
        """How many steps it takes until all have their token, and how many token requests."""
        fleet = self.begin()
        before = fleet.world.steps
        served(fleet)
        counts = fleet.world.steps - before, len(fleet.authority.requests)
        fleet.bury()
        return counts

    @property
    def steps(self) -> int:
        return self.undisturbed[0]

    @property
    def requests(self) -> int:
        return self.undisturbed[1]


def served(fleet: Fleet) -> None:
    """Let all callers come to their end, which is a token for each.

    But for those whose only way to a token is a refresh token: if it was sent and no answer came, it is sent once more,
    and the server may take that for a theft.
    """
    tasks = [each.task for each in fleet.asking if each.task is not None]
    fleet.world.finish(*tasks, most=60.0)
    kinds = (Token, CredentialsRejected) if fleet.authority.stolen else Token
    for task in tasks:
        assert task.cancelled() or isinstance(task.result(), kinds), task


SCENARIOS = {
    "plain": Scenario(by_password, shared=False, held=False),
    "chain": Scenario(chain, shared=False, held=False),
    "chain with a store": Scenario(chain, shared=True, held=False),
    "with a store": Scenario(by_password, shared=True, held=False),
    "rotating": Scenario(by_password, shared=False, held=True),
    "rotating with a store": Scenario(by_password, shared=True, held=True),
    "only a refresh token": Scenario(by_refresh_token, shared=False, held=True),
    "only a refresh token, with a store": Scenario(by_refresh_token, shared=True, held=True),
    "two processes": Scenario(by_password, shared=True, held=True, processes=2),
}
KINDS = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def _spread(choices: Sequence[Any]) -> Sequence[Any]:
    """Return so many of all choices as are to be tried."""
    stride = math.ceil(len(choices) / RUNS) or 1
    return choices[random.SystemRandom().randrange(stride) :: stride]


def disturbed(scenario: Scenario, disturb: Callable[[Fleet, Process], None]) -> Iterator[Fleet]:
    """Run a scenario once for each of its steps, with something happening before it; yield what is left each time."""
    for step in _spread(range(scenario.steps)):
        fleet = scenario.begin()
        try:
            for _ in range(step):
                fleet.world.step()
            disturb(fleet, fleet.processes[0])
            yield fleet
            fleet.finish()
        except BaseException as error:
            error.add_note(f"disturbed at step {step}")
            raise
        finally:
            fleet.bury()


@KINDS
def test_a_caller_is_cancelled_at_every_step(scenario: Scenario) -> None:
    """It takes nobody with it: the others get their token, from the one request that was in progress."""
    for fleet in disturbed(scenario, lambda fleet, _: fleet.cancel(fleet.asking[0])):
        served(fleet)
        assert len(fleet.authority.requests) == scenario.requests


@KINDS
def test_all_callers_are_cancelled_at_every_step(scenario: Scenario) -> None:
    """The flight goes on, and its token is kept: the next caller gets it, without another token request."""

    def cancel(fleet: Fleet, process: Process) -> None:
        for asking in fleet.asking:
            fleet.cancel(asking)

    for fleet in disturbed(scenario, cancel):
        fleet.world.advance(5.0)
        begun = bool(fleet.authority.running()) or len(fleet.authority.requests) == scenario.requests
        for process in fleet.processes:
            fleet.get(process)
        served(fleet)
        assert len(fleet.authority.requests) == scenario.requests
        assert begun or not fleet.authority.stolen


@KINDS
def test_the_flight_is_cancelled_at_every_step(scenario: Scenario) -> None:
    """By somebody who cancels all tasks: the callers start another, and are served."""
    for fleet in disturbed(scenario, lambda fleet, process: fleet.cancel_flight(process)):
        served(fleet)


@KINDS
def test_closed_at_every_step(scenario: Scenario) -> None:
    """Each waiter gets its token or ManagerClosed; entered again, it serves."""

    def close(fleet: Fleet, process: Process) -> None:
        fleet.close(process)

    for fleet in disturbed(scenario, close):
        fleet.world.advance(30.0)
        fleet.oracle.check()
        process = fleet.processes[0]
        fleet.enter(process)
        fleet.get(process)
        served(fleet)


@KINDS
@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_closed_at_every_step_and_entered_at_once(scenario: Scenario, cancelled: int) -> None:
    """A caller that enters during the closing is served after it, however often close() is cancelled."""

    def close(fleet: Fleet, process: Process) -> None:
        closing = fleet.close(process, wait=False)
        for _ in range(cancelled):
            for _ in range(3):
                fleet.world.step()
            fleet.world.inside(process.loops[0], closing.cancel)
        fleet.enter(process)
        fleet.oracle.check()  # those who waited have their token, or ManagerClosed
        fleet.get(process)

    for fleet in disturbed(scenario, close):
        served(fleet)


@KINDS
def test_a_second_loop_at_every_step(scenario: Scenario) -> None:
    """A caller on another loop joins the flight: both get the same token, from the same request."""

    def join(fleet: Fleet, process: Process) -> None:
        fleet.get(process, fleet.new_loop(process))

    for fleet in disturbed(scenario, join):
        served(fleet)
        assert len(fleet.authority.requests) == scenario.requests


@KINDS
@pytest.mark.parametrize("kindly", [True, False], ids=["asyncio.run", "closed"])
def test_the_loop_ends_at_every_step(scenario: Scenario, *, kindly: bool) -> None:
    """A caller on another loop starts another flight; a later caller on a new loop is served."""

    def end(fleet: Fleet, process: Process) -> None:
        fleet.get(process, fleet.new_loop(process))
        fleet.end_loop(process, process.loops[0], kindly=kindly)

    for fleet in disturbed(scenario, end):
        fleet.get(fleet.processes[0])
        served(fleet)


@pytest.mark.parametrize("name", ["with a store", "rotating with a store", "two processes"])
def test_the_process_dies_at_every_step(name: str) -> None:
    """As by kill -9: another process is served within the lease, and sends no refresh token that may be used up."""

    def die(fleet: Fleet, process: Process) -> None:
        fleet.get(fleet.process())
        fleet.die(process)

    for fleet in disturbed(SCENARIOS[name], die):
        served(fleet)


# --- in other orders


class Choices:
    """An order that is given for some of its steps, and is asyncio's for the others.

    Attributes:
        ready: How many callbacks were ready at each step.
    """

    def __init__(self, chosen: dict[int, int]) -> None:
        self.ready: list[int] = []
        self._chosen = chosen

    def __call__(self, ready: int) -> int:
        place = self._chosen.get(len(self.ready), 0)
        self.ready.append(ready)
        return place


def _run(scenario: Scenario, order: Order) -> None:
    fleet = scenario.begin(order)
    try:
        served(fleet)
        assert len({each.value for process in fleet.processes if (each := process.manager.current)}) == 1
        fleet.finish()
    finally:
        fleet.bury()


@KINDS
def test_every_order_that_differs_once(scenario: Scenario) -> None:
    """Whichever callback is run out of its turn, at whichever step, everybody is served as ever."""
    first = Choices({})
    _run(scenario, first)
    for step, place in _spread([(step, place) for step, most in enumerate(first.ready) for place in range(1, most)]):
        _run(scenario, Choices({step: place}))


@KINDS
def test_orders_that_differ_everywhere(scenario: Scenario) -> None:
    """Any callback next, at every step, by a seed that the failure names."""
    for seed in itertools.islice(_seeds(), RUNS):
        try:
            _run(scenario, random.Random(seed).randrange)  # noqa: S311 (an order, no secret)
        except AssertionError as error:
            error.add_note(f"the order's seed is {seed}")
            raise


def _seeds() -> Iterator[int]:
    while True:
        yield random.SystemRandom().getrandbits(32)
