"""httpx beside aiohttp: tokens that turn over at 1,000 requests a second, and what a token adds to a request."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.kit import CORES, ROOT, cpu_of_requests, error_of, interleaved, median, no_garbage_collection, over
from benchmarks.peers import HttpxBare, HttpxOurs, HttpxStatic, HttpxStaticAgain, Ours, Peer, opened
from benchmarks.run import Run
from benchmarks.steady import OK

RATE, LIFETIME = 1_000, 2.0
SECONDS, TOKEN_LATENCY = 20.0, 0.3
QUICK_RATE, QUICK_SECONDS, QUICK_LATENCY = 200, 3.0, 0.05
"""Of a quick run, which counts while others work: httpx alone keeps a core busy with 900 requests a second."""
WORKERS = 2
"""Processes that send, as a service has several: one of httpx alone reaches some 900 requests a second."""
CHUNKS = {1: (20, 150), 50: (100, 60)}
"""By concurrency: requests at a time, and rounds."""


async def _steady(run: Run, kind: type[Peer], rate: int, seconds: float) -> dict[str, int]:
    """Send so many requests a second from two processes, as a service has workers; return the sums of what they say."""
    told = await asyncio.gather(*(_worker(run, kind, number, rate // WORKERS, seconds) for number in range(WORKERS)))
    summed = {name: sum(each[name] for each in told) for name in told[0]}
    return summed | {"tokens": (await run.server.counts())["tokens"]}


async def _worker(run: Run, kind: type[Peer], number: int, rate: int, seconds: float) -> dict[str, int]:
    core = [CORES[number % len(CORES)]] if CORES else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.steady", kind.name, run.server.url, *map(str, (rate, seconds, *core))),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return dict(json.loads(out))


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
        told = found[name] = await _steady(run, kind, rate, seconds)
        run.tick()
        if kind is HttpxStatic:
            continue
        note = f"{told['requests']:,} from {WORKERS} processes, {told['a second']:,} a second; {told['tokens']} tokens"
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
