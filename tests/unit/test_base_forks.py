"""What a forked child finds: locks that are free, and nothing of its parent's that it could close."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from core_kit import cache_of, engine_of
from fork_kit import can_fork, in_child
from harness.canary import MARK
from inside_kit import guard_of

import asyncauth
from asyncauth import ManagerPool, Token, TokenManager
from asyncauth._base.forks import at_fork, leave_to_parent, new_guard
from asyncauth._core.lifecycle import Closings
from asyncauth._core.listeners import Listeners
from asyncauth.stores import MemoryStore, RedisStore
from asyncauth.testing import FakeProvider

pytestmark = [can_fork, pytest.mark.filterwarnings("ignore:.*is multi-threaded.*:DeprecationWarning")]

KEY = "ab" * 32


@contextlib.contextmanager
def held(guard: Any) -> Iterator[None]:
    """Hold a lock in another thread."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with guard:
            taken.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    try:
        yield
    finally:
        done.set()
        holder.join()


def test_a_guard_that_another_thread_holds_is_free_in_the_child() -> None:
    """It can be taken there, and keeps the child's own threads out; in the parent it stays held."""
    guard = new_guard()

    def child() -> None:
        with guard, held_elsewhere(guard):
            pass
        with held(guard):
            assert not guard.acquire(blocking=False)

    with held(guard):
        in_child(child)
        assert not guard.acquire(blocking=False)


@contextlib.contextmanager
def held_elsewhere(guard: Any) -> Iterator[None]:
    """Check that another thread does not get a lock that this one holds."""
    got: list[bool] = []
    other = threading.Thread(target=lambda: got.append(guard.acquire(blocking=False)))
    other.start()
    other.join()
    assert got == [False]
    yield


def test_a_guard_that_the_forking_thread_holds_stays_held() -> None:
    """A signal handler may fork anywhere: the block that it interrupts releases the lock in the child as well."""
    guard = new_guard()

    def child() -> None:
        with held_elsewhere(guard):
            guard.release()
        with held(guard):
            pass

    with guard:
        in_child(child)


def test_the_child_does_what_things_ask_for() -> None:
    """Each thing that is still there, once, and in the child alone."""
    done: list[str] = []

    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name
            at_fork(self, Thing.forked)

        def forked(self) -> None:
            done.append(self.name)

    here = Thing("here")
    Thing("gone")

    def child() -> None:
        assert done == [here.name]

    in_child(child)
    assert done == []


def test_all_locks_are_made_anew_in_a_child() -> None:
    """No module makes a lock of its own: the sandbox alone does, which imports nothing of the library."""
    package, found = Path(asyncauth.__file__).parent, set[str]()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                makers = [node.func, *node.args, *(each.value for each in node.keywords)]
                if any(ast.unparse(each) in {"threading.Lock", "threading.RLock"} for each in makers):
                    found.add(path.relative_to(package).as_posix())
    assert found == {"_base/forks.py", "sandbox/plan.py"}


def _manager() -> tuple[Any, Callable[[], object]]:
    manager = TokenManager(FakeProvider())

    async def use() -> None:
        async with manager:
            manager.invalidate(await manager.token())
            await manager.refresh()
        manager.status()

    return engine_of(manager).runtime.guard, lambda: asyncio.run(use())


def _pool() -> tuple[Any, Callable[[], object]]:
    pool = ManagerPool[str](lambda _: FakeProvider())

    async def use() -> None:
        async with pool:
            await (await pool.get("a")).token()
        pool.status()

    return cache_of(pool).runtime.guard, lambda: asyncio.run(use())


def _closings() -> tuple[Any, Callable[[], object]]:
    closings = Closings()

    async def use() -> None:
        closings.begin().set_result(None)

    return guard_of(closings), lambda: asyncio.run(use())


def _listeners() -> tuple[Any, Callable[[], object]]:
    listeners = Listeners()
    return guard_of(listeners), lambda: listeners.add(print)


def _memory_store() -> tuple[Any, Callable[[], object]]:
    store = MemoryStore()
    return guard_of(store), lambda: asyncio.run(store.keys())


def _redis_store() -> tuple[Any, Callable[[], object]]:
    store = RedisStore("redis://localhost")

    async def use() -> None:
        async with store:
            pass

    return guard_of(store), lambda: asyncio.run(use())


@pytest.mark.parametrize("make", [_manager, _pool, _closings, _listeners, _memory_store, _redis_store])
def test_whatever_lock_another_thread_holds_the_child_goes_on(
    make: Callable[[], tuple[Any, Callable[[], object]]],
) -> None:
    """Each kind of object, while another thread is inside its lock."""
    guard, use = make()
    with held(guard):
        in_child(use)


def test_a_lock_of_a_memory_store_is_free_in_the_child() -> None:
    """The task that holds it runs in the parent alone; the entries are there."""
    store = MemoryStore()
    token = Token(f"{MARK}-access", issued_at=0, expires_at=3600)

    async def child() -> None:
        async with asyncio.timeout(5), store.lock(KEY):
            assert await store.load(KEY) == token

    async def parent() -> None:
        await store.save(KEY, token)
        async with store.lock(KEY):
            await asyncio.to_thread(in_child, lambda: asyncio.run(child()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03), store.lock(KEY):
                    pytest.fail("the parent holds it")

    asyncio.run(parent())


def test_nobody_waits_in_the_child_for_a_flight_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its callers are the parent's, and so is what it is doing: nothing of it is woken up, hurried or closed."""
    provider = FakeProvider(latency=0.2)
    manager = TokenManager(provider)
    woken: list[object] = []

    async def child() -> None:
        assert manager.status().waiting == 0
        assert not manager.status().refreshing
        flight = engine_of(manager).flight
        assert flight is not None
        flight.retry_now()
        async with manager:
            provider.latency = 0.0
            assert (await manager.token()).value == "token-1"  # of its own: the provider is a copy, too
        assert woken == []

    async def parent() -> None:
        loop = asyncio.get_running_loop()
        caller = asyncio.create_task(manager.token())
        while manager.status().waiting == 0:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0)
        real = loop.call_soon_threadsafe

        def noted(*given: Any, **more: Any) -> Any:
            woken.append(given)
            return real(*given, **more)

        monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
        # The parent's loop waits for the child: nothing of it goes on meanwhile.
        in_child(lambda: _run_elsewhere(child()))
        assert (await caller).value == "token-1"

    asyncio.run(parent())


def _run_elsewhere(work: Any) -> None:
    """Run a coroutine on a loop of a thread of its own, as the forking thread has the parent's loop below it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 (told to the child's main thread)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


_ENDING = """
import os, sys
from asyncauth._base.forks import leave_to_parent

class Connection:
    def __del__(self):
        os.write(1, b"closed")

mine, others = Connection(), Connection()
child = os.fork()
if child == 0:
    leave_to_parent(others)
    del others, mine
    os.write(1, b" by the child, ")
    sys.exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


def test_what_is_left_to_the_parent_outlives_the_childs_interpreter() -> None:
    """It is not even closed when the child ends as programs end, which collects all there is."""
    told = subprocess.run([sys.executable, "-c", _ENDING], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "closed by the child, "
    leave_to_parent()


async def test_a_given_client_that_the_parent_used_is_not_used_by_the_child() -> None:
    """Two processes would write into one connection: the child's manager is told, and does without the store."""

    class Client:
        pipeline: Any = None

        async def aclose(self) -> None:
            """Close nothing."""

    used, unused = RedisStore(Client()), RedisStore(Client())
    async with used:
        pass

    async def child() -> None:
        async with unused:
            pass
        manager = TokenManager(FakeProvider(), store=used)
        await manager.token()
        assert manager.status().store == "open: ConfigurationError"

    await asyncio.to_thread(in_child, lambda: asyncio.run(child()))
