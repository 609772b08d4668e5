"""How the demo shows itself: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncauth.cli.demo.crew import Row

__all__ = ["Display", "Plain", "Screen", "display_on", "watch"]

_COLOURS = {"fresh": "green", "stale": "yellow", "spent": "red", "empty": "dim"}


class Display(Protocol):
    """Where the demo's progress goes."""

    interval: float
    """Seconds between two updates."""

    def showing(self) -> AbstractContextManager[object]:
        """Return a context manager for the time of the run."""
        ...

    def say(self, text: str) -> None:
        """Tell something that happens once."""
        ...

    def update(self, seconds: float, rows: Sequence[Row]) -> None:
        """Show how things stand so many seconds after the start."""
        ...


class Screen:
    """A table that is drawn anew several times a second, below what was said.

    Args:
        stream: A terminal.
    """

    interval = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        # Without a thread of its own: it would draw while the run's measurements are under way.
        self._live = Live(console=self._console, auto_refresh=False)

    def showing(self) -> AbstractContextManager[object]:
        """Return a context manager that leaves the last table on the screen."""
        return self._live

    def say(self, text: str) -> None:
        """Print above the table."""
        self._console.print(Text(text, style="bold"))

    def update(self, seconds: float, rows: Sequence[Row]) -> None:
        """Draw the table."""
        table = Table(title=f"{seconds:.0f} s", title_justify="left")
        table.add_column("token manager", no_wrap=True)
        table.add_column("state")
        for name in ("left", "refreshes", "failed tries", "waiting", "requests", "failed", "p50", "max"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(
                row.name,
                Text(row.state, style=_COLOURS.get(row.state, "")),
                "" if row.seconds_left is None else f"{row.seconds_left:.1f} s",
                str(row.refreshes),
                str(row.failed_tries),
                Text(_waiting(row), style="yellow" if row.waiting else "dim"),
                "" if row.requests is None else str(row.requests),
                Text("" if row.failed is None else str(row.failed), style="red" if row.failed else ""),
                _milliseconds(row.typical),
                _milliseconds(row.slowest),
            )
        self._live.update(table, refresh=True)


class Plain:
    """A line now and then.

    Args:
        stream: Anything.
    """

    interval = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def showing(self) -> AbstractContextManager[object]:
        """Return a context manager that does nothing."""
        return nullcontext()

    def say(self, text: str) -> None:
        """Print a line that stands out."""
        self._line(f">>> {text}")

    def update(self, seconds: float, rows: Sequence[Row]) -> None:
        """Print a line."""
        parts = [
            f"{row.name} {row.state}{_left(row)}, waiting {_waiting(row)}" for row in rows if row.requests is not None
        ]
        requests, failed = sum(row.requests or 0 for row in rows), sum(row.failed or 0 for row in rows)
        slowest = max((row.slowest for row in rows if row.slowest is not None), default=None)
        pace = "" if slowest is None else f"  max {_milliseconds(slowest)}"
        self._line(f"{seconds:5.1f} s  {requests} requests, {failed} failed{pace}  {'; '.join(parts)}")

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def display_on(stream: TextIO) -> Display:
    """Return what suits a stream."""
    terminal = stream.isatty() and os.environ.get("TERM") not in {None, "", "dumb", "unknown"}
    return Screen(stream) if terminal else Plain(stream)


async def watch(display: Display, rows: Callable[[], Sequence[Row]]) -> None:
    """Update a display until cancelled."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        await asyncio.sleep(display.interval)
        display.update(loop.time() - started, rows())


def _left(row: Row) -> str:
    return "" if row.seconds_left is None else f" {row.seconds_left:.1f} s"


def _waiting(row: Row) -> str:
    return str(row.waiting) if row.waiting_for is None else f"{row.waiting} for {row.waiting_for:.1f} s"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"
