"""A sandbox in a separate thread, for programs that have no event loop, or several."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from asyncauth.sandbox.server import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator


@contextlib.contextmanager
def sandbox_in_thread(**options: Any) -> Generator[Sandbox]:
    """Run a sandbox on an event loop in a separate thread for the length of a ``with`` block.

    Args:
        **options: As for `Sandbox`.

    Raises:
        ValueError: An option is wrong.
        OSError: A port can't be bound.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        sandbox = Sandbox(**options)
        asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
        try:
            yield sandbox
        finally:
            asyncio.run_coroutine_threadsafe(sandbox.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
