"""What happens, as server-sent events (WHATWG HTML §9.2): the state when it changes, the requests as they come."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import attrs
from aiohttp import web

from asyncauth.sandbox.mishaps import abort

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asyncauth.sandbox.counts import Record, RequestLog
    from asyncauth.sandbox.system import System

MOST_CLIENTS = 16
"""How many pages may listen at a time."""
MOST_RECORDS = 100
"""How many requests one event tells, and the page shows; of more, the newest, and how many were left out."""
MOST_TOKENS = 20
"""How many tokens of each system are shown, the newest."""

_BEAT = 0.15
_RETRY = 1000  # ms after which a browser that lost the connection comes back
_STILL_THERE = 15.0
_PATIENCE = 10.0
_SIGNIFICANT = 3


def _plain(value: object) -> object:
    """Return the value with what JSON has no word for (NaN, any object of a Python caller's) as text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("list[object]", value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else type(value).__name__


def view(systems: Mapping[str, System[Any]]) -> dict[str, object]:
    """Everything the page shows of both systems, as JSON and without secrets."""
    return {
        name: {
            **system.state(),
            # Not in the state that programs read: the page shows them for people to copy.
            "login": {"username": system.settings.username, "password": system.settings.password},
            "tokens": [
                {
                    "fingerprint": token.fingerprint,
                    "kind": token.kind,
                    "issued_at": round(token.issued_at, _SIGNIFICANT),
                    "dies_at": round(token.dies_at, _SIGNIFICANT),
                }
                for token in system.tokens(MOST_TOKENS)
            ],
        }
        for name, system in systems.items()
    }


def _event(kind: str, data: object, last: str | None = None) -> str:
    text = json.dumps(_plain(data), ensure_ascii=True, separators=(",", ":"))
    head = "" if last is None else f"id: {last}\n"
    return f"{head}event: {kind}\ndata: {text}\n\n"


@attrs.define
class Cursor:
    """How far one listener has read the log."""

    total: int
    cleared: int


class Stream:
    """Tells any number of pages, up to a limit, what happens.

    There is no queue that could grow: each listener reads the one log, which is bounded, from where it was. One that
    is slow misses requests and is told how many; one that takes nothing for 10 seconds is cut off. A listener that
    comes back goes on from its ``Last-Event-ID``; one that this sandbox never gave starts afresh.

    Args:
        systems: What the state is of.
        log: The requests.
        beat: Seconds between two looks, so that a burst is told at once.
        patience: Seconds after which a listener that takes nothing is cut off.
    """

    def __init__(
        self,
        systems: Mapping[str, System[Any]],
        log: RequestLog,
        *,
        beat: float = _BEAT,
        patience: float = _PATIENCE,
    ) -> None:
        self._systems = systems
        self._log = log
        self._beat = beat
        self._patience = patience
        self._run = secrets.token_hex(4)
        self.listeners = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send events until the listener leaves, or is too slow."""
        if self.listeners >= MOST_CLIENTS:
            return web.Response(status=503, text="too many pages listen already", headers={"Retry-After": "10"})
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
        )
        self.listeners += 1
        try:
            await response.prepare(request)
            await response.write(f"retry: {_RETRY}\n\n".encode())
            async for text in self.events(self._cursor(request.headers.get("Last-Event-ID"))):
                try:
                    async with asyncio.timeout(self._patience):
                        await response.write(text.encode())
                except TimeoutError:
                    abort(request.transport)
                    break
        finally:
            self.listeners -= 1
        return response

    async def events(self, cursor: Cursor | None) -> AsyncIterator[str]:
        """Everything there is to tell a listener that has read so far (None: nothing), as text, without end."""
        state, quiet_since = None, time.monotonic()
        while True:
            parts: list[str] = []
            looked = time.monotonic()
            now = view(self._systems)
            if now != state:
                state = now
                parts.append(_event("state", {"now": round(time.monotonic(), _SIGNIFICANT), "systems": now}))
            if cursor is None or cursor.cleared != self._log.cleared or cursor.total != self._log.total:
                parts.append(self._requests(cursor))
                cursor = Cursor(self._log.total, self._log.cleared)
            # With very many tokens a look takes long: the systems, on the same loop, keep nine tenths of the time.
            rest = max(self._beat, 9 * (time.monotonic() - looked))
            if parts or time.monotonic() - quiet_since > _STILL_THERE:
                quiet_since = time.monotonic()
                yield "".join(parts) or ": still there\n\n"
            await asyncio.sleep(rest)

    def _cursor(self, last: str | None) -> Cursor | None:
        run, _, place = (last or "").partition("-")
        total, _, cleared = place.partition("-")
        if run != self._run or not (total.isascii() and total.isdigit() and cleared.isascii() and cleared.isdigit()):
            return None
        if len(place) > 40:  # noqa: PLR2004 - no number of ours: int() is not asked to read it
            return None
        cursor = Cursor(int(total), int(cleared))
        return cursor if cursor.total <= self._log.total and cursor.cleared == self._log.cleared else None

    def _requests(self, cursor: Cursor | None) -> str:
        afresh = cursor is None or cursor.cleared != self._log.cleared
        new = list(self._log) if cursor is None or afresh else self._log.since(cursor.total)
        told = new[-MOST_RECORDS:]
        first = self._log.total - len(told)
        missed = 0 if cursor is None or afresh else first - cursor.total
        data = {"afresh": afresh, "missed": missed, "records": [_shown(record) for record in told]}
        return _event("requests", data, f"{self._run}-{self._log.total}-{self._log.cleared}")


def _shown(record: Record) -> dict[str, object]:
    return {**attrs.asdict(record), "time": round(record.time, 3), "seconds": round(record.seconds, 4)}
