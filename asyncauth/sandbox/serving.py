"""A sandbox as a program, which runs until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncauth.sandbox.server import Sandbox

_BANNER = """\
Peakly       {peakly}
Pago Fácil   {pago_facil}
{page}username     {username}
password     {password}

Try it:
  curl --data-urlencode grant_type=password \\
       --data-urlencode username={username} \\
       --data-urlencode password={password} \\
       {peakly}/token
  curl {controls}_sandbox/state

Ctrl-C ends it.
"""


def banner(sandbox: Sandbox) -> str:
    """Return the text that describes a running sandbox."""
    return _BANNER.format(
        peakly=sandbox.peakly.url,
        pago_facil=sandbox.pago_facil.url,
        # The page's port stays open when a system refuses connections.
        controls=sandbox.page_url or f"{sandbox.peakly.url}/",
        page="" if sandbox.page_url is None else f"page         {sandbox.page_url}\n",
        username=sandbox.username,
        password=sandbox.password,
    )


async def serve(sandbox: Sandbox, announce: Callable[[Sandbox], None]) -> None:
    """Run a sandbox until SIGINT or SIGTERM, then close it completely.

    Args:
        sandbox: The sandbox to run.
        announce: Called once it is running.

    Raises:
        OSError: A port can't be bound.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Without signal handlers (Windows), Ctrl-C raises KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, ended.set)
    async with sandbox:
        announce(sandbox)
        await ended.wait()
