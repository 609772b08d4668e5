"""Latency while tokens turn over: 2 s lifetime, 300 ms token endpoint, 500 requests a second.

Of each two requests one has a static token, the first or the second by chance: same session, same server, same moment.
So what the machine does besides shows in both. (In turns it does not: a full garbage collection comes each 2,560
requests here, so the same side would be the first to meet each, and wait 2 ms longer.)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

from benchmarks.kit import quantile
from benchmarks.peers import Peer, Static
from benchmarks.run import Run

RATE, LIFETIME, TOKEN_LATENCY = 500, 2.0, 0.3
OURS_FOR, PEER_FOR, QUICK_FOR = 90.0, 20.0, 6.0
"""Seconds. Ours for long: of the 22,500 requests a side in 90 s, 22 decide p99.9."""
FIRST = 0.5
"""Seconds at the start that don't count."""
SHOWN, BUCKET = 6.5, 0.02
"""Seconds of the plot, and of its resolution."""


async def under_load(run: Run, peer: Peer, seconds: float) -> dict[str, Any]:
    """Send requests for so long, each second one with the token of the peer, the others with the static one.

    One comes before, which waits for the first token: how everybody starts is another story.
    """
    with contextlib.suppress(Exception):
        await peer.get(f"{run.server.api}/data")
    static = Static(run.server, run.session)
    sides: dict[str, list[tuple[float, float]]] = {"token": [], "static": []}
    failed = dict.fromkeys(sides, 0)

    async def one(side: str, sender: Peer, due: float) -> None:
        status = 0
        try:
            with contextlib.suppress(Exception):  # anybody's
                status = await sender.get(f"{run.server.api}/data")
        finally:  # also of one that is sent away at the end
            failed[side] += status != 200  # noqa: PLR2004
            sides[side].append((due, time.perf_counter() - due))

    senders, pair = {"token": peer, "static": static}, list(sides)
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    for number in range(int(RATE * seconds)):
        if len(tasks) > 2 * RATE:
            break  # it does not recover
        due = start + number / RATE
        pause = due - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        if number % 2 == 0:
            random.shuffle(pair)
        side = pair[number % 2]
        # From when it was to be sent: a loop that stands still does not hide what it holds up.
        task = asyncio.ensure_future(one(side, senders[side], due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=5)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    taken = {side: sorted((due - start, took) for due, took in all_of) for side, all_of in sides.items()}
    figures: dict[str, Any] = {"failed": failed["token"], "worst ms": _worst(taken["token"])}
    for side, all_of in taken.items():
        waited = [took for at, took in all_of if at > FIRST]
        figures[side] = {
            "p50 ms": quantile(waited, 0.5) * 1e3,
            "p99 ms": quantile(waited, 0.99) * 1e3,
            "p99.9 ms": quantile(waited, 0.999) * 1e3,
            "max ms": max(waited) * 1e3,
            "over 50 ms": sum(each > 0.05 for each in waited) / len(waited),  # noqa: PLR2004
        }
    return figures


def _worst(taken: list[tuple[float, float]]) -> dict[float, float]:
    """Return what the slowest request of each bucket took, in milliseconds: what the plot shows."""
    worst: dict[float, float] = {}
    for at, took in taken:
        if at < SHOWN:
            bucket = int(at / BUCKET) * BUCKET
            worst[bucket] = max(worst.get(bucket, 0.0), took * 1e3)
    return worst


async def turnover(run: Run) -> None:
    """Ours for long, each peer for a while."""
    found: dict[str, Any] = {}
    settings = {"lifetime": LIFETIME, "token_latency": TOKEN_LATENCY}
    await run.server.reset(**settings)
    ours = await run.ours()
    seconds = QUICK_FOR if run.quick else OURS_FOR
    found[ours.name] = await under_load(run, ours, seconds)
    waits = ours.tokens.status().waits - 1
    tokens = found[ours.name]["token requests"] = (await run.server.counts())["tokens"]
    await ours.close()
    run.tick()
    slowest = found[ours.name]["token"]["max ms"]
    run.goal(
        "requests that wait for a token after the first", 0, waits, "requests", counts=True,
        note=f"{RATE // 2 * seconds:.0f} requests, the slowest {slowest:.0f} ms; {tokens} tokens",
    )  # fmt: skip
    run.goal("failed requests while tokens turn over", 0, found[ours.name]["failed"], "requests", counts=True)
    run.goal("token requests a lifetime", 2, tokens / (seconds / LIFETIME), "requests", counts=True)
    if not run.quick:
        token, static = found[ours.name]["token"], found[ours.name]["static"]
        for name, limit in (("p99", 1.10), ("p99.9", 1.10), ("max", 1.25)):
            key = f"{name} ms"
            run.goal(
                f"{name} while tokens turn over, against a static token", limit, token[key] / static[key],
                note=f"{token[key]:.1f} ms of {static[key]:.1f}",
            )  # fmt: skip
        await run.server.reset(**settings)
        found["static header"] = await under_load(run, Static(run.server, run.session), PEER_FOR)
        run.tick()
    async for peer in run.each_peer(**settings):
        if type(peer).get is not Peer.get:
            found[peer.name] = await under_load(run, peer, PEER_FOR)
            found[peer.name]["token requests"] = (await run.server.counts())["tokens"]
            run.tick()
    run.figures["turn-over"] = found
