"""Server-sent events (WHATWG HTML §9.2): the state when it changes, and the requests as they arrive."""

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
"""How many pages may listen at the same time."""
MOST_RECORDS = 100
"""The most requests in one event, and on the page. Of more, the newest are sent, with the number of the others."""
MOST_TOKENS = 20
"""The most tokens that are shown per system: the newest."""

_BEAT = 0.15
_RETRY = 1000  # milliseconds after which a browser that lost the connection reconnects
_STILL_THERE = 15.0
_PATIENCE = 10.0
_SIGNIFICANT = 3


def _plain(value: object) -> object:
    """Return a value with anything that JSON cannot represent (NaN, a Python caller's object) as text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("list[object]", value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else type(value).__name__


def view(systems: Mapping[str, System[Any]]) -> dict[str, object]:
    """Return everything that the page shows of both systems, as JSON and without secrets."""
    return {
        name: {
            **system.state(),
            # Not in the state for programs: the page shows them for people to copy.
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
    """One listener's position in the log."""

    total: int
    cleared: int


class Stream:
    """Sends events to any number of pages, up to a limit.

    No queue can grow: each listener reads the same bounded log from its own position. A slow listener misses requests
    and receives their number; one that takes nothing for 10 seconds is disconnected. A listener that reconnects
    continues from its ``Last-Event-ID``; an id that this sandbox never sent starts from the beginning.

    Args:
        systems: The systems whose state is sent.
        log: The requests.
        beat: Seconds between two checks, so that a burst is sent as one event.
        patience: Seconds after which a listener that takes nothing is disconnected.
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
        """Yield all events for a listener at a position (``None``: the beginning), as text, without end."""
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
            # With very many tokens, a check takes long: the systems, on the same loop, get nine tenths of the time.
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
        if len(place) > 40:  # noqa: PLR2004 - longer than any number of ours, so int() is not called
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
