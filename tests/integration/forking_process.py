"""A process that is forked while its manager is entered, idle or in the middle of a refresh.

``python forking_process.py URL STORE MOMENT``. The store is a folder or a Redis; the moment is ``idle`` or ``asking``.
The child uses the manager, and ends as programs end, with all that Python does then. Which connections were used, and
what was sent over them, the token server knows.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Coroutine
from typing import Any, TypeVar

from asyncauth import RefreshGrant, TokenManager
from asyncauth.stores import FileStore, RedisStore, TokenStore

_T = TypeVar("_T")

PATIENCE = 20
"""Seconds for the child, and for each step of the parent."""


def call(url: str) -> None:
    """Tell the token server something, or wait for it."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 (http, on loopback)
        answer.read()


async def as_child(manager: TokenManager) -> None:
    async with manager:
        await manager.token()
        await manager.refresh()
    await manager.close()
    gc.collect()


def main(url: str, where: str, moment: str) -> None:
    store: TokenStore = RedisStore(where) if "://" in where else FileStore(where)
    manager = TokenManager(
        RefreshGrant(token_url=f"{url}/token", refresh_token="refresh-0", client_id="me", account="me"), store=store
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def on_loop(work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)

    on_loop(manager.__aenter__())
    on_loop(manager.token())
    asking = asyncio.run_coroutine_threadsafe(manager.refresh(), loop) if moment == "asking" else None
    if asking is not None:
        call(f"{url}/arrived/2")
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        call(f"{url}/go")
        asyncio.run(as_child(manager))
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    if asking is not None:
        asking.result(PATIENCE)
    for _ in range(2):  # the first one takes over what the child has obtained
        on_loop(manager.refresh())
    on_loop(manager.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
