"""Processes that share an account, and an oracle that knows the refresh contract and watches what they do.

The promises it holds them to, at every moment:

- **One flight**: a process has at most one token request in progress, counting an abandoned one that has not ended yet.
  While the store works, this holds for all processes together. Exempt is one whose time is up before it has the lock.
- **Usable**: a token that is handed out lives, and was not refused to the manager that hands it out.
- **Never withheld**: a held token leaves when its time is over or the API refused it, and for nothing else. Callers
  that ask while one is held get it at once.
- **Refresh tokens**: none is sent again once an answer has rotated it; a process that has another way to
  a token sends none twice.
- **Nobody waits for ever**: not for longer than a refresh may take, counted from the last time its flight was lost.
- **The number of token requests**: see `Oracle._justified`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Any

import attrs
from authority_kit import Authority, Shelf, by_password
from core_kit import engine_of, work_of
from network_kit import Network, Request
from world_kit import Order, StepLoop, World, as_asyncio

from asyncauth import AuthError, ManagerClosed, RefreshPolicy, Token, TokenManager
from asyncauth._core.refresh import Refresh
from asyncauth._core.trial import Use

POLICY = RefreshPolicy()
LONGEST_WAIT = POLICY.deadline + 10.0
"""Seconds that a caller may wait: a refresh, and a store that hangs while its token is saved."""
_LOCK_TROUBLE = 40.0
"""Seconds after a trouble in which a refresh that met it may still be in progress, without the store."""
_EPSILON = 1e-6
_CONNECT = 0.02
"""Seconds that a connection takes at most: a manager counts from before it."""
_CALLERS_PAUSE = 0.75 * 0.5
"""Seconds: the shortest pause between tries while callers wait."""
_OVERLAP = 0.2
"""Seconds in which a request may be sent by something that is being ended already."""
PATHS = ("/token", "/login", "/tokens/createToken", "/loginToken")


@attrs.define(eq=False)
class Process:
    """One process: its manager and its loops.

    Attributes:
        loops: Those that run, the oldest first.
        dead: The tokens that were refused to this manager, and that it dropped.
        damped: Whether a cool-down ever began without a drop, because an old and a new token were refused together.
        credits: When something besides time paid for a token request; what came before the last one is used up.
        closed_at: When it was closed last.
        entered: The loops on which its manager is entered.
        last: Its last request to each endpoint.
        known: A token that was seen to be held, and until when it is usable.
        failures: Token requests that failed in a row.
        refusals: How many of them were refusals of the same credential, `refused`; and whether the last one was.
        waited_at: When a caller last began or ended to wait, by the world's clock.
    """

    name: str
    manager: TokenManager
    loops: list[StepLoop]
    dead: set[str] = attrs.field(factory=set)
    damped: bool = False
    credits: list[float] = attrs.field(factory=list)
    closed_at: float = -math.inf
    entered: list[StepLoop] = attrs.field(factory=list)
    known: tuple[str, float] | None = None
    last: dict[str, Request] = attrs.field(factory=dict)
    failures: int = 0
    refusals: int = 0
    refused: str | None = None
    refused_last: bool = False
    successes: int = 0
    alive: bool = True
    lost_at: float = -math.inf
    waited_at: float = -math.inf


@attrs.define(eq=False)
class Asking:
    """A caller."""

    process: Process
    loop: StepLoop
    since: float
    task: asyncio.Task[Any] | None = None
    by_hand: bool = False


class Fleet:
    """A world with a server, a store, and processes.

    Args:
        provider: Makes each process' provider.
        shared: Whether they share a store.
        order: In which order callbacks run.
        lifetime: Seconds that access tokens live.
    """

    def __init__(
        self,
        provider: Callable[[Authority], Any] = by_password,
        *,
        shared: bool = True,
        order: Order = as_asyncio,
        lifetime: float = 60.0,
    ) -> None:
        self.world = World(order)
        self.authority = Authority(self.world, lifetime=lifetime)
        self.network = Network(self.world, self.authority)
        self.shelf = Shelf(self.world) if shared else None
        self.processes: list[Process] = []
        self.asking: list[Asking] = []
        self.oracle = Oracle(self)
        self.provider = provider
        self._random = random.Random(0).random  # noqa: S311 (jitter and backoffs: the same each time)

    def process(self) -> Process:
        """Start a process."""
        name = f"process-{len(self.processes)}"
        manager = TokenManager(
            self.provider(self.authority),
            store=self.shelf,
            policy=POLICY,
            clock=self.world.clock,
            random=self._random,
        )
        self.processes.append(Process(name, manager, [self.world.loop(name)]))
        return self.processes[-1]

    # What callers do

    def get(self, process: Process, loop: StepLoop | None = None) -> Asking:
        """Have somebody ask for a token."""
        return self._ask(process, loop, by_hand=False)

    def refresh(self, process: Process, loop: StepLoop | None = None) -> Asking:
        """Have somebody obtain a token by hand."""
        self.oracle.credit(process, 2)  # a flight that rests makes its next try at once, and goes on from there
        self.oracle.pool += 2
        return self._ask(process, loop, by_hand=True)

    def _ask(self, process: Process, loop: StepLoop | None, *, by_hand: bool) -> Asking:
        loop = loop or process.loops[0]
        asking = Asking(process, loop, self.world.clock.loop_time, by_hand=by_hand)
        asking.task = self.world.start(loop, self._asked(asking))
        self.asking.append(asking)
        return asking

    async def _asked(self, asking: Asking) -> Token | AuthError:
        manager, began = asking.process.manager, self.world.clock.monotonic()
        held = manager.current
        asking.process.waited_at = began
        try:
            token = await (manager.refresh() if asking.by_hand else manager.token())
        except ManagerClosed as error:
            assert asking.process.closed_at >= began or engine_of(manager).closed, "closed, says one that was not"
            return error
        except AuthError as error:
            if not asking.by_hand and (held is not None or manager.current is not None):
                self.oracle.broken.append(f"a usable token was withheld: {error}")
            return error
        finally:
            asking.process.waited_at = self.world.clock.monotonic()
        if held is not None and not asking.by_hand:
            assert self.world.clock.monotonic() == began, "somebody waited although a token was usable"
        self.oracle.handed_out(asking.process, token)
        return token

    def cancel(self, asking: Asking) -> None:
        """Cancel a caller."""
        assert asking.task is not None
        self.world.inside(asking.loop, asking.task.cancel)

    def cancel_flight(self, process: Process) -> None:
        """Cancel the flight's task, as somebody does who cancels all tasks."""
        flight = engine_of(process.manager).flight
        task = None if flight is None else flight.task
        if task is None:
            return
        for loop in process.loops:
            if loop is task.get_loop():
                self._cut_short(process)
                self.world.inside(loop, task.cancel)

    def _cut_short(self, process: Process) -> None:
        """Excuse what follows when a refresh may have been cut short: its answer, or its save, may be lost."""
        self.oracle.credit(process, len(PATHS))
        self.oracle.judge_all(process)
        process.refused_last = False
        failure = engine_of(
            process.manager
        ).state.failure  # a refusal that came at this moment was seen by nobody, perhaps
        seen = 0 if failure is None or failure.rejected is None else failure.rejected.times
        process.refusals = min(process.refusals, seen)
        process.lost_at = self.world.clock.loop_time
        self.oracle.excuse()

    # What the API says

    def unauthorized(self, process: Process, token: Token) -> None:
        """Tell a process' manager that the API refused a token."""
        manager, value = process.manager, token.value
        current, before = manager.current, manager.status().rejections
        manager.invalidate(token)
        if manager.status().rejections > before:
            assert current is None or current.value == value, "a late refusal of an old token dropped the new one"
            process.dead.add(value)
            self.oracle.credit(process, 1)
            self.oracle.pool += 1
        elif current is not None and current.value == value:
            assert manager.status().cooling_down, "a refused token stays, and no cool-down is told of"
            assert process.dead or process.damped, "the first refusal of all changes nothing"

    def request(self, process: Process, use: Use, *, good: bool, foreign: bool) -> None:
        """Have a request carry what it gets, if it need not wait, and be answered."""
        manager, state, now = process.manager, engine_of(process.manager).state, self.world.clock.monotonic()
        with state.guard:
            sent = state.hand_out(use, now)
        if now >= sent.usable_until:
            return
        self.oracle.handed_out(process, sent.token)
        if good:
            manager.accepted(sent.token)
            return
        before = manager.status()
        engine_of(manager).note_api_401(sent, repeat=False, foreign=foreign, again=False)
        after = manager.status()
        if after.rejections > before.rejections:
            process.dead.add(sent.token.value)
            self.oracle.credit(process, 1)
            self.oracle.pool += 1
        process.damped = process.damped or (after.cooling_down and not before.cooling_down)

    # What becomes of processes

    def enter(self, process: Process, loop: StepLoop | None = None) -> None:
        """Enter a manager."""
        loop = loop or process.loops[0]
        self.world.run(loop, process.manager.__aenter__())
        process.entered.append(loop)

    def close(self, process: Process, loop: StepLoop | None = None, *, wait: bool = True) -> asyncio.Task[None]:
        """Close a manager."""
        self._cut_short(process)
        process.closed_at = self.world.clock.monotonic()
        process.entered.clear()
        task = self.world.start(loop or process.loops[0], process.manager.close())
        if wait:
            self.world.finish(task)
            task.result()
            self.closed(process)
        return task

    def closed(self, process: Process) -> None:
        """Excuse what follows when a closing has ended: what it cut short may have asked once more in its grace."""
        self._cut_short(process)
        process.closed_at = self.world.clock.monotonic()

    def new_loop(self, process: Process) -> StepLoop:
        """Give a process one more loop."""
        process.loops.append(self.world.loop(process.name))
        return process.loops[-1]

    def end_loop(self, process: Process, loop: StepLoop, *, kindly: bool) -> None:
        """End a loop as ``asyncio.run`` does, or close it without a chance for its tasks."""
        self._cut_short(process)
        process.loops.remove(loop)
        process.entered = [each for each in process.entered if each is not loop]
        self.asking = [each for each in self.asking if each.loop is not loop]
        if kindly:
            self.world.end(loop)
        else:
            self.world.abandon(loop)
        if not process.loops:
            self.new_loop(process)

    def die(self, process: Process) -> None:
        """Kill a process."""
        process.alive = False
        self.world.die(process.name)
        self.asking = [each for each in self.asking if each.process is not process]
        self.oracle.excuse()

    def pause(self, process: Process, *, paused: bool) -> None:
        """Stop a process, or let it go on."""
        for loop in process.loops:
            loop.paused = paused
            loop.stands_since = self.world.clock.loop_time if paused else math.inf
        process.lost_at = self.world.clock.loop_time
        self.oracle.excuse()

    def suspend(self, seconds: float) -> None:
        """Suspend the machine: no loop sees this time pass."""
        self.world.clock.suspend(seconds)
        for process in self.processes:
            if process.alive:
                self._cut_short(process)

    # The end

    def finish(self) -> None:
        """Let everything come to its end, and see that nothing is left."""
        for process in self.processes:
            if process.alive:
                self.pause(process, paused=False)
        if self.shelf is not None:
            self.shelf.trouble.clear()
        self.world.advance(2 * LONGEST_WAIT)
        self.oracle.check()
        assert all(each.task is not None and each.task.done() for each in self.asking), "somebody waits for ever"
        for process in self.processes:
            if process.alive:
                self.close(process)
        self.world.advance(1.0)
        left = self.world.tasks()
        assert not left, f"left behind: {left}"
        assert not self.world.complaints, self.world.complaints
        assert all(each.forsaken for each in self.network.open), "a connection is left open"

    def bury(self) -> None:
        """Let go of everything."""
        self._abandon_sessions()
        world = self.world
        vars(self).clear()  # or what is left of the dead would outlive this, and complain in somebody else's test
        world.bury()

    def _abandon_sessions(self) -> None:
        """Forget the sessions of managers that died: nobody closes them."""
        for process in self.processes:
            for entry in engine_of(process.manager).runtime.sessions.leave_all():
                if entry.session is not None and not entry.session.closed:
                    entry.session.connector._closed = True  # type: ignore[union-attr]
                    entry.session.detach()


class Oracle:
    """Watches a fleet.

    Attributes:
        pool: Token requests that something besides time has paid for, for all processes together.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._world = fleet.world
        self._authority = fleet.authority
        self._authority.on_sent = self._sent
        self._authority.on_aborted = self._aborted
        self._authority.on_refused = self._refused
        self._excused_until = -math.inf
        self._success: Request | None = None
        self.pool = 0
        self.broken: list[str] = []
        self.detail = ""

    def excuse(self, seconds: float = _LOCK_TROUBLE) -> None:
        """Hold nobody to what needs the store, for as long as a refresh that met its trouble may take."""
        self._excused_until = max(self._excused_until, self._now + seconds)

    @property
    def _now(self) -> float:
        return self._world.clock.monotonic()

    def handed_out(self, process: Process, token: Token) -> None:
        """Look at a token that a caller got."""
        assert self._now < self._authority.dies_at[token.value], "a dead token was handed out"
        assert token.value not in process.dead, "a refused token was handed out"

    def _sent(self, request: Request) -> None:
        """Look at a token request that is being sent. What is wrong is told by `check`: this is called by aiohttp."""
        process = next(each for each in self._fleet.processes if each.name == request.process)
        if request.fault is not None:
            self.excuse()  # it keeps the lock for longer than the others wait for it, perhaps
        if len(self._authority.running(process.name)) > 1:
            self.broken.append("two token requests of one process at a time")
        together = self._authority.running()
        if len(together) > 1 and self._strict and not self._in_a_hurry(process):
            self.broken.append("two token requests at a time, with a store that serves")
        self._judge(process, process.last.get(request.path))
        if not self._justified(process, request):
            self.broken.append(f"{process.name} asked for a token too soon: {self.detail}")
        elif self._strict and not process.failures and not self._justified_together(request):
            self.broken.append("the processes together asked for a token too soon after their last one")
        process.last[request.path] = request
        process.credits = [each for each in process.credits if each >= request.sent_at_loop - _OVERLAP]

    def _refused(self, name: str) -> None:
        """Take note of a connection that was refused: a failure without a request."""
        process = next(each for each in self._fleet.processes if each.name == name)
        self.judge_all(process)
        process.failures += 1
        process.refused_last = False

    def judge_all(self, process: Process) -> None:
        """Take note of what became of a process' last requests."""
        for last in process.last.values():
            self._judge(process, last)

    def _aborted(self, request: Request) -> None:
        """Look at a token request that the client gives up: its answer may be lost."""
        process = next(each for each in self._fleet.processes if each.name == request.process)
        ended = engine_of(process.manager).closed or process.lost_at >= request.sent_at_loop
        if ended:
            self.credit(process, 1)
        # After a failure a refresh has but the rest of its time for the next try.
        if not ended and not process.failures and self._now >= self._excused_until:
            self.broken.append("a token request was given up although nothing had ended its flight")

    @property
    def _strict(self) -> bool:
        shelf = self._fleet.shelf
        return shelf is not None and not shelf.trouble and self._now >= self._excused_until

    def _in_a_hurry(self, process: Process) -> bool:
        """Return whether its refresh must end soon, so that it waits for no lock: for half of what is left, at most."""
        work = work_of(process.manager)
        return isinstance(work, Refresh) and work.deadline - self._now < 1.0

    def credit(self, process: Process, requests: int) -> None:
        """Let a process send token requests that time alone would not allow."""
        process.credits += [self._world.clock.loop_time] * requests

    def _judge(self, process: Process, last: Request | None) -> None:
        """Take note of what became of a process' last request to an endpoint."""
        if last is not None and "judged" not in last.notes:
            last.notes["judged"] = True
            if last.answered and last.status == 200:
                self._success = last
            else:
                process.refused_last = last.answered and last.status == 400
                if process.refused_last:
                    credential = last.fields.get("refresh_token", last.fields.get("password"))
                    process.refusals = process.refusals + 1 if credential == process.refused else 1
                    process.refused = credential
                process.failures += last.answered or last.fault is not None  # or it was given up with its flight
        status = process.manager.status()
        if status.refreshes + status.adoptions > process.successes:  # since then, by adoption perhaps
            process.successes = status.refreshes + status.adoptions
            process.failures = process.refusals = 0
            process.refused_last = False

    def _justified(self, process: Process, request: Request) -> bool:
        """Return whether a process may send this token request.

        The bound on token requests, exactly. A process may send one to each endpoint

        - as its first;
        - when half a lifetime has passed since the last one that brought it a token was sent;
        - after n failures in a row: when a tenth of the n-th backoff has passed (full jitter: it is never less), and
          sooner, after three quarters of half a second, where a caller has waited since;
        - after the n-th refusal of a credential since its last success: when the n-th hold has passed;
        - at once, with its primary grant, when the server did not know its refresh token;
        - and once for each of these: a token dropped because the API refused it, a ``refresh()`` by hand, a refresh
          that was cut short (closed, its loop ended, its task cancelled, its machine suspended).
        """
        last = process.last.get(request.path)
        if last is None:
            return True
        since = request.sent_at - last.sent_at + _CONNECT
        if last.answered and last.status == 400 and "refresh_token" in last.fields:
            return True
        if last.answered and last.status == 200:
            wait = self._authority.lifetime / 2
        elif process.refused_last:
            wait = min(3600.0, 60.0 * 2.0 ** (process.refusals - 1))
        else:
            wait = 0.1 * min(15.0, 0.25 * 2.0 ** max(0, process.failures - 1))
            waits = any(each.process is process and not (each.task and each.task.done()) for each in self._fleet.asking)
            if waits or process.waited_at >= last.sent_at:
                wait = min(wait, _CALLERS_PAUSE)
        if since >= wait:
            return True
        self.detail = f"{since:.3f} s after status {last.status}, not {wait:.3f} s"
        if process.credits:
            process.credits.pop()
            return True
        return False

    def _justified_together(self, request: Request) -> bool:
        """Return whether any process may send this token request: with a store, they are as one."""
        last = self._success
        if last is None or request.sent_at - last.sent_at + _CONNECT >= self._authority.lifetime / 2:
            return True
        self.pool -= 1
        return self.pool >= 0

    def check(self) -> None:
        """Look at everything that can be looked at between two callbacks."""
        assert not self.broken, self.broken
        assert not self._authority.overlaps, "a provider was asked before it had ended what it was asked before"
        assert not self._authority.resent, "a refresh token was sent again although an answer had rotated it"
        if not isinstance(self._fleet.provider, type) and self._fleet.provider is by_password:
            assert not self._authority.stolen, "a refresh token that may be used up was sent again"
        for process in self._fleet.processes:
            if process.alive:
                self._check_held(process)
        now = self._world.clock.loop_time
        for asking in self._fleet.asking:
            since = max(asking.since, asking.process.lost_at)
            if asking.task is not None and not asking.task.done() and not asking.loop.paused:
                assert now - since <= LONGEST_WAIT, "somebody waits for longer than a refresh may take"
            elif asking.task is not None and asking.task.done() and not asking.task.cancelled():
                asking.task.result()
        self._fleet.asking = [each for each in self._fleet.asking if each.task is None or not each.task.done()]

    def _check_held(self, process: Process) -> None:
        current = process.manager.current
        if current is None:
            known = process.known
            assert known is None or self._now + _EPSILON >= known[1] or known[0] in process.dead, (
                "a usable token is gone, and nobody refused it"
            )
            process.known = None
        elif process.known is None or process.known[0] != current.value:
            left = process.manager.status().seconds_left
            process.known = (current.value, math.inf if left is None else self._now + left)
