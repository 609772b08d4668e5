"""What the tasks of a loop wait for: each other, or something outside of the loop."""

from __future__ import annotations

import asyncio
import asyncio.futures
import contextlib
import socket
import sys
import threading
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from asyncauth.stores import MemoryStore
from asyncauth.testing import FakeClock
from asyncauth.testing.activity import Activity, activity


async def seen(*tasks: Coroutine[Any, Any, Any], just_before: Callable[[], object] = lambda: None) -> Activity:
    """Return what tasks do once they have come to where they wait; they are cancelled then.

    Args:
        tasks: Which, beside those that run already.
        just_before: What is done before the look, so that no task has gone on since.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Activity] = loop.create_future()
    started = [loop.create_task(each) for each in tasks]
    for _ in range(8):
        await asyncio.sleep(0)
    loop.call_soon(lambda: found.set_result(activity(loop)))
    just_before()
    try:
        return await found
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


class Wrapped:
    """Awaits as aiohttp's request context managers do."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        return self._work.__await__()


class WrappedTwice(Wrapped):
    """Awaits in a generator of its own."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from super().__await__()


async def numbers(first: Awaitable[None]) -> AsyncGenerator[int, None]:
    await first
    yield 1


async def each_of(source: AsyncGenerator[int, None]) -> None:
    async for _ in source:
        pass


@types.coroutine
def generated(future: asyncio.Future[Any]) -> Generator[Any, None, None]:
    yield from future


async def shield(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    finally:
        task.cancel()


async def wait_for(awaitable: Awaitable[Any]) -> None:
    await awaitable


WAITS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "a fake clock": lambda: FakeClock().sleep(60),
    "an event": lambda: asyncio.Event().wait(),
    "a future": lambda: wait_for(asyncio.get_running_loop().create_future()),
    "a future of Python's": lambda: wait_for(asyncio.futures._PyFuture()),  # type: ignore[attr-defined]  # noqa: SLF001
    "a task": lambda: wait_for(asyncio.ensure_future(asyncio.Event().wait())),
    "a task, shielded": lambda: shield(FakeClock().sleep(60)),
    "several": lambda: wait_for(asyncio.gather(FakeClock().sleep(60), asyncio.Event().wait())),
    "one of several, for some time": lambda: asyncio.wait([asyncio.get_running_loop().create_future()], timeout=60),
    "anything, for some time": lambda: asyncio.wait_for(FakeClock().sleep(60), 60),
    "a coroutine in an awaitable": lambda: wait_for(Wrapped(wait_for(FakeClock().sleep(60)))),
    "a coroutine in a generator": lambda: wait_for(WrappedTwice(wait_for(FakeClock().sleep(60)))),
    "an async generator": lambda: each_of(numbers(FakeClock().sleep(60))),
    "the next of an async generator": lambda: wait_for(anext(numbers(FakeClock().sleep(60)))),
    "the next of an async generator, if any": lambda: wait_for(anext(numbers(FakeClock().sleep(60)), None)),
}


if sys.version_info < (3, 12):  # later ones make no task of it
    WAITS["a generator"] = lambda: generated(asyncio.get_running_loop().create_future())


@pytest.mark.parametrize("what", WAITS)
async def test_a_task_waits_for_what_the_loops_own_tasks_do(what: str) -> None:
    """However deep it is wrapped."""
    assert await seen(WAITS[what]()) is Activity.WAITS


class Odd:
    """An awaitable that shows nobody what it waits for: it is its own iterator, and keeps no reference to a future."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value]

    def __iter__(self) -> Odd:
        return self

    def __next__(self) -> object:
        return UNKNOWN.pop()


UNKNOWN: list[asyncio.Future[None]] = []


async def test_what_nobody_can_look_into_is_taken_for_a_wait() -> None:
    """Else the clock would never move in a test that has such a task."""
    future = asyncio.get_running_loop().create_future()
    future._asyncio_future_blocking = True  # noqa: SLF001 (what `yield` in an `__await__` says)
    UNKNOWN.append(future)
    assert await seen(wait_for(Odd())) is Activity.WAITS


@pytest.mark.not_eager(reason="each task has begun")
async def test_a_task_that_goes_on_by_itself_runs() -> None:
    """One that has not begun, has what it waited for, or goes on in the next turn, whatever others wait for."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()
    tasks: list[asyncio.Task[Any]] = []

    async def work() -> None:
        await waiting
        for _ in range(20):
            await asyncio.sleep(0)

    assert (
        await seen(FakeClock().sleep(60), just_before=lambda: tasks.append(loop.create_task(work()))) is Activity.RUNS
    )
    assert await seen(FakeClock().sleep(60)) is Activity.WAITS
    assert await seen(FakeClock().sleep(60), just_before=lambda: waiting.set_result(None)) is Activity.RUNS
    assert await seen(FakeClock().sleep(60)) is Activity.RUNS
    await tasks[0]


class Extension(Coroutine[Any, Any, None]):
    """A coroutine that is not Python's, as those of uvloop."""

    def __init__(self) -> None:
        self._wait = asyncio.get_running_loop().create_future().__await__()

    def __await__(self) -> Generator[Any, None, None]:
        return self  # type: ignore[return-value]

    def __next__(self) -> Any:
        return next(self._wait)

    def send(self, value: Any) -> Any:
        return self._wait.send(value)

    def throw(self, *error: Any) -> Any:
        return self._wait.throw(*error)

    def close(self) -> None:
        self._wait.close()


async def read(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    with contextlib.closing(writer):
        await reader.read(1)


async def get(address: tuple[str, int]) -> None:
    async with aiohttp.ClientSession() as http, http.get("http://{}:{}/".format(*address)):
        pass


async def receive(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as one:
        one.setblocking(False)
        await asyncio.get_running_loop().sock_recv(one, 1)


@pytest.fixture
def silent() -> Any:
    """The address of a server that answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.mark.parametrize("request_of", [read, get, receive])
async def test_a_task_that_waits_for_a_socket_waits_for_something_outside(
    request_of: Callable[[tuple[str, int]], Coroutine[Any, Any, None]], silent: tuple[str, int]
) -> None:
    """With asyncio's streams and sockets, and with aiohttp."""
    work = request_of(silent)
    task = asyncio.ensure_future(work)
    try:
        await asyncio.sleep(0.05)  # it has connected by then, or does still: both are outside
        assert await seen() is Activity.OUTSIDE
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


OUTSIDE: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "asyncio.sleep": lambda: wait_for(asyncio.sleep(60)),
    "asyncio.sleep alone": lambda: asyncio.sleep(60),
    "an extension": lambda: wait_for(Extension()),
}


@pytest.mark.parametrize("what", OUTSIDE)
async def test_a_task_that_waits_for_the_machine_waits_for_something_outside(what: str) -> None:
    """Its time, or what only an extension module knows."""
    assert await seen(OUTSIDE[what](), FakeClock().sleep(60)) is Activity.OUTSIDE


THREADS: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "to_thread": asyncio.to_thread,
    "an executor": lambda work: wait_for(in_executor(work)),
    "an executor, for some time": lambda work: asyncio.wait_for(in_executor(work), 60),
    "several in executors": lambda work: wait_for(asyncio.gather(in_executor(work), in_executor(work))),
    "an executor, shielded": lambda work: wait_for(asyncio.shield(in_executor(work))),
    "an executor, shielded among several": lambda work: wait_for(asyncio.gather(asyncio.shield(in_executor(work)))),
    "an executor, shielded for some time": lambda work: asyncio.wait_for(asyncio.shield(in_executor(work)), 60),
    "one of several in executors": lambda work: asyncio.wait([in_executor(work)]),
}


def in_executor(work: Callable[[], Any]) -> asyncio.Future[Any]:
    return asyncio.get_running_loop().run_in_executor(None, work)


@pytest.mark.parametrize("what", THREADS)
async def test_a_task_that_waits_for_a_thread_waits_for_something_outside(what: str) -> None:
    """Also where it waits for several things, and where the thread has not begun yet."""
    go_on = threading.Event()

    async def work() -> None:
        await THREADS[what](go_on.wait)

    try:
        assert await seen(work(), FakeClock().sleep(60)) is Activity.OUTSIDE
    finally:
        go_on.set()


@contextlib.asynccontextmanager
async def idle_web_server() -> AsyncIterator[None]:
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as http, http.get("http://{}:{}/".format(*runner.addresses[0])) as answer:
            await answer.read()
            yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def idle_server() -> AsyncIterator[None]:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    task = asyncio.ensure_future(server.serve_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def taken_lock() -> AsyncIterator[None]:
    """A task that looks, from time to time, whether a store's lock is free."""
    store = MemoryStore()

    async def take() -> None:
        async with store.lock("key"):
            pass

    async with store.lock("key"):
        task = asyncio.ensure_future(take())
        await asyncio.sleep(0)
        yield
    await task


@pytest.mark.parametrize("block", [idle_web_server, idle_server, taken_lock])
async def test_a_task_that_waits_for_whatever_may_come_waits(
    block: Callable[[], contextlib.AbstractAsyncContextManager[None]],
) -> None:
    """A server without a request, and who looks whether a lock is free, keep no clock from moving."""
    async with block():
        await asyncio.sleep(0.02)
        assert await seen(FakeClock().sleep(60)) is Activity.WAITS
