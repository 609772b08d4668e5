"""The examples of web applications, as their readers run them: several processes, many requests, one token request."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from examples_kit import PATIENCE, Fleet, Process, fleet, free_port
from harness.canary import secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no redis-server for it"),
]

REQUESTS = 60


@pytest.fixture
def ships(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as ships:
        yield ships


class Visitor:
    """Asks an application, by a new connection each time: so it meets every process that shares the port."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._http = http

    async def ask(self, path: str, **query: str) -> Any:
        async with self._http.get(self._url + path, params=query) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def meet(self, count: int) -> None:
        """Return when so many processes have answered."""
        met: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            while len(met) < count:
                try:
                    answers = await asyncio.gather(*(self.ask("/health/ready") for _ in range(4)))
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    met.update(answer["process"] for answer in answers)

    async def pages(self) -> None:
        """Ask for many pages at once; each answer must be of the page that was asked for."""
        numbers = [str(number) for number in range(REQUESTS)]
        answers = await asyncio.gather(*(self.ask("/clients", page=number) for number in numbers))
        assert [answer["query"]["page"] for answer in answers] == [[number] for number in numbers]

    async def states(self) -> Counter[tuple[str, str]]:
        """Return what some processes say of token and store."""
        answers = await asyncio.gather(*(self.ask("/health/ready") for _ in range(20)))
        managers = [answer["managers"][0] for answer in answers]
        return Counter((manager["state"], manager["store"]) for manager in managers)

    async def unready(self, count: int) -> None:
        """Return when so many processes have said that they are not ready: each that was asked for a token."""
        met: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            while len(met) < count:
                async with self._http.get(f"{self._url}/clients") as response:
                    assert response.status == 503
                async with self._http.get(f"{self._url}/health/ready") as response:
                    if response.status == 503:
                        met.add((await response.json())["process"])


def visitor() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def visit(ships: Fleet, port: int, processes: int) -> None:
    """Meet all processes, ask for pages, revoke the token, ask again."""
    async with visitor() as http:
        guest = Visitor(port, http)
        await guest.meet(processes)
        assert ships.token_requests == 0  # nobody has wanted a token yet
        await guest.pages()
        assert ships.token_requests == 1
        assert ships.sandbox.revoke() == 1
        await guest.pages()
        assert ships.token_requests == 2
        assert set(await guest.states()) <= {("fresh", "ok"), ("empty", "ok"), ("spent", "ok")}
    assert ships.served == 2 * REQUESTS


def stop_uvicorn(ships: Fleet, server: Process, port: int) -> None:
    """End uvicorn with several workers, whose parent process leaves the listening socket to the system."""
    at = ("127.0.0.1", port)
    ships.stop(server, besides=f"proto=0, laddr={at}>")


def aiohttp_web(ships: Fleet, port: int) -> list[Process]:
    return [ships.start("python", "aiohttp_web_app.py", str(port)) for _ in range(3)]


async def test_aiohttp_web(ships: Fleet) -> None:
    """Three processes on one port: one token request, one more after a revocation, a clean end."""
    port = free_port()
    servers = aiohttp_web(ships, port)
    await visit(ships, port, 3)
    ships.stop(*servers)


@pytest.mark.parametrize("app", ["fastapi_app:app", "litestar_app:app"])
async def test_under_uvicorn(ships: Fleet, app: str) -> None:
    """uvicorn with three workers: one token request, one more after a revocation, a clean end."""
    port = free_port()
    server = ships.start("uvicorn", app, "--workers", "3", "--port", str(port))
    await visit(ships, port, 3)
    stop_uvicorn(ships, server, port)
    assert server.text.count("Application shutdown complete") == 3


async def test_without_a_token_they_are_alive_and_not_ready(ships: Fleet) -> None:
    """With a wrong password both examples answer 503, and live on; it is sent once, not once per process."""
    wrong = {"PEAKLY_PASSWORD": secret("wrong")}
    ports = free_port(), free_port()
    server = ships.start("python", "aiohttp_web_app.py", str(ports[0]), **wrong)
    workers = ships.start("uvicorn", "fastapi_app:app", "--workers", "2", "--port", str(ports[1]), **wrong)
    async with visitor() as http:
        for port, processes in zip(ports, (1, 2), strict=True):
            guest = Visitor(port, http)
            await guest.meet(processes)
            await guest.unready(processes)
            assert (await guest.ask("/health/live"))["alive"]
    assert ships.token_requests == 1
    ships.stop(server)
    stop_uvicorn(ships, workers, ports[1])


async def test_a_web_fleet_renews_together(ships: Fleet) -> None:
    """Tokens that live for seconds, requests all the time: no failed one, and the fleet renews as one process would."""
    life, seconds = 4.0, 7.0  # Peakly states a second less than it is
    ships.sandbox.peakly.configure(lifetime=life)
    port = free_port()
    servers = aiohttp_web(ships, port)
    async with visitor() as http:
        guest = Visitor(port, http)
        await guest.meet(3)
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            await asyncio.gather(*(guest.ask("/clients", page="1") for _ in range(6)))
            await asyncio.sleep(0.05)
    # A renewal falls due at three quarters of the stated life at the earliest, at half of it where all is slow.
    # Each of three processes for itself would make more.
    assert 2 <= ships.token_requests <= 1 + elapsed / ((life - 1) / 2)
    assert ships.sandbox.peakly.counts.api_refused == 0
    ships.stop(*servers)
