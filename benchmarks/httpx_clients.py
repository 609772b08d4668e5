"""httpx beside aiohttp: tokens that turn over at 1,000 requests a second, and what a token adds to a request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from benchmarks.kit import cpu_of_requests, error_of, interleaved, median, no_garbage_collection, over
from benchmarks.peers import HttpxBare, HttpxOurs, HttpxStatic, HttpxStaticAgain, Ours, Peer, opened
from benchmarks.run import Run

RATE, LIFETIME = 1_000, 2.0
SECONDS, TOKEN_LATENCY = 20.0, 0.3
QUICK_RATE, QUICK_SECONDS, QUICK_LATENCY = 200, 3.0, 0.05
"""Of a quick run, which counts on a machine that is busy: httpx alone keeps a core busy with 500 requests a second."""
MOST_AT_ONCE = 20
"""Requests under way beyond which others wait: on a busy machine they are sent later, and none outlives its token."""
OK = 200
CHUNKS = {1: (20, 150), 50: (100, 60)}
"""By concurrency: requests at a time, and rounds."""


async def _steady(run: Run, peer: Peer, rate: int, seconds: float) -> dict[str, int]:
    """Send so many requests a second, each when it is due; return how many failed, and how many waited for a token."""
    failed = 0

    async def one() -> None:
        nonlocal failed
        status = 0
        with contextlib.suppress(Exception):  # anybody's
            status = await peer.get(f"{run.server.api}/data")
        failed += status != OK

    await one()  # which waits for the first token: how everybody starts is another story
    before, number = _waits(peer), int(rate * seconds)
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    for each in range(number):
        pause = start + each / rate - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        while len(tasks) >= MOST_AT_ONCE:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - start
    return {
        "requests": number,
        "a second": round(number / took),
        "failed": failed,
        "waits": _waits(peer) - before,
        "tokens": (await run.server.counts())["tokens"],
    }


def _waits(peer: Peer) -> int:
    return peer.tokens.status().waits if isinstance(peer, (Ours, HttpxOurs)) else 0


async def httpx_turnover(run: Run) -> None:
    """1,000 requests a second, through each of the two clients, while tokens of 2 s turn over.

    How many a second were reached is httpx's own affair: with a static header they are as many.
    """
    found: dict[str, dict[str, int]] = {}
    kinds: dict[str, type[Peer]] = {"aiohttp": Ours, "httpx": HttpxOurs}
    rate, seconds = (QUICK_RATE, QUICK_SECONDS) if run.quick else (RATE, SECONDS)
    for name, kind in (kinds if run.quick else kinds | {HttpxStatic.name: HttpxStatic}).items():
        latency = QUICK_LATENCY if run.quick else TOKEN_LATENCY
        await run.server.reset(lifetime=LIFETIME, token_latency=latency)
        peer = kind(run.server, run.session)
        await peer.open()
        told = found[name] = await _steady(run, peer, rate, seconds)
        await peer.close()
        run.tick()
        if kind is HttpxStatic:
            continue
        note = f"{told['requests']:,}, {told['a second']:,} a second; {told['tokens']} tokens"
        run.goal(
            f"{name}: requests that wait, at {rate:,} a second", 0, told["waits"], "requests", counts=True, note=note
        )
        run.goal(f"{name}: requests that fail, at {rate:,} a second", 0, told["failed"], "requests", counts=True)
    run.figures["turn-over, 1,000 a second"] = found


async def httpx_requests(run: Run) -> None:
    """A whole request of httpx, in the client's CPU time."""
    await run.server.reset()
    kinds: list[type[Peer]] = [HttpxBare, HttpxStatic, HttpxStaticAgain, HttpxOurs]
    peers, missing = await opened(kinds, run.server, run.session)
    run.missing |= missing
    found: dict[str, dict[str, Any]] = {}
    for concurrency, (number, rounds) in CHUNKS.items():

        def measure(peer: Peer, number: int = number, concurrency: int = concurrency) -> Any:
            url = f"{run.server.api}/{'open' if peer.name == HttpxBare.name else 'data'}"

            async def get() -> None:
                if await peer.get(url) != OK:
                    raise RuntimeError(f"{peer.name}: refused")

            return lambda: cpu_of_requests(get, number, concurrency)

        measures = {peer.name: measure(peer) for peer in peers}
        with no_garbage_collection():
            await interleaved(measures, 3, lambda: None)
            given = await interleaved(measures, rounds, lambda: None)
        bare, static, again, ours = (given[kind.name] for kind in kinds)
        found[f"{concurrency} at a time"] = {
            "added µs": {peer.name: over(given[peer.name], bare) * 1e6 for peer in peers[1:]},
            "error µs": {peer.name: error_of(given[peer.name], bare) * 1e6 for peer in peers[1:]},
            "whole µs": {name: median(values) * 1e6 for name, values in given.items()},
        }
        ratios = [one / other for one, other in zip(ours, static, strict=True)]
        noise = [one / other for one, other in zip(again, static, strict=True)]
        run.goal(
            f"a request of httpx with `async_client`, against one with a static header: {concurrency} at a time",
            1.10, median(ratios),
            note=f"{over(ours, static) * 1e6:.0f} µs more of {median(static) * 1e6:.0f}; A/A {median(noise):.2f}",
        )  # fmt: skip
        run.tick()
    run.figures["httpx"] = found
    for peer in peers:
        await peer.close()
