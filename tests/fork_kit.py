"""Forked children for tests."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

import pytest

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")
"""For tests with a real fork. It warns where there are threads besides: that is what such a test is about."""

PATIENCE = 20
"""Seconds that a child may take: one that hangs is ended."""


def in_child(work: Callable[[], object]) -> None:
    """Do some work in a forked child, which must end well."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(PATIENCE)
            work()
        except BaseException:  # noqa: BLE001 (the child must not go on as a second pytest)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
