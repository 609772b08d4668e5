"""Everything side by side in one run: python -m benchmarks [--quick] [story …]

Writes results/results.json, results/table.md and the plots. ``--quick`` makes what counts requests alone, in less than
a minute, and fails if a count is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cost, counts, fleet, httpx_clients, report, token_request, turnover
from benchmarks.kit import pin, served
from benchmarks.run import Run

Story = Callable[[Run], Awaitable[None]]

# With the steps of the progress bar that each takes: in a full run, and in a quick one (0 = not in it).
STORIES: list[tuple[str, Story, int, int]] = [
    ("the header from a cached token", cost.hot_path, 61, 5),
    ("imports", cost.imports, 15, 3),
    ("a token request", token_request.token_request, 64, 3),
    ("a stampede", counts.stampede, 19, 4),
    ("leaders cancelled", counts.leaders, 14, 2),
    ("a failing token endpoint", counts.failing, 8, 2),
    ("a wrong password", counts.wrong_password, 7, 1),
    ("revocation storms", counts.storms, 20, 4),
    ("200 tenants", counts.tenants, 1, 1),
    ("a busy API", counts.busy_api, 2, 1),
    ("a fleet of processes", fleet.fleet, 4, 4),
    ("waiters", cost.waiters, 9, 2),
    ("memory", cost.memory, 10, 0),
    ("100,000 tenants", cost.pool, 1, 0),
    ("tokens turn over under load", turnover.turnover, 11, 1),
    ("tokens turn over at 1,000 requests a second", httpx_clients.httpx_turnover, 3, 2),
    ("a whole request", cost.requests, 60, 0),
    ("a whole request of httpx", httpx_clients.httpx_requests, 2, 0),
]
PACKAGES = [
    *("asyncauth", "aiohttp", "yarl", "multidict", "attrs", "uvloop", "httpx", "aiohttp-oauth2-client", "Authlib"),
    *("azure-core", "azure-identity", "google-auth", "httpx-auth", "msal", "singleflight-auth", "redis"),
]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


async def _main(*, quick: bool, only: list[str]) -> int:
    stories = [each for each in STORIES if (each[3] if quick else True) and (not only or each[1].__name__ in only)]
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    pin(0)
    started, load = time.time(), os.getloadavg() if hasattr(os, "getloadavg") else (0.0,)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=sum(steps if not quick else few for _, _, steps, few in stories))
        async with served() as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            run = Run(server, session, quick, lambda: progress.advance(bar))
            for name, story, _, _ in stories:
                progress.update(bar, description=name)
                try:
                    await story(run)
                except Exception as error:  # noqa: BLE001 (one story that fails must not cost all others)
                    run.missing[name] = f"{type(error).__name__}: {error}"[:200]
                    run.failed += 1
    about: dict[str, Any] = {
        "at": dt.datetime.fromtimestamp(started, dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": [round(each, 2) for each in load],
        "load after": [round(each, 2) for each in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "versions": _versions(),
    }
    if quick:
        return report.quick(run, console)
    report.write(run, about, partial=bool(only))
    report.show(run, console)
    return run.failed


def main() -> None:
    """Parse the command line, run, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="counts only, asserted")
    names = [story.__name__ for _, story, _, _ in STORIES]
    parser.add_argument("only", nargs="*", metavar="story", help=f"only these, and write nothing: {', '.join(names)}")
    given = parser.parse_args()
    if unknown := set(given.only) - set(names):
        parser.error(f"no such story: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    warnings.simplefilter("ignore")
    logging.disable()
    sys.exit(asyncio.run(_main(quick=given.quick, only=given.only)))


if __name__ == "__main__":
    main()
