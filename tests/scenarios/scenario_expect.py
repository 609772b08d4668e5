"""Comparisons: what a scenario expects with what a manager did, and what holds in every scenario."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from scenario_subject import kind_of

__all__ = ["Crash", "Mismatch", "each_its_own", "errors_of", "no_secret", "not_ended", "result_of", "same"]

_SECRET = re.compile(r"(?:token|refresh)-(?:\d|given)|s3cret|stolen")


class Mismatch(AssertionError):
    """The manager did not do what the scenario says."""


class Crash(Exception):
    """A scenario could not be run to its end: what the manager is made of raised something else than a call's error."""


def result_of(task: asyncio.Task[Any]) -> object:
    """Return what came of a call, as scenarios write it."""
    if not task.done():
        return "waiting"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return "done" if task.result() is None else task.result()
    return {
        "error": kind_of(error),
        "retry_after": getattr(error, "retry_after", None),
        "status": getattr(error, "status", None),
    }


def errors_of(tasks: Iterable[asyncio.Task[Any]]) -> list[BaseException]:
    """Return what the calls that failed raised."""
    ended = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    return [error for error in ended if error is not None]


def each_its_own(errors: list[BaseException]) -> None:
    """Refuse an error that several callers got: each would add its traceback to it."""
    if len({id(error) for error in errors}) < len(errors):
        raise Mismatch("callers share one error object")


def not_ended(token: str, *, at: float, end: float) -> None:
    """Refuse a token that a caller got after its end."""
    if at >= end:
        raise Mismatch(f"a caller got {token}, which had ended")


def no_secret(shown: Mapping[str, str], errors: list[BaseException]) -> None:
    """Refuse a token, a refresh token or a password in anything that a person may see.

    Args:
        shown: By manager, what it tells of itself.
        errors: What callers got.
    """
    for name, text in shown.items():
        if _SECRET.search(text):
            raise Mismatch(f"a secret is shown: by what the manager {name!r} tells of itself")
    for error in errors:
        if _SECRET.search("".join(traceback.format_exception(error)) + repr(error)):
            raise Mismatch(f"a secret is shown: by the {type(error).__name__} that a caller got, or its chain")


def same(what: str, expected: object, got: object) -> None:
    """Compare what is named in ``expected``; numbers to the microsecond."""
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for name, value in expected.items():
            same(f"{what}.{name}", value, got.get(name))
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for number, (one, other) in enumerate(zip(expected, got, strict=True)):
            same(f"{what}[{number}]", one, other)
    elif isinstance(expected, float | int) and isinstance(got, float | int) and not isinstance(expected, bool):
        if got != pytest.approx(expected, abs=1e-6):
            raise Mismatch(f"{what} is {got!r}, not {expected!r}")
    elif type(expected) is not type(got) or expected != got:
        raise Mismatch(f"{what} is {got!r}, not {expected!r}")
