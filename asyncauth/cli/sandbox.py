"""``asyncauth sandbox``: both systems on loopback, and a page that shows and switches everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Optional, TypeAlias

import typer

from asyncauth.cli import shown
from asyncauth.cli.outcome import ExitCode, Problem, conclude
from asyncauth.sandbox import Sandbox
from asyncauth.sandbox.serving import banner, serve

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["sandbox"]

# The oldest Typer that is supported knows no other spelling.
_OptionalSeconds: TypeAlias = Optional[float]  # noqa: UP045
_LAST_PORT = 65535


def _port(name: str, whose: str) -> object:
    return typer.Option(name, metavar="PORT", min=0, max=_LAST_PORT, help=f"{whose} port; 0: any free one.")


def sandbox(
    *,
    port: Annotated[int, _port("--port", "The page's")] = 0,
    peakly_port: Annotated[int, _port("--peakly-port", "Peakly's")] = 0,
    pago_facil_port: Annotated[int, _port("--pago-facil-port", "Pago Fácil's")] = 0,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Allow a host at which other machines can reach and control the sandbox."),
    ] = False,
    lifetime: Annotated[
        _OptionalSeconds,
        typer.Option("--lifetime", metavar="SECONDS", help="Lifetime of all tokens.", show_default="as in production"),
    ] = None,
    token_latency: Annotated[
        float, typer.Option("--token-latency", metavar="SECONDS", help="How long a token request takes.")
    ] = 0.0,
    api_latency: Annotated[
        float, typer.Option("--api-latency", metavar="SECONDS", help="How long an API request takes.")
    ] = 0.0,
    clock_skew: Annotated[
        float,
        typer.Option(
            "--clock-skew", metavar="SECONDS", help="How far the systems' clocks are ahead; negative: behind."
        ),
    ] = 0.0,
    refresh_tokens: Annotated[bool, typer.Option("--refresh-tokens", help="Have Peakly issue refresh tokens.")] = False,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as one line of JSON when they accept connections.")
    ] = False,
) -> None:
    """Serve both systems on this machine, with a page."""

    def work() -> int:
        options = {
            "host": host,
            "peakly_port": peakly_port,
            "pago_facil_port": pago_facil_port,
            "page": page,
            "page_port": port,
            "allow_remote": allow_remote,
            "lifetime": lifetime,
            "token_latency": token_latency,
            "api_latency": api_latency,
            "clock_skew": clock_skew,
            "refresh_tokens": refresh_tokens,
        }
        try:
            made = Sandbox(**options)  # type: ignore[arg-type]
        except ValueError as error:
            raise Problem(str(error), ExitCode.USAGE) from None
        try:
            asyncio.run(serve(made, _announcer(as_json=as_json)))
        except BrokenPipeError:
            raise
        except UnicodeError:  # what the idna codec makes of ".."
            raise Problem(f"can't listen on {host}: it is not a host name or an address", ExitCode.USAGE) from None
        except OSError as error:
            raise Problem(f"can't listen on {host}: {error.strerror}", ExitCode.FAILED) from None
        return ExitCode.OK

    conclude(work, verbose=False)


sandbox.__doc__ = f"""{sandbox.__doc__}

Pago Fácil and Peakly on loopback, for clients in any language. The page shows the tokens with the time they have
left, and each request as it arrives. It has a switch for each fault. Ctrl-C ends the sandbox, which leaves nothing
behind.

\b
Examples:
  asyncauth sandbox
  asyncauth sandbox --port 8080 --lifetime 60
  asyncauth sandbox --json --no-page --token-latency 0.3

\b
From Python, in tests:
  async with asyncauth.sandbox.Sandbox(page=True) as sandbox: ...

Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 a port is taken, 2 wrong usage.
"""


def _announcer(*, as_json: bool) -> Callable[[Sandbox], None]:
    def announce(made: Sandbox) -> None:
        typer.echo(shown.as_json(_facts(made), indent=None) if as_json else banner(made).rstrip())

    return announce


def _facts(made: Sandbox) -> dict[str, str | None]:
    return {
        "page": made.page_url,
        "peakly": made.peakly.url,
        "pago_facil": made.pago_facil.url,
        "username": made.username,
        "password": made.password,
    }
