"""Runs scenarios (README.md beside this file) against a token manager, on a clock that only their steps move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import attrs
from scenario_endpoint import InMemory, InMemoryProvider, ScriptedEndpoint
from scenario_expect import Crash, Mismatch, each_its_own, errors_of, no_secret, not_ended, result_of, same
from scenario_loop import LIMIT, Loop, settled
from scenario_store import FaultyStore
from scenario_subject import Maker, Subject
from scenario_wire import Wire

from asyncauth import Peakly, Provider, RefreshGrant
from asyncauth.testing import FakeClock

__all__ = ["run"]

_ADDRESSES = {"production": "https://api.example.com", "qa": "https://qa.example.com"}
_MAIN = "main"


def _largest() -> float:
    """Return a manager's random number: the largest each time, as the scenarios suppose."""
    return 1.0


def run(scenario: Mapping[str, Any], make: Maker) -> None:
    """Run one scenario, which must be a valid one.

    Raises:
        Mismatch: The manager did something else than the scenario expects.
        Crash: Something raised that nobody expects to; its cause says what.
    """
    name = scenario["name"]
    with contextlib.ExitStack() as stack:
        with _located(f"{name}, before the first step"):
            world = _World(scenario["given"], make)
            stack.callback(world.stop)
            world.prepare()
        for number, step in enumerate(scenario["steps"], 1):
            with _located(f"{name}, step {number} ({step['do']})"):
                world.do(step)
                world.check(step)
        with _located(f"{name}, in the end"):
            world.end()


@contextlib.contextmanager
def _located(place: str) -> Iterator[None]:
    """Put the place before what went wrong there."""
    try:
        yield
    except Mismatch as error:
        problem = Mismatch(f"{place}: {error}")
    except Exception as error:
        raise Crash(f"{place}: {type(error).__name__}: {error}") from error
    else:
        return
    raise problem


@attrs.define(eq=False)
class _Caller:
    """Who made one call, or several at once."""

    tasks: list[asyncio.Task[Any]]
    loop: Loop
    at_once: bool
    ended_at: dict[int, float] = attrs.field(factory=dict)


class _World:
    """Everything that one scenario is about: clock, endpoint, store, loops, managers, callers."""

    def __init__(self, given: Mapping[str, Any], make: Maker) -> None:
        self._given = given
        self._cached = given.get("cached", "none")
        self._policy = given.get("policy", {})
        self.clock = FakeClock()
        self._endpoint = ScriptedEndpoint(self.clock, given.get("endpoint", {}), 0 if self._cached != "none" else 1)
        self._copy: dict[str, Any] = {}
        self._store = FaultyStore(self.clock, strict=given.get("store") == "strict") if "store" in given else None
        self._loops: dict[str, Loop] = {}
        self._callers: dict[str, _Caller] = {}
        self._password, self._passwords_asked, self._lost = "s3cret-1", 0, False
        self._wire = Wire(self._endpoint, given) if given.get("wire") else None
        if self._wire is not None:
            self._loop().run(self._wire.start())
        self._managers = {
            name: make(
                self._provider(settings), store=self._store, policy=self._policy, clock=self.clock, random=_largest
            )
            for name, settings in given.get("managers", {_MAIN: {}}).items()
        }

    # What is given

    def _provider(self, settings: Mapping[str, Any]) -> Provider:
        address = _ADDRESSES[settings.get("system", "production")] if self._wire is None else self._wire.address
        account = settings.get("account", "somebody")
        provider: Provider
        if self._given.get("grant") == "refresh token":
            provider = RefreshGrant(
                token_url=f"{address}/token", refresh_token="refresh-given", account=account, origins=address
            )
        else:
            password = self._tell_password if self._given.get("password") == "callable" else self._password
            provider = Peakly(username=account, password=password, base_url=address)
        return provider if self._wire is not None else InMemoryProvider(provider, InMemory(self._endpoint))

    def _tell_password(self) -> str:
        self._passwords_asked += 1
        if self._lost:
            raise ConnectionError
        return self._password

    def prepare(self) -> None:
        """Put the token that is cached into its state, and begin to count."""
        if self._cached != "none":
            manager, loop = self._manager({}), self._loop()
            loop.run(manager.get())
            loop.run(self.clock.advance(self._age()))
            self._endpoint.sent.clear()
            self._passwords_asked = 0
        if self._given.get("entered"):
            for manager in self._managers.values():
                self._loop().run(manager.enter())

    def _age(self) -> float:
        """Return the seconds after which a token is in the given state, by the contract's windows."""
        lifetime = self._given.get("endpoint", {}).get("lifetime", 3600)
        if self._cached == "fresh":
            return 0.0
        if self._cached == "stale":
            return float(self._policy.get("renew_at", 0.8) * lifetime)
        usable = lifetime - min(self._policy.get("expiry_margin", 10.0), 0.1 * lifetime)
        return float(usable if self._cached == "spent" else usable - 1.0)

    def _loop(self, name: str = _MAIN) -> Loop:
        if name not in self._loops:
            self._loops[name] = Loop()
        return self._loops[name]

    def _manager(self, step: Mapping[str, Any]) -> Subject:
        return self._managers[step["manager"]] if "manager" in step else next(iter(self._managers.values()))

    # What is done

    def do(self, step: Mapping[str, Any]) -> None:
        """Do one step, and whatever follows from it without time."""
        verb: Callable[[Mapping[str, Any]], None] = getattr(self, "_do_" + step["do"].replace(" ", "_"))
        verb(step)
        for loop in self._loops.values():
            loop.run(settled())

    def _call(self, step: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> None:
        loop = self._loop(step.get("loop", _MAIN))

        async def start() -> _Caller:
            tasks = [asyncio.ensure_future(call()) for _ in range(step.get("count", 1))]
            await asyncio.sleep(0)
            caller = _Caller(tasks, loop, at_once=all(task.done() for task in tasks))
            for number, task in enumerate(tasks):
                task.add_done_callback(lambda _, n=number: caller.ended_at.setdefault(n, self.clock.monotonic()))  # type: ignore[misc]
            await settled()
            if self._wire is not None:
                await asyncio.wait(tasks, timeout=LIMIT)
            return caller

        self._callers[step.get("caller", step["do"])] = loop.run(start())

    def _do_get(self, step: Mapping[str, Any]) -> None:
        self._call(step, self._manager(step).get)

    def _do_refresh(self, step: Mapping[str, Any]) -> None:
        self._call(step, self._manager(step).refresh)

    def _do_enter(self, step: Mapping[str, Any]) -> None:
        self._call(step, self._manager(step).enter)

    def _do_leave(self, step: Mapping[str, Any]) -> None:
        self._call(step, self._manager(step).leave)

    def _do_close(self, step: Mapping[str, Any]) -> None:
        self._call(step, self._manager(step).close)

    def _do_request(self, step: Mapping[str, Any]) -> None:
        assert self._wire is not None
        wire, middleware = self._wire, self._manager(step).middleware(step.get("refused"))
        self._call(step, lambda: wire.request(step, middleware))

    def _do_cancel(self, step: Mapping[str, Any]) -> None:
        caller = self._callers[step["caller"]]
        if all(task.done() for task in caller.tasks):
            raise Mismatch(f"{step['caller']} has ended, and can't leave")

        async def cancel() -> None:
            for task in caller.tasks:
                task.cancel()

        caller.loop.run(cancel())

    def _do_refuse(self, step: Mapping[str, Any]) -> None:
        self._manager(step).refuse(step["token"], repeat=step.get("repeat", False))

    def _do_accept(self, step: Mapping[str, Any]) -> None:
        self._manager(step).accept(step["token"], repeat=step.get("repeat", False))

    def _do_advance(self, step: Mapping[str, Any]) -> None:
        self._loop(step.get("loop", _MAIN)).run(self.clock.advance(step["seconds"]))

    def _do_suspend(self, step: Mapping[str, Any]) -> None:
        self.clock.suspend(step["seconds"])

    def _do_set_wall_clock(self, step: Mapping[str, Any]) -> None:
        self.clock.set_wall(self.clock.wall() + step["by"])

    def _do_end_loop(self, step: Mapping[str, Any]) -> None:
        self._loops.pop(step.get("loop", _MAIN)).end()

    def _do_change_password(self, step: Mapping[str, Any]) -> None:
        self._password = "s3cret-2"

    def _do_lose_password(self, step: Mapping[str, Any]) -> None:
        self._lost = True

    def _do_find_password(self, step: Mapping[str, Any]) -> None:
        self._lost = False

    def _do_break_store(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._store.fault = step["fault"]
        self._store.calls = step.get("calls", ("load", "save", "delete", "lock"))

    def _do_mend_store(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._store.fault, self._store.calls = None, ()

    def _do_copy_store(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._copy = dict(self._store.tokens)

    def _do_restore_store(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._store.tokens = dict(self._copy)

    def _do_hold_lock(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._store.hold()

    def _do_let_go_of_lock(self, step: Mapping[str, Any]) -> None:
        assert self._store is not None
        store = self._store

        async def let_go() -> None:
            store.let_go()

        self._loop().run(let_go())

    # What is expected

    def check(self, step: Mapping[str, Any]) -> None:
        """Compare what came of it with what the step says."""
        then = step.get("then", {})
        for name, expected in then.get("results", {}).items():
            for number, result in enumerate(self._results(name, expected)):
                same(f"{name}[{number}]", expected, result)
        if "at_once" in then:
            same("at_once", then["at_once"], self._callers[step.get("caller", step["do"])].at_once)
        for what in ("asked", "sent", "passwords_asked", "stored", "refresh_tokens_stored", "api", "cookies"):
            if what in then:
                same(what, then[what], self._seen(what))
        status = self._manager(step).status() if "status" in then else None
        if status is not None:
            told = {name: expected for name, expected in then["status"].items() if name in status}
            same("status", told, status)
        self._check_always()

    def _seen(self, what: str) -> object:
        endpoint, tokens = self._endpoint, {} if self._store is None else self._store.tokens
        seen: Mapping[str, Callable[[], object]] = {
            "asked": lambda: len(endpoint.sent),
            "sent": lambda: endpoint.sent,
            "passwords_asked": lambda: self._passwords_asked,
            "stored": lambda: sorted(token.value for token in tokens.values()),
            "refresh_tokens_stored": lambda: sorted(
                token.refresh_token for token in tokens.values() if token.refresh_token is not None
            ),
            "api": lambda: None if self._wire is None else self._wire.seen,
            "cookies": lambda: endpoint.cookies,
        }
        return seen[what]()

    def _results(self, name: str, expected: object) -> list[object]:
        caller = self._callers[name]
        late = any(not task.done() for task in caller.tasks)
        if late and expected != "waiting" and len(self._loops) > 1:  # an answer travels from one thread to another
            caller.loop.run(_ended(caller.tasks))
        return [result_of(task) for task in caller.tasks]

    def _check_always(self) -> None:
        """Compare with what holds at every moment, whatever the scenario."""
        if self._endpoint.most_running > len(self._managers):
            raise Mismatch(f"{self._endpoint.most_running} token requests at the same time")
        if self._endpoint.redirected:
            raise Mismatch("a token request followed a redirect")
        for caller in self._callers.values():
            for number, task in enumerate(caller.tasks):
                result = result_of(task)
                if isinstance(result, str) and result in self._endpoint.ends:
                    not_ended(result, at=caller.ended_at[number], end=self._endpoint.ends[result])
        errors = errors_of(task for caller in self._callers.values() for task in caller.tasks)
        each_its_own(errors)
        no_secret({name: manager.shown() for name, manager in self._managers.items()}, errors)

    # Its end

    def end(self) -> None:
        """Close the managers, and see that they leave nothing behind."""
        for number, manager in enumerate(self._managers.values()):
            step = {"do": "close", "caller": f"the last close {number}"}
            self._call(step, manager.close)
            self._loop().run(self.clock.advance(10.0))
            same("close", ["done"], self._results(step["caller"], "done"))
        if self._wire is not None:
            self._loop().run(self._wire.stop())
        for name, caller in self._callers.items():
            if "waiting" in self._results(name, "done"):
                raise Mismatch(f"{name} is left waiting after the managers were closed")
            del caller
        for loop in self._loops.values():
            loop.run(settled())
            left = loop.tasks()
            if left:
                raise Mismatch(f"left behind: {left}")

    def stop(self) -> None:
        """End what is left, however the scenario ended."""
        with contextlib.suppress(Exception):  # whatever it was, it is not what the scenario is about
            self._loop().run(self._abandon())
        for loop in self._loops.values():
            loop.end()

    async def _abandon(self) -> None:
        closing = [asyncio.ensure_future(manager.close()) for manager in self._managers.values()]
        await self.clock.advance(10.0)
        if self._wire is not None:
            await self._wire.stop()
        await asyncio.wait(closing, timeout=LIMIT)
        errors_of(task for caller in self._callers.values() for task in caller.tasks)  # or asyncio logs each, one day


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=LIMIT)
