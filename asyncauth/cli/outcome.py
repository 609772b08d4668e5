"""How a command ends: its exit code, and one line on stderr for what went wrong."""

from __future__ import annotations

import contextlib
import enum
import logging
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn, cast

import typer

from asyncauth._base.printable import printable
from asyncauth.errors import AuthError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["ExitCode", "Problem", "conclude", "logged"]


class ExitCode(enum.IntEnum):
    """What the shell gets."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAUTHORIZED = 3
    INTERRUPTED = 130


class Problem(Exception):
    """Something to tell the user in one line.

    Args:
        message: The line, without secrets.
        code: What to exit with.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def conclude(work: Callable[[], int], *, verbose: bool) -> NoReturn:
    """Do a command's work and exit with what came of it.

    Args:
        work: Returns the exit code.
        verbose: Whether the library's log goes to stderr.

    Raises:
        typer.Exit: Always.
        BrokenPipeError: Nobody reads stdout any more; Typer ends quietly then.
    """
    with logged(verbose):
        code = _code_of(work, verbose)
    # Not from within an except clause: the context would keep frames that hold credentials.
    raise typer.Exit(code)


def _code_of(work: Callable[[], int], verbose: bool) -> int:  # noqa: FBT001
    try:
        if sys.stdout is None:  # >&-
            raise Problem("stdout is closed: nothing could be printed", ExitCode.FAILED)  # noqa: TRY301
        return work()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (a command ends with a line, never with a traceback)
        problem = _problem(error, verbose)
    sys.stderr.write(f"asyncauth: {' '.join(printable(str(problem)).split())}\n")
    return problem.code


def _problem(error: Exception, verbose: bool) -> Problem:  # noqa: FBT001
    """Return what to tell the user of an error."""
    if isinstance(error, ExceptionGroup):
        return _problem(cast("ExceptionGroup[Exception]", error).exceptions[0], verbose)
    if isinstance(error, Problem):
        return error
    if isinstance(error, ConfigurationError):
        return Problem(str(error), ExitCode.USAGE)
    if isinstance(error, AuthError):
        return Problem(f"{type(error).__name__}: {error}", ExitCode.UNAUTHORIZED)
    if isinstance(error, OSError) and error.strerror:
        return Problem(error.strerror, ExitCode.FAILED)
    # Neither its text nor a whole traceback, which may hold anything: the place alone, for a report.
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f" at {last.filename}:{last.lineno}" if verbose else " (--verbose shows where)"
    return Problem(f"this is a bug in asyncauth: {type(error).__name__}{place}", ExitCode.FAILED)


@contextlib.contextmanager
def logged(verbose: bool) -> Generator[None]:  # noqa: FBT001
    """Send the library's log to stderr, or nowhere, for the length of a command."""
    log = logging.getLogger("asyncauth")
    # Without any handler Python itself prints warnings, into the middle of a table.
    handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.propagate = False
    if verbose:
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
