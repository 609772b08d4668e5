"""How long callers wait beyond the end of an outage, and what it costs the token endpoint: ``make recovery``.

Real sockets: a server that refuses connections, or answers 503, for 1 to 20 s. Its clients begin without a token, and
a caller asks each of them every 50 ms: one manager; a chain of two, whose endpoints are both down; four processes that
share a Redis. All outages of one kind of client run at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web
from redis_kit import RedisServer, free_port

from asyncauth import AuthError, ClientCredentials, TokenExchange, TokenManager
from asyncauth.events import TokenRequestFailed
from asyncauth.stores import RedisStore

OUTAGES = (1.0, 2.0, 5.0, 10.0, 20.0)
KINDS = ("refused", "503")
CLIENTS = ("one manager", "a chain", "4 processes, Redis")
_CALLERS_EVERY = 0.05
_PATIENCE = 8.0
"""Seconds after the end of an outage in which callers are served, or have failed."""
_WINDOW = 5.0
"""Seconds in which the token requests are counted."""


@attrs.define
class Endpoint:
    """A token endpoint that is down for a while.

    Attributes:
        kind: ``refused`` or ``503``.
        seconds: How long it is down.
        port: Its port.
        asked: When it was asked, in seconds from the outage's beginning; a refused connection is seen by the client.
    """

    kind: str
    seconds: float
    port: int = attrs.field(factory=free_port)
    asked: list[float] = attrs.field(factory=list[float])
    began: float = 0.0

    async def serve(self, began: float) -> None:
        """Serve: from the beginning with 503, or from the end of the outage on."""
        self.began = began
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        if self.kind == "refused":
            await asyncio.sleep(max(0.0, began + self.seconds - time.time()))
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        await asyncio.sleep(max(0.0, began + self.seconds + _PATIENCE - time.time()))
        await runner.cleanup()

    async def _answer(self, _: web.BaseRequest) -> web.StreamResponse:
        now = time.time() - self.began
        self.asked.append(now)
        if now < self.seconds:
            return web.Response(status=503)
        return web.json_response({"access_token": f"token-{len(self.asked)}", "expires_in": 3600})


def manager_of(client: str, port: int, store: RedisStore | None) -> TokenManager:
    """Return what asks an endpoint."""
    origin = f"http://127.0.0.1:{port}"
    url = f"{origin}/token"
    own = ClientCredentials(token_url=url, client_id="c", client_secret="a-secret", origins=origin)
    if client != "a chain":
        return TokenManager(own, store=store)
    return TokenManager(TokenExchange(token_url=url, subject_token=own, client_id="c", origins=origin), store=store)


async def ask(client: str, endpoint: dict[str, Any], store: RedisStore | None) -> dict[str, Any]:
    """Have callers ask one manager, and return how long those who waited at the outage's end waited beyond it."""
    began, end = endpoint["began"], endpoint["began"] + endpoint["seconds"]
    failed, beyond = [], list[float]()
    tries = list[float]()

    async def call(manager: TokenManager) -> None:
        try:
            await manager.token()
        except AuthError as error:
            failed.append(f"{type(error).__name__}: {error}")
        else:
            beyond.append(time.time() - end)

    def note(event: Any) -> None:
        if isinstance(event, TokenRequestFailed) and not event.upstream:
            tries.append(event.at - began)

    async with manager_of(client, endpoint["port"], store) as manager:
        manager.add_listener(note)
        await asyncio.sleep(max(0.0, began - time.time()))
        callers: list[asyncio.Task[None]] = []
        while time.time() < end:
            callers.append(asyncio.create_task(call(manager)))
            await asyncio.sleep(_CALLERS_EVERY)
        await asyncio.wait(callers, timeout=_PATIENCE)
        still = sum(not each.done() for each in callers)
    return {"beyond": beyond, "failed": failed, "still": still, "tries": tries}


async def work(client: str, endpoints: list[dict[str, Any]], redis: str | None) -> list[dict[str, Any]]:
    """Ask all endpoints at the same time."""
    stores = [None if redis is None else RedisStore(redis, prefix=f"{each['port']}:") for each in endpoints]
    return await asyncio.gather(
        *(ask(client, endpoint, store) for endpoint, store in zip(endpoints, stores, strict=True))
    )


async def results_of(
    client: str, endpoints: list[Endpoint], began: float, redis: str | None, count: int
) -> list[list[dict[str, Any]]]:
    """Run processes that ask; return what each of them saw of each endpoint."""
    given = json.dumps(
        {
            "client": client,
            "redis": redis,
            "endpoints": [{"port": each.port, "seconds": each.seconds, "began": began} for each in endpoints],
        }
    )
    command = (sys.executable, __file__, "--worker", given)
    processes = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(count)]
    outs = await asyncio.gather(*(each.communicate() for each in processes))
    return [json.loads(out) for out, _ in outs]


def most_in_a_window(asked: list[float], until: float) -> int:
    """Return how many token requests there were in any 5 s of an outage."""
    during = sorted(each for each in asked if each < until)
    return max((sum(first <= each < first + _WINDOW for each in during) for first in during), default=0)


async def measure(client: str, repeats: int) -> None:
    """Print the rows of one kind of client."""
    count = 4 if "processes" in client else 1
    endpoints = [Endpoint(kind, seconds) for kind in KINDS for seconds in OUTAGES for _ in range(repeats)]
    began = time.time() + (15.0 if count > 1 else 5.0)  # by when all have started
    with ExitStack() as stack:
        redis = None
        if count > 1:
            server = RedisServer(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            server.start()
            stack.callback(server.kill)
            redis = server.url
        results, *_ = await asyncio.gather(
            results_of(client, endpoints, began, redis, count),
            *(endpoint.serve(began) for endpoint in endpoints),
        )
    for kind in KINDS:
        for seconds in OUTAGES:
            here = [n for n, each in enumerate(endpoints) if (each.kind, each.seconds) == (kind, seconds)]
            of_each = [result[n] for result in results for n in here]
            beyond = [wait for each in of_each for wait in each["beyond"]]
            failed = sum(len(each["failed"]) + each["still"] for each in of_each)
            tries = [sorted(try_ for result in results for try_ in result[n]["tries"] if try_ < seconds) for n in here]
            requests = statistics.median(len(each) for each in tries)
            window = max(most_in_a_window(each, seconds) for each in tries)
            bound = min(max(0.5, seconds / 4), 3.0)
            say(
                f"| {client} | {kind} | {seconds:g} s | {statistics.median(beyond):.2f} s | {max(beyond):.2f} s "
                f"| {bound:g} s | {requests:g} | {window} | {failed} of {failed + len(beyond)} |"
            )


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, or be a process that asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help="how many outages of each length and kind")
    parser.add_argument("--client", dest="clients", action="append", choices=CLIENTS, help="these alone")
    arguments = parser.parse_args()
    logging.getLogger("asyncauth").setLevel(logging.CRITICAL)
    if arguments.worker is not None:
        given = json.loads(arguments.worker)
        say(json.dumps(asyncio.run(work(given["client"], given["endpoints"], given["redis"]))))
        return
    say("| client | outage | lasts | median wait beyond | worst | bound | requests in it | most in 5 s | failed |")
    say("|---|---|---|---|---|---|---|---|---|")
    for client in arguments.clients or CLIENTS:
        asyncio.run(measure(client, arguments.repeats))


if __name__ == "__main__":
    main()
