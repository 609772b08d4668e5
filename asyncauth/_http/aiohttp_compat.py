"""Whether a request's body can be sent a second time.

Known by its kind, never by ``body.consumed``: depending on aiohttp's version that is missing, or says ``False`` for a
generator that has given everything away. Such a body would be sent again empty, and the server would answer 200.

And what a file needs so that it can be: aiohttp reads it in threads, and when a server answers before it has read all,
the read that is under way goes on without anybody waiting for it. Left alone it takes its bytes away from the second
sending, which then lacks them; the server waits for ever, or stores a damaged file.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import MultipartWriter, payload
from aiohttp.hdrs import EXPECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import ClientRequest

__all__ = ["is_whole", "own_files"]

_READS = "_asyncauth_reads"


def is_whole(request: ClientRequest) -> bool:
    """Return whether the body is known to be whole, however much of it has been sent.

    That is so for no body, bytes, text, JSON, forms, seekable files, and multipart of such parts. Not with ``Expect``:
    aiohttp has answered the waiting for ``100 Continue`` once and for all, and a second sending would wait for ever.
    """
    return EXPECT not in request.headers and _whole(request.body)


def _whole(body: object) -> bool:
    if body is None or isinstance(body, (bytes, bytearray)):
        return True
    if isinstance(body, payload.IOBasePayload):
        file = body._value
        try:
            return not file.closed and bool(file.seekable())
        except (AttributeError, ValueError):
            return False
    if isinstance(body, MultipartWriter):
        return all(_whole(part) for part, _, _ in body._parts)
    return isinstance(body, payload.BytesPayload)  # bytes, text, JSON and url-encoded forms


async def own_files(body: object) -> None:
    """Prepare a body's files for being sent, before each time: only what is sent next reads them from now on.

    Waits for a read that the sending before has left under way, if there is one.
    """
    if isinstance(body, (payload.IOBasePayload, MultipartWriter)):
        for file in _files(body):
            known = vars(file)
            former: _Reads | None = known.get(_READS)
            if former is not None:
                await asyncio.get_running_loop().run_in_executor(None, former.end)
            reads = known[_READS] = _Reads()
            for name in ("_read", "_read_and_available_len"):
                known[name] = reads.guarded(getattr(type(file), name).__get__(file))


def _files(body: object) -> Iterator[payload.IOBasePayload]:
    if isinstance(body, payload.IOBasePayload):
        yield body
    elif isinstance(body, MultipartWriter):
        for part, _, _ in body._parts:
            yield from _files(part)


class _Reads:
    """The reads that belong to one sending of a file. They run in threads; one may outlive a sending that was cut."""

    __slots__ = ("_lock", "_over")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False

    def guarded(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, but for doing nothing once the sending is over."""

        def guarded(*args: Any) -> Any:
            with self._lock:
                return None if self._over else read(*args)

        return guarded

    def end(self) -> None:
        """Let a read that is under way finish, and no other begin. Blocks."""
        with self._lock:
            self._over = True
