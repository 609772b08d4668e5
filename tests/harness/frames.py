"""Whose code a stack frame is, told by the folders that the code really lies in: a clone may be called anything."""

from __future__ import annotations

import functools
import os
import types
from pathlib import Path

import aioresponses

import asyncauth

__all__ = ["LIBRARY", "TESTS", "holds_secrets_by_right", "is_of_a_test", "is_of_the_library"]

LIBRARY = Path(asyncauth.__file__).parent
"""The package's folder."""

TESTS = [Path(__file__).parent.parent]
"""The folders that tests lie in: `harness.inner` adds one."""
_HARNESS = Path(__file__).parent
_STAND_INS = (LIBRARY / "sandbox", LIBRARY / "testing", Path(aioresponses.__file__).parent)
"""Servers, and what stands for one."""


def _lies_in(file: str, *folders: Path) -> bool:
    return file.startswith(tuple(map(_prefix, folders)))


@functools.cache
def _prefix(folder: Path) -> str:
    return f"{folder}{os.sep}"


def is_of_the_library(frame: types.FrameType) -> bool:
    """Return whether a frame runs the package's code."""
    return _lies_in(frame.f_code.co_filename, LIBRARY)


def is_of_a_test(frame: types.FrameType) -> bool:
    """Return whether a frame runs a test's code, or a kit's, but not the harness'."""
    file = frame.f_code.co_filename
    return _lies_in(file, *TESTS) and not _lies_in(file, _HARNESS)


def holds_secrets_by_right(frame: types.FrameType) -> bool:
    """Return whether a frame's locals may hold a secret: a test's, a server's, or those of what stands for one."""
    return _lies_in(frame.f_code.co_filename, *TESTS, *_STAND_INS)
