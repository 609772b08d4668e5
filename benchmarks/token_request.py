"""What a token request costs: CPU beside a plain request to the same endpoint, and what is counted of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import aiohttp

import asyncauth
from asyncauth import (
    AnswerFields,
    ClientCredentials,
    DeclaredProvider,
    ErrorFields,
    Provider,
    RefreshGrant,
    TokenManager,
)
from benchmarks.kit import Call, cpu_of_calls, interleaved, median, no_garbage_collection, over
from benchmarks.run import Run

PLAIN, AGAIN = "a plain request", "a plain request, again"
ROUNDS, NUMBER = 61, 20
COUNTED = 20
MOST_CALLS = 200
"""Calls of the package's functions for one token request."""
MOST_COST = 1.5
"""CPU of a renewal, times that of a plain request."""
PACKAGE = str(Path(asyncauth.__file__).parent)


def _providers(url: str) -> dict[str, Provider]:
    client = {"token_url": url, "client_id": "id", "client_secret": "secret"}
    return {
        "ClientCredentials": ClientCredentials(**client),  # type: ignore[arg-type]
        "RefreshGrant": RefreshGrant(refresh_token="refresh-0", **client),  # type: ignore[arg-type]  # noqa: S106
        "DeclaredProvider": DeclaredProvider(
            name="declared",
            url=url,
            credential={"client_secret": "secret"},
            sent_as="form",
            fields={"grant_type": "client_credentials", "client_id": "id"},
            answer=AnswerFields(token="access_token", default_lifetime=3600),  # noqa: S106 (a field's name)
            errors=ErrorFields(busy={"error": "slow_down"}),
        ),
    }


async def token_request(run: Run) -> None:
    """Each way to renew, by hand, beside a request that posts a form and reads JSON."""
    await run.server.reset()
    url = run.server.token_url
    managers = {name: TokenManager(provider) for name, provider in _providers(url).items()}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def plain() -> str:
            form = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
            async with http.post(url, data=form, allow_redirects=False) as answer:
                return str((await answer.json())["access_token"])

        for manager in managers.values():
            await manager.__aenter__()
            await manager.token()
        try:
            for name, manager in managers.items():
                await _count(run, name, manager)
            if not run.quick:
                calls = {PLAIN: plain, AGAIN: plain} | {name: each.refresh for name, each in managers.items()}
                await _measure(run, calls)
        finally:
            for manager in managers.values():
                await manager.close()


async def _count(run: Run, name: str, manager: TokenManager) -> None:
    """Count what renewals send, and which of the package's functions one calls."""
    called = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal called
        called += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = (await run.server.counts())["tokens"]
    for _ in range(COUNTED):
        await manager.refresh()
    sent = (await run.server.counts())["tokens"] - before
    sys.setprofile(note)
    try:
        await manager.refresh()
    finally:
        sys.setprofile(None)
    run.goal(f"token requests of {COUNTED} renewals: {name}", COUNTED, sent, "requests", counts=True)
    if name != "DeclaredProvider":  # which came with them
        what = f"calls of asyncauth's functions for a token request: {name}"
        run.goal(what, MOST_CALLS, called, "calls", counts=True)
    run.tick()


async def _measure(run: Run, calls: dict[str, Call]) -> None:
    measures = {name: (lambda call=call: cpu_of_calls(call, NUMBER)) for name, call in calls.items()}
    await interleaved(measures, 3, lambda: None)
    with no_garbage_collection():
        given = await interleaved(measures, ROUNDS, run.tick)
    run.figures["token request µs"] = {name: median(values) * 1e6 for name, values in given.items()}
    ratios = {
        name: [own / base for own, base in zip(values, given[PLAIN], strict=True)] for name, values in given.items()
    }
    for name in (name for name in calls if name not in {PLAIN, AGAIN}):
        run.goal(
            f"a token request against a plain one: {name}", MOST_COST, median(ratios[name]),
            note=f"{over(given[name], given[PLAIN]) * 1e6:.0f} µs of CPU more; A/A {median(ratios[AGAIN]):.2f}",
        )  # fmt: skip
