"""One process of a service that sends requests at a steady rate.

Run: python -m benchmarks.steady NAME URL RATE SECONDS [CORE]

It prints, as JSON, how many were sent, how many a second, how many failed, and how many waited for a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time

import aiohttp

from benchmarks.kit import Server
from benchmarks.peers import HttpxOurs, HttpxStatic, Ours, Peer

OK = 200
MOST_AT_ONCE = 20
"""Requests under way beyond which others wait: on a busy machine they are sent later, and none outlives its token."""
KINDS: dict[str, type[Peer]] = {kind.name: kind for kind in (Ours, HttpxOurs, HttpxStatic)}


async def steady(peer: Peer, url: str, rate: int, seconds: float) -> dict[str, int]:
    """Send each request when it is due.

    Args:
        peer: Which sends them.
        url: Where.
        rate: Requests a second.
        seconds: For how long.
    """
    failed = 0

    async def one() -> None:
        nonlocal failed
        status = 0
        with contextlib.suppress(Exception):  # anybody's
            status = await peer.get(url)
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
    }


def _waits(peer: Peer) -> int:
    return peer.tokens.status().waits if isinstance(peer, (Ours, HttpxOurs)) else 0


async def main(name: str, url: str, rate: int, seconds: float) -> None:
    """Send them, and print the counts."""
    async with aiohttp.ClientSession() as session:
        server = Server(url, session)
        peer = KINDS[name](server, session)
        await peer.open()
        told = await steady(peer, f"{server.api}/data", rate, seconds)
        await peer.close()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    name, url, rate, seconds, *core = sys.argv[1:]
    if core:
        os.sched_setaffinity(0, {int(core[0])})
    asyncio.run(main(name, url, int(rate), float(seconds)))
