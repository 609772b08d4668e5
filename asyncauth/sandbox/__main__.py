"""``python -m asyncauth.sandbox``: both systems on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from asyncauth.sandbox.server import Sandbox
from asyncauth.sandbox.serving import banner, serve

_LAST_PORT = 65535


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{number} is not a port: they go from 0 to 65535")
    return number


_port.__name__ = "port"  # argparse shows it


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asyncauth.sandbox",
        description="Peakly and Pago Fácil on loopback, with faults on demand.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--peakly-port", type=_port, default=0, metavar="PORT", help="default: any free port")
    parser.add_argument("--pago-facil-port", type=_port, default=0, metavar="PORT", help="default: any free port")
    parser.add_argument("--lifetime", type=float, metavar="SECONDS", help="how long tokens live (default: as theirs)")
    parser.add_argument("--refresh-tokens", action="store_true", help="let Peakly hand out refresh tokens")
    parser.add_argument("--page", action="store_true", help="serve a page that shows and switches everything")
    parser.add_argument("--page-port", type=_port, default=0, metavar="PORT", help="default: any free port")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="permit a host that other machines can reach, controls included",
    )
    return parser.parse_args(argv)


def _announce(sandbox: Sandbox) -> None:
    sys.stdout.write(banner(sandbox))
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:  # noqa: PLR0911 (each outcome has its code)
    """Run the sandbox until Ctrl-C: exit code 0; 2 if an option can't be used, 1 if a port is taken."""
    arguments = _arguments(argv)
    if sys.stdout is None:  # >&-
        sys.stderr.write("stdout is closed: nobody would learn the addresses\n")
        return 1
    try:
        sandbox = Sandbox(**vars(arguments))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        asyncio.run(serve(sandbox, _announce))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        sys.stderr.write("nobody reads stdout any more\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python's flush at exit fails again
        return 1
    except UnicodeError:  # raised by the idna codec for ".."
        sys.stderr.write(f"can't listen on {arguments.host}: it is not a host\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"can't listen on {arguments.host}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
