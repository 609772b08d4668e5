"""The state machine is worth its time: managers that are broken in known ways are each found by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from test_manager_machine import BOUNDED, AloneContract, RefreshContract
from world_kit import LoopTime, forget_the_dead

from asyncauth._core import failures
from asyncauth._core.cache import TokenState
from asyncauth._core.cached_token import NOTHING, CachedToken
from asyncauth._core.engine import TokenEngine
from asyncauth._core.flight import Flight
from asyncauth._core.lifecycle import Closings
from asyncauth._core.store_client import StoreClient
from asyncauth._core.store_lock import LockHandle
from asyncauth.manager import TokenManager
from asyncauth.policy import RefreshPolicy
from asyncauth.stores import Entry

MOST = 4000
"""Rows of events in which a fault must be found: about 100 are enough for the hardest, and chance never needs 4,000."""

# A failure is remembered with its frames, and they with what it left open.
pytestmark = [pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"), pytest.mark.timeout(600)]

Patch = pytest.MonkeyPatch


def _flight_ends_with_its_caller(patch: Patch) -> None:
    """Who is cancelled while waiting takes the flight with them."""
    wait = Flight.wait

    async def dropped(flight: Flight[Any]) -> Any:
        try:
            return await wait(flight)
        except asyncio.CancelledError:
            if flight.task is not None:
                flight.task.cancel()
            raise

    patch.setattr(Flight, "wait", dropped)


def _each_its_own_flight(patch: Patch) -> None:
    """Every caller starts a flight."""

    join = TokenEngine.join

    def anew(engine: TokenEngine) -> Flight[Any]:
        engine.flight = None
        return join(engine)

    patch.setattr(TokenEngine, "join", anew)


def _no_waiter_but_the_first_is_woken(patch: Patch) -> None:
    """The others wait for ever."""
    land = Flight.settle

    def first(flight: Flight[Any], **outcome: Any) -> None:
        for waiters in flight.waiters:
            del waiters.entries[1:]
        land(flight, **outcome)

    patch.setattr(Flight, "settle", first)


def _invalidate_without_compare(patch: Patch) -> None:
    """A late refusal of an old token drops the new one."""
    refuse = TokenState.invalidate

    def any_token(state: TokenState, token: Any, *, repeat: bool, now: float) -> float | None:
        return refuse(state, state.cached.token, repeat=repeat, now=now)

    patch.setattr(TokenState, "invalidate", any_token)


def _refused_token_stays(patch: Patch) -> None:
    """invalidate() counts, and changes nothing."""

    def refuse(state: TokenState, token: Any, *, repeat: bool, now: float) -> float | None:
        if state.cached.is_token(token):
            own = state.own_failures()
            own.api_401s = attrs.evolve(own.api_401s, drops=own.api_401s.drops + 1)
        return 0.0

    patch.setattr(TokenState, "invalidate", refuse)


def _predecessor_serves_beyond_its_end(patch: Patch) -> None:
    """An old token that stands in for an unproven one is handed out although its time is over."""
    patch.setattr(CachedToken, "usable_predecessor", lambda cached, _: cached.predecessor)


def _expiry_by_wall_clock(patch: Patch) -> None:
    """A wall clock that is set back revives dead tokens."""
    init = TokenManager.__init__

    class Wall:
        def __init__(self, clock: LoopTime) -> None:
            self.wall = self.monotonic = clock.wall
            self.sleep = clock.sleep

    def by_wall(manager: TokenManager, provider: Any, *, clock: Any, **settings: Any) -> None:
        init(manager, provider, clock=Wall(clock), **settings)

    patch.setattr(TokenManager, "__init__", by_wall)


def _failure_drops_the_token(patch: Patch) -> None:
    """A renewal that fails withholds the token that was still good."""
    fail = TokenState.fail

    def drop(state: TokenState, *arguments: Any, **times: Any) -> Any:
        state.cached = NOTHING
        return fail(state, *arguments, **times)

    patch.setattr(TokenState, "fail", drop)


def _entering_waits_for_no_closing(patch: Patch) -> None:
    """A manager is entered while what its closing gave up is still in progress."""
    patch.setattr(Closings, "pending", ())


def _no_backoff(patch: Patch) -> None:
    """A server that is down is asked without a rest."""
    patch.setattr(failures, "backoff_after", lambda *_: 1e-9)


def _wrong_password_is_tried_again(patch: Patch) -> None:
    """A refusal is remembered for a second."""
    patch.setattr(failures, "credential_rejected_cooldown", lambda *_: 1.0)


def _buffer_longer_than_the_lifetime(patch: Patch) -> None:
    """Every token is stale when it comes."""
    windows = RefreshPolicy.windows

    def early(policy: RefreshPolicy, lifetime: float | None, **details: float) -> Any:
        found = windows(policy, lifetime, **details)
        return type(found)(fresh=0.0, usable=found.usable)

    patch.setattr(RefreshPolicy, "windows", early)


def _unanswered_refresh_token_stays(patch: Patch) -> None:
    """A refresh token that may be used up is sent again."""
    patch.setattr(TokenState, "lose_refresh_token", lambda *_, **__: None)


def _refresh_token_is_not_marked(patch: Patch) -> None:
    """A process that dies leaves no mark on the refresh token that it has sent."""

    async def use(client: StoreClient, entry: Entry) -> Entry:
        client.known.hold(entry)
        return entry

    patch.setattr(StoreClient, "use", use)


def _no_lock(patch: Patch) -> None:
    """Processes look in the store, and fetch without a lock."""

    @contextlib.asynccontextmanager
    async def unlocked(*_: Any, **__: Any) -> AsyncIterator[SimpleNamespace]:
        async def nothing(*_: object) -> None:
            """Release nothing."""

        async def had_within(_: float) -> LockHandle:
            return LockHandle(None, nothing, nothing)

        yield SimpleNamespace(had_within=had_within, waited=0.0)

    patch.setattr(StoreClient, "locking", unlocked)


ALONE = {
    _flight_ends_with_its_caller: 24,
    _each_its_own_flight: 0,
    _no_waiter_but_the_first_is_woken: 0,
    _invalidate_without_compare: 9,
    _refused_token_stays: 11,
    _expiry_by_wall_clock: 11,
    _failure_drops_the_token: 6,
    _no_backoff: 4,
    _wrong_password_is_tried_again: 11,
    _buffer_longer_than_the_lifetime: 10,
    _unanswered_refresh_token_stays: 3,
    _entering_waits_for_no_closing: 2,
    _predecessor_serves_beyond_its_end: 4,
}
SHARED = {_refresh_token_is_not_marked: 52, _no_lock: 10}
"""By fault: a seed soon after which a row of events finds it. When the events change, the search takes longer."""


@pytest.mark.parametrize(
    ("broken", "number", "machine"),
    [(*each, AloneContract) for each in ALONE.items()] + [(*each, RefreshContract) for each in SHARED.items()],
    ids=lambda value: None if isinstance(value, int) else value.__name__.strip("_"),
)
def test_fault_is_found(
    monkeypatch: Patch, broken: Callable[[Patch], None], number: int, machine: type[RuleBasedStateMachine]
) -> None:
    """One promise broken, the machine fails."""
    broken(monkeypatch)
    seeded = seed(number)(type(machine.__name__, (machine,), {}))
    search = settings(BOUNDED, max_examples=MOST, phases=[Phase.generate], database=None, report_multiple_bugs=False)
    try:
        with pytest.raises(AssertionError):
            run_state_machine_as_test(seeded, settings=search)
    finally:
        forget_the_dead()
