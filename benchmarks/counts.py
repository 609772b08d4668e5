"""Stories in which requests are counted: stampedes, cancelled leaders, failures, revocations, wrong passwords."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from asyncauth import ClientCredentials, ManagerPool, RefreshPolicy
from benchmarks.kit import median
from benchmarks.peers import HEADER, Cookbook, Ours, Peer, all_at_once
from benchmarks.run import Run

PATIENCE = 6.0
"""Seconds after which callers that still wait are sent away."""
LATENCY = 0.3
LEADER_LATENCY = 0.12
SOME, MANY, CROWD = 50, 1_000, 10_000
GOOD = 200
TENANTS = 200


class OnDemand(Ours):
    """Ours, renewing only when it is asked: so that a token can run out."""

    policy = RefreshPolicy(idle_timeout=0.0)


class Hasty(Ours):
    """Ours, giving up after one second."""

    policy = RefreshPolicy(deadline=1.0)


async def _timed(work: Awaitable[Any]) -> tuple[float, Any]:
    before = time.perf_counter()
    outcome = await work
    return time.perf_counter() - before, outcome


async def _close(peer: Peer) -> None:
    with contextlib.suppress(Exception):
        await peer.close()


def _is_asked(peer: Peer) -> bool:
    """Whether its own call asks this server for a token when it has none that is good."""
    return peer.on_expiry and peer.name not in {"msal", "azure-identity"}


def _starts_cold(peer: Peer) -> bool:
    """Whether it can be without a token at first; and what it does then does not stop the loop."""
    return _is_asked(peer) and peer.name not in {"Authlib", "httpx-auth"}


async def stampede(run: Run) -> None:
    """Many callers at once, on a cold cache and on one whose token has run out."""
    found: dict[str, dict[str, Any]] = {}
    for callers, limit in ((MANY, 1.25), (CROWD, 2.5)):
        for state in ("cold", "expired"):
            walls, requests = [], 0
            for _ in range(1 if run.quick else 3):
                await run.server.reset(token_latency=LATENCY, lifetime=1.0)
                ours = await run.ours(OnDemand)
                if state == "expired":
                    await ours.tokens.token()
                    await asyncio.sleep(1.0)
                    await run.server.set(tokens=0)
                wall, (served, _) = await _timed(all_at_once(ours.call, callers, PATIENCE))
                walls.append(wall)
                requests = max(requests, (await run.server.counts())["tokens"], callers - served)
                await ours.close()
                run.tick()
            story = f"{callers:,} callers, {state}"
            found.setdefault(ours.name, {})[story] = {"token requests": requests, "wall s": median(walls)}
            run.goal(f"token requests: {story}", 1, requests, "requests", counts=True)
            if not run.quick:
                run.goal(f"wall time against the endpoint's latency: {story}", limit, median(walls) / LATENCY)
    async for peer in run.each_peer(token_latency=LATENCY, lifetime=1.0):
        if _is_asked(peer):
            await peer.call()
            await asyncio.sleep(1.1)
            await run.server.set(tokens=0)
            wall, (served, late) = await _timed(all_at_once(peer.call, MANY, PATIENCE))
            count = (await run.server.counts())["tokens"]
            told = {"token requests": count, "wall s": wall, "served": served, "late": late}
            found[peer.name] = {f"{MANY:,} callers, expired": told}
            run.tick()
    run.figures["stampede"] = found


async def leaders(run: Run) -> None:
    """The first caller is cancelled, and the next, and the next."""
    found: dict[str, dict[str, Any]] = {}
    for cancelled in (1, 5):

        async def tell(peer: Peer, cancelled: int = cancelled) -> None:
            wall, served = await _timed(_cancel_leaders(peer, cancelled))
            told = {"token requests": (await run.server.counts())["tokens"], "wall s": wall, "served": served}
            found.setdefault(peer.name, {})[f"{cancelled} cancelled"] = told
            run.tick()

        await run.server.reset(token_latency=LEADER_LATENCY)
        own = await run.ours(OnDemand)
        await tell(own)
        await _close(own)
        async for peer in run.each_peer(token_latency=LEADER_LATENCY):
            if _starts_cold(peer):
                await tell(peer)
        ours = found[Ours.name][f"{cancelled} cancelled"]
        run.goal(f"token requests, {cancelled} leaders cancelled", 1, ours["token requests"], "requests", counts=True)
        run.goal(f"callers not served, {cancelled} leaders cancelled", 0, 20 - ours["served"], "callers", counts=True)
        if not run.quick:
            ratio = ours["wall s"] / LEADER_LATENCY
            run.goal(f"wall time against the endpoint's latency, {cancelled} leaders cancelled", 1.25, ratio)
    run.figures["leaders cancelled"] = found


async def _cancel_leaders(peer: Peer, number: int) -> int:
    leading = []
    for _ in range(number):
        leading.append(asyncio.ensure_future(peer.call()))
        await asyncio.sleep(0)
    others = [asyncio.ensure_future(peer.call()) for _ in range(20)]
    for leader in leading:
        await asyncio.sleep(0.05 / number)
        leader.cancel()
    _, late = await asyncio.wait(others, timeout=PATIENCE)
    for other in late:
        other.cancel()
    outcomes = await asyncio.gather(*others, *leading, return_exceptions=True)
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes[:20])


async def failing(run: Run) -> None:
    """The token endpoint answers 503, each time after 0.1 s."""
    found: dict[str, Any] = {}
    counted: dict[int, int] = {}
    for callers in (1, MANY):
        await run.server.reset(token_latency=0.1, fail=503)
        ours = await run.ours(Hasty)
        random.seed(3)  # the same backoff both times
        wall, (served, late) = await _timed(all_at_once(ours.call, callers, PATIENCE))
        counted[callers] = (await run.server.counts())["tokens"]
        told = {"callers": callers, "token requests": counted[callers], "wall s": wall, "served": served, "late": late}
        found[f"asyncauth, {callers} callers, deadline 1 s"] = told
        await _close(ours)
        run.tick()
    random.seed()
    run.goal(
        f"token requests, failing endpoint, {MANY:,} callers, against one caller's", 1.0,
        counted[MANY] / counted[1], counts=True, note=f"{counted[MANY]} of {counted[1]}",
    )  # fmt: skip
    run.goal(f"callers still waiting {PATIENCE:g} s later (deadline 1 s)", 0, late, "callers", counts=True)
    async for peer in run.each_peer():
        if _starts_cold(peer):
            await run.server.set(token_latency=0.1, fail=503)
            wall, (_, late) = await _timed(all_at_once(peer.call, SOME, PATIENCE))
            requests = (await run.server.counts())["tokens"]
            found[peer.name] = {"callers": SOME, "token requests": requests, "wall s": wall, "late": late}
            run.tick()
    run.figures["failing endpoint"] = found


async def wrong_password(run: Run) -> None:
    """The token endpoint answers 401 to everybody."""
    found: dict[str, Any] = {}

    async def tell(peer: Peer) -> None:
        await run.server.set(token_latency=0.01, fail=401)
        await all_at_once(peer.call, SOME, PATIENCE)
        for _ in range(10):
            with contextlib.suppress(Exception):
                await peer.call()
        found[peer.name] = {"callers": SOME + 10, "token requests": (await run.server.counts())["tokens"]}
        run.tick()

    await run.server.reset()
    ours = await run.ours()
    await tell(ours)
    await _close(ours)
    async for peer in run.each_peer():
        if _starts_cold(peer):
            await tell(peer)
    run.goal("tries of a wrong password, 60 callers", 1, found[Ours.name]["token requests"], "requests", counts=True)
    run.figures["wrong password"] = found


async def _revoked(run: Run, peer: Peer, story: Callable[[Run, Peer], Awaitable[list[int]]]) -> dict[str, Any]:
    """Tell one story of revocation, after a first request that was served."""
    await run.server.reset(token_latency=LATENCY)
    await peer.get(run.server.api)
    await run.server.set(tokens=0, answered=0, denied=0)
    statuses = await story(run, peer)
    counts = await run.server.counts()
    return {
        "requests": len(statuses),
        "answered 200": statuses.count(GOOD),
        "token requests": counts["tokens"],
        "401s": counts["denied"],
    }


async def _get(run: Run, peer: Peer, after: float = 0.0) -> int:
    await asyncio.sleep(after)
    try:
        async with asyncio.timeout(PATIENCE):
            return await peer.get(run.server.api)
    except Exception:  # noqa: BLE001 (anybody's)
        return 0


def _crowd(peer: Peer) -> int:
    return MANY if peer.name == Ours.name else 200


async def _at_once(run: Run, peer: Peer) -> list[int]:
    await run.server.set(revoke=True, api_latency=0.05)
    return await asyncio.gather(*(_get(run, peer) for _ in range(_crowd(peer))))


async def _staggered(run: Run, peer: Peer) -> list[int]:
    await run.server.set(revoke=True, api_latency=0.05)
    crowd = _crowd(peer)
    return await asyncio.gather(*(_get(run, peer, 0.3 * number / crowd) for number in range(crowd)))


async def _rolling(run: Run, peer: Peer) -> list[int]:
    tasks = []
    for number in range(500):
        if number == 150:  # noqa: PLR2004
            await run.server.set(revoke=True)
        tasks.append(asyncio.ensure_future(_get(run, peer)))
        await asyncio.sleep(0.002)
    return await asyncio.gather(*tasks)


async def _permanent(run: Run, peer: Peer) -> list[int]:
    await run.server.set(deny=True, token_latency=0.01)
    return [await _get(run, peer) for _ in range(SOME)]


async def storms(run: Run) -> None:
    """The API refuses the token: for all at once, over 0.3 s, in the flow, for ever."""
    stories = {"at once": _at_once, "over 300 ms": _staggered, "in a flow": _rolling, "for ever": _permanent}
    found: dict[str, dict[str, Any]] = {}
    for peer in [await run.ours(), *await run.peers()]:
        await _close(peer)
        if not peer.on_refusal:
            continue
        for name, story in stories.items():
            again = type(peer)(run.server, run.session)
            await again.open()
            found.setdefault(peer.name, {})[name] = await _revoked(run, again, story)
            await _close(again)
            run.tick()
    run.figures["revocation"] = found
    ours = found[Ours.name]
    for name in ("at once", "over 300 ms"):
        told = ours[name]
        run.goal(f"token requests, {MANY:,} × 401 {name}", 1, told["token requests"], "requests", counts=True)
        lost = told["requests"] - told["answered 200"]
        run.goal(f"requests not answered 200, {MANY:,} × 401 {name}", 0, lost, "requests", counts=True)
    run.goal("wasted 401s, revoked at 500 requests a second", 3, ours["in a flow"]["401s"], "requests", counts=True)
    run.goal("token requests, 401 for ever, 50 calls", 2, ours["for ever"]["token requests"], "requests", counts=True)


async def tenants(run: Run) -> None:
    """200 tenants in one pool, five callers each, all at the same moment."""
    await run.server.reset(token_latency=0.02)

    def provider(tenant: int) -> ClientCredentials:
        url = run.server.token_url
        return ClientCredentials(token_url=url, client_id=f"tenant-{tenant}", client_secret="secret")  # noqa: S106

    async with ManagerPool(provider) as pool:

        async def call(tenant: int) -> None:
            await (await pool.get(tenant)).token()

        wall, _ = await _timed(asyncio.gather(*(call(number % TENANTS) for number in range(5 * TENANTS))))
    count = (await run.server.counts())["tokens"]
    run.figures["tenants"] = {"tenants": TENANTS, "callers": 5 * TENANTS, "token requests": count, "wall s": wall}
    run.goal(f"token requests of {TENANTS} tenants, {5 * TENANTS:,} callers", TENANTS, count, "requests", counts=True)
    run.tick()


async def busy_api(run: Run) -> None:
    """A token is needed while the API's session is busy: 400 calls of 0.5 s over 100 connections."""
    found: dict[str, float] = {}
    kinds: list[type[Peer]] = [Ours] if run.quick else [Ours, Cookbook]
    for kind in kinds:
        await run.server.reset(api_latency=0.5)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
            peer = kind(run.server, session)
            await peer.open()

            async def call(session: aiohttp.ClientSession = session) -> None:
                headers = {"Authorization": HEADER}
                async with session.get(run.server.api, headers=headers) as response:
                    await response.read()

            calls = [asyncio.ensure_future(call()) for _ in range(400)]
            await asyncio.sleep(0.1)
            wall, _ = await _timed(asyncio.ensure_future(peer.call()))
            found[peer.name] = wall
            await asyncio.gather(*calls)
            await _close(peer)
        run.tick()
    run.figures["busy API s"] = found
    run.goal("seconds to a token while 300 calls wait for the API's connections", 0.25, found[Ours.name], "s")
