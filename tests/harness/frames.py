"""Whose code a stack frame is, told by the folders that the code really lies in: a clone may be called anything."""

from __future__ import annotations

import functools
import os
import sys
import types
from pathlib import Path

import aioresponses

import asyncauth

__all__ = ["LIBRARY", "TESTS", "holds_secrets_by_right", "is_of_a_test", "is_of_the_library"]

LIBRARY = Path(asyncauth.__file__).parent
"""The package's folder."""

TESTS = [Path(__file__).parent.parent]
"""The folders that tests lie in: `harness.inner` adds one, before any test of it runs."""
_HARNESS = Path(__file__).parent
_STAND_INS = (LIBRARY / "sandbox", LIBRARY / "testing", Path(aioresponses.__file__).parent)
"""Servers, and what stands for one."""


def _lies_in(file: str, *folders: Path) -> bool:
    return file.startswith(tuple(f"{folder}{os.sep}" for folder in folders))


@functools.cache
def _library_has(file: str) -> bool:
    return _lies_in(file, LIBRARY)


@functools.cache
def _tests_have(file: str) -> bool:
    return _lies_in(file, *TESTS) and not _lies_in(file, _HARNESS)


@functools.cache
def _may_hold_secrets(file: str) -> bool:
    return _lies_in(file, *TESTS, *_STAND_INS)


def is_of_the_library(frame: types.FrameType) -> bool:
    """Return whether a frame runs the package's code."""
    return _library_has(frame.f_code.co_filename)


def is_of_a_test(frame: types.FrameType) -> bool:
    """Return whether a frame runs a test's code, or a kit's, but not the harness'."""
    return _tests_have(frame.f_code.co_filename)


def caller() -> types.FrameType:
    """Return the frame that called the calling function."""
    return sys._getframe(2)  # `inspect.currentframe()`, kept in a variable, would make a circle of this frame


def holds_secrets_by_right(frame: types.FrameType) -> bool:
    """Return whether a frame's locals may hold a secret: a test's, a server's, or those of what stands for one."""
    return _may_hold_secrets(frame.f_code.co_filename)
