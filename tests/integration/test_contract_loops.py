"""Loops and endings: one manager on many loops, one after another or at once, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from contract_kit import PEAKLY, QUICK, SYSTEMS, Side, client, serving, status_of, until

from asyncauth import BearerAuth, ManagerClosed, RefreshPolicy, Token, TokenManager, client_session

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)
on_every_loop = pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


def sockets() -> Counter[str]:
    """Return the sockets that this process has open, by what they are."""
    found: Counter[str] = Counter()
    listed = Path("/proc/self/fd")
    for descriptor in listed.iterdir() if listed.exists() else ():
        with contextlib.suppress(OSError):  # closed since it was listed
            target = str(descriptor.readlink())
            found[target] += target.startswith("socket:")
    return +found


def nothing_left(before: Counter[str]) -> None:
    """Check that there are no more sockets than before, and that what is garbage warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    deadline = time.monotonic() + 5  # the server closes its ends when it learns of ours
    while (left := sockets() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


@on_every_loop
@pytest.mark.parametrize("name", SYSTEMS)
def test_three_threads_and_the_main_one_make_one_token_request(
    name: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Four loops in four threads, cold and then revoked: one token request each time, everybody answered 200."""
    together = threading.Barrier(4, timeout=30)  # one that fails must not leave the others waiting for ever
    results: list[tuple[str, set[int]]] = []

    async def work(side: Side, manager: TokenManager) -> None:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(middlewares=(BearerAuth(manager),)) as http:
            await loop.run_in_executor(None, together.wait)
            token, *_ = await asyncio.gather(*(manager.token() for _ in range(100)))
            await loop.run_in_executor(None, together.wait)
            if threading.current_thread() is threading.main_thread():
                side.server.revoke(None if name == PEAKLY else side.last_step)
            await loop.run_in_executor(None, together.wait)
            statuses = await asyncio.gather(*(status_of(http, side.url()) for _ in range(25)))
        results.append((token.value, set(statuses)))

    with serving(name, token_latency=0.2) as side:
        manager = side.manager()
        threads = [threading.Thread(target=run, args=(new_loop, work(side, manager))) for _ in range(3)]
        for thread in threads:
            thread.start()
        run(new_loop, work(side, manager))
        for thread in threads:
            thread.join()
        assert len(results) == 4
        assert len({value for value, _ in results}) == 1
        assert all(statuses == {200} for _, statuses in results)
        assert side.asked == side.rounds(1) + Counter({side.last_step: 1})


@on_every_loop
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_manager_in_three_runs_in_a_row(
    name: str, new_loop: Callable[[], asyncio.AbstractEventLoop], *, entered: bool
) -> None:
    """One manager serves three loops one after another, each with requests and a refresh; the token is kept."""

    async def work(side: Side, manager: TokenManager) -> None:
        auth = BearerAuth(manager)
        if entered:
            await manager.__aenter__()
        async with aiohttp.ClientSession(middlewares=(auth,)) as http:
            assert await status_of(http, side.url()) == 200
            await asyncio.gather(*(manager.refresh() for _ in range(5)))
            assert await status_of(http, side.url()) == 200
        if entered:
            await manager.__aexit__(None, None, None)

    with serving(name) as side:
        before = sockets()
        manager = side.manager()
        for _ in range(3):
            run(new_loop, work(side, manager))
        assert side.asked == side.rounds(1) + Counter({side.last_step: 3})
        assert side.server.counts.api_ok == 6
        nothing_left(before)


@on_every_loop
@pytest.mark.leaves_tasks(reason="a loop ends while a token is on its way")
def test_a_flight_whose_loop_ends_is_taken_over(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A refresh under way when its loop ends is lost with it; a caller on another loop starts another and is served."""
    got: list[Token] = []

    async def leave(side: Side, manager: TokenManager) -> None:
        caller = asyncio.create_task(manager.token())
        await until(lambda: side.asked)
        caller.cancel()

    async def stay(side: Side, manager: TokenManager) -> None:
        await until(lambda: side.asked)
        got.append(await manager.token())

    with serving() as side:
        side.server.token_faults.hang(times=1)
        manager = side.manager()
        thread = threading.Thread(target=run, args=(new_loop, stay(side, manager)))
        thread.start()
        run(new_loop, leave(side, manager))
        thread.join()
        assert len(got) == 1
        assert side.asked == side.rounds(2)


@on_every_loop
def test_the_core_on_every_kind_of_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Single flight, recovery, renewal by the clock, and a failing endpoint: the same on asyncio's loop and uvloop."""

    async def work(side: Side) -> None:
        async with client(manager := side.manager()) as http:
            assert len(set(await asyncio.gather(*(manager.token() for _ in range(1_000))))) == 1
            assert side.asked == side.rounds(1)
            side.server.revoke()
            assert set(await asyncio.gather(*(status_of(http, side.url()) for _ in range(200)))) == {200}
            assert side.asked == side.rounds(2)
            side.server.configure(lifetime=1.0)
            await manager.refresh()
            waits = manager.status().waits
            await asyncio.sleep(1.5)
            await manager.token()
            assert manager.status().waits == waits
            side.server.token_faults.server_error(times=2)
            await manager.refresh()
            async with http.ws_connect(side.url("/api/ws")) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
        assert len(asyncio.all_tasks()) == 1

    with serving(token_latency=0.02) as side:
        before = sockets()
        run(new_loop, work(side))
        nothing_left(before)


@on_every_loop
@pytest.mark.parametrize("way", ["close", "async with", "client_session"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_closed_it_leaves_nothing(name: str, way: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """After close() there is no task, no socket and no warning; closing again does nothing."""

    async def work(side: Side) -> None:
        if way == "client_session":
            async with client_session(side.provider()) as http:
                assert await status_of(http, side.url()) == 200
        elif way == "async with":
            async with side.manager() as manager:
                await manager.token()
        else:
            manager = side.manager()
            await manager.__aenter__()
            await manager.token()
            await manager.close()
            await manager.close()
            with pytest.raises(ManagerClosed):
                await manager.token()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with serving(name) as side:
        before = sockets()
        run(new_loop, work(side))
        nothing_left(before)


@on_every_loop
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("fault", ["hang", "disconnect", "slow_drip", "server_error"])
def test_closed_during_a_refresh_it_leaves_nothing(
    fault: str, new_loop: Callable[[], asyncio.AbstractEventLoop], *, entered: bool
) -> None:
    """Closed while a refresh hangs, or waits for its next try: waiters get ManagerClosed, and nothing is left."""

    async def work(side: Side) -> None:
        getattr(side.server.token_faults, fault)()
        manager = side.manager(RefreshPolicy(close_grace=0.1, backoff=5.0))
        if entered:
            await manager.__aenter__()
        callers = [asyncio.create_task(manager.token()) for _ in range(10)]
        await until(lambda: side.asked)
        await asyncio.sleep(0.05)
        await manager.close()
        errors = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(error) for error in errors} == {ManagerClosed}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with serving() as side:
        before = sockets()
        run(new_loop, work(side))
        nothing_left(before)


@on_every_loop
def test_closing_lets_a_request_under_way_finish(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A token request that is in progress when the manager is closed gets its grace: its waiters get the token."""

    async def work(side: Side) -> Token:
        manager = await side.manager().__aenter__()
        caller = asyncio.create_task(manager.token())
        await until(lambda: side.asked)
        await manager.close()
        return await caller

    with serving(token_latency=0.3) as side:
        assert run(new_loop, work(side)).value


@on_every_loop
@pytest.mark.parametrize("name", SYSTEMS)
def test_never_entered_it_leaves_nothing(name: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Outside of 'async with' there is no timer, no open session, and nothing to close."""

    async def work(side: Side) -> None:
        manager = side.manager()
        await manager.token()
        await manager.refresh()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with serving(name) as side:
        before = sockets()
        run(new_loop, work(side))
        nothing_left(before)


async def test_a_session_of_the_users_own_serves_the_token_requests() -> None:
    """http= is used as it is and not closed; its middlewares and raise_for_status stay out of token requests."""
    through: list[str] = []

    async def noting(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        through.append(request.url.path)
        return await handler(request)

    with serving() as side:
        async with aiohttp.ClientSession(middlewares=(noting,), raise_for_status=True) as own:
            async with client(side.manager(http=own)) as http:
                assert await status_of(http, side.url()) == 200
                side.server.revoke()
                assert await status_of(http, side.url()) == 200
            assert not own.closed
            assert await TokenManager(side.provider(), http=own, policy=QUICK).token()
            wrong = TokenManager(side.provider(password="wrong"), http=own, policy=QUICK)
            with pytest.raises(aiohttp.ClientError, match="rejected the password"):
                await wrong.token()
        assert through == []
        assert side.asked == {"password": 4}


async def test_a_session_of_the_users_own_serves_its_own_loop_alone() -> None:
    """On any other loop than that of http= the manager uses a session of its own."""
    with serving() as side:
        async with aiohttp.ClientSession() as own:
            manager = side.manager(http=own)
            await asyncio.to_thread(lambda: asyncio.run(manager.refresh()))
            assert not own.closed
            await manager.refresh()
        assert side.asked == side.rounds(2)
